"""Cells that gate as the GRU does."""

import numpy as np
from oracles import sigmoid

import rnnjax

from .known import D, H, Known


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
    "atr": Known(rnnjax.atr(H), atr, count=DH + HH, in_loop=1),
}
