"""Dropout with a fresh mask each step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Held
from rnnjax._factory import Rate, cell_factory
from rnnjax._noise import dropped, fold_in, held_rates, noise_keys
from rnnjax.cells._common import check_floating


class DropoutState(NamedTuple):
    """State of `dropout`.

    Attributes:
      key: the row's key [*B, 1]; [*B, 0] in evaluation.
      t: how many steps the row has taken, [*B].
      rate: the row's rate, `Held` [*B]; `set_rates` changes it.
    """

    key: Array
    t: Array
    rate: Held


@cell_factory
def dropout(rate: Rate) -> Cell:
    """Drops each feature with a probability, anew at every step; nothing in evaluation.

        m_t ~ Bernoulli(1 - rate), from the row's key and t
        y_t = m_t ⊙ x_t / (1 - rate)

    The same key gives the same masks. `initial_state(..., key=key)` turns it on; without a key
    the cell is the identity.

    Shapes: x_t [*B, ...]; state key [*B, 1], t and rate [*B]; y_t [*B, ...].

    Args:
      rate: the probability of dropping a feature, in [0, 1). It is held in the state, where
        `set_rates` may change it.

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
        return DropoutState(
            key=noise_keys(key, batch_shape),
            t=jnp.zeros(batch_shape, jnp.int32),
            rate=held_rates(rate, batch_shape),
        )

    def step(params: tuple[()], state: DropoutState, x: Array) -> tuple[DropoutState, Array]:
        check_floating(name, x)
        after = state._replace(t=state.t + 1)
        if not state.key.shape[-1]:  # evaluation
            return after, x
        return after, dropped(fold_in(state.key[..., 0], state.t), state.rate.value, x)

    return Cell(name=name, init=init_params, initial_state=initial_state, step=step)
