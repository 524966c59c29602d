"""Rolls as sound: tones of some harmonics that fade, added up."""

from __future__ import annotations

import pathlib
import wave

import numpy as np

from rnnjax.tasks.music.midi import TEMPO, notes_of

RATE = 22_050  # samples a second
HARMONICS, LOUDEST = 6, 0.9
ATTACK, RELEASE, FADE = 0.01, 0.05, 1.5  # seconds; FADE until a tone has 1 / e of its loudness


def sound(roll: np.ndarray, lowest: int, seconds: float) -> np.ndarray:
    """The samples of a roll, [T seconds RATE], in [-0.9, 0.9].

        tone_f(t) = envelope(t) Σ_k sin(2π k f t) / k^1.5,   k f < RATE / 2

    Args:
      roll: [T, N]; what sounds in steps on end is one tone.
      lowest: the MIDI number of its first column.
      seconds: how long a step is.
    """
    samples = np.zeros(round(len(roll) * seconds * RATE))
    for start, end, column in notes_of(roll):
        first, last = (min(round(n * seconds * RATE), len(samples)) for n in (start, end))
        t = np.arange(last - first) / RATE
        frequency = 440 * 2 ** ((lowest + column - 69) / 12)
        tone = sum(
            np.sin(2 * np.pi * k * frequency * t) / k**1.5
            for k in range(1, HARMONICS + 1)
            if k * frequency < RATE / 2
        )
        left = np.minimum(t[::-1] / RELEASE, 1)  # until it ends, so that it does not click
        samples[first:last] += np.minimum(t / ATTACK, 1) * left * np.exp(-t / FADE) * tone
    return LOUDEST * samples / max(np.abs(samples).max(initial=0), 1e-9)


def write_wav(path: pathlib.Path, roll: np.ndarray, lowest: int, grid: float) -> None:
    """Writes a roll as a .wav file of one channel; arguments of `midi.write_midi`."""
    samples = sound(roll, lowest, grid * 60 / TEMPO)
    # Opened here: where `wave` cannot open a file, it says so with a traceback beside the error.
    with path.open("wb") as opened, wave.open(opened, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(32767 * samples).astype("<i2").tobytes())
