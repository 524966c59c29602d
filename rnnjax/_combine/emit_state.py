"""The whole state as output."""

from __future__ import annotations

import dataclasses

from rnnjax._cell import Cell, Params, PyTree, State, parted
from rnnjax._combine._common import Inner
from rnnjax._factory import cell_factory


@cell_factory
def emit_state(cell: Inner) -> Cell:
    """Puts the whole new state out at each step: of an LSTM c_t as well as h_t.

        s_t, _ = cell(s_{t-1}, x_t)
        y_t = s_t

    Args:
      cell: the cell.

    Returns:
      A Cell with the cell's parameters and state, whose output has the state's tree, without what
      it holds.

    Raises:
      TypeError: `cell` is not a Cell.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.emit_state(rnnjax.lstm(4))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> _, states = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 3)))
      >>> states.c.shape
      (5, 2, 4)
    """

    def emitted(state: State) -> PyTree:
        return parted(state)[0]

    def step(params: Params, state: State, x: PyTree) -> tuple[State, PyTree]:
        state, _ = cell.step(params, state, x)
        return state, emitted(state)

    return dataclasses.replace(cell, name=f"emit_state({cell.name})", step=step, output_of=emitted)
