"""Text as symbols: where it comes from, how it is split, and how it becomes windows."""

from __future__ import annotations

import hashlib
import pathlib
import sysconfig
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rnnjax._cell import natural

SPLITS = ("train", "validation", "test")
UNKNOWN = "\N{REPLACEMENT CHARACTER}"

# Left out of the standard library: its tests, what a distribution may or may not install, and
# tables that are data rather than code.
_LEFT_OUT = {
    *("test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "turtledemo"),
    *("encodings", "pydoc_data"),
}
_LIBRARY_CHARACTERS = 2_500_000


class Text(NamedTuple):
    """A corpus, split; each entry is the text of whole files or of one part of a file.

    Attributes:
      train: what the model learns from.
      validation: what choices are made on.
      test: what the result is reported on.
    """

    train: str
    validation: str
    test: str


def standard_library_text() -> Text:
    """The sources of the running interpreter's standard library, split by file.

    The files are those of `sysconfig.get_path("stdlib")` without its tests, in an order and a
    split given by a hash of their names: about 2.5 million characters, of which 5 % of the files
    validate and 5 % test. The same interpreter gives the same text on every machine.

    Returns:
      A `Text`.

    Raises:
      ValueError: the interpreter comes without its sources.

    Example:
      >>> from rnnjax.train import standard_library_text
      >>> text = standard_library_text()
      >>> "def " in text.train and "import " in text.test
      True
    """
    root = pathlib.Path(sysconfig.get_path("stdlib"))
    files = [
        path
        for path in sorted(root.rglob("*.py"))
        if not _LEFT_OUT.intersection(path.relative_to(root).parts)
        and not path.name.startswith("_sysconfigdata")  # written by each machine's own build
    ]
    chosen, size = {}, 0
    for path in sorted(files, key=lambda path: _hash(path.relative_to(root).as_posix())):
        if size < _LIBRARY_CHARACTERS:
            try:
                chosen[path.relative_to(root).as_posix()] = _decode(path)
            except ValueError:  # one or two sources are not UTF-8, on purpose
                continue
            size += len(chosen[path.relative_to(root).as_posix()])
    if not chosen:
        raise ValueError(f"no Python sources in {root}: pass a text of your own")
    return _split_files(chosen)


def read_text(path: str | pathlib.Path) -> Text:
    """A user's text: a UTF-8 file, split by position, or a folder of them, split by file.

    Args:
      path: a file; or a folder, all of whose files (at any depth, hidden ones left out) are read.

    Returns:
      A `Text`, about 90 % / 5 % / 5 %.

    Raises:
      ValueError: there is no such file, it is empty, it cannot be read, or it is not UTF-8 (the
        message has the byte offset).
    """
    path = pathlib.Path(path)
    if path.is_dir():
        files = [
            file
            for file in sorted(path.rglob("*"))
            if file.is_file() and not any(p.startswith(".") for p in file.relative_to(path).parts)
        ]
        texts = {file.relative_to(path).as_posix(): _decode(file) for file in files}
        texts = {name: text for name, text in texts.items() if text}
        if not texts:
            raise ValueError(f"{path} has no files with text in it")
        if len(texts) >= 3:
            return _split_files(texts)
        return _split_position("".join(texts.values()))
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    text = _decode(path)
    if not text:
        raise ValueError(f"{path} is empty")
    return _split_position(text)


def _decode(path: pathlib.Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None


def _split_files(texts: dict[str, str]) -> Text:
    """Every 20th file, in the order of a hash of the names, tests, and every 20th validates."""
    names = sorted(texts, key=_hash)
    held = max(1, len(names) // 20)
    test, validation, train = names[:held], names[held : 2 * held], names[2 * held :]
    return Text(*("".join(texts[n] for n in part) for part in (train, validation, test)))


def _split_position(text: str) -> Text:
    """The first 90 % trains; what follows, which training never reads, validates and tests."""
    a, b = int(len(text) * 0.9), int(len(text) * 0.95)
    return Text(text[:a], text[a:b], text[b:])


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


class Vocabulary:
    """Characters and their ids: those of a text in code-point order, then the unknown symbol.

    Args:
      characters: one of each known character, in the order of their ids.

    Example:
      >>> from rnnjax.train import Vocabulary
      >>> vocabulary = Vocabulary.of("hello")
      >>> vocabulary.encode("hole").tolist(), vocabulary.decode([2, 3])
      ([1, 3, 2, 0], 'lo')
    """

    def __init__(self, characters: Sequence[str]):
        self.characters = "".join(characters)
        self._points = np.array([ord(c) for c in self.characters], np.uint32)
        if (np.diff(self._points.astype(np.int64)) <= 0).any():
            raise ValueError("characters must be distinct and in code-point order")

    @classmethod
    def of(cls, text: str) -> Vocabulary:
        """The vocabulary of a text."""
        return cls(sorted(set(text)))

    def __len__(self) -> int:
        """The number of symbols, the unknown one included."""
        return len(self.characters) + 1

    def encode(self, text: str, *, unknown: bool = False) -> np.ndarray:
        """The ids of a text's characters, int32.

        Args:
          text: any text.
          unknown: whether a character never seen in training becomes the unknown symbol.

        Returns:
          [len(text)].

        Raises:
          ValueError: a character is not in the vocabulary, and `unknown` is False.
        """
        # A command line hands over bytes that are not UTF-8 as lone surrogates.
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        ids = np.searchsorted(self._points, points)
        known = np.isin(points, self._points)
        if not unknown and not known.all():
            where = int(np.argmin(known))
            raise ValueError(
                f"the character {text[where]!r} (position {where}) was not in the training text"
            )
        return np.where(known, ids, len(self.characters)).astype(np.int32)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of some ids; the unknown symbol is U+FFFD."""
        ids = np.asarray(ids)
        check_symbols(ids, len(self))
        return "".join((self.characters + UNKNOWN)[i] for i in ids)


def check_symbols(ids: np.ndarray, size: int) -> None:
    """Raises ValueError unless all ids lie in [0, size): JAX's indexing would clamp silently."""
    for at in np.flatnonzero((ids < 0) | (ids >= size))[:1]:
        raise ValueError(f"symbol {ids.flat[at]} at position {at} is outside [0, {size})")


class Streams(NamedTuple):
    """A text as parallel streams, for truncated back-propagation.

    Attributes:
      symbols: [N, B]; column b is the b-th part of the text.
      window: T, how many steps one window takes.
    """

    symbols: np.ndarray
    window: int

    @property
    def windows(self) -> int:
        """How many windows one pass over the text has."""
        return (len(self.symbols) - 1) // self.window

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray, bool]:
        """(inputs [T, B], targets [T, B], whether a new pass starts) of a training step."""
        index = step % self.windows
        piece = self.symbols[index * self.window : (index + 1) * self.window + 1]
        return piece[:-1], piece[1:], index == 0


def streams(symbols: np.ndarray, batch_size: int, window: int) -> Streams:
    """Cuts a text into B streams of equal length, to be read side by side in windows of T.

    Window k of stream b continues window k-1 of stream b, so the state can be carried.

    Args:
      symbols: the ids of the text, [M].
      batch_size: B.
      window: T.

    Returns:
      `Streams`; fewer than B symbols at the end, and those that fill no window, are left out.

    Raises:
      ValueError: the text is shorter than one window of every stream, or a size is not positive.
    """
    batch_size = natural("batch_size", batch_size, least=1)
    window = natural("window", window, least=1)
    needed = batch_size * (window + 1)
    if len(symbols) < needed:
        raise ValueError(
            f"{len(symbols)} tokens, need at least B * (T + 1) = {batch_size} * ({window} + 1) = "
            f"{needed}: use a longer text, a smaller batch or a shorter window"
        )
    length = len(symbols) // batch_size
    return Streams(symbols[: length * batch_size].reshape(batch_size, length).T, window)


def iterate(
    source: Streams, first: int, last: int
) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """The batches of steps first..last-1."""
    for step in range(first, last):
        yield source.batch(step)
