"""The picture of speech: what was heard, and which letters came of it."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from rnnjax.tasks._writing.pairs import Symbols
from rnnjax.tasks.speech.features import HOP, edges
from rnnjax.train.plot import figure_type, tidy

SHOWN, TICKS = 2, (0.25, 0.5, 1, 2, 3, 4, 6, 8)


def plot_speech(
    task: Any,
    part: Any,
    texts: list[str],
    scores: list[np.ndarray],
    facts: Any,
    file: pathlib.Path,
) -> None:
    """Draws log energies over time above the probabilities of letters.

    Args:
      task: the task, for its rate and bands.
      part: N utterances.
      texts: what was recognised of each.
      scores: log p of each symbol at each step, N arrays [T_n, V].
      facts: of the data.
      file: where to write the PNG.
    """
    # One of usual length that is right, and one that is mistaken, if there is one.
    lengths = np.array([len(x) for x in part.log_mels])
    order = np.argsort(np.abs(lengths - np.median(lengths)), kind="stable")
    wrong = [n for n in order if texts[n] != part.texts[n]]
    fine = [n for n in order if texts[n] == part.texts[n]]
    chosen = [*fine[:1], *wrong, *fine[1:]][:SHOWN]

    figure = figure_type()(figsize=(7.5 * len(chosen), 6.5), layout="constrained")
    grid = figure.subplots(2, len(chosen), squeeze=False, sharex="col", height_ratios=[1, 1.2])
    for (above, below), n in zip(grid.T, chosen, strict=True):
        log_mels = part.log_mels[n]
        seconds = np.arange(len(log_mels) + 1) * HOP
        bands = np.arange(log_mels.shape[1] + 1)
        image = above.pcolormesh(seconds, bands, log_mels.T, cmap="gray_r", rasterized=True)
        figure.colorbar(image, ax=above, label="log energy", pad=0.01)
        middles = edges(task.bands, task.sample_rate)[1:-1]
        kilohertz = [f for f in TICKS if middles[0] <= 1000 * f <= middles[-1]]
        places = np.interp([1000 * f for f in kilohertz], middles, np.arange(task.bands) + 0.5)
        above.set_yticks(places, [f"{f:g}" for f in kilohertz])
        above.set_ylabel("frequency, kHz")
        right = "" if texts[n] == part.texts[n] else f"\nsaid: {part.texts[n]}"
        above.set_title(f"recognised: {texts[n]}{right}", fontsize=10)
        _plot_letters(below, np.exp(scores[n]), Symbols(**facts["letters"]), len(log_mels) * HOP)
    figure.savefig(file, dpi=120)


def _plot_letters(axes: Any, shares: np.ndarray, letters: Symbols, seconds: float) -> None:
    """Draws the probability of every symbol, and names those of the best path."""
    step = seconds / len(shares)
    middle = (np.arange(len(shares)) + 0.5) * step
    axes.plot(middle, shares[:, 0], color="0.6", linestyle=":", label="blank")
    path = shares.argmax(axis=1)
    for symbol in range(1, shares.shape[1]):
        if shares[:, symbol].max() > 0.02:
            axes.plot(middle, shares[:, symbol], color="black", linewidth=0.9)
    # A letter's name stands where the run of it in the path is surest.
    for run in np.split(np.arange(len(path)), np.flatnonzero(np.diff(path)) + 1):
        symbol = path[run[0]]
        if symbol:
            at = run[shares[run, symbol].argmax()]
            (name,) = letters.tokens([symbol])
            axes.annotate(
                "␣" if name == " " else name, (middle[at], shares[at, symbol]), (0, 3),
                textcoords="offset points", ha="center", fontsize=9,
            )  # fmt: skip
    axes.plot([], [], color="black", linewidth=0.9, label="letters, named where they are written")
    axes.set_ylim(0, 1.12)
    axes.set_xlim(0, seconds)
    axes.set_xlabel("time, s")
    axes.set_ylabel("probability")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False)
    tidy(axes)
