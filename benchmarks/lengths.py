"""How far cells go beyond the lengths they were trained on: the tasks that tell cells apart.

    python benchmarks/lengths.py [TASK ...] [--cells NAME,NAME] [--draw]

Every task with its default settings, which are one width, batch, optimizer and number of steps for
all; five seeds of a cell in one program, as `rnnjax sweep` does. Nothing is tuned for any cell.
Results go to results/lengths.json after each, and what is there already is not run again; `--draw`
writes results/lengths.md and lengths.png from it alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.progress import Progress
from timing import heading, machine

from rnnjax.tasks import TASKS
from rnnjax.tasks.controlled._base import Controlled
from rnnjax.train import train_seeds

RESULTS = pathlib.Path(__file__).parent / "results"
SEEDS = 5
CELLS = ("lstm", "gru", "elman")
STYLES = ("-", "--", ":")
Seeds = Sequence[Mapping[str, float | None]]
PROBLEMS: dict[str, Any] = {
    name: kind() for name, kind in TASKS.items() if issubclass(kind, Controlled)
}


def middle(task: Controlled, seeds: Seeds) -> dict[int, tuple[float, float]]:
    """The median and the worst of the seeds, by length; null is not a number, and worst."""
    found = {}
    for n in task.lengths():
        name = f"{task.metric} at {n}"
        values = [np.inf if value is None else value for value in (s[name] for s in seeds)]
        found[n] = (float(np.median(values)), max(values))
    return found


def draw(found: dict[str, Any]) -> None:
    """Writes the tables and the picture."""
    task = Controlled()
    lines = heading("How far cells go beyond the lengths of their training", found["machine"])
    lines += [
        f"Median of {SEEDS} seeds (worst in brackets), {task.hidden_size} units, batches of",
        f"{task.batch_size}, {task.steps} steps of Adam at {task.learning_rate:g} (cosine), the",
        "gradient norm clipped at 1, nothing tuned for any cell; `python benchmarks/lengths.py`.",
        "Lengths of training are up to T, in bold.",
        "",
    ]
    shown = [name for name in PROBLEMS if found["figures"].get(name)]
    columns = 4
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4 * columns, 2.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    for name, axes in zip(shown, panels, strict=False):
        task, cells = PROBLEMS[name], found["figures"][name]
        share = task.metric == "% wrong"
        lengths = [f"**{n}**" if n == task.T else str(n) for n in task.lengths()]
        known = ", ".join(f"{k} {v:.3g}" for k, v in found["baselines"][name].items())
        lines += [f"## {name}", "", f"{task.about}; {task.metric} by length in {task.counted};"]
        lines += [f"at T: {known}.", "", f"| cell | {' | '.join(lengths)} |"]
        lines += [f"| --- | {' | '.join('---:' for _ in lengths)} |"]
        # Thick lines below thin ones, so that those that coincide are seen.
        for n, (cell, seeds) in enumerate(cells.items()):
            values = middle(task, seeds)
            entries = [f"{median:.3g} ({worst:.3g})" for median, worst in values.values()]
            lines.append(f"| `{cell}` | {' | '.join(entries)} |")
            medians = np.array([median for median, _ in values.values()])
            shown_as = {"linestyle": STYLES[n % len(STYLES)], "lw": 4 - 1.2 * (n % 3), "ms": 3}
            heights = 100 - medians if share else medians
            axes.plot(list(values), heights, marker="osv"[n % 3], label=cell, **shown_as)
        lines.append("")
        task.mark_lengths(axes)
        axes.tick_params(labelsize=7)
        axes.set_xlabel(task.counted, fontsize=8)
        axes.set_title(f"{name}, {'% right' if share else task.metric}", fontsize=9)
        if share:
            axes.set_ylim(None, 101)
        else:
            axes.set_yscale("log")
    panels[0].legend(fontsize=7)
    (RESULTS / "lengths.md").write_text("\n".join(lines))
    figure.savefig(RESULTS / "lengths.png", dpi=110)


def main() -> None:
    """Runs what is missing, then draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", choices=[*PROBLEMS, []])
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--draw", action="store_true")
    given = parser.parse_args()
    file = RESULTS / "lengths.json"
    empty = {"figures": {}, "seconds": {}, "baselines": {}}
    found = json.loads(file.read_text()) if file.exists() else empty
    todo = [
        (task, cell)
        for task in given.tasks or PROBLEMS
        for cell in given.cells.split(",")
        if cell not in found["figures"].get(task, {})
    ]
    with Progress() as progress:
        for name, cell in progress.track([] if given.draw else todo, description="training"):
            task = dataclasses.replace(PROBLEMS[name], cell=cell)
            data = task.data()
            trained = train_seeds(task, range(SEEDS), data=data)
            figures = [
                {k: v if np.isfinite(v) else None for k, v in seed.items()}
                for seed in trained.figures
            ]
            found["figures"].setdefault(name, {})[cell] = figures
            found["seconds"].setdefault(name, {})[cell] = round(trained.seconds, 1)
            found["baselines"][name] = task.baselines(data)
            found["machine"] = machine()
            file.write_text(json.dumps(found, indent=1) + "\n")
            longest = middle(task, figures)[task.longest]
            progress.console.print(f"{name}: {cell} {longest} at {task.longest}, "
                                   f"{trained.seconds:.0f} s")  # fmt: skip
    draw(found)


if __name__ == "__main__":
    main()
