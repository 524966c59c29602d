"""The loss of a model of symbols, with a state that is carried from window to window."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import Cell, last, rekey, unroll
from rnnjax._cell import joined, parted
from rnnjax._factory import one_of, real
from rnnjax._unroll import select_rows
from rnnjax.train.losses import bits_per_token, cross_entropy, perplexity
from rnnjax.train.step import Loss

Array = jax.Array
PyTree = Any

# What the loss of a symbol is shown as, by what a symbol is.
FIGURES = {
    "character": ("bits per character", bits_per_token),
    "word": ("perplexity", perplexity),
}


class Symbols(NamedTuple):
    """A window of symbols; begins like a `Window`, which may stand for it.

    Attributes:
      xs: [T, B].
      targets: [T, B].
      fresh: bool [], whether the states begin anew.
      mask: bool [T, B], False at padding.
      resets: bool [T, B], True where a row starts from the initial state.
    """

    xs: Array
    targets: Array
    fresh: Array | bool = False
    mask: Array | None = None
    resets: Array | None = None


def next_symbol_loss(
    cell: Cell,
    *,
    restart_rate: float = 0.0,
    loss: str = "mean",
    tokens: str = "all",
    unit: str = "character",
) -> Loss:
    """The cross-entropy of a model's predictions over a window, for `make_train_step`.

        carried', logits = unroll(cell, params, carried, xs)
        loss = cross-entropy of the targets

    The state is carried from window to window, its gradient is not. Noise is drawn anew each
    window. Equal arguments give one function.

    Args:
      cell: the model, from symbols to logits.
      restart_rate: the probability that a row starts a window from the initial state instead of
        the carried one. A model that never does learns to rely on what its memory has piled up
        over thousands of steps, and is lost at the start of a new text.
      loss: what is minimised: the "mean" over all tokens, or the "sum" over time, of which the
        mean is taken over the batch alone.
      tokens: whether "all" targets count, or the "last" real one of each row alone.
      unit: what a symbol is, "character" or "word": the metric is the mean in bits, or perplexity.

    Returns:
      A loss of batches that are a `Window` or `Symbols`; the cell's state is what is carried.

    Raises:
      TypeError, ValueError: `restart_rate` is no number in [0, 1], or `loss`, `tokens` or `unit`
        none of their choices.

    Reference:
      Williams & Peng, An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent
      Network Trajectories, Neural Computation 2(4), 1990.
    """
    # Checked out here, since True and 1 are one key of the cache.
    wanted = "a number in [0, 1]"
    restart_rate = real("restart_rate", restart_rate, wanted, lambda x: 0 <= x <= 1)
    summed = one_of("mean", "sum")("loss", loss) == "sum"
    only_last = one_of("all", "last")("tokens", tokens) == "last"
    return _loss(cell, restart_rate, summed, only_last, one_of(*FIGURES)("unit", unit))


@functools.lru_cache(maxsize=16)
def _loss(cell: Cell, restart_rate: float, summed: bool, only_last: bool, unit: str) -> Loss:
    name, figure = FIGURES[unit]

    def next_symbol(
        params: PyTree, carried: PyTree, batch: Any, key: Array
    ) -> tuple[Array, tuple[PyTree, dict[str, Any]]]:
        xs, targets, fresh, mask, resets = Symbols(*batch)
        noise, restarts = jax.random.split(key)
        batch_shape = xs.shape[1:]
        rows = jax.random.bernoulli(restarts, restart_rate, batch_shape)
        # In here, so that a learnable initial state gets its gradient.
        anew, _ = parted(cell.initial_state(params, batch_shape, key=noise))
        begin, held = parted(carried)
        begin = select_rows(jnp.broadcast_to(fresh, batch_shape), anew, begin)
        begin = select_rows(rows, anew, rekey(cell, begin, noise))
        begin = joined(begin, held)
        carried, logits = unroll(cell, params, begin, xs, mask=mask, resets=resets)
        counted = (logits, targets, mask)
        if only_last and len(targets):
            some = None if mask is None else mask.any(axis=0)
            counted = (last(logits, mask=mask), last(targets, mask=mask), some)
        found = cross_entropy(*counted)
        value = found.total / rows.size if summed else found.mean
        return value, (carried, {name: figure(found.mean)})

    return next_symbol
