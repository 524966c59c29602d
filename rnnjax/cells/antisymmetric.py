"""The antisymmetric recurrent network."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Positive, Size, cell_factory, non_negative
from rnnjax.cells._common import antisymmetric_part, hidden_state, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class AntisymmetricParams(NamedTuple):
    """Parameters of `antisymmetric`.

    Attributes:
      w_x: W, input weights [D, H].
      w_h: U, whose antisymmetric part is the recurrent weights, [H, H].
      b: bias [H].
    """

    w_x: Array
    w_h: Array
    b: Array


@cell_factory
def antisymmetric(
    hidden_size: Size,
    *,
    epsilon: Positive = 0.1,
    gamma: Annotated[float, non_negative] = 0.01,
    init: Init = "rnnjax",
) -> Cell:
    """Recurrent network that is an Euler step of a stable differential equation.

        M = U - Uᵀ - γ I                 its eigenvalues have the real part -γ
        h_t = h_{t-1} + ε tanh(x_t W + h_{t-1} M + b)

    `gated_antisymmetric` has an input gate besides.

    Shapes: x_t [*B, D]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      epsilon: ε, the length of a step.
      gamma: γ, at least 0: the damping that keeps Euler steps stable.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `AntisymmetricParams`, whose state is the array h.

    Raises:
      TypeError: `hidden_size` is not an int, or `epsilon` or `gamma` is not a number.
      ValueError: `hidden_size` is below 1, `epsilon` is not positive, `gamma` is negative, or
        `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.antisymmetric(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, h.shape
      ((5, 2, 16), (2, 16))

    Reference:
      Chang, Chen, Haber & Chi, AntisymmetricRNN: A Dynamical System View on Recurrent Neural
      Networks, ICLR 2019, arXiv:1902.09689.
    """
    name = f"antisymmetric({hidden_size}, epsilon={epsilon}, gamma={gamma})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> AntisymmetricParams:
        inputs, dtype = vector_spec(name, x_spec)
        return AntisymmetricParams(**draw.weights(key, inputs, hidden_size, 1, dtype))

    def step(params: AntisymmetricParams, h: Array, x: Array) -> tuple[Array, Array]:
        x = vector(name, x, params.w_x)
        m = antisymmetric_part(params.w_h, gamma)
        h = h + epsilon * jnp.tanh(x @ params.w_x + h @ m + rows(params.b, x))
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
    )
