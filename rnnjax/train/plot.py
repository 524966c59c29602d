"""The picture of a run."""

from __future__ import annotations

import math
import pathlib
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
    records: list[dict[str, Any]], clip_norm: float, file: pathlib.Path, unit: str = "character"
) -> None:
    """Draws loss and gradient norm over steps.

    Args:
      records: what the loop recorded: one dict a step, and one a validation.
      clip_norm: the clipping threshold, drawn as a line; 0 for none.
      file: where to write the PNG.
      unit: what a symbol is.
    """
    steps = [r for r in records if "loss" in r]
    validations = [r for r in records if "validation_loss" in r]
    t = np.array([r["step"] for r in steps])
    bits = np.array([r["loss"] for r in steps], float) / math.log(2)
    norms = np.array([r["grad_norm"] for r in steps], float)

    figure = figure_type()(figsize=(9, 6.5), layout="constrained")
    loss, gradient = figure.subplots(2, 1, sharex=True)
    loss.plot(t, bits, color="tab:blue", alpha=0.25, linewidth=0.8, label="each step")
    loss.plot(t, _smooth(bits), color="tab:blue", label="training, smoothed")
    loss.plot(
        [r["step"] for r in validations],
        np.array([r["validation_loss"] for r in validations], float) / math.log(2),
        "o-",
        color="tab:orange",
        label="validation",
    )
    finite = bits[np.isfinite(bits)]
    if finite.size:
        loss.set_ylim(0.95 * finite.min(), 1.05 * np.quantile(finite, 0.995))
    loss.set_ylabel(f"bits per {unit}")
    loss.legend()

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
    for axes in (loss, gradient):
        _tidy(axes)
    figure.savefig(file, dpi=120)


def plot_positions(
    positions: np.ndarray,
    carried: np.ndarray | None,
    trained: int,
    file: pathlib.Path,
    unit: str = "character",
) -> None:
    """Draws the loss against the position in a window.

    Args:
      positions: mean nats at each position of windows that begin without a memory, [W].
      carried: the same where the state is carried through the text, [W]; None to leave it out.
      trained: T, how many steps the training went back through.
      file: where to write the PNG.
      unit: what a symbol is.
    """
    figure = figure_type()(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    place = np.arange(1, len(positions) + 1)
    axes.plot(place, positions / math.log(2), color="tab:blue", label="from an empty memory")
    if carried is not None:
        axes.plot(place, carried / math.log(2), color="tab:orange", label="with carried memory")
    if trained < len(positions):
        label = f"window of training, {trained}"
        axes.axvline(trained, color="tab:red", linestyle="--", label=label)
    axes.set_xlabel(f"{unit}s read in the window")
    axes.set_ylabel(f"bits per {unit}")
    axes.legend()
    _tidy(axes)
    figure.savefig(file, dpi=120)


def _tidy(axes: Any) -> None:
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Running mean over 2 % of the steps, with shorter windows at the ends."""
    width = max(1, len(values) // 50)
    weights = np.ones(width)
    return np.convolve(values, weights, "same") / np.convolve(np.ones(len(values)), weights, "same")
