"""The recurrent network of rectified units that begins as the identity."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import Positive, Size, cell_factory
from rnnjax.cells._common import hidden_state, rows, vector, vector_spec


class IRNNParams(NamedTuple):
    """Parameters of `irnn`.

    Attributes:
      w_x: W, input weights [D, H].
      w_h: U, recurrent weights [H, H].
      b: bias [H].
    """

    w_x: Array
    w_h: Array
    b: Array


@cell_factory
def irnn(hidden_size: Size, *, scale: Positive = 1.0) -> Cell:
    """Recurrent network of rectified linear units whose recurrent weights begin as the identity.

        h_t = max(x_t W + h_{t-1} U + b, 0)
        at first: U = scale · I, W_ij ~ N(0, 0.001²), b = 0

    With other initialisers it is `elman(hidden_size, activation="relu", init=...)`.

    Shapes: x_t [*B, D]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      scale: what the identity is multiplied by; the paper takes 1, and 0.01 where the past should
        soon be forgotten.

    Returns:
      A Cell with `IRNNParams`, whose state is the array h.

    Raises:
      TypeError: `hidden_size` is not an int, or `scale` is not a number.
      ValueError: `hidden_size` is below 1, or `scale` is not positive.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.irnn(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, _ = rnnjax.unroll(cell, params, jnp.ones((2, 16)), jnp.zeros((100, 2, 8)))
      >>> bool((h == 1).all())
      True

    Reference:
      Le, Jaitly & Hinton, A Simple Way to Initialize Recurrent Networks of Rectified Linear Units,
      2015, arXiv:1504.00941.
    """
    name = f"irnn({hidden_size}{f', scale={scale}' * (scale != 1)})"

    def init_params(key: Array, x_spec: Any) -> IRNNParams:
        inputs, dtype = vector_spec(name, x_spec)
        w_x = 0.001 * jax.random.normal(key, (inputs, hidden_size), at_least_float32(dtype))
        return IRNNParams(
            w_x=w_x.astype(dtype),
            w_h=scale * jnp.eye(hidden_size, dtype=dtype),
            b=jnp.zeros(hidden_size, dtype),
        )

    def step(params: IRNNParams, h: Array, x: Array) -> tuple[Array, Array]:
        x = vector(name, x, params.w_x)
        h = jax.nn.relu(x @ params.w_x + h @ params.w_h + rows(params.b, x))
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
        recurrent=("w_h",),
    )
