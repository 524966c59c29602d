"""The gated recurrent unit with convolutions."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import hidden_state, rows
from rnnjax.cells._grid import Kernel, Shape, convolved, grid_spec, window_of
from rnnjax.initializers import Init, preset


class ConvGRUParams(NamedTuple):
    """Parameters of `conv_gru`; gates in the order r, z, n.

    Attributes:
      w_x: W, the kernel of the input [*K, D, 3F], as a matrix [K D, 3F].
      w_h: U, the kernel of the state [*K, F, 3F], as a matrix [K F, 3F].
      b: bias [3F], the same at every place.
    """

    w_x: Array
    w_h: Array
    b: Array


@cell_factory
def conv_gru(shape: Shape, features: Size, *, kernel: Kernel = 3, init: Init = "rnnjax") -> Cell:
    """Gated recurrent unit over a line, an image or a volume: its products are convolutions.

        r = σ(W_r * x_t + U_r * h_{t-1} + b_r)
        z = σ(W_z * x_t + U_z * h_{t-1} + b_z)
        n = tanh(W_n * x_t + U_n * (r ⊙ h_{t-1}) + b_n)
        h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}

    * is a convolution that pads with zeros and keeps the shape. The paper has z and 1 - z exchanged
    (see `gru`), and leaves the biases unwritten.

    Shapes: x_t [*B, *S, D]; state h [*B, *S, F]; y_t = h_t [*B, *S, F].

    Args:
      shape: S, the sizes of 1, 2 or 3 axes of space.
      features: F, the number of features of the state at each place.
      kernel: K, the sizes of the kernels, or one for all axes of space.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `ConvGRUParams`, whose state is the array h.

    Raises:
      TypeError: a size is not an int, or `shape` not a tuple of 1, 2 or 3.
      ValueError: a size is below 1, `kernel` has another number of axes than `shape`, or `init`
        names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.conv_gru((6, 7), 16)
      >>> params = cell.init(jax.random.key(0), jax.ShapeDtypeStruct((6, 7, 3), float))
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 6, 7, 3)))
      >>> ys.shape, params.w_x.shape
      ((5, 2, 6, 7, 16), (27, 48))

    Reference:
      Ballas, Yao, Pal & Courville, Delving Deeper into Convolutional Networks for Learning Video
      Representations, ICLR 2016, arXiv:1511.06432.
    """
    window = window_of("conv_gru", kernel, shape)
    name = f"conv_gru({shape}, {features})"
    draw, split = preset(init), 2 * features

    def init_params(key: Array, x_spec: Any) -> ConvGRUParams:
        inputs, dtype = grid_spec(name, x_spec, shape)
        return ConvGRUParams(**draw.kernels(key, window, inputs, features, 3, dtype))

    def step(params: ConvGRUParams, h: Array, x: Array) -> tuple[Array, Array]:
        x_g = convolved(name, x, params.w_x, window, shape) + rows(params.b, x)
        x_rz, x_n = jnp.split(x_g, [split], axis=-1)
        u_rz, u_n = params.w_h[:, :split], params.w_h[:, split:]
        rz = jax.nn.sigmoid(x_rz + convolved(name, h, u_rz, window, shape))
        r, z = jnp.split(rz, 2, axis=-1)
        n = jnp.tanh(x_n + convolved(name, r * h, u_n, window, shape))
        h = (1 - z) * n + z * h
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(*shape, features),
        step=step,
        x_ndims=len(shape) + 1,
        output_of=lambda h: h,
    )
