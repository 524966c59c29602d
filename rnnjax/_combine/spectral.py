"""Recurrent weights of a given spectral norm."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Params, Positive, PyTree, Size, State, cell_factory
from rnnjax._combine._common import Inner
from rnnjax._combine._weights import change_blocks, require_recurrent


@cell_factory
def spectral(cell: Inner, norm: Positive = 1.0, *, iterations: Size = 20) -> Cell:
    """Scales the recurrent weights of each gate to a spectral norm.

        U_g <- norm · U_g / σ_max(U_g)        for each block U_g [H, H] of U [H, G H]

    σ_max is found by power iteration from a fixed vector, which the gradient takes as given:
    ∂σ/∂U = u vᵀ. It depends on the parameters alone, so it is done once, outside the loop; with
    fewer iterations it is cheaper, and the norm that is reached lies somewhat above `norm`.

    Args:
      cell: a cell that declares `recurrent`.
      norm: the largest singular value of each gate's block, positive.
      iterations: how many steps of power iteration.

    Returns:
      A Cell with the cell's parameters and state.

    Raises:
      TypeError: `cell` is not a Cell or declares no `recurrent`, or a number is of the wrong
        type; or, in a step, recurrent weights are not [H, G H].
      ValueError: `norm` is not positive, or `iterations` is below 1.

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
        fixed = jax.lax.stop_gradient(w)

        def iterate(_: int, v: Array) -> Array:
            return _unit(jnp.swapaxes(fixed, -1, -2) @ (fixed @ v))

        # From a vector that no matrix singles out.
        v = jnp.cos(jnp.arange(w.shape[-1], dtype=w.dtype) ** 2 + 1)[:, None]
        v = jax.lax.fori_loop(0, iterations, iterate, jnp.broadcast_to(v, (*w.shape[:-1], 1)))
        u = _unit(fixed @ v)
        sigma = (u * (w @ v)).sum((-2, -1), keepdims=True)
        return norm * w / jnp.maximum(sigma, jnp.finfo(w.dtype).tiny)

    def step(params: Params, state: State, x: PyTree) -> tuple[State, PyTree]:
        return cell.step(change_blocks(name, cell, params, scaled), state, x)

    return dataclasses.replace(cell, name=name, step=step)


def _unit(v: Array) -> Array:
    return v * jax.lax.rsqrt(jnp.square(v).sum((-2, -1), keepdims=True) + jnp.finfo(v.dtype).tiny)
