"""The network: from the chords so far to which notes sound next, and to pieces that are drawn."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

import rnnjax
from rnnjax._unroll import before_end
from rnnjax.tasks._cells import parts_of
from rnnjax.tasks.music.rolls import NOTES
from rnnjax.train.losses import TokenLoss, binary_cross_entropy
from rnnjax.train.sources import Sequences

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Composer:
    """Foresees chords: v_t are the 88 notes of step t, of which each sounds or not.

        h_t = cell(v_{t-1}, h_{t-1}),   v_0 = 0
        p(v_{t,n} = 1 | v_{<t}, v_{t,<n}) = σ(W h_t + b + v_t U)_n

    where U is strictly upper triangular, so that a note is told the lower ones of its chord; or 0,
    and the notes of a step are independent given what came before.

    Attributes:
      cell: the name of the recurrent cell.
      hidden_size: its units.
      dropout: rate at which notes that are read, and outputs of the cell, are left out.
      in_turn: whether a note is told the lower ones.

    Reference:
      For U: Neal, Connectionist Learning of Belief Networks, Artificial Intelligence 56(1), 1992;
      the same idea with a hidden layer is the RNN-NADE of Boulanger-Lewandowski et al., 2012.
    """

    cell: str
    hidden_size: int
    dropout: float
    in_turn: bool

    @property
    def network(self) -> rnnjax.Cell:
        """From a chord [88] to the logits of the next one, U left out."""
        return rnnjax.stack(
            heard=rnnjax.dropout(self.dropout),
            **parts_of(self.cell, self.hidden_size),
            kept=rnnjax.dropout(self.dropout),
            readout=rnnjax.linear(NOTES),
        )

    def init(self, key: Array) -> dict[str, Any]:
        """The parameters; U begins at 0."""
        params: dict[str, Any] = {"network": self.network.init(key, NOTES)}
        if self.in_turn:
            params["within"] = {"w": jnp.zeros((NOTES, NOTES))}
        return params

    def logits(self, params: Any, batch: Sequences, key: Array | None = None) -> Array:
        """The logits of all notes at all steps, [T, B, 88]; with noise where there is a key."""
        rolls = jnp.asarray(batch.xs).astype(jnp.float32)
        xs = jnp.concatenate([jnp.zeros_like(rolls[:1]), rolls[:-1]])
        state = self.network.initial_state(params["network"], rolls.shape[1:2], key=key)
        _, ys = rnnjax.unroll(
            self.network, params["network"], state, xs, lengths=jnp.asarray(batch.lengths)
        )
        return ys + rolls @ jnp.triu(params["within"]["w"], 1) if self.in_turn else ys

    def nats(self, params: Any, batch: Sequences, key: Array | None = None) -> TokenLoss:
        """-log p of a batch, whose tokens are the notes of real steps."""
        mask = before_end(len(batch.xs), batch.lengths)
        return binary_cross_entropy(self.logits(params, batch, key), batch.xs, mask)

    @functools.partial(jax.jit, static_argnums=0)
    def counts(self, params: Any, batch: Sequences) -> dict[str, Array]:
        """Sums over a batch: nats, those of first steps, notes told rightly, and notes in all.

        Those in all are told rightly, told in vain, or missed; a note is told if it is likelier
        than not.
        """
        mask, logits = before_end(len(batch.xs), batch.lengths), self.logits(params, batch)
        real, told = jnp.asarray(batch.xs) == 1, logits > 0  # logits are 0 at padding
        return {
            "nats": binary_cross_entropy(logits, batch.xs, mask).total,
            "first": binary_cross_entropy(logits[:1], batch.xs[:1], mask[:1]).total,
            "right": (told & real).sum(),
            "all": (told | real).sum(),
        }

    @functools.partial(jax.jit, static_argnums=(0, 3))
    def follow(self, params: Any, roll: Array, steps: int, temperature: Any, key: Array) -> Array:
        """What is drawn behind a roll [T, 88], T of 0 and more: [steps, 88], -1 for no number."""
        network = self.network
        xs = jnp.concatenate([jnp.zeros((1, NOTES)), roll])
        state, ys = rnnjax.unroll(network, params["network"], None, xs)

        def step(carry: tuple[Any, Array], key: Array) -> tuple[tuple[Any, Array], Array]:
            state, logits = carry
            frame = self._drawn(params, logits, temperature, key)
            return network.step(params["network"], state, frame.astype(xs.dtype)), frame

        return jax.lax.scan(step, (state, ys[-1]), jax.random.split(key, steps))[1]

    def _drawn(self, params: Any, logits: Array, temperature: Any, key: Array) -> Array:
        """A chord [88] of its logits, from the lowest note upwards."""
        at = jax.random.uniform(key, logits.shape, logits.dtype)

        def told(logits: Array, at: Array) -> Array:
            chance = jax.nn.sigmoid(logits / temperature)
            return jnp.where(jnp.isnan(chance), jnp.int8(-1), (at < chance).astype(jnp.int8))

        if not self.in_turn:
            return told(logits, at)

        def note(logits: Array, of: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            n, at, higher = of
            found = told(logits[n], at)
            return logits + found.astype(logits.dtype) * higher, found

        higher = jnp.triu(params["within"]["w"], 1)
        return jax.lax.scan(note, logits, (jnp.arange(NOTES), at, higher))[1]
