"""A task: translate sentences."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import ClassVar

from rnnjax._factory import natural
from rnnjax.tasks._writing.baselines import symbol_by_symbol, unchanged
from rnnjax.tasks._writing.pairs import TRAIN, VALIDATION, read_pairs
from rnnjax.tasks.translate.corpus import SEEN, UNSEEN, corpus
from rnnjax.tasks.translate.sentences import Sentences
from rnnjax.train.files import read_utf8
from rnnjax.train.task import Data


@dataclasses.dataclass(frozen=True)
class Translate(Sentences):
    """Read a sentence, write it in another language.

    Attributes:
      pairs: A file of your own, on each line a sentence, a tab and what it is in the other
        language; by default Spanish and English sentences of a grammar.
      source_file: Instead, a file of a sentence a line, with --target-file.
      target_file: The same lines in the other language.
      generated: How many sentences of the grammar are trained on.

    Reference:
      Bahdanau, Cho & Bengio, Neural Machine Translation by Jointly Learning to Align and
      Translate, ICLR 2015, arXiv:1409.0473.
    """

    name: ClassVar[str] = "translate"
    about: ClassVar[str] = "read a sentence, write it in another language"
    data_about: ClassVar[str] = "generated Spanish and English; or any pairs of sentences"

    pairs: pathlib.Path | None = None
    source_file: pathlib.Path | None = None
    target_file: pathlib.Path | None = None
    generated: int = 50_000
    steps: int = 1500
    learning_rate: float = 5e-3
    evaluate_every: int = 500

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> Translate:
        """Settings of a few seconds, with sentences of their own in a folder."""
        file = folder / "pairs.tsv"
        rows = [f"{a} {b}\t{b} {a}" for a in ("uno", "dos", "tres") for b in "uvwxyz"]
        file.write_text("\n".join([*rows, ""]))
        return cls(
            pairs=file, hidden_size=4, embedding_size=3, batch_size=4, buckets=2, steps=6,
            evaluate_every=3, min_count=1,
        )  # fmt: skip

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do, before data are read."""
        super().check()
        natural("generated", self.generated, least=1)
        if (self.source_file is None) != (self.target_file is None):
            raise ValueError("source_file and target_file go together: name both, or neither")
        if self.pairs is not None and self.source_file is not None:
            raise ValueError(
                "the sentences are in pairs or in source_file and target_file, not both"
            )

    def data(self) -> Data:
        """Sentences in three parts; of generated ones, the test part is of two kinds."""
        if self.pairs is not None:
            texts, what = read_pairs(self.pairs), self.pairs
        elif self.source_file is not None and self.target_file is not None:
            texts, what = read_parallel(self.source_file, self.target_file), self.source_file
        else:
            found = corpus(self.generated)
            test = [*found[SEEN], *found[UNSEEN]]
            data = self.split((found[TRAIN], found[VALIDATION], test))
            kinds = [SEEN] * len(found[SEEN]) + [UNSEEN] * len(found[UNSEEN])
            return data._replace(test=data.test._replace(kinds=kinds))
        return self.held_out(texts, what)

    def baselines(self, data: Data) -> dict[str, float]:
        """Each word by itself, and the sentence as it stands."""
        return {
            "word by word": self.scored(symbol_by_symbol(data.train, data.test), data.test),
            "the sentence unchanged": self.scored(unchanged(data.test), data.test),
        }


def read_parallel(source: pathlib.Path, target: pathlib.Path) -> list[tuple[str, str]]:
    """The pairs of two files, of which each line of one is the same line of the other.

    Raises:
      ValueError: one cannot be read, they have not equally many lines, or one is empty.
    """
    both = [
        [line.strip() for line in read_utf8(path).rstrip("\n").split("\n")]
        for path in (source, target)
    ]
    counts = [len(lines) for lines in both]
    if counts[0] != counts[1]:
        raise ValueError(
            f"{source} has {counts[0]} lines and {target} {counts[1]}: each line of one must be "
            "the same line of the other"
        )
    for path, lines in zip((source, target), both, strict=True):
        if "" in lines:
            raise ValueError(
                f"{path}, line {lines.index('') + 1} is empty: leave it out of both files"
            )
    return list(zip(*both, strict=True))
