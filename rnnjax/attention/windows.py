"""Scores that look at a few places near one only: Luong's local attention."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Params, PyTree
from rnnjax._factory import Size, cell_factory
from rnnjax.attention._score import Memory, Score, Scored
from rnnjax.initializers import Initializers


class LocalParams(NamedTuple):
    """Parameters of `local`.

    Attributes:
      score: the parameters of the score inside.
      w_place: W_p [Q, A].
      w_centre: v_p [A, 1].
    """

    score: Any
    w_place: Array
    w_centre: Array


def _within(memory: Memory, centre: Array, width: int) -> tuple[Memory, Array]:
    """The memory of the places at most `width` from a centre [*B], and how far each is, [*B, S]."""
    place = jnp.cumsum(memory.mask, axis=-1).astype(centre.dtype)  # 1 .. S of the real ones
    distance = place - centre[..., None]
    return memory._replace(mask=memory.mask & (jnp.abs(distance) <= width)), distance


@cell_factory
def local(score: Scored, size: Size, *, width: Size = 10) -> Score:
    """Looks near a place that the query foretells: Luong's local-p.

        p = S σ(tanh(q W_p) v_p)                             in [0, S], S the row's own
        a_s = a'_s exp(-(s - p)² / (2 (D / 2)²))             where |s - p| ≤ D, else 0

    where a' is the score's softmax over these places alone. As in the paper, what is left of it
    does not sum to 1.

    Args:
      score: what compares.
      size: A, the units that foretell.
      width: D.

    Returns:
      A Score with `LocalParams`.

    Raises:
      TypeError: an argument is of the wrong type.
      ValueError: an argument is below 1.

    Example:
      >>> import rnnjax
      >>> from rnnjax.attention import dot, local
      >>> rnnjax.attend_after(rnnjax.gru(6), 6, local(dot(), 8, width=2), 5).name
      'attend_after(gru(6), 6, local(dot, 8, 2), 5)'

    Reference:
      Luong, Pham & Manning, Effective Approaches to Attention-based Neural Machine Translation,
      EMNLP 2015, arXiv:1508.04025.
    """

    def init(draw: Initializers, key: Array, query: int, keys: int, dtype: Any) -> LocalParams:
        k_score, k_place, k_centre = jax.random.split(key, 3)
        return LocalParams(
            score=score.init(draw, k_score, query, keys, dtype),
            w_place=draw.w(k_place, (query, size), dtype),
            w_centre=draw.w(k_centre, (size, 1), dtype),
        )

    def weights(
        own: LocalParams, carried: PyTree, query: Array, memory: Memory
    ) -> tuple[PyTree, Array]:
        share = jax.nn.sigmoid(jnp.tanh(query @ own.w_place) @ own.w_centre)[..., 0]
        centre = memory.mask.sum(-1).astype(share.dtype) * share
        near, distance = _within(memory, centre, width)
        carried, found = score.weights(own.score, carried, query, near)
        return carried, found * jnp.exp(-2 * (distance / width) ** 2)[..., None, :]

    return dataclasses.replace(
        score, name=f"local({score.name}, {size}, {width})", init=init, weights=weights
    )


@cell_factory
def monotonic(score: Scored, *, width: Size = 10) -> Score:
    """Looks near the place of the step itself: Luong's local-m, for sequences of one order.

        p_t = min(t, S)                                      t = 1, 2, .., S the row's own
        a_s = the score's softmax over |s - p_t| ≤ D, else 0

    Args:
      score: what compares.
      width: D.

    Returns:
      A Score with the parameters of `score`, which carries t too.

    Raises:
      TypeError: an argument is of the wrong type.
      ValueError: `width` is below 1.

    Example:
      >>> import rnnjax
      >>> from rnnjax.attention import general, monotonic
      >>> rnnjax.attend(rnnjax.gru(4), 6, monotonic(general(), width=3)).name
      'attend(gru(4), 6, monotonic(general, 3))'

    Reference:
      Luong, Pham & Manning, Effective Approaches to Attention-based Neural Machine Translation,
      EMNLP 2015, arXiv:1508.04025.
    """

    def weights(
        own: Params, carried: tuple[PyTree, Array], query: Array, memory: Memory
    ) -> tuple[PyTree, Array]:
        inner, t = carried
        t = t + 1
        near, _ = _within(memory, jnp.minimum(t, memory.mask.sum(-1).astype(t.dtype)), width)
        inner, found = score.weights(own, inner, query, near)
        return (inner, t), found

    return dataclasses.replace(
        score,
        name=f"monotonic({score.name}, {width})",
        weights=weights,
        carried=lambda batch, dtype: (score.carried(batch, dtype), jnp.zeros(batch, jnp.int32)),
    )
