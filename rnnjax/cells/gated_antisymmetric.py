"""The antisymmetric recurrent network with an input gate."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Positive, Size, cell_factory, non_negative
from rnnjax.cells._common import antisymmetric_part, hidden_state, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class GatedAntisymmetricParams(NamedTuple):
    """Parameters of `gated_antisymmetric`; gates in the order z, n.

    Attributes:
      w_x: W, input weights [D, 2H].
      w_h: U, whose antisymmetric part is the recurrent weights of both, [H, H].
      b: bias [2H].
    """

    w_x: Array
    w_h: Array
    b: Array


@cell_factory
def gated_antisymmetric(
    hidden_size: Size,
    *,
    epsilon: Positive = 0.1,
    gamma: Annotated[float, non_negative] = 0.01,
    init: Init = "rnnjax",
) -> Cell:
    """Antisymmetric recurrent network with an input gate, which has the same recurrent weights.

        M = U - Uᵀ - γ I
        z = σ(x_t W_z + h_{t-1} M + b_z)
        h_t = h_{t-1} + ε z ⊙ tanh(x_t W_n + h_{t-1} M + b_n)

    Shapes: x_t [*B, D]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      epsilon: ε, the length of a step.
      gamma: γ, at least 0: the damping that keeps Euler steps stable.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `GatedAntisymmetricParams`, whose state is the array h.

    Raises:
      TypeError: `hidden_size` is not an int, or `epsilon` or `gamma` is not a number.
      ValueError: `hidden_size` is below 1, `epsilon` is not positive, `gamma` is negative, or
        `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.gated_antisymmetric(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, h.shape
      ((5, 2, 16), (2, 16))

    Reference:
      Chang, Chen, Haber & Chi, AntisymmetricRNN: A Dynamical System View on Recurrent Neural
      Networks, ICLR 2019, arXiv:1902.09689.
    """
    name = f"gated_antisymmetric({hidden_size}, epsilon={epsilon}, gamma={gamma})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> GatedAntisymmetricParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_x, k_h, k_b = jax.random.split(key, 3)
        return GatedAntisymmetricParams(
            w_x=draw.input_weights(k_x, inputs, hidden_size, 2, dtype),
            w_h=draw.recurrent_weights(k_h, hidden_size, 1, dtype),
            b=draw.bias(k_b, hidden_size, 2, dtype),
        )

    def step(params: GatedAntisymmetricParams, h: Array, x: Array) -> tuple[Array, Array]:
        x, b = vector(name, x, params.w_x), rows(params.b, x)
        x_z, x_n = jnp.split(x @ params.w_x + b, 2, axis=-1)
        m = h @ antisymmetric_part(params.w_h, gamma)
        h = h + epsilon * jax.nn.sigmoid(x_z + m) * jnp.tanh(x_n + m)
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
    )
