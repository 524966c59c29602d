"""Generated chorales: a walk over the chords of a key, in four voices that are led by rules."""

from __future__ import annotations

import functools
import itertools

import numpy as np

# The chords of a key by their places in major, as semitones above its tonic, the root first.
CHORDS = {
    "major": {
        "I": (0, 4, 7), "ii": (2, 5, 9), "iii": (4, 7, 11), "IV": (5, 9, 0), "V": (7, 11, 2),
        "V7": (7, 11, 2, 5), "vi": (9, 0, 4), "vii": (11, 2, 5), "V/V": (2, 6, 9),
    },
    "minor": {
        "I": (0, 3, 7), "ii": (2, 5, 8), "iii": (3, 7, 10), "IV": (5, 8, 0), "V": (7, 11, 2),
        "V7": (7, 11, 2, 5), "vi": (8, 0, 3), "vii": (11, 2, 5), "V/V": (2, 6, 9),
    },
}  # fmt: skip
# What may follow; what is written twice is twice as likely.
NEXT = {
    "I": "I IV IV V V vi vi ii ii iii V/V vii",
    "ii": "V V V7 vii V/V",
    "iii": "vi vi IV",
    "IV": "V V V7 I ii vii",
    "V": "I I I vi V7",
    "V7": "I I I vi",
    "vi": "ii ii IV IV V/V iii",
    "vii": "I I V",
    "V/V": "V V V7",
}
CADENCES, LAST = ("V I", "V7 I", "ii V", "IV V", "IV I", "V vi"), ("V I", "V7 I", "V7 I")
# Of soprano, alto, tenor and bass, the lowest and the highest pitch; how far two beside each other
# may be apart, and how much it counts if each moves by a semitone.
RANGES = ((60, 79), (55, 72), (48, 67), (40, 60))
APART, MOVING = (12, 12, 19), (1.0, 1.0, 1.0, 0.4)
PARALLEL, UNRESOLVED, INVERTED, WARMTH = 20.0, 5.0, 2.0, 1.5
TONICS = (7, 2, 9, 0, 5, 10, 3)  # G, D, A, C, F, B flat, E flat


def chorale(seed: int, number: int) -> np.ndarray:
    """A chorale: the MIDI numbers of soprano, alto, tenor and bass at each beat, [T, 4].

    A key, five to eight phrases of a walk over `NEXT` that ends in a cadence, and voices that are
    drawn beat by beat, softmax(-cost / 1.5), where a voicing costs what the voices move, much more
    for parallel fifths and octaves, and for a leading note or a seventh that goes astray.

    Args:
      seed: what all of it is drawn by,
      number: with this one.

    Example:
      >>> from rnnjax.tasks.music.chorales import chorale
      >>> chorale(0, 0)[-1].tolist()
      [77, 72, 65, 56]
    """
    draw = np.random.default_rng((seed, number))
    mode, tonic = ("major", "minor")[draw.integers(2)], int(draw.choice(TONICS))
    phrases = int(draw.integers(5, 9))
    beats: list[np.ndarray] = []
    for n in range(phrases):
        for chord in _phrase(
            draw, int(draw.integers(4, 7)), LAST if n == phrases - 1 else CADENCES
        ):
            last = chord.endswith("!")
            tones = tuple((tonic + offset) % 12 for offset in CHORDS[mode][chord.rstrip("!")])
            voices = _voiced(draw, beats[-1] if beats else None, tones, (tonic + 11) % 12)
            beats += [voices] * (1 + last)
    return np.array(beats)


def _phrase(draw: np.random.Generator, length: int, cadences: tuple[str, ...]) -> list[str]:
    """Chords that lead to a cadence; the last one, which is held, is marked."""
    first, last = str(draw.choice(cadences)).split()
    while True:
        walk = [str(draw.choice(("I", "I", "vi", "V")))]
        for _ in range(length - 1):
            walk.append(str(draw.choice(NEXT[walk[-1]].split())))
        if first in NEXT[walk[-1]].split():
            return [*walk, first, f"{last}!"]


@functools.cache
def _voicings(tones: tuple[int, ...], leading: int) -> tuple[np.ndarray, np.ndarray]:
    """Four voices that sound a chord, [M, 4], and what each costs by itself, [M].

    Every tone of the chord is there, the leading note once, the bass has the root or the third (of
    a diminished chord the third), and no voice is as low as the next.
    """
    diminished = len(tones) == 3 and (tones[2] - tones[0]) % 12 == 6
    basses = tones[1:2] if diminished else tones[:2]
    each = [
        [p for p in range(low, high + 1) if p % 12 in (basses if voice == 3 else tones)]
        for voice, (low, high) in enumerate(RANGES)
    ]
    found = [
        voices
        for voices in itertools.product(*each)
        if all(
            0 < a - b <= apart
            for (a, b), apart in zip(itertools.pairwise(voices), APART, strict=True)
        )
        and {p % 12 for p in voices} == set(tones)
        and sum(p % 12 == leading for p in voices) <= 1
    ]
    voices = np.array(found)
    return voices, INVERTED * (voices[:, 3] % 12 != tones[0])


def _voiced(
    draw: np.random.Generator, before: np.ndarray | None, tones: tuple[int, ...], leading: int
) -> np.ndarray:
    """The voices of the next chord [4]."""
    voices, cost = _voicings(tones, leading)
    if before is not None:
        moved = voices - before
        cost = cost + np.abs(moved) @ MOVING
        cost = cost + 2 * (moved[:, 0] == 0)  # a melody moves
        for i, j in itertools.combinations(range(4), 2):
            apart = (before[i] - before[j]) % 12
            if apart in (0, 7):
                same = (voices[:, i] - voices[:, j]) % 12 == apart
                cost = cost + PARALLEL * (same & (moved[:, i] != 0))
        if (leading + 1) % 12 in tones:
            cost = cost + UNRESOLVED * ((before % 12 == leading) & (moved != 1)).sum(axis=1)
    weight = np.exp(-(cost - cost.min()) / WARMTH)
    return voices[draw.choice(len(voices), p=weight / weight.sum())]
