"""Cells whose recurrence is linear in the state."""

import numpy as np
from oracles import sigmoid

import rnnjax

from .known import D, H, Known


def blocks(a, size=H):
    """The gates of a fused array, apart."""
    return [a[..., k : k + size] for k in range(0, a.shape[-1], size)]


def positive(a):
    return np.where(a.real >= 0, a + 0.5, sigmoid(a))


def min_gru(candidate):
    def step(params, h, x):
        (W_z, W_n), (b_z, b_n) = map(blocks, params)
        z, n = sigmoid(x @ W_z + b_z), x @ W_n + b_n
        h = (1 - z) * h + z * (positive(n) if candidate == "positive" else n)
        return h, h

    return step


def min_lstm(candidate):
    def step(params, h, x):
        (W_i, W_f, W_n), (b_i, b_f, b_n) = map(blocks, params)
        i, f, n = sigmoid(x @ W_i + b_i), sigmoid(x @ W_f + b_f), x @ W_n + b_n
        n = positive(n) if candidate == "positive" else n
        h = f / (f + i) * h + i / (f + i) * n
        return h, h

    return step


def qrnn(width):
    def step(params, state, x):
        ((W_z, W_f, W_o),) = map(blocks, params)
        inputs = [*state.window, x]

        def convolved(w):
            return sum(inputs[k] @ w[k * D : (k + 1) * D] for k in range(width))

        f = sigmoid(convolved(W_f))
        c = f * state.c + (1 - f) * np.tanh(convolved(W_z))
        window = np.array(inputs[1:]).reshape(width - 1, D)
        return rnnjax.QRNNState(c, window), sigmoid(convolved(W_o)) * c

    return step


def sru(scale):
    def step(params, c, x):
        (W_n, W_f, W_r, *W_s), (v_f, v_r), (b_f, b_r) = map(blocks, params)
        f = sigmoid(x @ W_f + v_f * c + b_f)
        r = sigmoid(x @ W_r + v_r * c + b_r)
        c = f * c + (1 - f) * (x @ W_n)
        skip = x @ W_s[0] if W_s else x
        return c, r * c + (1 - r) * skip * scale

    return step


def as_complex(a, axis=-1):
    real, imag = np.split(a, 2, axis=axis)
    return real + 1j * imag


def lru(params, h, x):
    w_x, w_y, d, log_nu, log_theta, log_gamma = params
    B, C = as_complex(w_x), as_complex(w_y, axis=0)
    modulus, phase = np.exp(-np.exp(log_nu)), np.exp(log_theta)
    h = modulus * (np.cos(phase) + 1j * np.sin(phase)) * h + np.exp(log_gamma) * (x @ B)
    return h, (h @ C).real + d * x


def s5(params, h, x):
    w_x, w_y, d, eig, log_step = params
    B, C, A, step = as_complex(w_x), as_complex(w_y, axis=0), as_complex(eig), np.exp(log_step)
    A_bar = np.exp(A * step)
    h = A_bar * h + (A_bar - 1) / A * (x @ B)
    pair = np.concatenate([h, h.conj()])  # the state of conjugate pairs that h stands for
    return h, (pair @ np.concatenate([C, C.conj()])).real + d * x


def rg_lru(c):
    def step(params, h, x):
        w_x, b, logit = params
        (W_r, W_i), (b_r, b_i) = map(blocks, (w_x, b))
        r, i = sigmoid(x @ W_r + b_r), sigmoid(x @ W_i + b_i)
        a = sigmoid(logit) ** (c * r)
        h = a * h + np.sqrt(1 - a**2) * (i * x)
        return h, h

    return step


def silu(a):
    return a * sigmoid(a)


def hgrn(params, h, x):
    w_x, b, logit, angle, scale, offset, w_y, b_y = params
    a_re, a_im, a_f, *a_g = blocks(x @ w_x + b)
    c = silu(a_re) + 1j * silu(a_im)
    low = sigmoid(logit)
    keep = low + (1 - low) * sigmoid(a_f)
    h = keep * np.exp(1j * angle) * h + (1 - keep) * c
    gated = sigmoid(np.concatenate(a_g)) * np.concatenate([h.real, h.imag])
    centred = gated - gated.mean()
    normal = centred / np.sqrt((centred**2).mean() + 1e-6)
    return h, (scale * normal + offset) @ w_y + b_y


def delta_net(heads):
    size = H // heads

    def unit(a):
        return silu(a) / np.sqrt((silu(a) ** 2).sum() + 1e-6)

    def step(params, memory, x):
        (w_x,), new, y = params, [], []
        for n in range(heads):
            q, k, v = (
                x @ w_x[:, part * H + n * size : part * H + (n + 1) * size] for part in range(3)
            )
            q, k, beta = unit(q), unit(k), sigmoid(x @ w_x[:, 3 * H + n])
            old = k @ memory[n]  # the value at this key, and what is written in its place
            new.append(memory[n] + np.outer(k, beta * v + (1 - beta) * old) - np.outer(k, old))
            y.append(q @ new[n])
        return np.array(new), np.concatenate(y)

    return step


def as_wide(rng, shape):
    """Inputs of as many features as units."""
    return rng.normal(0, 1, (*shape, H))


def complex_numbers(rng, zeros):
    return rng.normal(0, 0.7, zeros.shape) + 1j * rng.normal(0, 0.7, zeros.shape)


COMPLEX = {"states": complex_numbers, "real": False}

