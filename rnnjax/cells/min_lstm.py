"""The minimal LSTM whose gates do not see the state."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory, one_of
from rnnjax.cells._common import hidden_state, input_weights, positive, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class MinLSTMParams(NamedTuple):
    """Parameters of `min_lstm`; gates in the order i, f, n.

    Attributes:
      w_x: W, input weights [D, 3H].
      b: bias [3H].
    """

    w_x: Array
    b: Array


@cell_factory
def min_lstm(
    hidden_size: Size,
    *,
    candidate: Annotated[Literal["linear", "positive"], one_of("linear", "positive")] = "linear",
    init: Init = "rnnjax",
) -> Cell:
    """LSTM without an output gate, whose gates and candidate see the input alone.

        i = σ(x_t W_i + b_i)
        f = σ(x_t W_f + b_f)
        n = x_t W_n + b_n            candidate="linear"
        n = g(x_t W_n + b_n)         candidate="positive", g(a) = a + 1/2 if a ≥ 0, else σ(a)
        h_t = (f ⊙ h_{t-1} + i ⊙ n) / (f + i)

    "linear" is that of the paper's section 3; "positive" that of its appendix, by which it can be
    computed as logarithms. The recurrence is linear in h.

    Shapes: x_t [*B, D]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      candidate: whether n is "linear" in the input or made "positive".
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras"; its forget bias is
        not added, as the paper has none.

    Returns:
      A Cell with `MinLSTMParams`, whose state is the array h.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, `candidate` is neither form, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.min_lstm(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape
      (5, 2, 16)

    Reference:
      Feng, Tung, Ahmed, Bengio & Hajimirsadeghi, Were RNNs All We Needed?, 2024,
      arXiv:2410.01201.
    """
    name = f"min_lstm({hidden_size}{', positive' * (candidate == 'positive')})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> MinLSTMParams:
        inputs, dtype = vector_spec(name, x_spec)
        return MinLSTMParams(**input_weights(draw, key, inputs, hidden_size, 3, dtype))

    def step(params: MinLSTMParams, h: Array, x: Array) -> tuple[Array, Array]:
        x, b = vector(name, x, params.w_x), rows(params.b, x)
        i, f, n = jnp.split(x @ params.w_x + b, 3, axis=-1)
        n = positive(n) if candidate == "positive" else n
        # f / (f + i) = σ(log f - log i): no quotient of two numbers that may both be 0.
        odds = jax.nn.log_sigmoid(f) - jax.nn.log_sigmoid(i)
        h = jax.nn.sigmoid(odds) * h + jax.nn.sigmoid(-odds) * n
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
    )
