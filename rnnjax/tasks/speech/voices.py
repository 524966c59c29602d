"""A small formant synthesiser, and the voices that it speaks with: nothing here is recorded.

Pulses of a glottis go through a cascade of resonators, one for each formant, as in Klatt, Software
for a Cascade/Parallel Formant Synthesizer, Journal of the Acoustical Society of America 67(3),
1980; noise of a narrow place in the mouth through one resonator beside them. There is no nasal
branch, and no source but pulses. It is made to be learnt from, not to be listened to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnnjax.sequences import pad
from rnnjax.tasks.speech.sounds import PHONES, PRONUNCIATIONS, SILENCE, Sound

FRAME = 0.005  # seconds in which the vocal tract stands still
GLIDE, ONSET = 13, 5  # frames over which formants and strengths pass into the next ones
WIDTHS = (60.0, 90.0, 150.0, 250.0)  # of the formants, Hz
FOURTH = 3300.0
# So strong that a vowel has about 0 dB, its breath -18, and the hiss of an s -10.
PULSE, BREATH, HISS = 1000.0, 0.046, 0.75
TOGETHER = 128  # utterances that are made side by side

# Of training, validation and test voices, the ranges that pitch (Hz) and the length of the vocal
# tract (relative to a man's) are drawn from: none of one part is in another. Validation voices and
# test voices lie between those of training, or beyond them; those of the test further.
PITCHES = {
    "train": [(100.0, 125.0), (150.0, 190.0)],
    "validation between": [(125.0, 137.0)],
    "validation beyond": [(95.0, 100.0), (190.0, 200.0)],
    "test between": [(137.0, 150.0)],
    "test beyond": [(80.0, 95.0), (200.0, 230.0)],
}
TRACTS = {
    "train": [(0.86, 0.92), (0.98, 1.04)],
    "validation between": [(0.92, 0.95)],
    "validation beyond": [(0.84, 0.86), (1.04, 1.06)],
    "test between": [(0.95, 0.98)],
    "test beyond": [(0.80, 0.84), (1.06, 1.10)],
}
PACES, BREATHS = (0.8, 1.3), (0.0, 0.3)


class Voice(NamedTuple):
    """Who speaks, and how it is heard.

    Attributes:
      pitch: pulses of the glottis a second, where nothing is stressed.
      tract: length of the vocal tract, by which formants are divided.
      pace: 1 is usual, more is faster.
      breath: how strong the noise of the glottis is while it pulses.
      snr: signal to noise ratio, dB.
    """

    pitch: float
    tract: float
    pace: float
    breath: float
    snr: float


def draw_voice(rng: np.random.Generator, kind: str, snr: float) -> Voice:
    """A voice of a kind, "train" or "test beyond", and its noise."""

    def within(ranges: Sequence[tuple[float, float]]) -> float:
        return float(rng.uniform(*ranges[int(rng.integers(len(ranges)))]))

    return Voice(
        within(PITCHES[kind]), within(TRACTS[kind]), within([PACES]), within([BREATHS]),
        within([(snr, snr + 20)]),
    )  # fmt: skip


class Plan(NamedTuple):
    """What the synthesiser does of an utterance, frame by frame.

    Attributes:
      pitch: [F], Hz.
      formants: [F, 3], Hz.
      voice: [F], and so the strengths and the band of the noises, as in `Sound`.
      breath: [F].
      hiss: [F].
      hiss_at: [F], Hz.
      hiss_width: [F], Hz.
    """

    pitch: np.ndarray
    formants: np.ndarray
    voice: np.ndarray
    breath: np.ndarray
    hiss: np.ndarray
    hiss_at: np.ndarray
    hiss_width: np.ndarray


def planned(words: Sequence[str], voice: Voice, rng: np.random.Generator) -> Plan:
    """Says the words one after the other, with or without a pause between them.

    Durations and formants vary from sound to sound, and sounds pass into each other.
    """

    def pause(least: float, most: float) -> tuple[Sound, int]:
        return SILENCE, max(1, round(rng.uniform(least, most) / FRAME))

    sounds, stress = [pause(0.05, 0.2)], [0.0]
    for n, word in enumerate(words):
        if n and rng.random() < 0.5:
            sounds.append(pause(0.0, 0.15))
            stress.append(0.0)
        for phone in PRONUNCIATIONS[word].split():
            off = rng.normal(0, 0.03, 3)
            for sound in PHONES[phone]:
                seconds = sound.seconds * rng.uniform(0.8, 1.2) / voice.pace
                varied = tuple(f * (1 + d) for f, d in zip(sound.formants, off, strict=True))
                sounds.append((sound._replace(formants=varied), max(2, round(seconds / FRAME))))
                stress.append(rng.uniform(0, 0.2) * (sound.voice == 1))
    sounds.append(pause(0.05, 0.2))
    stress.append(0.0)

    frames = [count for _, count in sounds]

    def track(values: Sequence[float], width: int) -> np.ndarray:
        """Values for each stretch as a smooth curve [F]."""
        steps = np.repeat(np.asarray(values, float), frames)
        window = np.hanning(width + 2)[1:-1]
        return np.convolve(np.pad(steps, width // 2, "edge"), window / window.sum(), "valid")

    formants = [track([sound.formants[k] for sound, _ in sounds], GLIDE) for k in range(3)]
    fall = np.linspace(1.05, 0.85, sum(frames))
    return Plan(
        voice.pitch * fall * (1 + track(stress, 4 * GLIDE + 1)),
        np.stack(formants, axis=1) / voice.tract,
        *(track([getattr(sound, name) for sound, _ in sounds], ONSET) for name in Plan._fields[2:]),
    )


def spoken(
    utterances: Sequence[Sequence[str]], voices: Sequence[Voice], rate: int, seed: Sequence[int]
) -> list[np.ndarray]:
    """Utterances as sound: what is drawn of one follows from its place and the seed alone.

    Args:
      utterances: N sequences of digits, as words.
      voices: who says each.
      rate: samples a second.
      seed: what pauses, durations, pitch and noise are drawn by.

    Returns:
      N float32 arrays [samples], of mean square 1 before the noise is added.
    """
    draws = [np.random.default_rng((*seed, n)) for n in range(len(utterances))]
    plans = [planned(*each) for each in zip(utterances, voices, draws, strict=True)]
    order = np.argsort([len(plan.pitch) for plan in plans], kind="stable")
    found: list[np.ndarray] = [np.empty(0)] * len(plans)
    for start in range(0, len(plans), TOGETHER):
        rows = order[start : start + TOGETHER]
        sounds = resonated(
            [plans[n] for n in rows], [voices[n] for n in rows], rate, [draws[n] for n in rows]
        )
        for n, sound in zip(rows, sounds, strict=True):
            sound = sound / np.sqrt(np.mean(np.square(sound)))
            noise = draws[n].normal(0, 10 ** (-voices[n].snr / 20), len(sound))
            found[n] = (sound + noise).astype(np.float32)
    return found


def resonated(
    plans: Sequence[Plan],
    voices: Sequence[Voice],
    rate: int,
    draws: Sequence[np.random.Generator],
) -> list[np.ndarray]:
    """The sound of some plans: sources, and what resonators make of them, sample by sample.

        y_t = a x_t + b y_{t-1} + c y_{t-2},   c = -exp(-2πB/r),  b = 2 exp(-πB/r) cos(2πF/r)

    for a resonance at F of width B, at r samples a second; a = 1 - b - c lets slow changes pass.

    Args:
      plans: N of them.
      voices: who says each, for what does not change: breath, and the fourth formant.
      rate: r.
      draws: what the noises are drawn by, N.

    Returns:
      N arrays [samples].
    """
    hop = round(FRAME * rate)
    frames = max(len(plan.pitch) for plan in plans)

    def side_by_side(tracks: Sequence[np.ndarray]) -> np.ndarray:
        """N tracks [F_n, ...] as one array [F, ..., N], the last frame held."""
        held = [np.pad(track, [(0, frames - len(track)), *[(0, 0)] * (track.ndim - 1)], "edge")
                for track in tracks]  # fmt: skip
        return np.stack(held, axis=-1)

    def samples(track: np.ndarray) -> np.ndarray:
        return np.repeat(track, hop, axis=0)

    every = Plan(*map(side_by_side, zip(*plans, strict=True)))
    turns = np.cumsum(samples(every.pitch) / rate, axis=0)
    pulses = PULSE * np.diff(np.floor(turns), axis=0, prepend=0.0) * samples(every.voice)
    # Each draws as much as it needs itself, whoever stands beside it.
    drawn = [
        draw.normal(size=(len(p.pitch) * hop, 2)) for p, draw in zip(plans, draws, strict=True)
    ]
    noise = pad(drawn)[0].transpose(2, 0, 1)
    breaths, tracts = np.array([(voice.breath, voice.tract) for voice in voices]).T
    aspired = samples(BREATH * (every.breath + breaths * every.voice)) * noise[0]
    hissed = samples(HISS * every.hiss) * noise[1]

    # The glottis (a resonance at 0), four formants, and the place of the hiss: [F, 6, N].
    few = np.ones((frames, 1, len(plans)))
    fourth, hiss = FOURTH / tracts * few, every.hiss_at[:, None]
    at = np.concatenate([0 * few, every.formants, fourth, hiss], axis=1)
    at = np.minimum(at, 0.475 * rate)
    widths = np.concatenate([100 * few, *(w * few for w in WIDTHS), every.hiss_width[:, None]], 1)
    radius, angle = np.exp(-np.pi * widths / rate), 2 * np.pi * at / rate
    b, c = 2 * radius * np.cos(angle), -np.square(radius)
    a = 1 - b - c
    # The band of the hiss is as strong wherever it is.
    a[:, 5] = (1 - radius)[:, 5] * np.abs(1 - radius * np.exp(-2j * angle))[:, 5]

    # All resonators at once: each hears the one before it a sample later, which no one hears.
    x, before, last = (np.zeros((6, len(plans))) for _ in range(3))
    out = np.empty((frames * hop, len(plans)))
    for t in range(frames * hop):
        f = t // hop
        x[0], x[1:5], x[5] = pulses[t], last[:4], hissed[t]
        x[1] += aspired[t]
        before, last = last, a[f] * x + b[f] * last + c[f] * before
        out[t] = last[4] - before[4] + last[5]  # lips let changes pass
    return [out[: len(plan.pitch) * hop, n] for n, plan in enumerate(plans)]
