"""What a user may ask of a model of music, and the files that an answer is written to."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rnnjax.tasks.music.midi import TEMPO, read_midi, write_midi
from rnnjax.tasks.music.rolls import HIGHEST, LOWEST, frames, pitch_of
from rnnjax.tasks.music.sound import write_wav

HELP = (
    "a request has, with commas between: chords such as C3 G3 E4 C5, rest, or from FILE.mid; "
    "64 steps; temperature 0.9; seed 1; to FILE.mid or to FILE.wav"
)
# How a piece is written, by the ending of a file: (path, roll, its lowest pitch, grid).
WRITERS: dict[str, Callable[..., None]] = {
    ".mid": write_midi,
    ".midi": write_midi,
    ".wav": write_wav,
}
STEPS, MOST = 32, 100_000
MINUTES = 60  # of sound at most: a longer one fits no memory


class Request(NamedTuple):
    """What is asked.

    Attributes:
      roll: what the piece begins with, [T, 88]; it may have no step at all.
      steps: how many steps follow it.
      temperature: what logits are divided by.
      seed: of the draws.
      files: where the whole piece is written to.
    """

    roll: np.ndarray
    steps: int
    temperature: float
    seed: int
    files: list[pathlib.Path]


def parse_request(request: str, grid: float) -> Request:
    """A request in words; ValueError for one that will not do.

    Args:
      request: parts with commas between them, as `HELP` says.
      grid: beats of a step, for a MIDI file.
    """
    rolls: list[np.ndarray] = [frames([])]
    files: list[pathlib.Path] = []
    said: dict[str, Any] = {}
    parts = [part.split() for part in request.split(",")]
    if not any(parts):
        raise ValueError(f"{HELP}; got {request!r}")
    for words in filter(None, parts):
        match words:
            case [count, "step" | "steps"]:
                said["steps"] = _number(count, int, words, 1, MOST)
            case ["temperature", value]:
                said["temperature"] = _number(value, float, words, 1e-3, 1e3)
            case ["seed", value]:
                said["seed"] = _number(value, int, words, 0, 2**63 - 1)
            case ["from", *name]:
                roll = read_midi(pathlib.Path(_file(name, ".mid", ".midi")), grid)
                rolls.append(roll[:, LOWEST : HIGHEST + 1])
            case ["to", *name]:
                files.append(pathlib.Path(_file(name, *WRITERS)))
            case ["rest"]:
                rolls.append(frames([[]]))
            case _:
                try:
                    rolls.append(frames([[pitch_of(word) for word in words]]))
                except ValueError as error:
                    raise ValueError(f"{error}; {HELP}") from None
    roll, steps = np.concatenate(rolls), said.get("steps", STEPS)
    minutes = (len(roll) + steps) * grid / TEMPO
    if minutes > MINUTES and any(file.suffix.lower() == ".wav" for file in files):
        raise ValueError(
            f"{minutes:,.0f} minutes of sound are asked for, and {MINUTES} can be written: ask for "
            "fewer steps, or for a .mid"
        )
    return Request(
        roll,
        steps,
        said.get("temperature", 1.0),
        said.get("seed", 0),
        files,
    )


def _number(text: str, kind: type, words: list[str], least: float, most: float) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"{' '.join(words)!r} must have {what} from {least:g} to {most:g}; {HELP}")
    return value


def _file(words: list[str], *endings: str) -> str:
    """The name of a file, which may have blanks in it; ValueError for a wrong ending."""
    name = " ".join(words)
    if pathlib.Path(name).suffix.lower() not in endings or "\0" in name:
        raise ValueError(f"{name!r} must end in {' or '.join(endings)}; {HELP}")
    return name


def write_piece(path: pathlib.Path, roll: np.ndarray, grid: float) -> None:
    """Writes a roll [T, 88] as MIDI or as sound, as the ending of the file says."""
    WRITERS[path.suffix.lower()](path, roll, LOWEST, grid)
