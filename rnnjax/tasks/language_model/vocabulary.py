"""Text as symbols: characters or words, and their ids."""

from __future__ import annotations

import collections
import functools
import itertools
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np

from rnnjax._factory import natural

UNKNOWN = "\N{REPLACEMENT CHARACTER}"


class Vocabulary:
    """Characters and their ids: those of a text in code-point order, then the unknown symbol.

    Args:
      characters: one of each known character, in the order of their ids.

    Example:
      >>> from rnnjax.tasks.language_model import Vocabulary
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
      >>> from rnnjax.tasks.language_model import words
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
      >>> from rnnjax.tasks.language_model import Words
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
