"""Dropout on a cell's input."""

from __future__ import annotations

from typing import Annotated

import jax

from rnnjax._cell import Array, Cell, Params, PyTree, State
from rnnjax._combine._common import Inner
from rnnjax._combine._noise import noisy
from rnnjax._dtypes import is_floating
from rnnjax._factory import Rate, cell_factory
from rnnjax._noise import dropped, fold_in
from rnnjax.cells._common import flag


@cell_factory
def input_dropout(cell: Inner, rate: Rate, *, variational: Annotated[bool, flag] = False) -> Cell:
    """Drops features of a cell's input; nothing in evaluation.

        m_t ~ Bernoulli(1 - rate), from the row's key and t; from the key alone if variational
        s_t, y_t = cell(s_{t-1}, m_t ⊙ x_t / (1 - rate))

    Args:
      cell: the cell.
      rate: the probability of dropping a feature, in [0, 1).
      variational: one mask for the whole sequence, instead of a fresh one at each step. `rekey`
        and resets draw a new one.

    Returns:
      A Cell with the cell's parameters and `NoisyState`.

    Raises:
      TypeError: `cell` is not a Cell, `rate` no number or `variational` no bool; or, in a step,
        the input is not floating.
      ValueError: `rate` is outside [0, 1).

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.input_dropout(rnnjax.activation("identity"), 0.5, variational=True)
      >>> state = cell.initial_state((), (), key=jax.random.key(0))
      >>> _, ys = rnnjax.unroll(cell, (), state, jnp.ones((3, 8)))
      >>> bool((ys == ys[0]).all()), sorted(set(ys.ravel().tolist()))
      (True, [0.0, 2.0])

    Reference:
      Gal & Ghahramani, A Theoretically Grounded Application of Dropout in Recurrent Neural
      Networks, NeurIPS 2016, arXiv:1512.05287.
    """
    name = f"input_dropout({cell.name}, {rate}{', variational' * variational})"

    def step(
        key: Array | None, rate: Array, params: Params, state: State, x: PyTree
    ) -> tuple[State, PyTree]:
        leaves, tree = jax.tree.flatten(x)
        for leaf in leaves:
            if not is_floating(leaf):
                raise TypeError(
                    f"{name} needs floating-point xs, got {leaf.dtype}: put it above the embedding"
                )
        if key is not None:
            leaves = [dropped(fold_in(key, i), rate, leaf) for i, leaf in enumerate(leaves)]
        return cell.step(params, state, tree.unflatten(leaves))

    return noisy(cell, name, step, rate=rate, fresh=not variational)
