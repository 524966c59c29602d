"""What is tagged: a sentence, or a line of source."""

from __future__ import annotations

from typing import NamedTuple


class Sentence(NamedTuple):
    """Tokens, the tag of each, and how they stood in their line.

    Attributes:
      tokens: the tokens, in order.
      tags: as many tags; () where they are not known.
      blanks: how many blanks stood before each token.
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    blanks: tuple[int, ...]
