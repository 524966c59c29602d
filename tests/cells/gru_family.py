"""Cells that gate as the GRU does."""

import numpy as np
from oracles import sigmoid

import rnnjax

from .known import D, H, Known, convolution


def relu(a):
    return a * (a.real > 0)


def mgu(params, h, x):
    w_x, w_h, b = params
    f = sigmoid(x @ w_x[:, :H] + h @ w_h[:, :H] + b[:H])
    n = np.tanh(x @ w_x[:, H:] + (f * h) @ w_h[:, H:] + b[H:])
    h = (1 - f) * h + f * n
    return h, h


def ligru(params, h, x):
    (W_z, W_n), (U_z, U_n), (b_z, b_n) = (np.split(p, 2, -1) for p in params)
    z = sigmoid(x @ W_z + h @ U_z + b_z)
    h = z * h + (1 - z) * relu(x @ W_n + h @ U_n + b_n)
    return h, h


def ran(g):
    def step(params, state, x):
        (W_i, W_f, W_c), U, b = np.split(params.w_x, 3, -1), params.w_h, params.b
        h, c = state
        i = sigmoid(h @ U[:, :H] + x @ W_i + b[:H])
        f = sigmoid(h @ U[:, H:] + x @ W_f + b[H:])
        c = i * (x @ W_c) + f * c
        return type(state)(g(c), c), g(c)

    return step


def ugrnn(s):
    def step(params, h, x):
        (W_g, W_c), (U_g, U_c), (b_g, b_c) = (np.split(p, 2, -1) for p in params)
        c = s(h @ U_c + x @ W_c + b_c)
        g = sigmoid(h @ U_g + x @ W_g + b_g)
        h = g * h + (1 - g) * c
        return h, h

    return step


def cfn(params, h, x):
    (V_θ, V_η, W), U, b = np.split(params.w_x, 3, -1), params.w_h, params.b
    θ = sigmoid(h @ U[:, :H] + x @ V_θ + b[:H])
    η = sigmoid(h @ U[:, H:] + x @ V_η + b[H:])
    h = θ * np.tanh(h) + η * np.tanh(x @ W)
    return h, h


def bistable(recur):
    """`recur`: what reaches the gates a and c from h."""

    def step(params, h, x):
        U_a, U_c, U = np.split(params[0], 3, -1)
        h_a, h_c = recur(h, params[1])
        a = 1 + np.tanh(x @ U_a + h_a)
        c = sigmoid(x @ U_c + h_c)
        h = c * h + (1 - c) * np.tanh(x @ U + a * h)
        return h, h

    return step


def fast_grnn(params, h, x):
    ζ, ν = sigmoid(params.logit_rate_zeta), sigmoid(params.logit_rate_nu)
    z = sigmoid(x @ params.w_x + h @ params.w_h + params.b[:H])
    n = np.tanh(x @ params.w_x + h @ params.w_h + params.b[H:])
    h = (ζ * (1 - z) + ν) * n + z * h
    return h, h


def atr(params, h, x):
    p, q = x @ params.w_x, h @ params.w_h
    h = sigmoid(p + q) * p + sigmoid(p - q) * h
    return h, h


def gates(params, h, x, product):
    """The papers' z and candidate of a GRU, `product` its product of anything with weights."""
    W_r, W_z, W_n = np.split(params.w_x, 3, -1)
    U_r, U_z, U_n = np.split(params.w_h, 3, -1)
    b_r, b_z, b_n = np.split(params.b, 3)
    r = sigmoid(product(x, W_r) + product(h, U_r) + b_r)
    # Ours is how much is kept, theirs how much is new.
    z = 1 - sigmoid(product(x, W_z) + product(h, U_z) + b_z)
    return z, np.tanh(product(x, W_n) + product(r * h, U_n) + b_n)


def conv_gru(*window):
    def step(params, h, x):
        z, n = gates(params, h, x, lambda a, w: convolution(a, w.reshape(*window, a.shape[-1], -1)))
        h = (1 - z) * h + z * n
        return h, h

    return step


def images(*size):
    return lambda rng, shape: rng.normal(0, 1, (*shape, *size))


def gru_d(params, state, inputs):
    (h, seen), (x, m, δ) = state, inputs
    γ_x = np.exp(-relu(params.diagonal_gamma_x * δ + params.b_gamma_x))
    γ_h = np.exp(-relu(δ @ params.w_gamma_h + params.b_gamma_h))
    x = np.array([x[d] if m[d] else γ_x[d] * seen[d] + (1 - γ_x[d]) * MEAN[d] for d in range(D)])
    seen = np.array([x[d] if m[d] else seen[d] for d in range(D)])
    joint = params._replace(w_x=np.concatenate([params.w_x, params.w_m]))
    z, n = gates(joint, γ_h * h, np.concatenate([x, m]), lambda a, w: a @ w)
    h = (1 - z) * (γ_h * h) + z * n
    return type(state)(h, seen), h


def with_gaps(rng, shape):
    size = (*shape, D)
    return rng.normal(0, 1, size), rng.random(size) < 0.5, rng.exponential(1, size)


MEAN = (0.5, -1.0, 2.0)
DH, HH = D * H, H * H
UGRNN = {"count": 2 * (DH + HH + H), "in_loop": 1}
RAN = {"count": 3 * DH + 2 * HH + 2 * H, "in_loop": 1}

