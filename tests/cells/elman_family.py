"""Cells in the succession of Elman's: one state, or a few, and no gates that forget."""

import numpy as np
import scipy.linalg
from oracles import ACTIVATIONS, sigmoid

import rnnjax

from .known import D, H, Known

OUT, C = 2, 3
relu = ACTIVATIONS["relu"]


def jordan(decay):
    def step(params, s, x):
        w_x, w_h, b, w_y, b_y = params
        y = relu(np.tanh(x @ w_x + s @ w_h + b) @ w_y + b_y)
        return decay * s + y, y

    return step


def irnn(params, h, x):
    w_x, w_h, b = params
    h = relu(x @ w_x + h @ w_h + b)
    return h, h


def leaky(way, n, h):
    """Unit by unit: h goes a part of the way to n."""
    h = np.array([h[i] + way[i] * (n[i] - h[i]) for i in range(H)])
    return h, h


def ct_rnn(params, h, x):
    w_x, w_h, b = params
    return leaky([0.5 / 4] * H, np.tanh(x @ w_x + h @ w_h + b), h)


def ct_rnn_exponential(params, h, x):
    w_x, w_h, b = params
    return leaky([1 - np.exp(-0.5 / 4)] * H, relu(x @ w_x + h @ w_h + b), h)


def learned_ct_rnn(params, h, x):
    w_x, w_h, b, log_tau = params
    return leaky(0.5 / np.exp(log_tau), np.tanh(x @ w_x + h @ w_h + b), h)


def learned_ct_rnn_exponential(params, h, x):
    w_x, w_h, b, log_tau = params
    return leaky(1 - np.exp(-0.5 / np.exp(log_tau)), np.tanh(x @ w_x + h @ w_h + b), h)


def ind_rnn(params, h, x):
    w_x, u, b = params
    h = np.array([relu(x @ w_x[:, i] + u[i] * h[i] + b[i]) for i in range(H)])
    return h, h


def scrn(params, state, x):
    (w_x, P, R), (h, s) = params, state
    A, B = w_x[:, :H], w_x[:, H:]
    s = (1 - 0.9) * (x @ B) + 0.9 * s
    h = sigmoid(s @ P + x @ A + h @ R)
    return type(state)(h, s), np.concatenate([h, s])


def clockwork(periods):
    def step(params, state, x):
        (w_x, w_h, b), (h, t) = params, state
        k = H // len(periods)
        new = [h[i * k : (i + 1) * k] for i in range(len(periods))]
        for i, period in enumerate(periods):
            if t % period:
                continue
            one = slice(i * k, (i + 1) * k)
            drive = x @ w_x[:, one] + b[one]
            for j in range(i, len(periods)):  # itself and the slower modules
                other = slice(j * k, (j + 1) * k)
                drive = drive + h[other] @ w_h[other, one]
            new[i] = np.tanh(drive)
        new = np.concatenate(new)
        return type(state)(new, np.asarray(t + 1, t.dtype)), new

    return step


def clocked(rng, zeros):
    """Rows at different times of their periods."""
    return zeros._replace(h=rng.normal(0, 0.7, zeros.h.shape), t=np.array([0, 5, 3], np.int32))


def antisymmetric(params, h, x):  # as the paper has it: columns, W = w_hᵀ
    w_x, W, b = params.w_x, params.w_h.T, params.b
    h = h + 0.2 * np.tanh((W - W.T - 0.1 * np.eye(H)) @ h + w_x.T @ x + b)
    return h, h


def gated_antisymmetric(params, h, x):
    w_x, W, b = params.w_x, params.w_h.T, params.b
    m = (W - W.T - 0.1 * np.eye(H)) @ h
    z = sigmoid(m + w_x[:, :H].T @ x + b[:H])
    h = h + 0.2 * z * np.tanh(m + w_x[:, H:].T @ x + b[H:])
    return h, h


def cornn(implicit):
    def step(params, state, x):
        (w_x, w_h, w_z, b), (y, z) = params, state
        new = z + 0.3 * np.tanh(x @ w_x + y @ w_h + z @ w_z + b) - 0.3 * 2.0 * y
        # The damping, -Δ ε z, with z before the step or after it.
        z = new / (1 + 0.3 * 1.5) if implicit else new - 0.3 * 1.5 * z
        y = y + 0.3 * z
        return type(state)(y, z), y

    return step


