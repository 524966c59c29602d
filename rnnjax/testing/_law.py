"""A law of the contract."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from rnnjax.testing._case import Case


@dataclasses.dataclass(frozen=True)
class Law:
    """A law of the contract.

    Attributes:
      name: how reports and `skip` call it.
      check: the function that raises where it is broken.
      cause: what is usually wrong then.
    """

    name: str
    check: Callable[[Case], None]
    cause: str

    @property
    def says(self) -> str:
        """The law in words."""
        doc = self.check.__doc__ or ""
        return (doc[0].lower() + doc[1:]).rstrip(".") if doc else ""


def law(name: str, *, cause: str) -> Callable[[Callable[[Case], None]], Law]:
    """Makes a law of the function that checks it."""
    return lambda check: Law(name, check, cause)
