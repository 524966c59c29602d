"""The bistable recurrent cell."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import hidden_state, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class BRCParams(NamedTuple):
    """Parameters of `brc`; gates in the order a, c.

    Attributes:
      w_x: W, input weights of a, c and then the candidate, [D, 3H].
      diagonal_h: u, weights of each unit on its own gates [2H].
    """

    w_x: Array
    diagonal_h: Array


@cell_factory
def brc(hidden_size: Size, *, init: Init = "rnnjax") -> Cell:
    """Bistable recurrent cell: each unit sees itself alone, and may hold one of two states.

        a = 1 + tanh(x_t W_a + u_a ⊙ h_{t-1})
        c = σ(x_t W_c + u_c ⊙ h_{t-1})
        h_t = c ⊙ h_{t-1} + (1 - c) ⊙ tanh(x_t W_n + a ⊙ h_{t-1})

    A unit has two stable states where its feedback a, in (0, 2), is above 1. The equations of the
    paper have no biases.

    Shapes: x_t [*B, D]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras"; u is drawn as the
        weights of one input to each unit.

    Returns:
      A Cell with `BRCParams`, whose state is the array h.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.brc(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, params.diagonal_h.shape
      ((5, 2, 16), (32,))

    Reference:
      Vecoven, Ernst & Drion, A Bio-Inspired Bistable Recurrent Cell Allows for Long-Lasting Memory,
      PLoS ONE 16(6), 2021, arXiv:2006.05252.
    """
    name = f"brc({hidden_size})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> BRCParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_x, k_h = jax.random.split(key)
        return BRCParams(
            w_x=draw.input_weights(k_x, inputs, hidden_size, 3, dtype),
            diagonal_h=draw.input_weights(k_h, 1, hidden_size, 2, dtype)[0],
        )

    def step(params: BRCParams, h: Array, x: Array) -> tuple[Array, Array]:
        x_a, x_c, x_n = jnp.split(vector(name, x, params.w_x) @ params.w_x, 3, axis=-1)
        u_a, u_c = jnp.split(rows(params.diagonal_h, h), 2, axis=-1)
        a = 1 + jnp.tanh(x_a + u_a * h)
        c = jax.nn.sigmoid(x_c + u_c * h)
        h = c * h + (1 - c) * jnp.tanh(x_n + a * h)
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
    )
