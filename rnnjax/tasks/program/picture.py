"""The picture of programs: what is right by length and nesting, and what was written."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnnjax.train.plot import figure_type

Place = tuple[int, int]  # length, nesting


def plot_programs(
    grids: Mapping[str, Mapping[Place, float]],
    told: Sequence[tuple[str, str, str]],
    file: pathlib.Path,
) -> None:
    """Draws per cents by length and nesting as heat maps, and some programs.

    Args:
      grids: by their titles, what share is right, in per cent, of programs of each length and
        nesting.
      told: programs, what was written of each, and what is right.
      file: where to write the PNG.
    """
    figure = figure_type()(figsize=(13, 4.4), layout="constrained")
    *maps, below = figure.subplots(1, len(grids) + 1, width_ratios=[1] * len(grids) + [1.4])
    for axes, (title, grid) in zip(maps, grids.items(), strict=True):
        plot_grid(axes, grid)
        axes.set_title(title, fontsize=10)
    below.set_axis_off()
    for place, (program, written, right) in enumerate(told):
        fine = written == right
        answer = written or "nothing"
        text = f"{program}\n    →  {answer}" + ("" if fine else f"   (right: {right})")
        below.text(
            0, 1 - place / len(told), text, va="top", family="monospace", fontsize=8,
            color="black" if fine else "tab:red", transform=below.transAxes,
        )  # fmt: skip
    below.set_title(
        "the first programs of each nesting, and what it wrote", fontsize=10, loc="left"
    )
    figure.savefig(file, dpi=120)


def plot_grid(axes: Any, grid: Mapping[Place, float]) -> None:
    """Draws per cents by length (columns) and nesting (rows); what there is none of stays empty."""
    lengths, nestings = (sorted({place[axis] for place in grid}) for axis in (0, 1))
    values = np.array([[grid.get((n, m), np.nan) for n in lengths] for m in nestings])
    axes.imshow(values, cmap="Blues", vmin=0, vmax=100, aspect="auto", origin="lower")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            axes.text(
                column, row, f"{value:.0f}", ha="center", va="center",
                color="white" if value > 55 else "black",
            )  # fmt: skip
    axes.set_xticks(range(len(lengths)), lengths)
    axes.set_yticks(range(len(nestings)), nestings)
    axes.set_xlabel("digits of the longest number")
    axes.set_ylabel("operations")
    axes.tick_params(length=0)
