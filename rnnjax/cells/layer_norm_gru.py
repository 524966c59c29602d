"""The gated recurrent unit with layer normalisation."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory, one_of
from rnnjax.cells._common import gru_weights, hidden_state, normalised, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class LayerNormGRUParams(NamedTuple):
    """Parameters of `layer_norm_gru`; gates in the order r, z, n.

    Attributes:
      w_x: W, input weights [D, 3H].
      w_h: U, recurrent weights [H, 3H].
      b: bias [3H].
      b_n: the candidate's recurrent bias [H] of reset="after"; None for reset="before".
      scale_x: γ_x, gains of x W [3H].
      scale_h: γ_h, gains of h U [3H].
    """

    w_x: Array
    w_h: Array
    b: Array
    b_n: Array | None
    scale_x: Array
    scale_h: Array


@cell_factory
def layer_norm_gru(
    hidden_size: Size,
    *,
    reset: Annotated[Literal["after", "before"], one_of("after", "before")] = "after",
    init: Init = "rnnjax",
) -> Cell:
    """Gated recurrent unit with its products normalised.

        LN(a) = (a - mean(a)) / √(var(a) + 1e-6)                over the features of r and z
                                                                together, and of n apart
        r, z = σ(γ_x ⊙ LN(x_t W_rz) + γ_h ⊙ LN(h_{t-1} U_rz) + b_rz)
        a = γ_x ⊙ LN(x_t W_n) + b_n'
        n = tanh(a + r ⊙ (γ_h ⊙ LN(h_{t-1} U_n) + b_n))         reset="after"
        n = tanh(a + γ_h ⊙ LN((r ⊙ h_{t-1}) U_n))               reset="before"
        h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}

    Shapes: x_t [*B, D]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      reset: whether the reset gate acts "after" the recurrent product or "before" it.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `LayerNormGRUParams`, whose state is the array h.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, `reset` is neither form, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.layer_norm_gru(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, h.shape, params.scale_h.shape
      ((5, 2, 16), (2, 16), (48,))

    Reference:
      Ba, Kiros & Hinton, Layer Normalization, 2016, arXiv:1607.06450.
    """
    name = f"layer_norm_gru({hidden_size}{', before' * (reset == 'before')})"
    draw, split = preset(init), 2 * hidden_size

    def init_params(key: Array, x_spec: Any) -> LayerNormGRUParams:
        inputs, dtype = vector_spec(name, x_spec)
        return LayerNormGRUParams(
            **gru_weights(draw, key, inputs, hidden_size, reset, dtype),
            scale_x=jnp.ones(3 * hidden_size, dtype),
            scale_h=jnp.ones(3 * hidden_size, dtype),
        )

    def step(params: LayerNormGRUParams, h: Array, x: Array) -> tuple[Array, Array]:
        x_g = normalised(vector(name, x, params.w_x) @ params.w_x, params.scale_x, split)
        x_rz, x_n = jnp.split(x_g + rows(params.b, x), [split], axis=-1)
        u, γ = params.w_h, params.scale_h
        r, z = jnp.split(jax.nn.sigmoid(x_rz + normalised(h @ u[:, :split], γ[:split])), 2, -1)
        h_n = normalised((h if reset == "after" else r * h) @ u[:, split:], γ[split:])
        h_n = h_n if params.b_n is None else r * (h_n + rows(params.b_n, h))
        h = (1 - z) * jnp.tanh(x_n + h_n) + z * h
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
        recurrent=("w_h",),
    )
