"""A cell that sees what its last output should have been."""

from __future__ import annotations

from rnnjax._cell import Array, Cell
from rnnjax._combine._common import Inner
from rnnjax._combine._feedback import Feed, looped
from rnnjax._factory import Size, cell_factory


@cell_factory
def teacher_forcing(cell: Inner, size: Size, *, feed: Feed = "output") -> Cell:
    """Joins to a cell's input what its last output should have been.

        s_t, y_t = cell(s_{t-1}, [x_t, d_t])

    The inputs are pairs (x_t, d_t), where d_t is what y_{t-1} should have been, so the targets
    shifted by one step. Parameters and state are those of `feedback`, which runs freely with them:
    from the state in which this one ends, too. No step waits for the last one's output, so that a
    readout leaves the loop.

    The inputs of a cell of symbols are the symbols d_t alone, as they are without it.

    Args:
      cell: a cell of floating vectors, with outputs [*B, size]; or of symbols, with logits.
      size: how many features the output has.
      feed: what of y_T is kept for `feedback` to go on with, as there.

    Returns:
      A Cell with the cell's parameters, whose `NoisyState` holds a `FeedbackState`.

    Raises:
      TypeError: an argument is of the wrong type; or an input is no pair.
      ValueError: an argument is out of range; or, in a step, the output is not [*B, size].

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> inner = rnnjax.stack(rnnjax.gru(8), rnnjax.linear(2))
      >>> teacher, free = rnnjax.teacher_forcing(inner, 2), rnnjax.feedback(inner, 2)
      >>> params = free.init(jax.random.key(0), 3)
      >>> _, ys = rnnjax.unroll(teacher, params, None, (jnp.ones((5, 4, 3)), jnp.ones((5, 4, 2))))
      >>> _, zs = rnnjax.unroll(free, params, None, jnp.ones((5, 4, 3)))
      >>> ys.shape, zs.shape
      ((5, 4, 2), (5, 4, 2))

    Reference:
      Williams & Zipser, A Learning Algorithm for Continually Running Fully Recurrent Neural
      Networks, Neural Computation 1(2), 1989.
    """
    name = f"teacher_forcing({cell.name}, {size}{f', {feed}' * (feed != 'output')})"

    def fed(key: object, rate: object, y: Array, target: Array) -> Array:
        return target.astype(y.dtype)

    return looped(cell, name, size, feed, paired=True, fed=fed, rate=())
