"""A cell that sees its own last output."""

from __future__ import annotations

from rnnjax._cell import Array, Cell
from rnnjax._combine._common import Inner
from rnnjax._combine._feedback import Feed, Symbol, looped
from rnnjax._factory import Size, cell_factory


@cell_factory
def feedback(cell: Inner, size: Size, *, feed: Feed = "output", first: Symbol = 0) -> Cell:
    """Joins a cell's last output to its input: it runs freely.

        f_t = y_{t-1};  f_1 = 0
        s_t, y_t = cell(s_{t-1}, [x_t, f_t])

    The step takes None for x_t too; then f_t alone is the input. `teacher_forcing` trains the same
    parameters on the true outputs.

    A cell of symbols, such as `stack(embed(V, 64), gru(256), linear(V))`, has f_t as its only
    input: the symbol that the logits y_{t-1} stand for, by `feed`.

    Args:
      cell: a cell of floating vectors, with outputs [*B, size]; or of symbols, with logits.
      size: how many features the output has.
      feed: what of y_{t-1} is fed back: the "output" itself, or, where it is logits, the "argmax",
        or a "sample" by the row's key (the argmax without a key): as a one-hot vector, or to a
        cell of symbols as itself.
      first: f_1 of a cell of symbols.

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

      A model of symbols, which writes:

      >>> model = rnnjax.stack(rnnjax.embed(9, 4), rnnjax.gru(8), rnnjax.linear(9))
      >>> writer = rnnjax.feedback(model, 9, feed="sample", first=1)
      >>> params = writer.init(jax.random.key(0), None)
      >>> state = writer.initial_state(params, (4,), key=jax.random.key(1))
      >>> _, logits = rnnjax.unroll(writer, params, state, None, length=5)
      >>> logits.shape
      (5, 4, 9)

    Reference:
      Jordan, Serial Order: A Parallel Distributed Processing Approach, ICS Report 8604, UC San
      Diego, 1986.
    """
    shown = f"{f', {feed}' * (feed != 'output')}{f', {first}' * (first > 0)}"
    name = f"feedback({cell.name}, {size}{shown})"

    def fed(key: object, rate: object, y: Array, target: None) -> Array:
        return y

    return looped(cell, name, size, feed, first=first, paired=False, fed=fed, rate=())
