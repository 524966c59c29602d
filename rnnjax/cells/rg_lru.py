"""The real-gated linear recurrent unit of Griffin."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import Positive, Size, cell_factory
from rnnjax.cells._common import hidden_state, input_weights, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class RGLRUParams(NamedTuple):
    """Parameters of `rg_lru`; gates in the order r, i.

    Attributes:
      w_x: W, input weights [H, 2H].
      b: bias [2H].
      logit_rate: Λ [H]: a unit keeps σ(Λ)^(c r) of its state.
    """

    w_x: Array
    b: Array
    logit_rate: Array


@cell_factory
def rg_lru(hidden_size: Size, *, c: Positive = 8.0, init: Init = "rnnjax") -> Cell:
    """Real-gated linear recurrent unit: as many units as inputs, which decay as a gate says.

        r = σ(x_t W_r + b_r)
        i = σ(x_t W_i + b_i)
        a = σ(Λ)^(c r)
        h_t = a ⊙ h_{t-1} + √(1 - a²) ⊙ (i ⊙ x_t)

    The recurrence is linear in h. Λ is drawn such that σ(Λ)^c is uniform in [0.9, 0.999].

    Shapes: x_t [*B, H]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units, and of features: put `linear(H)` before it for others.
      c: how far the gate can go.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `RGLRUParams`, whose state is the array h.

    Raises:
      TypeError: `hidden_size` is not an int, or `c` is no number.
      ValueError: `hidden_size` is below 1, `c` is not positive, `init` names no preset, or, in
        `init` and `step`, inputs have another number of features.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.rg_lru(16)
      >>> params = cell.init(jax.random.key(0), 16)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 16)))
      >>> ys.shape
      (5, 2, 16)

    Reference:
      De et al., Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient
      Language Models, 2024, arXiv:2402.19427.
    """
    name = f"rg_lru({hidden_size})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> RGLRUParams:
        inputs, dtype = vector_spec(name, x_spec)
        if inputs != hidden_size:
            raise ValueError(
                f"{name} needs inputs of {hidden_size} features, got {inputs}: put "
                f"linear({hidden_size}) before it, as in stack(linear({hidden_size}), {name})"
            )
        k_w, k_rate = jax.random.split(key)
        wide = at_least_float32(dtype)
        kept = jnp.log(jax.random.uniform(k_rate, (hidden_size,), wide, 0.9, 0.999)) / c
        return RGLRUParams(
            **input_weights(draw, k_w, inputs, hidden_size, 2, dtype),
            logit_rate=(kept - jnp.log(-jnp.expm1(kept))).astype(dtype),
        )

    def step(params: RGLRUParams, h: Array, x: Array) -> tuple[Array, Array]:
        x, b = vector(name, x, params.w_x), rows(params.b, x)
        r, i = jnp.split(jax.nn.sigmoid(x @ params.w_x + b), 2, axis=-1)
        log_a = c * r * rows(jax.nn.log_sigmoid(params.logit_rate), x)
        # Never 0, where the root has no derivative: a gate may close to the last bit.
        rest = jnp.maximum(-jnp.expm1(2 * log_a), jnp.finfo(x.dtype).tiny)
        h = jnp.exp(log_a) * h + jnp.sqrt(rest) * (i * x)
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
    )
