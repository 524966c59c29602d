"""The closed-form continuous-time network."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import Activation, as_function, flag, hidden_state, label, rows
from rnnjax.cells._timed import timed, timed_spec
from rnnjax.initializers import Init, preset


class CfCParams(NamedTuple):
    """Parameters of `cfc`; heads in the order f, g, k.

    Attributes:
      w_x: W, input weights of the backbone [D, K].
      w_h: U, recurrent weights of the backbone [H, K].
      b: bias of the backbone [K].
      w_y: V, weights of the heads [K, 3H].
      b_y: c, biases of the heads [3H].
    """

    w_x: Array
    w_h: Array
    b: Array
    w_y: Array
    b_y: Array


@cell_factory
def cfc(
    hidden_size: Size,
    backbone_size: Size = 128,
    *,
    gated: Annotated[bool, flag] = True,
    activation: Activation = "tanh",
    init: Init = "rnnjax",
) -> Cell:
    """Closed-form continuous-time network: a liquid network without a solver.

        a = φ(x_t W + h_{t-1} U + b)                     the backbone that the heads share
        f = a V_f + c_f
        g, k = tanh(a V_g + c_g), tanh(a V_k + c_k)
        s = σ(-f ⊙ dt_t)
        h_t = s ⊙ g + (1 - s) ⊙ k                        gated=True
        h_t = s ⊙ g + k                                  gated=False

    The inputs are pairs (x_t, dt_t): dt_t is the time since the last input, 0 or more.

    Shapes: x_t [*B, D]; dt_t [*B]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      backbone_size: K, the number of units of the backbone.
      gated: whether k fades in as g fades out; False is the paper's "no gate".
      activation: φ: "tanh", "relu", "silu", another name, or any function.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `CfCParams`, whose state is the array h.

    Raises:
      TypeError: a size is not an int, `gated` is no bool; or an input is no pair.
      ValueError: a size is below 1, or `activation` or `init` is an unknown name.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.cfc(16, 32)
      >>> params = cell.init(jax.random.key(0), (8, float))
      >>> xs, dts = jnp.ones((5, 2, 8)), jnp.full((5, 2), 0.1)
      >>> h, ys = rnnjax.unroll(cell, params, None, (xs, dts))
      >>> ys.shape, h.shape
      ((5, 2, 16), (2, 16))

    Reference:
      Hasani et al., Closed-Form Continuous-Time Neural Networks, Nature Machine Intelligence 4,
      2022, arXiv:2106.13898.
    """
    options = ["no gate"] * (not gated) + [label(activation)] * (activation != "tanh")
    name = f"cfc({', '.join([str(hidden_size), str(backbone_size), *options])})"
    φ = as_function(activation)
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> CfCParams:
        inputs, dtype = timed_spec(name, x_spec)
        k_x, k_h, k_b, k_y, k_c = jax.random.split(key, 5)
        heads, shape = (3,), (backbone_size, hidden_size)
        w_y = [draw.w(k, shape, dtype) for k in jax.random.split(k_y, heads)]
        b_y = [draw.w_b(k, shape, dtype)[0] for k in jax.random.split(k_c, heads)]
        return CfCParams(
            w_x=draw.input_weights(k_x, inputs, backbone_size, 1, dtype),
            w_h=draw.w_h(k_h, (hidden_size, backbone_size), dtype),
            b=draw.bias(k_b, backbone_size, 1, dtype),
            w_y=jnp.concatenate(w_y, axis=1),
            b_y=jnp.concatenate(b_y),
        )

    def step(params: CfCParams, h: Array, x: Any) -> tuple[Array, Array]:
        x, dt = timed(name, x, params.w_x)
        a = φ(x @ params.w_x + h @ params.w_h + rows(params.b, x))
        f, g, k = jnp.split(a @ params.w_y + rows(params.b_y, a), 3, axis=-1)
        s, g, k = jax.nn.sigmoid(-f * dt), jnp.tanh(g), jnp.tanh(k)
        h = s * g + ((1 - s) * k if gated else k)
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        x_ndims=(1, 0),
        output_of=lambda h: h,
        recurrent=("w_h",),
        fill=(0.0, 0.0),
    )
