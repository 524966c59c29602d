"""Evaluation of a model of symbols over a whole text."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import Cell, unroll
from rnnjax._cell import natural
from rnnjax.train.losses import cross_entropy

Array = jax.Array


def evaluate(
    cell: Cell, params: Any, symbols: np.ndarray, *, batch_size: int = 32, window: int = 256
) -> float:
    """Nats per symbol of a text, every symbol after the first predicted exactly once.

    The text is read as `batch_size` parts side by side, each from the initial state, the state
    carried through the part.

    Args:
      cell: the model, from symbols to logits.
      params: its parameters.
      symbols: the ids of the text, [N].
      batch_size: how many parts; 1 carries the state through the whole text.
      window: how many steps one call takes; it does not change the result.

    Returns:
      The mean loss, in nats.

    Raises:
      ValueError: there are fewer than two symbols, or a size is not positive.
    """
    batch_size = natural("batch_size", batch_size, least=1)
    window = natural("window", window, least=1)
    targets = len(symbols) - 1
    if targets < 1:
        raise ValueError(f"{len(symbols)} tokens, need at least 2 to predict one from another")
    length = -(-targets // batch_size)
    padded = np.zeros(batch_size * length + 1, np.int32)
    padded[: targets + 1] = symbols
    places = np.arange(batch_size * length).reshape(batch_size, length).T  # [T, B]
    state, total = cell.initial_state(params, (batch_size,)), 0.0
    for start in range(0, length, window):
        at = places[start : start + window]
        state, nats = _window(cell, params, state, padded[at], padded[at + 1], at < targets)
        total += float(nats)
    return total / targets


@functools.partial(jax.jit, static_argnames="cell")
def _window(
    cell: Cell, params: Any, state: Any, xs: Array, targets: Array, mask: Array
) -> tuple[Any, Array]:
    state, logits = unroll(cell, params, state, xs, mask=mask)
    return state, cross_entropy(logits, targets, mask).total.astype(jnp.float32)
