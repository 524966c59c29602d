"""A task: spell a word backwards."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from typing import ClassVar

from rnnjax.tasks._library import library_sources
from rnnjax.tasks._writing.baselines import most_frequent, unchanged
from rnnjax.tasks._writing.pairs import by_hash
from rnnjax.tasks._writing.task import Attention, Writing
from rnnjax.train.files import read_utf8
from rnnjax.train.task import Data


@dataclasses.dataclass(frozen=True)
class Reverse(Writing):
    """Spell a word backwards: "gradient" is "tneidarg".

    A tenth of the words tests, by a hash, and a twentieth validates.

    Attributes:
      words: A text of yours, whose words are taken; by default, the standard library's sources.

    Reference:
      Sutskever, Vinyals & Le, Sequence to Sequence Learning with Neural Networks, NeurIPS 2014,
      arXiv:1409.3215, for why the order matters; the task is a common first one.
    """

    name: ClassVar[str] = "reverse"
    about: ClassVar[str] = "spell a word backwards"
    data_about: ClassVar[str] = (
        "real; the words of Python's standard library, or of a text of yours"
    )
    thing: ClassVar[str] = "words"

    words: pathlib.Path | None = None
    attention: Attention = "general"
    steps: int = 2000
    learning_rate: float = 4e-3
    evaluate_every: int = 500

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> Reverse:
        """Settings of a few seconds, with words of its own."""
        file = folder / "words.txt"
        file.write_text(" ".join(a + b + c for a in "bdg" for b in "aou" for c in "mns"))
        return cls(
            words=file, cell="elman", hidden_size=4, embedding_size=3, attention="none", layers=2,
            reverse_source=True, batch_size=4, buckets=1, steps=6, evaluate_every=3,
        )  # fmt: skip

    def data(self) -> Data:
        """Words of 2 to 20 letters, each once."""
        if self.words is None:
            texts, letters = [source for _, source in library_sources()], "[A-Za-z]"
        else:
            texts, letters = [read_utf8(self.words)], r"[^\W\d_]"
        found = {w.lower() for text in texts for w in re.findall(f"{letters}{{2,20}}", text)}
        pairs = [(word, word[::-1]) for word in sorted(found)]
        return self.split(by_hash(pairs, 0.1, 0.05, self.words or "the standard library"))

    def baselines(self, data: Data) -> dict[str, float]:
        """The word as it is, which is right for palindromes."""
        return {
            "always the same word": self.scored(most_frequent(data.train, data.test), data.test),
            "the word as it is": self.scored(unchanged(data.test), data.test),
        }
