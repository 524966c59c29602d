"""The options of `scan`."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import jax
from jax.export import is_symbolic_dim

from rnnjax._factory import natural


@dataclass(frozen=True)
class Options:
    """The options of `scan`, checked."""

    length: int | None = None
    reverse: bool = False
    loop_unroll: int = 1
    save: str = "auto"
    block: int | str | None = "auto"
    backward: str = "auto"
    mapped: int = 1

    def __post_init__(self) -> None:
        if self.length is not None and not is_symbolic_dim(self.length):
            object.__setattr__(self, "length", natural("length", self.length))
        if not isinstance(self.loop_unroll, bool):
            object.__setattr__(self, "loop_unroll", natural("loop_unroll", self.loop_unroll))
        object.__setattr__(self, "mapped", natural("mapped", self.mapped, least=1))
        _one_of("save", self.save, ("auto", "all", "states"))
        _one_of("backward", self.backward, ("auto", "deferred", "autodiff"))
        if isinstance(self.block, Integral) and not isinstance(self.block, bool):
            object.__setattr__(self, "block", int(self.block))  # NumPy's, too
        if isinstance(self.block, bool) or not isinstance(self.block, int | str | None):
            raise TypeError(f"block must be 'auto', None or an int, got {self.block!r}")
        if isinstance(self.block, str) and self.block != "auto":
            raise ValueError(f"block must be 'auto', None or an int, got {self.block!r}")
        if isinstance(self.block, int) and self.block < 1:
            raise ValueError(f"block must be at least 1 step, got {self.block}")

    @property
    def chooses(self) -> bool:
        """Whether all that could be asked for is left to the compiler."""
        return (self.save, self.block, self.backward) == ("auto", "auto", "auto")


def steps(xs: Any, length: int | None) -> int:
    """T: that of xs, or as told where xs has no leaves."""
    leaves: list[Any] = jax.tree.leaves(xs)
    return leaves[0].shape[0] if leaves else length or 0


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
