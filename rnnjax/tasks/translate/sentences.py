"""What tasks have alike that read and write sentences, word by word."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, ClassVar

from rnnjax._factory import natural
from rnnjax.tasks._writing.pairs import Text, by_hash
from rnnjax.tasks._writing.task import WRONG, Writing
from rnnjax.train.task import Data

# Numbers with their points, words with their hyphens and apostrophes, and marks one by one.
_WORDS = re.compile(r"\d+(?:[.,:]\d+)+|\w+(?:['’-]\w+)*|\S")
HELD_OUT = 0.05  # of a user's pairs, for validation and for test
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


@dataclasses.dataclass(frozen=True)
class Sentences(Writing):
    """Read words, write words.

    Attributes:
      min_count: How often a word must occur in a file not to be read as unknown.
      lower: Read and write small letters alone.
    """

    metric: ClassVar[str] = "100 - BLEU"
    sentences: ClassVar[bool] = True
    by_kind: ClassVar[tuple[str, ...]] = ("100 - BLEU", WRONG)
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

    def held_out(
        self, texts: Sequence[Text], what: pathlib.Path, groups: Sequence[str] | None = None
    ) -> Data:
        """The data of a user's pairs, in three parts; words that only others have are unknown.

        Args:
          texts: the pairs.
          what: their file.
          groups: what each is held out together with; by default those of its source.

        Raises:
          ValueError: they are too few, or no word occurs often enough.
        """
        data = self.split(by_hash(texts, HELD_OUT, HELD_OUT, what, groups), self.min_count)
        for side in ("read", "written"):
            data.facts[side]["unknown"] = True
            if not data.facts[side]["known"]:
                raise ValueError(
                    f"{what}: no word that is {side} occurs {self.min_count} times in the training "
                    "part: give more examples, or a lower --min-count"
                )
        return data
