"""Scalar LSTM: exponential gates, kept in range by a stabiliser; memory mixed within heads."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import Size, cell_factory, one_of
from rnnjax.cells._common import hidden_state, lstm_weights, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class SLSTMParams(NamedTuple):
    """Parameters of `slstm`; gates in the order i, f, z, o, heads side by side in each.

    Attributes:
      w_x: W, input weights [D, 4H].
      w_h: R, recurrent weights [H/K, 4H]: a column belongs to one head and sees that head alone.
      b: bias [4H]; the forget bias is in it, not added at run time.
    """

    w_x: Array
    w_h: Array
    b: Array


class SLSTMState(NamedTuple):
    """State of `slstm`; the paper's memory is c exp(m), its normaliser n exp(m).

    Attributes:
      h: hidden state [*B, H], also the output.
      c: memory [*B, H].
      n: normaliser [*B, H], 0 before the first step and positive then.
      m: stabiliser [*B, H].
    """

    h: Array
    c: Array
    n: Array
    m: Array


@cell_factory
def slstm(
    hidden_size: Size,
    *,
    heads: Size = 1,
    forget: Annotated[Literal["sigmoid", "exp"], one_of("sigmoid", "exp")] = "sigmoid",
    init: Init = "rnnjax",
) -> Cell:
    """Scalar LSTM of xLSTM: exponential gates and a normalised memory.

        i, f, z, o = x_t W + h_{t-1} R + b        R is block diagonal, one block a head
        log f = log σ(f), or f with forget="exp"
        m_t = max(log f + m_{t-1}, i)
        i' = exp(i - m_t),  f' = exp(log f + m_{t-1} - m_t)
        c_t = f' ⊙ c_{t-1} + i' ⊙ tanh(z)
        n_t = f' ⊙ n_{t-1} + i'
        h_t = σ(o) ⊙ c_t / n_t

    m changes nothing but the range of c and n. The paper leaves open what it is before the first
    step; here n = 0 says that there is no past, and m_1 is i.

    Shapes: x_t [*B, D]; state h, c, n, m [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      heads: K, which divides H: units are mixed within a head, not across.
      forget: whether the forget gate is a "sigmoid" or "exp".
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `SLSTMParams` and `SLSTMState`.

    Raises:
      TypeError: a size is not an int.
      ValueError: a size is below 1, `heads` does not divide `hidden_size`, `forget` is neither
        form, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.slstm(16, heads=4)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> state, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, params.w_h.shape
      ((5, 2, 16), (4, 64))

    Reference:
      Beck et al., xLSTM: Extended Long Short-Term Memory, NeurIPS 2024, arXiv:2405.04517.
    """
    if hidden_size % heads:
        raise ValueError(f"slstm: heads must divide hidden_size, {hidden_size}, got {heads}")
    name = f"slstm({hidden_size}, heads={heads}{', exp' * (forget == 'exp')})"
    draw, zeros, units = preset(init), hidden_state(hidden_size), hidden_size // heads

    def init_params(key: Array, x_spec: Any) -> SLSTMParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_gates, k_h = jax.random.split(key)
        weights = lstm_weights(draw, k_gates, inputs, hidden_size, dtype)
        w_h = draw.recurrent_weights(k_h, units, 4 * heads, dtype)
        return SLSTMParams(**{**weights, "w_h": w_h})

    def initial_state(
        params: SLSTMParams, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> SLSTMState:
        return SLSTMState(*(zeros(params, batch_shape) for _ in SLSTMState._fields))

    def within_heads(h: Array, w: Array) -> Array:
        """h R: one product of a batch of heads."""
        if heads == 1:
            return h @ w
        h = h.reshape(*h.shape[:-1], heads, units)
        mixed = jnp.einsum("...ku,ugkv->...gkv", h, jnp.reshape(w, (units, 4, heads, units)))
        return mixed.reshape(*mixed.shape[:-3], 4 * hidden_size)

    def step(params: SLSTMParams, state: SLSTMState, x: Array) -> tuple[SLSTMState, Array]:
        x, b = vector(name, x, params.w_x), rows(params.b, x)
        gates = x @ params.w_x + within_heads(state.h, params.w_h) + b
        # Exponents in float32 or better: log f is lost beside m in half precision.
        wide = at_least_float32(gates.dtype)
        i, f, z, o = jnp.split(gates.astype(wide), 4, axis=-1)
        past = (jax.nn.log_sigmoid(f) if forget == "sigmoid" else f) + state.m.astype(wide)
        past = jnp.where(state.n == 0, jnp.minimum(past, i), past)
        m = jnp.maximum(past, i).astype(gates.dtype)
        i, f = jnp.exp(i - m.astype(wide)), jnp.exp(past - m.astype(wide))
        c = f * state.c.astype(wide) + i * jnp.tanh(z)
        n = f * state.n.astype(wide) + i
        h = (jax.nn.sigmoid(o) * c / n).astype(gates.dtype)
        return SLSTMState(h, c.astype(gates.dtype), n.astype(gates.dtype), m), h

    return Cell(
        name=name,
        init=init_params,
        initial_state=initial_state,
        step=step,
        output_of=lambda state: state.h,
        recurrent=("w_h",),
    )
