"""The linear recurrent unit."""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import Positive, Size, cell_factory, real
from rnnjax.cells._common import as_complex, as_parts, complex_state, rows, vector, vector_spec


class LRUParams(NamedTuple):
    """Parameters of `lru`.

    Attributes:
      w_x: B, input weights [D, 2H], real parts beside imaginary parts.
      w_y: C, readout weights [2H, D], real parts above imaginary parts.
      scale_x: d, gains of the input in the output [D].
      log_nu: logarithms of the decays ν [H].
      log_theta: logarithms of the angles θ [H], in radians a step.
      log_gamma: logarithms of the gains γ of the input [H].
    """

    w_x: Array
    w_y: Array
    scale_x: Array
    log_nu: Array
    log_theta: Array
    log_gamma: Array


def _ring(what: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, tuple) or len(value) != 2:
        raise TypeError(f"{what} must be a pair (least, greatest), got {value!r}")
    least, greatest = (real(what, r, "numbers in [0, 1]", lambda r: 0 <= r <= 1) for r in value)
    if least >= greatest:
        raise ValueError(f"{what} must be (least, greatest), the least below, got {value!r}")
    return least, greatest


@cell_factory
def lru(
    hidden_size: Size,
    *,
    radius: Annotated[tuple[float, float], _ring] = (0.0, 1.0),
    max_phase: Positive = 2 * math.pi,
) -> Cell:
    """Linear recurrent unit: a diagonal complex recurrence, stable whatever its parameters.

        λ = exp(-ν + iθ)
        h_t = λ ⊙ h_{t-1} + γ ⊙ (x_t B)
        y_t = Re(h_t C) + d ⊙ x_t

    λ is drawn uniformly on a ring about 0, and γ is √(1 - |λ|²) at first, so that h keeps the
    variance of x B; B, C and d are normal numbers of variance 1 / D, 1 / H and 1.

    Shapes: x_t [*B, D]; state h [*B, H], complex; y_t [*B, D].

    Args:
      hidden_size: H, the number of complex units.
      radius: the least and the greatest |λ| that is drawn, in [0, 1].
      max_phase: the greatest θ that is drawn.

    Returns:
      A Cell with `LRUParams`, whose state is the complex array h (complex64 for parameters of
      half precision).

    Raises:
      TypeError: `hidden_size` is not an int, `radius` no pair, or `max_phase` no number.
      ValueError: `hidden_size` is below 1, `radius` no ring within the unit circle, or
        `max_phase` not positive.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.lru(16, radius=(0.9, 0.999))
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, h.shape, h.dtype.name
      ((5, 2, 8), (2, 16), 'complex64')

    Reference:
      Orvieto et al., Resurrecting Recurrent Neural Networks for Long Sequences, ICML 2023,
      arXiv:2303.06349.
    """
    name = f"lru({hidden_size})"
    least, greatest = radius

    def init_params(key: Array, x_spec: Any) -> LRUParams:
        inputs, dtype = vector_spec(name, x_spec)
        wide = at_least_float32(dtype)
        k_x, k_y, k_d, k_r, k_phase = jax.random.split(key, 5)
        above_0 = float(jnp.finfo(wide).eps)  # log 0 is no number
        square = jax.random.uniform(k_r, (hidden_size,), wide, above_0)
        nu = -0.5 * jnp.log(square * (greatest**2 - least**2) + least**2)
        theta = max_phase * jax.random.uniform(k_phase, (hidden_size,), wide, above_0)
        params = LRUParams(
            w_x=jax.random.normal(k_x, (inputs, 2 * hidden_size), wide) / math.sqrt(2 * inputs),
            w_y=jax.random.normal(k_y, (2 * hidden_size, inputs), wide) / math.sqrt(hidden_size),
            scale_x=jax.random.normal(k_d, (inputs,), wide),
            log_nu=jnp.log(nu),
            log_theta=jnp.log(theta),
            log_gamma=jnp.log(-jnp.expm1(-2 * nu)) / 2,
        )
        return jax.tree.map(lambda leaf: leaf.astype(dtype), params)

    def step(params: LRUParams, h: Array, x: Array) -> tuple[Array, Array]:
        x = vector(name, x, params.w_x)
        exponent = [-jnp.exp(params.log_nu), jnp.exp(params.log_theta)]
        decay = jnp.exp(as_complex(jnp.concatenate(exponent)))
        gain = jnp.tile(jnp.exp(params.log_gamma), 2)
        h = rows(decay, x) * h + as_complex(rows(gain, x) * (x @ params.w_x))
        # Re(h C) = Re h Re C - Im h Im C
        y = as_parts(h.conj(), x.dtype) @ params.w_y + rows(params.scale_x, x) * x
        return h, y

    return Cell(
        name=name,
        init=init_params,
        initial_state=complex_state(hidden_size),
        step=step,
    )
