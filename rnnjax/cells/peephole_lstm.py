"""Long short-term memory whose gates see the memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import LSTMState, lstm_state, lstm_weights, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class PeepholeLSTMParams(NamedTuple):
    """Parameters of `peephole_lstm`; gates in the order i, f, g, o.

    Attributes:
      w_x: W, input weights [D, 4H].
      w_h: U, recurrent weights [H, 4H].
      b: bias [4H]; the forget bias is in it, not added at run time.
      diagonal: p, the peepholes of i, f and o [3H].
    """

    w_x: Array
    w_h: Array
    b: Array
    diagonal: Array


@cell_factory
def peephole_lstm(hidden_size: Size, *, init: Init = "rnnjax") -> Cell:
    """Long short-term memory whose gates see the memory, each unit's its own.

        i, f, g, o = x_t W + h_{t-1} U + b
        c_t = σ(f + p_f ⊙ c_{t-1}) ⊙ c_{t-1} + σ(i + p_i ⊙ c_{t-1}) ⊙ tanh(g)
        h_t = σ(o + p_o ⊙ c_t) ⊙ tanh(c_t)

    The output gate sees the new memory. Peepholes begin at 0: the cell begins as `lstm`.

    Shapes: x_t [*B, D]; state h, c [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `PeepholeLSTMParams` and `LSTMState`.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.peephole_lstm(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> state, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, params.diagonal.shape
      ((5, 2, 16), (48,))

    Reference:
      Gers & Schmidhuber, Recurrent Nets that Time and Count, IJCNN 2000; the equations as in
      Graves, Generating Sequences With Recurrent Neural Networks, 2013, arXiv:1308.0850.
    """
    name = f"peephole_lstm({hidden_size})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> PeepholeLSTMParams:
        inputs, dtype = vector_spec(name, x_spec)
        return PeepholeLSTMParams(
            **lstm_weights(draw, key, inputs, hidden_size, dtype),
            diagonal=jnp.zeros(3 * hidden_size, dtype),
        )

    def step(params: PeepholeLSTMParams, state: LSTMState, x: Array) -> tuple[LSTMState, Array]:
        x, b = vector(name, x, params.w_x), rows(params.b, x)
        i, f, g, o = jnp.split(x @ params.w_x + state.h @ params.w_h + b, 4, axis=-1)
        p_i, p_f, p_o = jnp.split(rows(params.diagonal, x), 3, axis=-1)
        i, f = i + p_i * state.c, f + p_f * state.c
        c = jax.nn.sigmoid(f) * state.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o + p_o * c) * jnp.tanh(c)
        return LSTMState(h, c), h

    return Cell(
        name=name,
        init=init_params,
        initial_state=lstm_state(hidden_size),
        step=step,
        output_of=lambda state: state.h,
        recurrent=("w_h",),
    )
