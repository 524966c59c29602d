"""A shortcut around a cell."""

from __future__ import annotations

import dataclasses

import jax

from rnnjax._cell import Array, Cell, Params, PyTree, State
from rnnjax._combine._common import Inner
from rnnjax._factory import cell_factory


@cell_factory
def residual(cell: Inner) -> Cell:
    """Adds the input to a cell's output.

        s_t, u_t = cell(s_{t-1}, x_t)
        y_t = x_t + u_t

    Shapes: x_t, u_t, y_t [*B, D]: the cell gives as many features as it takes.

    Args:
      cell: the cell.

    Returns:
      A Cell with the cell's parameters and state.

    Raises:
      TypeError: `cell` is not a Cell.
      ValueError: in a step: the output's shape is not the input's.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.residual(rnnjax.gru(3))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> _, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 3)

    Reference:
      He et al., Deep Residual Learning, CVPR 2016, arXiv:1512.03385; between layers of LSTM: Wu et
      al., Google's Neural Machine Translation System, 2016, arXiv:1609.08144.
    """

    def step(params: Params, state: State, x: PyTree) -> tuple[State, PyTree]:
        state, y = cell.step(params, state, x)
        return state, jax.tree.map(lambda y, x: y + shortcut(name, cell, x, y), y, x)

    name = f"residual({cell.name})"
    return dataclasses.replace(cell, name=name, step=step, output_of=None)


def shortcut(name: str, cell: Cell, x: Array, y: Array) -> Array:
    """x in y's dtype; raises ValueError unless it has y's shape."""
    if x.shape != y.shape:
        raise ValueError(
            f"{name}: the input has shape {list(x.shape)}, but {cell.name} gives {list(y.shape)}: "
            "choose its size so that they agree, or put linear(size) below or above it"
        )
    return x.astype(y.dtype)
