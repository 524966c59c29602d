"""A task: say which class a text is of: whose line it is, what it is about, whether it praises."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import pathlib
import re
import sysconfig
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

import rnnjax
from rnnjax._factory import natural
from rnnjax.tasks._classify import (
    Classification,
    Labelled,
    classes_of,
    coded,
    held_out,
    logistic_regression,
    majority,
)
from rnnjax.train.files import needed, read_columns, read_verbatim
from rnnjax.train.task import Data, Facts

PACKAGES = "asyncio email http importlib logging multiprocessing unittest xml".split()
# Shorter lines than this say little, and blocks of so many lines are held out together.
SHORTEST, BLOCK = 15, 20
WORDS = re.compile(r"[^\W_]+|_+|[^\w\s]")
Texts = list[tuple[str, str]]  # text, class


@dataclasses.dataclass(frozen=True)
class ClassifyText(Classification):
    """Say which class a text is of.

    Attributes:
      text: A .csv file, or a folder with a folder of texts for each class; by default lines of
        Python's standard library, whose package is to be told.
      text_column: The column of a .csv file that has the texts.
      label_column: The column that has their classes.
      level: What a step reads: a character, or a word.
      min_count: How often a symbol must occur not to be read as unknown.
      length: At most so many symbols of a text are read, its first ones.
      embedding_size: Length of a symbol's vector.
    """

    name: ClassVar[str] = "classify-text"
    about: ClassVar[str] = "say which class a text is of: a topic, a mood, where a line is from"
    data_about: ClassVar[str] = "real; lines of the standard library, or any .csv or folders"
    thing: ClassVar[tuple[str, str]] = ("text", "texts")
    height: ClassVar[float] = 1.4

    text: pathlib.Path | None = None
    text_column: str = "text"
    label_column: str = "label"
    level: Literal["char", "word"] = "word"
    min_count: int = 2
    length: int = 100
    embedding_size: int = 128
    hidden_size: int = 64
    readout: Literal["last", "mean", "max", "attention"] = "max"
    dropout: float = 0.5
    label_smoothing: float = 0.1
    buckets: int = 4
    steps: int = 1600
    batch_size: int = 128
    learning_rate: float = 4e-3
    evaluate_every: int = 250

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> ClassifyText:
        """Settings of a few seconds, with texts of their own in a folder."""
        file = folder / "texts.csv"
        rows = [f"{a} is {b},{c}" for a in "uvwxyz" for b, c in (("fine", "yes"), ("bad", "no"))]
        file.write_text("\n".join(["text,label", *rows, ""]))
        return cls(
            text=file, cell="elman", hidden_size=3, embedding_size=3, readout="last", layers=2,
            buckets=2, batch_size=4, steps=6, evaluate_every=3,
        )  # fmt: skip

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do, before data are read."""
        super().check()
        for name in ("min_count", "length", "embedding_size"):
            natural(name, getattr(self, name), least=1)

    def data(self) -> Data:
        """Texts in three parts, and the symbols and classes of the first."""
        needed("sklearn")
        if self.text is None:
            parts = library_lines()
            classes = classes_of([name for _, name in parts[0]], "the standard library")
        else:
            texts = self._read(self.text)
            classes = classes_of([name for _, name in texts], self.text)
            labels = coded([name for _, name in texts], classes, self.text)
            stay, test = held_out(labels, 0.2)
            train, validation = held_out(labels[stay], 0.1)
            parts = [[texts[n] for n in rows] for rows in (stay[train], stay[validation], test)]
        counts = collections.Counter(s for text, _ in parts[0] for s in self._symbols(text))
        symbols = sorted(s for s, count in counts.items() if count >= self.min_count)
        facts = {"classes": classes, "symbols": symbols}
        train, validation, test = (self._part(part, facts, "a text") for part in parts)
        return Data(train, validation, test, facts)

    def _symbols(self, text: str) -> list[str]:
        """The characters of a text, or its words, parted at underscores, and punctuation marks."""
        return list(text) if self.level == "char" else WORDS.findall(text)

    def _part(self, texts: Texts, facts: Facts, what: Any) -> Labelled:
        return Labelled(
            self._ids([text for text, _ in texts], facts),
            coded([name for _, name in texts], facts["classes"], what),
            [text for text, _ in texts],
        )

    def _ids(self, texts: list[str], facts: Facts) -> list[np.ndarray]:
        """Symbols as their places among those that are known, counted from 1; 0 is unknown."""
        places = {symbol: place for place, symbol in enumerate(facts["symbols"], 1)}
        return [
            np.array([places.get(s, 0) for s in self._symbols(text)[: self.length]], np.int32)
            for text in texts
        ]

    def _read(self, path: pathlib.Path) -> Texts:
        if path.is_dir():
            texts = list(_folders(path))
        else:
            flags = {"--text-column": self.text_column, "--label-column": self.label_column}
            texts = [(text, name.strip()) for text, name in read_columns(path, flags)]
        for text, _ in texts:
            if not self._symbols(text):
                raise ValueError(f"{path}: the text {text!r} has no word in it: leave it out")
        return texts

    def read(self, path: pathlib.Path, facts: Facts) -> Labelled:
        """A .csv file, or a folder with a folder of texts for each class."""
        return self._part(self._read(path), facts, path)

    def front(self, facts: Facts) -> tuple[list[rnnjax.Cell], Any]:
        """A vector for each symbol, some of whose features are dropped."""
        embed = rnnjax.embed(len(facts["symbols"]) + 1, self.embedding_size)
        return [embed, rnnjax.dropout(self.dropout)], rnnjax.tokens()

    def baselines(self, data: Data) -> dict[str, float]:
        """The largest class, and logistic regression of a bag of n-grams."""
        parts = (data.train, data.validation, data.test)
        texts = [part.texts or [] for part in parts]
        found = {"the largest class": majority(data.train, data.test)}
        for kind, most in (("character", 4), ("word", 2)):
            bag = needed("sklearn.feature_extraction.text").TfidfVectorizer(
                tokenizer=WORDS.findall if kind == "word" else list, token_pattern=None,
                ngram_range=(1, most), sublinear_tf=True, max_features=50_000, lowercase=False,
            )  # fmt: skip
            features = [bag.fit_transform(texts[0]), *map(bag.transform, texts[1:])]
            name = f"logistic regression, bag of {kind}s, 1- to {most}-grams"
            found[name] = logistic_regression(features, parts, strengths=(1.0, 10.0))
        return found

    def example(self, data: Data) -> str:
        """The first text of the test data."""
        return (data.test.texts or [""])[0]

    def asked(self, request: str, facts: Facts) -> Labelled:
        """A text."""
        if not self._symbols(request.strip()):
            raise ValueError(f"a request is a text with something in it, got {request!r}")
        return Labelled(self._ids([request], facts), np.zeros(1, np.int32))

    def sketch(self, axes: Any, part: Labelled, row: int) -> None:
        """The beginning of the text."""
        text = " ".join((part.texts or [])[row].split())
        lines = textwrap.wrap(text[:126], 21)
        shown = "\n".join(lines).replace("$", r"\$")
        axes.text(0, 1, shown, va="top", family="monospace", fontsize=7.5, transform=axes.transAxes)
        axes.set_axis_off()


