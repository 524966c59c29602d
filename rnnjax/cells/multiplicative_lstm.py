"""Long short-term memory whose transition depends on the input."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import LSTMState, lstm_state, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class MultiplicativeLSTMParams(NamedTuple):
    """Parameters of `multiplicative_lstm`; gates in the order i, f, g, o.

    Attributes:
      w_x: W, input weights [D, 5H], of m and of the gates.
      w_h: U, recurrent weights [H, H], of m.
      w_m: V, weights from m to the gates [H, 4H].
      b: bias of the gates [4H]; the forget bias is in it, not added at run time.
    """

    w_x: Array
    w_h: Array
    w_m: Array
    b: Array


@cell_factory
def multiplicative_lstm(hidden_size: Size, *, init: Init = "rnnjax") -> Cell:
    """Long short-term memory whose transition depends on the input, through m.

        m = (x_t W_m) ⊙ (h_{t-1} U)
        i, f, g, o = x_t W + m V + b
        c_t = σ(f) ⊙ c_{t-1} + σ(i) ⊙ tanh(g)
        h_t = σ(o) ⊙ tanh(c_t)

    The paper's equations have no biases; these have the gates', as its implementations do.

    Shapes: x_t [*B, D]; state h, c [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `MultiplicativeLSTMParams` and `LSTMState`.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.multiplicative_lstm(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> state, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, params.w_x.shape
      ((5, 2, 16), (8, 80))

    Reference:
      Krause, Lu, Murray & Renals, Multiplicative LSTM for Sequence Modelling, ICLR 2017 workshop,
      arXiv:1609.07959.
    """
    name = f"multiplicative_lstm({hidden_size})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> MultiplicativeLSTMParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_x, k_h, k_m, k_b = jax.random.split(key, 4)
        b = draw.bias(k_b, hidden_size, 4, dtype)
        return MultiplicativeLSTMParams(
            w_x=draw.input_weights(k_x, inputs, hidden_size, 5, dtype),
            w_h=draw.recurrent_weights(k_h, hidden_size, 1, dtype),
            w_m=draw.recurrent_weights(k_m, hidden_size, 4, dtype),
            b=b.at[hidden_size : 2 * hidden_size].add(draw.forget_bias),
        )

    def step(
        params: MultiplicativeLSTMParams, state: LSTMState, x: Array
    ) -> tuple[LSTMState, Array]:
        x = vector(name, x, params.w_x)
        x_m, x_g = jnp.split(x @ params.w_x, [hidden_size], axis=-1)
        m = x_m * (state.h @ params.w_h)
        i, f, g, o = jnp.split(x_g + m @ params.w_m + rows(params.b, x), 4, axis=-1)
        c = jax.nn.sigmoid(f) * state.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return LSTMState(h, c), h

    return Cell(
        name=name,
        init=init_params,
        initial_state=lstm_state(hidden_size),
        step=step,
        output_of=lambda state: state.h,
        recurrent=("w_h",),
    )
