"""A sequence: loops, plain scans, pieces, padding and resets."""

from __future__ import annotations

import jax
import numpy as np

from rnnjax._dtypes import is_floating
from rnnjax._unroll import unroll
from rnnjax.testing._case import (
    Case,
    T,
    at,
    put_together,
)
from rnnjax.testing._law import law


@law(
    "compiled",
    cause="the step is not a pure function of (params, state, x), or its gradient is custom.",
)
def compiled(case: Case) -> None:
    """A loop of steps, `rnnjax.unroll` and plain `lax.scan` give the same."""
    case.same_run(case.looped, case.reference[1])
    case.same_run(case.whole[1], case.reference[1])


@law("chunks", cause="something that lasts from step to step is not in the state.")
def chunks(case: Case) -> None:
    """A sequence in two pieces, the state carried, gives what it gives whole."""
    state, pieces = case.state, []
    for half in (slice(None, T // 2), slice(T // 2, None)):
        state, ys = unroll(case.counted, case.params, state, at(case.xs, half), length=T // 2)
        pieces.append(ys)
    case.same_run((state, put_together("concatenate", pieces)), case.looped)


@law(
    "masked",
    cause=(
        "the step has no finite derivative at the input of padding (declare Cell.fill), or the "
        "initial state differs from row to row."
    ),
)
def masked(case: Case) -> None:
    """With padding a row gives what its real steps give alone; what padding holds never matters."""
    gaps = np.random.default_rng(case.seed).random((T, case.rows)) < 0.7
    gaps[:, 0] = True  # no padding; then none but padding
    lengths = np.full(case.rows, T - 1)
    lengths[:2] = T, 0
    mask = gaps & (np.arange(T)[:, None] < lengths)

    def dirty(x: np.ndarray, other: np.ndarray) -> np.ndarray:
        x = x.copy()
        x[~mask] = np.nan if is_floating(x) else other[~mask]
        return x

    xs = jax.tree.map(dirty, case.xs, case.inputs((T, case.rows), 2))
    resets = case.everywhere()["resets"]
    _, got, gradients = case.run(
        case.params, case.state, xs, lengths=lengths, mask=gaps, resets=resets
    )
    _, want, expected = case.by_rows(case.state, mask=mask, resets=resets)
    case.same_run(got, want)
    case.same_gradients(gradients, expected)


@law(
    "resets",
    cause="initial_state(params, batch_shape) is not initial_state(params, ()) for each row.",
)
def resets(case: Case) -> None:
    """After a reset a row gives what it gives from the initial state, gradients too."""
    got, want = case.restarted
    case.same_run(got[1], want[1])
    case.same_gradients(got[2], want[2])
