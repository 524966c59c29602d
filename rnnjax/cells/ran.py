"""The recurrent additive network."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory, one_of
from rnnjax.cells._common import LSTMState, as_function, lstm_state, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class RANParams(NamedTuple):
    """Parameters of `ran`; gates in the order i, f.

    Attributes:
      w_x: W, input weights of i, f and then the content, [D, 3H].
      w_h: U, recurrent weights [H, 2H].
      b: bias [2H].
    """

    w_x: Array
    w_h: Array
    b: Array


@cell_factory
def ran(
    hidden_size: Size,
    *,
    activation: Annotated[Literal["tanh", "identity"], one_of("tanh", "identity")] = "tanh",
    init: Init = "rnnjax",
) -> Cell:
    """Recurrent additive network: a memory that is a weighted sum of the inputs.

        i = σ(x_t W_i + h_{t-1} U_i + b_i)
        f = σ(x_t W_f + h_{t-1} U_f + b_f)
        c_t = f ⊙ c_{t-1} + i ⊙ (x_t W_c)
        h_t = φ(c_t)

    Shapes: x_t [*B, D]; state h, c [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      activation: φ: "tanh" or "identity", the two of the paper.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `RANParams` and `LSTMState`.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, `activation` is neither form, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.ran(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> state, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, state.c.shape
      ((5, 2, 16), (2, 16))

    Reference:
      Lee, Levy & Zettlemoyer, Recurrent Additive Networks, 2017, arXiv:1705.07393.
    """
    name = f"ran({hidden_size}{', identity' * (activation == 'identity')})"
    draw, φ = preset(init), as_function(activation)

    def init_params(key: Array, x_spec: Any) -> RANParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_x, k_h, k_b = jax.random.split(key, 3)
        return RANParams(
            w_x=draw.input_weights(k_x, inputs, hidden_size, 3, dtype),
            w_h=draw.recurrent_weights(k_h, hidden_size, 2, dtype),
            b=draw.bias(k_b, hidden_size, 2, dtype),
        )

    def step(params: RANParams, state: LSTMState, x: Array) -> tuple[LSTMState, Array]:
        x, b = vector(name, x, params.w_x), rows(params.b, x)
        x_g, content = jnp.split(x @ params.w_x, [2 * hidden_size], axis=-1)
        i, f = jnp.split(jax.nn.sigmoid(x_g + state.h @ params.w_h + b), 2, axis=-1)
        c = f * state.c + i * content
        h = φ(c)
        return LSTMState(h, c), h

    return Cell(
        name=name,
        init=init_params,
        initial_state=lstm_state(hidden_size),
        step=step,
        output_of=lambda state: state.h,
        recurrent=("w_h",),
    )
