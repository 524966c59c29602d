"""Tagged text as a picture: each tag a colour, each mistake a box."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnjax.tasks.tag.sentence import Sentence
from rnnjax.train.plot import figure_type, tidy

ROWS, COLUMNS = 26, 94
LETTER = 0.66 * 14 * 72 / COLUMNS / 0.602  # in points: a letter is 0.602 of its size wide
PALETTE = (
    *("black", "tab:cyan", "tab:blue", "tab:red", "tab:brown", "tab:orange", "tab:purple"),
    *("magenta", "tab:olive", "tab:green", "tab:gray", "tab:pink", "navy", "teal", "darkgoldenrod"),
)


def plot_tags(
    sentences: Sequence[Sentence],
    found: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    tags: Sequence[str],
    file: pathlib.Path,
) -> None:
    """Draws a stretch of the text as it was tagged, and how many of each tag are wrong.

    Args:
      sentences: what was tagged.
      found: the ids of the model's tags, arrays [T_n].
      targets: those that are right.
      tags: the tags by their ids.
      file: where to write the PNG.
    """
    colours = [PALETTE[n % len(PALETTE)] for n in range(len(tags))]
    figure = figure_type()(figsize=(14, 7.5))
    text = figure.add_axes((0.01, 0.02, 0.66, 0.92))
    bars = figure.add_axes((0.8, 0.07, 0.17, 0.87))
    text.set(xlim=(0, COLUMNS), ylim=(ROWS, -0.5))
    text.axis("off")
    title = "where most is wrong: colours are the answers, boxes the mistakes, red is what is right"
    text.set_title(title, loc="left", fontsize=10)
    first = _stretch([int((a != b).sum()) for a, b in zip(found, targets, strict=True)])
    for row, n in enumerate(range(first, min(first + ROWS, len(sentences)))):
        _draw_line(text, row, sentences[n], found[n], targets[n], tags, colours)

    guessed, right = np.concatenate(list(found)), np.concatenate(list(targets))
    counts = np.bincount(right, minlength=len(tags))
    shown = [n for n in np.argsort(-counts, kind="stable")[:20] if counts[n]]
    wrong = [100 * float((guessed[right == n] != n).mean()) for n in shown]
    places = np.arange(len(shown))
    bars.barh(places, wrong, color=[colours[n] for n in shown])
    bars.set_yticks(places, [f"{tags[n]} ({counts[n]:,})" for n in shown])
    for tick, n in zip(bars.get_yticklabels(), shown, strict=True):
        tick.set_color(colours[n])
    for place, share in zip(places, wrong, strict=True):
        bars.annotate(f" {share:.2g}", (share, place), va="center", fontsize=8)
    bars.invert_yaxis()
    bars.set_xlabel("% wrong of each tag")
    tidy(bars)
    bars.grid(visible=False, axis="y")
    figure.savefig(file, dpi=120)


def _stretch(wrong: list[int]) -> int:
    """Where to begin: the first stretch with the most mistakes."""
    sums = np.convolve(wrong, np.ones(min(ROWS, len(wrong))), "valid")
    return int(sums.argmax())


def _draw_line(
    axes: Any,
    row: int,
    sentence: Sentence,
    found: np.ndarray,
    targets: np.ndarray,
    tags: Sequence[str],
    colours: Sequence[str],
) -> None:
    column = 0
    for token, blanks, guess, right in zip(
        sentence.tokens, sentence.blanks, found, targets, strict=True
    ):
        token = " ".join(token.split()).replace("$", r"\$")
        column += blanks
        if column + len(token) > COLUMNS:
            token = token[: max(0, COLUMNS - column - 1)] + "…"
        box = {"boxstyle": "square,pad=0.05", "fill": False, "edgecolor": "red"}
        axes.text(
            column,
            row,
            token,
            family="monospace",
            fontsize=LETTER,
            color=colours[guess],
            va="center",
            bbox=None if guess == right else box,
        )
        if guess != right:
            axes.text(column, row - 0.5, tags[right], fontsize=6, color="red", va="center")
        column += len(token)
        if column >= COLUMNS:
            break
