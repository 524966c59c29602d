"""Clipping of what flows back through the state, at each step."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._cell import Cell, Params, PyTree, State, is_held
from rnnjax._combine._common import Inner
from rnnjax._dtypes import map_floats
from rnnjax._factory import Positive, cell_factory


@cell_factory
def clip_gradient(cell: Inner, limit: Positive) -> Cell:
    """Clips the gradient with respect to the state at each step, element by element.

        s_t, y_t = cell(s_{t-1}, x_t)
        ∂L/∂s_{t-1} <- min(max(∂L/∂s_{t-1}, -limit), limit)    what step t hands back to t-1

    The values are the cell's; of complex numbers each part is clipped. It bounds what explodes
    along time, before it can reach the parameters; the norm of the whole gradient is for the
    optimizer to clip. Reverse mode alone.

    Args:
      cell: the cell.
      limit: the largest absolute value of an element, positive.

    Returns:
      A Cell with the cell's parameters and state.

    Raises:
      TypeError: `cell` is not a Cell, or `limit` is no number.
      ValueError: `limit` is not positive.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.clip_gradient(rnnjax.elman(1, activation="identity"), 0.1)
      >>> one = jnp.ones((1, 1))
      >>> params = rnnjax.ElmanParams(w_x=one, w_h=3 * one, b=jnp.zeros(1))
      >>> run = lambda h: rnnjax.unroll(cell, params, h, jnp.ones((5, 1)))[0].sum()
      >>> print(jax.grad(run)(jnp.zeros(1)))
      [0.1]

    Reference:
      Graves, Generating Sequences With Recurrent Neural Networks, 2013, arXiv:1308.0850.
    """

    def step(params: Params, state: State, x: PyTree) -> tuple[State, PyTree]:
        def clipped(s: Any) -> Any:
            if is_held(s) or not jnp.iscomplexobj(s):
                return s
            return jax.lax.complex(_clipped(s.real, limit), _clipped(s.imag, limit))

        state = map_floats(lambda s: _clipped(s, limit), state)
        return cell.step(params, jax.tree.map(clipped, state, is_leaf=is_held), x)

    return dataclasses.replace(cell, name=f"clip_gradient({cell.name}, {limit})", step=step)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _clipped(s: jax.Array, limit: float) -> jax.Array:
    """s, with a gradient clipped to [-limit, limit]."""
    return s


_clipped.defvjp(
    lambda s, limit: (s, None),
    lambda limit, _, cotangent: (jnp.clip(cotangent, -limit, limit),),
)
