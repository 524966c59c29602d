"""Leaky integration of the state, at rates that are learned."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, PyTree, State, parted
from rnnjax._combine._common import Inner, require_output_of
from rnnjax._combine._weights import wrapped
from rnnjax._dtypes import is_floating, map_floats
from rnnjax._factory import cell_factory, one_of, real
from rnnjax.cells._common import rows


class LearnedLeakyParams(NamedTuple):
    """Parameters of `learned_leaky`.

    Attributes:
      cell: the parameters of the cell inside.
      logit_rate: log(a / (1 - a)) for each leaf of the state: [], or the leaf's shape; None for
        leaves that are no numbers.
    """

    cell: Any
    logit_rate: Any


def _fraction(what: str, value: Any) -> float:
    return real(what, value, "a number in (0, 1)", lambda a: 0 < a < 1)


@cell_factory
def learned_leaky(
    cell: Inner,
    rate: Annotated[float, _fraction] = 0.5,
    *,
    per: Annotated[Literal["leaf", "unit"], one_of("leaf", "unit")] = "unit",
) -> Cell:
    """Moves the state a learned part of the way to where the cell would take it.

        s̃_t, _ = cell(s_{t-1}, x_t)
        s_t = (1 - a) ⊙ s_{t-1} + a ⊙ s̃_t        a = σ(logit_rate)
        y_t = output_of(s_t)

    Every floating leaf of the state leaks; keys, counters and what is held are left alone.

    Args:
      cell: a cell that declares `output_of`.
      rate: what a begins with, in (0, 1).
      per: one rate for each "unit", or for each "leaf" of the state.

    Returns:
      A Cell with `LearnedLeakyParams` and the cell's state.

    Raises:
      TypeError: `cell` is not a Cell or declares no `output_of`, or `rate` is no number.
      ValueError: `rate` is outside (0, 1), or `per` is an unknown name.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.learned_leaky(rnnjax.elman(4), 0.25)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> _, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 3)))
      >>> ys.shape, params.logit_rate.shape
      ((5, 2, 4), (4,))

    Reference:
      Jaeger, Lukoševičius, Popovici & Siewert, Optimization and Applications of Echo State
      Networks with Leaky-Integrator Neurons, Neural Networks 20(3), 2007.
    """
    name = f"learned_leaky({cell.name}, {rate}, {per})"
    output_of = require_output_of(name, cell)

    def init_params(key: Array, x_spec: PyTree) -> LearnedLeakyParams:
        params = cell.init(key, x_spec)

        def logit(leaf: Array) -> Array | None:
            shape = leaf.shape if per == "unit" else ()
            value = math.log(rate / (1 - rate))
            return jnp.full(shape, value, leaf.dtype) if is_floating(leaf) else None

        return LearnedLeakyParams(
            params, jax.tree.map(logit, parted(cell.initial_state(params))[0])
        )

    def step(params: LearnedLeakyParams, state: State, x: PyTree) -> tuple[State, PyTree]:
        new, _ = cell.step(params.cell, state, x)
        a = map_floats(lambda s, logit: rows(jax.nn.sigmoid(logit), s), state, params.logit_rate)
        new = map_floats(lambda s̃, s, a: (1 - a) * s + a * s̃, new, state, a)
        return new, output_of(new)

    return wrapped(
        cell,
        name=name,
        init=init_params,
        step=step,
    )
