"""Piano rolls [T, 88], the names of their pitches, and the files that they are read from."""

from __future__ import annotations

import pathlib
import pickle
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnjax.tasks.music.midi import midi_files, read_midi
from rnnjax.train.files import needed

# The keys of a piano: LOWEST is A0, the last one C8.
LOWEST, NOTES = 21, 88
HIGHEST = LOWEST + NOTES - 1
NAMES: tuple[str, ...] = tuple("C C# D D# E F F# G G# A A# B".split())
SUFFIXES = (".mat", ".pickle", ".pkl", ".npz", ".mid", ".midi")
PARTS = ("train", "valid", "test")
MEANS = "1 for a note that sounds and 0 for one that does not"

Rolls = list[np.ndarray]


def pitch_name(pitch: int) -> str:
    """What a MIDI number is called, such as C4 for 60."""
    return f"{NAMES[pitch % 12]}{pitch // 12 - 1}"


def pitch_of(name: str) -> int:
    """The MIDI number of a name such as C4, F#3 or Bb2; ValueError where no key of a piano is."""
    found = re.fullmatch("([A-Ga-g])(#*|b*)(-?[0-9])", name)
    if found:
        letter, signs, octave = found.groups()
        shift = len(signs) * (-1 if "b" in signs else 1)
        pitch = NAMES.index(letter.upper()) + shift + 12 * (int(octave) + 1)
        if LOWEST <= pitch <= HIGHEST:
            return pitch
    raise ValueError(f"{name!r} is no key of a piano: they are A0 to C8, such as C4, F#3 or Bb2")


def chord_of(frame: np.ndarray) -> str:
    """The pitches of one step [88] by their names, or a rest."""
    return " ".join(pitch_name(LOWEST + int(n)) for n in np.flatnonzero(frame)) or "rest"


def frames(steps: Sequence[Sequence[int]]) -> np.ndarray:
    """The roll [T, 88] of steps, each the MIDI numbers that sound."""
    roll = np.zeros((len(steps), NOTES), np.uint8)
    for t, step in enumerate(steps):
        roll[t, np.asarray(step, int) - LOWEST] = 1
    return roll


# --- files ----------------------------------------------------------------------------------------


def read_pieces(path: pathlib.Path, grid: float) -> list[Rolls]:
    """The pieces of a file or of a folder of MIDI files.

    Args:
      path: .mat, .pickle, .pkl or .npz with piano rolls, .mid or .midi, or a folder of these two;
        in folders train, valid and test where it says which piece is of which part.
      grid: beats of a step, of MIDI files.

    Returns:
      Rolls, uint8 [T_n, 88] each, in three parts: train, valid and test; in one where the file does
      not say.

    Raises:
      ValueError: it cannot be read, or what is in it will not do; says where.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    kind = path.suffix.lower()
    try:
        if path.is_dir():
            parts = [midi_files(path / part) for part in PARTS]
            if any(parts) and not all(parts):
                lacks = ", ".join(part for part, some in zip(PARTS, parts, strict=True) if not some)
                raise ValueError(
                    f"{path} has no MIDI files in {lacks}, but in others of {', '.join(PARTS)}: "
                    "fill all three, or name none of them so"
                )
            parts = parts if all(parts) else [midi_files(path)]
            if not any(parts):
                raise ValueError(f"{path} has no MIDI files (.mid, .midi) in it")
            found = [[_sampled(file, grid) for file in part] for part in parts]
        elif kind in (".mid", ".midi"):
            found = [[_sampled(path, grid)]]
        elif kind == ".mat":
            found = _of_mat(path)
        elif kind == ".npz":
            found = _of_npz(path)
        elif kind in (".pickle", ".pkl"):
            found = _of_pickle(path)
        else:
            raise ValueError(f"{path} must be one of {', '.join(SUFFIXES)}, or a folder of MIDI")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
    for name, part in zip(PARTS if len(found) > 1 else ("",), found, strict=True):
        if not part:
            raise ValueError(f"{path} has no pieces{f' in {name}' * bool(name)}")
    return found


def _sampled(path: pathlib.Path, grid: float) -> np.ndarray:
    """The roll of a MIDI file; notes that a piano has not are left out."""
    roll = _checked(read_midi(path, grid)[:, LOWEST : HIGHEST + 1], str(path))
    if not roll.any():
        raise ValueError(f"{path} has no notes that a piano has, {LOWEST} to {HIGHEST}")
    return roll


def _of_mat(path: pathlib.Path) -> list[Rolls]:
    """A file of MATLAB with traindata, validdata and testdata, cells of [T, 88]."""
    loadmat = needed("scipy.io").loadmat
    try:
        stored = loadmat(path)
    except OSError:
        raise
    except Exception as error:  # a damaged one raises almost anything
        raise ValueError(f"{path} is no .mat file that scipy reads: {error}") from None
    names = [f"{part}data" for part in PARTS]
    if missing := [name for name in names if name not in stored]:
        there = ", ".join(name for name in stored if not name.startswith("_")) or "nothing"
        raise ValueError(f"{path} has no {missing[0]}, but {there}: {', '.join(names)} are needed")
    return [
        [
            _checked(roll, f"{path}: piece {n} of {name}")
            for n, roll in enumerate(_cells(stored, name))
        ]
        for name in names
    ]


def _cells(stored: dict[str, Any], name: str) -> list[Any]:
    cells = np.asarray(stored[name])
    return list(cells.ravel()) if cells.dtype == object else list(np.atleast_3d(cells))


def _of_npz(path: pathlib.Path) -> list[Rolls]:
    """train, valid and test [N, T, 88], with train_lengths [N] and so on; or pieces [T, 88]."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored)
    except OSError:
        raise
    except Exception as error:  # a damaged one raises almost anything
        raise ValueError(
            f"{path} is no .npz file of plain arrays: {error}: save train, valid and test "
            "[N, T, 88], or pieces [T, 88]"
        ) from None
    if not set(PARTS) <= arrays.keys():
        return [[_checked(roll, f"{path}: {name}") for name, roll in arrays.items()]]
    found = []
    for name in PARTS:
        rolls = arrays[name]
        lengths = arrays.get(f"{name}_lengths", np.full(rolls.shape[:1], rolls.shape[1:2] or 0))
        if rolls.ndim != 3 or lengths.shape != rolls.shape[:1] or lengths.dtype.kind not in "iu":
            raise ValueError(
                f"{path}: {name} must be [N, T, {NOTES}] and {name}_lengths integers [N], got "
                f"{list(rolls.shape)} and {lengths.dtype} {list(lengths.shape)}"
            )
        if len(lengths) and not 1 <= lengths.min() <= lengths.max() <= rolls.shape[1]:
            raise ValueError(f"{path}: {name}_lengths must be in [1, {rolls.shape[1]}]")
        cut = [roll[:n] for roll, n in zip(rolls, lengths, strict=True)]
        found.append([_checked(roll, f"{path}: {name}[{n}]") for n, roll in enumerate(cut)])
    return found


