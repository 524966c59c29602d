"""The simplified state space layer, S5."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Array, Cell
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import Size, cell_factory
from rnnjax.cells._common import as_complex, as_parts, complex_state, rows, vector, vector_spec


class S5Params(NamedTuple):
    """Parameters of `s5`.

    Attributes:
      w_x: B, input weights [D, 2H], real parts beside imaginary parts.
      w_y: C, readout weights [2H, D], real parts above imaginary parts.
      scale_x: d, gains of the input in the output [D].
      eig: Λ, eigenvalues [2H], real parts beside imaginary parts.
      log_step: logarithms of the step sizes Δ [H].
    """

    w_x: Array
    w_y: Array
    scale_x: Array
    eig: Array
    log_step: Array


@cell_factory
def s5(hidden_size: Size) -> Cell:
    """S5: a diagonal state space of many inputs and outputs, discretised by zero-order hold.

        h'(t) = Λ ⊙ h(t) + x(t) B                                the input held for Δ gives
        h_t = exp(Λ Δ) ⊙ h_{t-1} + (exp(Λ Δ) - 1) / Λ ⊙ (x_t B)
        y_t = 2 Re(h_t C) + d ⊙ x_t

    Eigenvalues come in conjugate pairs, of which h has one each: hence 2 Re, and a state space of
    2H real dimensions. Λ is that of HiPPO-N at first, with B and C in its eigenvectors' basis; d
    is normal, and Δ log-uniform in [0.001, 0.1].

    Shapes: x_t [*B, D]; state h [*B, H], complex; y_t [*B, D].

    Args:
      hidden_size: H, the number of complex units: the paper's P / 2.

    Returns:
      A Cell with `S5Params`, whose state is the complex array h (complex64 for parameters of half
      precision).

    Raises:
      TypeError: `hidden_size` is not an int.
      ValueError: `hidden_size` is below 1.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.s5(16)
      >>> params = cell.init(jax.random.key(0), 8)
      >>> h, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 8)))
      >>> ys.shape, h.shape, h.dtype.name
      ((5, 2, 8), (2, 16), 'complex64')

    Reference:
      Smith, Warrington & Linderman, Simplified State Space Layers for Sequence Modeling, ICLR
      2023, arXiv:2208.04933.
    """
    name = f"s5({hidden_size})"

    def init_params(key: Array, x_spec: Any) -> S5Params:
        inputs, dtype = vector_spec(name, x_spec)
        wide = at_least_float32(dtype)
        eigenvalues, basis = hippo_n(hidden_size)
        k_x, k_y, k_d, k_step = jax.random.split(key, 4)
        b = jax.random.normal(k_x, (inputs, 2 * hidden_size), wide) / math.sqrt(inputs)
        c = jax.random.normal(k_y, (2 * hidden_size, inputs), wide) / math.sqrt(2 * hidden_size)

        def parts(a: np.ndarray, axis: int) -> Array:
            return jnp.asarray(np.concatenate([np.real(a), np.imag(a)], axis), wide)

        # A vector of the state space is h Vᵀ and the conjugate of that: x B is to be b in it.
        params = S5Params(
            w_x=b @ parts(basis.conj(), 1),
            w_y=parts(basis.T, 0) @ c,
            scale_x=jax.random.normal(k_d, (inputs,), wide),
            eig=parts(eigenvalues, 0),
            log_step=jax.random.uniform(
                k_step, (hidden_size,), wide, math.log(0.001), math.log(0.1)
            ),
        )
        return jax.tree.map(lambda leaf: leaf.astype(dtype), params)

    def step(params: S5Params, h: Array, x: Array) -> tuple[Array, Array]:
        x = vector(name, x, params.w_x)
        exponent = as_complex(params.eig * jnp.tile(jnp.exp(params.log_step), 2))
        hold = jnp.expm1(exponent) / as_complex(params.eig)
        h = rows(jnp.exp(exponent), x) * h + rows(hold, x) * as_complex(x @ params.w_x)
        # Re(h C) = Re h Re C - Im h Im C
        y = 2 * as_parts(h.conj(), x.dtype) @ params.w_y + rows(params.scale_x, x) * x
        return h, y

    return Cell(
        name=name,
        init=init_params,
        initial_state=complex_state(hidden_size),
        step=step,
    )


def hippo_n(pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """The eigenvalues of HiPPO-N above the real line [H], and their eigenvectors V [2H, H].

    HiPPO-N is -1/2 on the diagonal and ∓√(n + 1/2) √(k + 1/2) below and above it: skew-symmetric
    but for the diagonal, and so of orthogonal eigenvectors.
    """
    root = np.sqrt(np.arange(2 * pairs) + 0.5)
    skew = np.triu(np.outer(root, root), 1)
    frequencies, vectors = np.linalg.eigh(-1j * (skew - skew.T))  # pairs ∓, in rising order
    return -0.5 + 1j * frequencies[pairs:], vectors[:, pairs:]
