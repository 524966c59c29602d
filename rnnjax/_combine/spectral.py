"""Recurrent weights of a given spectral norm."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Params, PyTree, State
from rnnjax._combine._common import Inner
from rnnjax._combine._weights import change_blocks, require_recurrent
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import Positive, cell_factory


@cell_factory
def spectral(cell: Inner, norm: Positive = 1.0) -> Cell:
    """Scales the recurrent weights of each gate to a spectral norm.

        U_g <- norm · U_g / σ_max(U_g)        for each block U_g [H, H] of U [H, G H]

    σ_max is exact, and so is its gradient. It depends on the parameters alone, so that one singular
    value decomposition a gate is done once a sequence, outside the loop, not at every step.

    Args:
      cell: a cell that declares `recurrent`.
      norm: the largest singular value of each gate's block, positive.

    Returns:
      A Cell with the cell's parameters and state.

    Raises:
      TypeError: `cell` is not a Cell or declares no `recurrent`, or `norm` is no number;
        or, in a step, recurrent weights are not [H, G H].
      ValueError: `norm` is not positive.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.spectral(rnnjax.elman(2, activation="identity"))
      >>> w_h = jnp.array([[4.0, 0.0], [0.0, 2.0]])
      >>> params = rnnjax.ElmanParams(w_x=jnp.zeros((1, 2)), w_h=w_h, b=jnp.zeros(2))
      >>> print(cell.step(params, jnp.ones(2), jnp.ones(1))[1].round(3))
      [1.  0.5]

    Reference:
      Miyato, Kataoka, Koyama & Yoshida, Spectral Normalization for Generative Adversarial
      Networks, ICLR 2018, arXiv:1802.05957.
    """
    name = f"spectral({cell.name}, {norm})"
    require_recurrent(name, cell)

    def scaled(w: Array) -> Array:
        wide = w.astype(at_least_float32(w.dtype))
        largest = jnp.linalg.svd(wide, compute_uv=False)[..., :1, None]
        return (norm * wide / jnp.maximum(largest, jnp.finfo(wide.dtype).tiny)).astype(w.dtype)

    def step(params: Params, state: State, x: PyTree) -> tuple[State, PyTree]:
        return cell.step(change_blocks(name, cell, params, scaled), state, x)

    return dataclasses.replace(cell, name=name, step=step)
