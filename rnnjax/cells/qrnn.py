"""The quasi-recurrent neural network."""

from __future__ import annotations

import functools
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory, natural
from rnnjax.cells._common import vector, vector_spec
from rnnjax.initializers import Init, preset

Width = Annotated[int, functools.partial(natural, least=2)]


class QRNNParams(NamedTuple):
    """Parameters of `qrnn`; gates in the order z, f, o.

    Attributes:
      w_x: W, the filters [k D, 3H], those of the oldest input first; no bias.
    """

    w_x: Array


class QRNNState(NamedTuple):
    """State of `qrnn`.

    Attributes:
      c: memory [*B, H].
      window: the last k - 1 inputs [*B, k - 1, D], the oldest first.
    """

    c: Array
    window: Array


@cell_factory
def qrnn(hidden_size: Size, *, width: Width = 2, init: Init = "rnnjax") -> Cell:
    """Quasi-recurrent network: a convolution of the inputs, and fo-pooling.

        z = tanh(x_{t-k+1} W¹_z + ... + x_t Wᵏ_z)
        f = σ(x_{t-k+1} W¹_f + ... + x_t Wᵏ_f)
        o = σ(x_{t-k+1} W¹_o + ... + x_t Wᵏ_o)
        c_t = f ⊙ c_{t-1} + (1 - f) ⊙ z
        y_t = o ⊙ c_t

    Inputs before the first step are zero. The recurrence is linear in c.

    Shapes: x_t [*B, D]; state c [*B, H], window [*B, k - 1, D]; y_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      width: k, how many inputs a filter sees, two or more.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `QRNNParams` and `QRNNState`.

    Raises:
      TypeError: `hidden_size` or `width` is not an int.
      ValueError: `hidden_size` is below 1, `width` below 2, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.qrnn(16, width=3)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> state, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, state.window.shape
      ((5, 2, 16), (2, 2, 8))

    Reference:
      Bradbury, Merity, Xiong & Socher, Quasi-Recurrent Neural Networks, ICLR 2017,
      arXiv:1611.01576.
    """
    name = f"qrnn({hidden_size}, {width})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> QRNNParams:
        inputs, dtype = vector_spec(name, x_spec)
        return QRNNParams(draw.input_weights(key, width * inputs, hidden_size, 3, dtype))

    def initial_state(
        params: QRNNParams, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> QRNNState:
        (rows, _), dtype = params.w_x.shape, params.w_x.dtype
        return QRNNState(
            c=jnp.zeros((*batch_shape, hidden_size), dtype),
            window=jnp.zeros((*batch_shape, width - 1, rows // width), dtype),
        )

    def step(params: QRNNParams, state: QRNNState, x: Array) -> tuple[QRNNState, Array]:
        x = vector(name, x, params.w_x[: params.w_x.shape[0] // width])
        seen = jnp.concatenate([state.window, x[..., None, :]], axis=-2)
        gates = seen.reshape(*x.shape[:-1], -1) @ params.w_x
        z, f, o = jnp.split(gates, 3, axis=-1)
        f = jax.nn.sigmoid(f)
        c = f * state.c + (1 - f) * jnp.tanh(z)
        return QRNNState(c, seen[..., 1:, :]), jax.nn.sigmoid(o) * c

    return Cell(
        name=name,
        init=init_params,
        initial_state=initial_state,
        step=step,
    )
