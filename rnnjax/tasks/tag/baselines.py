"""What counting reaches: the most frequent tag of each word, and a bigram tagger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnnjax.train.sources import sequences

SMOOTHING = (1e-3, 1e-2, 1e-1, 1.0)


class Counts(NamedTuple):
    """What the training sentences have.

    Attributes:
      tags: how often each tag occurs, [K].
      emitted: how often each symbol has each tag, [S, K].
      follow: how often each tag follows each; the last row, how often it comes first, [K + 1, K].
    """

    tags: np.ndarray
    emitted: np.ndarray
    follow: np.ndarray


class BigramTagger(NamedTuple):
    """A hidden Markov model of tags, and what its counts alone say.

        p(x, y) = Π_t p(y_t | y_{t-1}) p(x_t | y_t)

    with probabilities that are counts plus a constant, over their sum. An unknown word is read as
    its shape and ending where a word too rare to be known had them together, else as its shape.

    Attributes:
      counts: of the training sentences.
      pairs: the symbols of a shape with an ending.

    Reference:
      Brants, TnT: A Statistical Part-of-Speech Tagger, ANLP 2000, for its kin of trigrams.
    """

    counts: Counts
    pairs: dict[tuple[int, int], int]

    @classmethod
    def of(
        cls, xs: Sequence[np.ndarray], targets: Sequence[np.ndarray], size: int, tags: int
    ) -> BigramTagger:
        """Counts sentences.

        Args:
          xs: the ids of `Vocabulary.encode`, arrays [T_n, 3].
          targets: the ids of their tags, arrays [T_n].
          size: how many ids there are.
          tags: K, how many tags.
        """
        rows, labels = np.concatenate(xs), np.concatenate(targets)
        rare = rows[:, 0] == 0
        seen = np.unique(rows[rare, 1:], axis=0).tolist()
        pairs = {(shape, ending): size + n for n, (shape, ending) in enumerate(seen)}
        emitted, follow = np.zeros((size + len(pairs), tags)), np.zeros((tags + 1, tags))
        np.add.at(emitted, (_symbols(rows, pairs), labels), 1)
        np.add.at(emitted, (rows[rare, 1], labels[rare]), 1)  # shapes, whatever the ending
        for target in targets:
            np.add.at(follow, (np.concatenate([[tags], target[:-1]]), target), 1)
        return cls(Counts(np.bincount(labels, minlength=tags), emitted, follow), pairs)

    def most_frequent(self, xs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The tag that each token had most often, in every sentence; of all, where it had none."""
        tags, emitted, _ = self.counts
        best = np.where(emitted.any(axis=1), emitted.argmax(axis=1), tags.argmax())
        return [best[_symbols(ids, self.pairs)] for ids in xs]

    def viterbi(self, xs: Sequence[np.ndarray], smoothing: float) -> list[np.ndarray]:
        """The likeliest tags of every sentence.

        Args:
          xs: ids, arrays [T_n, 3].
          smoothing: what is added to each count.
        """
        tags, emitted, follow = self.counts
        emit = np.log((emitted + smoothing) / (tags + smoothing * len(emitted)))
        follow = follow + smoothing
        step = np.log(follow / follow.sum(axis=1, keepdims=True))
        found: list[np.ndarray] = [np.empty(0, np.int64)] * len(xs)
        numbers = [np.full(len(ids), n, np.int32) for n, ids in enumerate(xs)]
        source = sequences(
            [_symbols(ids, self.pairs) for ids in xs], numbers, batch_size=512, buckets=4
        )
        for batch in source.in_order():
            lengths, emission = batch.lengths, emit[batch.xs]  # [T, B, K]
            score, back = step[-1] + emission[0], []
            for t in range(1, len(emission)):
                scores = score[:, :, None] + step[None, :-1]  # [B, from, to]
                going = (t < lengths)[:, None]
                stay = np.arange(score.shape[1])
                back.append(np.where(going, scores.argmax(axis=1), stay))
                score = np.where(going, scores.max(axis=1) + emission[t], score)
            tags = [score.argmax(axis=1)]
            for pointer in reversed(back):
                tags.append(np.take_along_axis(pointer, tags[-1][:, None], 1)[:, 0])
            tags = np.stack(tags[::-1], axis=1)
            for row in np.flatnonzero(batch.real & (lengths > 0)):
                found[batch.targets[0, row]] = tags[row, : lengths[row]]
        return found

    def fitted(self, xs: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> float:
        """The smoothing that makes the fewest errors on validation sentences."""
        return min(SMOOTHING, key=lambda s: errors(self.viterbi(xs, s), targets))


def _symbols(ids: np.ndarray, pairs: dict[tuple[int, int], int]) -> np.ndarray:
    """What each token is counted as, [T], of ids [T, 3]."""
    found = [word or pairs.get((shape, ending), shape) for word, shape, ending in ids.tolist()]
    return np.array(found, np.int64)


def errors(found: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> float:
    """The percentage of tokens that have another tag."""
    return 100 * float((np.concatenate(list(found)) != np.concatenate(list(targets))).mean())
