"""Pairs of what is read and what is to be written, and where they come from."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnnjax.sequences import pad
from rnnjax.train.files import read_utf8
from rnnjax.train.sources import Sequences

Tokens = Sequence[str]
Text = tuple[str, str]  # what is read, what is to be written
TRAIN, VALIDATION, TEST = "train", "validation", "test"


class Part(NamedTuple):
    """Pairs.

    Attributes:
      sources: what is read, N of them: symbols, or whatever the task reads.
      answers: what is right for each, at least one.
      kinds: what each is called whose figures are wanted by themselves; () for none.
    """

    sources: list[Any]
    answers: Sequence[Sequence[Tokens]]
    kinds: Sequence[str] = ()

    def some(self, rows: Iterable[int]) -> Part:
        """Some of them, in this order."""
        rows = list(rows)
        kinds = [self.kinds[n] for n in rows] if self.kinds else ()
        return Part([self.sources[n] for n in rows], [self.answers[n] for n in rows], kinds)


class Symbols(NamedTuple):
    """Symbols and their ids: 0 ends, 1 .. n are those known, and then the unknown, if there is one.

    Attributes:
      known: the symbols.
      unknown: whether others are read, as one symbol.
    """

    known: Sequence[str]
    unknown: bool = False

    @classmethod
    def of(
        cls, sequences: Iterable[Tokens], others: Iterable[Tokens] = (), min_count: int = 1
    ) -> Symbols:
        """The symbols that occur so often; with an unknown one if there are more, there or here.

        Args:
          sequences: what is trained on.
          others: what is held out.
          min_count: how often a symbol must occur to be known.
        """
        counts = Counter(symbol for tokens in sequences for symbol in tokens)
        known = {symbol for symbol, count in counts.items() if count >= min_count}
        met = counts.keys() | {symbol for tokens in others for symbol in tokens}
        return cls(sorted(known), not met <= known)

    @property
    def size(self) -> int:
        """How many ids there are."""
        return 1 + len(self.known) + self.unknown

    def ids(self, sequences: Iterable[Tokens]) -> list[np.ndarray]:
        """Their ids, int32; ValueError for a symbol that is not known where none may be unknown."""
        places = {symbol: place for place, symbol in enumerate(self.known, 1)}
        found = []
        for tokens in sequences:
            strange = [symbol for symbol in tokens if symbol not in places]
            if strange and not self.unknown:
                text = (" " * (max(map(len, tokens)) > 1)).join(tokens)
                raise ValueError(f"{text!r} has {strange[0]!r}, which the training data have not")
            found.append(np.array([places.get(s, self.size - 1) for s in tokens], np.int32))
        return found

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The symbols of ids before the end; the replacement character for an unknown one."""
        shown = ["", *self.known, *["\N{REPLACEMENT CHARACTER}"] * self.unknown]
        found = []
        for n in ids:
            if n <= 0:
                break
            found.append(shown[n])
        return found


class Drawn(NamedTuple):
    """Endless pairs, each batch drawn on the host from its step alone.

    Attributes:
      draw: (generator, step) -> what is read, and the answer.
      ids: (N of what is read, N answers) -> both as arrays of ids.
      batch_size: B.
      longest: to how many symbols both are padded.
      seed: what they are drawn by.
    """

    draw: Callable[[np.random.Generator, int], tuple[Any, Tokens]]
    ids: Callable[[list[Any], list[Tokens]], tuple[list[np.ndarray], list[np.ndarray]]]
    batch_size: int
    longest: tuple[int, int]
    seed: int

    axes = Sequences(1, 0, 1, 0, 0)

    def batch(self, step: int) -> Sequences:
        """The batch of a training step."""
        rng = np.random.default_rng((self.seed, step))
        pairs = [self.draw(rng, step) for _ in range(self.batch_size)]
        both = self.ids([source for source, _ in pairs], [answer for _, answer in pairs])
        (xs, lengths), (targets, target_lengths) = (
            pad(each, length=length) for each, length in zip(both, self.longest, strict=True)
        )
        return Sequences(xs, lengths, targets, np.ones(self.batch_size, bool), target_lengths)


def place(text: str) -> str:
    """Which part a pair is of, by a hash: a twentieth each is held out for validation and test."""
    return {0: VALIDATION, 1: TEST}.get(zlib.crc32(text.encode()) % 20, TRAIN)


def by_hash(
    texts: Sequence[Text],
    test: float,
    validation: float,
    what: object,
    groups: Sequence[str] | None = None,
) -> tuple[list[Text], list[Text], list[Text]]:
    """Pairs for training, validation and test, by a hash; all of a source or a group together.

    Args:
      texts: the pairs.
      test: the share of the sources that tests.
      validation: the share that validates.
      what: where they are from, for errors.
      groups: what each is held out together with; by default those of its source.

    Raises:
      ValueError: there are fewer than three sources or groups.
    """
    kind = "sources" if groups is None else "parts"
    groups = [source for source, _ in texts] if groups is None else groups
    sources = sorted(set(groups), key=lambda s: (zlib.crc32(s.encode()), s))
    if len(sources) < 3:
        raise ValueError(f"{what} has {len(sources)} different {kind}, need at least 3")
    tests = max(1, round(test * len(sources)))
    validates = tests + max(1, round(validation * len(sources)))
    places = {source: (n >= tests) + (n >= validates) for n, source in enumerate(sources)}
    parts: tuple[list[Text], ...] = ([], [], [])
    for text, group in zip(texts, groups, strict=True):
        parts[places[group]].append(text)
    return parts[2], parts[1], parts[0]


def held_out(
    draw: Callable[[np.random.Generator], Text],
    group: Callable[[Text], str],
    counts: dict[str, int],
    seed: int,
) -> dict[str, list[Text]]:
    """So many distinct pairs of each part, drawn; fewer where no more are found."""
    rng, found = np.random.default_rng(seed), {part: {} for part in counts}
    in_vain, wanted = 0, sum(counts.values())
    while sum(map(len, found.values())) < wanted and in_vain < 10 * wanted:
        text = draw(rng)
        part = place(group(text))
        is_new = part in found and len(found[part]) < counts[part] and text[0] not in found[part]
        if is_new:
            found[part][text[0]] = text
        in_vain = 0 if is_new else in_vain + 1
    return {part: list(pairs.values()) for part, pairs in found.items()}


def read_pairs(path: Path) -> list[Text]:
    """The pairs of a file: on each line what is read, a tab, and what is to be written.

    Raises:
      ValueError: it cannot be read, or a line is no pair; says which.
    """
    found = []
    for n, line in enumerate(read_utf8(path).rstrip("\n").split("\n"), 1):
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 2 or not all(columns):
            raise ValueError(
                f"{path}, line {n} must be what is read, a tab, and what is to be written: {line!r}"
            )
        found.append((columns[0], columns[1]))
    return found
