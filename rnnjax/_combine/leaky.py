"""Leaky integration of the state."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from rnnjax._cell import Cell, Params, PyTree, State
from rnnjax._combine._common import Inner, require_output_of
from rnnjax._dtypes import map_floats
from rnnjax._factory import cell_factory, real


def _fraction(what: str, value: Any) -> float:
    return real(what, value, "a number in (0, 1]", lambda a: 0 < a <= 1)


@cell_factory
def leaky(cell: Inner, rate: Annotated[float, _fraction] = 0.5) -> Cell:
    """Moves the state only a part of the way to where the cell would take it.

        s̃_t, _ = cell(s_{t-1}, x_t)
        s_t = (1 - a) ⊙ s_{t-1} + a ⊙ s̃_t        a = rate
        y_t = output_of(s_t)

    Every floating leaf of the state leaks; keys, counters and what is held are left alone.
    `learned_leaky` learns the rate.

    Args:
      cell: a cell that declares `output_of`.
      rate: a, in (0, 1].

    Returns:
      A Cell with the cell's parameters and state.

    Raises:
      TypeError: `cell` is not a Cell or declares no `output_of`, or `rate` is no number.
      ValueError: `rate` is outside (0, 1].

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.leaky(rnnjax.elman(4), 0.25)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> _, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 4)

    Reference:
      Jaeger, Lukoševičius, Popovici & Siewert, Optimization and Applications of Echo State
      Networks with Leaky-Integrator Neurons, Neural Networks 20(3), 2007.
    """
    name = f"leaky({cell.name}, {rate})"
    output_of = require_output_of(name, cell)

    def step(params: Params, state: State, x: PyTree) -> tuple[State, PyTree]:
        new, _ = cell.step(params, state, x)
        new = map_floats(lambda s̃, s: (1 - rate) * s + rate * s̃, new, state)
        return new, output_of(new)

    return dataclasses.replace(cell, name=name, step=step)
