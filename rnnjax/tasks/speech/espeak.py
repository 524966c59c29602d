"""Speech of an installed espeak-ng: generated, by a synthesiser that is not ours."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence

import numpy as np

from rnnjax.tasks.speech.recordings import read_wav

PROGRAM = "espeak-ng"
# Variants of its voices; none of one part is in another.
VARIANTS = {
    "train": ("m1", "m2", "m4", "m5", "f1", "f3"),
    "validation": ("m6",),
    "test": ("m3", "m7", "f2"),
}
ACCENTS = ("en-us", "en-gb")
SPEEDS, PITCHES = (130, 200), (30, 70)  # words a minute, and its own scale


def espoken(
    utterances: Sequence[Sequence[str]], part: str, rate: int, seed: Sequence[int]
) -> list[np.ndarray]:
    """Utterances in voices of a part, "train", "validation" or "test".

    Args:
      utterances: N sequences of words.
      part: whose voices speak.
      rate: samples a second.
      seed: what voices, speed and pitch are drawn by.

    Returns:
      N float32 arrays [samples].

    Raises:
      ValueError: espeak-ng is not there, or fails; says what to do.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise ValueError(
            f"{PROGRAM} is not on the PATH: install it, as with apt-get install {PROGRAM}, or "
            "leave voices at formant"
        )
    rng, found = np.random.default_rng(seed), []
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "said.wav"
        for words in utterances:
            voice = f"{rng.choice(ACCENTS)}+{rng.choice(VARIANTS[part])}"
            speed, pitch = (int(rng.integers(*ends)) for ends in (SPEEDS, PITCHES))
            asked = [program, "-v", voice, "-s", str(speed), "-p", str(pitch), "-w", str(file)]
            done = subprocess.run(
                [*asked, " ".join(words)], capture_output=True, text=True, check=False
            )
            if done.returncode or not file.exists():
                said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
                raise ValueError(f"{PROGRAM} with the voice {voice} failed: {said}")
            found.append(read_wav(file, rate))
            file.unlink()
    return found
