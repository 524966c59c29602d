"""A task: add numbers that are read digit by digit."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from typing import Any, ClassVar, Literal

import numpy as np

from rnnjax._factory import natural
from rnnjax.tasks._writing.baselines import most_frequent
from rnnjax.tasks._writing.pairs import Part, Text
from rnnjax.tasks._writing.task import DrawnWriting
from rnnjax.train.task import Data, Facts


@dataclasses.dataclass(frozen=True)
class Add(DrawnWriting):
    """Read a sum as text, and write what it comes to: "97+58" is "155".

    Attributes:
      digits: Of each number, at most; 2 to 5 are usual.

    Reference:
      Zaremba & Sutskever, Learning to Execute, 2014, arXiv:1410.4615, and the example
      `addition_rnn` of Keras.
    """

    name: ClassVar[str] = "add"
    about: ClassVar[str] = "read a sum digit by digit, and write what it comes to"
    data_about: ClassVar[str] = "generated; no held-out sum is ever trained on"
    thing: ClassVar[str] = "sums"

    digits: int = 3
    cell: Literal["elman", "lstm", "gru"] = "lstm"
    steps: int = 4000
    learning_rate: float = 5e-3
    evaluate_every: int = 500

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> Add:
        """Settings of a few seconds."""
        return cls(
            digits=1, cell="gru", hidden_size=4, embedding_size=3, batch_size=4, steps=6,
            evaluate_every=3, teacher=0.5, beam=2,
        )  # fmt: skip

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do."""
        super().check()
        natural("digits", self.digits, least=1)

    def drawn(self, rng: np.random.Generator, step: int | None = None) -> Text:
        """Two numbers, each of as many digits as any other, and their sum."""
        numbers = [int(rng.integers(0, 10 ** int(k))) for k in rng.integers(1, self.digits + 1, 2)]
        return f"{numbers[0]}+{numbers[1]}", str(sum(numbers))

    def symbols(self) -> tuple[str, str]:
        """Digits and a plus are read, digits written."""
        return "+0123456789", "0123456789"

    def longest(self) -> tuple[int, int]:
        """As many symbols as two numbers and a plus have, and their sum."""
        return 2 * self.digits + 1, self.digits + 1

    def asked(self, request: str, facts: Facts) -> list[Any]:
        """Sums, a line each."""
        lines = super().asked(request.replace(" ", ""), facts)
        for line in filter(None, lines):
            if not re.fullmatch(
                rf"[0-9]{{1,{self.digits}}}\+[0-9]{{1,{self.digits}}}", "".join(line)
            ):
                raise ValueError(
                    f"a request is a sum of two numbers of at most {self.digits} digits, such as "
                    f"12+345, got {''.join(line)!r}"
                )
        return lines

    def baselines(self, data: Data) -> dict[str, float]:
        """The likeliest sum; and adding without carrying."""
        test: Part = data.test
        digits = [self._without_carry("".join(tokens)) for tokens in test.sources]
        draw = np.random.default_rng(0)
        some = self.part([self.drawn(draw) for _ in range(10_000)])
        return {
            "always the most frequent sum": self.scored(most_frequent(some, test), test),
            "adding without carrying": self.scored(digits, test),
        }

    def _without_carry(self, text: str) -> list[str]:
        a, b = (number[::-1].ljust(self.digits, "0") for number in text.split("+"))
        digits = "".join(str((int(x) + int(y)) % 10) for x, y in zip(a, b, strict=True))[::-1]
        return list(digits.lstrip("0") or "0")
