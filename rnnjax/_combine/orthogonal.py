"""Orthogonal recurrent weights."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Params, PyTree, State
from rnnjax._combine._common import Inner
from rnnjax._combine._weights import change_blocks, require_recurrent
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import cell_factory
from rnnjax.cells._common import rows


@cell_factory
def orthogonal(cell: Inner) -> Cell:
    """Keeps the recurrent weights of each gate orthogonal, whatever the parameters are.

        A = P_g - P_gᵀ                        for each block P_g [H, H] of the parameters [H, G H]
        U_g = (I + A)⁻¹ (I - A)               the Cayley transform: U_gᵀ U_g = I

    The stored array is free, so any optimizer will do; U_g is computed from it once a sequence,
    outside the loop. Every orthogonal matrix without the eigenvalue -1 can be reached.

    Args:
      cell: a cell that declares `recurrent`.

    Returns:
      A Cell with the cell's parameters and state.

    Raises:
      TypeError: `cell` is not a Cell or declares no `recurrent`; or, in a step, recurrent weights
        are not [H, G H].

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.orthogonal(rnnjax.elman(4, activation="identity"))
      >>> params = cell.init(jax.random.key(0), 1)
      >>> h, _ = rnnjax.unroll(cell, params, jnp.ones((2, 4)), jnp.zeros((50, 2, 1)))
      >>> print(jnp.linalg.norm(h, axis=-1).round(3))
      [2. 2.]

    Reference:
      Helfrich, Willmott & Ye, Orthogonal Recurrent Neural Networks with Scaled Cayley Transform,
      ICML 2018, arXiv:1707.09520.
    """
    name = f"orthogonal({cell.name})"
    require_recurrent(name, cell)

    def cayley(w: Array) -> Array:
        wide = w.astype(at_least_float32(w.dtype))
        a = wide - jnp.swapaxes(wide, -1, -2)
        one = rows(jnp.eye(w.shape[-1], dtype=wide.dtype), a)
        return jnp.linalg.solve(one + a, one - a).astype(w.dtype)

    def step(params: Params, state: State, x: PyTree) -> tuple[State, PyTree]:
        return cell.step(change_blocks(name, cell, params, cayley), state, x)

    return dataclasses.replace(cell, name=name, step=step)
