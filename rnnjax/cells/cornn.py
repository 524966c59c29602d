"""The coupled oscillatory recurrent network."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Positive, Size, cell_factory, non_negative, one_of
from rnnjax.cells._common import rows, vector, vector_spec, zero_state
from rnnjax.initializers import Init, preset


class CoRNNParams(NamedTuple):
    """Parameters of `cornn`.

    Attributes:
      w_x: W, input weights [D, H].
      w_h: U, weights of the positions h, [H, H].
      w_z: V, weights of the velocities z, [H, H].
      b: bias [H].
    """

    w_x: Array
    w_h: Array
    w_z: Array
    b: Array


class CoRNNState(NamedTuple):
    """State of `cornn`.

    Attributes:
      h: positions of the oscillators [*B, H], also the output.
      z: their velocities [*B, H].
    """

    h: Array
    z: Array


@cell_factory
def cornn(
    hidden_size: Size,
    *,
    dt: Positive = 0.042,
    gamma: Annotated[float, non_negative] = 2.7,
    epsilon: Annotated[float, non_negative] = 4.7,
    damping: Annotated[Literal["explicit", "implicit"], one_of("explicit", "implicit")] = (
        "explicit"
    ),
    init: Init = "rnnjax",
) -> Cell:
    """Coupled oscillatory network: damped oscillators that drive each other.

        z_t = z_{t-1} + Δ (tanh(x_t W + h_{t-1} U + z_{t-1} V + b) - γ h_{t-1} - ε z̄)
        h_t = h_{t-1} + Δ z_t
        z̄ = z_{t-1}                                         damping="explicit"
        z̄ = z_t, and the equation is solved for z_t         damping="implicit"

    Shapes: x_t [*B, D]; state h, z [*B, H]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of oscillators.
      dt: Δ, the length of a step.
      gamma: γ, at least 0: the square of the natural frequency.
      epsilon: ε, at least 0: the damping.
      damping: "explicit" or "implicit"; the paper has both.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `CoRNNParams` and `CoRNNState`.

    Raises:
      TypeError: `hidden_size` is not an int, or `dt`, `gamma` or `epsilon` is not a number.
      ValueError: `hidden_size` is below 1, `dt` is not positive, `gamma` or `epsilon` is negative,
        or `damping` or `init` is an unknown name.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.cornn(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> state, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, state.z.shape
      ((5, 2, 16), (2, 16))

    Reference:
      Rusch & Mishra, Coupled Oscillatory Recurrent Neural Network (coRNN): An Accurate and
      (Gradient) Stable Architecture for Learning Long Time Dependencies, ICLR 2021,
      arXiv:2010.00951.
    """
    options = f"dt={dt}, gamma={gamma}, epsilon={epsilon}{', implicit' * (damping == 'implicit')}"
    name = f"cornn({hidden_size}, {options})"
    draw = preset(init)
    # What is left of z_{t-1}, and what all of the new z is divided by.
    keep, divisor = (1 - dt * epsilon, 1.0) if damping == "explicit" else (1.0, 1 + dt * epsilon)

    def init_params(key: Array, x_spec: Any) -> CoRNNParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_w, k_z = jax.random.split(key)
        return CoRNNParams(
            **draw.weights(k_w, inputs, hidden_size, 1, dtype),
            w_z=draw.recurrent_weights(k_z, hidden_size, 1, dtype),
        )

    def step(params: CoRNNParams, state: CoRNNState, x: Array) -> tuple[CoRNNState, Array]:
        x, (h, z) = vector(name, x, params.w_x), state
        drive = x @ params.w_x + h @ params.w_h + z @ params.w_z + rows(params.b, x)
        z = (keep * z + dt * (jnp.tanh(drive) - gamma * h)) / divisor
        h = h + dt * z
        return CoRNNState(h, z), h

    return Cell(
        name=name,
        init=init_params,
        initial_state=zero_state(CoRNNState, h=hidden_size, z=hidden_size),
        step=step,
        output_of=lambda state: state.h,
        recurrent=("w_h", "w_z"),
    )