def lem(params, state, x):
    (w_x, w_h, b), (y, z) = params, state
    V_1, V_2, V_z, V_y = (w_x[:, k * H : (k + 1) * H] for k in range(4))
    W_1, W_2, W_z, W_y = (w_h[:, k * H : (k + 1) * H] for k in range(4))
    b_1, b_2, b_z, b_y = (b[k * H : (k + 1) * H] for k in range(4))
    dt_1 = 0.8 * 0.5 * (1 + np.tanh(0.5 * (y @ W_1 + x @ V_1 + b_1)))
    dt_2 = 0.8 * 0.5 * (1 + np.tanh(0.5 * (y @ W_2 + x @ V_2 + b_2)))
    z = (1 - dt_1) * z + dt_1 * np.tanh(y @ W_z + x @ V_z + b_z)
    y = (1 - dt_2) * y + dt_2 * np.tanh(z @ W_y + x @ V_y + b_y)
    return type(state)(y, z), y


def exp_rnn(params, h, x):  # columns, too
    W, b = params.w_h.T, params.b
    a = scipy.linalg.expm(W - W.T) @ h + params.w_x.T @ x
    sign = np.sign(a.real)
    h = sign * relu(sign * a + b)
    return h, h


def fast_weights(inner_steps):
    def step(params, state, x):
        (w_x, w_h, gain, offset), (h, A) = params, state
        u = x @ w_x + h @ w_h
        g = relu(u)
        for _ in range(inner_steps):
            a = u + np.array([sum(A[i, j] * g[j] for j in range(H)) for i in range(H)])
            mean = sum(a) / H
            variance = sum((a - mean) ** 2) / H
            g = relu(gain * (a - mean) / np.sqrt(variance + 1e-6) + offset)
        A = 0.9 * A + 0.4 * np.outer(g, g)
        return type(state)(g, A), g

    return step


def rhn(depth):
    def step(params, h, x):
        w_x, w_h, b = params
        s = h
        for layer in range(depth):
            n, t = (slice((2 * layer + k) * H, (2 * layer + k + 1) * H) for k in range(2))
            first = x @ w_x if layer == 0 else np.zeros(2 * H)
            candidate = np.tanh(first[:H] + s @ w_h[:, n] + b[n])
            transform = sigmoid(first[H:] + s @ w_h[:, t] + b[t])
            s = candidate * transform + s * (1 - transform)
        return s, s

    return step


ELMAN = D * H + H * H + H
CELLS = {
    "jordan": Known(
        rnnjax.jordan(H, OUT, output_activation="relu"),
        jordan(0),
        count=D * H + OUT * H + H + H * OUT + OUT,
        in_loop=2,
    ),
    "jordan-decay": Known(
        rnnjax.jordan(H, OUT, decay=0.5, output_activation="relu"),
        jordan(0.5),
        count=D * H + OUT * H + H + H * OUT + OUT,
        in_loop=2,
    ),
    "irnn": Known(rnnjax.irnn(H), irnn, count=ELMAN, in_loop=1),
    "ct_rnn": Known(rnnjax.ct_rnn(H, tau=4, dt=0.5), ct_rnn, count=ELMAN, in_loop=1),
    "ct_rnn-exponential": Known(
        rnnjax.ct_rnn(H, tau=4, dt=0.5, method="exponential", activation="relu"),
        ct_rnn_exponential,
        count=ELMAN,
        in_loop=1,
    ),
    "learned_ct_rnn": Known(
        rnnjax.learned_ct_rnn(H, tau=4, dt=0.5), learned_ct_rnn, count=ELMAN + H, in_loop=1
    ),
    "learned_ct_rnn-exponential": Known(
        rnnjax.learned_ct_rnn(H, tau=4, dt=0.5, method="exponential"),
        learned_ct_rnn_exponential,
        count=ELMAN + H,
        in_loop=1,
    ),
    "ind_rnn": Known(rnnjax.ind_rnn(H), ind_rnn, count=D * H + H + H, in_loop=0),
    "scrn": Known(
        rnnjax.scrn(H, C, alpha=0.9), scrn, count=D * C + C * H + D * H + H * H, in_loop=1
    ),
    # The paper's matrix has zeros where ours has weights that are not used.
    "clockwork": Known(
        rnnjax.clockwork(H, (2, 3)), clockwork((2, 3)), count=ELMAN, in_loop=1, states=clocked
    ),
    "antisymmetric": Known(
        rnnjax.antisymmetric(H, epsilon=0.2, gamma=0.1), antisymmetric, count=ELMAN, in_loop=1
    ),
    "gated_antisymmetric": Known(
        rnnjax.gated_antisymmetric(H, epsilon=0.2, gamma=0.1),
        gated_antisymmetric,
        count=2 * (D * H + H) + H * H,
        in_loop=1,
    ),
    "cornn": Known(
        rnnjax.cornn(H, dt=0.3, gamma=2, epsilon=1.5), cornn(False), count=ELMAN + H * H, in_loop=2
    ),
    "cornn-implicit": Known(
        rnnjax.cornn(H, dt=0.3, gamma=2, epsilon=1.5, damping="implicit"),
        cornn(True),
        count=ELMAN + H * H,
        in_loop=2,
    ),
    "lem": Known(rnnjax.lem(H, dt=0.8), lem, count=4 * ELMAN, in_loop=2),
    "exp_rnn": Known(rnnjax.exp_rnn(H), exp_rnn, count=ELMAN, in_loop=1),
    "fast_weights": Known(
        rnnjax.fast_weights(H, decay=0.9, rate=0.4),
        fast_weights(1),
        count=D * H + H * H + 2 * H,
        in_loop=2,
    ),
    "fast_weights-2": Known(
        rnnjax.fast_weights(H, decay=0.9, rate=0.4, inner_steps=2),
        fast_weights(2),
        count=D * H + H * H + 2 * H,
        in_loop=3,
    ),
    "rhn": Known(rnnjax.rhn(H, 2), rhn(2), count=2 * D * H + 2 * 2 * (H * H + H), in_loop=2),
}


