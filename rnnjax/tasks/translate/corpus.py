"""Sentences drawn from the grammar, and which of its combinations of words are held out."""

from __future__ import annotations

import functools
import zlib

import numpy as np

from rnnjax.tasks._writing.pairs import TEST, TRAIN, VALIDATION, Text, held_out
from rnnjax.tasks.translate.choices import draw
from rnnjax.tasks.translate.grammar import Clause, sentence
from rnnjax.train.task import HELD_OUT_SEED

# Of the pairs of a noun and an adjective or a verb, one in so many is never trained on.
NEVER = 20
SEEN, UNSEEN = "combinations seen", "combinations held out"
COUNT = 500


def is_unseen(pair: tuple[str, str]) -> bool:
    """Whether a noun and what is said of it stand together in no training sentence."""
    return zlib.crc32(" ".join(pair).encode()) % NEVER == 0


@functools.lru_cache(maxsize=2)
def corpus(size: int) -> dict[str, list[Text]]:
    """Distinct sentences and what they are in English, by part.

    The training and the validation part and half of the test part, `SEEN`, have no combination
    that is held out; each sentence of the rest, `UNSEEN`, has at least one.

    Args:
      size: how many there are to train on.
    """

    def drawn(rng: np.random.Generator, *, unseen: bool = False) -> Text:
        while True:
            found: Clause = draw(sentence, rng)
            if any(map(is_unseen, found.pairs)) == unseen:
                return found.spanish, found.english

    counts = {TRAIN: size, VALIDATION: COUNT, TEST: COUNT}
    parts = held_out(drawn, lambda text: text[0], counts, HELD_OUT_SEED)
    rng, others = np.random.default_rng(HELD_OUT_SEED + 1), {}
    while len(others) < COUNT:
        text = drawn(rng, unseen=True)
        others[text[0]] = text
    return {
        TRAIN: parts[TRAIN],
        VALIDATION: parts[VALIDATION],
        SEEN: parts[TEST],
        UNSEEN: list(others.values()),
    }
