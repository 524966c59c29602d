"""Evaluation of a model of symbols over a whole text."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import Cell, unroll
from rnnjax._factory import natural
from rnnjax.train.losses import token_nats
from rnnjax.train.step import non_finite

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
      NonFiniteError: a loss is NaN; names the symbol, and the parameter to blame.
    """
    parts = _parts(cell, params, symbols, batch_size, window, 0)
    return sum(float(nats.sum(dtype=np.float64)) for _, nats in parts) / (len(symbols) - 1)


def token_losses(
    cell: Cell,
    params: Any,
    symbols: np.ndarray,
    *,
    batch_size: int = 32,
    window: int = 256,
    restart_every: int = 0,
) -> np.ndarray:
    """Nats of each symbol of a text after the first, predicted as `evaluate` does.

    Args:
      cell: the model, from symbols to logits.
      params: its parameters.
      symbols: the ids of the text, [N].
      batch_size: how many parts; 1 carries the state through the whole text.
      window: how many steps one call takes; it does not change the result.
      restart_every: after how many symbols each part starts from the initial state again; 0 never.

    Returns:
      float32 [N - 1].

    Raises:
      ValueError: there are fewer than two symbols, or a size is not positive.
      NonFiniteError: a loss is NaN; names the symbol, and the parameter to blame.
    """
    losses = np.empty(max(0, len(symbols) - 1), np.float32)
    for places, nats in _parts(cell, params, symbols, batch_size, window, restart_every):
        losses[places] = nats
    return losses


