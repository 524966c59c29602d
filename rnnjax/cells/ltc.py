"""The liquid time-constant network."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import Positive, Size, cell_factory
from rnnjax.cells._common import hidden_state, rows
from rnnjax.cells._timed import timed, timed_spec
from rnnjax.initializers import Init, preset


class LTCParams(NamedTuple):
    """Parameters of `ltc`.

    Attributes:
      w_x: W, input weights [D, H].
      w_h: U, recurrent weights [H, H].
      b: bias [H].
      log_tau: log τ, the time constants [H].
      b_a: A, the values that f drives the units to, [H].
    """

    w_x: Array
    w_h: Array
    b: Array
    log_tau: Array
    b_a: Array


@cell_factory
def ltc(
    hidden_size: Size, *, unfolds: Size = 6, tau: Positive = 1.0, init: Init = "rnnjax"
) -> Cell:
    """Liquid time-constant network: leaky units whose time constants depend on input and state.

        dh/dt = -(1/τ + f) ⊙ h + f ⊙ A,    f = σ(x W + h U + b)
        δ = dt_t / L
        h ← (h + δ f ⊙ A) / (1 + δ (1/τ + f))              L times, from h_{t-1} to h_t

    The inputs are pairs (x_t, dt_t): dt_t is the time for which the step runs, 0 or more. The step
    is the paper's fused solver. Its f may be any function; a sigmoid is positive, which keeps the
    divisor from 0 and h between 0 and A.

    Shapes: x_t [*B, D]; dt_t [*B]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      unfolds: L, how many steps of the solver one input takes.
      tau: what the time constants begin with, in the unit of dt.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras"; A ~ U(-1, 1).

    Returns:
      A Cell with `LTCParams`, whose state is the array h.

    Raises:
      TypeError: a size is not an int, `tau` is not a number; or an input is no pair.
      ValueError: a size is below 1, `tau` is not positive, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.ltc(16)
      >>> params = cell.init(jax.random.key(0), (8, float))
      >>> xs, dts = jnp.ones((5, 2, 8)), jnp.full((5, 2), 0.1)
      >>> h, ys = rnnjax.unroll(cell, params, None, (xs, dts))
      >>> ys.shape, h.shape
      ((5, 2, 16), (2, 16))

    Reference:
      Hasani, Lechner, Amini, Rus & Grosu, Liquid Time-Constant Networks, AAAI 2021,
      arXiv:2006.04439.
    """
    name = f"ltc({hidden_size}, unfolds={unfolds}, tau={tau})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> LTCParams:
        inputs, dtype = timed_spec(name, x_spec)
        k_w, k_a = jax.random.split(key)
        a = jax.random.uniform(k_a, (hidden_size,), at_least_float32(dtype), -1.0, 1.0)
        return LTCParams(
            **draw.weights(k_w, inputs, hidden_size, 1, dtype),
            log_tau=jnp.full(hidden_size, math.log(tau), dtype),
            b_a=a.astype(dtype),
        )

    def step(params: LTCParams, h: Array, x: Any) -> tuple[Array, Array]:
        x, dt = timed(name, x, params.w_x)
        x_f = x @ params.w_x + rows(params.b, x)
        leak, target, δ = rows(jnp.exp(-params.log_tau), x), rows(params.b_a, x), dt / unfolds
        for _ in range(unfolds):
            f = jax.nn.sigmoid(x_f + h @ params.w_h)
            h = (h + δ * f * target) / (1 + δ * (leak + f))
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        x_ndims=(1, 0),
        output_of=lambda h: h,
        recurrent=("w_h",),
        fill=(0.0, 0.0),
    )
