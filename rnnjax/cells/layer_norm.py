"""Layer normalisation."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import Positive, cell_factory
from rnnjax.cells._common import rows, vector, vector_spec


class LayerNormParams(NamedTuple):
    """Parameters of `layer_norm`.

    Attributes:
      scale: γ, [D].
      offset: β, [D].
    """

    scale: Array
    offset: Array


@cell_factory
def layer_norm(*, epsilon: Positive = 1e-6) -> Cell:
    """Brings each input to mean 0 and variance 1, then to a learned scale and offset.

        y_t = γ ⊙ (x_t - mean(x_t)) / √(var(x_t) + ε) + β

    Mean and variance are over the features of one step, taken in float32 or better.

    Shapes: x_t [*B, D]; no state; y_t [*B, D].

    Args:
      epsilon: ε, added to the variance. Flax has 1e-6, PyTorch 1e-5, Keras 1e-3.

    Returns:
      A Cell with `LayerNormParams` and the state ().

    Raises:
      TypeError: `epsilon` is not a number.
      ValueError: `epsilon` is not positive.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.layer_norm()
      >>> params = cell.init(jax.random.key(0), 2)
      >>> _, ys = rnnjax.unroll(cell, params, None, jnp.array([[1.0, 3.0]]))
      >>> print(ys.round(3))
      [[-1.  1.]]

    Reference:
      Ba, Kiros & Hinton, Layer Normalization, 2016, arXiv:1607.06450.
    """
    name = "layer_norm"

    def init_params(key: Array, x_spec: Any) -> LayerNormParams:
        inputs, dtype = vector_spec(name, x_spec)
        return LayerNormParams(scale=jnp.ones(inputs, dtype), offset=jnp.zeros(inputs, dtype))

    def initial_state(
        params: LayerNormParams, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> tuple[()]:
        return ()

    def step(params: LayerNormParams, state: tuple[()], x: Array) -> tuple[tuple[()], Array]:
        x = vector(name, x, params.scale)
        wide = x.astype(at_least_float32(x.dtype))
        centred = wide - wide.mean(-1, keepdims=True)
        variance = jnp.square(centred).mean(-1, keepdims=True)
        normalised = (centred * jax.lax.rsqrt(variance + epsilon)).astype(x.dtype)
        return (), normalised * rows(params.scale, x) + rows(params.offset, x)

    return Cell(name=name, init=init_params, initial_state=initial_state, step=step)
