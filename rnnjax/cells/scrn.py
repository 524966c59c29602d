"""The structurally constrained recurrent network."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Rate, Size, cell_factory
from rnnjax.cells._common import vector, vector_spec, zero_state
from rnnjax.initializers import Init, preset


class SCRNParams(NamedTuple):
    """Parameters of `scrn`.

    Attributes:
      w_x: A and B, input weights of h and of s, [D, H + C].
      w_s: P, weights of the context on h, [C, H].
      w_h: R, recurrent weights [H, H].
    """

    w_x: Array
    w_s: Array
    w_h: Array


class SCRNState(NamedTuple):
    """State of `scrn`.

    Attributes:
      h: hidden state [*B, H].
      s: context [*B, C].
    """

    h: Array
    s: Array


@cell_factory
def scrn(
    hidden_size: Size, context_size: Size, *, alpha: Rate = 0.95, init: Init = "rnnjax"
) -> Cell:
    """Structurally constrained recurrent network: beside the state a context that changes slowly.

        s_t = (1 - α) x_t B + α s_{t-1}
        h_t = σ(s_t P + x_t A + h_{t-1} R)
        y_t = [h_t, s_t]

    There are no biases, as in the paper. Its readout f(h_t U + s_t V) is a `linear` of y_t.

    Shapes: x_t [*B, D]; state h [*B, H], s [*B, C]; y_t [*B, H + C].

    Args:
      hidden_size: H, the number of hidden units.
      context_size: C, the number of context units.
      alpha: α in [0, 1), what the context keeps at each step.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `SCRNParams` and `SCRNState`.

    Raises:
      TypeError: a size is not an int, or `alpha` is not a number.
      ValueError: a size is below 1, `alpha` is outside [0, 1), or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.scrn(16, 4)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> state, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, state.s.shape
      ((5, 2, 20), (2, 4))

    Reference:
      Mikolov, Joulin, Chopra, Mathieu & Ranzato, Learning Longer Memory in Recurrent Neural
      Networks, 2014, arXiv:1412.7753.
    """
    name = f"scrn({hidden_size}, {context_size}{f', alpha={alpha}' * (alpha != 0.95)})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> SCRNParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_h, k_s, k_p, k_r = jax.random.split(key, 4)
        a = draw.input_weights(k_h, inputs, hidden_size, 1, dtype)
        b = draw.input_weights(k_s, inputs, context_size, 1, dtype)
        return SCRNParams(
            w_x=jnp.concatenate([a, b], axis=1),
            w_s=draw.w(k_p, (context_size, hidden_size), dtype),
            w_h=draw.recurrent_weights(k_r, hidden_size, 1, dtype),
        )

    def step(params: SCRNParams, state: SCRNState, x: Array) -> tuple[SCRNState, Array]:
        x = vector(name, x, params.w_x)
        x_h, x_s = jnp.split(x @ params.w_x, [hidden_size], axis=-1)
        s = (1 - alpha) * x_s + alpha * state.s
        h = jax.nn.sigmoid(s @ params.w_s + x_h + state.h @ params.w_h)
        state = SCRNState(h, s)
        return state, output_of(state)

    def output_of(state: SCRNState) -> Array:
        return jnp.concatenate(state, axis=-1)

    return Cell(
        name=name,
        init=init_params,
        initial_state=zero_state(SCRNState, h=hidden_size, s=context_size),
        step=step,
        output_of=output_of,
        recurrent=("w_h",),
    )