def _parts(
    cell: Cell,
    params: Any,
    symbols: np.ndarray,
    batch_size: int,
    window: int,
    restart_every: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(places of some targets, their losses), window by window."""
    batch_size = natural("batch_size", batch_size, least=1)
    window = natural("window", window, least=1)
    targets = _targets(symbols)
    length = -(-targets // batch_size)
    starts = np.arange(batch_size) * length
    state = cell.initial_state(params, (batch_size,))
    for start in range(0, length, window):
        steps = np.arange(start, min(start + window, length))
        at = starts + steps[:, None]  # [T, B]
        real, safe = at < targets, np.minimum(at, targets - 1)
        fresh = steps % restart_every == 0 if restart_every else None
        resets = None if fresh is None else np.broadcast_to(fresh[:, None], at.shape)
        state, nats = _read(cell, params, state, symbols, safe, real, resets)
        yield at[real], nats[real]


def window_losses(
    cell: Cell, params: Any, symbols: np.ndarray, *, window: int, batch_size: int = 256
) -> np.ndarray:
    """Nats of each symbol after the first, from the n symbols before it and nothing else.

    How a model is judged that was trained on sliding windows. The first symbols have fewer before
    them.

    Args:
      cell: the model, from symbols to logits.
      params: its parameters.
      symbols: the ids of the text, [N].
      window: n.
      batch_size: how many windows are read side by side; it does not change the result.

    Returns:
      float32 [N - 1].

    Raises:
      ValueError: there are fewer than two symbols, or a size is not positive.
      NonFiniteError: a loss is NaN; names the symbol, and the parameter to blame.
    """
    batch_size = natural("batch_size", batch_size, least=1)
    targets = _targets(symbols)
    window = min(natural("window", window, least=1), targets)
    losses = np.empty(targets, np.float32)
    state = cell.initial_state(params, (batch_size,))
    windows = targets - window + 1
    for start in range(0, windows, batch_size):
        rows = np.minimum(start + np.arange(batch_size), windows - 1)
        at = rows + np.arange(window)[:, None]
        mask = np.ones(at.shape, bool)
        _, nats = _read(cell, params, state, symbols, at, mask, None)
        losses[rows + window - 1] = nats[-1]
        if start == 0:
            losses[:window] = nats[:, 0]
    return losses


def _targets(symbols: np.ndarray) -> int:
    """How many symbols are predicted."""
    if len(symbols) < 2:
        raise ValueError(f"{len(symbols)} tokens, need at least 2 to predict one from another")
    return len(symbols) - 1


def loss_by_position(
    losses: np.ndarray, window: int, *, batch_size: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Mean loss at each position of the windows that a text is cut into.

    Args:
      losses: what `token_losses` returned, for the same `batch_size`.
      window: W.
      batch_size: how many parts the text was read as.

    Returns:
      (mean nats [W], how many symbols each is over [W]); NaN over none.

    Example:
      >>> import numpy as np
      >>> loss_by_position(np.array([3.0, 1.0, 5.0]), 2)[0].tolist()
      [4.0, 1.0]
    """
    length = -(-len(losses) // batch_size)
    position = np.arange(len(losses)) % length % window
    count = np.bincount(position, minlength=window)
    total = np.bincount(position, weights=losses, minlength=window)
    return np.where(count, total / np.maximum(count, 1), np.nan), count


class Evaluation(NamedTuple):
    """What a model makes of a text.

    Attributes:
      unit: what a symbol is, "character" or "word".
      losses: nats of each symbol after the first, [N - 1].
      characters: how many characters the text has.
      unknown: how many of its symbols the model does not know.
      positions: mean loss at each position of a window whose state begins anew, [W]; how much
        what lies further back helps.
      carried: the same with the state carried through the text; None for a model of windows.
    """

    unit: str
    losses: np.ndarray
    characters: int
    unknown: int
    positions: np.ndarray
    carried: np.ndarray | None

    @property
    def nats(self) -> float:
        """Mean loss of a symbol."""
        return float(self.losses.mean(dtype=np.float64))

    @property
    def bits_per_character(self) -> float:
        """Bits of all symbols together, a character of the text."""
        return self.nats * len(self.losses) / math.log(2) / self.characters


def evaluation(
    cell: Cell,
    params: Any,
    symbols: np.ndarray,
    characters: int,
    *,
    unit: str,
    size: int,
    window: int,
    carried: bool,
    batch_size: int = 1,
) -> Evaluation:
    """What a model makes of a text, in the way that it was trained to read.

    Args:
      cell: the model, from symbols to logits.
      params: its parameters.
      symbols: the ids of the text, [N].
      characters: how many characters the text has.
      unit: what a symbol is.
      size: V, how many symbols there are, the unknown one the last.
      window: T, how many steps the training went back through.
      carried: whether the state was carried from window to window.
      batch_size: how many parts of the text are read side by side; 1 carries the state through
        the whole text, more are quicker.

    Returns:
      An `Evaluation`.

    Raises:
      ValueError: there are fewer than two symbols, or a size is not positive.
    """
    along = None
    if carried:
        window *= 2  # beyond what training went through
        chunk = chunk_size(batch_size, size)
        losses = token_losses(cell, params, symbols, batch_size=batch_size, window=chunk)
        along, _ = loss_by_position(losses, window, batch_size=batch_size)
    else:
        losses = window_losses(cell, params, symbols, window=window)
    parts = min(64, max(1, len(symbols) // window))
    chunk = chunk_size(parts, size)
    restarted = token_losses(
        cell, params, symbols, batch_size=parts, window=chunk, restart_every=window
    )
    positions, _ = loss_by_position(restarted, window, batch_size=parts)
    unknown = int((symbols == size - 1).sum())
    return Evaluation(unit, losses, characters, unknown, positions, along)


def chunk_size(batch_size: int, size: int) -> int:
    """How many steps of an evaluation go together: the logits stay below 16 MB, or 256 steps."""
    return max(1, min(256, 2**22 // (batch_size * size)))


def _read(
    cell: Cell,
    params: Any,
    state: Any,
    symbols: np.ndarray,
    at: np.ndarray,
    mask: np.ndarray,
    resets: np.ndarray | None,
) -> tuple[Any, np.ndarray]:
    """The state after, and the losses of, what follows the symbols at some places [T, B]."""
    state, nats = _window(cell, params, state, symbols[at], symbols[at + 1], mask, resets)
    nats = np.asarray(nats)
    for place in at[np.isnan(nats)][:1]:
        raise non_finite(f"the loss of symbol {place + 1} is not a number", params)
    return state, nats


@functools.partial(jax.jit, static_argnames="cell")
def _window(
    cell: Cell,
    params: Any,
    state: Any,
    xs: Array,
    targets: Array,
    mask: Array,
    resets: Array | None,
) -> tuple[Any, Array]:
    state, logits = unroll(cell, params, state, xs, mask=mask, resets=resets)
    return state, token_nats(logits, targets, mask).astype(jnp.float32)
