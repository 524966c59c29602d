"""The recurrent network whose units see only themselves."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from rnnjax._cell import Array, Cell
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import Size, cell_factory
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


class IndRNNParams(NamedTuple):
    """Parameters of `ind_rnn`.

    Attributes:
      w_x: W, input weights [D, H].
      diagonal: u, the weight of each unit on itself [H].
      b: bias [H].
    """

    w_x: Array
    diagonal: Array
    b: Array


@cell_factory
def ind_rnn(hidden_size: Size, *, activation: Activation = "relu", init: Init = "rnnjax") -> Cell:
    """Independently recurrent network: each unit has one recurrent weight, on itself.

        h_t = φ(x_t W + u ⊙ h_{t-1} + b)
        at first: u_i ~ U(0, 1)

    Units meet in the layers between: stack several. The paper bounds |u_i| by γ^{1/T}, for
    sequences of T steps and gradients of at most γ; here that is left to the optimizer.

    Shapes: x_t [*B, D]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      activation: φ: "relu", "tanh", "identity", another name, or any function.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras"; for W and b.

    Returns:
      A Cell with `IndRNNParams`, whose state is the array h.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, or `activation` or `init` is an unknown name.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.ind_rnn(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, params.diagonal.shape
      ((5, 2, 16), (16,))

    Reference:
      Li, Li, Cook, Zhu & Gao, Independently Recurrent Neural Network (IndRNN): Building a Longer
      and Deeper RNN, CVPR 2018, arXiv:1803.04831.
    """
    name = f"ind_rnn({hidden_size}{f', {label(activation)}' * (activation != 'relu')})"
    φ = as_function(activation)
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> IndRNNParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_x, k_u, k_b = jax.random.split(key, 3)
        return IndRNNParams(
            w_x=draw.input_weights(k_x, inputs, hidden_size, 1, dtype),
            diagonal=jax.random.uniform(k_u, (hidden_size,), at_least_float32(dtype)).astype(dtype),
            b=draw.bias(k_b, hidden_size, 1, dtype),
        )

    def step(params: IndRNNParams, h: Array, x: Array) -> tuple[Array, Array]:
        x = vector(name, x, params.w_x)
        h = φ(x @ params.w_x + rows(params.diagonal, h) * h + rows(params.b, x))
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
    )
