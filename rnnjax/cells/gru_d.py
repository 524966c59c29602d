"""The gated recurrent unit for missing values."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, as_spec
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import PerFeature, hidden_state, per_feature, rows, vector, vector_spec
from rnnjax.initializers import Init, preset


class GRUDParams(NamedTuple):
    """Parameters of `gru_d`; gates in the order r, z, n.

    Attributes:
      w_x: W, input weights [D, 3H].
      w_h: U, recurrent weights [H, 3H].
      w_m: V, weights of the mask [D, 3H].
      b: bias [3H].
      diagonal_gamma_x: weight of each feature's decay [D].
      b_gamma_x: its bias [D].
      w_gamma_h: weights of the decay of h [D, H].
      b_gamma_h: its bias [H].
    """

    w_x: Array
    w_h: Array
    w_m: Array
    b: Array
    diagonal_gamma_x: Array
    b_gamma_x: Array
    w_gamma_h: Array
    b_gamma_h: Array


class GRUDState(NamedTuple):
    """State of `gru_d`.

    Attributes:
      h: hidden state [*B, H], also the output.
      x: x', what was last seen of each feature [*B, D]; at first its mean.
    """

    h: Array
    x: Array


def _triple(name: str, x: Any) -> Any:
    if not (isinstance(x, tuple) and len(x) == 3 and hasattr(x[1], "dtype") and x[1].dtype == bool):
        raise TypeError(f"{name} needs inputs (x_t, m_t, δ_t), m_t of bool: pass mask != 0")
    return x


@cell_factory
def gru_d(hidden_size: Size, *, mean: PerFeature = 0.0, init: Init = "rnnjax") -> Cell:
    """Gated recurrent unit with decay, for inputs of which some are missing.

        γ_x = exp(-max(0, w_γ ⊙ δ_t + b_γx))
        γ_h = exp(-max(0, δ_t W_γ + b_γh))
        x̂ = m_t ⊙ x_t + (1 - m_t) ⊙ (γ_x ⊙ x' + (1 - γ_x) ⊙ mean)
        ĥ = γ_h ⊙ h_{t-1}
        r, z = σ(x̂ W_rz + m_t V_rz + ĥ U_rz + b_rz)
        n = tanh(x̂ W_n + m_t V_n + (r ⊙ ĥ) U_n + b_n)
        h_t = (1 - z) ⊙ n + z ⊙ ĥ
        x' = x_t where m_t, else as it was

    A missing x_t never matters, not even NaN. The paper has z and 1 - z exchanged (see `gru`).

    Shapes: (x_t, m_t, δ_t), each [*B, D]: value, bool: is it there, time since it last was;
    state h [*B, H], x' [*B, D]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units.
      mean: what missing features decay to, their means over the training data: a number, or one
        a feature. It is not learned.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `GRUDParams` and `GRUDState`.

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1, `mean` is not finite, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.gru_d(16, mean=(0.5, -1.0, 2.0))
      >>> params = cell.init(jax.random.key(0), (3, jax.ShapeDtypeStruct((3,), bool), 3))
      >>> x, δ = jnp.ones((5, 2, 3)), jnp.full((5, 2, 3), 0.1)
      >>> state, ys = rnnjax.unroll(cell, params, None, (x, jnp.zeros((5, 2, 3), bool), δ))
      >>> ys.shape, state.x[0].tolist()
      ((5, 2, 16), [0.5, -1.0, 2.0])

    Reference:
      Che, Purushotham, Cho, Sontag & Liu, Recurrent Neural Networks for Multivariate Time Series
      with Missing Values, Scientific Reports 8, 2018, arXiv:1606.01865.
    """
    name = f"gru_d({hidden_size})"
    draw, zeros, split = preset(init), hidden_state(hidden_size), 2 * hidden_size

    def init_params(key: Array, x_spec: Any) -> GRUDParams:
        D, dtype = vector_spec(name, _triple(name, as_spec(x_spec))[0])
        k, k_m, k_x, k_h = jax.random.split(key, 4)
        return GRUDParams(
            **draw.weights(k, D, hidden_size, 3, dtype),
            w_m=draw.input_weights(k_m, D, hidden_size, 3, dtype),
            # Not negative: below zero there is no decay, and no gradient to begin one.
            diagonal_gamma_x=abs(draw.w(k_x, (1, D), dtype))[0],
            b_gamma_x=jnp.zeros(D, dtype),
            w_gamma_h=abs(draw.w(k_h, (D, hidden_size), dtype)),
            b_gamma_h=jnp.zeros(hidden_size, dtype),
        )

    def initial_state(
        params: GRUDParams, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> GRUDState:
        x = per_feature(name, mean, len(params.w_x), params.w_x.dtype)
        return GRUDState(zeros(params, batch_shape), jnp.tile(x, (*batch_shape, 1)))

    def step(params: GRUDParams, state: GRUDState, inputs: Any) -> tuple[GRUDState, Array]:
        x, m, δ = _triple(name, inputs)
        x, δ = vector(name, x, params.w_x), vector(name, δ, params.w_x)
        a_x = δ * rows(params.diagonal_gamma_x, δ) + rows(params.b_gamma_x, δ)
        a_h = δ @ params.w_gamma_h + rows(params.b_gamma_h, δ)
        γ_x, γ_h = jnp.exp(-jax.nn.relu(a_x)), jnp.exp(-jax.nn.relu(a_h))
        to = rows(per_feature(name, mean, x.shape[-1], x.dtype), x)
        filled, ĥ = jnp.where(m, x, γ_x * state.x + (1 - γ_x) * to), γ_h * state.h
        a = filled @ params.w_x + m.astype(x.dtype) @ params.w_m + rows(params.b, x)
        x_rz, x_n = jnp.split(a, [split], axis=-1)
        r, z = jnp.split(jax.nn.sigmoid(x_rz + ĥ @ params.w_h[:, :split]), 2, axis=-1)
        h = (1 - z) * jnp.tanh(x_n + (r * ĥ) @ params.w_h[:, split:]) + z * ĥ
        return GRUDState(h, jnp.where(m, x, state.x)), h

    return Cell(
        name=name,
        init=init_params,
        initial_state=initial_state,
        step=step,
        x_ndims=(1, 1, 1),
        output_of=lambda state: state.h,
        recurrent=("w_h",),
    )
