"""Scenes of handwritten digits, and what is to be said of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnjax.tasks._images import DIGIT, DIGITS
from rnnjax.tasks._writing.pairs import TEST, TRAIN, VALIDATION
from rnnjax.train.files import needed

CANVAS, CELL, MOST = 32, 16, 3  # sides of a scene and of a quarter; digits in a scene
PLACES = ("top left", "top right", "bottom left", "bottom right")
LARGER = 1.5  # how much larger a digit is drawn than it is stored
TILT = 0.5  # columns to the right by which a tilted digit leans, for each row upwards
SHIFT = 1  # pixels by which a digit stands beside the middle of its quarter, at most


class Combination(NamedTuple):
    """What is said of one digit.

    Attributes:
      digit: which it is, 0 to 9.
      place: where it stands, one of `PLACES`, by number.
      thick: whether it is thick rather than thin.
      tilted: whether it leans to the right rather than stands upright.
    """

    digit: int
    place: int
    thick: int
    tilted: int

    @property
    def part(self) -> str:
        """The part of the data whose scenes are made of it.

        In every place and style one digit tests and one validates: of 160 combinations 16 each, and
        every digit in some of them.
        """
        at = 4 * self.place + 2 * self.thick + self.tilted
        return {0: TEST, 5: VALIDATION}.get((self.digit - 3 * at) % DIGITS, TRAIN)

    @property
    def words(self) -> list[str]:
        """As a caption has it."""
        style = ["thick" if self.thick else "thin", "and", "tilted" if self.tilted else "upright"]
        return [*PLACES[self.place].split(), "a", str(self.digit), ",", *style]


COMBINATIONS = [
    Combination(*each) for each in itertools.product(range(DIGITS), range(4), (0, 1), (0, 1))
]
WORDS = sorted({word for each in COMBINATIONS for word in each.words} | {";"})
LONGEST = MOST * len(COMBINATIONS[0].words) + MOST - 1


class Glyphs(NamedTuple):
    """Digits as they are drawn.

    Attributes:
      images: [N, variants, 2, 2, 16, 16] in [0, 1]: each thin and thick, upright and tilted.
      labels: which digits they are, [N].
    """

    images: np.ndarray
    labels: np.ndarray


def caption(combinations: Sequence[Combination]) -> list[str]:
    """What is said of a scene: "top left a 4, thin and upright; top right a 2, thick and tilted".

    A place stands before what is there, so that it is known which digit is spoken of.
    """
    return [word for each in combinations for word in (";", *each.words)][1:]


def drawn_digits(
    images: np.ndarray, labels: np.ndarray, variants: int = 1, warp: float = 0.0
) -> Glyphs:
    """Digits in all styles.

    Each is made upright first: its rows are moved until columns do not depend on rows,

        lean = Σ ink r c / Σ ink r²          r, c from the middle of the ink

    so that tilted or not is our doing. Thin is the square of the ink, thick is thin with each pixel
    as dark as the darkest of itself and its four neighbours.

    Args:
      images: [N, 8, 8] in [0, 1].
      labels: [N].
      variants: how many of each; the first one is as it stands.
      warp: how much the others are turned, stretched and slanted, at random.
    """
    ndimage, draw = needed("scipy.ndimage"), np.random.default_rng(0)
    found = np.empty((len(images), variants, 2, 2, CELL, CELL), np.float32)
    r, c = np.mgrid[:DIGIT, :DIGIT]
    for n, image in enumerate(images):
        middle = np.array([(r * image).sum(), (c * image).sum()]) / image.sum()
        rows, columns = r - middle[0], c - middle[1]
        lean = (rows * columns * image).sum() / (np.square(rows) * image).sum()
        for k, tilted in itertools.product(range(variants), (0, 1)):
            if not tilted:
                turned = np.eye(2) + (warp * draw.normal(size=(2, 2)) if k else 0)
            # From a pixel that is drawn to where it comes from.
            back = np.array([[1, 0], [lean + TILT * tilted, 1]]) @ turned / LARGER
            start = middle - back @ np.full(2, (CELL - 1) / 2)
            thin = ndimage.affine_transform(image, back, start, (CELL, CELL), order=1)
            found[n, k, 0, tilted] = np.square(thin / thin.max())
    cross = ndimage.generate_binary_structure(2, 1)[None, None, None]
    found[:, :, 1] = ndimage.grey_dilation(found[:, :, 0], footprint=cross)
    return Glyphs(found, np.asarray(labels))


class Drawer:
    """Draws scenes of digits, in combinations of one part of the data."""

    def __init__(self, glyphs: Glyphs, part: str, noise: float):
        self._images, self._noise = glyphs.images, noise
        self._rows = [np.flatnonzero(glyphs.labels == digit) for digit in range(DIGITS)]
        self._known = [
            [each for each in COMBINATIONS if each.part == part and each.place == place]
            for place in range(len(PLACES))
        ]

    def __call__(self, rng: np.random.Generator, step: Any = None) -> tuple[np.ndarray, list[str]]:
        """A scene [32, 32], and its caption, which goes from the top left to the bottom right."""
        places = np.sort(rng.permutation(len(PLACES))[: rng.integers(1, MOST + 1)])
        chosen = [self._known[p][rng.integers(len(self._known[p]))] for p in places]
        image = self._noise * rng.standard_normal((CANVAS, CANVAS), np.float32)
        for each in chosen:
            row = rng.choice(self._rows[each.digit])
            variant, down, right = rng.integers(
                (0, -SHIFT, -SHIFT), (len(self._images[row]), SHIFT + 1, SHIFT + 1)
            )
            glyph = self._images[row, variant, each.thick, each.tilted]
            top, left = (CELL * at for at in divmod(each.place, 2))
            image[top : top + CELL, left : left + CELL] += shifted(glyph, down, right)
        return image, caption(chosen)


def shifted(images: np.ndarray, down: int, right: int) -> np.ndarray:
    """Images [..., H, W], moved within their frames; what leaves them is lost."""
    height, width = images.shape[-2:]
    none = [(0, 0)] * (images.ndim - 2)
    wide = np.pad(images, [*none, (SHIFT, SHIFT), (SHIFT, SHIFT)])
    return wide[..., SHIFT - down : SHIFT - down + height, SHIFT - right : SHIFT - right + width]
