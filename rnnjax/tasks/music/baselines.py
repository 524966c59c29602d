"""What foresees chords without a network: how often notes sound, and what followed the last chord.

Each takes rolls to count in and rolls to judge by, and gives nats a step, as the network's are: of
all 88 notes together, for every step, the first one too, before which nothing has sounded.
"""

from __future__ import annotations

import numpy as np

from rnnjax.tasks.music.rolls import NOTES, Rolls
from rnnjax.train.files import needed

SMOOTHING = 0.5  # what each count begins with


def shifted(rolls: Rolls) -> np.ndarray:
    """The chord before each step of each roll, silence before the first, float64 [N, 88]."""
    nothing = np.zeros((1, NOTES))
    return np.concatenate([np.concatenate([nothing, roll[:-1]]) for roll in rolls])


def nats(chances: np.ndarray, rolls: Rolls) -> float:
    """Nats a step, from the probabilities of notes: [N, 88] for the steps of all rolls on end."""
    real = np.concatenate(rolls)
    each = -np.log(np.where(real, chances, 1 - chances))
    return float(each.sum(axis=-1).mean())


def frequencies(train: Rolls, test: Rolls) -> float:
    """Each note as often as it sounds, whatever came before."""
    return nats(_share(np.concatenate(train), axis=0), test)


def last_chord(train: Rolls, test: Rolls) -> float:
    """The last chord again: a note stays, and another one comes, as often as notes do so."""
    real, before = np.concatenate(train), shifted(train) > 0
    stays, comes = _share(real[before]), _share(real[~before])
    return nats(np.where(shifted(test) > 0, stays, comes), test)


def note_by_note(train: Rolls, test: Rolls) -> float:
    """Each note stays, and comes, as often as this very note does."""
    real, before = np.concatenate(train), shifted(train) > 0
    there, sounding = before.sum(axis=0), (real * before).sum(axis=0)
    stays = (sounding + SMOOTHING) / (there + 2 * SMOOTHING)
    comes = (real.sum(axis=0) - sounding + SMOOTHING) / (len(real) - there + 2 * SMOOTHING)
    return nats(np.where(shifted(test) > 0, stays, comes), test)


def regression(train: Rolls, test: Rolls, lower: bool = False) -> float:
    """Each note by logistic regression on the last chord, where it sounds now and then.

    With `lower`, the lower notes of its own chord are told as well.
    """
    model = needed("sklearn.linear_model").LogisticRegression
    real, judged = np.concatenate(train), np.concatenate(test)
    known, asked = shifted(train), shifted(test)
    chances = np.broadcast_to(_share(real, axis=0), judged.shape).copy()
    for note in np.flatnonzero((real.min(axis=0) == 0) & (real.max(axis=0) == 1)):
        told = note if lower else 0
        fitted = model(max_iter=200).fit(np.hstack([known, real[:, :told]]), real[:, note])
        chances[:, note] = fitted.predict_proba(np.hstack([asked, judged[:, :told]]))[:, 1]
    return nats(chances, test)


def _share(real: np.ndarray, axis: int | None = None) -> np.ndarray:
    count = real.shape[0] if axis == 0 else real.size
    return (real.sum(axis=axis) + SMOOTHING) / (count + 2 * SMOOTHING)
