"""Cells that gate a memory as the LSTM does."""

import functools

import numpy as np
from oracles import sigmoid

import rnnjax

from .known import D, H, Known, convolution, floats


def gates(number, x, h, w_x, w_h, b):
    """x W_g + h U_g + b_g for each gate g."""
    cut = [slice(g * H, (g + 1) * H) for g in range(number)]
    return [x @ w_x[:, g] + h @ w_h[:, g] + b[g] for g in cut]


def peephole_lstm(params, state, x):
    (w_x, w_h, b, p), (h, c) = params, state
    p_i, p_f, p_o = p[:H], p[H : 2 * H], p[2 * H :]
    i, f, g, o = gates(4, x, h, w_x, w_h, b)
    new = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
    h = sigmoid(o + p_o * new) * np.tanh(new)
    return type(state)(h, new), h


def coupled_lstm(params, state, x):
    h, c = state
    f, g, o = gates(3, x, h, *params)
    i = 1 - sigmoid(f)
    c = (1 - i) * c + i * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return type(state)(h, c), h


def projected_lstm(params, state, x):
    (w_x, w_h, b, w_p), (h, c) = params, state
    i, f, g, o = gates(4, x, h, w_x, w_h, b)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = w_p.T @ (sigmoid(o) * np.tanh(c))
    return type(state)(h, c), h


def lstm_1997(params, state, x):
    h, c = state
    i, g, o = gates(3, x, h, *params)
    c = c + sigmoid(i) * (4 * sigmoid(g) - 2)
    h = sigmoid(o) * (2 * sigmoid(c) - 1)
    return type(state)(h, c), h


def janet(params, h, x, beta):
    s, n = gates(2, x, h, *params)
    h = sigmoid(s) * h + (1 - sigmoid(s - beta)) * np.tanh(n)
    return h, h


def larger(a, b):
    """max, by the real parts of the complex step."""
    return np.where(np.real(a) >= np.real(b), a, b)


def slstm(params, state, x, heads, log_forget):
    """The paper's first form, without a stabiliser: the state is unscaled, then scaled again."""
    (w_x, w_h, b), (h, c, n, m) = params, state
    units = H // heads
    mixing = np.zeros((H, 4 * H), w_h.dtype)
    for head in range(heads):
        rows = slice(head * units, (head + 1) * units)
        for g in range(4):
            columns = slice(g * H + head * units, g * H + (head + 1) * units)
            mixing[rows, columns] = w_h[:, columns]
    i, f, z, o = gates(4, x, h, w_x, mixing, b)
    scale = np.where(n == 0, i, larger(log_forget(f) + m, i))
    c = np.exp(log_forget(f)) * c * np.exp(m) + np.exp(i) * np.tanh(z)
    n = np.exp(log_forget(f)) * n * np.exp(m) + np.exp(i)
    h = sigmoid(o) * c / n
    return type(state)(h, c / np.exp(scale), n / np.exp(scale), scale), h


def mlstm(params, state, x, heads, log_forget):
    """The paper's first form, head by head, as `slstm`."""
    (w_x, b), units = params, H // heads
    outs, states = [], []
    for head in range(heads):
        c, n, m = (leaf[head] for leaf in state)
        q, k, v, o = (slice(g * H + head * units, g * H + (head + 1) * units) for g in range(4))
        i, f = 4 * H + head, 4 * H + heads + head
        query, value = x @ w_x[:, q] + b[q], x @ w_x[:, v] + b[v]
        key = 1 / np.sqrt(units) * (x @ w_x[:, k]) + b[k]
        i, log_f = x @ w_x[:, i] + b[i], log_forget(x @ w_x[:, f] + b[f])
        scale = larger(log_f + m, i) if n.any() else i
        c = np.exp(log_f) * c * np.exp(m) + np.exp(i) * np.outer(value, key)
        n = np.exp(log_f) * n * np.exp(m) + np.exp(i) * key
        overlap = n @ query
        overlap = overlap * np.sign(overlap.real)
        outs.append(sigmoid(x @ w_x[:, o] + b[o]) * (c @ query) / larger(overlap, 1.0))
        states.append((c / np.exp(scale), n / np.exp(scale), scale))
    return type(state)(*map(np.array, zip(*states, strict=True))), np.concatenate(outs)


FORGET = {"sigmoid": lambda f: np.log(sigmoid(f)), "exp": lambda f: f}


def normalised(rng, zeros):
    """A state of `slstm` whose normaliser is one."""
    h, c, n, m = (rng.normal(0, 0.7, leaf.shape) for leaf in zeros)
    return type(zeros)(h, c, np.exp(n), m)


def multiplicative_lstm(params, state, x):
    (w_x, w_h, w_m, b), (h, c) = params, state
    m = (x @ w_x[:, :H]) * (h @ w_h)
    i, f, g, o = gates(4, x, m, w_x[:, H:], w_m, b)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = np.tanh(c) * sigmoid(o)
    return type(state)(h, c), h