CELLS = {
    "mgu": Known(rnnjax.mgu(H), mgu, count=2 * (DH + HH + H), in_loop=2),
    "ligru": Known(rnnjax.ligru(H), ligru, count=2 * (DH + HH + H), in_loop=1),
    "ran": Known(rnnjax.ran(H), ran(np.tanh), **RAN),
    "ran_identity": Known(rnnjax.ran(H, activation="identity"), ran(lambda c: 1 * c), **RAN),
    "ugrnn": Known(rnnjax.ugrnn(H), ugrnn(np.tanh), **UGRNN),
    "ugrnn_relu": Known(rnnjax.ugrnn(H, activation="relu"), ugrnn(relu), **UGRNN),
    "cfn": Known(rnnjax.cfn(H), cfn, count=3 * DH + 2 * HH + 2 * H, in_loop=1),
    "brc": Known(
        rnnjax.brc(H),
        bistable(lambda h, u: (h * u[:H], h * u[H:])),
        count=3 * DH + 2 * H,
        in_loop=0,
    ),
    "nbrc": Known(
        rnnjax.nbrc(H),
        bistable(lambda h, U: (h @ U[:, :H], h @ U[:, H:])),
        count=3 * DH + 2 * HH,
        in_loop=1,
    ),
    "fast_grnn": Known(rnnjax.fast_grnn(H), fast_grnn, count=DH + HH + 2 * H + 2, in_loop=1),
    "conv_gru_1": Known(
        rnnjax.conv_gru((3,), 2),
        conv_gru(3),
        count=3 * (3 * 2 * 2 + 3 * 2 * 2 + 2),
        in_loop=2,
        inputs=images(3, 2),
    ),
    "conv_gru_2": Known(
        rnnjax.conv_gru((2, 3), 2, kernel=(2, 3)),
        conv_gru(2, 3),
        count=3 * (6 * 1 * 2 + 6 * 2 * 2 + 2),
        in_loop=2,
        inputs=images(2, 3, 1),
    ),
    "conv_gru_3": Known(
        rnnjax.conv_gru((2, 1, 2), 1, kernel=(2, 1, 3)),
        conv_gru(2, 1, 3),
        count=3 * (6 * 2 * 1 + 6 * 1 * 1 + 1),
        in_loop=2,
        inputs=images(2, 1, 2, 2),
    ),
    "gru_d": Known(
        rnnjax.gru_d(H, mean=MEAN),
        gru_d,
        count=3 * (2 * DH + HH + H) + 2 * D + DH + H,
        in_loop=2,
        inputs=with_gaps,
    ),
    "atr": Known(rnnjax.atr(H), atr, count=DH + HH, in_loop=1),
}

_FAULTS = [
    ("ligru", "z and 1 - z swapped", "z * h + (1 - z) * jax", "(1 - z) * h + z * jax"),
    ("ligru", "tanh for max", "jax.nn.relu(n)", "jnp.tanh(n)"),
    ("ran", "i and f swapped", "i, f = jnp", "f, i = jnp"),
    ("ran", "always tanh", "h = φ(c)", "h = jnp.tanh(c)"),
    ("ugrnn", "g and c swapped", "g, c = jnp", "c, g = jnp"),
    ("ugrnn", "always tanh", "φ(c)", "jnp.tanh(c)"),
    ("cfn", "θ and η swapped", "θ, η = jnp", "η, θ = jnp"),
    ("cfn", "tanh left off h", "θ * jnp.tanh(h)", "θ * h"),
    ("brc", "a without 1", "a = 1 + jnp", "a = jnp"),
    ("brc", "a and c swapped", "u_a, u_c = jnp", "u_c, u_a = jnp"),
    ("nbrc", "a and c swapped", "h_a, h_c = jnp", "h_c, h_a = jnp"),
    ("nbrc", "h not fed back", "x_n + a * h", "x_n + a"),
    ("fast_grnn", "biases swapped", "(b_z, b_n) = ", "(b_n, b_z) = "),
    ("fast_grnn", "ν left off", "(ζ * (1 - z) + ν)", "(ζ * (1 - z))"),
    ("atr", "a sum for the difference", "sigmoid(p - q)", "sigmoid(p + q)"),
    ("atr", "q for p", "* p + ", "* q + "),
    ("conv_gru", "reset after the product", "convolved(name, r * h, u_n, window, shape)",
     "r * convolved(name, h, u_n, window, shape)"),
    ("conv_gru", "r and z swapped", "r, z = jnp", "z, r = jnp"),
    ("gru_d", "h not decayed", "γ_h * state.h", "state.h"),
    ("gru_d", "the latest for the last seen", "jnp.where(m, x, state.x)), h", "x), h"),
    ("gru_d", "a mean of 0", "(1 - γ_x) * to", "0 * to"),
    ("gru_d", "the mask unread", "m.astype(x.dtype) @", "0 * m.astype(x.dtype) @"),
    ("_grid", "kernels to the right", 'padding="SAME"', 'padding="SAME_LOWER"'),
]  # fmt: skip
MUTANTS = [
    (
        f"{cell}: {what}",
        f"rnnjax/cells/{cell}.py",
        old,
        new,
        ("tests/cells", "-k", f"equations and {'conv_gru' if cell == '_grid' else cell}"),
    )
    for cell, what, old, new in _FAULTS
]
