"""What can be recognised without a network: templates of words, one after the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnnjax.tasks.speech.features import cepstra
from rnnjax.tasks.speech.scores import Utterances, word_errors

PENALTIES = (-60.0, -30.0, 0.0, 30.0)  # of a word, to choose from; below 0 they invite words
MOST = 64  # templates of a word
LARGEST = 10**10  # distances between frames that may be taken: a few minutes
QUIET = 5  # frames at the beginning of an utterance in which nothing is said


class Templates(NamedTuple):
    """Words as they were said by themselves, one behind the other.

    Attributes:
      frames: features of all, [M, D].
      starts: where each begins, [R].
      words: which word each is; "" is silence.
    """

    frames: np.ndarray
    starts: np.ndarray
    words: list[str]

    @property
    def ends(self) -> np.ndarray:
        """The last frame of each, [R]."""
        return np.append(self.starts[1:], len(self.frames)) - 1


def templates_of(xs: Sequence[np.ndarray], texts: Sequence[str]) -> Templates | None:
    """Templates from the utterances of one word: their frames between the silences.

    Args:
      xs: features [T_n, D] of N utterances, of which the first grows with the energy.
      texts: what is said in each.

    Returns:
      Some of every word; None where there is a word that is nowhere said alone.
    """
    alone: dict[str, list[np.ndarray]] = defaultdict(list)
    for x, text in zip(xs, texts, strict=True):
        if " " not in text and len(alone[text]) < MOST:
            loud = np.flatnonzero(x[:, 0] > np.quantile(x[:, 0], [0.05, 0.95]).mean())
            alone[text].append(x[max(0, loud[0] - 5) : loud[-1] + 6] if len(loud) else x)
    if set(" ".join(texts).split()) - {word for word, some in alone.items() if some}:
        return None
    parts, words = [np.mean([x[:QUIET].mean(axis=0) for x in xs], axis=0)[None]], [""]
    for word, some in sorted(alone.items()):
        parts += some
        words += [word] * len(some)
    starts = np.cumsum([0, *map(len, parts)])[:-1]
    return Templates(np.concatenate(parts), starts, words)


def recognised(xs: np.ndarray, templates: Templates, penalty: float) -> list[str]:
    """The words whose templates, one after the other, are nearest to an utterance.

        D(t, j) = |x_t - r_j|² + min(D(t-1, j), D(t-1, j-1), D(t-1, j-2))

    within a template r, and at its beginning also the best end of all at t-1 and the penalty of a
    word; silence has none.

    Args:
      xs: features [T, D].
      templates: of words and silence.
      penalty: what a word costs.

    Reference:
      Ney, The Use of a One-Stage Dynamic Programming Algorithm for Connected Word Recognition, IEEE
      Transactions on Acoustics, Speech and Signal Processing 32(2), 1984.
    """
    frames, starts, ends = templates.frames, templates.starts, templates.ends
    costs = np.square(xs).sum(1)[:, None] + np.square(frames).sum(1) - 2 * xs @ frames.T  # [T, M]
    price = np.where([word == "" for word in templates.words], 0.0, penalty)
    seconds = (starts + 1)[ends > starts]
    score, came = np.full(len(frames), np.inf), np.full(len(frames), -1)
    entered, history, place = 0.0, [], -1
    for cost in costs:
        # From the frame itself, from the one before it, and from the one before that.
        ways = np.stack([score, np.roll(score, 1), np.roll(score, 2)])
        whence = np.stack([came, np.roll(came, 1), np.roll(came, 2)])
        ways[1, starts], whence[1, starts] = entered + price, place
        ways[2, starts] = np.inf
        ways[2, seconds] = np.inf
        best = ways.argmin(axis=0)
        score = np.take_along_axis(ways, best[None], axis=0)[0] + cost
        came = np.take_along_axis(whence, best[None], axis=0)[0]
        last = score[ends].argmin()
        entered = score[ends[last]]
        history.append((templates.words[last], came[ends[last]]))
        place = len(history) - 1
    words = []
    while place >= 0:
        word, place = history[place]
        words += [word] * bool(word)
    return words[::-1]


def normalised(xs: np.ndarray) -> np.ndarray:
    """Cepstra [T, D] less their mean over the utterance, which is much of a voice; not the energy.

    Reference:
      Atal, Effectiveness of Linear Prediction Characteristics of the Speech Wave for Automatic
      Speaker Identification and Verification, Journal of the Acoustical Society of America 55(6),
      1974.
    """
    return xs - np.append(0.0, xs[:, 1:].mean(axis=0))


def by_templates(train: Utterances, validation: Utterances, test: Utterances) -> list[str] | None:
    """What is recognised by cepstra of training words, at the penalty that validates best.

    Returns:
      The texts of the test utterances; None where a word is nowhere said alone, or it would take
      too long.
    """
    xs = [[normalised(cepstra(x)) for x in part.log_mels] for part in (train, validation, test)]
    spread = np.concatenate(xs[0]).std(axis=0)
    learnt, chosen, tested = [[x / spread for x in some] for some in xs]
    templates = templates_of(learnt, train.texts)
    if templates is None:
        return None
    heard = len(PENALTIES) * sum(map(len, chosen)) + sum(map(len, tested))
    if heard * len(templates.frames) > LARGEST:
        return None

    def said(some: Sequence[np.ndarray], penalty: float) -> list[str]:
        return [" ".join(recognised(x, templates, penalty)) for x in some]

    def cost(penalty: float) -> float:
        return word_errors(said(chosen, penalty), validation.texts)

    return said(tested, min(PENALTIES, key=cost))
