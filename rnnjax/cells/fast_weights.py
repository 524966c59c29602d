"""Fast weights that attend to the recent past."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Positive, Rate, Size, cell_factory
from rnnjax.cells._common import (
    Activation,
    as_function,
    hidden_state,
    label,
    normalised,
    rows,
    vector,
    vector_spec,
)
from rnnjax.initializers import Init, preset


class FastWeightsParams(NamedTuple):
    """Parameters of `fast_weights`.

    Attributes:
      w_x: W, input weights [D, H].
      w_h: U, the slow recurrent weights [H, H].
      scale: γ, gains of the normalisation [H].
      offset: β, offsets of the normalisation [H].
    """

    w_x: Array
    w_h: Array
    scale: Array
    offset: Array


class FastWeightsState(NamedTuple):
    """State of `fast_weights`.

    Attributes:
      h: hidden state [*B, H], also the output.
      a: A, the fast weights [*B, H, H].
    """

    h: Array
    a: Array


@cell_factory
def fast_weights(
    hidden_size: Size,
    *,
    decay: Rate = 0.95,
    rate: Positive = 0.5,
    inner_steps: Size = 1,
    activation: Activation = "relu",
    init: Init = "rnnjax",
) -> Cell:
    """Recurrent network with a second, fast matrix: outer products of the states it has been in.

        LN(a) = (a - mean(a)) / √(var(a) + 1e-6)
        u = x_t W + h_{t-1} U
        g_0 = φ(u)
        g_s = φ(γ ⊙ LN(u + A_{t-1} g_{s-1}) + β)        s = 1, ..., S
        h_t = g_S
        A_t = λ A_{t-1} + η h_tᵀ h_t

    A row keeps a matrix of its own: H² numbers of state a row.

    Shapes: x_t [*B, D]; state h [*B, H], A [*B, H, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      decay: λ in [0, 1), what the fast weights keep at each step.
      rate: η, how fast they learn.
      inner_steps: S, how often they act in one step.
      activation: φ: "relu", "tanh", "identity", another name, or any function.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `FastWeightsParams` and `FastWeightsState`.

    Raises:
      TypeError: a size is not an int, or `decay` or `rate` is not a number.
      ValueError: a size is below 1, `decay` is outside [0, 1), `rate` is not positive, or
        `activation` or `init` is an unknown name.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.fast_weights(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> state, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, state.a.shape
      ((5, 2, 16), (2, 16, 16))

    Reference:
      Ba, Hinton, Mnih, Leibo & Ionescu, Using Fast Weights to Attend to the Recent Past, NeurIPS
      2016, arXiv:1610.06258.
    """
    options = f"decay={decay}, rate={rate}, inner_steps={inner_steps}"
    options += f", {label(activation)}" * (activation != "relu")
    name = f"fast_weights({hidden_size}, {options})"
    φ = as_function(activation)
    draw, zeros = preset(init), hidden_state(hidden_size)

    def init_params(key: Array, x_spec: Any) -> FastWeightsParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_x, k_h = jax.random.split(key)
        return FastWeightsParams(
            w_x=draw.input_weights(k_x, inputs, hidden_size, 1, dtype),
            w_h=draw.recurrent_weights(k_h, hidden_size, 1, dtype),
            scale=jnp.ones(hidden_size, dtype),
            offset=jnp.zeros(hidden_size, dtype),
        )

    def initial_state(
        params: Any, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> FastWeightsState:
        h = zeros(params, batch_shape)
        return FastWeightsState(h, jnp.zeros((*h.shape, hidden_size), h.dtype))

    def step(
        params: FastWeightsParams, state: FastWeightsState, x: Array
    ) -> tuple[FastWeightsState, Array]:
        x, (h, a) = vector(name, x, params.w_x), state
        u = x @ params.w_x + h @ params.w_h
        h = φ(u)
        for _ in range(inner_steps):
            fast = (a @ h[..., None])[..., 0]
            h = φ(normalised(u + fast, params.scale) + rows(params.offset, x))
        a = decay * a + rate * h[..., :, None] * h[..., None, :]
        return FastWeightsState(h, a), h

    return Cell(
        name=name,
        init=init_params,
        initial_state=initial_state,
        step=step,
        output_of=lambda state: state.h,
        recurrent=("w_h",),
    )
