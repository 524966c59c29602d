"""The linear transformer with the delta rule."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import vector, vector_spec
from rnnjax.initializers import Init, preset


class DeltaNetParams(NamedTuple):
    """Parameters of `delta_net`; in the order q, k, v, β.

    Attributes:
      w_x: W, input weights [D, 3H + N].
    """

    w_x: Array


@cell_factory
def delta_net(hidden_size: Size, *, heads: Size = 1, init: Init = "rnnjax") -> Cell:
    """Delta network: a memory of keys and values that is corrected where it is wrong.

        q, k = φ(x_t W_q), φ(x_t W_k)        φ(a) = SiLU(a) / √(‖SiLU(a)‖² + 1e-6)
        v, β = x_t W_v, σ(x_t W_β)
        S_t = S_{t-1} + β kᵀ (v - k S_{t-1})
        y_t = q S_t

    Each of N heads has its own q, k, v of H / N features, its β and its memory S.

    Shapes: x_t [*B, D]; state S [*B, N, H / N, H / N]; y_t [*B, H].

    Args:
      hidden_size: H, the number of features of all heads together.
      heads: N.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `DeltaNetParams`, whose state is the array S: keys by values.

    Raises:
      TypeError: `hidden_size` or `heads` is not an int.
      ValueError: `hidden_size` or `heads` is below 1, `heads` does not divide `hidden_size`, or
        `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.delta_net(16, heads=2)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> memory, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 3, 8)))
      >>> ys.shape, memory.shape
      ((5, 3, 16), (3, 2, 8, 8))

    Reference:
      Schlag, Irie & Schmidhuber, Linear Transformers Are Secretly Fast Weight Programmers, ICML
      2021, arXiv:2102.11174; φ: Yang, Wang, Zhang, Shen & Kim, Parallelizing Linear Transformers
      with the Delta Rule over Sequence Length, NeurIPS 2024, arXiv:2406.06484.
    """
    name = f"delta_net({hidden_size}, {heads})"
    if hidden_size % heads:
        raise ValueError(f"delta_net: heads must divide hidden_size {hidden_size}, got {heads}")
    draw, size = preset(init), hidden_size // heads

    def init_params(key: Array, x_spec: Any) -> DeltaNetParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_x, k_beta = jax.random.split(key)
        w_qkv = draw.input_weights(k_x, inputs, hidden_size, 3, dtype)
        w_beta = draw.input_weights(k_beta, inputs, heads, 1, dtype)
        return DeltaNetParams(jnp.concatenate([w_qkv, w_beta], axis=1))

    def initial_state(
        params: DeltaNetParams, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> Array:
        return jnp.zeros((*batch_shape, heads, size, size), params.w_x.dtype)

    def step(params: DeltaNetParams, memory: Array, x: Array) -> tuple[Array, Array]:
        x = vector(name, x, params.w_x)
        qkv, beta = jnp.split(x @ params.w_x, [3 * hidden_size], axis=-1)
        q, k, v = (a.reshape(*x.shape[:-1], heads, 1, size) for a in jnp.split(qkv, 3, axis=-1))
        q, k, beta = unit(jax.nn.silu(q)), unit(jax.nn.silu(k)), jax.nn.sigmoid(beta)
        # One product a step, for q S_t = q S_{t-1} + (q kᵀ) β (v - k S_{t-1}).
        y, old = jnp.split(jnp.concatenate([q, k], axis=-2) @ memory, 2, axis=-2)
        correction = beta[..., None, None] * (v - old)
        y = y + (q * k).sum(-1, keepdims=True) * correction
        memory = memory + jnp.swapaxes(k, -1, -2) * correction
        return memory, y.reshape(*x.shape[:-1], hidden_size)

    return Cell(
        name=name,
        init=init_params,
        initial_state=initial_state,
        step=step,
    )


def unit(a: Array) -> Array:
    """a / √(‖a‖² + 1e-6), the norm taken in float32 or better."""
    wide = a.astype(at_least_float32(a.dtype))
    square = jnp.square(wide).sum(-1, keepdims=True)
    return (wide * jax.lax.rsqrt(square + 1e-6)).astype(a.dtype)
