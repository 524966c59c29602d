"""An affine map."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class LinearParams(NamedTuple):
    """Parameters of `linear`.

    Attributes:
      w: W, weights [D, O].
      b: bias [O].
    """

    w: Array
    b: Array


@cell_factory
def linear(size: Size, *, init: Init = "rnnjax") -> Cell:
    """Affine map, as a projection or a readout.

        y_t = x_t W + b

    Shapes: x_t [*B, D]; no state; y_t [*B, O].

    Args:
      size: O, the number of outputs.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `LinearParams` and the state ().

    Raises:
      TypeError: `size` is not an int.
      ValueError: `size` is below 1, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.linear(3)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> _, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape
      (5, 2, 3)
    """
    name = f"linear({size})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> LinearParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_w, k_b = jax.random.split(key)
        return LinearParams(
            w=draw.w(k_w, (inputs, size), dtype), b=draw.w_b(k_b, (inputs, size), dtype)[0]
        )

    def initial_state(
        params: LinearParams, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> tuple[()]:
        return ()

    def step(params: LinearParams, state: tuple[()], x: Array) -> tuple[tuple[()], Array]:
        return (), vector(name, x, params.w) @ params.w + rows(params.b, x)

    return Cell(name=name, init=init_params, initial_state=initial_state, step=step)
