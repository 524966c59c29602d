"""Cells for steps of any length: inputs (x, dt)."""

import numpy as np
from oracles import ACTIVATIONS, sigmoid

import rnnjax

from .known import D, H, Known, floats

K = 5
relu = ACTIVATIONS["relu"]


def spans(rng, shape):
    """x and the time since the last one."""
    return floats(rng, shape), rng.uniform(0.1, 2, shape)


def timed_ct_rnn(exponential):
    def step(params, h, x):
        (w_x, w_h, b, log_tau), (x, dt) = params, x
        n = np.tanh(x @ w_x + h @ w_h + b)
        ratio = dt / np.exp(log_tau)
        h = np.exp(-ratio) * (h - n) + n if exponential else h + ratio * (n - h)
        return h, h

    return step


def ltc(unfolds):
    def step(params, h, x):
        (w_x, w_h, b, log_tau, A), (x, dt) = params, x
        tau, dt = np.exp(log_tau), dt / unfolds
        for _ in range(unfolds):
            f = sigmoid(x @ w_x + h @ w_h + b)
            h = np.array(
                [(h[i] + dt * f[i] * A[i]) / (1 + dt * (1 / tau[i] + f[i])) for i in range(H)]
            )
        return h, h

    return step


def cfc(gated):
    def step(params, h, x):
        (w_x, w_h, b, w_y, b_y), (x, t) = params, x
        backbone = np.tanh(np.concatenate([x, h]) @ np.concatenate([w_x, w_h]) + b)
        f = backbone @ w_y[:, :H] + b_y[:H]
        g = np.tanh(backbone @ w_y[:, H : 2 * H] + b_y[H : 2 * H])
        k = np.tanh(backbone @ w_y[:, 2 * H :] + b_y[2 * H :])
        h = sigmoid(-f * t) * g + ((1 - sigmoid(-f * t)) * k if gated else k)
        return h, h

    return step


ELMAN = D * H + H * H + H
CFC = (D + H) * K + K + 3 * (K * H + H)
CELLS = {
    "timed_ct_rnn": Known(
        rnnjax.timed_ct_rnn(H), timed_ct_rnn(True), count=ELMAN + H, in_loop=1, inputs=spans
    ),
    "timed_ct_rnn-euler": Known(
        rnnjax.timed_ct_rnn(H, tau=4, method="euler"),
        timed_ct_rnn(False),
        count=ELMAN + H,
        in_loop=1,
        inputs=spans,
    ),
    "ltc": Known(rnnjax.ltc(H, unfolds=2), ltc(2), count=ELMAN + 2 * H, in_loop=2, inputs=spans),
    "cfc": Known(rnnjax.cfc(H, K), cfc(True), count=CFC, in_loop=2, inputs=spans),
    "cfc-no_gate": Known(
        rnnjax.cfc(H, K, gated=False), cfc(False), count=CFC, in_loop=2, inputs=spans
    ),
}


# Faults of these cells, for `tests/mutation.py`: what, file, old text, new text, tests.
MUTANTS = [
    (f"{cell}: {what}", f"rnnjax/cells/{cell}.py", old, new,
     ("tests/cells/test_known.py", "-k", f"test_equations and not gaps and {cell}"))
    for cell, what, old, new in (
        ("timed_ct_rnn", "all steps are of length 1", "dt * rows(", "rows("),
        ("timed_ct_rnn", "a and 1 - a swapped", "(1 - a) * h + a * n", "a * h + (1 - a) * n"),
        ("ltc", "the span not divided", "dt / unfolds", "dt"),
        ("ltc", "f left out of the time constant", "(leak + f)", "leak"),
        ("cfc", "g and k swapped", "f, g, k =", "f, k, g ="),
        ("cfc", "time runs backwards", "sigmoid(-f * dt)", "sigmoid(f * dt)"),
    )
]  # fmt: skip
