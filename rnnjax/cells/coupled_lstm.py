"""Long short-term memory with one gate for input and forgetting."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import LSTMState, lstm_state, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class CoupledLSTMParams(NamedTuple):
    """Parameters of `coupled_lstm`; gates in the order f, g, o.

    Attributes:
      w_x: W, input weights [D, 3H].
      w_h: U, recurrent weights [H, 3H].
      b: bias [3H]; the forget bias is in it, not added at run time.
    """

    w_x: Array
    w_h: Array
    b: Array


@cell_factory
def coupled_lstm(hidden_size: Size, *, init: Init = "rnnjax") -> Cell:
    """Long short-term memory that writes as much as it forgets: CIFG.

        f, g, o = x_t W + h_{t-1} U + b
        c_t = σ(f) ⊙ c_{t-1} + (1 - σ(f)) ⊙ tanh(g)
        h_t = σ(o) ⊙ tanh(c_t)

    The paper stores the input gate, f = 1 - i, and keeps the peepholes of its other variants; this
    is `lstm` with the one change, and of the two gates it stores f, so that a forget bias is one.

    Shapes: x_t [*B, D]; state h, c [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `CoupledLSTMParams` and `LSTMState`.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.coupled_lstm(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> state, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, params.w_h.shape
      ((5, 2, 16), (16, 48))

    Reference:
      Greff, Srivastava, Koutník, Steunebrink & Schmidhuber, LSTM: A Search Space Odyssey, IEEE
      Transactions on Neural Networks and Learning Systems 28(10), 2017, arXiv:1503.04069.
    """
    name = f"coupled_lstm({hidden_size})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> CoupledLSTMParams:
        inputs, dtype = vector_spec(name, x_spec)
        weights = draw.weights(key, inputs, hidden_size, 3, dtype)
        b = weights["b"].at[:hidden_size].add(draw.forget_bias)
        return CoupledLSTMParams(**{**weights, "b": b})

    def step(params: CoupledLSTMParams, state: LSTMState, x: Array) -> tuple[LSTMState, Array]:
        x, b = vector(name, x, params.w_x), rows(params.b, x)
        f, g, o = jnp.split(x @ params.w_x + state.h @ params.w_h + b, 3, axis=-1)
        f = jax.nn.sigmoid(f)
        c = f * state.c + (1 - f) * jnp.tanh(g)
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
