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

    The inputs of a cell of symbols, such as `stack(embed(V, 64), gru(256), linear(V))`, are the
    symbols d_t alone. It reads each, or the symbol that its logits y_{t-1} stand for, by `feed`;
    the first of a sequence always.

    Args:
      cell: a cell of floating vectors, with outputs [*B, size]; or of symbols, with logits.
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

      A model of symbols, which reads them as before, or its own:

      >>> model = rnnjax.stack(rnnjax.embed(9, 4), rnnjax.gru(8), rnnjax.linear(9))
      >>> trained = rnnjax.scheduled_sampling(model, 9, rate=0.8, feed="sample")
      >>> params = trained.init(jax.random.key(0), rnnjax.tokens())
      >>> state = trained.initial_state(params, (4,), key=jax.random.key(1))
      >>> _, logits = rnnjax.unroll(trained, params, state, jnp.ones((5, 4), int))
      >>> logits.shape
      (5, 4, 9)

    Reference:
      Bengio, Vinyals, Jaitly & Shazeer, Scheduled Sampling for Sequence Prediction with Recurrent
      Neural Networks, NeurIPS 2015, arXiv:1506.03099.
    """

    def fed(key: Array | None, rate: Any, y: Array, target: Array) -> Array:
        told = rate >= 1 if key is None else draw(fold_in(key, 0), rate, ())
        told = jnp.expand_dims(told, (*range(told.ndim, y.ndim),))
        return jnp.where(told, target.astype(y.dtype), y)

    name = f"scheduled_sampling({cell.name}, {size}, {rate}{f', {feed}' * (feed != 'output')})"
    return looped(cell, name, size, feed, paired=True, fed=fed, rate=rate)
