"""Attention against none, by length: python docs/make_attention.py RUN RUN.

Both runs are of `translate`, alike but for `--attention`; the second one has none. Writes
docs/results/attention.md and attention.png: how good what they write of the test sentences is, by
how many words were read.
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np
from make_results import RESULTS, command, cpu

from rnnjax.tasks import task_of
from rnnjax.tasks._writing.pairs import Part
from rnnjax.train import load_run
from rnnjax.train.plot import figure_type, tidy

# The lengths that are one group begin at these.
BEGIN = (0, 6, 8, 10, 13, 17, 22, 27)
METRICS = ("100 - BLEU", "% wrong", "% of symbols wrong")


def by_length(folder: pathlib.Path) -> tuple[list[str], list[int], list[dict[str, float]]]:
    """What each group of lengths is called, how many it has, and what is written of it is worth."""
    run = load_run(folder, task_of, best=True)
    part: Part = run.task.data().test
    assert run.system.answers is not None
    written = run.system.answers(run.state.params, part.sources)
    lengths = np.array([len(source) for source in part.sources])
    group = np.searchsorted(BEGIN, lengths, side="right") - 1
    names, counts, figures = [], [], []
    for n in np.unique(group):
        rows = np.flatnonzero(group == n).tolist()
        some = part.some(rows)._replace(kinds=())
        names.append(f"{lengths[rows].min()} to {lengths[rows].max()}")
        counts.append(len(rows))
        figures.append(run.task.figures([written[row] for row in rows], some))
    return names, counts, figures


def draw(names: list[str], both: list[list[dict[str, float]]], file: pathlib.Path) -> None:
    """Two panels: BLEU, and how many sentences are wrong."""
    figure = figure_type()(figsize=(11, 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), METRICS, strict=False):
        for figures, label, color in zip(
            both, ("with attention", "without"), ("tab:blue", "tab:red"), strict=True
        ):
            values = [figure[name] for figure in figures]
            values = [100 - value for value in values] if name == METRICS[0] else values
            axes.plot(names, values, marker="o", color=color, label=label)
        axes.set_xlabel("words and marks read")
        axes.set_ylabel(name.removeprefix("100 - "))
        axes.set_ylim(0, 105)
        axes.tick_params(axis="x", rotation=30)
        tidy(axes)
        axes.legend(frameon=False)
    figure.savefig(file, dpi=120)


def render(runs: list[pathlib.Path], names: list[str], counts: list[int], both: list) -> str:
    """The page."""
    lines = [
        "# Attention against none, by length",
        "",
        f"- machine: {cpu()}",
        *(f"- `{command(run)}`" for run in runs),
        "",
        "Of the thousand generated test sentences of `translate`, half of which have a combination",
        "of words that was never trained on, by how many words and marks were read. Both models",
        "have the same sizes but for what attention adds, the same training sentences and the same",
        "steps; the decoder without attention has the encoder's last state alone.",
        "",
        "| read | sentences | BLEU, with | without | % wrong, with | without |"
        " % of symbols wrong, with | without |",
        "| --- | " + " | ".join(["---:"] * 7) + " |",
    ]
    for n, name in enumerate(names):
        cells = []
        for metric in METRICS:
            values = [figures[n][metric] for figures in both]
            values = [100 - value for value in values] if metric == METRICS[0] else values
            cells += [f"{value:.1f}" for value in values]
        lines.append(f"| {name} | {counts[n]} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "![by length](attention.png)", ""])


if __name__ == "__main__":
    runs = [pathlib.Path(word) for word in sys.argv[1:3]]
    (names, counts, first), (_, _, second) = map(by_length, runs)
    draw(names, [first, second], RESULTS / "attention.png")
    page = render(runs, names, counts, [first, second])
    (RESULTS / "attention.md").write_text(page, encoding="utf-8")
