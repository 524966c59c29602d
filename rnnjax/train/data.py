"""Text as symbols: where it comes from, and how it is split."""

from __future__ import annotations

import ast
import collections
import functools
import hashlib
import itertools
import pathlib
import re
import sys
import sysconfig
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rnnjax._factory import natural

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
    chosen, size = {}, 0
    for name, source in _library_sources():
        if size < _LIBRARY_CHARACTERS:
            chosen[name] = source
            size += len(source)
    return _split_files(chosen)


def standard_library_docstrings() -> Text:
    """The documentation strings of the running interpreter's standard library, split by file.

    English prose, of the same files as `standard_library_text` but all of them: about 1.5 million
    characters.

    Returns:
      A `Text`.

    Raises:
      ValueError: the interpreter comes without its sources.
    """
    documented = {}
    for name, source in _library_sources():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the escapes in old sources
            nodes = list(ast.walk(ast.parse(source)))
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        found = (ast.get_docstring(node) for node in nodes if isinstance(node, kinds))
        if text := "".join(f"{docstring}\n\n" for docstring in found if docstring):
            documented[name] = text
    return _split_files(documented)


def _library_sources() -> Iterator[tuple[str, str]]:
    """Name and text of the standard library's sources, in the order of a hash of the names."""
    root = pathlib.Path(sysconfig.get_path("stdlib"))
    names = {
        path.relative_to(root).as_posix(): path
        for path in root.rglob("*.py")
        if not _LEFT_OUT.intersection(path.relative_to(root).parts)
        and not path.name.startswith("_sysconfigdata")  # written by each machine's own build
    }
    if not names:
        raise ValueError(f"no Python sources in {root}: pass a text of your own")
    for name in sorted(names, key=_hash):
        try:
            yield name, _decode(names[name])
        except ValueError:  # one or two sources are not UTF-8, on purpose
            continue


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
    texts = _read_files(pathlib.Path(path))
    return _split_files(texts) if len(texts) >= 3 else _split_position("".join(texts.values()))


def read_whole(path: str | pathlib.Path) -> str:
    """A user's text in one piece; arguments and errors of `read_text`."""
    return "".join(_read_files(pathlib.Path(path)).values())


def _read_files(path: pathlib.Path) -> dict[str, str]:
    """The text of a file, or of each file of a folder, by name; empty files left out."""
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
        return texts
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    text = _decode(path)
    if not text:
        raise ValueError(f"{path} is empty")
    return {path.name: text}


