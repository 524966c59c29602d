"""The picture of a task that writes."""

from __future__ import annotations

import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from rnnjax.tasks._writing.pairs import Part
from rnnjax.tasks._writing.scores import right
from rnnjax.train.plot import figure_type, tidy

ALIGNED, TOLD, LINE = 3, 8, 70


def plot_writing(
    task: Any,
    model: Any,
    params: Any,
    part: Part,
    written: list[list[str]],
    facts: Any,
    file: pathlib.Path,
) -> None:
    """Draws how many are wrong by length, where the decoder looked, and what it wrote.

    Args:
      task: the task, which says how texts are shown.
      model: its model.
      params: parameters.
      part: what was read, and what is right.
      written: what was written for each.
      facts: of the data.
      file: where to write the PNG.
    """
    fine = right(written, part.answers)
    lengths = np.array([len(source) for source in part.sources])
    looked = model.looked is not None
    figure = figure_type()(figsize=(13, 7.5 if looked else 4), layout="constrained")
    above, *below = figure.subfigures(2, 1, height_ratios=[1, 1.1]) if looked else [figure]
    left, middle = above.subplots(1, 2, width_ratios=[1, 1.6])
    plot_by_length(left, lengths, fine)
    left.set_xlabel(f"symbols read, of {len(lengths):,} {task.thing}")

    middle.set_axis_off()
    rows = np.lexsort((lengths, fine))[:TOLD]  # what is wrong first
    for place, n in enumerate(rows):
        text = f"{_cut(task.shown(part.sources[n]))}  →  {_cut(task.text_of(written[n]))}"
        if not fine[n]:
            blank = "   " if len(text) < LINE else "\n      "
            text += f"{blank}(right: {_cut(task.text_of(part.answers[n][0]))})"
        middle.text(
            0, 1 - (place + 0.5) / TOLD, text.replace("$", r"\$"), fontsize=8, va="center",
            color="black" if fine[n] else "tab:red", transform=middle.transAxes,
        )  # fmt: skip
    middle.set_title(f"{(~fine).sum()} of {len(fine)} wrong: the shortest ones", fontsize=10)
    if looked:
        typical = np.argsort(np.abs(lengths - np.median(lengths)), kind="stable")[:ALIGNED]
        row = below[0].subplots(1, len(typical), squeeze=False)[0]
        for axes, n in zip(row, typical, strict=True):
            plot_alignment(axes, task, model, params, part.sources[n], written[n], facts)
        below[0].suptitle("where it looked (columns) while it wrote (rows)", fontsize=10)
    figure.savefig(file, dpi=120)


def plot_by_length(axes: Any, lengths: np.ndarray, fine: np.ndarray) -> None:
    """Draws the share of wrong answers over what was read, by its length."""
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, 11)).round().astype(int))
    groups = np.searchsorted(edges[:-1], lengths, side="right")
    found = [
        (lengths[groups == g].mean(), 100 * (~fine[groups == g]).mean()) for g in np.unique(groups)
    ]
    axes.plot(*zip(*found, strict=True), marker="o", color="tab:blue")
    axes.set_ylim(0, max(1, axes.get_ylim()[1]))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel("% wrong")
    tidy(axes)


def plot_alignment(
    axes: Any, task: Any, model: Any, params: Any, source: Any, written: list[str], facts: Any
) -> None:
    """Draws which places of what was read each written symbol looked at."""
    (xs,), (targets,) = task.read_ids([source], facts), task.target_ids([written], facts)
    encoded = model.encode(params, jnp.asarray(xs)[:, None], jnp.array([len(xs)]), None)
    told = jnp.concatenate([jnp.zeros(1, jnp.int32), targets[:-1]])[:, None]
    weights = np.asarray(model.looked(params, encoded, told))[:, 0]
    axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    size = min(9, 150 / max(weights.shape))
    turned = max(map(len, source)) > 1
    axes.set_xticks(range(len(source)), source, rotation=60 if turned else 0, fontsize=size,
                    ha="right" if turned else "center")  # fmt: skip
    axes.set_yticks(range(len(targets)), [*written, "end"], fontsize=size)
    axes.tick_params(length=0)


def _cut(text: str, most: int = 60) -> str:
    """The text, or its beginning."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
