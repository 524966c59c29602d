"""The fast gated recurrent network."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import hidden_state, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class FastGRNNParams(NamedTuple):
    """Parameters of `fast_grnn`; biases in the order z, n.

    Attributes:
      w_x: W, input weights [D, H], of both gate and candidate.
      w_h: U, recurrent weights [H, H], of both.
      b: bias [2H].
      logit_rate_zeta: the logit of ζ, [].
      logit_rate_nu: the logit of ν, [].
    """

    w_x: Array
    w_h: Array
    b: Array
    logit_rate_zeta: Array
    logit_rate_nu: Array


@cell_factory
def fast_grnn(hidden_size: Size, *, init: Init = "rnnjax") -> Cell:
    """Fast gated recurrent network: gate and candidate share their weights.

        a = x_t W + h_{t-1} U
        z = σ(a + b_z)
        n = tanh(a + b_n)
        h_t = (ζ (1 - z) + ν) ⊙ n + z ⊙ h_{t-1}

    ζ and ν are two learned numbers in (0, 1), kept as logits, which start at 1 and -4 as in the
    authors' code. The paper's low-rank, sparse and quantised weights are left out.

    Shapes: x_t [*B, D]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `FastGRNNParams`, whose state is the array h.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.fast_grnn(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, params.w_h.shape
      ((5, 2, 16), (16, 16))

    Reference:
      Kusupati et al., FastGRNN: A Fast, Accurate, Stable and Tiny Kilobyte Sized Gated Recurrent
      Neural Network, NeurIPS 2018, arXiv:1901.02358.
    """
    name = f"fast_grnn({hidden_size})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> FastGRNNParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_x, k_h, k_b = jax.random.split(key, 3)
        return FastGRNNParams(
            w_x=draw.input_weights(k_x, inputs, hidden_size, 1, dtype),
            w_h=draw.recurrent_weights(k_h, hidden_size, 1, dtype),
            b=draw.bias(k_b, hidden_size, 2, dtype),
            logit_rate_zeta=jnp.asarray(1.0, dtype),
            logit_rate_nu=jnp.asarray(-4.0, dtype),
        )

    def step(params: FastGRNNParams, h: Array, x: Array) -> tuple[Array, Array]:
        x, (b_z, b_n) = vector(name, x, params.w_x), jnp.split(rows(params.b, x), 2, axis=-1)
        ζ, ν = jax.nn.sigmoid(params.logit_rate_zeta), jax.nn.sigmoid(params.logit_rate_nu)
        a = x @ params.w_x + h @ params.w_h
        z, n = jax.nn.sigmoid(a + b_z), jnp.tanh(a + b_n)
        h = (ζ * (1 - z) + ν) * n + z * h
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
        recurrent=("w_h",),
    )
