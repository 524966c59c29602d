"""The simple recurrent network."""

from __future__ import annotations

from typing import Any, NamedTuple

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import (
    Activation,
    as_function,
    hidden_state,
    label,
    rows,
    vector,
    vector_spec,
)
from rnnjax.initializers import Init, preset


class ElmanParams(NamedTuple):
    """Parameters of `elman`.

    Attributes:
      w_x: W, input weights [D, H].
      w_h: U, recurrent weights [H, H].
      b: bias [H].
    """

    w_x: Array
    w_h: Array
    b: Array


@cell_factory
def elman(hidden_size: Size, *, activation: Activation = "tanh", init: Init = "rnnjax") -> Cell:
    """Simple (vanilla) recurrent network.

        h_t = φ(x_t W + h_{t-1} U + b)

    Shapes: x_t [*B, D]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      activation: φ: "tanh", "relu", "identity", another name, or any function.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `ElmanParams`, whose state is the array h.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, or `activation` or `init` is an unknown name.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.elman(16, activation="relu")
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, h.shape
      ((5, 2, 16), (2, 16))

    Reference:
      Elman, Finding Structure in Time, Cognitive Science 14(2), 1990.
    """
    name = f"elman({hidden_size})"
    if activation != "tanh":
        name = f"elman({hidden_size}, {label(activation)})"
    φ = as_function(activation)
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> ElmanParams:
        inputs, dtype = vector_spec(name, x_spec)
        return ElmanParams(**draw.weights(key, inputs, hidden_size, 1, dtype))

    def step(params: ElmanParams, h: Array, x: Array) -> tuple[Array, Array]:
        x = vector(name, x, params.w_x)
        h = φ(x @ params.w_x + h @ params.w_h + rows(params.b, x))
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
        recurrent=("w_h",),
    )
