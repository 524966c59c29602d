"""The gated recurrent unit, in both of its forms."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory, one_of
from rnnjax.cells._common import gru_weights, hidden_state, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class GRUParams(NamedTuple):
    """Parameters of `gru`; gates in the order r, z, n.

    Attributes:
      w_x: W, input weights [D, 3H].
      w_h: U, recurrent weights [H, 3H].
      b: bias [3H].
      b_n: the candidate's recurrent bias [H] of reset="after"; None for reset="before".
    """

    w_x: Array
    w_h: Array
    b: Array
    b_n: Array | None = None


@cell_factory
def gru(
    hidden_size: Size,
    *,
    reset: Annotated[Literal["after", "before"], one_of("after", "before")] = "after",
    init: Init = "rnnjax",
) -> Cell:
    """Gated recurrent unit.

        r = σ(x_t W_r + h_{t-1} U_r + b_r)
        z = σ(x_t W_z + h_{t-1} U_z + b_z)
        n = tanh(x_t W_n + b_n' + r ⊙ (h_{t-1} U_n + b_n))     reset="after"
        n = tanh(x_t W_n + b_n' + (r ⊙ h_{t-1}) U_n)           reset="before"
        h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}

    The two forms are different functions. "after" is that of cuDNN, PyTorch, Flax, Equinox and
    Keras' default; "before" is that of the paper and of Haiku.

    Courses and papers often write h_t = (1 - z) ⊙ h_{t-1} + z ⊙ n: the same function with z and
    1 - z exchanged. As 1 - σ(a) = σ(-a), their parameters become ours, and ours theirs, by negating
    the z columns of w_x, w_h and b, those from H to 2H.

    Shapes: x_t [*B, D]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      reset: whether the reset gate acts "after" the recurrent product or "before" it.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `GRUParams`, whose state is the array h.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, `reset` is neither form, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.gru(16, reset="before")
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, h.shape, params.b_n is None
      ((5, 2, 16), (2, 16), True)

    Reference:
      Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, EMNLP 2014,
      arXiv:1406.1078 ("before"; version 1 has "after").
    """
    name = f"gru({hidden_size}{', before' * (reset == 'before')})"
    draw, split = preset(init), 2 * hidden_size

    def init_params(key: Array, x_spec: Any) -> GRUParams:
        inputs, dtype = vector_spec(name, x_spec)
        return GRUParams(**gru_weights(draw, key, inputs, hidden_size, reset, dtype))

    def step(params: GRUParams, h: Array, x: Array) -> tuple[Array, Array]:
        x = vector(name, x, params.w_x)
        x_r, x_z, x_n = jnp.split(x @ params.w_x + rows(params.b, x), 3, axis=-1)
        if reset == "after":
            h_r, h_z, h_n = jnp.split(h @ params.w_h, 3, axis=-1)
            r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
            n = jnp.tanh(x_n + r * (h_n + rows(params.b_n, h)))  # pyright: ignore[reportArgumentType]
        else:
            u_rz, u_n = params.w_h[:, :split], params.w_h[:, split:]
            h_r, h_z = jnp.split(h @ u_rz, 2, axis=-1)
            r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
            n = jnp.tanh(x_n + (r * h) @ u_n)
        h = (1 - z) * n + z * h
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
        recurrent=("w_h",),
    )
