"""The recurrent network that is fed its output."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from rnnjax._cell import Array, Cell
from rnnjax._factory import Rate, Size, cell_factory
from rnnjax.cells._common import (
    Activation,
    as_function,
    hidden_state,
    label,
    rows,
    vector,
    vector_spec,
)
from rnnjax.initializers import Init, preset


class JordanParams(NamedTuple):
    """Parameters of `jordan`.

    Attributes:
      w_x: W, input weights [D, H].
      w_h: U, weights of the output that is fed back, [O, H].
      b: bias of the hidden units [H].
      w_y: V, weights of the output [H, O].
      b_y: bias of the output [O].
    """

    w_x: Array
    w_h: Array
    b: Array
    w_y: Array
    b_y: Array


@cell_factory
def jordan(
    hidden_size: Size,
    output_size: Size,
    *,
    decay: Rate = 0.0,
    activation: Activation = "tanh",
    output_activation: Activation = "identity",
    init: Init = "rnnjax",
) -> Cell:
    """Recurrent network whose state is a trace of its own outputs.

        h_t = φ(x_t W + s_{t-1} U + b)
        y_t = ψ(h_t V + b_y)
        s_t = μ s_{t-1} + y_t                    μ = decay: 0, and the state is the last output

    Shapes: x_t [*B, D]; state s [*B, O]; h_t [*B, H]; y_t [*B, O].

    Args:
      hidden_size: H, the number of hidden units.
      output_size: O, the number of outputs.
      decay: μ in [0, 1), the weight of the state units on themselves.
      activation: φ: "tanh", "relu", "identity", another name, or any function.
      output_activation: ψ, likewise.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `JordanParams`, whose state is the array s.

    Raises:
      TypeError: a size is not an int, or `decay` is not a number.
      ValueError: a size is below 1, `decay` is outside [0, 1), or an activation or `init` is an
        unknown name.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.jordan(16, 4)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> s, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, s.shape
      ((5, 2, 4), (2, 4))

    Reference:
      Jordan, Attractor Dynamics and Parallelism in a Connectionist Sequential Machine, Annual
      Conference of the Cognitive Science Society, 1986.
    """
    options = [f"decay={decay}"] * (decay != 0)
    options += [label(activation)] * (activation != "tanh")
    options += [f"output {label(output_activation)}"] * (output_activation != "identity")
    name = f"jordan({', '.join([str(hidden_size), str(output_size), *options])})"
    φ, ψ = as_function(activation), as_function(output_activation)
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> JordanParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_x, k_h, k_b, k_y, k_c = jax.random.split(key, 5)
        return JordanParams(
            w_x=draw.input_weights(k_x, inputs, hidden_size, 1, dtype),
            w_h=draw.w_h(k_h, (output_size, hidden_size), dtype),
            b=draw.bias(k_b, hidden_size, 1, dtype),
            w_y=draw.w(k_y, (hidden_size, output_size), dtype),
            b_y=draw.w_b(k_c, (hidden_size, output_size), dtype)[0],
        )

    def step(params: JordanParams, s: Array, x: Array) -> tuple[Array, Array]:
        x = vector(name, x, params.w_x)
        h = φ(x @ params.w_x + s @ params.w_h + rows(params.b, x))
        y = ψ(h @ params.w_y + rows(params.b_y, h))
        return (decay * s + y if decay else y), y

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(output_size),
        step=step,
        output_of=None if decay else lambda s: s,
        recurrent=("w_h",),
    )
