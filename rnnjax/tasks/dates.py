"""A task: write a date, however it is put, as ISO 8601 has it."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import pathlib
import re
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from rnnjax.tasks._writing.baselines import most_frequent
from rnnjax.tasks._writing.pairs import Text
from rnnjax.tasks._writing.task import DrawnWriting
from rnnjax.train.task import Data

FIRST, LAST = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)


class Language(NamedTuple):
    """How a language puts dates.

    Attributes:
      months: their names.
      days: those of the week, Monday first.
      forms: as `str.format` has them, of d (day), th (its ordinal), m (month), M (its name), S (its
        first three letters), W (day of the week), Y (year).
    """

    months: Sequence[str]
    days: Sequence[str]
    forms: Sequence[str]


LANGUAGES = {
    "English": Language(
        "January February March April May June July August September October November "
        "December".split(),
        "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
        ["{M} {d}, {Y}", "{d} {M} {Y}", "{S} {d} {Y}", "{d}-{S}-{Y}", "{W}, {M} {d}, {Y}",
         "the {th} of {M} {Y}", "{M} {th}, {Y}", "{W} {d} {M} {Y}"],
    ),
    "German": Language(
        "Januar Februar März April Mai Juni Juli August September Oktober November "
        "Dezember".split(),
        "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag".split(),
        ["{d}. {M} {Y}", "{W}, den {d}. {M} {Y}", "{d}.{m}.{Y}", "am {d}. {S} {Y}"],
    ),
    "French": Language(
        "janvier février mars avril mai juin juillet août septembre octobre novembre "
        "décembre".split(),
        "lundi mardi mercredi jeudi vendredi samedi dimanche".split(),
        ["{d} {M} {Y}", "le {d} {M} {Y}", "{W} {d} {M} {Y}"],
    ),
    "Spanish": Language(
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre "
        "diciembre".split(),
        "lunes martes miércoles jueves viernes sábado domingo".split(),
        ["{d} de {M} de {Y}", "el {d} de {M} de {Y}", "{W}, {d} de {M} de {Y}"],
    ),
    "Italian": Language(
        "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre "
        "dicembre".split(),
        "lunedì martedì mercoledì giovedì venerdì sabato domenica".split(),
        ["{d} {M} {Y}", "il {d} {M} {Y}", "{W} {d} {M} {Y}"],
    ),
}  # fmt: skip
NUMBERS = ["{Y}/{m}/{d}", "{Y}{m:02}{d:02}", "{Y}.{m}.{d}"]
CASES = [str, str, str.lower, str.upper]


@dataclasses.dataclass(frozen=True)
class Dates(DrawnWriting):
    """Write a date in ISO 8601: "the 5th of March 1987", "5. März 1987" is "1987-03-05".

    Dates of 1900 to 2099 in five languages and in numbers, in small letters and in capitals. What
    is held out are days: none of them is trained on in any form.

    Reference:
      Bahdanau, Cho & Bengio, Neural Machine Translation by Jointly Learning to Align and Translate,
      ICLR 2015, arXiv:1409.0473, for the model; the task is a common first one.
    """

    name: ClassVar[str] = "dates"
    about: ClassVar[str] = "write a date of five languages, however it is put, as ISO 8601 has it"
    data_about: ClassVar[str] = "generated; no held-out day is ever trained on"
    thing: ClassVar[str] = "dates"

    steps: int = 1500
    learning_rate: float = 4e-3
    evaluate_every: int = 500

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> Dates:
        """Settings of a few seconds."""
        return cls(
            hidden_size=4, embedding_size=3, attention="dot", look="after", bidirectional=False,
            tied=False, batch_size=4, steps=6, evaluate_every=3,
        )  # fmt: skip

    def drawn(self, rng: np.random.Generator, step: int | None = None) -> Text:
        """A day, put in some way, and as ISO has it."""
        day = FIRST + datetime.timedelta(int(rng.integers((LAST - FIRST).days + 1)))
        language = _some(rng, [*LANGUAGES.values(), None])
        form = _some(rng, NUMBERS if language is None else language.forms)
        return _some(rng, CASES)(_put(form, day, language)), day.isoformat()

    def group(self, text: Text) -> str:
        """The day."""
        return text[1]

    def symbols(self) -> tuple[str, str]:
        """All letters there are, digits and marks."""
        letters = {letter for text in _ways() for case in CASES for letter in case(text)}
        return "".join(sorted(letters | set("0123456789"))), "-0123456789"

    def longest(self) -> tuple[int, int]:
        """The longest way to put a date; ten symbols."""
        return max(map(len, _ways())), 10

    def baselines(self, data: Data) -> dict[str, float]:
        """The likeliest date; and what who knows the English months makes of the numbers."""
        draw, test = np.random.default_rng(0), data.test
        some = self.part([self.drawn(draw) for _ in range(10_000)])
        return {
            "always the same date": self.scored(most_frequent(some, test), test),
            "rules for English": self.scored([by_rules("".join(s)) for s in test.sources], test),
        }


def by_rules(text: str) -> str:
    """The date of a text with a month in English or in numbers; "" where there is none."""
    months = [month[:3].lower() for month in LANGUAGES["English"].months]
    found = [n for n, month in enumerate(months, 1) if re.search(rf"\b{month}", text.lower())]
    numbers = re.findall(r"\d+", text)
    if len(numbers) == 1 and len(numbers[0]) == 8:  # no marks between them
        numbers = [numbers[0][:4], numbers[0][4:6], numbers[0][6:]]
    years = [int(number) for number in numbers if len(number) == 4]
    others = [int(number) for number in numbers if len(number) < 3]
    if len(others) == 2 and not found:
        day_first = len(numbers[0]) < 3
        others = others[::-1] if day_first else others
        found = [others.pop(0)]
    if not (years and others and found):
        return ""
    return f"{years[0]}-{found[0]:02}-{others[0]:02}"


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th."""
    special = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{special.get(number % 10 if number // 10 != 1 else 0, 'th')}"


def _put(form: str, day: datetime.date, language: Language | None) -> str:
    """A day in some form."""
    names = {}
    if language is not None:
        month = language.months[day.month - 1]
        names = {"M": month, "S": month[:3], "W": language.days[day.weekday()]}
    return form.format(d=day.day, th=ordinal(day.day), m=day.month, Y=day.year, **names)


@functools.cache
def _ways() -> list[str]:
    """Every form with every name of a month and of a day of the week."""
    days = [datetime.date(2000, month, day) for month in range(1, 13) for day in range(21, 29)]
    days += [datetime.date(2000, 1, day) for day in range(1, 32)]
    every: list[Language | None] = [*LANGUAGES.values(), None]
    return [
        _put(form, day, language)
        for language in every
        for form in (NUMBERS if language is None else language.forms)
        for day in days
    ]


def _some(rng: np.random.Generator, values: Sequence[Any]) -> Any:
    return values[int(rng.integers(len(values)))]
