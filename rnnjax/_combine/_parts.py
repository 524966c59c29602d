"""The parts of a composite: by place, or by the names which the caller gives them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rnnjax._cell import Array, Params, PyTree, State
from rnnjax._noise import fold_in, folded


@dataclasses.dataclass(frozen=True)
class Parts:
    """Cells or layers with what names them: 0, 1, .. where the caller gave no names.

    Parameters, states and keys go by these names, so that a part which is put between two others
    changes neither what theirs are called nor how they are drawn.
    """

    names: tuple[int | str, ...]
    parts: tuple[Any, ...]

    @classmethod
    def of(cls, owner: str, placed: tuple[Any, ...], named: Mapping[str, Any]) -> Parts:
        """The parts of a call `owner(*placed, **named)`.

        Raises:
          TypeError: some are named and some are not.
          ValueError: there is none, or a name is no identifier.
        """
        if placed and named:
            raise TypeError(
                f"{owner} takes its parts by place or by name, got {len(placed)} by place and "
                f"{', '.join(named)} by name: name all of them"
            )
        if not placed and not named:
            raise ValueError(f"{owner} needs at least one part, got none")
        for name in named:
            if not name.isidentifier():
                raise ValueError(f"{owner}: a part must be named by an identifier, got {name!r}")
        return cls((*named,) or (*range(len(placed)),), placed or (*named.values(),))

    def __str__(self) -> str:
        return ", ".join(
            part.name if isinstance(name, int) else f"{name}={part.name}"
            for name, part in zip(self.names, self.parts, strict=True)
        )

    def tree(self, values: Iterable[Any]) -> PyTree:
        """One value a part, as the parameters and states are kept: a tuple, or a dict by name."""
        return tuple(values) if self.names[0] == 0 else dict(zip(self.names, values, strict=True))

    def entries(self, what: str, tree: Any) -> list[Any]:
        """The inverse of `tree`; raises TypeError where it has not one entry a part."""
        if isinstance(tree, Mapping) and {*tree} == {*self.names}:
            return [tree[name] for name in self.names]
        if isinstance(tree, tuple | list) and [*range(len(tree))] == [*self.names]:
            return [*tree]
        got = f"{len(tree)} entries" if isinstance(tree, tuple | list) else type(tree).__name__
        got = f"the entries {', '.join(map(str, tree))}" if isinstance(tree, Mapping) else got
        wanted = (
            f"a tuple of {len(self.names)} entries" if self.names[0] == 0
            else f"a dict of the entries {', '.join(map(str, self.names))}"
        )  # fmt: skip
        raise TypeError(f"{what} must be {wanted}, got {got}")

    def keys(self, key: Array | None) -> list[Any]:
        """A key for each part, from its name alone; none where `key` is None."""
        if key is None:
            return [None] * len(self.names)
        return [fold_in(key, folded(name)) for name in self.names]

    def each(self, params: PyTree, state: PyTree) -> Iterator[tuple[Any, Params, State]]:
        """Each part with its parameters and its state."""
        params, state = self.entries("params", params), self.entries("state", state)
        return zip(self.parts, params, state, strict=True)

    def initial_state(
        self, params: PyTree, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> PyTree:
        """The states of the parts, the noise of each from its own key."""
        every = zip(self.parts, self.entries("params", params), self.keys(key), strict=True)
        return self.tree(part.initial_state(p, batch_shape, key=k) for part, p, k in every)

    def recurrent(self) -> tuple[str, ...]:
        """The paths of the parts' recurrent fields."""
        return tuple(
            f"{name}.{path}"
            for name, part in zip(self.names, self.parts, strict=True)
            for path in part.recurrent
        )
