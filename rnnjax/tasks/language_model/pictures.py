"""The picture of a language model."""

from __future__ import annotations

import math
import pathlib

import numpy as np

from rnnjax.train.plot import figure_type, tidy


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
    tidy(axes)
    figure.savefig(file, dpi=120)
