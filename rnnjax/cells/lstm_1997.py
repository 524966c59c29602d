"""Long short-term memory as it was first: without a forget gate."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import LSTMState, lstm_state, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class LSTM1997Params(NamedTuple):
    """Parameters of `lstm_1997`; gates in the order i, g, o.

    Attributes:
      w_x: W, input weights [D, 3H].
      w_h: U, recurrent weights [H, 3H].
      b: bias [3H].
    """

    w_x: Array
    w_h: Array
    b: Array


@cell_factory
def lstm_1997(hidden_size: Size, *, init: Init = "rnnjax") -> Cell:
    """Long short-term memory that never forgets: the first form, without a forget gate.

        i, g, o = x_t W + h_{t-1} U + b
        c_t = c_{t-1} + σ(i) ⊙ (4 σ(g) - 2)
        h_t = σ(o) ⊙ (2 σ(c_t) - 1)

    The two squashing functions are the paper's, with ranges [-2, 2] and [-1, 1]. In today's terms
    it is tanh(g) and tanh(c) with g's weights doubled and c halved. Memory blocks have one cell;
    gates see the outputs of the cells, not each other; gradients are whole, not truncated.

    Shapes: x_t [*B, D]; state h, c [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `LSTM1997Params` and `LSTMState`.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.lstm_1997(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> state, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, state.c.shape
      ((5, 2, 16), (2, 16))

    Reference:
      Hochreiter & Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997.
    """
    name = f"lstm_1997({hidden_size})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> LSTM1997Params:
        inputs, dtype = vector_spec(name, x_spec)
        return LSTM1997Params(**draw.weights(key, inputs, hidden_size, 3, dtype))

    def step(params: LSTM1997Params, state: LSTMState, x: Array) -> tuple[LSTMState, Array]:
        x, b = vector(name, x, params.w_x), rows(params.b, x)
        i, g, o = jnp.split(x @ params.w_x + state.h @ params.w_h + b, 3, axis=-1)
        # 2 σ(a) - 1 = tanh(a / 2), which loses no digits around 0.
        c = state.c + jax.nn.sigmoid(i) * 2 * jnp.tanh(g / 2)
        h = jax.nn.sigmoid(o) * jnp.tanh(c / 2)
        return LSTMState(h, c), h

    return Cell(
        name=name,
        init=init_params,
        initial_state=lstm_state(hidden_size),
        step=step,
        output_of=lambda state: state.h,
        recurrent=("w_h",),
    )
