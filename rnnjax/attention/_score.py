"""What a score is, and the softmax over the places of a memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Params, PyTree
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import Recipe
from rnnjax.initializers import Initializers


class Memory(NamedTuple):
    """What a decoder attends to: `rnnjax.attention.start` makes it, and a state holds it.

    Attributes:
      values: what is read, [*B, S, V]: the memory, or its projection; 0 at padding.
      keys: what queries are compared with, [*B, S, K]; None for the values.
      mask: bool [*B, S], False at padding.
    """

    values: Array
    keys: Array | None
    mask: Array

    @property
    def compared(self) -> Array:
        """What queries are compared with."""
        return self.values if self.keys is None else self.keys


@dataclasses.dataclass(frozen=True, eq=False)
class Score(Recipe):
    """How a query is compared with the places of a memory, and what share each place gets of it.

    Attributes:
      name: how errors and names of cells call it.
      key_size: `(query size Q, memory size M) -> K`: to how many features the memory is projected
        once, as keys; None where it is compared as it stands. Raises where Q and M do not fit.
      init: `(draw, key, Q, K or M, dtype) -> params`.
      weights: `(params, carried, query [*B, Q], memory) -> (carried, weights [*B, heads, S])`, 0
        where the memory's mask is False.
      carried: `(batch_shape, dtype) -> ` what it carries from step to step; () for most.
      value_size: V, to how many features it is projected once, as values; None where it is read as
        it stands.
      heads: in how many parts the values are read, each with weights of its own.
      places: of how many places each memory is, shorter ones padded; None for any number.
    """

    name: str
    key_size: Callable[[int, int], int | None]
    init: Callable[[Initializers, Array, int, int, Any], Params]
    weights: Callable[[Params, PyTree, Array, Memory], tuple[PyTree, Array]]
    carried: Callable[[tuple[int, ...], Any], PyTree] = lambda batch_shape, dtype: ()
    value_size: int | None = None
    heads: int = 1
    places: int | None = None


def _score(what: str, value: Any) -> Score:
    if not isinstance(value, Score):
        name = getattr(value, "__name__", repr(value))
        raise TypeError(
            f"{what} must be a Score, got {name}: call one of rnnjax.attention, as in additive(128)"
        )
    return value


Scored = Annotated[Score, _score]


def softmax(scores: Array, mask: Array) -> Array:
    """Softmax of scores [*B, N, S] over the places which mask [*B, S] allows; 0 where none is.

    In float32 or better. Finite, forward and backward, whatever stands at the other places.
    """
    dtype, mask = scores.dtype, mask[..., None, :]
    scores = scores.astype(at_least_float32(dtype))
    least = jnp.finfo(scores.dtype).min
    peak = jnp.max(scores, axis=-1, keepdims=True, initial=least, where=mask)
    peak = jax.lax.stop_gradient(peak)
    shares = jnp.where(mask, jnp.exp(jnp.where(mask, scores, peak) - peak), 0)
    total = shares.sum(-1, keepdims=True)
    return (shares / jnp.where(total > 0, total, 1)).astype(dtype)
