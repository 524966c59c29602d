"""The bistable recurrent cell with neuromodulation."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import hidden_state, vector, vector_spec
from rnnjax.initializers import Init, preset


class NBRCParams(NamedTuple):
    """Parameters of `nbrc`; gates in the order a, c.

    Attributes:
      w_x: W, input weights of a, c and then the candidate, [D, 3H].
      w_h: U, recurrent weights [H, 2H].
    """

    w_x: Array
    w_h: Array


@cell_factory
def nbrc(hidden_size: Size, *, init: Init = "rnnjax") -> Cell:
    """Bistable recurrent cell whose gates see all units: the others modulate each.

        a = 1 + tanh(x_t W_a + h_{t-1} U_a)
        c = σ(x_t W_c + h_{t-1} U_c)
        h_t = c ⊙ h_{t-1} + (1 - c) ⊙ tanh(x_t W_n + a ⊙ h_{t-1})

    In `brc` each unit's gates see itself alone. The equations of the paper have no biases.

    Shapes: x_t [*B, D]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `NBRCParams`, whose state is the array h.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.nbrc(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape
      (5, 2, 16)

    Reference:
      Vecoven, Ernst & Drion, A Bio-Inspired Bistable Recurrent Cell Allows for Long-Lasting Memory,
      PLoS ONE 16(6), 2021, arXiv:2006.05252.
    """
    name = f"nbrc({hidden_size})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> NBRCParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_x, k_h = jax.random.split(key)
        return NBRCParams(
            w_x=draw.input_weights(k_x, inputs, hidden_size, 3, dtype),
            w_h=draw.recurrent_weights(k_h, hidden_size, 2, dtype),
        )

    def step(params: NBRCParams, h: Array, x: Array) -> tuple[Array, Array]:
        x_a, x_c, x_n = jnp.split(vector(name, x, params.w_x) @ params.w_x, 3, axis=-1)
        h_a, h_c = jnp.split(h @ params.w_h, 2, axis=-1)
        a = 1 + jnp.tanh(x_a + h_a)
        c = jax.nn.sigmoid(x_c + h_c)
        h = c * h + (1 - c) * jnp.tanh(x_n + a * h)
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
        recurrent=("w_h",),
    )
