"""The continuous-time recurrent network: leaky integrators with learned time constants."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Positive, Size, cell_factory
from rnnjax.cells._common import (
    Activation,
    as_function,
    hidden_state,
    label,
    rows,
    vector,
    vector_spec,
)
from rnnjax.cells._timed import Method, approach
from rnnjax.initializers import Init, preset


class LearnedCTRNNParams(NamedTuple):
    """Parameters of `learned_ct_rnn`.

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
def learned_ct_rnn(
    hidden_size: Size,
    *,
    tau: Positive = 10.0,
    dt: Positive = 1.0,
    method: Method = "euler",
    activation: Activation = "tanh",
    init: Init = "rnnjax",
) -> Cell:
    """Continuous-time recurrent network with a learned time constant for each unit.

        τ ⊙ dh/dt = -h + φ(x W + h U + b)
        n = φ(x_t W + h_{t-1} U + b)
        h_t = (1 - a) ⊙ h_{t-1} + a ⊙ n
        a = dt / τ                     method="euler": stable while dt < 2τ
        a = 1 - exp(-dt / τ)           method="exponential": exact for a constant n

    Shapes: x_t [*B, D]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      tau: what the time constants begin with.
      dt: the time of a step, in the unit of `tau`.
      method: "euler" or "exponential".
      activation: φ: "tanh", "relu", "identity", another name, or any function.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `LearnedCTRNNParams`, whose state is the array h.

    Raises:
      TypeError: `hidden_size` is not an int, or `tau` or `dt` is not a number.
      ValueError: `hidden_size` is below 1, `tau` or `dt` is not positive, or `method`,
        `activation` or `init` is an unknown name.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.learned_ct_rnn(16, tau=20.0)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, params.log_tau.shape
      ((5, 2, 16), (16,))

    Reference:
      Funahashi & Nakamura, Approximation of Dynamical Systems by Continuous Time Recurrent Neural
      Networks, Neural Networks 6(6), 1993; learned time constants: Pearlmutter, Learning State
      Space Trajectories in Recurrent Neural Networks, Neural Computation 1(2), 1989.
    """
    options = [f"tau={tau}", f"dt={dt}"] + [method] * (method != "euler")
    options += [label(activation)] * (activation != "tanh")
    name = f"learned_ct_rnn({', '.join([str(hidden_size), *options])})"
    φ = as_function(activation)
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> LearnedCTRNNParams:
        inputs, dtype = vector_spec(name, x_spec)
        return LearnedCTRNNParams(
            **draw.weights(key, inputs, hidden_size, 1, dtype),
            log_tau=jnp.full(hidden_size, math.log(tau), dtype),
        )

    def step(params: LearnedCTRNNParams, h: Array, x: Array) -> tuple[Array, Array]:
        x = vector(name, x, params.w_x)
        n = φ(x @ params.w_x + h @ params.w_h + rows(params.b, x))
        a = rows(approach(method, dt * jnp.exp(-params.log_tau)), h)
        h = (1 - a) * h + a * n
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
        recurrent=("w_h",),
    )