class _Plain(pickle.Unpickler):
    """Reads lists, tuples, dicts, numbers and strings; nothing that would call a function."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(
            f"it holds {module}.{name}, and nothing but lists, tuples and numbers is read, for "
            "whatever else can run a program"
        )


def _of_pickle(path: pathlib.Path) -> list[Rolls]:
    """A dict of train, valid and test: pieces, each of them steps, each of them MIDI numbers."""
    try:
        with path.open("rb") as file:
            stored = _Plain(file, encoding="latin1").load()
    except OSError:
        raise
    except Exception as error:  # a damaged pickle raises almost anything
        raise ValueError(f"{path} is no plain pickle: {error}") from None
    if not isinstance(stored, dict) or not set(PARTS) <= stored.keys():
        got = (
            f"keys {sorted(map(str, stored))}"
            if isinstance(stored, dict)
            else type(stored).__name__
        )
        raise ValueError(f"{path} must be a dict with train, valid and test, got {got}")
    return [
        [_of_steps(piece, f"{path}: piece {n} of {part}") for n, piece in enumerate(stored[part])]
        for part in PARTS
    ]


def _of_steps(piece: Any, where: str) -> np.ndarray:
    if not isinstance(piece, list | tuple) or not piece:
        raise ValueError(f"{where} must be a list of steps, got {piece!r:.60}")
    for t, step in enumerate(piece):
        whole = isinstance(step, list | tuple) and all(type(pitch) is int for pitch in step)
        if not whole or not all(LOWEST <= pitch <= HIGHEST for pitch in step):
            raise ValueError(
                f"{where}, step {t} must be MIDI numbers from {LOWEST} to {HIGHEST}, got "
                f"{step!r:.60}"
            )
    return frames(piece)


def _checked(roll: Any, where: str) -> np.ndarray:
    """A roll as uint8 [T, 88]; ValueError where it is none."""
    roll = np.asarray(roll)
    if roll.ndim != 2 or roll.shape[1] != NOTES or roll.dtype.kind not in "biuf" or not len(roll):
        raise ValueError(
            f"{where} must be numbers [T, {NOTES}], a row for each step, got {roll.dtype} "
            f"{list(roll.shape)}"
        )
    if not np.isin(roll, (0, 1)).all():
        odd = roll[~np.isin(roll, (0, 1))][0]
        raise ValueError(f"{where} must be {MEANS}, got {odd:g}")
    return roll.astype(np.uint8)
