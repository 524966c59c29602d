"""A cell that sees its own last output."""

from __future__ import annotations

from rnnjax._cell import Cell
from rnnjax._combine._common import Inner
from rnnjax._combine._feedback import Feed, looped
from rnnjax._factory import Size, cell_factory


@cell_factory
def feedback(cell: Inner, size: Size, *, feed: Feed = "output") -> Cell:
    """Joins a cell's last output to its input: it runs freely.

        f_t = y_{t-1};  f_1 = 0
        s_t, y_t = cell(s_{t-1}, [x_t, f_t])

    The step takes None for x_t too; then f_t alone is the input. `teacher_forcing` trains the same
    parameters on the true outputs.

    Args:
      cell: a cell of floating vectors, with outputs [*B, size].
      size: how many features the output has.
      feed: what of y_{t-1} is fed back: the "output" itself, or, where it is logits, a one-hot
        vector of the "argmax", or of a "sample" by the row's key (the argmax without a key).

    Returns:
      A Cell with the cell's parameters, whose `NoisyState` holds a `FeedbackState`.

    Raises:
      TypeError: an argument is of the wrong type.
      ValueError: an argument is out of range; or, in a step, the output is not [*B, size].

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> inner = rnnjax.stack(rnnjax.gru(8), rnnjax.linear(2))
      >>> cell = rnnjax.feedback(inner, 2)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> _, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 4, 3)))
      >>> ys.shape
      (5, 4, 2)

    Reference:
      Jordan, Serial Order: A Parallel Distributed Processing Approach, ICS Report 8604, UC San
      Diego, 1986.
    """
    name = f"feedback({cell.name}, {size}{f', {feed}' * (feed != 'output')})"
    return looped(cell, name, size, feed, paired=False, fed=lambda key, rate, y, target: y, rate=())
