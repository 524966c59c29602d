"""The recurrent highway network."""

from __future__ import annotations

import functools
import math
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory, real
from rnnjax.cells._common import hidden_state, rows, vector, vector_spec
from rnnjax.initializers import Init, preset

_finite = functools.partial(real, wanted="a finite number", fits=math.isfinite)


class RHNParams(NamedTuple):
    """Parameters of `rhn`; gates in the order n, r; those of a layer stand together.

    Attributes:
      w_x: W, input weights of the first layer [D, 2H].
      w_h: U, recurrent weights [H, L·2H].
      b: bias [L·2H]; that of r is `transform_bias` at first.
    """

    w_x: Array
    w_h: Array
    b: Array


@cell_factory
def rhn(
    hidden_size: Size,
    depth: Size = 3,
    *,
    transform_bias: Annotated[float, _finite] = -2.0,
    init: Init = "rnnjax",
) -> Cell:
    """Recurrent highway network: several highway layers from one step to the next.

        s_0 = h_{t-1}
        n = tanh([l = 1] x_t W_n + s_{l-1} U_{n,l} + b_{n,l})        l = 1, ..., L
        r = σ([l = 1] x_t W_r + s_{l-1} U_{r,l} + b_{r,l})
        s_l = r ⊙ n + (1 - r) ⊙ s_{l-1}
        h_t = s_L

    The carry gate is 1 - r, coupled to the transform gate r as in the paper's experiments.

    Shapes: x_t [*B, D]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      depth: L, the number of layers in a step.
      transform_bias: what is added to the bias of r at first: below 0, the state is mostly carried.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `RHNParams`, whose state is the array h.

    Raises:
      TypeError: a size is not an int, or `transform_bias` is not a number.
      ValueError: a size is below 1, `transform_bias` is not finite, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.rhn(16, depth=4)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, params.w_h.shape
      ((5, 2, 16), (16, 128))

    Reference:
      Zilly, Srivastava, Koutník & Schmidhuber, Recurrent Highway Networks, ICML 2017,
      arXiv:1607.03474.
    """
    name = f"rhn({hidden_size}, {depth})"
    draw, width = preset(init), 2 * hidden_size

    def init_params(key: Array, x_spec: Any) -> RHNParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_x, k_h, k_b = jax.random.split(key, 3)
        b = draw.bias(k_b, hidden_size, 2 * depth, dtype)
        of_r = jnp.arange(depth * width) % width >= hidden_size
        return RHNParams(
            w_x=draw.input_weights(k_x, inputs, hidden_size, 2, dtype),
            w_h=draw.recurrent_weights(k_h, hidden_size, 2 * depth, dtype),
            b=jnp.where(of_r, b + transform_bias, b),
        )

    def step(params: RHNParams, h: Array, x: Array) -> tuple[Array, Array]:
        x = vector(name, x, params.w_x)
        b = jnp.split(rows(params.b, x), depth, axis=-1)
        into = [x @ params.w_x + b[0], *b[1:]]
        for layer, outside in enumerate(into):
            u = params.w_h[:, layer * width : (layer + 1) * width]
            n, r = jnp.split(outside + h @ u, 2, axis=-1)
            r = jax.nn.sigmoid(r)
            h = r * jnp.tanh(n) + (1 - r) * h
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
        recurrent=("w_h",),
    )