# --- files ----------------------------------------------------------------------------------------


def _folders(path: pathlib.Path) -> Iterator[tuple[str, str]]:
    """The texts of a folder of folders, one for each class; ValueError where they will not do."""
    folders = [f for f in sorted(path.iterdir()) if f.is_dir() and not f.name.startswith(".")]
    if not folders:
        raise ValueError(f"{path} has no folders in it: put the texts of each class into one")
    for folder in folders:
        files = [
            file
            for file in sorted(folder.rglob("*"))
            if file.is_file() and not file.name.startswith(".")
        ]
        if not files:
            raise ValueError(f"{folder} has no texts in it: put some there, or take it away")
        for file in files:
            text = read_verbatim(file)
            if not text.strip():
                raise ValueError(f"{file} is empty: leave it out")
            yield text, folder.name


def library_lines(packages: Sequence[str] = PACKAGES) -> list[Texts]:
    """Distinct lines of packages of the standard library, for training, validation and test.

    Blocks of 20 lines are held out together: a twentieth validates, a tenth tests, by a hash of
    where they are. A line that two packages have is left out.

    Raises:
      ValueError: the interpreter comes without its sources.
    """
    root, found = pathlib.Path(sysconfig.get_path("stdlib")), {}
    for package in packages:
        for file in sorted((root / package).rglob("*.py")):
            name = file.relative_to(root).as_posix()
            if "test" in file.parts:
                continue
            for n, line in enumerate(file.read_text(encoding="utf-8").splitlines()):
                digest = hashlib.sha256(f"{name} {n // BLOCK}".encode()).digest()
                place = 2 if digest[0] % 20 < 2 else 1 if digest[0] % 20 == 2 else 0
                if len(line.strip()) >= SHORTEST:
                    found.setdefault(line.strip(), []).append((package, place))
    parts: list[Texts] = [[], [], []]
    for line, places in found.items():
        if len({package for package, _ in places}) == 1:
            package, place = places[0]
            parts[place].append((line, package))
    if not all(parts):
        raise ValueError(f"no Python sources in {root}: pass texts of your own with --text")
    return parts
