"""Long short-term memory whose output is a projection."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import LSTMState, lstm_weights, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class ProjectedLSTMParams(NamedTuple):
    """Parameters of `projected_lstm`; gates in the order i, f, g, o.

    Attributes:
      w_x: W, input weights [D, 4H].
      w_h: U, recurrent weights [P, 4H].
      b: bias [4H]; the forget bias is in it, not added at run time.
      w_p: V, the projection [H, P].
    """

    w_x: Array
    w_h: Array
    b: Array
    w_p: Array


@cell_factory
def projected_lstm(hidden_size: Size, projection_size: Size, *, init: Init = "rnnjax") -> Cell:
    """Long short-term memory whose hidden state is a projection of fewer numbers: LSTMP.

        i, f, g, o = x_t W + h_{t-1} U + b
        c_t = σ(f) ⊙ c_{t-1} + σ(i) ⊙ tanh(g)
        h_t = (σ(o) ⊙ tanh(c_t)) V

    It has a large memory for few recurrent weights. The paper's peepholes and its second
    projection, which is not fed back, are left out, as in PyTorch's `proj_size`.

    Shapes: x_t [*B, D]; state h [*B, P], c [*B, H]; y_t = h_t [*B, P].

    Args:
      hidden_size: H, the number of units.
      projection_size: P, the number of outputs, at most H.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `ProjectedLSTMParams` and `LSTMState`.

    Raises:
      TypeError: a size is not an int.
      ValueError: a size is below 1, `projection_size` is above `hidden_size`, or `init` names no
        preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.projected_lstm(16, 4)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> state, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, state.c.shape
      ((5, 2, 4), (2, 16))

    Reference:
      Sak, Senior & Beaufays, Long Short-Term Memory Based Recurrent Neural Network Architectures
      for Large Vocabulary Speech Recognition, 2014, arXiv:1402.1128.
    """
    if projection_size > hidden_size:
        raise ValueError(
            f"projected_lstm: projection_size must be at most hidden_size, {hidden_size}, got "
            f"{projection_size}"
        )
    name = f"projected_lstm({hidden_size}, {projection_size})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> ProjectedLSTMParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_gates, k_p = jax.random.split(key)
        weights = lstm_weights(draw, k_gates, inputs, hidden_size, dtype)
        # P rows of what is drawn for H: they stay orthogonal, and within PyTorch's bounds.
        return ProjectedLSTMParams(
            **{**weights, "w_h": weights["w_h"][:projection_size]},
            w_p=draw.w(k_p, (hidden_size, projection_size), dtype),
        )

    def initial_state(
        params: ProjectedLSTMParams, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> LSTMState:
        sizes, dtype = (projection_size, hidden_size), params.w_x.dtype
        return LSTMState(*(jnp.zeros((*batch_shape, size), dtype) for size in sizes))

    def step(params: ProjectedLSTMParams, state: LSTMState, x: Array) -> tuple[LSTMState, Array]:
        x, b = vector(name, x, params.w_x), rows(params.b, x)
        i, f, g, o = jnp.split(x @ params.w_x + state.h @ params.w_h + b, 4, axis=-1)
        c = jax.nn.sigmoid(f) * state.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = (jax.nn.sigmoid(o) * jnp.tanh(c)) @ params.w_p
        return LSTMState(h, c), h

    return Cell(
        name=name,
        init=init_params,
        initial_state=initial_state,
        step=step,
        output_of=lambda state: state.h,
        recurrent=("w_h",),
    )
