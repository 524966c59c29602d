"""What was said, and what texts are worth for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnnjax.tasks._writing.pairs import Part
from rnnjax.tasks._writing.scores import edits

WORDS, LETTERS = "word errors, %", "letter errors, %"


class Utterances(NamedTuple):
    """What was said.

    Attributes:
      log_mels: N arrays [T_n, bands].
      texts: the words of each, with spaces between.
      kinds: whose voices those are, where figures of them are wanted by themselves; () for none.
      files: where each is from; () where it is from nowhere.
    """

    log_mels: list[np.ndarray]
    texts: list[str]
    kinds: Sequence[str] = ()
    files: Sequence[str] = ()

    @property
    def words(self) -> Part:
        """Utterances and their words."""
        return Part(self.log_mels, [[text.split()] for text in self.texts])


def word_errors(texts: Sequence[str], right: Sequence[str]) -> float:
    """Words to insert, delete or exchange, in per cent of those that were said."""
    return edits([text.split() for text in texts], [[text.split()] for text in right])


def figures_of(texts: Sequence[str], part: Utterances) -> dict[str, float]:
    """What texts are worth, for what was said; of every kind of voices by itself, too."""
    wrong = np.mean([a != b for a, b in zip(texts, part.texts, strict=True)])
    figures = {
        WORDS: word_errors(texts, part.texts),
        LETTERS: edits(texts, [[text] for text in part.texts]),
        "% of utterances wrong": 100 * float(wrong),
    }
    for kind in sorted(set(part.kinds)):
        rows = [n for n, other in enumerate(part.kinds) if other == kind]
        own = [texts[n] for n in rows], [part.texts[n] for n in rows]
        figures[f"{WORDS}, {kind}"] = word_errors(*own)
    return figures
