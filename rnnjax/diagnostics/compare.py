"""Cells beside each other: how far back their gradients reach, before training and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from rnnjax._cell import Array, Cell, Params, PyTree, step_spec
from rnnjax._check import require_cell
from rnnjax._factory import natural
from rnnjax._unroll import unroll
from rnnjax.diagnostics._draw import styled
from rnnjax.diagnostics.gradients import GradientFlow, gradient_flow

# How many sequences the gradients are seen on.
ROWS = 32


class Compared(NamedTuple):
    """One cell of a comparison.

    Attributes:
      before: the gradients with the parameters that were drawn.
      after: those with the parameters that training ended in, for the same sequences.
      losses: the loss of these sequences, before and after.
      params: the parameters, before and after.
    """

    before: GradientFlow
    after: GradientFlow
    losses: tuple[float, float]
    params: tuple[Params, Params]


def compare(
    cells: Mapping[str, Cell],
    draw: Callable[[Array, int], tuple[PyTree, PyTree]],
    loss: Callable[[PyTree, PyTree], Array],
    *,
    steps: int = 1000,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    clip_norm: float = 1.0,
    seed: int = 0,
    errors: Literal["last", "each", "all"] = "last",
) -> dict[str, Compared]:
    """Trains cells on one task, each alike, and sees their gradients against lag on either side.

    They get the same batches and Adam with the same settings; nothing is tuned for any of them.

    Args:
      cells: models by name, each a cell whose outputs the loss takes, such as
        `stack(rnn=lstm(64), readout=linear(1))`.
      draw: (key, B) -> (xs [T, B, ...], targets), a new batch for each key.
      loss: (ys [T, B, ...], targets) -> the loss, a scalar.
      steps: of training.
      batch_size: B.
      learning_rate: constant.
      clip_norm: the largest global norm of the gradient; 0 for none.
      seed: of the parameters, the batches and the noise.
      errors: whose gradients, as in `gradient_flow`.

    Returns:
      `Compared`, by name.

    Raises:
      TypeError: one of the cells is none, or the loss is not real.
      NonFiniteError: training ran into non-finite numbers and stayed there.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.diagnostics import compare
      >>> def draw(key, size):  # the first of five numbers
      ...     xs = jax.random.normal(key, (5, size, 1))
      ...     return xs, xs[0]
      >>> found = compare(
      ...     {"gru": rnnjax.stack(rnnjax.gru(4), rnnjax.linear(1))},
      ...     draw,
      ...     lambda ys, targets: jnp.square(ys[-1] - targets).mean(),
      ...     steps=10,
      ... )
      >>> found["gru"].after.by_lag().shape
      (5,)

    Reference:
      Bengio, Simard & Frasconi, Learning Long-Term Dependencies with Gradient Descent is Difficult,
      IEEE Transactions on Neural Networks 5(2), 1994.
    """
    # Here, since training imports what looks at its gradients.
    from rnnjax.train import fit, generated, init_train_state, make_train_step, optimizer

    natural("steps", steps)
    source = generated(draw, batch_size, seed=seed, axes=None)
    init_key, run_key, seen_key = jax.random.split(jax.random.key(seed), 3)
    xs, targets = jax.jit(draw, static_argnums=1)(seen_key, ROWS)
    found = {}
    for name, cell in cells.items():
        require_cell(f"cells: {name}", cell)
        rule = optimizer("adam", learning_rate, clip_norm)

        def value(params: Params, carried: Any, batch: Any, key: Any, cell: Cell = cell) -> Any:
            state = None if key is None else cell.initial_state(params, (batch_size,), key=key)
            return loss(unroll(cell, params, state, batch[0])[1], batch[1]), (carried, {})

        def flow(params: Params, cell: Cell = cell) -> GradientFlow:
            return gradient_flow(
                cell, params, None, xs, lambda ys: loss(ys, targets), errors=errors
            )

        params = cell.init(init_key, step_spec(xs))
        state = init_train_state(params, rule, run_key)
        state = fit(make_train_step(value, rule), state, source, steps=steps)
        both = params, state.params
        before, after = (float(value(p, (), (xs, targets), None)[0]) for p in both)
        found[name] = Compared(flow(params), flow(state.params), (before, after), both)
    return found


def plot_compare(
    axes: Any, found: Mapping[str, Compared], *, at: Literal["before", "after"] = "after"
) -> None:
    """Draws the gradient against lag of all cells, each relative to its own at lag 1.

    Args:
      axes: matplotlib's axes to draw on.
      found: what `compare` gives.
      at: which side of training.
    """
    for n, (name, one, line, mark) in enumerate(styled(found)):
        values = getattr(one, at).by_lag()
        shown = np.where(values > 0, values / values[0], np.nan)
        axes.semilogy(
            np.arange(1, len(shown) + 1), shown, line, label=name, marker=mark,
            markevery=(2 * n, max(1, len(shown) // 8)), markersize=5, linewidth=1.2,
        )  # fmt: skip
    axes.set_xlabel("lag n, steps")
    axes.set_ylabel(r"$\|∂E/∂h_{T-n}\|$, relative to lag 1")
    axes.set_title(f"{at} training")
    axes.grid(alpha=0.3)
    axes.legend()
