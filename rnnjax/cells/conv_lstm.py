"""Long short-term memory whose products are convolutions."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import LSTMState, lstm_state, rows
from rnnjax.cells._grid import Kernel, Shape, convolved, grid_spec, window_of
from rnnjax.initializers import Init, preset


class ConvLSTMParams(NamedTuple):
    """Parameters of `conv_lstm`; gates in the order i, f, g, o.

    Attributes:
      w_x: W, the kernel of the input [*K, C, 4F], as a matrix [K C, 4F].
      w_h: U, the kernel of the state [*K, F, 4F], as a matrix [K F, 4F].
      b: bias [4F]; the forget bias is in it, not added at run time.
    """

    w_x: Array
    w_h: Array
    b: Array


@cell_factory
def conv_lstm(shape: Shape, features: Size, *, kernel: Kernel = 3, init: Init = "rnnjax") -> Cell:
    """Long short-term memory over a line, an image or a volume: its products are convolutions.

        i, f, g, o = x_t * W + h_{t-1} * U + b
        c_t = σ(f) ⊙ c_{t-1} + σ(i) ⊙ tanh(g)
        h_t = σ(o) ⊙ tanh(c_t)

    * is a convolution that pads with zeros and keeps the shape. The paper's peepholes, a weight for
    each place and feature, are left out, as in Keras and Haiku.

    Shapes: x_t [*B, *S, C]; state h, c [*B, *S, F]; y_t = h_t [*B, *S, F].

    Args:
      shape: S, the sizes of 1, 2 or 3 axes of space.
      features: F, the number of features of the state at each place.
      kernel: K, the sizes of the kernels, or one for all axes of space.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `ConvLSTMParams` and `LSTMState`.

    Raises:
      TypeError: a size is not an int, `shape` not a tuple of 1, 2 or 3.
      ValueError: a size is below 1, `kernel` has another number of axes than `shape`, or `init`
        names no preset; in `init` and in a step, an input is not [*S, C].

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.conv_lstm((8, 8), 4)
      >>> params = cell.init(jax.random.key(0), jnp.ones((8, 8, 3)))
      >>> state, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8, 8, 3)))
      >>> ys.shape, params.w_x.shape
      ((5, 2, 8, 8, 4), (27, 16))

    Reference:
      Shi et al., Convolutional LSTM Network: A Machine Learning Approach for Precipitation
      Nowcasting, NeurIPS 2015, arXiv:1506.04214.
    """
    window = window_of("conv_lstm", kernel, shape)
    name, draw = f"conv_lstm({shape}, {features})", preset(init)

    def init_params(key: Array, x_spec: Any) -> ConvLSTMParams:
        inputs, dtype = grid_spec(name, x_spec, shape)
        weights = draw.kernels(key, window, inputs, features, 4, dtype)
        weights["b"] = weights["b"].at[features : 2 * features].add(draw.forget_bias)
        return ConvLSTMParams(**weights)

    def step(params: ConvLSTMParams, state: LSTMState, x: Array) -> tuple[LSTMState, Array]:
        x_g = convolved(name, x, params.w_x, window, shape) + rows(params.b, x)
        gates = x_g + convolved(name, state.h, params.w_h, window, shape)
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        c = jax.nn.sigmoid(f) * state.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return LSTMState(h, c), h

    return Cell(
        name=name,
        init=init_params,
        initial_state=lstm_state(*shape, features),
        step=step,
        x_ndims=len(shape) + 1,
        output_of=lambda state: state.h,
    )
