"""Parameters that are no arrays: functions, strings, numbers of Python's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax

Step = Callable[[Any, Any, Any], tuple[Any, Any]]


@dataclass(frozen=True)
class Static:
    """The leaves of `params` that are no arrays; comparable, so that plans are cached by them.

    Attributes:
      tree: The structure of `params`.
      leaves: Each leaf in a tuple of its own, or None where an array belongs.
    """

    tree: Any
    leaves: tuple[tuple[Any] | None, ...]

    @classmethod
    def of(cls, params: Any) -> tuple[list[Any], Static]:
        """The arrays among the leaves of `params`, and the rest."""
        named, tree = jax.tree_util.tree_flatten_with_path(params)
        for path, leaf in named:
            if not _is_array(leaf) and getattr(leaf, "__hash__", None) is None:
                raise TypeError(
                    f"params{jax.tree_util.keystr(path)} is a {type(leaf).__name__}, which is no "
                    "array and has no hash; close over it in step, or pass an array or a tuple"
                )
        leaves = tuple(None if _is_array(leaf) else (leaf,) for _, leaf in named)
        return [leaf for _, leaf in named if _is_array(leaf)], cls(tree, leaves)

    def values(self) -> list[Any]:
        """The leaves that are no arrays."""
        return [leaf[0] for leaf in self.leaves if leaf is not None]

    def joined(self, arrays: Iterable[Any]) -> Any:
        """`params` again, of these arrays."""
        rest = iter(arrays)
        return self.tree.unflatten(
            [next(rest) if leaf is None else leaf[0] for leaf in self.leaves]
        )

    def bound(self, step: Step) -> Step:
        """`step`, with a list of arrays for `params`."""

        def bound(arrays: Any, state: Any, x: Any) -> tuple[Any, Any]:
            return step(self.joined(arrays), state, x)

        return bound


def _is_array(leaf: Any) -> bool:
    """Whether a leaf is a value to compute with. NumPy's types have a dtype and are none."""
    like_array = hasattr(leaf, "dtype") and hasattr(leaf, "shape")
    return (like_array or hasattr(leaf, "__jax_array__")) and not isinstance(leaf, type)
