"""A shortcut around a cell."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from rnnjax._cell import Array, Cell, Params, PyTree, State
from rnnjax._factory import cell_factory
from rnnjax._layer import Either, Layer, LayerCall
from rnnjax._unroll import select_rows


@cell_factory
def residual(cell: Either) -> Any:
    """Adds the input to the output of a cell or a layer.

        s_t, u_t = cell(s_{t-1}, x_t)
        y_t = x_t + u_t

    Shapes: x_t, u_t, y_t [*B, D]: the cell gives as many features as it takes.

    Args:
      cell: the Cell or Layer.

    Returns:
      A Cell or a Layer with the parameters and the state of `cell`.

    Raises:
      TypeError: `cell` is neither a Cell nor a Layer.
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
    name = f"residual({cell.name})"

    def added(x: PyTree, y: PyTree) -> PyTree:
        if jax.tree.structure(x) != jax.tree.structure(y):
            raise TypeError(
                f"{name}: the input is {jax.tree.structure(x)}, but {cell.name} gives "
                f"{jax.tree.structure(y)}: they cannot be added"
            )
        return jax.tree.map(lambda y, x: y + shortcut(name, cell, x, y), y, x)

    def run(
        params: Params, state: State | None, xs: PyTree, call: LayerCall
    ) -> tuple[State, PyTree]:
        state, ys = cell.run(params, state, xs, call)
        total = added(xs, ys)
        valid = call.valid(jax.tree.leaves(xs)[0].shape[0])
        # Padding stays 0, as `ys` is there.
        return state, total if valid is None else select_rows(valid, total, ys)

    if isinstance(cell, Layer):
        if cell.time_factor != 1:
            raise ValueError(
                f"{name}: {cell.name} makes one step of {cell.time_factor}, so no input belongs to "
                "an output"
            )
        return dataclasses.replace(cell, name=name, run=run)

    def step(params: Params, state: State, x: PyTree) -> tuple[State, PyTree]:
        state, y = cell.step(params, state, x)
        return state, added(x, y)

    return dataclasses.replace(cell, name=name, step=step, output_of=None)


def shortcut(name: str, cell: Cell | Layer, x: Array, y: Array) -> Array:
    """x in y's dtype; raises ValueError unless it has y's shape."""
    if x.shape != y.shape:
        raise ValueError(
            f"{name}: the input has shape {list(x.shape)}, but {cell.name} gives {list(y.shape)}: "
            "choose its size so that they agree, or put linear(size) below or above it"
        )
    return x.astype(y.dtype)
