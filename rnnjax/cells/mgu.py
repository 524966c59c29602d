"""The minimal gated unit."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import hidden_state, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class MGUParams(NamedTuple):
    """Parameters of `mgu`; gates in the order f, n.

    Attributes:
      w_x: W, input weights [D, 2H].
      w_h: U, recurrent weights [H, 2H].
      b: bias [2H].
    """

    w_x: Array
    w_h: Array
    b: Array


@cell_factory
def mgu(hidden_size: Size, *, init: Init = "rnnjax") -> Cell:
    """Minimal gated unit: a GRU whose one gate both resets and updates.

        f = σ(x_t W_f + h_{t-1} U_f + b_f)
        n = tanh(x_t W_n + (f ⊙ h_{t-1}) U_n + b_n)
        h_t = (1 - f) ⊙ h_{t-1} + f ⊙ n

    Shapes: x_t [*B, D]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `MGUParams`, whose state is h.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.mgu(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape
      (5, 2, 16)

    Reference:
      Zhou, Wu, Zhang & Zhou, Minimal Gated Unit for Recurrent Neural Networks, International
      Journal of Automation and Computing 13(3), 2016, arXiv:1603.09420.
    """
    name = f"mgu({hidden_size})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> MGUParams:
        inputs, dtype = vector_spec(name, x_spec)
        return MGUParams(**draw.weights(key, inputs, hidden_size, 2, dtype))

    def step(params: MGUParams, h: Array, x: Array) -> tuple[Array, Array]:
        x, b = vector(name, x, params.w_x), rows(params.b, x)
        x_f, x_n = jnp.split(x @ params.w_x + b, 2, axis=-1)
        u_f, u_n = jnp.split(params.w_h, 2, axis=-1)
        f = jax.nn.sigmoid(x_f + h @ u_f)
        h = (1 - f) * h + f * jnp.tanh(x_n + (f * h) @ u_n)
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
        recurrent=("w_h",),
    )
