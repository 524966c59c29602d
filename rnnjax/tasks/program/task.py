"""Short programs as a task that writes, with the four curricula."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from rnnjax._factory import natural
from rnnjax.tasks._writing.baselines import most_frequent
from rnnjax.tasks._writing.pairs import TEST, VALIDATION, Part, Text, Tokens
from rnnjax.tasks._writing.task import TOLD, WRONG, Attention, DrawnWriting
from rnnjax.tasks.program.picture import plot_programs
from rnnjax.tasks.program.programs import (
    SYMBOLS,
    VARIABLES,
    difficulty,
    draw_program,
    executed,
    longest,
    read_programs,
    renamed,
)
from rnnjax.train.files import read_utf8
from rnnjax.train.task import Data, Facts, System

LONGEST, SHOWN = 18, 6  # digits that fit into 64 bits; programs in the picture


@dataclasses.dataclass(frozen=True)
class Program(DrawnWriting):
    """Read a short program character by character, and write what it prints.

    Figures are of answers that are written freely, from their first symbol to the end; "told those
    before" is how the paper counts, where each symbol is guessed after the right ones before it.

    Attributes:
      length: Digits of the numbers in a program, at most.
      nesting: How many operations a program combines, at most.
      curriculum: How hard training programs are. none: as hard as can be; naive: ever harder, by
        length and then by nesting, in equal steps until the middle of training; mixed: length and
        nesting are drawn for every program; combined: one of the two, drawn for every program.
      doubled: Read every program twice, one after the other.

    Reference:
      Zaremba & Sutskever, Learning to Execute, 2014, arXiv:1410.4615.
    """

    name: ClassVar[str] = "program"
    about: ClassVar[str] = "read a short program, and write what it prints"
    data_about: ClassVar[str] = (
        "generated; no held-out program is trained on, by other names either"
    )
    thing: ClassVar[str] = "programs"
    by_kind: ClassVar[tuple[str, ...]] = (WRONG, TOLD)

    length: int = 3
    nesting: int = 2
    curriculum: Literal["none", "naive", "mixed", "combined"] = "combined"
    doubled: bool = False
    cell: Literal["elman", "lstm", "gru"] = "lstm"
    attention: Attention = "none"
    bidirectional: bool = False
    steps: int = 4000
    learning_rate: float = 5e-3
    evaluate_every: int = 500

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> Program:
        """Settings of a few seconds."""
        return cls(
            length=1, nesting=2, hidden_size=4, embedding_size=3, batch_size=4, steps=6,
            evaluate_every=3,
        )  # fmt: skip

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do."""
        super().check()
        for name, most in (("length", LONGEST), ("nesting", len(VARIABLES))):
            if natural(name, getattr(self, name), least=1) > most:
                raise ValueError(f"{name} must be at most {most}, got {getattr(self, name)}")

    # --- programs ---------------------------------------------------------------------------------

    def difficulties(self, rng: np.random.Generator, step: int | None = None) -> tuple[int, int]:
        """Length and nesting of a program for a training step, or of one that is held out."""
        curriculum = "mixed" if step is None else self.curriculum
        if curriculum == "combined":
            curriculum = ("naive", "mixed")[rng.integers(2)]
        if curriculum == "mixed":
            return int(rng.integers(1, self.length + 1)), int(rng.integers(1, self.nesting + 1))
        if curriculum == "none" or step is None:
            return self.length, self.nesting
        last = self.length * self.nesting - 1
        nesting, length = divmod(min(last, 2 * step * last // self.steps), self.length)
        return length + 1, nesting + 1

    def drawn(self, rng: np.random.Generator, step: int | None = None) -> Text:
        """A program, and what it prints; those held out are of all lengths and nestings alike."""
        program = draw_program(rng, *self.difficulties(rng, step))
        return program, str(executed(program))

    def group(self, text: Text) -> str:
        """Programs that differ in the names of their variables are one."""
        return renamed(text[0])

    def counts(self) -> dict[str, int]:
        """Enough programs of each length and nesting."""
        cells = self.length * self.nesting
        return {VALIDATION: 100 * cells, TEST: 300 * cells}

    def symbols(self) -> tuple[str, str]:
        """What a program may have, and digits and the sign of what it prints."""
        return SYMBOLS, "-0123456789"

    def longest(self) -> tuple[int, int]:
        """As many symbols as the longest program has, read twice if it is, and what it prints."""
        read, written = longest(self.length, self.nesting)
        return (2 * read + 1 if self.doubled else read), written

    def read_ids(self, sources: Sequence[Any], facts: Facts) -> list[np.ndarray]:
        """The symbols of programs; if they are read twice, with an end between."""
        ids = super().read_ids(sources, facts)
        return [np.concatenate([n, n[:1] * 0, n]) for n in ids] if self.doubled else ids

    # --- what users bring -------------------------------------------------------------------------

    def asked(self, request: str, facts: Facts) -> list[Any]:
        """Programs, which empty lines part."""
        programs = read_programs(request)
        if not programs:
            raise ValueError(f"a request is a program, such as print((12+345)), got {request!r}")
        for program in programs:
            self._answer(program, facts)
        return [self.read_tokens(program) for program in programs]

    def read(self, path: pathlib.Path, facts: Facts) -> Part:
        """A file of programs, which empty lines part; what they print is worked out."""
        found = []
        for n, program in enumerate(read_programs(read_utf8(path)), 1):
            try:
                found.append((program, self._answer(program, facts)))
            except ValueError as error:
                raise ValueError(f"{path}, program {n}: {error}") from None
        return self.part(found)

    def _answer(self, program: str, facts: Facts) -> str:
        """What a program of a user prints; ValueError for one that the model cannot read."""
        self.read_ids([self.read_tokens(program)], facts)
        read, written = longest(self.length, self.nesting)
        if len(program) > read:
            raise ValueError(
                f"a program of {len(program)} symbols is too long: the longest ones that this "
                f"model was trained for have {read}, got {program!r}"
            )
        answer = str(executed(program))
        if len(answer) > written:
            raise ValueError(f"{program!r} prints {answer}: this model writes {written} symbols")
        return answer

    # --- figures ----------------------------------------------------------------------------------

    def part(self, texts: Sequence[Text]) -> Part:
        """Programs and what they print, each with its length and nesting."""
        part = super().part(texts)
        return part._replace(kinds=[kind_of(*difficulty("".join(s))) for s in part.sources])

    def baselines(self, data: Data) -> dict[str, float]:
        """The likeliest answer; and the last number of the program."""
        test, draw = data.test, np.random.default_rng(0)
        some = self.part([self.drawn(draw) for _ in range(10_000)])
        numbers: list[Tokens] = [re.findall(r"\d+", "".join(s))[-1] for s in test.sources]
        return {
            "always the most frequent answer": self.scored(most_frequent(some, test), test),
            "the last number of the program": self.scored(numbers, test),
        }

    def example(self, data: Data) -> str:
        """The first test program that has several lines."""
        programs = [self.shown(source) for source in data.test.sources]
        return next((program for program in programs if "\n" in program), programs[0])

    def picture(self, system: System, params: Any, data: Data, file: pathlib.Path) -> None:
        """How many are right by length and nesting, and what was written."""
        part, figures = data.test, system.evaluate(params, data.test)
        programs = [self.shown(source) for source in part.sources]
        places = [difficulty(program) for program in programs]
        titles = {"% right, written freely": WRONG, "% of symbols right, told those before": TOLD}
        grids = {
            title: {place: 100 - figures[cell_name(what, *place)] for place in places}
            for title, what in titles.items()
        }
        assert system.answers is not None
        written = system.answers(params, part.sources)
        nestings = sorted({nesting for _, nesting in places})
        told = [
            (programs[n], self.text_of(written[n]), self.text_of(part.answers[n][0]))
            for nesting in nestings
            for n in [n for n, place in enumerate(places) if place[1] == nesting][
                : max(1, SHOWN // len(nestings))
            ]
        ]
        plot_programs(grids, told, file)


def kind_of(length: int, nesting: int) -> str:
    """How programs of some length and nesting are called."""
    return f"length {length}, nesting {nesting}"


def cell_name(what: str, length: int, nesting: int) -> str:
    """How a figure of them is called."""
    return f"{what}, {kind_of(length, nesting)}"
