"""Long short-term memory whose products are convolutions."""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, as_spec
from rnnjax._factory import Size, cell_factory, natural
from rnnjax.cells._common import LSTMState, check_floating, rows
from rnnjax.initializers import Init, Initializer, preset


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


def _sizes(what: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple) or not 1 <= len(value) <= 3:
        raise TypeError(f"{what} must be a tuple of 1, 2 or 3 sizes, got {value!r}")
    return tuple(natural(what, size, least=1) for size in value)


def _kernel(what: str, value: Any) -> int | tuple[int, ...]:
    return _sizes(what, value) if isinstance(value, tuple) else natural(what, value, least=1)


@cell_factory
def conv_lstm(
    shape: Annotated[tuple[int, ...], _sizes],
    features: Size,
    *,
    kernel: Annotated[int | tuple[int, ...], _kernel] = 3,
    init: Init = "rnnjax",
) -> Cell:
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
    axes = len(shape)
    window = kernel if isinstance(kernel, tuple) else (kernel,) * axes
    if len(window) != axes:
        raise ValueError(f"conv_lstm: kernel must have {axes} sizes as shape has, got {kernel}")
    name, draw, space = f"conv_lstm({shape}, {features})", preset(init), "DHW"[-axes:]

    def checked(x: Any, inputs: Any = "C") -> Any:
        check_floating(name, x)
        if x.shape[-axes - 1 : -1] != shape or inputs not in ("C", *x.shape[-1:]):
            wanted = ", ".join(map(str, ("...", *shape, inputs)))
            raise ValueError(f"{name} needs inputs [{wanted}], got {list(x.shape)}")
        return x

    def weights(of: Initializer, key: Array, inputs: int, dtype: Any) -> Array:
        gates, each = (1, 4) if draw.fused else (4, 1)
        drawn = [
            of(k, (*window, inputs, each * features), dtype) for k in jax.random.split(key, gates)
        ]
        return jnp.concatenate(drawn, axis=-1).reshape(-1, 4 * features)

    def init_params(key: Array, x_spec: Any) -> ConvLSTMParams:
        spec = checked(as_spec(x_spec))
        k_x, k_h, k_b = jax.random.split(key, 3)
        b = draw.bias(k_b, features, 4, spec.dtype)
        return ConvLSTMParams(
            w_x=weights(draw.w_x, k_x, spec.shape[-1], spec.dtype),
            w_h=weights(draw.w_h, k_h, features, spec.dtype),
            b=b.at[features : 2 * features].add(draw.forget_bias),
        )

    def initial_state(
        params: ConvLSTMParams, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> LSTMState:
        sizes, dtype = (*batch_shape, *shape, features), params.w_x.dtype
        return LSTMState(h=jnp.zeros(sizes, dtype), c=jnp.zeros(sizes, dtype))

    def convolved(x: Array, w: Array) -> Array:
        batch, one = x.shape[: -axes - 1], x.shape[-axes - 1 :]
        x = x.reshape(math.prod(batch), *one)
        w = w.reshape(*window, one[-1], w.shape[-1])
        layout = (f"N{space}C", f"{space}IO", f"N{space}C")
        y = jax.lax.conv_general_dilated(x, w, (1,) * axes, "SAME", dimension_numbers=layout)
        return y.reshape(*batch, *y.shape[1:])

    def step(params: ConvLSTMParams, state: LSTMState, x: Array) -> tuple[LSTMState, Array]:
        x = checked(x, params.w_x.shape[0] // math.prod(window)).astype(params.w_x.dtype)
        gates = convolved(x, params.w_x) + convolved(state.h, params.w_h) + rows(params.b, x)
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        c = jax.nn.sigmoid(f) * state.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return LSTMState(h, c), h

    return Cell(
        name=name,
        init=init_params,
        initial_state=initial_state,
        step=step,
        x_ndims=axes + 1,
        output_of=lambda state: state.h,
    )
