"""Tasks: the same model on pairs of turns, and on texts and what sums them up."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import ClassVar

import numpy as np

from rnnjax._factory import natural
from rnnjax.tasks._writing.baselines import most_frequent, unchanged
from rnnjax.tasks._writing.pairs import Part, Text, read_pairs
from rnnjax.tasks.translate.sentences import Sentences
from rnnjax.train.files import read_columns, read_utf8
from rnnjax.train.task import Data, Facts

# So many turns of a dialogue are held out together.
BLOCK = 20


@dataclasses.dataclass(frozen=True)
class Dialogue(Sentences):
    """Read a turn of a dialogue, write the answer.

    Attributes:
      text: Your dialogues: a file with a turn a line, each the answer to the one before, and an
        empty line between dialogues.

    Reference:
      Vinyals & Le, A Neural Conversational Model, 2015, arXiv:1506.05869.
    """

    name: ClassVar[str] = "dialogue"
    about: ClassVar[str] = "read what somebody says, write the answer"
    data_about: ClassVar[str] = "real; any dialogues of your own, --text"
    thing: ClassVar[str] = "turns"

    text: pathlib.Path | None = None
    steps: int = 2000
    evaluate_every: int = 500

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> Dialogue:
        """Settings of a few seconds, with dialogues of their own in a folder."""
        file = folder / "dialogues.txt"
        file.write_text("\n\n".join(f"how is {a}?\n{a} is fine.\nand you?" for a in "uvwxyz"))
        return cls(
            text=file, hidden_size=4, embedding_size=3, batch_size=4, buckets=1, steps=6,
            evaluate_every=3, min_count=1,
        )  # fmt: skip

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do, before data are read."""
        super().check()
        if self.text is None:
            raise ValueError(
                "text: dialogue learns from dialogues of your own: --text FILE, with a turn a line "
                "and an empty line between dialogues"
            )

    def data(self) -> Data:
        """Turns and their answers, in three parts."""
        assert self.text is not None
        texts, groups = read_turns(self.text)
        return self.held_out(texts, self.text, groups)

    def read(self, path: pathlib.Path, facts: Facts) -> Part:
        """A file of dialogues."""
        return self.part(read_turns(path)[0])

    def baselines(self, data: Data) -> dict[str, float]:
        """The most frequent answer, and the turn as an answer to itself."""
        return {
            "always the most frequent answer": self.scored(
                most_frequent(data.train, data.test), data.test
            ),
            "the turn repeated": self.scored(unchanged(data.test), data.test),
        }


@dataclasses.dataclass(frozen=True)
class Summarise(Sentences):
    """Read a text, write what sums it up.

    Attributes:
      text: Your texts and summaries: a .csv file with a column of each, or a .tsv file with a
        text, a tab and its summary on each line.
      text_column: The column of a .csv file that has the texts.
      summary_column: The column of a .csv file that has the summaries.
      length: At most so many words of a text are read, its first ones.

    Reference:
      Nallapati et al., Abstractive Text Summarization using Sequence-to-sequence RNNs and Beyond,
      CoNLL 2016, arXiv:1602.06023.
    """

    name: ClassVar[str] = "summarise"
    about: ClassVar[str] = "read a text, write what sums it up: a headline, an abstract"
    data_about: ClassVar[str] = "real; any texts and summaries of your own, --text"
    thing: ClassVar[str] = "texts"

    text: pathlib.Path | None = None
    text_column: str = "text"
    summary_column: str = "summary"
    length: int = 200
    batch_size: int = 32
    steps: int = 2000
    evaluate_every: int = 500

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> Summarise:
        """Settings of a few seconds, with texts of their own in a folder."""
        file = folder / "texts.csv"
        rows = [f'"{a} is {b}, not {b}{b}",{a} {b}' for a in "uvwxyz" for b in "ab"]
        file.write_text("\n".join(["text,summary", *rows, ""]))
        return cls(
            text=file, hidden_size=4, embedding_size=3, batch_size=4, buckets=1, steps=6,
            evaluate_every=3, min_count=1,
        )  # fmt: skip

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do, before data are read."""
        super().check()
        natural("length", self.length, least=1)
        if self.text is None:
            raise ValueError(
                "text: summarise learns from texts of your own: --text FILE, a .csv with the "
                f"columns {self.text_column} and {self.summary_column}, or a .tsv"
            )

    def read_tokens(self, text: str) -> list[str]:
        """The first words and marks."""
        return super().read_tokens(text)[: self.length]

    def data(self) -> Data:
        """Texts and their summaries, in three parts."""
        assert self.text is not None
        return self.held_out(self._texts(self.text), self.text)

    def _texts(self, path: pathlib.Path) -> list[Text]:
        if path.suffix == ".tsv":
            return read_pairs(path)
        flags = {"--text-column": self.text_column, "--summary-column": self.summary_column}
        return [(text, summary) for text, summary in read_columns(path, flags)]

    def read(self, path: pathlib.Path, facts: Facts) -> Part:
        """A .csv or a .tsv file."""
        return self.part(self._texts(path))

    def baselines(self, data: Data) -> dict[str, float]:
        """The first words of the text, as many as a summary has, and all of them."""
        length = int(np.median([len(some[0]) for some in data.train.answers]))
        first = [list(tokens[:length]) for tokens in data.test.sources]
        return {
            f"the first {length} words": self.scored(first, data.test),
            "the text unchanged": self.scored(unchanged(data.test), data.test),
        }


def read_turns(path: pathlib.Path) -> tuple[list[Text], list[str]]:
    """The turns of a file's dialogues with what answers them, and what each is held out with.

    Raises:
      ValueError: it cannot be read, or no turn is answered.
    """
    dialogues: list[list[str]] = [[]]
    for line in map(str.strip, read_utf8(path).split("\n")):
        if line:
            dialogues[-1].append(line)
        elif dialogues[-1]:
            dialogues.append([])
    places = [(n, place) for n, turns in enumerate(dialogues) for place in range(len(turns) - 1)]
    if not places:
        raise ValueError(
            f"{path}: no turn is answered: a dialogue is a turn a line, and an empty line ends it"
        )
    texts = [(dialogues[n][place], dialogues[n][place + 1]) for n, place in places]
    return texts, [f"{n} {place // BLOCK}" for n, place in places]
