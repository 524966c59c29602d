"""The continuous-time recurrent network for steps of any length."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Positive, Size, cell_factory
from rnnjax.cells._common import Activation, as_function, hidden_state, label, rows
from rnnjax.cells._timed import Method, approach, timed, timed_spec
from rnnjax.initializers import Init, preset


class TimedCTRNNParams(NamedTuple):
    """Parameters of `timed_ct_rnn`.

    Attributes:
      w_x: W, input weights [D, H].
      w_h: U, recurrent weights [H, H].
      b: bias [H].
      log_tau: log τ, the time constants [H].
    """

    w_x: Array
    w_h: Array
    b: Array
    log_tau: Array


@cell_factory
def timed_ct_rnn(
    hidden_size: Size,
    *,
    tau: Positive = 1.0,
    method: Method = "exponential",
    activation: Activation = "tanh",
    init: Init = "rnnjax",
) -> Cell:
    """Continuous-time recurrent network with learned time constants, for steps of any length.

        τ ⊙ dh/dt = -h + φ(x W + h U + b)
        n = φ(x_t W + h_{t-1} U + b)
        h_t = (1 - a) ⊙ h_{t-1} + a ⊙ n
        a = 1 - exp(-dt_t / τ)         method="exponential": exact for a constant n
        a = dt_t / τ                   method="euler": stable while dt_t < 2τ

    The inputs are pairs (x_t, dt_t): dt_t is the time for which the step runs, 0 or more.

    Shapes: x_t [*B, D]; dt_t [*B]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      tau: what the time constants begin with, in the unit of dt.
      method: "exponential" or "euler".
      activation: φ: "tanh", "relu", "identity", another name, or any function.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `TimedCTRNNParams`, whose state is the array h.

    Raises:
      TypeError: `hidden_size` is not an int, `tau` is not a number; or an input is no pair.
      ValueError: `hidden_size` is below 1, `tau` is not positive, or `method`, `activation` or
        `init` is an unknown name.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.timed_ct_rnn(16)
      >>> params = cell.init(jax.random.key(0), (8, float))
      >>> xs, dts = jnp.ones((5, 2, 8)), jnp.full((5, 2), 0.1)
      >>> h, ys = rnnjax.unroll(cell, params, None, (xs, dts))
      >>> ys.shape, h.shape
      ((5, 2, 16), (2, 16))

    Reference:
      Funahashi & Nakamura, Approximation of Dynamical Systems by Continuous Time Recurrent Neural
      Networks, Neural Networks 6(6), 1993; learned time constants: Pearlmutter, Learning State
      Space Trajectories in Recurrent Neural Networks, Neural Computation 1(2), 1989.
    """
    options = [f"tau={tau}"] + [method] * (method != "exponential")
    options += [label(activation)] * (activation != "tanh")
    name = f"timed_ct_rnn({', '.join([str(hidden_size), *options])})"
    φ = as_function(activation)
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> TimedCTRNNParams:
        inputs, dtype = timed_spec(name, x_spec)
        return TimedCTRNNParams(
            **draw.weights(key, inputs, hidden_size, 1, dtype),
            log_tau=jnp.full(hidden_size, math.log(tau), dtype),
        )

    def step(params: TimedCTRNNParams, h: Array, x: Any) -> tuple[Array, Array]:
        x, dt = timed(name, x, params.w_x)
        n = φ(x @ params.w_x + h @ params.w_h + rows(params.b, x))
        a = approach(method, dt * rows(jnp.exp(-params.log_tau), x))
        h = (1 - a) * h + a * n
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
