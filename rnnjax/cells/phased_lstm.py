"""Long short-term memory whose units open and close in time."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import Positive, Rate, Size, cell_factory
from rnnjax.cells._common import LSTMState, lstm_state, lstm_weights, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class PhasedLSTMParams(NamedTuple):
    """Parameters of `phased_lstm`; gates in the order i, f, g, o.

    Attributes:
      w_x: W, input weights [D, 4H].
      w_h: U, recurrent weights [H, 4H].
      b: bias [4H]; the forget bias is in it, not added at run time.
      diagonal: p, the peepholes of i, f and o [3H].
      log_tau: log τ, of the periods [H].
      b_time: s, the shifts of the periods [H].
      logit_rate: of r, the share of a period in which a unit is open [H].
    """

    w_x: Array
    w_h: Array
    b: Array
    diagonal: Array
    log_tau: Array
    b_time: Array
    logit_rate: Array


@cell_factory
def phased_lstm(
    hidden_size: Size,
    *,
    longest: Positive = 1000.0,
    ratio: Rate = 0.05,
    leak: Rate = 0.001,
    init: Init = "rnnjax",
) -> Cell:
    """Long short-term memory whose units open and close in time; inputs are pairs (x_t, t).

        φ = ((t - s) mod τ) / τ
        k = 2φ / r if φ < r/2,  2 - 2φ / r if r/2 <= φ < r,  α φ otherwise
        c̃, h̃ = those of `peephole_lstm` for h_{t-1}, c_{t-1} and x_t
        c_t = k ⊙ c̃ + (1 - k) ⊙ c_{t-1}
        h_t = k ⊙ h̃ + (1 - k) ⊙ h_{t-1}

    t is any time, regular or not. Initially log τ is uniform in [0, log `longest`], s in [0, τ].

    Shapes: x_t [*B, D], t [*B]; state h, c [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      longest: the longest initial period, in the unit of t; the shortest is 1.
      ratio: the initial r, in (0, 1).
      leak: α, for gradients through closed gates; the paper evaluates with the same parameters in
        a cell with leak=0.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `PhasedLSTMParams` and `LSTMState`.

    Raises:
      TypeError: `hidden_size` is not an int, or an input is no pair.
      ValueError: `hidden_size` is below 1, a number is out of range, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.phased_lstm(16)
      >>> xs, times = jnp.ones((5, 2, 8)), jnp.cumsum(jnp.ones((5, 2)), 0)
      >>> params = cell.init(jax.random.key(0), (8, float))
      >>> rnnjax.unroll(cell, params, None, (xs, times))[1].shape
      (5, 2, 16)

    Reference:
      Neil, Pfeiffer & Liu, Phased LSTM: Accelerating Recurrent Network Training for Long or
      Event-based Sequences, NeurIPS 2016, arXiv:1610.09513.
    """
    if ratio == 0:
        raise ValueError("phased_lstm: ratio must be a number in (0, 1), got 0.0")
    name = f"phased_lstm({hidden_size})"
    draw = preset(init)

    def pair(x: Any) -> tuple[Any, Any]:
        if not isinstance(x, tuple) or len(x) != 2:
            raise TypeError(f"{name} needs pairs (x_t, t) as inputs, got {type(x).__name__}")
        return x

    def init_params(key: Array, x_spec: Any) -> PhasedLSTMParams:
        inputs, dtype = vector_spec(name, pair(x_spec)[0])
        k_gates, k_tau, k_s = jax.random.split(key, 3)
        shape, wide = (hidden_size,), at_least_float32(dtype)
        log_tau = jax.random.uniform(k_tau, shape, wide) * jnp.log(jnp.asarray(longest, wide))
        return PhasedLSTMParams(
            **lstm_weights(draw, k_gates, inputs, hidden_size, dtype),
            diagonal=jnp.zeros(3 * hidden_size, dtype),
            log_tau=log_tau.astype(dtype),
            b_time=(jax.random.uniform(k_s, shape, wide) * jnp.exp(log_tau)).astype(dtype),
            logit_rate=jnp.full(shape, jax.scipy.special.logit(ratio), dtype),
        )

    def openness(params: PhasedLSTMParams, t: Array) -> Array:
        """k [*B, H], from times in float32 or better: half precision has no seconds in an hour."""
        wide = at_least_float32(params.w_x.dtype)
        t = t.astype(wide)[..., None]
        log_tau, s, r = (
            rows(p.astype(wide), t) for p in (params.log_tau, params.b_time, params.logit_rate)
        )
        φ = (t - s) * jnp.exp(-log_tau)
        φ = φ - jnp.floor(φ)
        rise = 2 * φ / jax.nn.sigmoid(r)
        k = jnp.where(rise < 1, rise, jnp.where(rise < 2, 2 - rise, leak * φ))
        return k.astype(params.w_x.dtype)

    def step(params: PhasedLSTMParams, state: LSTMState, x: Any) -> tuple[LSTMState, Array]:
        x, t = pair(x)
        x, b, k = vector(name, x, params.w_x), rows(params.b, x), openness(params, t)
        i, f, g, o = jnp.split(x @ params.w_x + state.h @ params.w_h + b, 4, axis=-1)
        p_i, p_f, p_o = jnp.split(rows(params.diagonal, x), 3, axis=-1)
        i, f = i + p_i * state.c, f + p_f * state.c
        c = jax.nn.sigmoid(f) * state.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o + p_o * c) * jnp.tanh(c)
        state = LSTMState(k * h + (1 - k) * state.h, k * c + (1 - k) * state.c)
        return state, state.h

    return Cell(
        name=name,
        init=init_params,
        initial_state=lstm_state(hidden_size),
        step=step,
        x_ndims=(1, 0),
        output_of=lambda state: state.h,
        recurrent=("w_h",),
    )
