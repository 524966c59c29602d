"""Choices of a grammar: one way through them drawn, all of them, or how many there are.

A grammar is a function `make(choose, *args)` that asks `choose(options)` wherever it might go
several ways, and `choose.part(make, *args)` for a phrase that is made by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T", bound=Hashable)
_Path = list[tuple[int, list[Any]]]


class Refused(Exception):  # noqa: N818 - no error, but a way that leads nowhere
    """What has been chosen does not go together."""


class Draw:
    """Chooses by chance; an option that is listed twice is twice as likely."""

    def __init__(self, rng: np.random.Generator):
        self._random = rng.random

    def __call__(self, options: Sequence[T]) -> T:
        """One of them."""
        if not options:
            raise Refused
        return options[int(self._random() * len(options))]

    def part(self, make: Callable[..., T], *args: Hashable) -> T:
        """A phrase."""
        return make(self, *args)


class _Walk:
    """Goes the way that is laid out, then always first; `path` has (choice, of which)."""

    def __init__(self, path: _Path, memory: dict[Any, Any] | None):
        self._path, self._memory, self._depth, self.count = path, memory, 0, 1

    def __call__(self, options: Sequence[T]) -> T:
        if self._depth == len(self._path):
            different = list(dict.fromkeys(options))
            if not different:
                raise Refused
            self._path.append((0, different))
        n, different = self._path[self._depth]
        self._depth += 1
        return different[n]

    def part(self, make: Callable[..., T], *args: Hashable) -> T:
        if self._memory is None:
            return make(self, *args)
        if (make, args) not in self._memory:
            groups: dict[Any, tuple[int, Any]] = {}
            for count, found in _every(make, args, self._memory):
                before, first = groups.get(found.features, (0, found))
                groups[found.features] = before + count, first
            self._memory[make, args] = list(groups.values())
        count, found = self(self._memory[make, args])
        self.count *= count
        return found


def _every(
    make: Callable[..., Any], args: Sequence[Any], memory: dict[Any, Any] | None
) -> Iterator[tuple[int, Any]]:
    path: _Path = []
    while True:
        walk = _Walk(path, memory)
        try:
            found = make(walk, *args)
        except Refused:
            pass
        else:
            yield walk.count, found
        while path and path[-1][0] + 1 == len(path[-1][1]):
            path.pop()
        if not path:
            return
        path[-1] = path[-1][0] + 1, path[-1][1]


def draw(make: Callable[..., T], rng: np.random.Generator, *args: Any) -> T:
    """What is made of choices by chance."""
    choose = Draw(rng)
    while True:
        try:
            return make(choose, *args)
        except Refused:
            pass


def every(make: Callable[..., T], *args: Any) -> Iterator[T]:
    """All that can be made, in order."""
    return (found for _, found in _every(make, args, None))


def count(make: Callable[..., Any], *args: Any) -> int:
    """How many ways there are, without going them all.

    Phrases whose `features` are alike can be exchanged for each other, so one stands for them all.
    """
    return sum(ways for ways, _ in _every(make, args, {}))
