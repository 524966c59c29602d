"""Long short-term memory with ordered neurons."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import LSTMState, lstm_state, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class ONLSTMParams(NamedTuple):
    """Parameters of `on_lstm`; gates in the order i, f, g, o, then the master gates ĩ, f̃.

    Attributes:
      w_x: W, input weights [D, 4H + 2H/C].
      w_h: U, recurrent weights [H, 4H + 2H/C].
      b: bias [4H + 2H/C]; the forget bias is in it, not added at run time.
    """

    w_x: Array
    w_h: Array
    b: Array


@cell_factory
def on_lstm(hidden_size: Size, *, chunk: Size = 1, init: Init = "rnnjax") -> Cell:
    """Long short-term memory with ordered neurons: to forget one is to forget all before it.

        cumax(a) = cumsum(softmax(a))
        i, f, g, o, ĩ, f̃ = x_t W + h_{t-1} U + b
        ĩ <- 1 - cumax(ĩ),  f̃ <- cumax(f̃)                  master gates, each for C units
        ω = ĩ ⊙ f̃                                            where they overlap
        î = σ(i) ⊙ ω + (ĩ - ω)
        f̂ = σ(f) ⊙ ω + (f̃ - ω)
        c_t = f̂ ⊙ c_{t-1} + î ⊙ tanh(g)
        h_t = σ(o) ⊙ tanh(c_t)

    Shapes: x_t [*B, D]; state h, c [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      chunk: C, how many units share one number of the master gates; it divides H.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `ONLSTMParams` and `LSTMState`.

    Raises:
      TypeError: a size is not an int.
      ValueError: a size is below 1, `chunk` does not divide `hidden_size`, or `init` names no
        preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.on_lstm(16, chunk=4)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> state, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, params.w_h.shape
      ((5, 2, 16), (16, 72))

    Reference:
      Shen, Tan, Sordoni & Courville, Ordered Neurons: Integrating Tree Structures into Recurrent
      Neural Networks, ICLR 2019, arXiv:1810.09536.
    """
    if hidden_size % chunk:
        raise ValueError(f"on_lstm: chunk must divide hidden_size, {hidden_size}, got {chunk}")
    name = f"on_lstm({hidden_size}, chunk={chunk})"
    draw, columns = preset(init), 4 * hidden_size + 2 * hidden_size // chunk

    def init_params(key: Array, x_spec: Any) -> ONLSTMParams:
        inputs, dtype = vector_spec(name, x_spec)
        # Six gates are drawn; of the two master gates, as many columns as they have.
        weights = draw.weights(key, inputs, hidden_size, 6, dtype)
        weights = {field: w[..., :columns] for field, w in weights.items()}
        forget = slice(hidden_size, 2 * hidden_size)
        return ONLSTMParams(**{**weights, "b": weights["b"].at[forget].add(draw.forget_bias)})

    def cumax(a: Array) -> Array:
        """In float32 or better: sums of many small shares."""
        wide = jax.nn.softmax(a.astype(at_least_float32(a.dtype)), axis=-1)
        return jnp.repeat(jnp.cumsum(wide, axis=-1).astype(a.dtype), chunk, axis=-1)

    def step(params: ONLSTMParams, state: LSTMState, x: Array) -> tuple[LSTMState, Array]:
        x, b = vector(name, x, params.w_x), rows(params.b, x)
        gates = x @ params.w_x + state.h @ params.w_h + b
        gates, master_i, master_f = jnp.split(
            gates, [4 * hidden_size, (4 * hidden_size + columns) // 2], axis=-1
        )
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        master_i, master_f = 1 - cumax(master_i), cumax(master_f)
        overlap = master_i * master_f
        i = jax.nn.sigmoid(i) * overlap + (master_i - overlap)
        f = jax.nn.sigmoid(f) * overlap + (master_f - overlap)
        c = f * state.c + i * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return LSTMState(h, c), h

    return Cell(
        name=name,
        init=init_params,
        initial_state=lstm_state(hidden_size),
        step=step,
        output_of=lambda state: state.h,
        recurrent=("w_h",),
    )
