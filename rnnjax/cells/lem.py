"""Long expressive memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Positive, Size, cell_factory
from rnnjax.cells._common import rows, vector, vector_spec, zero_state
from rnnjax.initializers import Init, preset


class LEMParams(NamedTuple):
    """Parameters of `lem`; gates in the order a, ā, z, h.

    Attributes:
      w_x: W, input weights [D, 4H].
      w_h: U, recurrent weights [H, 4H]: those of a, ā and z are of h, those of h are of z.
      b: bias [4H].
    """

    w_x: Array
    w_h: Array
    b: Array


class LEMState(NamedTuple):
    """State of `lem`.

    Attributes:
      h: hidden state [*B, H], also the output.
      z: memory [*B, H].
    """

    h: Array
    z: Array


@cell_factory
def lem(hidden_size: Size, *, dt: Positive = 1.0, init: Init = "rnnjax") -> Cell:
    """Long expressive memory: two states that step by learned lengths of time.

        a = Δ σ(x_t W_a + h_{t-1} U_a + b_a)
        ā = Δ σ(x_t W_ā + h_{t-1} U_ā + b_ā)
        z_t = (1 - a) ⊙ z_{t-1} + a ⊙ tanh(x_t W_z + h_{t-1} U_z + b_z)
        h_t = (1 - ā) ⊙ h_{t-1} + ā ⊙ tanh(x_t W_h + z_t U_h + b_h)

    Shapes: x_t [*B, D]; state h, z [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      dt: Δ, the longest step; stable up to 1.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `LEMParams` and `LEMState`.

    Raises:
      TypeError: `hidden_size` is not an int, or `dt` is not a number.
      ValueError: `hidden_size` is below 1, `dt` is not positive, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.lem(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> state, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, state.z.shape
      ((5, 2, 16), (2, 16))

    Reference:
      Rusch, Mishra, Erichson & Mahoney, Long Expressive Memory for Sequence Modeling, ICLR 2022,
      arXiv:2110.04744.
    """
    name = f"lem({hidden_size}{f', dt={dt}' * (dt != 1)})"
    draw, split = preset(init), 3 * hidden_size

    def init_params(key: Array, x_spec: Any) -> LEMParams:
        inputs, dtype = vector_spec(name, x_spec)
        return LEMParams(**draw.weights(key, inputs, hidden_size, 4, dtype))

    def step(params: LEMParams, state: LEMState, x: Array) -> tuple[LEMState, Array]:
        x, (h, z) = vector(name, x, params.w_x), state
        x_g, x_h = jnp.split(x @ params.w_x + rows(params.b, x), [split], axis=-1)
        a, ā, n = jnp.split(x_g + h @ params.w_h[:, :split], 3, axis=-1)
        a, ā = dt * jax.nn.sigmoid(a), dt * jax.nn.sigmoid(ā)
        z = (1 - a) * z + a * jnp.tanh(n)
        h = (1 - ā) * h + ā * jnp.tanh(x_h + z @ params.w_h[:, split:])
        return LEMState(h, z), h

    return Cell(
        name=name,
        init=init_params,
        initial_state=zero_state(LEMState, h=hidden_size, z=hidden_size),
        step=step,
        output_of=lambda state: state.h,
        recurrent=("w_h",),
    )
