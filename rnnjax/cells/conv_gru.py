"""The gated recurrent unit with convolutions."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import (
    Grid,
    convolved,
    grid,
    grid_sizes,
    grid_spec,
    hidden_state,
    kernel_weights,
    rows,
)
from rnnjax.initializers import Init, preset


class ConvGRUParams(NamedTuple):
    """Parameters of `conv_gru`; gates in the order r, z, n.

    Attributes:
      w_x: W, input kernels [*K, D, 3C].
      w_h: U, recurrent kernels [*K, C, 3C].
      b: bias [3C], the same at every place.
    """

    w_x: Array
    w_h: Array
    b: Array


@cell_factory
def conv_gru(channels: Size, shape: Grid, *, kernel_size: Grid = 3, init: Init = "rnnjax") -> Cell:
    """Gated recurrent unit on a line, an image or a volume: its products are convolutions.

        r = σ(W_r * x_t + U_r * h_{t-1} + b_r)
        z = σ(W_z * x_t + U_z * h_{t-1} + b_z)
        n = tanh(W_n * x_t + U_n * (r ⊙ h_{t-1}) + b_n)
        h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}

    Around the grid there are zeros. The paper has z and 1 - z exchanged (see `gru`), and leaves
    the biases unwritten.

    Shapes: x_t [*B, *S, D], S the grid; state h [*B, *S, C]; y_t = h_t [*B, *S, C].

    Args:
      channels: C, the number of units at each place.
      shape: S, the 1, 2 or 3 sizes of the grid, such as (height, width).
      kernel_size: K, one for all axes of the grid, or one for each.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `ConvGRUParams`, whose state is the array h.

    Raises:
      TypeError: a size is not an int.
      ValueError: a size is below 1, there are not 1 to 3 of them, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.conv_gru(16, (6, 7))
      >>> params = cell.init(jax.random.key(0), jax.ShapeDtypeStruct((6, 7, 3), float))
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 6, 7, 3)))
      >>> ys.shape, params.w_x.shape
      ((5, 2, 6, 7, 16), (3, 3, 3, 48))

    Reference:
      Ballas, Yao, Pal & Courville, Delving Deeper into Convolutional Networks for Learning Video
      Representations, ICLR 2016, arXiv:1511.06432.
    """
    space, kernel = grid_sizes("conv_gru", shape, kernel_size)
    name = f"conv_gru({channels}, {space}, {kernel})"
    draw, split = preset(init), 2 * channels

    def init_params(key: Array, x_spec: Any) -> ConvGRUParams:
        inputs, dtype = grid_spec(name, x_spec, space)
        return ConvGRUParams(**kernel_weights(draw, key, inputs, channels, 3, kernel, dtype))

    def step(params: ConvGRUParams, h: Array, x: Array) -> tuple[Array, Array]:
        x = grid(name, x, params.w_x, space)
        x_rz, x_n = jnp.split(convolved(x, params.w_x) + rows(params.b, x), [split], axis=-1)
        rz = jax.nn.sigmoid(x_rz + convolved(h, params.w_h[..., :split]))
        r, z = jnp.split(rz, 2, axis=-1)
        n = jnp.tanh(x_n + convolved(r * h, params.w_h[..., split:]))
        h = (1 - z) * n + z * h
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(*space, channels),
        step=step,
        x_ndims=len(space) + 1,
        output_of=lambda h: h,
        recurrent=("w_h",),
    )