def _decode(path: pathlib.Path) -> str:
    try:
        return decoded(path, path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None


def decoded(what: object, data: bytes) -> str:
    """The text of UTF-8 without its byte order mark; ValueError with the byte where it is not."""
    try:
        return data.decode("utf-8").removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    except UnicodeDecodeError as error:
        raise ValueError(f"{what} is not UTF-8: {error.reason} at byte {error.start}") from None


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

    unit = "character"

    def __init__(self, characters: Sequence[str]):
        self.characters = self.symbols = "".join(characters)
        points = np.array([ord(c) for c in self.characters], np.int64)
        if (np.diff(points) <= 0).any():
            raise ValueError("characters must be distinct and in code-point order")
        self._ids = np.full(0x110000, len(points), np.int32)
        self._ids[points] = np.arange(len(points))

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
        ids = np.empty(len(text), np.int32)
        for start in range(0, len(text), _BLOCK):  # so that a long text needs little more memory
            # A command line hands over bytes that are not UTF-8 as lone surrogates.
            block = text[start : start + _BLOCK].encode("utf-32-le", "surrogatepass")
            ids[start : start + _BLOCK] = self._ids[np.frombuffer(block, np.uint32)]
        for where in () if unknown else np.flatnonzero(ids == len(self.characters))[:1]:
            raise ValueError(
                f"the character {text[where]!r} (position {where}) was not in the training text"
            )
        return ids

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of some ids; the unknown symbol is U+FFFD."""
        ids = np.asarray(ids)
        check_symbols(ids, len(self))
        return "".join(self.piece(None, i) for i in ids)

    def piece(self, before: int | None, symbol: int) -> str:
        """What a symbol adds to a text; `before` is the one before it."""
        return (self.characters + UNKNOWN)[symbol]


_BLOCK = 1 << 20


def words(text: str) -> Iterator[str]:
    r"""The words of a text: runs of letters and digits, each punctuation mark, each line's end.

    What Unicode attaches to the character before it, such as accents, vowel signs and joiners,
    stays with it.

    Args:
      text: any text. Its blanks are left out, and the end of a line is "<eos>".

    Returns:
      An iterator over the words. "<unk>" and "<eos>" in the text, where others prepared it, are
      words of their own.

    Example:
      >>> from rnnjax.train import words
      >>> list(words("It's late, he said.\nGo!"))
      ["It's", 'late', ',', 'he', 'said', '.', '<eos>', 'Go', '!']
    """
    for match in _word().finditer(text):
        yield END if match[0] == "\n" else match[0]


@functools.cache  # a look at all of Unicode, when words are wanted
def _word() -> re.Pattern[str]:
    r"""What `words` finds. Marks are no part of \w, and `re` has no name for them."""
    marks = [p for p in range(sys.maxunicode + 1) if unicodedata.category(chr(p))[0] == "M"]
    runs = (
        [mark for _, mark in run]
        for _, run in itertools.groupby(enumerate(marks), lambda pair: pair[1] - pair[0])
    )
    attached = "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in runs)
    # The soft hyphen, the joiners, and the tones of skin.
    attached += "\u00ad\u200c\u200d\u2060\U0001f3fb-\U0001f3ff"
    return re.compile(
        rf"<unk>|<eos>|\w[\w{attached}]*(?:['’]\w[\w{attached}]*)*"
        rf"|[^\w\s](?:[{attached}]|(?<=\u200d)[^\w\s])*|\n"
    )


END = "<eos>"
UNKNOWN_WORD = "<unk>"


class Words:
    r"""Words and their ids: the end of a line, the known words, then the unknown one.

    Args:
      known: the known words, in the order of their ids; the end of a line is the first.

    Example:
      >>> from rnnjax.train import Words
      >>> vocabulary = Words.of("the cat, the dog, the end.\n", size=5)
      >>> vocabulary.symbols
      ['<eos>', 'the', ',', '.']
      >>> ids = vocabulary.encode("the bird.", unknown=True)
      >>> ids.tolist(), vocabulary.decode(ids)
      ([1, 4, 3], 'the <unk>.')
    """

    unit = "word"

    def __init__(self, known: Sequence[str]):
        self.symbols = list(known)
        self._ids = {word: i for i, word in enumerate(self.symbols)}
        if self.symbols[:1] != [END] or len(self._ids) < len(self.symbols):
            raise ValueError(f"words must be distinct, and the first {END}")

    @classmethod
    def of(cls, text: str, size: int = 10_000, min_count: int = 1) -> Words:
        """The most frequent words of a text.

        Args:
          text: the training text.
          size: how many symbols there are at most, the end of a line and the unknown one included.
          min_count: how often a word must occur.
        """
        counts = collections.Counter(words(text))
        known = [w for w, n in counts.items() if n >= min_count and w not in (END, UNKNOWN_WORD)]
        known.sort(key=lambda word: (-counts[word], word))
        return cls([END, *known[: natural("vocabulary_size", size, least=2) - 2]])

    def __len__(self) -> int:
        """The number of symbols, the unknown one included."""
        return len(self.symbols) + 1

    def encode(self, text: str, *, unknown: bool = False) -> np.ndarray:
        """The ids of a text's words, int32.

        Args:
          text: any text.
          unknown: whether a word that is not known becomes the unknown one.

        Returns:
          [number of words].

        Raises:
          ValueError: a word is not in the vocabulary, and `unknown` is False.
        """
        missing = len(self.symbols)
        ids = np.fromiter((self._ids.get(word, missing) for word in words(text)), np.int32)
        for where in () if unknown else np.flatnonzero(ids == missing)[:1]:
            word = next(itertools.islice(words(text), int(where), None))
            raise ValueError(
                f"the word {word!r} (position {where}) is not in the vocabulary of {len(self)}"
            )
        return ids

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """A text of some ids, with blanks where English has them."""
        ids = np.asarray(ids)
        check_symbols(ids, len(self))
        return "".join(self.piece(before, i) for before, i in zip((None, *ids), ids, strict=False))

    def piece(self, before: int | None, symbol: int) -> str:
        """What a symbol adds to a text; `before` is the one before it."""
        word = [*self.symbols, UNKNOWN_WORD][symbol]
        if word == END:
            return "\n"
        left = END if before is None else [*self.symbols, UNKNOWN_WORD][before]
        glued = left == END or left in "([{" or word in ".,;:!?)]}%"
        return word if glued else f" {word}"


def check_symbols(ids: np.ndarray, size: int) -> None:
    """Raises ValueError unless all ids lie in [0, size): JAX's indexing would clamp silently."""
    for at in np.flatnonzero((ids < 0) | (ids >= size))[:1]:
        raise ValueError(f"symbol {ids.flat[at]} at position {at} is outside [0, {size})")
