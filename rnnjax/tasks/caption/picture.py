"""Images and what was said of them."""

from __future__ import annotations

import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from rnnjax.tasks._writing.pairs import Part, Tokens
from rnnjax.tasks._writing.scores import right
from rnnjax.train.plot import figure_type

ROWS, COLUMNS, WRONG = 3, 6, 6  # what is shown, of it so many wrong at most
LOOKED = 2  # images of which it is shown where it looked


def plot_scenes(
    task: Any,
    model: Any,
    params: Any,
    part: Part,
    written: list[list[str]],
    facts: Any,
    file: pathlib.Path,
) -> None:
    """Draws images with their captions, right in black and wrong in red.

    Args:
      task: the task, which says how texts are shown.
      model: its model.
      params: parameters.
      part: images, and what is right.
      written: what was said of each.
      facts: of the data.
      file: where to write the PNG.
    """
    fine = right(written, part.answers)
    shown = [*np.flatnonzero(~fine)[:WRONG], *np.flatnonzero(fine)][: ROWS * COLUMNS]
    chosen = _telling(part)[:LOOKED] if model.looked else []
    figure = figure_type()(figsize=(13, 2.6 * ROWS + 1.7 * len(chosen)), layout="constrained")
    above, *below = figure.subfigures(
        1 + len(chosen), 1, height_ratios=[2.6 * ROWS, *[1.7] * len(chosen)], squeeze=False
    )[:, 0]
    for axes in above.subplots(ROWS, COLUMNS).flat:
        axes.set_axis_off()
    for axes, n in zip(above.axes, shown, strict=False):
        axes.imshow(part.sources[n], cmap="gray_r", vmin=0, vmax=1)
        text = _lines(task, written[n])
        text += "" if fine[n] else f"\n(is {_lines(task, part.answers[int(n)][0])})"
        axes.set_title(text, fontsize=7.5, color="black" if fine[n] else "tab:red")
    above.suptitle(f"{(~fine).sum()} of {len(fine)} captions are wrong: the first of them, then "
                   "others", fontsize=10)  # fmt: skip
    for sub, n in zip(below, chosen, strict=True):
        _plot_looked(sub, task, model, params, part.sources[n], written[n], facts)
    figure.savefig(file, dpi=120)


def _lines(task: Any, words: Tokens) -> str:
    """A caption with a line for each digit."""
    return task.text_of(words).replace("; ", ";\n")


def _telling(part: Part) -> list[int]:
    """The images of the longest captions, which have most to look at."""
    return sorted(range(len(part.sources)), key=lambda n: -len(part.answers[n][0]))


def _plot_looked(
    figure: Any, task: Any, model: Any, params: Any, image: np.ndarray, words: list[str], facts: Any
) -> None:
    """Draws an image, and over it where the decoder looked when it wrote the telling words."""
    (xs,), (targets,) = task.read_ids([image], facts), task.target_ids([words], facts)
    told = np.concatenate([[0], targets[:-1]])[:, None]
    weights = model.looked(params, model.encode(params, xs[:, None]), jnp.asarray(told))
    grid = np.asarray(weights)[:, 0]
    side = round(grid.shape[1] ** 0.5)
    telling = [n for n, word in enumerate(words) if word not in ("a", "and", ",", ";")]
    for axes, n in zip(
        figure.subplots(1, max(1, len(telling)), squeeze=False)[0], telling, strict=False
    ):
        axes.imshow(image, cmap="gray_r", vmin=0, vmax=1, extent=(0, side, side, 0))
        axes.imshow(
            grid[n].reshape(side, side), cmap="Reds", alpha=0.6, vmin=0, extent=(0, side, side, 0)
        )
        axes.set_axis_off()
        axes.set_title(words[n], fontsize=8)
