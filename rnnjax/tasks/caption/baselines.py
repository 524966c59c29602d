"""What can be said of a scene without a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnnjax.tasks._images import nearest
from rnnjax.tasks._writing.pairs import Part, Tokens
from rnnjax.tasks.caption.scenes import (
    CANVAS,
    CELL,
    PLACES,
    SHIFT,
    Combination,
    Glyphs,
    caption,
    shifted,
)


def nearest_scene(train: Part, test: Part) -> Sequence[Tokens]:
    """The caption of the scene whose pixels are nearest."""
    known, xs = (np.stack(part.sources).reshape(-1, CANVAS**2) for part in (train, test))
    return [train.answers[int(n)][0] for n in nearest(xs, known)]


def nearest_digits(glyphs: Glyphs, test: Part) -> Sequence[Tokens]:
    """In each quarter the nearest of all digits in all styles, wherever they may stand, or none.

    It is told what the network has to find out: how scenes are made.
    """
    count = len(glyphs.labels)
    ways = range(-SHIFT, SHIFT + 1)
    # [shifts, N, 2, 2, 16, 16], each as it stands in the data, and nothing in front of them.
    drawn = [shifted(glyphs.images[:, 0], down, right) for down in ways for right in ways]
    known = np.stack(drawn).reshape(-1, CELL**2)
    known = np.concatenate([np.zeros_like(known[:1]), known])
    images = np.stack(test.sources).reshape(-1, 2, CELL, 2, CELL).swapaxes(2, 3)
    found = nearest(images.reshape(-1, CELL**2), known).reshape(-1, len(PLACES))
    captions = []
    for row in found:
        said = []
        for place, n in enumerate(row):
            if n:
                _, which, thick, tilted = np.unravel_index(n - 1, (len(drawn), count, 2, 2))
                digit = int(glyphs.labels[which])
                said.append(Combination(digit, place, int(thick), int(tilted)))
        captions.append(caption(said) if said else [])
    return captions
