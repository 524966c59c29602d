"""Cells that gate as the GRU does."""

import numpy as np
from oracles import sigmoid

import rnnjax

from .known import D, H, Known


def mgu(params, h, x):
    w_x, w_h, b = params
    f = sigmoid(x @ w_x[:, :H] + h @ w_h[:, :H] + b[:H])
    n = np.tanh(x @ w_x[:, H:] + (f * h) @ w_h[:, H:] + b[H:])
    h = (1 - f) * h + f * n
    return h, h


CELLS = {
    "mgu": Known(rnnjax.mgu(H), mgu, count=2 * (D * H + H * H + H), in_loop=2),
}