def phased_lstm(params, state, x, leak):
    *lstm, log_tau, s, logit_r = params
    x, t = x
    (past_h, past_c), ((h, c), _) = state, peephole_lstm(lstm, state, x)
    tau, r = np.exp(log_tau), sigmoid(logit_r)
    elapsed = t - s
    phase = (elapsed - np.floor(elapsed.real / tau.real) * tau) / tau
    k = np.where(
        phase.real < r.real / 2,
        2 * phase / r,
        np.where(phase.real < r.real, 2 - 2 * phase / r, leak * phase),
    )
    h, c = k * h + (1 - k) * past_h, k * c + (1 - k) * past_c
    return type(state)(h, c), h


def timed(rng, shape):
    return floats(rng, shape), rng.uniform(0, 20, shape)


# By the number of axes: shape, kernel, features.
GRIDS = {1: ((4,), (3,), 2), 2: ((3, 2), (2, 3), 1), 3: ((2, 1, 2), (2, 1, 3), 1)}
C = 2  # features of the inputs


def images(shape, rng, leading):
    return rng.normal(0, 1, (*leading, *shape, C))


def conv_lstm(params, state, x):
    (w_x, w_h, b), (h, c) = params, state
    _, window, features = GRIDS[x.ndim - 1]
    a = convolution(x, w_x.reshape(*window, C, 4 * features))
    a = a + convolution(h, w_h.reshape(*window, features, 4 * features)) + b
    i, f, g, o = (a[..., k * features : (k + 1) * features] for k in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return type(state)(h, c), h


def on_lstm(params, state, x, chunk):
    (w_x, w_h, b), (h, c) = params, state
    i, f, g, o = gates(4, x, h, w_x, w_h, b)
    master = (x @ w_x + h @ w_h + b)[4 * H :]

    def cumax(a):
        shares = np.exp(a) / np.exp(a).sum()
        return np.array([shares[: j // chunk + 1].sum() for j in range(H)])

    i_master, f_master = 1 - cumax(master[: H // chunk]), cumax(master[H // chunk :])
    both = f_master * i_master
    f = sigmoid(f) * both + (f_master - both)
    i = sigmoid(i) * both + (i_master - both)
    c = f * c + i * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return type(state)(h, c), h


def nas(params, state, x):
    (w_x, w_h, b), (h, c) = params, state
    a1, a2, a3, _, a5, a6, a7, a8 = gates(8, x, h, w_x, w_h, b)
    four = slice(3 * H, 4 * H)
    a4 = (x @ w_x[:, four]) * (h @ w_h[:, four] + b[four])

    def relu(a):
        return a * (a.real > 0)

    memory = np.tanh(np.tanh(sigmoid(a1) * relu(a2)) + c)
    c = memory * np.tanh(sigmoid(a3) + relu(a4))
    other = np.tanh(np.tanh(a5) * sigmoid(a6)) + sigmoid(np.tanh(a7) + sigmoid(a8))
    h = np.tanh(c * np.tanh(other))
    return type(state)(h, c), h


ONE = D * H + H * H + H  # the parameters of one gate

CELLS = {
    "peephole_lstm": Known(
        rnnjax.peephole_lstm(H), peephole_lstm, count=4 * ONE + 3 * H, in_loop=1
    ),
    "coupled_lstm": Known(rnnjax.coupled_lstm(H), coupled_lstm, count=3 * ONE, in_loop=1),
    "projected_lstm": Known(
        rnnjax.projected_lstm(H, 2), projected_lstm,
        count=4 * (D * H + 2 * H + H) + H * 2, in_loop=2,
    ),
    "lstm_1997": Known(rnnjax.lstm_1997(H), lstm_1997, count=3 * ONE, in_loop=1),
    **{
        f"janet-{beta}": Known(
            rnnjax.janet(H, beta=beta), functools.partial(janet, beta=beta),
            count=2 * ONE, in_loop=1,
        )
        for beta in (0.0, 1.0)
    },
    **{
        f"slstm-{heads}-{forget}": Known(
            rnnjax.slstm(H, heads=heads, forget=forget),
            functools.partial(slstm, heads=heads, log_forget=FORGET[forget]),
            count=4 * (D * H + H * H // heads + H), in_loop=1, states=normalised,
        )
        for heads, forget in ((1, "exp"), (2, "sigmoid"))
    },
    **{
        f"mlstm-{heads}-{forget}": Known(
            rnnjax.mlstm(H, heads=heads, forget=forget),
            functools.partial(mlstm, heads=heads, log_forget=FORGET[forget]),
            count=4 * (D * H + H) + 2 * heads * (D + 1), in_loop=0,
        )
        for heads, forget in ((1, "exp"), (2, "sigmoid"))
    },
    "multiplicative_lstm": Known(
        rnnjax.multiplicative_lstm(H), multiplicative_lstm,
        count=4 * ONE + D * H + H * H, in_loop=2,
    ),
    "phased_lstm": Known(
        rnnjax.phased_lstm(H, longest=5.0, ratio=0.5, leak=0.1),
        functools.partial(phased_lstm, leak=0.1),
        count=4 * ONE + 3 * H + 3 * H, in_loop=1, inputs=timed,
    ),
    **{
        f"conv_lstm-{len(shape)}d": Known(
            rnnjax.conv_lstm(shape, features, kernel=window), conv_lstm,
            count=4 * features * (int(np.prod(window)) * (C + features) + 1), in_loop=1,
            inputs=functools.partial(images, shape),
        )
        for shape, window, features in GRIDS.values()
    },
    **{
        f"on_lstm-{chunk}": Known(
            rnnjax.on_lstm(H, chunk=chunk), functools.partial(on_lstm, chunk=chunk),
            count=(4 + 2 / chunk) * ONE, in_loop=1,
        )
        for chunk in (1, 2)
    },
    "nas": Known(rnnjax.nas(H), nas, count=8 * ONE, in_loop=1),
}  # fmt: skip

_FAULTS = [
    ("peephole_lstm", "the output gate sees the old memory", "o + p_o * c)", "o + p_o * state.c)"),
    ("peephole_lstm", "the peepholes of i and f swapped", "p_i, p_f, p_o =", "p_f, p_i, p_o ="),
    ("coupled_lstm", "f and 1 - f swapped", "f * state.c + (1 - f) *", "(1 - f) * state.c + f *"),
    ("coupled_lstm", "f and o swapped", "f, g, o = jnp.split", "o, g, f = jnp.split"),
    ("projected_lstm", "projected before the output gate",
     "(jax.nn.sigmoid(o) * jnp.tanh(c)) @ params.w_p",
     "(jnp.tanh(c) @ params.w_p) * jax.nn.sigmoid(o)[..., :projection_size]"),
    ("projected_lstm", "tanh left off", "* jnp.tanh(c)) @", "* c) @"),
    ("lstm_1997", "tanh(g) of today", "2 * jnp.tanh(g / 2)", "jnp.tanh(g)"),
    ("lstm_1997", "the memory is forgotten", "c = state.c + jax.nn.sigmoid(i)",
     "c = (1 - jax.nn.sigmoid(i)) * state.c + jax.nn.sigmoid(i)"),
    ("janet", "beta on the wrong side", "jax.nn.sigmoid(beta - f)", "jax.nn.sigmoid(-beta - f)"),
    ("janet", "f and n swapped", "f, n = jnp.split", "n, f = jnp.split"),
    ("slstm", "not normalised", "jax.nn.sigmoid(o) * c / n", "jax.nn.sigmoid(o) * c"),
    ("slstm", "heads mixed", '"...ku,ugkv->...gkv"', '"...ku,ugjv->...gjv"'),
    ("mlstm", "keys and values swapped", "q, k, v = (", "q, v, k = ("),
    ("mlstm", "the floor not scaled", "jnp.exp(-jnp.clip(m.astype(wide), -40, 40))",
     "jnp.ones_like(m, wide)"),
    ("multiplicative_lstm", "a sum for the product", "x_m * (state.h @", "x_m + (state.h @"),
    ("multiplicative_lstm", "h to the gates, not m", "m @ params.w_m", "state.h @ params.w_m"),
    ("phased_lstm", "the memory goes on while closed", "k * c + (1 - k) * state.c)", "c)"),
    ("phased_lstm", "s added", "(t - s) *", "(t + s) *"),
    ("conv_lstm", "i and f swapped", "i, f, g, o = jnp.split", "f, i, g, o = jnp.split"),
    ("conv_lstm", "the state not convolved", "convolved(name, state.h, params.w_h, window, shape)",
     "convolved(x[..., :features], params.w_h)"),
    ("on_lstm", "the input gate ordered as the forget gate", "1 - cumax(master_i)",
     "cumax(master_i)"),
    ("on_lstm", "the overlap counted twice", "(master_f - overlap)", "master_f"),
    ("nas", "the product is a sum", "a[3] = xs[3] * hs[3]", "a[3] = xs[3] + hs[3]"),
    ("nas", "the memory enters after the gate", "jnp.tanh(p + state.c) * q",
     "jnp.tanh(p) * q + state.c"),
]  # fmt: skip

MUTANTS = [
    (f"{cell}: {what}", f"rnnjax/cells/{cell}.py", old, new,
     ("tests/cells", "-k", f"test_equations and not gaps and {cell}"))
    for cell, what, old, new in _FAULTS
]  # fmt: skip
MUTANTS += [
    (f"{cell}: an empty past is compared with", f"rnnjax/cells/{cell}.py", old, "past",
     ("tests/cells/test_lstm_family.py", "-k", "empty"))
    for cell, old in (
        ("slstm", "jnp.where(state.n == 0, jnp.minimum(past, i), past)"),
        ("mlstm", "jnp.where((state.n == 0).all(-1), jnp.minimum(past, i), past)"),
    )
] + [
    ("slstm: the stabiliser in half precision", "rnnjax/cells/slstm.py",
     "wide = at_least_float32(gates.dtype)", "wide = gates.dtype",
     ("tests/cells/test_lstm_family.py", "-k", "half_precision")),
    ("mlstm: the floor is not bounded", "rnnjax/cells/mlstm.py",
     "jnp.clip(m.astype(wide), -40, 40)", "m.astype(wide)",
     ("tests/cells/test_lstm_family.py", "-k", "any_size")),
]  # fmt: skip
