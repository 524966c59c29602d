"""A cell that sees what its last output should have been, or was."""

from __future__ import annotations

from typing import Annotated, Any

import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._combine._common import Inner, probability
from rnnjax._combine._feedback import Feed, looped
from rnnjax._factory import Size, cell_factory
from rnnjax._noise import draw, fold_in


@cell_factory
def scheduled_sampling(
    cell: Inner,
    size: Size,
    *,
    rate: Annotated[float, probability] = 0.5,
    feed: Feed = "output",
) -> Cell:
    """Joins to a cell's input what its last output should have been, or was.

        f_t = d_t with probability rate, by the row's key and t; else y_{t-1}, 0 at first
        s_t, y_t = cell(s_{t-1}, [x_t, f_t])

    The inputs are pairs (x_t, d_t), where d_t is what y_{t-1} should have been, so the targets
    shifted by one step. The rate is held in the state, where `set_rates` may change it as training
    goes on; without a key, a rate below 1 is 0. Parameters are those of `feedback`, which runs
    freely with them, and of `teacher_forcing`, which is rate 1 and faster.

    Args:
      cell: a cell of floating vectors, with outputs [*B, size].
      size: how many features the output has.
      rate: the probability of feeding the true output, in [0, 1], with which a state begins.
      feed: what of y_{t-1} is fed, as in `feedback`.

    Returns:
      A Cell with the cell's parameters, whose `NoisyState` holds a `FeedbackState`.

    Raises:
      TypeError: an argument is of the wrong type; or an input is no pair.
      ValueError: an argument is out of range; or, in a step, the output is not [*B, size].

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.scheduled_sampling(rnnjax.stack(rnnjax.gru(8), rnnjax.linear(2)), 2)
      >>> params = cell.init(jax.random.key(0), (3, 2))
      >>> state = cell.initial_state(params, (4,), key=jax.random.key(1))
      >>> state = rnnjax.set_rates(state, 0.9)
      >>> _, ys = rnnjax.unroll(cell, params, state, (jnp.ones((5, 4, 3)), jnp.ones((5, 4, 2))))
      >>> ys.shape
      (5, 4, 2)

    Reference:
      Bengio, Vinyals, Jaitly & Shazeer, Scheduled Sampling for Sequence Prediction with Recurrent
      Neural Networks, NeurIPS 2015, arXiv:1506.03099.
    """

    def fed(key: Array | None, rate: Any, y: Array, target: Array) -> Array:
        told = rate >= 1 if key is None else draw(fold_in(key, 0), rate, ())
        return jnp.where(told[..., None], target.astype(y.dtype), y)

    name = f"scheduled_sampling({cell.name}, {size}, {rate}{f', {feed}' * (feed != 'output')})"
    return looped(cell, name, size, feed, paired=True, fed=fed, rate=rate)
