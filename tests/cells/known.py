"""A cell of the field, and what is known of it from its paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import Cell

D, H = 3, 4


def floats(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(0, 1, (*shape, D))


class Known(NamedTuple):
    """A cell and what its paper says of it.

    Attributes:
      cell: for D inputs, with H units where it has units.
      step: one step of one row as the paper writes it, in NumPy alone, (params, state, x) ->
        (state, y); of complex numbers, too, since derivatives are taken by the complex step.
      count: how many parameters the paper's equations have.
      in_loop: how many products `plan` leaves in the loops.
      inputs: (rng, shape) -> inputs [*shape, ...].
      states: (rng, zeros) -> a state that the cell may be in; by default normal numbers.
      laws: more arguments of `check_cell`.
      real: whether the complex step can differentiate it; False where it has complex numbers.
    """

    cell: Cell
    step: Callable[[Any, Any, Any], tuple[Any, Any]]
    count: int
    in_loop: int
    inputs: Callable[[np.random.Generator, tuple[int, ...]], Any] = floats
    states: Callable[[np.random.Generator, Any], Any] | None = None
    laws: Mapping[str, Any] = MappingProxyType({})
    real: bool = True

    @property
    def spec(self) -> Any:
        """The `x_spec` of one input."""
        one = self.inputs(np.random.default_rng(0), ())
        return jax.eval_shape(lambda: jax.tree.map(jnp.asarray, one))


def convolution(x, w):
    """x [*S, D] with w [*K, D, O]: a sum over the places around each, of which none are outside."""
    kernel, space = w.shape[:-2], x.shape[:-1]
    y = np.zeros((*space, w.shape[-1]), np.result_type(x, w))
    for place in np.ndindex(*space):
        for offset in np.ndindex(*kernel):
            there = tuple(
                p + o - (k - 1) // 2 for p, o, k in zip(place, offset, kernel, strict=True)
            )
            if all(0 <= p < size for p, size in zip(there, space, strict=True)):
                y[place] += x[there] @ w[offset]
    return y
