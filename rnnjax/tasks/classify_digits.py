"""A task: tell a handwritten digit that is read row by row, or pixel by pixel."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax._factory import natural, non_negative
from rnnjax.tasks._classify import (
    Classification,
    Labelled,
    coded,
    held_out,
    logistic_regression,
    majority,
    wrong,
)
from rnnjax.tasks._images import DIGIT as SIDE
from rnnjax.tasks._images import digits, nearest
from rnnjax.train.task import Data, Facts

Array = jax.Array
DEEPEST = 16
CLASSES = [str(digit) for digit in range(10)]


@dataclasses.dataclass(frozen=True)
class ClassifyDigits(Classification):
    """Tell handwritten digits of 8 x 8 pixels, read as sequences.

    Attributes:
      order: Eight rows of eight pixels; 64 pixels, one a step, row by row; or these in an order
        that is drawn once, so that neighbours are far apart.
      shift: Pixels by which a digit is moved in training, at most and in each direction.
      noise: Standard deviation of what is added to the pixels, of 0 to 1, in training.

    Reference:
      Le, Jaitly & Hinton, A Simple Way to Initialize Recurrent Networks of Rectified Linear Units,
      2015, arXiv:1504.00941, for MNIST pixel by pixel, of which this is the small cousin. The
      digits: Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """

    name: ClassVar[str] = "classify-digits"
    about: ClassVar[str] = "tell a handwritten digit that is read row by row, or pixel by pixel"
    data_about: ClassVar[str] = "real; scikit-learn's 1,797 digits of 8 x 8 pixels"
    thing: ClassVar[tuple[str, str]] = ("digit", "digits")

    order: Literal["rows", "pixels", "permuted"] = "pixels"
    shift: int = 1
    noise: float = 0.05
    dropout: float = 0.2
    label_smoothing: float = 0.05
    members: int = 3
    steps: int = 2500
    batch_size: int = 64
    learning_rate: float = 4e-3
    evaluate_every: int = 250

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> ClassifyDigits:
        """Settings of a few seconds."""
        return cls(
            order="rows", cell="gru", hidden_size=4, bidirectional=False, readout="attention",
            members=1, batch_size=8, steps=6, evaluate_every=3,
        )  # fmt: skip

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do, before data are read."""
        super().check()
        natural("shift", self.shift)
        non_negative("noise", self.noise)

    def data(self) -> Data:
        """Of every class a quarter tests, and a tenth of the others validates."""
        images, labels = digits()
        whole = self._labelled(DEEPEST * images.reshape(len(images), -1), labels)
        stay, out = held_out(whole.labels, 0.25)
        train, test = whole.some(stay), whole.some(out)
        stay, out = held_out(train.labels, 0.1)
        return Data(train.some(stay), train.some(out), test, {"classes": CLASSES})

    def _labelled(self, pixels: np.ndarray, labels: np.ndarray) -> Labelled:
        """Pixels [N, 64] in 0 .. 16 as sequences of numbers in [0, 1]."""
        xs = (pixels / DEEPEST).astype(np.float32)
        xs = xs.reshape(len(xs), SIDE, SIDE) if self.order == "rows" else xs[:, self._order(), None]
        return Labelled(list(xs), labels)

    def _order(self) -> np.ndarray:
        """The pixel of each step."""
        pixels = np.arange(SIDE * SIDE)
        return np.random.default_rng(0).permutation(pixels) if self.order == "permuted" else pixels

    def _pixels(self, part: Labelled) -> np.ndarray:
        """The pixels that sequences are of, [N, 64] in [0, 1]."""
        flat = np.array(part.xs).reshape(len(part.xs), -1)
        return flat if self.order == "rows" else flat[:, np.argsort(self._order())]

    def read(self, path: pathlib.Path, facts: Facts) -> Labelled:
        """A .csv file as UCI has it: 64 numbers in 0 .. 16 a line, and which digit they are."""
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} cannot be read: {error}") from None
        rows = [(n, line.split(",")) for n, line in enumerate(lines, 1) if line.strip()]
        if not rows:
            raise ValueError(f"{path} has no digits in it")
        for n, row in rows:
            if len(row) != SIDE * SIDE + 1:
                raise ValueError(
                    f"{path}, line {n} has {len(row)} numbers, expected 64 pixels, row by row, and "
                    "which digit it is"
                )
        pixels = np.array([pixels_of(row[:-1], f"{path}, line {n}") for n, row in rows])
        return self._labelled(pixels, coded([row[-1].strip() for _, row in rows], CLASSES, path))

    def front(self, facts: Facts) -> tuple[list[rnnjax.Cell], Any]:
        """Nothing before the recurrent layers, which read a row or a pixel."""
        return [], jax.ShapeDtypeStruct((SIDE if self.order == "rows" else 1,), jnp.float32)

    def prepared(self, facts: Facts, xs: Array, key: Array | None) -> Array:
        """The pixels; moved and with noise where there is a key."""
        if key is None:
            return xs
        keys = jax.random.split(key)
        return self._moved(xs, keys[0]) + self.noise * jax.random.normal(
            keys[1], xs.shape, xs.dtype
        )

    def _moved(self, xs: Array, key: Array) -> Array:
        """Digits [T, B, F], each a little to some side, with paper where nothing comes."""
        size, edge = xs.shape[1], (self.shift, self.shift)
        order = jnp.arange(SIDE * SIDE) if self.order == "rows" else jnp.asarray(self._order())
        flat = xs.swapaxes(0, 1).reshape(size, -1)[:, jnp.argsort(order)]
        wide = jnp.pad(flat.reshape(size, SIDE, SIDE), ((0, 0), edge, edge))
        places = jax.random.randint(key, (size, 2), 0, 2 * self.shift + 1)
        moved = jax.vmap(lambda one, at: jax.lax.dynamic_slice(one, at, (SIDE, SIDE)))(wide, places)
        flat = moved.reshape(size, -1)[:, order]
        return flat.reshape(size, *xs.shape[::2]).swapaxes(0, 1)

    def baselines(self, data: Data) -> dict[str, float]:
        """The largest class; logistic regression and the nearest neighbour of the 64 pixels."""
        parts = (data.train, data.validation, data.test)
        pixels = [self._pixels(part) for part in parts]
        known = np.concatenate(pixels[:2])
        labels = np.concatenate([data.train.labels, data.validation.labels])
        found = labels[nearest(pixels[2], known)]
        return {
            "the largest class": majority(data.train, data.test),
            "logistic regression of the 64 pixels": logistic_regression(pixels, parts),
            "1 nearest neighbour of the 64 pixels": wrong(found, data.test.labels),
        }

    def example(self, data: Data) -> str:
        """The pixels of the first test digit."""
        return " ".join(f"{DEEPEST * x:.0f}" for x in self._pixels(data.test.some([0]))[0])

    def asked(self, request: str, facts: Facts) -> Labelled:
        """64 pixels, row by row."""
        pixels = pixels_of(request.replace(",", " ").split(), "a request")
        return self._labelled(pixels[None], np.zeros(1, np.int32))

    def sketch(self, axes: Any, part: Labelled, row: int) -> None:
        """The picture that the digit is."""
        picture = self._pixels(part.some([row])).reshape(SIDE, SIDE)
        axes.imshow(picture, cmap="gray_r", vmin=0, vmax=1)
        axes.set_axis_off()


def pixels_of(words: list[str], where: str) -> np.ndarray:
    """64 pixels; ValueError where they are not."""
    try:
        pixels = np.array([float(word) for word in words])
    except ValueError:
        pixels = np.array([])
    if len(pixels) != SIDE * SIDE or not ((pixels >= 0) & (pixels <= DEEPEST)).all():
        raise ValueError(
            f"{where} must be 64 numbers from 0 (paper) to {DEEPEST} (ink), row by row; got "
            f"{len(words)} words"
        )
    return pixels
