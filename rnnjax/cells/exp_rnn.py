"""The recurrent network whose recurrent weights are an exponential, hence orthogonal."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import Size, cell_factory, one_of
from rnnjax.cells._common import hidden_state, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class ExpRNNParams(NamedTuple):
    """Parameters of `exp_rnn`.

    Attributes:
      w_x: W, input weights [D, H].
      w_h: U, whose antisymmetric part is the logarithm of the recurrent weights, [H, H].
      b: how far the modReLU is open [H].
    """

    w_x: Array
    w_h: Array
    b: Array


@cell_factory
def exp_rnn(
    hidden_size: Size,
    *,
    angles: Annotated[Literal["henaff", "cayley"], one_of("henaff", "cayley")] = "henaff",
    init: Init = "rnnjax",
) -> Cell:
    """Recurrent network with orthogonal recurrent weights: the exponential of a skew matrix.

        A = U - Uᵀ
        a = x_t W + h_{t-1} exp(A)
        h_t = sign(a) ⊙ max(|a| + b, 0)                     the modReLU
        at first: A has blocks [0, θ; -θ, 0] on its diagonal
        θ ~ U(-π, π)                                        angles="henaff"
        θ = -√((1 - cos u) / (1 + cos u)), u ~ U(0, π/2)    angles="cayley"

    The exponential is taken once a sequence, outside the loop. It reaches every rotation;
    `orthogonal` wraps any cell, by the Cayley transform.

    Shapes: x_t [*B, D]; state h [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      angles: how the angles θ of the first rotation are drawn: "henaff" or "cayley".
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras"; for W and b.

    Returns:
      A Cell with `ExpRNNParams`, whose state is the array h.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, or `angles` or `init` is an unknown name.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.exp_rnn(4)
      >>> params = cell.init(jax.random.key(0), 1)
      >>> h, _ = rnnjax.unroll(cell, params, jnp.ones((2, 4)), jnp.zeros((50, 2, 1)))
      >>> print(jnp.linalg.norm(h, axis=-1).round(3))
      [2. 2.]

    Reference:
      Lezcano-Casado & Martínez-Rubio, Cheap Orthogonal Constraints in Neural Networks: A Simple
      Parametrization of the Orthogonal and Unitary Group, ICML 2019, arXiv:1901.08428.
    """
    name = f"exp_rnn({hidden_size}{', cayley' * (angles == 'cayley')})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> ExpRNNParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_x, k_h, k_b = jax.random.split(key, 3)
        u = jax.random.uniform(k_h, (hidden_size // 2,), at_least_float32(dtype))
        # (1 - cos u) / (1 + cos u) = tan²(u / 2)
        θ = (2 * u - 1) * jnp.pi if angles == "henaff" else -jnp.tan(u * jnp.pi / 4)
        first = jnp.arange(hidden_size // 2) * 2
        return ExpRNNParams(
            w_x=draw.input_weights(k_x, inputs, hidden_size, 1, dtype),
            w_h=jnp.zeros((hidden_size, hidden_size), dtype)
            .at[first, first + 1]
            .set(θ.astype(dtype)),
            b=draw.bias(k_b, hidden_size, 1, dtype),
        )

    def step(params: ExpRNNParams, h: Array, x: Array) -> tuple[Array, Array]:
        x = vector(name, x, params.w_x)
        wide = params.w_h.astype(at_least_float32(params.w_h.dtype))
        rotation = jax.scipy.linalg.expm(wide - wide.T).astype(h.dtype)
        a = x @ params.w_x + h @ rotation
        h = jnp.sign(a) * jax.nn.relu(jnp.abs(a) + rows(params.b, x))
        return h, h

    return Cell(
        name=name,
        init=init_params,
        initial_state=hidden_state(hidden_size),
        step=step,
        output_of=lambda h: h,
    )
