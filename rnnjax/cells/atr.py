"""The addition-subtraction twin-gated recurrent network."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import hidden_state, vector, vector_spec
from rnnjax.initializers import Init, preset


class ATRParams(NamedTuple):
    """Parameters of `atr`.

    Attributes:
      w_x: W, input weights [D, H].
      w_h: U, recurrent weights [H, H].
    """

    w_x: Array
    w_h: Array


@cell_factory
def atr(hidden_size: Size, *, init: Init = "rnnjax") -> Cell:
    """Addition-subtraction twin-gated network: two gates from the sum and the difference of two.

        p = x_t W
        q = h_{t-1} U
        i = σ(p + q)
        f = σ(p - q)
        h_t = i ⊙ p + f ⊙ h_{t-1}

    The equations of the paper have no biases.

    Shapes: x_t [*B, D]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `ATRParams`, whose state is the array h.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.atr(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape
      (5, 2, 16)

    Reference:
      Zhang, Xiong, Su, Lin & Zhang, Simplifying Neural Machine Translation with
      Addition-Subtraction Twin-Gated Recurrent Networks, EMNLP 2018, arXiv:1810.12546.
    """
    name = f"atr({hidden_size})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> ATRParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_x, k_h = jax.random.split(key)
        return ATRParams(
            w_x=draw.input_weights(k_x, inputs, hidden_size, 1, dtype),
            w_h=draw.recurrent_weights(k_h, hidden_size, 1, dtype),
        )

    def step(params: ATRParams, h: Array, x: Array) -> tuple[Array, Array]:
        p, q = vector(name, x, params.w_x) @ params.w_x, h @ params.w_h
        h = jax.nn.sigmoid(p + q) * p + jax.nn.sigmoid(p - q) * h
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
        recurrent=("w_h",),
    )
