"""Dropout with a fresh mask each step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Rate, cell_factory, draw, fold_in, noise_keys
from rnnjax.cells._common import check_floating


class DropoutState(NamedTuple):
    """State of `dropout`.

    Attributes:
      key: the row's key [*B, 1]; [*B, 0] in evaluation.
      t: how many steps the row has taken, [*B].
    """

    key: Array
    t: Array


@cell_factory
def dropout(rate: Rate) -> Cell:
    """Drops each feature with a probability, anew at every step; nothing in evaluation.

        m_t ~ Bernoulli(1 - rate), from the row's key and t
        y_t = m_t ⊙ x_t / (1 - rate)

    The same key gives the same masks. `initial_state(..., key=key)` turns it on; without a key
    the cell is the identity.

    Shapes: x_t [*B, ...]; state key [*B, 1], t [*B]; y_t [*B, ...].

    Args:
      rate: the probability of dropping a feature, in [0, 1).

    Returns:
      A Cell with the parameters () and `DropoutState`.

    Raises:
      TypeError: `rate` is not a number; or, in a step, the input is not floating.
      ValueError: `rate` is outside [0, 1).

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.dropout(0.5)
      >>> state = cell.initial_state((), (), key=jax.random.key(0))
      >>> _, ys = rnnjax.unroll(cell, (), state, jnp.ones((3, 8)))
      >>> sorted(set(ys.ravel().tolist()))
      [0.0, 2.0]

    Reference:
      Srivastava et al., Dropout, JMLR 15, 2014; on the connections between layers of a recurrent
      network: Zaremba, Sutskever & Vinyals, 2014, arXiv:1409.2329.
    """
    name = f"dropout({rate})"

    def init_params(key: Array, x_spec: Any) -> tuple[()]:
        return ()

    def initial_state(
        params: tuple[()], batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> DropoutState:
        return DropoutState(noise_keys(key, batch_shape), jnp.zeros(batch_shape, jnp.int32))

    def step(params: tuple[()], state: DropoutState, x: Array) -> tuple[DropoutState, Array]:
        check_floating(name, x)
        after = DropoutState(state.key, state.t + 1)
        if not state.key.shape[-1]:  # evaluation
            return after, x
        key = fold_in(state.key[..., 0], state.t)
        kept = draw(key, 1 - rate, x.shape[key.ndim :])
        return after, jnp.where(kept, x / (1 - rate), 0)

    return Cell(name=name, init=init_params, initial_state=initial_state, step=step)
