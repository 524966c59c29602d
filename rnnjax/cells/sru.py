"""The simple recurrent unit."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Positive, Size, cell_factory
from rnnjax.cells._common import hidden_state, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class SRUParams(NamedTuple):
    """Parameters of `sru`; w_x in the order n, f, r, s, the others f, r.

    Attributes:
      w_x: W, input weights [D, 4H]; [D, 3H] where D = H, as the input is its own shortcut then.
      diagonal: v, weights of each unit on its own c [2H], zero at first.
      b: bias [2H].
    """

    w_x: Array
    diagonal: Array
    b: Array


@cell_factory
def sru(hidden_size: Size, *, shortcut_scale: Positive = 3**0.5, init: Init = "rnnjax") -> Cell:
    """Simple recurrent unit: a forget gate, and a highway around it.

        f = σ(x_t W_f + v_f ⊙ c_{t-1} + b_f)
        r = σ(x_t W_r + v_r ⊙ c_{t-1} + b_r)
        c_t = f ⊙ c_{t-1} + (1 - f) ⊙ (x_t W_n)
        y_t = r ⊙ c_t + (1 - r) ⊙ α (x_t W_s)          W_s = 1 where D = H

    Where v = 0, as it is at first, the recurrence is linear in c: that is the unit of the paper's
    first version, with the identity for its g.

    Shapes: x_t [*B, D]; state c [*B, H]; y_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      shortcut_scale: α; the paper's √3 keeps the variance from layer to layer where b = 0.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `SRUParams`, whose state is the array c.

    Raises:
      TypeError: `hidden_size` is not an int, or `shortcut_scale` is no number.
      ValueError: `hidden_size` is below 1, `shortcut_scale` is not positive, or `init` names no
        preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.sru(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> c, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, params.w_x.shape
      ((5, 2, 16), (8, 64))

    Reference:
      Lei, Zhang, Wang, Dai & Artzi, Simple Recurrent Units for Highly Parallelizable Recurrence,
      EMNLP 2018, arXiv:1709.02755.
    """
    name = f"sru({hidden_size})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> SRUParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_x, k_b = jax.random.split(key)
        blocks = 3 if inputs == hidden_size else 4
        return SRUParams(
            w_x=draw.input_weights(k_x, inputs, hidden_size, blocks, dtype),
            diagonal=jnp.zeros(2 * hidden_size, dtype),
            b=draw.bias(k_b, hidden_size, 2, dtype),
        )

    def step(params: SRUParams, c: Array, x: Array) -> tuple[Array, Array]:
        x = vector(name, x, params.w_x)
        n, x_f, x_r, *s = jnp.split(x @ params.w_x, params.w_x.shape[1] // hidden_size, axis=-1)
        (shortcut,) = s or (x,)
        (v_f, v_r), (b_f, b_r) = (
            jnp.split(rows(p, x), 2, axis=-1) for p in (params.diagonal, params.b)
        )
        f, r = jax.nn.sigmoid(x_f + b_f + v_f * c), jax.nn.sigmoid(x_r + b_r + v_r * c)
        c = f * c + (1 - f) * n
        return c, r * c + (1 - r) * (shortcut_scale * shortcut)

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
    )
