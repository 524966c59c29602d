"""What was written, against what is right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnnjax.tasks._writing.pairs import Tokens
from rnnjax.train.files import needed


def right(written: Sequence[Tokens], answers: Sequence[Sequence[Tokens]]) -> np.ndarray:
    """Which are one of the right answers, bool [N]."""
    return np.array([list(w) in map(list, some) for w, some in zip(written, answers, strict=True)])


def wrong(written: Sequence[Tokens], answers: Sequence[Sequence[Tokens]]) -> float:
    """How many are none of the right answers, in per cent."""
    return 100 * float(np.mean(~right(written, answers)))


def symbols_wrong(written: Sequence[Tokens], answers: Sequence[Sequence[Tokens]]) -> float:
    """How many places of the first answers have another symbol, or none, in per cent.

    The end is a place, too, so that what goes on is wrong there.
    """
    missed = count = 0
    for tokens, (answer, *_) in zip(written, answers, strict=True):
        places = [*answer, None]
        given = [*tokens, *[None] * len(places)]
        missed += sum(a != b for a, b in zip(places, given, strict=False))
        count += len(places)
    return 100 * missed / count


def edits(written: Sequence[Tokens], answers: Sequence[Sequence[Tokens]]) -> float:
    """Symbols to insert, delete or exchange, in per cent of those of the nearest answers.

    Reference:
      Levenshtein, Binary Codes Capable of Correcting Deletions, Insertions, and Reversals, 1966.
    """
    missed = count = 0
    for tokens, some in zip(written, answers, strict=True):
        distance, answer = min(
            ((distance_of(tokens, a), a) for a in some), key=lambda pair: pair[0]
        )
        missed, count = missed + distance, count + len(answer)
    return 100 * missed / max(count, 1)


def distance_of(a: Tokens, b: Tokens) -> int:
    """The fewest insertions, deletions and exchanges that make one of the other."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def corpus_scores(written: Sequence[str], answers: Sequence[Sequence[str]]) -> dict[str, float]:
    """BLEU and chrF of texts, by sacrebleu with its defaults; answers may be several each.

    Reference:
      Post, A Call for Clarity in Reporting BLEU Scores, WMT 2018, arXiv:1804.08771.
    """
    metrics = needed("sacrebleu.metrics")
    most = max(map(len, answers))
    streams = [[some[n] if n < len(some) else None for some in answers] for n in range(most)]
    return {
        name: metric.corpus_score(list(written), streams).score
        for name, metric in (("BLEU", metrics.BLEU()), ("chrF", metrics.CHRF()))
    }
