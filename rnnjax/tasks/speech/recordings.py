"""Sounds that a user has: WAV files, and what is said in them."""

from __future__ import annotations

import io
import math
import pathlib
import warnings

import numpy as np
import scipy.io.wavfile
import scipy.signal

from rnnjax.tasks._writing.pairs import Text, read_pairs
from rnnjax.train.files import read_columns

TABLES = ("transcripts.tsv", "transcripts.csv")
SLOWEST, FASTEST = 1000, 400_000  # samples a second that a file may state
SHORTEST = 0.025  # seconds: a window
LOUDEST = 1e30  # of floating samples, so that float32 holds them


def read_wav(path: pathlib.Path, rate: int) -> np.ndarray:
    """The sound of a WAV file, its channels' mean, at another rate of samples.

    Args:
      path: the file, of integers or floats.
      rate: samples a second that are wanted.

    Returns:
      float32 [samples].

    Raises:
      ValueError: it cannot be read, is no such file, or has a rate or samples that will not do.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # a name that no file can have
        raise ValueError(f"{str(path)!r} cannot be read: {error}") from None
    return sound_of(data, path, rate)


def sound_of(data: bytes, what: object, rate: int) -> np.ndarray:
    """The sound of the bytes of a WAV file; as `read_wav`, and `what` they are called in errors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.io.wavfile.WavFileWarning)  # chunks of others
            its, samples = scipy.io.wavfile.read(io.BytesIO(data))
    except Exception as error:  # what scipy raises for a file that is cut short depends on where
        why = "it has no samples" if isinstance(error, UnboundLocalError) else error
        raise ValueError(
            f"{what} is no WAV file of plain samples: {why}; convert it, as with ffmpeg -i FILE "
            "OUT.wav"
        ) from None
    if not SLOWEST <= its <= FASTEST:
        raise ValueError(
            f"{what} says that it has {its} samples a second: write the right rate into it, "
            f"{SLOWEST:,} to {FASTEST:,}"
        )
    if samples.dtype.kind in "iu":
        middle, most = (128, 128) if samples.dtype == np.uint8 else (0, np.iinfo(samples.dtype).max)
        samples = (samples.astype(float) - middle) / most
    sound = samples.astype(float).reshape(len(samples), -1).mean(axis=1)
    if len(sound) < SHORTEST * its:
        raise ValueError(f"{what} has {len(sound)} samples: at least {SHORTEST} s are needed")
    if not (np.abs(sound) < LOUDEST).all():
        raise ValueError(f"{what} has samples that are no finite numbers, or beyond {LOUDEST:g}")
    common = math.gcd(rate, its)
    if rate != its:
        sound = scipy.signal.resample_poly(sound, rate // common, its // common)
    return sound.astype(np.float32)


def read_transcripts(path: pathlib.Path) -> list[Text]:
    """Files and what is said in each, of a folder or of a table in it.

    The table is transcripts.tsv, on each line a file's name, a tab and the words; or
    transcripts.csv, whose first line is file,text. Names begin at the table's folder.

    Raises:
      ValueError: there is no table, or a line of it will not do, such as one without words.
    """
    found = [path / name for name in TABLES if (path / name).is_file()] if path.is_dir() else [path]
    if not found:
        raise ValueError(
            f"{path} has no {TABLES[0]}, on each line a WAV file's name, a tab and what is said, "
            f"nor {TABLES[1]} with columns file and text"
        )
    table = found[0]
    if table.suffix == ".csv":
        named = {"a first line file,text": "file", "a first line of file,text": "text"}
        rows = [(file.strip(), text) for file, text in read_columns(table, named)]
    else:
        rows = read_pairs(table)
    if not rows:
        raise ValueError(f"{table} has no line with a file and what is said in it")
    return [(str(table.absolute().parent / file), plain(text)) for file, text in rows]


def plain(text: str) -> str:
    """Small letters, and one space between words."""
    return " ".join(text.lower().split())