# Faults of these cells, for `tests/mutation.py`: what, file, old text, new text, tests.
MUTANTS = [
    (f"{cell}: {what}", f"rnnjax/cells/{cell}.py", old, new,
     ("tests/cells/test_known.py", "-k", f"test_equations and not gaps and {tests}"))
    for cell, what, old, new, tests in (
        ("jordan", "output's bias dropped", "rows(params.b_y, h)",
         "rows(0 * params.b_y, h)", "jordan"),
        ("jordan", "the trace forgets", "decay * s + y if", "y if", "jordan-decay"),
        ("irnn", "not rectified", "jax.nn.relu(", "jax.nn.silu(", "irnn"),
        ("ct_rnn", "a and 1 - a swapped", "(1 - a) * h + a * n", "a * h + (1 - a) * n", "ct_rnn"),
        ("learned_ct_rnn", "the rate, not the time", "jnp.exp(-params", "jnp.exp(params",
         "learned_ct_rnn"),
        ("_timed", "Euler where the exponential is asked", "else -jnp.expm1(-ratio)", "else ratio",
         "exponential"),
        ("ind_rnn", "no memory", "rows(params.diagonal, h) * h", "rows(params.diagonal, h)",
         "ind_rnn"),
        ("scrn", "the hidden state sees the old context", "s @ params.w_s",
         "state.s @ params.w_s", "scrn"),
        ("scrn", "h and s swapped", "x_h, x_s = jnp.split(x @ params.w_x, [hidden_size]",
         "x_s, x_h = jnp.split(x @ params.w_x, [context_size]", "scrn"),
        ("clockwork", "fast modules drive slow ones", "clocks[:, None] >=", "clocks[:, None] <=",
         "clockwork"),
        ("clockwork", "time stands still", "t + 1)", "t)", "clockwork"),
        ("_common", "symmetric", "w - w.T -", "w + w.T -", "antisymmetric"),
        ("antisymmetric", "no state to add to", "h = h + epsilon", "h = epsilon", "antisymmetric"),
        ("gated_antisymmetric", "z and n swapped", "x_z, x_n =", "x_n, x_z =",
         "gated_antisymmetric"),
        ("cornn", "the old velocity moves", "h = h + dt * z", "h = h + dt * state.z", "cornn"),
        ("cornn", "explicit is implicit", 'if damping == "explicit"', 'if damping != "explicit"',
         "cornn"),
        ("lem", "the hidden state sees the old memory", "h = (1 - ā) * h + ā * jnp.tanh(x_h + z @",
         "h = (1 - ā) * h + ā * jnp.tanh(x_h + state.z @", "lem"),
        ("lem", "a and ā swapped", "a, ā, n =", "ā, a, n =", "lem"),
        ("exp_rnn", "the inverse rotation", "expm(wide - wide.T)", "expm(wide.T - wide)",
         "exp_rnn"),
        ("exp_rnn", "the threshold is a bias", "jax.nn.relu(jnp.abs(a) + rows(params.b, x))",
         "jax.nn.relu(jnp.abs(a + rows(params.b, x)))", "exp_rnn"),
        ("fast_weights", "the fast weights take the old state",
         "a = decay * a + rate * h[..., :, None] * h[..., None, :]",
         "a = decay * a + rate * state.h[..., :, None] * state.h[..., None, :]", "fast_weights"),
        ("fast_weights", "the inner loop starts at the old state", "h = φ(u)", "h = h",
         "fast_weights"),
        ("rhn", "carried and transformed swapped", "r * jnp.tanh(n) + (1 - r) * h",
         "(1 - r) * jnp.tanh(n) + r * h", "rhn"),
        ("rhn", "the layers share their weights", "layer * width : (layer + 1) * width", ":width",
         "rhn"),
    )
]  # fmt: skip
