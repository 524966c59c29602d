"""The picture of a run, and what pictures have alike."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np


def figure_type() -> Any:
    """matplotlib's Figure, without global state or a display.

    Called by itself before what takes long, whose result is to be drawn.

    Raises:
      ImportError: matplotlib cannot be imported; says what to install.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        install = 'pip install "rnnjax[train]"'
        raise ImportError(f"pictures need matplotlib: {error}: {install}") from error
    return Figure


def plot_training(
    records: list[dict[str, Any]], file: pathlib.Path, *, metric: str, clip_norm: float = 0.0
) -> None:
    """Draws what training brought down, and the gradient norm, over steps.

    Args:
      records: what the loop recorded: one dict a step, and one an evaluation.
      file: where to write the PNG.
      metric: the figure of the evaluations to draw; and of the steps, where they have it. Their
        loss is then left out, else it is drawn by itself.
      clip_norm: the clipping threshold, drawn as a line; 0 for none.
    """
    steps = [r for r in records if "loss" in r]
    evaluations = [r for r in records if metric in r.get("evaluation", ())]
    t = np.array([r["step"] for r in steps])
    found = [r["evaluation"][metric] for r in evaluations]
    norms = np.array([r["grad_norm"] for r in steps], float)
    one = all(metric in r.get("metrics", ()) for r in steps)  # steps and evaluations in one unit

    figure = figure_type()(figsize=(9, 6.5 if one else 8.5), layout="constrained")
    *above, gradient = figure.subplots(2 if one else 3, 1, sharex=True)
    values = np.array([r["metrics"][metric] if one else r["loss"] for r in steps], float)
    above[0].plot(t, values, color="tab:blue", alpha=0.25, linewidth=0.8, label="each step")
    above[0].plot(t, _smooth(values), color="tab:blue", label="training, smoothed")
    above[-1].plot(
        [r["step"] for r in evaluations],
        np.array(found, float),
        "o-",
        color="tab:orange",
        label="validation",
    )
    for axes, shown, name in zip(
        above,
        [values] if one else [values, found],
        [metric] if one else ["loss", metric],
        strict=True,
    ):
        _scale(axes, np.asarray(shown, float), [*values, *found] if one else shown)
        axes.set_ylabel(name)
        axes.legend()

    gradient.semilogy(t, norms, color="tab:gray", alpha=0.4, linewidth=0.8, label="each step")
    gradient.semilogy(t, _smooth(norms), color="black", label="smoothed")
    if clip_norm:
        share = np.mean([r["clipped"] for r in steps])
        gradient.axhline(
            clip_norm, color="tab:red", linestyle="--", label=f"clip at {clip_norm:g} ({share:.0%})"
        )
    gradient.set_ylabel("gradient norm before clipping")
    gradient.set_xlabel("step")
    gradient.legend()
    for axes in (*above, gradient):
        tidy(axes)
    figure.savefig(file, dpi=120)


def _scale(axes: Any, values: np.ndarray, shown: Any) -> None:
    """The scale of an axis: logarithmic where much is gained, and without the rare peaks."""
    finite = values[np.isfinite(values)]
    if finite.size and 0 < 30 * _smooth(finite).min() < _smooth(finite).max():
        if min(shown) > 0:
            axes.set_yscale("log")
        else:  # a figure of nothing wrong is to be seen
            axes.set_yscale("symlog", linthresh=_smooth(finite).min())
            axes.set_ylim(0, None)
    elif finite.size:
        low, high = finite.min(), np.quantile(finite, 0.995)
        axes.set_ylim(low - 0.05 * (high - low or 1), high + 0.05 * (high - low or 1))


def plot_confusion(axes: Any, counts: np.ndarray, classes: Sequence[str]) -> None:
    """Draws which class is taken for which: what is right in blue, what is wrong in red.

    The deeper, the larger a share of the class it is.

    Args:
      axes: matplotlib's axes to draw on.
      counts: how often a sequence of each class (row) is taken for each (column), [C, C].
      classes: their names.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    right = np.eye(len(counts), dtype=bool)
    for place, colours, most in ((right, "Blues", 1.0), (~right, "Reds", 0.5)):
        shown = np.ma.masked_array(shares, ~place | (counts == 0))
        axes.imshow(shown, cmap=colours, vmin=0, vmax=most)
    size = min(9, 130 / (len(counts) * max(2, len(str(counts.max())))))
    for row, column in zip(*np.nonzero(counts), strict=True):
        deep = shares[row, column] > (0.6 if row == column else 0.3)
        axes.text(
            column, row, counts[row, column], ha="center", va="center", fontsize=size,
            color="white" if deep else "black",
        )  # fmt: skip
    turned = max(map(len, classes)) * len(classes) > 40
    axes.set_xticks(range(len(counts)), classes, rotation=45 if turned else 0,
                    ha="right" if turned else "center")  # fmt: skip
    axes.set_yticks(range(len(counts)), classes)
    axes.tick_params(length=0, labelsize=size)
    axes.set_xlabel("taken for")
    axes.set_ylabel("is")
    axes.spines[:].set_visible(False)


def tidy(axes: Any) -> None:
    """A light grid, and no box around it."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Running mean over 2 % of the steps, with shorter windows at the ends."""
    width = max(1, len(values) // 50)
    weights = np.ones(width)
    return np.convolve(values, weights, "same") / np.convolve(np.ones(len(values)), weights, "same")
