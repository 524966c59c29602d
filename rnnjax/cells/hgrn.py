"""The hierarchically gated recurrent unit of HGRN."""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import Size, cell_factory, real
from rnnjax.cells._common import (
    as_complex,
    as_parts,
    complex_state,
    input_weights,
    normalised,
    rows,
    vector,
    vector_spec,
)
from rnnjax.initializers import Init, preset


class HGRNParams(NamedTuple):
    """Parameters of `hgrn`; gates in the order c (real parts, imaginary parts), f, g (two).

    Attributes:
      w_x: W, input weights [D, 5H].
      b: bias [5H].
      logit_rate: the lower bounds γ of the forget gate [H], as their logits.
      angle: θ, by how much a unit turns a step [H].
      scale: gains of the normalisation [2H].
      offset: offsets of the normalisation [2H].
      w_y: readout weights [2H, H].
      b_y: readout bias [H].
    """

    w_x: Array
    b: Array
    logit_rate: Array
    angle: Array
    scale: Array
    offset: Array
    w_y: Array
    b_y: Array


def _bound(what: str, value: Any) -> float:
    return real(what, value, "a number in (0, 1)", lambda a: 0 < a < 1)


@cell_factory
def hgrn(
    hidden_size: Size,
    *,
    lower_bound: Annotated[float, _bound] = 0.5,
    init: Init = "rnnjax",
) -> Cell:
    """Hierarchically gated recurrent unit: complex, with a forget gate that is bounded below.

        c = SiLU(x_t W_re + b_re) + i SiLU(x_t W_im + b_im)
        λ = γ + (1 - γ) ⊙ σ(x_t W_f + b_f)
        h_t = λ ⊙ exp(iθ) ⊙ h_{t-1} + (1 - λ) ⊙ c
        g = σ(x_t W_g + b_g)
        y_t = LayerNorm(g ⊙ [Re h_t, Im h_t]) W_y + b_y

    The recurrence is linear in h. In the paper γ rises from layer to layer, by a softmax over the
    layers that is summed up; a cell knows no other layers, so its γ is learned by itself: begin it
    at (k - 1) / L or so in layer k of L, a little above 0 in the first. θ is 10000^(-j/H) at first.

    Shapes: x_t [*B, D]; state h [*B, H], complex; y_t [*B, H].

    Args:
      hidden_size: H, the number of complex units.
      lower_bound: what γ begins with, in (0, 1).
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `HGRNParams`, whose state is the complex array h (complex64 for parameters of
      half precision).

    Raises:
      TypeError: `hidden_size` is not an int, or `lower_bound` is no number.
      ValueError: `hidden_size` is below 1, `lower_bound` is outside (0, 1), or `init` names no
        preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.hgrn(16, lower_bound=0.75)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, h.dtype.name
      ((5, 2, 16), 'complex64')

    Reference:
      Qin, Yang & Zhong, Hierarchically Gated Recurrent Neural Network for Sequence Modeling,
      NeurIPS 2023, arXiv:2311.04823.
    """
    name = f"hgrn({hidden_size})"
    draw, size = preset(init), hidden_size

    def init_params(key: Array, x_spec: Any) -> HGRNParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_x, k_w, k_b = jax.random.split(key, 3)
        shape, exponents = (2 * size, size), jnp.arange(size, dtype=at_least_float32(dtype)) / size
        return HGRNParams(
            **input_weights(draw, k_x, inputs, size, 5, dtype),
            logit_rate=jnp.full(size, math.log(lower_bound / (1 - lower_bound)), dtype),
            angle=jnp.exp(-math.log(10000) * exponents).astype(dtype),
            scale=jnp.ones(2 * size, dtype),
            offset=jnp.zeros(2 * size, dtype),
            w_y=draw.w(k_w, shape, dtype),
            b_y=draw.w_b(k_b, shape, dtype)[0],
        )

    def step(params: HGRNParams, h: Array, x: Array) -> tuple[Array, Array]:
        x, b = vector(name, x, params.w_x), rows(params.b, x)
        c, f, g = jnp.split(x @ params.w_x + b, [2 * size, 3 * size], axis=-1)
        forgotten = rows(jax.nn.sigmoid(-params.logit_rate), x) * jax.nn.sigmoid(-f)  # 1 - λ
        turn = rows(jnp.concatenate([jnp.cos(params.angle), jnp.sin(params.angle)]), x)
        twice = jnp.concatenate([forgotten, forgotten], axis=-1)
        h = as_complex((1 - twice) * turn) * h + as_complex(twice * jax.nn.silu(c))
        gated = jax.nn.sigmoid(g) * as_parts(h, x.dtype)
        seen = normalised(gated, params.scale) + rows(params.offset, x)
        return h, seen @ params.w_y + rows(params.b_y, x)

    return Cell(
        name=name,
        init=init_params,
        initial_state=complex_state(hidden_size),
        step=step,
    )
