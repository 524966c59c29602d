"""Just another network: an LSTM with nothing but its forget gate."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory, natural, non_negative
from rnnjax.cells._common import hidden_state, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class JANETParams(NamedTuple):
    """Parameters of `janet`; gates in the order f, n.

    Attributes:
      w_x: W, input weights [D, 2H].
      w_h: U, recurrent weights [H, 2H].
      b: bias [2H]; the forget bias is in it, not added at run time.
    """

    w_x: Array
    w_h: Array
    b: Array


def _longest(what: str, value: Any) -> int | None:
    return None if value is None else natural(what, value, least=2)


@cell_factory
def janet(
    hidden_size: Size,
    *,
    beta: Annotated[float, non_negative] = 1.0,
    longest: Annotated[int | None, _longest] = None,
    init: Init = "rnnjax",
) -> Cell:
    """Just another network: an LSTM with nothing but its forget gate.

        f, n = x_t W + h_{t-1} U + b
        h_t = σ(f) ⊙ h_{t-1} + (1 - σ(f - β)) ⊙ tanh(n)

    With β > 0 it writes more than it forgets. The paper's initial biases are "chrono": b_f is
    log(u), u uniform in [1, `longest` - 1], so that units forget over times of that range.

    Shapes: x_t [*B, D]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      beta: β, at least 0; the paper has 1.
      longest: the longest dependency expected, in steps, which decides on the initial b_f; without
        it b_f is the bias of `init` with its forget bias.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `JANETParams`, whose state is h.

    Raises:
      TypeError: a size or a number is not one.
      ValueError: `hidden_size` is below 1, `beta` below 0, `longest` below 2, or `init` names no
        preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.janet(16, longest=100)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape
      (5, 2, 16)

    Reference:
      van der Westhuizen & Lasenby, The Unreasonable Effectiveness of the Forget Gate, 2018,
      arXiv:1804.04849; the initial biases: Tallec & Ollivier, Can Recurrent Neural Networks Warp
      Time?, ICLR 2018, arXiv:1804.11188.
    """
    name = f"janet({hidden_size})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> JANETParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_w, k_f = jax.random.split(key)
        weights = draw.weights(k_w, inputs, hidden_size, 2, dtype)
        b_f = weights["b"][:hidden_size] + jnp.asarray(draw.forget_bias, dtype)
        if longest is not None:
            times = jax.random.uniform(k_f, (hidden_size,), float, 1.0, longest - 1.0)
            b_f = jnp.log(times).astype(dtype)
        return JANETParams(**{**weights, "b": weights["b"].at[:hidden_size].set(b_f)})

    def step(params: JANETParams, h: Array, x: Array) -> tuple[Array, Array]:
        x, b = vector(name, x, params.w_x), rows(params.b, x)
        f, n = jnp.split(x @ params.w_x + h @ params.w_h + b, 2, axis=-1)
        h = jax.nn.sigmoid(f) * h + jax.nn.sigmoid(beta - f) * jnp.tanh(n)
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
        recurrent=("w_h",),
    )
