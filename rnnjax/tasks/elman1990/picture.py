"""The paper's figures: errors along a stream, and how words are grouped."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnnjax.tasks.elman1990.studies import FEATURES, IN_PLACE_OF, NOVEL
from rnnjax.train.files import needed
from rnnjax.train.plot import figure_type, tidy

# The network first; the others so that they are told apart without colours.
STYLES: tuple[dict[str, Any], ...] = (
    {"color": "tab:blue", "marker": "o", "markersize": 4, "zorder": 3},
    {"color": "tab:orange", "linestyle": "--", "linewidth": 1},
    {"color": "black", "linestyle": ":", "linewidth": 1.5},
)
Misses = Mapping[str, np.ndarray]


def draw_xor(
    misses: Misses, symbols: Sequence[str], places: np.ndarray, file: pathlib.Path
) -> None:
    """The error at 12 bits in a row, as figure 3.

    Args:
      misses: squares of what each line misses by, [N, D], the network's first.
      symbols: what came, [N].
      places: its place in its unit, [N].
      file: where to write the PNG.
    """
    figure = figure_type()(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    first = int(np.argmax(places == 0))
    turns = max(1, (len(places) - first) // 12)
    for (name, missed), style in zip(misses.items(), STYLES, strict=True):
        errors = missed.sum(axis=1)[first : first + 12 * turns]
        errors = errors.reshape(turns, -1).mean(axis=0)
        axes.plot(np.arange(1, len(errors) + 1), errors, label=name, **style)
    axes.set_ylim(0, None)
    axes.set_xticks(range(1, 13), ["1st", "2nd", "XOR"] * 4)
    axes.set_xlabel("the bit that is predicted")
    axes.set_ylabel(f"squared error, mean of {turns:,}")
    tidy(axes)
    _name(figure, axes)
    figure.savefig(file, dpi=120)


def draw_letters(
    misses: Misses, symbols: Sequence[str], places: np.ndarray, file: pathlib.Path
) -> None:
    """The error along some letters: of all six bits and of two of them, as figures 4 and 5."""
    figure = figure_type()(figsize=(10, 8), layout="constrained")
    rows = figure.subplots(3, 1, sharex=True)
    shown = slice(0, 30)
    for axes, bit in zip(rows, (None, "consonant", "high"), strict=True):
        bits = slice(None) if bit is None else [FEATURES.index(bit)]
        _along(
            axes, {n: m[shown, bits].sum(axis=1) for n, m in misses.items()}, symbols[shown],
            places[shown],
        )  # fmt: skip
        axes.set_title("all six bits" if bit is None else f"the bit `{bit}`", fontsize=10)
    _name(figure, rows[0])
    rows[-1].set_xlabel("the letter that is predicted; consonants in bold")
    figure.savefig(file, dpi=120)


def draw_words(
    misses: Misses, symbols: Sequence[str], places: np.ndarray, file: pathlib.Path
) -> None:
    """The error along some letters, as figure 6, and by the letter's place in its word."""
    figure = figure_type()(figsize=(13, 7), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(3, 2))
    shown = slice(0, 64)
    errors = {name: missed.sum(axis=1) for name, missed in misses.items()}
    _along(above, {n: e[shown] for n, e in errors.items()}, symbols[shown], places[shown])
    above.set_xlabel("the letter that is predicted; the first ones of words in bold")
    _name(figure, above)
    for (name, error), style in zip(errors.items(), STYLES, strict=True):
        at = np.unique(places)
        below.plot(at + 1, [error[places == place].mean() for place in at], label=name, **style)
    below.set_ylim(0, None)
    below.set_xlabel("the letter's place in its word")
    below.set_ylabel("squared error, mean")
    tidy(below)
    figure.savefig(file, dpi=120)


def _along(axes: Any, errors: Misses, symbols: Sequence[str], places: np.ndarray) -> None:
    """Errors along a stream; what begins a unit is in bold, with a line above it."""
    at = np.arange(len(symbols))
    for (name, error), style in zip(errors.items(), STYLES, strict=True):
        axes.plot(at, error, label=name, **style)
    axes.set_ylim(0, None)
    axes.set_xticks(at, symbols)
    axes.set_ylabel("squared error")
    axes.tick_params(labelbottom=True)
    tidy(axes)
    axes.grid(visible=False, axis="x")
    for label, place in zip(axes.get_xticklabels(), places, strict=True):
        label.set_fontweight("bold" if place == 0 else "normal")
    for start in at[places == 0]:
        axes.axvline(start, color="tab:gray", linewidth=0.6, alpha=0.6, zorder=0)


def _name(figure: Any, axes: Any) -> None:
    """The names of the lines, above all of them."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(STYLES))


PICTURES = {"xor": draw_xor, "letters": draw_letters, "words": draw_words}


def draw_words_tree(
    means: Mapping[str, np.ndarray], outputs: np.ndarray, likely: np.ndarray, file: pathlib.Path
) -> None:
    """Which words are alike, as figures 7 and 8, and outputs against the likelihoods.

    Args:
      means: what the cell says on average when it reads each word, [H].
      outputs: what it expects at each step, [N, D].
      likely: the likelihoods, [N, D].
      file: where to write the PNG.
    """
    figure = figure_type()(figsize=(13, 7.5), layout="constrained")
    tree, below = figure.subplots(1, 2, width_ratios=(5, 4))
    if len(means) > 1:
        hierarchy = needed("scipy.cluster.hierarchy")
        links = hierarchy.linkage(np.stack([*means.values()]), method="average")
        hierarchy.dendrogram(
            links, labels=[*means], orientation="left", ax=tree, leaf_font_size=11,
            color_threshold=0, above_threshold_color="black",
        )  # fmt: skip
        for label in tree.get_yticklabels():
            label.set_fontweight("bold" if label.get_text() == NOVEL else "normal")
    title = "which words the hidden units take for alike"
    if NOVEL in means:
        title += f"\n`{NOVEL}`, never read in training, stands where `{IN_PLACE_OF}` stood"
    tree.set_title(title, fontsize=10)
    tree.set_xlabel("distance between means of hidden units, of clusters on average")
    tree.spines[["top", "right", "left"]].set_visible(False)
    counts = below.hexbin(
        likely.ravel(), outputs.ravel(), gridsize=50, bins="log", cmap="Greys", mincnt=1,
        extent=(0, 1, 0, 1),
    )  # fmt: skip
    below.plot([0, 1], [0, 1], color="tab:red", linewidth=0.8)
    figure.colorbar(counts, ax=below, label="how many steps and words")
    below.set_xlabel("likelihood of a word, given those of the sentence before it")
    below.set_ylabel("what the network says of it")
    below.set_title("each word at each step of the test stream", fontsize=10)
    tidy(below)
    figure.savefig(file, dpi=120)
