"""Long short-term memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import LSTMState, lstm_state, lstm_weights, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class LSTMParams(NamedTuple):
    """Parameters of `lstm`; gates in the order i, f, g, o.

    Attributes:
      w_x: W, input weights [D, 4H].
      w_h: U, recurrent weights [H, 4H].
      b: bias [4H]; the forget bias is in it, not added at run time.
    """

    w_x: Array
    w_h: Array
    b: Array


@cell_factory
def lstm(hidden_size: Size, *, init: Init = "rnnjax") -> Cell:
    """Long short-term memory with a forget gate.

        i, f, g, o = x_t W + h_{t-1} U + b
        c_t = σ(f) ⊙ c_{t-1} + σ(i) ⊙ tanh(g)
        h_t = σ(o) ⊙ tanh(c_t)

    Shapes: x_t [*B, D]; state h, c [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `LSTMParams` and `LSTMState`.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.lstm(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> state, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, state.c.shape
      ((5, 2, 16), (2, 16))

    Reference:
      Hochreiter & Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997; the forget
      gate: Gers, Schmidhuber & Cummins, Learning to Forget, Neural Computation 12(10), 2000.
    """
    name = f"lstm({hidden_size})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> LSTMParams:
        inputs, dtype = vector_spec(name, x_spec)
        return LSTMParams(**lstm_weights(draw, key, inputs, hidden_size, dtype))

    def step(params: LSTMParams, state: LSTMState, x: Array) -> tuple[LSTMState, Array]:
        x, b = vector(name, x, params.w_x), rows(params.b, x)
        i, f, g, o = jnp.split(x @ params.w_x + state.h @ params.w_h + b, 4, axis=-1)
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
