"""Cells beside each other: how far back their gradients reach, before training and after."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Array, Cell, Params, PyTree, step_spec
from rnnjax._check import require_cell
from rnnjax._factory import natural
from rnnjax._unroll import unroll
from rnnjax.diagnostics._draw import styled
from rnnjax.diagnostics.gradients import GradientFlow, gradient_flow
from rnnjax.diagnostics.training import LossGradients, loss_gradients

if TYPE_CHECKING:
    from rnnjax.train import TrainState
    from rnnjax.train.task import Task

# How many sequences the gradients are seen on; and the settings of what is no task.
ROWS = 32
DEFAULTS: dict[str, Any] = {
    "steps": 1000, "batch_size": 32, "learning_rate": 1e-3, "clip_norm": 1.0, "seed": 0,
}  # fmt: skip


class Compared(NamedTuple):
    """One cell of a comparison.

    Attributes:
      before: the gradients with the parameters that were drawn; of a task, in all its loss.
      after: those with the parameters that training ended in, for the same sequences.
      losses: the loss of these sequences, before and after.
      params: the parameters, before and after.
    """

    before: GradientFlow | LossGradients
    after: GradientFlow | LossGradients
    losses: tuple[float, float]
    params: tuple[Params, Params]


def compare(
    cells: Mapping[str, Cell] | Sequence[str],
    task: Task | Callable[[Array, int], tuple[PyTree, PyTree]],
    loss: Callable[[PyTree, PyTree], Array] | None = None,
    *,
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    clip_norm: float | None = None,
    seed: int | None = None,
    errors: Literal["last", "each", "all"] | None = None,
) -> dict[str, Compared]:
    """Trains cells on one task, each alike, and sees their gradients against lag on either side.

    They get the same batches and an optimizer with the same settings; nothing is tuned for any.

    Args:
      cells: of a task, names of cells that it offers, as `["lstm", "gru"]`; else models by name,
        each a cell whose outputs the loss takes, such as `stack(rnn=lstm(64), readout=linear(1))`.
      task: one of `rnnjax.tasks`, such as `Adding(T=50)`; or (key, B) -> (xs [T, B, ...], targets),
        a new batch for each key.
      loss: (ys [T, B, ...], targets) -> the loss, a scalar; None for a task, which has its own.
      steps: of training; by default what the task says, else 1,000.
      batch_size: B; as the task says, else 32.
      learning_rate: as the task says, else 0.001 of Adam, constant.
      clip_norm: the largest global norm of the gradient, 0 for none; as the task says, else 1.
      seed: of the parameters, the batches and the noise; as the task says, else 0.
      errors: whose gradients, as in `gradient_flow`, "last" by default; None for a task, whose are
        seen as in `loss_gradients`.

    Returns:
      `Compared`, by name.

    Raises:
      TypeError: one of the cells is none, the loss is not real, or there is none or one too many.
      ValueError: the task does not offer a cell.
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
    from rnnjax.train.task import Task

    given = {
        "steps": steps, "batch_size": batch_size, "learning_rate": learning_rate,
        "clip_norm": clip_norm, "seed": seed,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    if isinstance(task, Task):
        if loss is not None or errors is not None:
            raise TypeError("a task has its own loss and errors: leave out loss and errors")
        return {name: _on_task(dataclasses.replace(task, cell=name, **given)) for name in cells}
    if loss is None or not isinstance(cells, Mapping):
        raise TypeError(
            "of a function that draws batches, cells must be models by name, and loss a function "
            "(ys, targets) -> scalar: pass both, or a task of rnnjax.tasks"
        )
    for name, cell in cells.items():
        require_cell(f"cells: {name}", cell)
    settings = {**DEFAULTS, **given}
    return {
        name: _on_batches(cell, task, loss, errors or "last", **settings)
        for name, cell in cells.items()
    }


def _on_batches(
    cell: Cell,
    draw: Callable[[Array, int], tuple[PyTree, PyTree]],
    loss: Callable[[PyTree, PyTree], Array],
    errors: Literal["last", "each", "all"],
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    clip_norm: float,
    seed: int,
) -> Compared:
    from rnnjax.train import generated, init_train_state, optimizer

    init_key, run_key, seen_key = jax.random.split(jax.random.key(seed), 3)
    seen = xs, targets = jax.jit(draw, static_argnums=1)(seen_key, ROWS)

    def value(params: Params, carried: Any, batch: Any, key: Any) -> Any:
        state = None if key is None else cell.initial_state(params, (batch_size,), key=key)
        return loss(unroll(cell, params, state, batch[0])[1], batch[1]), (carried, {})

    rule = optimizer("adam", learning_rate, clip_norm)
    return _compared(
        value, init_train_state(cell.init(init_key, step_spec(xs)), rule, run_key), rule,
        generated(draw, batch_size, seed=seed, axes=None), natural("steps", steps), (seen, None),
        lambda p, _: gradient_flow(cell, p, None, xs, lambda ys: loss(ys, targets), errors=errors),
    )  # fmt: skip


def _on_task(task: Task) -> Compared:
    from rnnjax.train.run import begin, seed_key

    task.check()
    data = task.data()
    system, source = task.system(data.facts), task.source(data)
    rule, steps = task.transformation(source), task.total_steps(source)
    *keys, seen_key = jax.random.split(seed_key(task.seed), 3)
    state = begin(system, rule, *keys)
    seen = source.batch(steps)  # the first one that is not trained on
    return _compared(
        system.loss, state, rule, source, steps, (seen, seen_key),
        lambda p, carried: loss_gradients(system.loss, p, carried, seen, seen_key),
    )  # fmt: skip


def _compared(
    loss: Callable[..., Any],
    state: TrainState,
    rule: Any,
    source: Any,
    steps: int,
    seen: tuple[PyTree, Any],
    see: Callable[[Params, PyTree], GradientFlow | LossGradients],
) -> Compared:
    """Trains, and sees the gradients of the batch and key in `seen` on either side."""
    from rnnjax.train import fit, make_train_step

    # A step gives its buffers away.
    params, carried = jax.tree.map(jnp.copy, (state.params, state.carried))
    state = fit(make_train_step(loss, rule), state, source, steps=steps)
    both = params, state.params
    before, after = (float(loss(p, carried, *seen)[0]) for p in both)
    return Compared(see(params, carried), see(state.params, carried), (before, after), both)


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