CELLS = {
    "sru": Known(rnnjax.sru(H), sru(3**0.5), count=4 * D * H + 4 * H, in_loop=0),
    "sru-as-wide": Known(
        rnnjax.sru(H, shortcut_scale=1.0), sru(1.0), count=3 * H * H + 4 * H, in_loop=0,
        inputs=as_wide,
    ),
    "qrnn-2": Known(rnnjax.qrnn(H), qrnn(2), count=2 * 3 * D * H, in_loop=0),
    "qrnn-3": Known(rnnjax.qrnn(H, width=3), qrnn(3), count=3 * 3 * D * H, in_loop=0),
    "min_gru": Known(rnnjax.min_gru(H), min_gru("linear"), count=2 * (D * H + H), in_loop=0),
    "min_gru-positive": Known(
        rnnjax.min_gru(H, candidate="positive"), min_gru("positive"), count=2 * (D * H + H),
        in_loop=0,
    ),
    "min_lstm": Known(rnnjax.min_lstm(H), min_lstm("linear"), count=3 * (D * H + H), in_loop=0),
    "min_lstm-positive": Known(
        rnnjax.min_lstm(H, candidate="positive"), min_lstm("positive"), count=3 * (D * H + H),
        in_loop=0,
    ),
    "lru": Known(rnnjax.lru(H), lru, count=2 * 2 * D * H + D + 3 * H, in_loop=0, **COMPLEX),
    "s5": Known(rnnjax.s5(H), s5, count=2 * 2 * D * H + D + 3 * H, in_loop=0, **COMPLEX),
    "rg_lru": Known(
        rnnjax.rg_lru(H), rg_lru(8), count=2 * (H * H + H) + H, in_loop=0, inputs=as_wide
    ),
    "rg_lru-c": Known(
        rnnjax.rg_lru(H, c=2), rg_lru(2), count=2 * (H * H + H) + H, in_loop=0, inputs=as_wide
    ),
    "hgrn": Known(
        rnnjax.hgrn(H), hgrn, in_loop=0, **COMPLEX,
        count=5 * (D * H + H) + 2 * H + 4 * H + 2 * H * H + H,
    ),
    "delta_net": Known(rnnjax.delta_net(H), delta_net(1), count=3 * D * H + D, in_loop=1),
    "delta_net-heads": Known(
        rnnjax.delta_net(H, heads=2), delta_net(2), count=3 * D * H + 2 * D, in_loop=1
    ),
}  # fmt: skip


def _fault(what, cell, old, new):
    """A fault of a step, and the tests that must catch it."""
    run = ("tests/cells/test_known.py", "-k", f"test_equations and {cell}")
    return f"{cell}: {what}", f"rnnjax/cells/{cell}.py", old, new, run


_PAPERS = "tests/cells/test_linear_family.py"
MUTANTS = [
    _fault("the gates of f and r are swapped", "sru", "n, x_f, x_r, *s", "n, x_r, x_f, *s"),
    _fault("a gate sees the new state", "sru", "return c, r * c + (1 - r)",
           "r = jax.nn.sigmoid(x_r + b_r + v_r * c)\n        return c, r * c + (1 - r)"),
    _fault("the newest input comes first", "qrnn",
           "[state.window, x[..., None, :]]", "[x[..., None, :], state.window]"),
    _fault("forgets where it should keep", "qrnn",
           "f * state.c + (1 - f)", "(1 - f) * state.c + f"),
    _fault("z and n are swapped", "min_gru", "z, n = jnp.split", "n, z = jnp.split"),
    _fault("keeps where it should write", "min_gru",
           "sigmoid(-z) * h + jax.nn.sigmoid(z)", "sigmoid(z) * h + jax.nn.sigmoid(-z)"),
    _fault("i and f are swapped", "min_lstm", "i, f, n = jnp.split", "f, i, n = jnp.split"),
    _fault("gates are not made to sum to 1", "min_lstm",
           "jax.nn.sigmoid(odds) * h + jax.nn.sigmoid(-odds)",
           "jax.nn.sigmoid(f) * h + jax.nn.sigmoid(i)"),
    _fault("the readout adds the imaginary parts", "lru", "h.conj()", "h"),
    ("lru: drawn on a ring uniformly in the radius", "rnnjax/cells/lru.py",
     "nu = -0.5 * jnp.log(square * (greatest**2 - least**2) + least**2)",
     "nu = -jnp.log(square * (greatest - least) + least)", (_PAPERS, "-k", "ring")),
    _fault("the input is held without Λ", "s5", "jnp.expm1(exponent) / as_complex(params.eig)",
           "jnp.expm1(exponent)"),
    ("s5: HiPPO-N of other degrees", "rnnjax/cells/s5.py",
     "np.arange(2 * pairs) + 0.5", "np.arange(2 * pairs) + 1.0", (_PAPERS, "-k", "hippo")),
    _fault("r and i are swapped", "rg_lru", "r, i = jnp.split", "i, r = jnp.split"),
    _fault("√(1 - a) for √(1 - a²)", "rg_lru", "jnp.expm1(2 * log_a)", "jnp.expm1(log_a)"),
    ("rg_lru: no derivative where a gate is closed", "rnnjax/cells/rg_lru.py",
     "jnp.maximum(-jnp.expm1(2 * log_a), jnp.finfo(x.dtype).tiny)", "-jnp.expm1(2 * log_a)",
     (_PAPERS, "-k", "large and rg_lru")),
    _fault("turns the other way", "hgrn", "jnp.sin(params.angle)", "-jnp.sin(params.angle)"),
    _fault("the bound is not in what is written", "hgrn",
           "as_complex(twice * jax.nn.silu(c))",
           "as_complex(jax.nn.sigmoid(-jnp.tile(f, 2)) * jax.nn.silu(c))"),
    _fault("reads before it writes", "delta_net",
           "        y = y + (q * k).sum(-1, keepdims=True) * correction\n", ""),
    _fault("adds without correcting", "delta_net", "(v - old)", "v"),
]  # fmt: skip
