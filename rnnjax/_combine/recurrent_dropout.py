"""Dropout on the hidden state where the recurrent weights multiply it."""

from __future__ import annotations

from typing import Annotated, Any

import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Params, PyTree, State
from rnnjax._combine._common import Inner
from rnnjax._combine._noise import noisy
from rnnjax._combine._weights import Recurrent, change_recurrent, require_recurrent
from rnnjax._factory import Rate, cell_factory
from rnnjax._noise import dropped, fold_in, folded
from rnnjax.cells._common import flag


@cell_factory
def recurrent_dropout(
    cell: Inner, rate: Rate, *, variational: Annotated[bool, flag] = False
) -> Cell:
    """Drops units of h on their way into the recurrent product; nothing in evaluation.

        m_t ~ Bernoulli(1 - rate), from the row's key and t; from the key alone if variational
        (m_t ⊙ h_{t-1} / (1 - rate)) U    in place of    h_{t-1} U

    The mask acts on the product alone: the memory c of an LSTM, the sum (1 - z) ⊙ n + z ⊙ h of a
    GRU and the output stay whole. With `variational` it is the dropout of Gal & Ghahramani: the
    same mask at each step, one for all gates (theirs "tied"). Of a stack each cell has its own.

    Args:
      cell: a cell that declares `recurrent`.
      rate: the probability of dropping a unit, in [0, 1).
      variational: one mask for the whole sequence, instead of a fresh one at each step. `rekey`
        and resets draw a new one.

    Returns:
      A Cell with the cell's parameters and `NoisyState`.

    Raises:
      TypeError: `cell` is not a Cell or declares no `recurrent`, `rate` is no number or
        `variational` no bool; or, in a step, a recurrent weight is used otherwise than as h @ w.
      ValueError: `rate` is outside [0, 1).

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.recurrent_dropout(rnnjax.lstm(4), 0.5, variational=True)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> state = cell.initial_state(params, (2,), key=jax.random.key(1))
      >>> state, ys = rnnjax.unroll(cell, params, state, jnp.ones((5, 2, 3)))
      >>> ys.shape, state.cell.c.shape
      ((5, 2, 4), (2, 4))

    Reference:
      Gal & Ghahramani, A Theoretically Grounded Application of Dropout in Recurrent Neural
      Networks, NeurIPS 2016, arXiv:1512.05287.
    """
    name = f"recurrent_dropout({cell.name}, {rate}{', variational' * variational})"
    require_recurrent(name, cell)

    def step(
        key: Array | None, rate: Array, params: Params, state: State, x: PyTree
    ) -> tuple[State, PyTree]:
        if key is None:
            return cell.step(params, state, x)

        def masked(field: str, w: Any) -> Recurrent:
            w = Recurrent.of(name, w)
            ones = jnp.ones((*key.shape, w.shape[0]), w.dtype)
            return w.masked(dropped(fold_in(key, folded(field)), rate, ones))

        return cell.step(change_recurrent(cell, params, masked), state, x)

    return noisy(cell, name, step, rate=rate, fresh=not variational)
