"""The network that listens, its loss, and what it makes of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import rnnjax
from rnnjax.train.losses import ctc
from rnnjax.train.sources import Sequences
from rnnjax.train.step import Loss
from rnnjax.train.task import CELLS

Array = jax.Array


def network(
    symbols: int, cell: str, hidden_size: int, layers: int, pyramids: int, dropout: float
) -> rnnjax.Layer:
    """Layers in both directions, pyramids behind the first of them, and a readout.

    Args:
      symbols: V, the blank among them.
      cell: a name of `CELLS`.
      hidden_size: its units, in each direction.
      layers: how many there are.
      pyramids: behind how many of them two steps become one.
      dropout: rate at which features behind a layer are left out.
    """
    parts: list[Any] = []
    for layer in range(layers):
        parts.append(rnnjax.bidirectional(CELLS[cell](hidden_size)))
        if layer < pyramids:
            parts.append(rnnjax.pyramid(2))
        if dropout:
            parts.append(rnnjax.dropout(dropout))
    return rnnjax.serial(*parts, rnnjax.linear(symbols))


class Heard(NamedTuple):
    """What the network makes of a batch.

    Attributes:
      scores: log p of each symbol at each step, [T, B, V].
      letters: int32 [T, B], as they are looked for; 0 behind them.
      quick: those of the best path.
      nats: of all letters that were said, [].
    """

    scores: Array
    letters: Array
    quick: Array
    nats: Array


def listener(
    network: rnnjax.Layer, varied: Callable[[Array, Array], Array], beam: int
) -> tuple[Loss, Callable[[Any, Sequences], Heard]]:
    """The loss of training, nats a letter by all alignments, and what is heard of a batch.

    Args:
      network: from features to logits; symbol 0 is the blank.
      varied: features [T, B, D] and a key to those that are read in training.
      beam: how many prefixes are kept; 1 takes the best path.
    """

    def logits_of(params: Any, batch: Sequences, key: Array | None) -> tuple[Array, Array]:
        xs, lengths = batch.xs, jnp.asarray(batch.lengths)
        keys = (None, None) if key is None else jax.random.split(key)
        if keys[0] is not None:
            xs = varied(xs, keys[0])
        _, logits = network.apply(params, xs, lengths=lengths, key=keys[1])
        return logits, network.output_lengths(lengths)

    def nats_of(logits: Array, lengths: Array, batch: Sequences) -> Array:
        letters = jnp.asarray(batch.targets).T
        return ctc(logits, lengths, letters, batch.target_lengths, mask=batch.real).total

    def loss(params: Any, carried: Any, batch: Sequences, key: Array) -> Any:
        logits, lengths = logits_of(params, batch, key)
        count = jnp.maximum(batch.target_lengths.sum(), 1).astype(logits.dtype)
        return nats_of(logits, lengths, batch) / count, (carried, {})

    @jax.jit
    def heard(params: Any, batch: Sequences) -> Heard:
        logits, lengths = logits_of(params, batch, None)
        letters = quick = rnnjax.ctc.best_path(logits, lengths).symbols
        if beam > 1:
            letters = rnnjax.ctc.prefix_search(logits, lengths, width=beam).symbols[..., 0]
        scores = jax.nn.log_softmax(logits)
        return Heard(scores, letters, quick, nats_of(logits, lengths, batch))

    return loss, heard
