"""An initial state that is learned."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, PyTree, State, joined, parted
from rnnjax._combine._common import Inner
from rnnjax._combine._weights import wrapped
from rnnjax._dtypes import is_floating, map_floats
from rnnjax._factory import cell_factory
from rnnjax.cells._common import rows


class LearnedStateParams(NamedTuple):
    """Parameters of `learned_state`.

    Attributes:
      cell: the parameters of the cell inside.
      initial: the state of one row before the first step; None for leaves that are no numbers.
    """

    cell: Any
    initial: Any


@cell_factory
def learned_state(cell: Inner) -> Cell:
    """Makes the initial state a parameter.

        s_0 = a learned tree, the same for every row

    It begins as the cell's own initial state, usually zeros. Its gradient comes from every row
    that starts without a given state, and from every reset. Keys, counters and what is
    held start as ever.

    Args:
      cell: the cell.

    Returns:
      A Cell with `LearnedStateParams` and the cell's state.

    Raises:
      TypeError: `cell` is not a Cell; or, at init, its state holds no floating-point numbers.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.learned_state(rnnjax.gru(4))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> params = params._replace(initial=jnp.arange(4.0))
      >>> print(cell.initial_state(params, (2,)))
      [[0. 1. 2. 3.]
       [0. 1. 2. 3.]]

    Reference:
      Forcada & Carrasco, Learning the Initial State of a Second-Order Recurrent Neural Network,
      Neural Computation 7(5), 1995.
    """
    name = f"learned_state({cell.name})"

    def init_params(key: Array, x_spec: PyTree) -> LearnedStateParams:
        params = cell.init(key, x_spec)
        state, _ = parted(cell.initial_state(params))
        initial = jax.tree.map(lambda leaf: leaf if is_floating(leaf) else None, state)
        if not jax.tree.leaves(initial):
            raise TypeError(f"{name}: {cell.name} has no state to learn: use a recurrent cell")
        return LearnedStateParams(params, initial)

    def initial_state(
        params: LearnedStateParams, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> State:
        fresh, held = parted(cell.initial_state(params.cell, batch_shape, key=key))
        # A sum, not a broadcast alone: each leaf owns its buffer, apart from the parameters'.
        fresh = map_floats(lambda s, a: jnp.zeros_like(s) + rows(a, s), fresh, params.initial)
        return joined(fresh, held)

    def step(params: LearnedStateParams, state: State, x: PyTree) -> tuple[State, PyTree]:
        return cell.step(params.cell, state, x)

    return wrapped(
        cell,
        name=name,
        init=init_params,
        initial_state=initial_state,
        step=step,
    )
