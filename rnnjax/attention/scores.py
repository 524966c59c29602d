"""The scores of the papers. Queries q [*B, Q], places m_s of a memory [*B, S, M], s = 1 .. S."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, PyTree
from rnnjax._factory import Size, cell_factory
from rnnjax.attention._score import Memory, Score, softmax
from rnnjax.cells._common import rows
from rnnjax.cells._grid import convolved
from rnnjax.initializers import Initializers


class AdditiveParams(NamedTuple):
    """Parameters of `additive` and `concat`.

    Attributes:
      w_query: W_q [Q, A].
      w_score: v [A, 1].
      b: bias [A]; None for `concat`.
    """

    w_query: Array
    w_score: Array
    b: Array | None = None


class ScaledDotParams(NamedTuple):
    """Parameters of `scaled_dot`.

    Attributes:
      w_query: W_q [Q, A], head beside head.
    """

    w_query: Array


class LocationParams(NamedTuple):
    """Parameters of `location`.

    Attributes:
      w_query: W_q [Q, A].
      w_filter: F, the kernel over the last weights, [width, filters].
      w_location: U [filters, A].
      w_score: v [A, 1].
      b: bias [A].
    """

    w_query: Array
    w_filter: Array
    w_location: Array
    w_score: Array
    b: Array


def _compared(own: Any, query: Array, keys: Array, *more: Array) -> Array:
    """vᵀ tanh(q W_q + k_s + .. + b), [*B, 1, S]."""
    total = keys + (query @ own.w_query)[..., None, :]
    for term in more:
        total = total + term
    total = total if own.b is None else total + rows(own.b, total)
    return jnp.swapaxes(jnp.tanh(total) @ own.w_score, -1, -2)


def _additive(name: str, size: int, *, biased: bool) -> Score:
    def init(draw: Initializers, key: Array, query: int, keys: int, dtype: Any) -> AdditiveParams:
        k_query, k_score, k_b = jax.random.split(key, 3)
        return AdditiveParams(
            w_query=draw.w(k_query, (query, size), dtype),
            w_score=draw.w(k_score, (size, 1), dtype),
            b=draw.w_b(k_b, (query, size), dtype)[0] if biased else None,
        )

    def weights(
        own: AdditiveParams, carried: PyTree, query: Array, memory: Memory
    ) -> tuple[PyTree, Array]:
        return carried, softmax(_compared(own, query, memory.compared), memory.mask)

    return Score(f"{name}({size})", lambda query, memory: size, init, weights)


@cell_factory
def additive(size: Size) -> Score:
    """The additive score: a network of one hidden layer compares.

        e_s = vᵀ tanh(q W_q + m_s W_k + b)
        a = softmax_s(e)

    Args:
      size: A, the units of the hidden layer.

    Returns:
      A Score with `AdditiveParams`; the keys m_s W_k are made once.

    Raises:
      TypeError: `size` is not an int.
      ValueError: `size` is below 1.

    Example:
      >>> import rnnjax
      >>> rnnjax.attend(rnnjax.gru(4), 6, rnnjax.attention.additive(8)).name
      'attend(gru(4), 6, additive(8))'

    Reference:
      Bahdanau, Cho & Bengio, Neural Machine Translation by Jointly Learning to Align and
      Translate, ICLR 2015, arXiv:1409.0473.
    """
    return _additive("additive", size, biased=True)


@cell_factory
def concat(size: Size) -> Score:
    """The score of a query and a place side by side: `additive` without a bias.

        e_s = vᵀ tanh([q, m_s] W) = vᵀ tanh(q W_q + m_s W_k)
        a = softmax_s(e)

    Args:
      size: A, the units of the hidden layer.

    Returns:
      A Score with `AdditiveParams`, b None; the keys m_s W_k are made once.

    Raises:
      TypeError: `size` is not an int.
      ValueError: `size` is below 1.

    Example:
      >>> import rnnjax
      >>> rnnjax.attend_after(rnnjax.gru(4), 6, rnnjax.attention.concat(8), 5).name
      'attend_after(gru(4), 6, concat(8), 5)'

    Reference:
      Luong, Pham & Manning, Effective Approaches to Attention-based Neural Machine Translation,
      EMNLP 2015, arXiv:1508.04025.
    """
    return _additive("concat", size, biased=False)


def _nothing(draw: Initializers, key: Array, query: int, keys: int, dtype: Any) -> tuple[()]:
    return ()


def _product(own: tuple[()], carried: PyTree, query: Array, memory: Memory) -> tuple[PyTree, Array]:
    scores = jnp.einsum("...k,...sk->...s", query, memory.compared)
    return carried, softmax(scores[..., None, :], memory.mask)


@cell_factory
def dot() -> Score:
    """The product of a query and a place, of as many features.

        e_s = q · m_s
        a = softmax_s(e)

    Returns:
      A Score without parameters.

    Example:
      >>> import rnnjax
      >>> rnnjax.attend_after(rnnjax.gru(6), 6, rnnjax.attention.dot(), 5).name
      'attend_after(gru(6), 6, dot, 5)'

    Reference:
      Luong, Pham & Manning, Effective Approaches to Attention-based Neural Machine Translation,
      EMNLP 2015, arXiv:1508.04025.
    """

    def key_size(query: int, memory: int) -> None:
        if query != memory:
            raise ValueError(
                f"dot compares queries of {query} features with a memory of {memory}: they must be "
                "equal, or use general()"
            )

    return Score("dot", key_size, _nothing, _product)


@cell_factory
def general() -> Score:
    """The product of a query and a place, through a matrix.

        e_s = q · (m_s W_k)
        a = softmax_s(e)

    Returns:
      A Score whose only parameters are those of the keys m_s W_k, which are made once.

    Example:
      >>> import rnnjax
      >>> rnnjax.attend_after(rnnjax.gru(4), 6, rnnjax.attention.general(), 5).name
      'attend_after(gru(4), 6, general, 5)'

    Reference:
      Luong, Pham & Manning, Effective Approaches to Attention-based Neural Machine Translation,
      EMNLP 2015, arXiv:1508.04025.
    """
    return Score("general", lambda query, memory: query, _nothing, _product)


@cell_factory
def scaled_dot(size: Size, heads: Size = 1) -> Score:
    """The product of a projected query and a projected place, scaled down, in several heads.

        e_{n,s} = (q W_q)_n · (m_s W_k)_n / √(A / N)        n = 1 .. N
        a_n = softmax_s(e_n)
        c = [Σ_s a_{n,s} (m_s W_v)_n  for n = 1 .. N]

    Args:
      size: A, the features of queries, keys and values, all heads together.
      heads: N, a divisor of `size`.

    Returns:
      A Score with `ScaledDotParams`; keys and values are made once.

    Raises:
      TypeError: an argument is not an int.
      ValueError: an argument is below 1, or `heads` is no divisor of `size`.

    Example:
      >>> import rnnjax
      >>> rnnjax.attend(rnnjax.gru(4), 6, rnnjax.attention.scaled_dot(8, 2)).name
      'attend(gru(4), 6, scaled_dot(8, 2))'

    Reference:
      Vaswani et al., Attention Is All You Need, NeurIPS 2017, arXiv:1706.03762.
    """
    if size % heads:
        raise ValueError(f"scaled_dot: heads must divide size, got size {size} and heads {heads}")

    def init(draw: Initializers, key: Array, query: int, keys: int, dtype: Any) -> ScaledDotParams:
        return ScaledDotParams(draw.w(key, (query, size), dtype))

    def in_heads(a: Array) -> Array:
        return a.reshape(*a.shape[:-1], heads, size // heads)

    def weights(
        own: ScaledDotParams, carried: PyTree, query: Array, memory: Memory
    ) -> tuple[PyTree, Array]:
        query, keys = in_heads(query @ own.w_query), in_heads(memory.compared)
        scores = jnp.einsum("...nk,...snk->...ns", query, keys) / math.sqrt(size // heads)
        return carried, softmax(scores, memory.mask)

    name = f"scaled_dot({size}{f', {heads}' * (heads > 1)})"
    return Score(name, lambda query, memory: size, init, weights, value_size=size, heads=heads)


@cell_factory
def location(size: Size, places: Size, *, filters: Size = 10, width: Size = 31) -> Score:
    """The additive score, which also sees where the last step looked: for speech.

        f = F ∗ a_{t-1},  a_0 = 0                            a convolution over places
        e_s = vᵀ tanh(q W_q + m_s W_k + f_s U + b)
        a_t = softmax_s(e)

    The weights are carried, and what a state carries has one size: so each memory is padded to
    `places`.

    Args:
      size: A, the units of the hidden layer.
      places: how many places a memory has at most.
      filters: how many features f_s has.
      width: over how many places F reaches.

    Returns:
      A Score with `LocationParams`, which carries a_t [*B, places]; the keys m_s W_k are made once.

    Raises:
      TypeError: an argument is not an int.
      ValueError: an argument is below 1.

    Example:
      >>> import rnnjax
      >>> rnnjax.attend(rnnjax.gru(4), 6, rnnjax.attention.location(8, 400)).name
      'attend(gru(4), 6, location(8, 400))'

    Reference:
      Chorowski et al., Attention-Based Models for Speech Recognition, NeurIPS 2015,
      arXiv:1506.07503.
    """

    def init(draw: Initializers, key: Array, query: int, keys: int, dtype: Any) -> LocationParams:
        k_query, k_filter, k_location, k_score, k_b = jax.random.split(key, 5)
        return LocationParams(
            w_query=draw.w(k_query, (query, size), dtype),
            w_filter=draw.w(k_filter, (width, filters), dtype),
            w_location=draw.w(k_location, (filters, size), dtype),
            w_score=draw.w(k_score, (size, 1), dtype),
            b=draw.w_b(k_b, (query, size), dtype)[0],
        )

    def weights(
        own: LocationParams, last: Array, query: Array, memory: Memory
    ) -> tuple[Array, Array]:
        f = convolved("location", last[..., None], own.w_filter, (width,), (places,))
        scores = _compared(own, query, memory.compared, f @ own.w_location)
        found = softmax(scores, memory.mask)
        return found[..., 0, :], found

    return Score(
        f"location({size}, {places})",
        lambda query, memory: size,
        init,
        weights,
        carried=lambda batch_shape, dtype: jnp.zeros((*batch_shape, places), dtype),
        places=places,
    )
