"""The update gate recurrent network."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

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


class UGRNNParams(NamedTuple):
    """Parameters of `ugrnn`; gates in the order g, c.

    Attributes:
      w_x: W, input weights [D, 2H].
      w_h: U, recurrent weights [H, 2H].
      b: bias [2H].
    """

    w_x: Array
    w_h: Array
    b: Array


@cell_factory
def ugrnn(hidden_size: Size, *, activation: Activation = "tanh", init: Init = "rnnjax") -> Cell:
    """Update gate recurrent network: one gate between keeping h and computing it anew.

        g = σ(x_t W_g + h_{t-1} U_g + b_g)
        c = φ(x_t W_c + h_{t-1} U_c + b_c)
        h_t = g ⊙ h_{t-1} + (1 - g) ⊙ c

    Shapes: x_t [*B, D]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      activation: φ: "tanh" or "relu", as in the paper, another name, or any function.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `UGRNNParams`, whose state is the array h.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, or `activation` or `init` is an unknown name.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.ugrnn(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape
      (5, 2, 16)

    Reference:
      Collins, Sohl-Dickstein & Sussillo, Capacity and Trainability in Recurrent Neural Networks,
      ICLR 2017, arXiv:1611.09913.
    """
    name = f"ugrnn({hidden_size})"
    if activation != "tanh":
        name = f"ugrnn({hidden_size}, {label(activation)})"
    φ = as_function(activation)
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> UGRNNParams:
        inputs, dtype = vector_spec(name, x_spec)
        return UGRNNParams(**draw.weights(key, inputs, hidden_size, 2, dtype))

    def step(params: UGRNNParams, h: Array, x: Array) -> tuple[Array, Array]:
        x, b = vector(name, x, params.w_x), rows(params.b, x)
        g, c = jnp.split(x @ params.w_x + h @ params.w_h + b, 2, axis=-1)
        g = jax.nn.sigmoid(g)
        h = g * h + (1 - g) * φ(c)
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
        recurrent=("w_h",),
    )
