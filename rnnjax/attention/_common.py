"""What the two ways to attend share: parameters, state, and how a memory is read."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Held, Params
from rnnjax._combine._common import require_output_of
from rnnjax.attention._score import Memory, Score
from rnnjax.initializers import Initializers


class AttendParams(NamedTuple):
    """Parameters of `attend` and `attend_after`.

    Attributes:
      cell: the parameters of the cell inside.
      w_key: W_k [M, K], which makes the keys of a memory; None where it is compared as it stands.
      w_value: W_v [M, V], which makes its values; None where it is read as it stands.
      score: the score's other parameters.
      w: W_c [V + H, size] of `attend_after`; None for `attend`.
    """

    cell: Any
    w_key: Any
    w_value: Any
    score: Any
    w: Any = None


class AttendState(NamedTuple):
    """State of `attend` and `attend_after`; `rnnjax.attention.start` makes it.

    Attributes:
      cell: the state of the cell inside.
      context: what was read last, c_t [*B, V]; of `attend_after` the vector h̃_t [*B, size].
      score: what the score carries; () for most.
      memory: a `Memory`, held.
    """

    cell: Any
    context: Array
    score: Any
    memory: Held


@dataclasses.dataclass(frozen=True)
class Reader:
    """A cell with a score over memories of some size."""

    name: str
    cell: Cell
    memory_size: int
    score: Score

    def query(self, params: Params) -> Any:
        """The type of the cell's output for one row, which is what the memory is asked with."""
        output_of = require_output_of(self.name, self.cell)
        query = jax.eval_shape(lambda p: output_of(self.cell.initial_state(p)), params)
        if len(getattr(query, "shape", ())) != 1:
            raise TypeError(f"{self.name}: {self.cell.name} must give vectors [*B, H], got {query}")
        return query

    def init(self, draw: Initializers, key: Array, cell: Params, dtype: Any) -> AttendParams:
        """The parameters around those of the cell."""
        k_key, k_value, k_score = jax.random.split(key, 3)
        (queries,), memory = self.query(cell).shape, self.memory_size
        keys, values = self.score.key_size(queries, memory), self.score.value_size
        return AttendParams(
            cell=cell,
            w_key=None if keys is None else draw.w(k_key, (memory, keys), dtype),
            w_value=None if values is None else draw.w(k_value, (memory, values), dtype),
            score=self.score.init(draw, k_score, queries, keys or memory, dtype),
        )

    @property
    def value_size(self) -> int:
        """V, the features of what is read."""
        return self.score.value_size or self.memory_size

    def initial_state(
        self, params: AttendParams, batch: tuple[int, ...], key: Array | None, context: int
    ) -> AttendState:
        """A state with a memory of no places, or of as many as the score wants, all padding."""
        dtype, places = self.query(params.cell).dtype, self.score.places or 0

        def zeros(size: int) -> Array:
            return jnp.zeros((*batch, places, size), dtype)

        return AttendState(
            cell=self.cell.initial_state(params.cell, batch, key=key),
            context=jnp.zeros((*batch, context), dtype),
            score=self.score.carried(batch, dtype),
            memory=Held(
                Memory(
                    values=zeros(self.value_size),
                    keys=None if params.w_key is None else zeros(params.w_key.shape[-1]),
                    mask=jnp.zeros((*batch, places), bool),
                )
            ),
        )

    def read(
        self, params: AttendParams, state: AttendState, query: Array
    ) -> tuple[Any, Array, Array]:
        """What the score carries on, the weights [*B, N, S], and c_t [*B, V]."""
        memory = state.memory.value
        carried, weights = self.score.weights(params.score, state.score, query, memory)
        parts, (*places, features) = self.score.heads, memory.values.shape
        values = memory.values.reshape(*places, parts, features // parts)
        context = jnp.einsum("...ns,...snv->...nv", weights, values)
        return carried, weights, context.reshape(*context.shape[:-2], features)
