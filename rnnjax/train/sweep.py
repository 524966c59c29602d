"""Cells beside each other on a task whose data are generated: all seeds of one in one program."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._factory import natural
from rnnjax.train.folder import as_json, new_folder, versions, write
from rnnjax.train.plot import figure_type, tidy
from rnnjax.train.run import begin, seed_key
from rnnjax.train.sources import Generated
from rnnjax.train.step import TrainState, make_train_step
from rnnjax.train.task import Data, GeneratedTask

Array = jax.Array
PyTree = Any
# How many steps are taken between two reports.
PIECE = 100


class Seeds(NamedTuple):
    """What training of several seeds came to.

    Attributes:
      state: of all seeds, stacked: every leaf is [seeds, ...].
      losses: the mean loss of each piece of training, [pieces, seeds].
      figures: all figures on the test data, a seed each.
      seconds: of training, with compilation.
    """

    state: TrainState
    losses: np.ndarray
    figures: list[dict[str, float]]
    seconds: float


def train_seeds(
    task: GeneratedTask,
    seeds: Sequence[int],
    *,
    data: Data | None = None,
    report: Callable[[int, np.ndarray], object] | None = None,
) -> Seeds:
    """Trains a task once a seed, all in one program.

    Each seed has the parameters, batches and noise that `run_task` gives it. On a CPU seeds take
    turns, which is as fast there, and each ends bit for bit where it does alone. Elsewhere they are
    vmapped, and each ends there but for rounding: products of a batch of matrices are summed in
    another order.

    Args:
      task: what to do; its own seed is not heard.
      seeds: of parameters, batches and noise; one run each.
      data: `task.data()`, where it is there already.
      report: called with the number of steps taken and the latest losses, [seeds].

    Returns:
      `Seeds`.

    Raises:
      TypeError, ValueError: the task's data are not generated, its settings will not do, or there
        is no seed.
    """
    if not seeds:
        raise ValueError("seeds must be one or more, got none")
    _check(task)
    data = task.data() if data is None else data
    system = task.system(data.facts)
    sources = [dataclasses.replace(task, seed=seed).source(data) for seed in seeds]
    generated = [source for source in sources if isinstance(source, Generated)]
    if len(generated) < len(seeds):
        raise TypeError(f"the source of {task.name} is none of `generated`, got {sources[0]!r}")
    optimizer = task.transformation(sources[0])
    step = make_train_step(system.loss, optimizer)
    begun = [begin(system, optimizer, *jax.random.split(seed_key(seed))) for seed in seeds]
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *begun)
    keys = jnp.stack([source.key for source in generated])

    at_once = None if jax.default_backend() == "cpu" else len(seeds)

    @jax.jit
    def piece(states: TrainState, first: Array, last: Array) -> tuple[TrainState, Array]:
        def one(seed: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
            state, key = seed

            def body(index: Array, now: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
                batch = task.draw(jax.random.fold_in(key, index), task.batch_size)
                state, metrics = step(now[0], batch)
                return state, now[1] + metrics.loss.astype(now[1].dtype)

            return jax.lax.fori_loop(first, last, body, (state, jnp.zeros(())))

        return jax.lax.map(one, (states, keys), batch_size=at_once)

    start, losses, total = time.perf_counter(), [], task.total_steps(sources[0])
    for first in range(0, total, PIECE):
        last = min(first + PIECE, total)
        states, summed = piece(states, jnp.asarray(first), jnp.asarray(last))
        # XLA would divide two seeds otherwise than one.
        losses.append(np.asarray(summed) / np.float32(last - first))
        if report is not None:
            report(last, losses[-1])
    seconds = time.perf_counter() - start
    figures = [
        system.evaluate(jax.tree.map(lambda leaf, n=n: leaf[n], states.params), data.test)
        for n in range(len(seeds))
    ]
    return Seeds(states, np.stack(losses), figures, seconds)


def _check(task: GeneratedTask) -> None:
    """Raises TypeError or ValueError for a task whose seeds cannot be trained together."""
    if not isinstance(task, GeneratedTask):
        raise TypeError(f"{task.name} has no generated data: seeds that train together need them")
    task.check()
    if task.patience:
        raise ValueError(f"patience must be 0 where seeds train together, got {task.patience}")


class Sweep(NamedTuple):
    """What a comparison of cells came to.

    Attributes:
      folder: where `sweep.json` and `sweep.png` are.
      task: the settings, but for cell and seed.
      figures: all figures on the test data, a list of seeds by cell.
      baselines: the metric of honest baselines.
    """

    folder: pathlib.Path
    task: GeneratedTask
    figures: dict[str, list[dict[str, float]]]
    baselines: dict[str, float]

    def by_length(self, cell: str) -> dict[int, list[float]]:
        """The metric of all seeds of a cell, by length; {} where the task has no lengths."""
        seeds = [self.task.by_length(figures) for figures in self.figures[cell]]
        return {n: [seed[n] for seed in seeds] for n in seeds[0]}

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """The table: its columns, and a row a cell: the median of the seeds, and the worst."""
        metric, first = self.task.metric, next(iter(self.figures))
        lengths = list(self.by_length(first))
        columns = ["", *([f"at {n}" for n in lengths] or [metric])]
        rows = []
        for cell, seeds in self.figures.items():
            found = list(self.by_length(cell).values()) or [[figures[metric] for figures in seeds]]
            rows.append([cell, *(_median_and_worst(values) for values in found)])
        return columns, rows


def _median_and_worst(values: list[float]) -> str:
    ordered = sorted(math.inf if math.isnan(value) else value for value in values)
    return f"{np.median(ordered):.3g} ({ordered[-1]:.3g})"


def sweep(
    task: GeneratedTask,
    cells: Sequence[str],
    seeds: int,
    out: str | pathlib.Path | None = None,
    *,
    report: Callable[[str, int, np.ndarray], object] | None = None,
) -> Sweep:
    """Trains cell after cell on a task, all seeds of each in one program, as `train_seeds` does.

    Every cell has the same settings and sees the same batches; nothing is tuned for any of them.

    Args:
      task: the settings; its own cell and seed are not heard.
      cells: names of cells that the task offers.
      seeds: how many; the seeds are 0, 1, ...
      out: the folder; None for a new one under runs/.
      report: called with the cell, the number of steps taken and the latest losses, [seeds].

    Returns:
      A `Sweep`; its folder holds `sweep.json` and `sweep.png`, both written anew after each cell.

    Raises:
      TypeError, ValueError: as `train_seeds` does, or a cell is not offered, or there is none.
      OSError: the folder cannot be written.
      ImportError: matplotlib is missing; raised before training.
    """
    seeds = natural("seeds", seeds, least=1)
    if not cells or len(set(cells)) < len(cells):
        raise ValueError(f"cells must be one or more, each once, got {', '.join(cells) or 'none'}")
    any_task: Any = task
    tasks = {cell: dataclasses.replace(any_task, cell=cell) for cell in cells}
    for one in tasks.values():
        _check(one)
    figure_type()
    data = task.data()
    found = Sweep(new_folder(out, f"sweep-{task.name}"), task, {}, task.baselines(data))
    more: dict[str, Any] = {"losses": {}, "seconds": {}, "skipped": {}}
    settings = {k: v for k, v in task.as_json().items() if k not in ("cell", "seed")}
    for cell, one in tasks.items():

        def told(step: int, losses: np.ndarray, cell: str = cell) -> None:
            if report is not None:
                report(cell, step, losses)

        trained = train_seeds(one, range(seeds), data=data, report=told)
        found.figures[cell] = trained.figures
        more["losses"][cell] = trained.losses.T.tolist()
        more["seconds"][cell] = round(trained.seconds, 1)
        more["skipped"][cell] = np.asarray(trained.state.skipped).tolist()
        stored = {
            "task": task.name,
            "metric": task.metric,
            "config": settings,
            "versions": versions(),
            "seeds": seeds,
            "baselines": found.baselines,
            "figures": found.figures,
            **more,
        }
        write(found.folder / "sweep.json", as_json(stored, indent=1) + "\n")
        plot_sweep(found, found.folder / "sweep.png")
    return found


def plot_sweep(found: Sweep, file: pathlib.Path) -> None:
    """Draws what the cells came to: against length, or beside each other where there is none.

    The median of the seeds is a line, each seed a point. What is a share of wrong answers is drawn
    as one of right ones.

    Args:
      found: what `sweep` gives.
      file: where to write the PNG.
    """
    share = found.task.metric == "% wrong"
    figure = figure_type()(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    colours = [f"C{n}" for n in range(10)]
    for n, cell in enumerate(found.figures):
        lengths = found.by_length(cell)
        values = lengths or {n: [f[found.task.metric] for f in found.figures[cell]]}
        shown = {place: np.array(v) for place, v in values.items()}
        shown = {place: 100 - v if share else v for place, v in shown.items()}
        for place, points in shown.items():
            axes.plot([place] * len(points), points, ".", color=colours[n % 10], alpha=0.5)
        middles = [float(np.median(points)) for points in shown.values()]
        style = "-o" if n < 10 else "--o"
        axes.plot([*shown], middles, style, color=colours[n % 10], label=cell, markersize=4)
    for (name, value), style in zip(found.baselines.items(), (":", "--", "-."), strict=False):
        height = 100 - value if share else value
        axes.axhline(height, color="black", linestyle=style, linewidth=1, label=name)
    if found.by_length(next(iter(found.figures))):
        found.task.mark_lengths(axes)
    else:
        axes.set_xticks(range(len(found.figures)), list(found.figures), rotation=45)
        tidy(axes)
    axes.set_ylabel("% right" if share else found.task.metric)
    if share:
        axes.set_ylim(min(axes.get_ylim()[0], 95), 101)
    axes.legend(fontsize=8)
    axes.set_title(f"{found.task.name}: {len(next(iter(found.figures.values())))} seeds, medians")
    figure.savefig(file, dpi=120)
