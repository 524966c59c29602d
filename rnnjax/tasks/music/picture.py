"""The picture of a piece and of what the model makes of its beginning, as piano rolls."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnjax.tasks.music.midi import notes_of
from rnnjax.tasks.music.rolls import LOWEST, pitch_name
from rnnjax.train.plot import figure_type, tidy

# By its place from the top of a chord: voices are told apart without colour.
VOICES: dict[str, dict[str, Any]] = {
    "highest": {"facecolor": "black"},
    "second": {"facecolor": "white"},
    "third": {"facecolor": "white", "hatch": "//////"},
    "fourth and below": {"facecolor": "darkgray"},
}


def plot_rolls(
    rolls: Mapping[str, np.ndarray], begun: int, grid: float, file: pathlib.Path
) -> None:
    """Draws rolls one below the other, over beats.

    Args:
      rolls: [T, 88] each, by their titles.
      begun: how many steps the model was given.
      grid: beats of a step.
      file: where to write the PNG.
    """
    columns = np.flatnonzero(np.concatenate(list(rolls.values())).any(axis=0))
    low, high = (columns[0], columns[-1]) if len(columns) else (39, 51)
    length = max(len(roll) for roll in rolls.values())
    figure = figure_type()(figsize=(12, 3.6 * len(rolls)), layout="constrained")
    panels = figure.subplots(len(rolls), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, roll) in zip(panels, rolls.items(), strict=True):
        rank = roll[:, ::-1].cumsum(axis=1)[:, ::-1]  # 1 for the highest of a chord
        for n, (name, style) in enumerate(VOICES.items(), 1):
            voice = roll * (rank == n if n < len(VOICES) else rank >= n)
            bars = [
                axes.barh(pitch, (end - start) * grid, left=start * grid, height=0.8,
                          edgecolor="black", linewidth=0.6, **style)
                for start, end, pitch in notes_of(voice)
            ]  # fmt: skip
            if bars:
                bars[0].set_label(name)
        axes.axvline(begun * grid, color="tab:red", linestyle="--", linewidth=1)
        named = [n for n in range(low, high + 1) if (LOWEST + n) % 12 in (0, 4, 7)]
        axes.set_yticks(named, [pitch_name(LOWEST + n) for n in named], fontsize=8)
        axes.set_ylim(low - 1, high + 1)
        axes.set_xlim(0, length * grid)
        axes.set_ylabel("pitch")
        axes.set_title(title, loc="left", fontsize=10)
        tidy(axes)
    panels[0].legend(
        title="of a chord's notes", ncols=len(VOICES), fontsize=8, title_fontsize=8,
        loc="lower right", bbox_to_anchor=(1, 1), frameon=False,
    )  # fmt: skip
    panels[-1].set_xlabel("beats; what is left of the dashed line was given to the model")
    figure.savefig(file, dpi=120)
