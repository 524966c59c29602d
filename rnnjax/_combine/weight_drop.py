"""DropConnect on the recurrent weights."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Params, PyTree, State
from rnnjax._check import require_cell
from rnnjax._combine._common import Inner
from rnnjax._combine._noise import noisy
from rnnjax._combine._weights import Recurrent, change_recurrent, require_recurrent
from rnnjax._factory import Rate, _rate, cell_factory
from rnnjax._noise import draw, fold_in, folded


@cell_factory
def weight_drop(cell: Inner, rate: Rate) -> Cell:
    """Drops recurrent connections, each row its own, for a whole sequence; none in evaluation.

        M ~ Bernoulli(1 - rate), of the shape of U, from the row's key
        h_{t-1} (M ⊙ U / (1 - rate))    in place of    h_{t-1} U

    Each row has its own masked weights, so that it gives in a batch what it gives alone, and a
    reset redraws no row but its own. That is B matrices of [H, K], and products of a vector by a
    matrix where there was one product of matrices: about B times the memory traffic. For a large
    batch drop the same connections in all rows, outside the loop, by `drop_weights`.

    Args:
      cell: a cell that declares `recurrent`.
      rate: the probability of dropping a connection, in [0, 1).

    Returns:
      A Cell with the cell's parameters and `NoisyState`.

    Raises:
      TypeError: `cell` is not a Cell or declares no `recurrent`, or `rate` is no number; or, in a
        step, a recurrent weight is used otherwise than as h @ w.
      ValueError: `rate` is outside [0, 1).

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.weight_drop(rnnjax.lstm(4), 0.5)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> state = cell.initial_state(params, (2,), key=jax.random.key(1))
      >>> _, ys = rnnjax.unroll(cell, params, state, jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 4)

    Reference:
      Wan et al., Regularization of Neural Networks using DropConnect, ICML 2013; on recurrent
      weights: Merity, Keskar & Socher, 2017, arXiv:1708.02182.
    """
    name = f"weight_drop({cell.name}, {rate})"
    require_recurrent(name, cell)

    def step(
        key: Array | None, rate: Array, params: Params, state: State, x: PyTree
    ) -> tuple[State, PyTree]:
        if key is None:
            return cell.step(params, state, x)

        def dropped(field: str, w: Any) -> Recurrent:
            w = Recurrent.of(name, w)
            return w.dropped(draw(fold_in(key, folded(field)), 1 - rate, w.shape), rate)

        return cell.step(change_recurrent(cell, params, dropped), state, x)

    return noisy(cell, name, step, rate=rate, fresh=False)


def drop_weights(cell: Cell, params: Params, rate: float, *, key: Array) -> Params:
    """Drops recurrent connections of the parameters, the same for all rows and steps.

        U <- M ⊙ U / (1 - rate),    M ~ Bernoulli(1 - rate)

    Called once a window inside the loss, before `unroll`, it is the weight drop of the AWD-LSTM,
    at the price of one product a window. The gradient of a dropped connection is zero.

    Args:
      cell: a cell that declares `recurrent`.
      params: its parameters.
      rate: the probability of dropping a connection, in [0, 1).
      key: what the masks are drawn from.

    Returns:
      The parameters, their recurrent fields masked.

    Raises:
      TypeError: `cell` is not a Cell or declares no `recurrent`, or `rate` is no number.
      ValueError: `rate` is outside [0, 1).

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.lstm(4)
      >>> params = cell.init(jax.random.key(0), 3)._replace(w_h=jnp.ones((4, 16)))
      >>> dropped = rnnjax.drop_weights(cell, params, 0.5, key=jax.random.key(1))
      >>> sorted(set(dropped.w_h.ravel().tolist()))
      [0.0, 2.0]

    Reference:
      Merity, Keskar & Socher, Regularizing and Optimizing LSTM Language Models, ICLR 2018,
      arXiv:1708.02182.
    """
    require_recurrent("drop_weights", require_cell("drop_weights: cell", cell))
    rate = _rate("drop_weights: rate", rate)

    def dropped(field: str, w: Array) -> Array:
        kept = jax.random.bernoulli(jax.random.fold_in(key, folded(field)), 1 - rate, w.shape)
        return jnp.where(kept, w / (1 - rate), 0)

    return change_recurrent(cell, params, dropped)
