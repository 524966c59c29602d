"""Long short-term memory with layer normalisation."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import (
    LSTMState,
    lstm_state,
    lstm_weights,
    normalised,
    rows,
    vector,
    vector_spec,
)
from rnnjax.initializers import Init, preset


class LayerNormLSTMParams(NamedTuple):
    """Parameters of `layer_norm_lstm`; gates in the order i, f, g, o.

    Attributes:
      w_x: W, input weights [D, 4H].
      w_h: U, recurrent weights [H, 4H].
      b: bias [4H]; the forget bias is in it, not added at run time.
      scale_x: γ_x, gains of x W [4H].
      scale_h: γ_h, gains of h U [4H].
      scale_c: γ_c, gains of the memory [H].
      offset_c: β_c, offsets of the memory [H].
    """

    w_x: Array
    w_h: Array
    b: Array
    scale_x: Array
    scale_h: Array
    scale_c: Array
    offset_c: Array


@cell_factory
def layer_norm_lstm(hidden_size: Size, *, init: Init = "rnnjax") -> Cell:
    """Long short-term memory with gates and memory normalised.

        LN(a) = (a - mean(a)) / √(var(a) + 1e-6)            over the features
        i, f, g, o = γ_x ⊙ LN(x_t W) + γ_h ⊙ LN(h_{t-1} U) + b
        c_t = σ(f) ⊙ c_{t-1} + σ(i) ⊙ tanh(g)
        h_t = σ(o) ⊙ tanh(γ_c ⊙ LN(c_t) + β_c)

    Shapes: x_t [*B, D]; state h, c [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `LayerNormLSTMParams` and `LSTMState`.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.layer_norm_lstm(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> state, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, state.c.shape, params.scale_x.shape
      ((5, 2, 16), (2, 16), (64,))

    Reference:
      Ba, Kiros & Hinton, Layer Normalization, 2016, arXiv:1607.06450.
    """
    name = f"layer_norm_lstm({hidden_size})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> LayerNormLSTMParams:
        inputs, dtype = vector_spec(name, x_spec)
        return LayerNormLSTMParams(
            **lstm_weights(draw, key, inputs, hidden_size, dtype),
            scale_x=jnp.ones(4 * hidden_size, dtype),
            scale_h=jnp.ones(4 * hidden_size, dtype),
            scale_c=jnp.ones(hidden_size, dtype),
            offset_c=jnp.zeros(hidden_size, dtype),
        )

    def step(params: LayerNormLSTMParams, state: LSTMState, x: Array) -> tuple[LSTMState, Array]:
        x_g = normalised(vector(name, x, params.w_x) @ params.w_x, params.scale_x)
        h_g = normalised(state.h @ params.w_h, params.scale_h)
        i, f, g, o = jnp.split(x_g + h_g + rows(params.b, x), 4, axis=-1)
        c = jax.nn.sigmoid(f) * state.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(normalised(c, params.scale_c) + rows(params.offset_c, c))
        return LSTMState(h, c), h

    return Cell(
        name=name,
        init=init_params,
        initial_state=lstm_state(hidden_size),
        step=step,
        output_of=lambda state: state.h,
        recurrent=("w_h",),
    )
