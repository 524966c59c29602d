"""What a tagger sees of a token: the word if it is known, its shape and its ending."""

from __future__ import annotations

import collections
import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

_ENDING, _LONGEST = 3, 6


@functools.lru_cache(maxsize=1 << 16)
def shape(token: str) -> str:
    """The shape of a token: runs of letters by their case, of digits, and what stands between.

    Example:
      >>> from rnnjax.tasks.tag.vocabulary import shape
      >>> [shape(token) for token in ("is_Valid2", "HTTP", "3.14", "'it is'")]
      ['a_Aa0', 'A', '0.0', "'a a'"]
    """
    kinds = "".join(
        "A" if c.isupper() else "a" if c.isalpha() else "0" if c.isdigit() else c
        for c in token[: 8 * _LONGEST]
    )
    return re.sub(r"([Aa0])\1+", r"\1", kinds)[:_LONGEST]


def ending(token: str) -> str:
    """The last letters of a token, in lower case."""
    return token[-_ENDING:].lower()


class Vocabulary:
    """The words, shapes, endings and tags of some sentences, and the ids of tokens by them.

    Args:
      words: the words that are known.
      shapes: the shapes.
      endings: the endings.
      tags: the tags, in the order of their ids.
    """

    def __init__(self, words: list[str], shapes: list[str], endings: list[str], tags: list[str]):
        self.facts = {"words": words, "shapes": shapes, "endings": endings, "tags": tags}
        self.tags = tags
        self._tag_ids = {tag: n for n, tag in enumerate(tags)}
        # One table of vectors has them all: an unknown one has an id of its own, before the known.
        sizes = [len(known) + 1 for known in (words, shapes, endings)]
        bases = np.concatenate([[0], np.cumsum(sizes)]).tolist()
        self.size = bases[-1]
        self._bases = bases[:3]
        self._known = [
            {name: base + n for n, name in enumerate(names, start=1)}
            for base, names in zip(self._bases, (words, shapes, endings), strict=True)
        ]

    @classmethod
    def of(cls, tokens: Iterable[Sequence[str]], tags: list[str], min_count: int) -> Vocabulary:
        """The words that occur at least `min_count` times; shapes and endings of so many words."""
        counts = collections.Counter(token for sentence in tokens for token in sentence)
        words = sorted(word for word, n in counts.items() if n >= min_count)
        shapes, endings = (
            sorted(
                name for name, n in collections.Counter(map(f, counts)).items() if n >= min_count
            )
            for f in (shape, ending)
        )
        return cls(words, shapes, endings, tags)

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Vocabulary:
        """The one that `facts` stand for."""
        return cls(facts["words"], facts["shapes"], facts["endings"], facts["tags"])

    def encode(self, tokens: Sequence[str]) -> np.ndarray:
        """The ids of a sentence's tokens, int32 [T, 3]: word, shape, ending."""
        words, shapes, endings = self._known
        unknown = self._bases
        rows = [
            (
                words.get(token, unknown[0]),
                shapes.get(shape(token), unknown[1]),
                endings.get(ending(token), unknown[2]),
            )
            for token in tokens
        ]
        return np.array(rows, np.int32).reshape(-1, 3)

    def encode_tags(self, tags: Sequence[str]) -> np.ndarray:
        """The ids of tags, int32 [T]; ValueError for one that was not among those learnt."""
        for tag in tags:
            if tag not in self._tag_ids:
                raise ValueError(
                    f"the tag {tag!r} is none of the model's, which are {', '.join(self.tags)}: "
                    "check the column of the tags"
                )
        return np.array([self._tag_ids[tag] for tag in tags], np.int32)
