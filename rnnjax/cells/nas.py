"""The cell that architecture search found."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import LSTMState, lstm_state, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class NASParams(NamedTuple):
    """Parameters of `nas`; the eight nodes of the first layer in the order a_1 to a_8.

    Attributes:
      w_x: W, input weights [D, 8H].
      w_h: U, recurrent weights [H, 8H].
      b: bias [8H].
    """

    w_x: Array
    w_h: Array
    b: Array


@cell_factory
def nas(hidden_size: Size, *, init: Init = "rnnjax") -> Cell:
    """The cell that architecture search found: a tree of eight nodes over x and h.

        a_k = x_t W_k + (h_{t-1} U_k + b_k)        k = 1, …, 8, but a_4 has ⊙ in place of +
        p = tanh(σ(a_1) ⊙ relu(a_2))
        q = tanh(σ(a_3) + relu(a_4))
        r = tanh(tanh(a_5) ⊙ σ(a_6))
        s = σ(tanh(a_7) + σ(a_8))
        c_t = tanh(p + c_{t-1}) ⊙ q
        h_t = tanh(c_t ⊙ tanh(r + s))

    The paper gives the cell as a drawing alone; this reads it as its authors' NASCell in TensorFlow
    does, which has the one product, a_4, and biases as an option.

    Shapes: x_t [*B, D]; state h, c [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `NASParams` and `LSTMState`.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.nas(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> state, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, params.w_h.shape
      ((5, 2, 16), (16, 128))

    Reference:
      Zoph & Le, Neural Architecture Search with Reinforcement Learning, ICLR 2017,
      arXiv:1611.01578.
    """
    name = f"nas({hidden_size})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> NASParams:
        inputs, dtype = vector_spec(name, x_spec)
        return NASParams(**draw.weights(key, inputs, hidden_size, 8, dtype))

    def step(params: NASParams, state: LSTMState, x: Array) -> tuple[LSTMState, Array]:
        x = vector(name, x, params.w_x)
        xs = jnp.split(x @ params.w_x, 8, axis=-1)
        hs = jnp.split(state.h @ params.w_h + rows(params.b, x), 8, axis=-1)
        σ, a = jax.nn.sigmoid, [x_k + h_k for x_k, h_k in zip(xs, hs, strict=True)]
        a[3] = xs[3] * hs[3]
        p = jnp.tanh(σ(a[0]) * jax.nn.relu(a[1]))
        q = jnp.tanh(σ(a[2]) + jax.nn.relu(a[3]))
        r = jnp.tanh(jnp.tanh(a[4]) * σ(a[5]))
        s = σ(jnp.tanh(a[6]) + σ(a[7]))
        c = jnp.tanh(p + state.c) * q
        h = jnp.tanh(c * jnp.tanh(r + s))
        return LSTMState(h, c), h

    return Cell(
        name=name,
        init=init_params,
        initial_state=lstm_state(hidden_size),
        step=step,
        output_of=lambda state: state.h,
        recurrent=("w_h",),
    )
