"""What tasks have alike that read and write sentences, word by word."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from rnnjax._factory import natural
from rnnjax.tasks._writing.pairs import TEST, TRAIN, VALIDATION
from rnnjax.tasks._writing.task import Writing
from rnnjax.train.task import Data

# Numbers with their points, words with their hyphens and apostrophes, and marks one by one.
_WORDS = re.compile(r"\d+(?:[.,:]\d+)+|\w+(?:['’-]\w+)*|\S")
_BEHIND, _BEFORE, _QUOTE = set(".,;:!?%)]}»”…"), set("([{¿¡«“"), '"'


def words(text: str, *, lower: bool = True) -> list[str]:
    """The words and marks of a text.

    >>> words("¿Dónde está, dices?")
    ['¿', 'dónde', 'está', ',', 'dices', '?']
    """
    text = unicodedata.normalize("NFC", text)
    return _WORDS.findall(text.lower() if lower else text)


def written(tokens: Sequence[str]) -> str:
    """The text of words and marks, with blanks where they belong.

    >>> written(["¿", "dónde", "está", ",", "dices", "?"])
    '¿dónde está, dices?'
    """
    text, glued, open_quote = "", True, False
    for token in tokens:
        closes = token == _QUOTE and open_quote
        text += token if glued or closes or token in _BEHIND else f" {token}"
        open_quote ^= token == _QUOTE
        glued = token in _BEFORE or (token == _QUOTE and open_quote)
    return text


class Example(NamedTuple):
    """A pair of texts, and what it is held out together with."""

    read: str
    written: str
    group: str


def parted(groups: Sequence[str], what: Any) -> dict[str, str]:
    """The part of each group: a twentieth each is held out for validation and test.

    Args:
      groups: one or several examples are of each.
      what: what they are of, for an error.

    Raises:
      ValueError: there are not three.
    """
    different = list(dict.fromkeys(groups))
    if len(different) < 3:
        raise ValueError(
            f"{what} has {len(different)} that can be held out apart, and at least three are "
            "needed: to learn from, to choose by and to test on"
        )
    # Not by the seed of a run, so that all runs are judged alike.
    order = np.random.default_rng(0).permutation(len(different))
    held = max(1, len(different) // 20)
    return {
        different[n]: VALIDATION if place < held else TEST if place < 2 * held else TRAIN
        for place, n in enumerate(order)
    }


@dataclasses.dataclass(frozen=True)
class Sentences(Writing):
    """Read words, write words.

    Attributes:
      min_count: How often a word must occur in a file not to be read as unknown.
      lower: Read and write small letters alone.
    """

    metric: ClassVar[str] = "100 - BLEU"
    sentences: ClassVar[bool] = True
    thing: ClassVar[str] = "sentences"

    min_count: int = 2
    lower: bool = True

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do, before data are read."""
        super().check()
        natural("min_count", self.min_count, least=1)

    def read_tokens(self, text: str) -> list[str]:
        """Words and marks."""
        return words(text, lower=self.lower)

    def written_tokens(self, text: str) -> list[str]:
        """Words and marks."""
        return words(text, lower=self.lower)

    def text_of(self, tokens: Sequence[str]) -> str:
        """With blanks where they belong."""
        return written(tokens)

    def shown(self, source: Any) -> str:
        """With blanks where they belong."""
        return written(source)

    def held_out(self, examples: Sequence[Example], what: pathlib.Path) -> Data:
        """The data of a user's examples, in three parts; words that only others have are unknown.

        Raises:
          ValueError: they are too few, or no word occurs often enough.
        """
        place = parted([example.group for example in examples], what)
        train, validation, test = (
            self.part([(e.read, e.written) for e in examples if place[e.group] == name])
            for name in (TRAIN, VALIDATION, TEST)
        )
        data = self.split(train, validation, test, self.min_count)
        for side in ("read", "written"):
            data.facts[side]["unknown"] = True
            if not data.facts[side]["known"]:
                raise ValueError(
                    f"{what}: no word that is {side} occurs {self.min_count} times in the training "
                    "part: give more examples, or a lower --min-count"
                )
        return data
