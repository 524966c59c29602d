"""Matrix LSTM: a memory of keys and values, written by exponential gates."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import Size, cell_factory, one_of
from rnnjax.cells._common import rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class MLSTMParams(NamedTuple):
    """Parameters of `mlstm`; columns in the order q, k, v, o [H each], i, f [K each].

    Attributes:
      w_x: W, input weights [D, 4H + 2K].
      b: bias [4H + 2K]; the forget bias is in it, not added at run time.
    """

    w_x: Array
    b: Array


class MLSTMState(NamedTuple):
    """State of `mlstm`, U = H/K; the paper's memory is c exp(m), its normaliser n exp(m).

    Attributes:
      c: memory [*B, K, U, U], values by keys.
      n: normaliser [*B, K, U].
      m: stabiliser [*B, K].
    """

    c: Array
    n: Array
    m: Array


@cell_factory
def mlstm(
    hidden_size: Size,
    *,
    heads: Size = 1,
    forget: Annotated[Literal["sigmoid", "exp"], one_of("sigmoid", "exp")] = "sigmoid",
    init: Init = "rnnjax",
) -> Cell:
    """Matrix LSTM of xLSTM: each head has a memory of keys and values, and no recurrent weights.

        q, v, o, i, f = x_t W + b,  k = x_t W_k / √U + b_k        i, f: one number a head
        log f = log σ(f), or f with forget="exp"
        m_t = max(log f + m_{t-1}, i)
        i' = exp(i - m_t),  f' = exp(log f + m_{t-1} - m_t)
        C_t = f' C_{t-1} + i' v k^T
        n_t = f' n_{t-1} + i' k
        h̃ = C_t q / max(|n_t · q|, exp(-m_t))
        y_t = σ(o) ⊙ h̃

    m changes nothing but the range of C and n, hence exp(-m_t) where the paper has 1 beside an
    unscaled n. What it is before the first step, the paper leaves open; here n = 0 says that there
    is no past, and m_1 is i.

    Shapes, U = H/K: x_t [*B, D]; state C [*B, K, U, U], n [*B, K, U], m [*B, K]; y_t [*B, H].

    Args:
      hidden_size: H, the number of outputs.
      heads: K, which divides H.
      forget: whether the forget gate is a "sigmoid" or "exp".
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `MLSTMParams` and `MLSTMState`.

    Raises:
      TypeError: a size is not an int.
      ValueError: a size is below 1, `heads` does not divide `hidden_size`, `forget` is neither
        form, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.mlstm(16, heads=4)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> state, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, state.c.shape
      ((5, 2, 16), (2, 4, 4, 4))

    Reference:
      Beck et al., xLSTM: Extended Long Short-Term Memory, NeurIPS 2024, arXiv:2405.04517.
    """
    if hidden_size % heads:
        raise ValueError(f"mlstm: heads must divide hidden_size, {hidden_size}, got {heads}")
    name = f"mlstm({hidden_size}, heads={heads}{', exp' * (forget == 'exp')})"
    draw, H, units = preset(init), hidden_size, hidden_size // heads
    parts = [H, 2 * H, 3 * H, 4 * H, 4 * H + heads]

    def init_params(key: Array, x_spec: Any) -> MLSTMParams:
        inputs, dtype = vector_spec(name, x_spec)
        (k_x, k_g), (k_b, k_c) = jax.random.split(key, (2, 2))
        w_x = [
            draw.input_weights(k, inputs, n, g, dtype) for k, n, g in ((k_x, H, 4), (k_g, heads, 2))
        ]
        b = [draw.bias(k, n, g, dtype) for k, n, g in ((k_b, H, 4), (k_c, heads, 2))]
        b = jnp.concatenate(b).at[parts[-1] :].add(draw.forget_bias)
        return MLSTMParams(w_x=jnp.concatenate(w_x, axis=1), b=b)

    def initial_state(
        params: MLSTMParams, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> MLSTMState:
        shapes = ((heads, units, units), (heads, units), (heads,))
        return MLSTMState(*(jnp.zeros((*batch_shape, *s), params.w_x.dtype) for s in shapes))

    def step(params: MLSTMParams, state: MLSTMState, x: Array) -> tuple[MLSTMState, Array]:
        x = vector(name, x, params.w_x)
        # In float32 or better: log f is lost beside m in half precision, f' beside 1.
        dtype, wide = x.dtype, at_least_float32(x.dtype)
        xs = jnp.split((x @ params.w_x).astype(wide), parts, axis=-1)
        xs[1] = xs[1] / units**0.5
        bs = jnp.split(rows(params.b, x).astype(wide), parts, axis=-1)
        *qkv, o, i, f = (a + b for a, b in zip(xs, bs, strict=True))
        q, k, v = (a.reshape(*a.shape[:-1], heads, units) for a in qkv)
        past = (jax.nn.log_sigmoid(f) if forget == "sigmoid" else f) + state.m.astype(wide)
        past = jnp.where((state.n == 0).all(-1), jnp.minimum(past, i), past)
        m = jnp.maximum(past, i).astype(dtype)
        i, f = (jnp.exp(a - m.astype(wide))[..., None] for a in (i, past))
        c = f[..., None] * state.c.astype(wide) + (i * v)[..., :, None] * k[..., None, :]
        n = f * state.n.astype(wide) + i * k
        read = (c * q[..., None, :]).sum(-1)
        # Within 40, beyond which it decides on nothing, its square is a float32: so are gradients.
        least = jnp.exp(-jnp.clip(m.astype(wide), -40, 40))
        h = read / jnp.maximum(jnp.abs((n * q).sum(-1)), least)[..., None]
        y = (jax.nn.sigmoid(o) * h.reshape(o.shape)).astype(dtype)
        return MLSTMState(c.astype(dtype), n.astype(dtype), m), y

    return Cell(name=name, init=init_params, initial_state=initial_state, step=step)
