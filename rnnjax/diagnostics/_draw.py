"""What tells curves and points of pictures apart, where there is no colour."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

LINES = ("-", "--", ":", "-.")
MARKS = "osv^D*P"


def styled(curves: Mapping[str, Any]) -> Iterator[tuple[str, Any, str, str]]:
    """What is to be drawn by name, each with a line and a mark of its own as long as they last."""
    lines, marks = itertools.cycle(LINES), itertools.cycle(MARKS)
    for (name, curve), line, mark in zip(curves.items(), lines, marks, strict=False):
        yield name, curve, line, mark
