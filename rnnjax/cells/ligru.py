"""The light gated recurrent unit."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import hidden_state, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class LiGRUParams(NamedTuple):
    """Parameters of `ligru`; gates in the order z, n.

    Attributes:
      w_x: W, input weights [D, 2H].
      w_h: U, recurrent weights [H, 2H].
      b: bias [2H].
    """

    w_x: Array
    w_h: Array
    b: Array


@cell_factory
def ligru(hidden_size: Size, *, init: Init = "rnnjax") -> Cell:
    """Light gated recurrent unit: a GRU without reset gate, its candidate rectified.

        z = σ(x_t W_z + h_{t-1} U_z + b_z)
        n = max(0, x_t W_n + h_{t-1} U_n + b_n)
        h_t = z ⊙ h_{t-1} + (1 - z) ⊙ n

    The paper normalises x_t W over the batch, which is left out here: a row would no longer be
    independent of the others. Without it h is unbounded, and may explode over long sequences.

    Shapes: x_t [*B, D]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `LiGRUParams`, whose state is the array h.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.ligru(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, bool((ys >= 0).all())
      ((5, 2, 16), True)

    Reference:
      Ravanelli, Brakel, Omologo & Bengio, Light Gated Recurrent Units for Speech Recognition, IEEE
      Transactions on Emerging Topics in Computational Intelligence 2(2), 2018, arXiv:1803.10225.
    """
    name = f"ligru({hidden_size})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> LiGRUParams:
        inputs, dtype = vector_spec(name, x_spec)
        return LiGRUParams(**draw.weights(key, inputs, hidden_size, 2, dtype))

    def step(params: LiGRUParams, h: Array, x: Array) -> tuple[Array, Array]:
        x, b = vector(name, x, params.w_x), rows(params.b, x)
        z, n = jnp.split(x @ params.w_x + h @ params.w_h + b, 2, axis=-1)
        z = jax.nn.sigmoid(z)
        h = z * h + (1 - z) * jax.nn.relu(n)
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
        recurrent=("w_h",),
    )
