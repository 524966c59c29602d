"""The task: settings, data, encoder, baselines, requests."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax._factory import natural, non_negative, real
from rnnjax.tasks._images import convolution, digits, mapped, patches, split
from rnnjax.tasks._writing.baselines import most_frequent
from rnnjax.tasks._writing.model import Encoded, Encoder
from rnnjax.tasks._writing.pairs import TEST, TRAIN, VALIDATION, Drawn, Part, Symbols, read_pairs
from rnnjax.tasks._writing.task import HELD_OUT, Writing
from rnnjax.tasks.caption.baselines import nearest_digits, nearest_scene
from rnnjax.tasks.caption.images import read_image
from rnnjax.tasks.caption.picture import plot_scenes
from rnnjax.tasks.caption.scenes import (
    CANVAS,
    LONGEST,
    WORDS,
    Drawer,
    drawn_digits,
)
from rnnjax.train.task import HELD_OUT_SEED, Data, Facts, System

Array = jax.Array
GRID = CANVAS // 4  # places of the feature map, on each side
CAPTIONS = "captions.tsv"
DRAWN = 3000  # scenes that baselines know


@dataclasses.dataclass(frozen=True)
class Caption(Writing):
    """Say which digits are in an image, where, and in which style.

    Attributes:
      attention: none: the decoder reads the image's vector once, before it writes (Show and Tell);
        else how it compares itself with the places of the image, at which it looks while it writes
        (Show, Attend and Tell).
      filters: Features of the first convolution; the others have twice as many.
      vector_size: Length of the image's vector.
      image_dropout: Rate at which features that the vector is made of are left out.
      noise: Standard deviation of what is added to each pixel; ink is 1, paper 0.
      variants: In how many ways each digit of training is drawn.
      warp: How much they are turned, stretched and slanted, at random.
    """

    name: ClassVar[str] = "caption"
    about: ClassVar[str] = "say which digits are in an image, where, thick or thin, tilted or not"
    data_about: ClassVar[str] = "real digits, of scikit-learn; scenes and captions are generated"
    thing: ClassVar[str] = "images"
    sentences: ClassVar[bool] = True
    # An image is not read from one end to the other.
    bidirectional: ClassVar[bool] = False
    reverse_source: ClassVar[bool] = False

    attention: Literal["none", "additive", "general", "concat", "scaled-dot"] = "general"
    cell: Literal["elman", "lstm", "gru"] = "lstm"
    filters: int = 32
    vector_size: int = 256
    image_dropout: float = 0.2
    noise: float = 0.05
    variants: int = 16
    warp: float = 0.1
    embedding_size: int = 128
    dropout: float = 0.1
    beam: int = 3
    steps: int = 6000
    batch_size: int = 64
    evaluate_every: int = 500

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> Caption:
        """Settings of a few seconds."""
        return cls(
            attention="general", filters=2, vector_size=3, hidden_size=4, embedding_size=3,
            variants=1, beam=2, batch_size=4, steps=6, evaluate_every=3,
        )  # fmt: skip

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do, before data are read."""
        super().check()
        for name in ("filters", "vector_size", "variants"):
            natural(name, getattr(self, name), least=1)
        real("image_dropout", self.image_dropout, "a number in [0, 1)", lambda x: 0 <= x < 1)
        for name in ("noise", "warp"):
            non_negative(name, getattr(self, name))

    # --- data -------------------------------------------------------------------------------------

    def data(self) -> Data:
        """Digits to train on, and scenes of others, in combinations of their own."""
        images, labels = digits()
        rows = split(len(images))[0]
        train = drawn_digits(images[rows], labels[rows], self.variants, self.warp)
        facts = {"written": Symbols(WORDS)._asdict(), "longest": LONGEST}
        validation, test = (held_out(part, self.noise) for part in (VALIDATION, TEST))
        return Data(train, validation, test, facts)

    def source(self, data: Data) -> Drawn:
        """New scenes every step."""
        drawer = Drawer(data.train, TRAIN, self.noise)
        return self.endless(drawer, (1, LONGEST), data.facts)

    def read_ids(self, sources: Sequence[Any], facts: Facts) -> list[np.ndarray]:
        """Images [32, 32] as sequences of one step, [1, 32, 32]."""
        return [np.asarray(image, np.float32)[None] for image in sources]

    def read_tokens(self, text: str) -> np.ndarray:
        """The image of a request: its number in the test data, or a file."""
        text = text.strip()
        if not re.fullmatch("[0-9]+", text):
            return read_image(pathlib.Path(text))
        count = HELD_OUT[TEST]
        if int(text) >= count:
            raise ValueError(f"test images have numbers from 0 to {count - 1}, got {text}")
        return held_out(TEST, self.noise).sources[int(text)]

    def written_tokens(self, text: str) -> list[str]:
        """Words and marks."""
        return re.findall(r"\w+|[^\w\s]", text)

    def text_of(self, tokens: Sequence[str]) -> str:
        """Words with spaces between, and none before a mark."""
        return " ".join(tokens).replace(" ,", ",").replace(" ;", ";")

    def read(self, path: pathlib.Path, facts: Facts) -> Part:
        """A file with an image's file, a tab and its caption on each line; or its folder.

        In a folder the file is `captions.tsv`; images are looked for beside it.
        """
        file = path / CAPTIONS if path.is_dir() else path
        pairs = read_pairs(file)
        part = self.part([(str(file.absolute().parent / name), words) for name, words in pairs])
        self.target_ids([words for some in part.answers for words in some], facts)
        return part

    def example(self, data: Data) -> str:
        """The first image of the test data."""
        return "0"

    # --- the model, baselines, the picture --------------------------------------------------------

    def encoder(self, facts: Facts) -> Encoder:
        """Convolutions: a vector of the whole image; or its places, and the mean of them."""
        many, looks = 2 * self.filters, self.attention != "none"
        features = rnnjax.stack(
            patches=patches(CANVAS),
            lower=convolution(CANVAS // 2, self.filters),
            middle=convolution(CANVAS // 2, many),
            pooled=mapped("pooled", pooled, 3),
            upper=convolution(GRID, many),
            top=convolution(GRID, many),
        )
        vector = rnnjax.stack(
            pooled=mapped("pooled", pooled, 3),
            higher=convolution(GRID // 2, 2 * many),
            quarters=mapped("pooled", pooled, 3),
            flat=mapped("flat", lambda x: x.reshape(*x.shape[:-3], -1), 3),
            dropped=rnnjax.dropout(self.image_dropout),
            vector=rnnjax.linear(self.vector_size),
            normed=rnnjax.layer_norm(),
            bent=rnnjax.activation("relu"),
        )

        def init(key: Array) -> dict[str, Any]:
            keys = jax.random.split(key)
            image, made = ((CANVAS, CANVAS), (GRID, GRID, many))
            params = {"features": features.init(keys[0], jax.ShapeDtypeStruct(image, jnp.float32))}
            if not looks:
                spec = jax.ShapeDtypeStruct(made, jnp.float32)
                params["vector"] = vector.init(keys[1], spec)
            return params

        def encode(params: Any, xs: Array, lengths: Array | None, key: Array | None) -> Encoded:
            del lengths  # an image is one step, and a step is quicker than an unroll of one

            def made(part: str, cell: rnnjax.Cell, x: Array, key: Array | None) -> Array:
                state = cell.initial_state(params[part], x.shape[:1], key=key)
                return cell.step(params[part], state, x)[1]

            found = made("features", features, xs[0], None)
            if not looks:
                return Encoded(found, None, [made("vector", vector, found, key)])
            memory = with_places(found)
            return Encoded(memory, None, [memory.mean(axis=0)] * self.layers)

        spec = jax.ShapeDtypeStruct((1, 1, CANVAS, CANVAS), jnp.float32)
        return Encoder(init, encode, many + 2 * GRID, spec, told=not looks)

    def baselines(self, data: Data) -> dict[str, float]:
        """The likeliest caption, that of the nearest scene, and digits one by one."""
        train, test = data.train, data.test
        drawer, rng = Drawer(train, TRAIN, self.noise), np.random.default_rng(0)
        scenes = [drawer(rng) for _ in range(DRAWN)]
        known = Part([image for image, _ in scenes], [[words] for _, words in scenes])
        return {
            "always the most frequent caption": self.scored(most_frequent(known, test), test),
            "the nearest training scene": self.scored(nearest_scene(known, test), test),
            "the nearest training digit in each quarter": self.scored(
                nearest_digits(train, test), test
            ),
        }

    def picture(self, system: System, params: Any, data: Data, file: pathlib.Path) -> None:
        """Images and what it says of them; with attention, where it looked for some words."""
        assert system.answers is not None
        written = system.answers(params, data.test.sources)
        plot_scenes(self, self.model(data.facts), params, data.test, written, data.facts, file)


@functools.cache
def held_out(part: str, noise: float) -> Part:
    """The scenes of validation or test, the same for every seed, of digits of their own."""
    images, labels = digits()
    number = [TRAIN, VALIDATION, TEST].index(part)
    rows = split(len(images))[number]
    drawer = Drawer(drawn_digits(images[rows], labels[rows]), part, noise)
    rng = np.random.default_rng((HELD_OUT_SEED, number))
    scenes = [drawer(rng) for _ in range(HELD_OUT[part])]
    return Part([image for image, _ in scenes], [[words] for _, words in scenes])


def pooled(x: Array) -> Array:
    """The strongest of each 2 x 2 places, [*B, H, W, C] to [*B, H / 2, W / 2, C]."""
    *batch, height, width, features = x.shape
    return x.reshape(*batch, height // 2, 2, width // 2, 2, features).max(axis=(-4, -2))


def with_places(x: Array) -> Array:
    """A feature map [B, H, W, C] as a memory [H W, B, C + H + W], which says where places are."""
    size, height, width, _ = x.shape
    rows, columns = jnp.eye(height, dtype=x.dtype), jnp.eye(width, dtype=x.dtype)
    grid = (size, height, width)
    row = jnp.broadcast_to(rows[:, None], (*grid, height))
    column = jnp.broadcast_to(columns, (*grid, width))
    places = jnp.concatenate([x, row, column], axis=-1)
    return places.reshape(size, height * width, -1).swapaxes(0, 1)
