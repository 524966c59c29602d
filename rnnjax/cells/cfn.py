"""The chaos-free network."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import hidden_state, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class CFNParams(NamedTuple):
    """Parameters of `cfn`; gates in the order θ, η.

    Attributes:
      w_x: W, input weights of θ, η and then the candidate, [D, 3H].
      w_h: U, recurrent weights [H, 2H].
      b: bias [2H].
    """

    w_x: Array
    w_h: Array
    b: Array


@cell_factory
def cfn(hidden_size: Size, *, init: Init = "rnnjax") -> Cell:
    """Chaos-free network: without input its state only decays to zero.

        θ = σ(x_t W_θ + h_{t-1} U_θ + b_θ)
        η = σ(x_t W_η + h_{t-1} U_η + b_η)
        h_t = θ ⊙ tanh(h_{t-1}) + η ⊙ tanh(x_t W)

    Shapes: x_t [*B, D]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `CFNParams`, whose state is the array h.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.cfn(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape
      (5, 2, 16)

    Reference:
      Laurent & von Brecht, A Recurrent Neural Network without Chaos, ICLR 2017, arXiv:1612.06212.
    """
    name = f"cfn({hidden_size})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> CFNParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_x, k_h, k_b = jax.random.split(key, 3)
        return CFNParams(
            w_x=draw.input_weights(k_x, inputs, hidden_size, 3, dtype),
            w_h=draw.recurrent_weights(k_h, hidden_size, 2, dtype),
            b=draw.bias(k_b, hidden_size, 2, dtype),
        )

    def step(params: CFNParams, h: Array, x: Array) -> tuple[Array, Array]:
        x, b = vector(name, x, params.w_x), rows(params.b, x)
        x_g, n = jnp.split(x @ params.w_x, [2 * hidden_size], axis=-1)
        θ, η = jnp.split(jax.nn.sigmoid(x_g + h @ params.w_h + b), 2, axis=-1)
        h = θ * jnp.tanh(h) + η * jnp.tanh(n)
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
        recurrent=("w_h",),
    )
