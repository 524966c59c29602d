"""A gated shortcut around a cell."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, State
from rnnjax._combine._common import Inner
from rnnjax._combine._weights import wrapped
from rnnjax._combine.residual import shortcut
from rnnjax._factory import cell_factory
from rnnjax.cells._common import rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class HighwayParams(NamedTuple):
    """Parameters of `highway`.

    Attributes:
      cell: the parameters of the cell inside.
      w: W, weights of the gate [D, D].
      b: bias of the gate [D]; -1 at first, so that the input passes.
    """

    cell: Any
    w: Array
    b: Array


@cell_factory
def highway(cell: Inner, *, init: Init = "rnnjax") -> Cell:
    """Lets a gate choose between a cell's output and its input.

        s_t, u_t = cell(s_{t-1}, x_t)
        g = σ(x_t W + b)
        y_t = g ⊙ u_t + (1 - g) ⊙ x_t

    Shapes: x_t, u_t, y_t [*B, D]: the cell gives as many features as it takes.

    Args:
      cell: the cell.
      init: an `Initializers` or a preset, for W: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `HighwayParams` and the cell's state.

    Raises:
      TypeError: `cell` is not a Cell; or, at init, the inputs are not one floating array.
      ValueError: `init` names no preset; or, in a step, the output's shape is not the input's.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.highway(rnnjax.gru(3))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> _, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 3)))
      >>> ys.shape, params.w.shape
      ((5, 2, 3), (3, 3))

    Reference:
      Srivastava, Greff & Schmidhuber, Highway Networks, 2015, arXiv:1505.00387.
    """
    name = f"highway({cell.name})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> HighwayParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_cell, k_w = jax.random.split(key)
        return HighwayParams(
            cell=cell.init(k_cell, x_spec),
            w=draw.w(k_w, (inputs, inputs), dtype),
            b=jnp.full(inputs, -1, dtype),
        )

    def step(params: HighwayParams, state: State, x: Array) -> tuple[State, Array]:
        state, y = cell.step(params.cell, state, x)
        past = shortcut(name, cell, x, y)
        g = jax.nn.sigmoid(vector(name, x, params.w) @ params.w + rows(params.b, x)).astype(y.dtype)
        return state, g * y + (1 - g) * past

    return wrapped(
        cell,
        name=name,
        init=init_params,
        step=step,
        output_of=None,
    )
