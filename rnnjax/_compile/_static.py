"""Parameters that are no arrays: functions, strings, sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax

from rnnjax._compile._trace import Step


@dataclass(frozen=True)
class Static:
    """The leaves of `params` that are no arrays; comparable, so that plans are cached by them.

    Attributes:
      tree: The structure of `params`.
      leaves: For each leaf its type and itself, or None where an array belongs.
    """

    tree: Any
    leaves: tuple[tuple[type, Any] | None, ...]

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
        leaves = tuple(None if _is_array(leaf) else (type(leaf), leaf) for _, leaf in named)
        return [leaf for _, leaf in named if _is_array(leaf)], cls(tree, leaves)

    def bound(self, step: Step) -> Step:
        """`step`, with a list of arrays for `params`."""

        def bound(arrays: Any, state: Any, x: Any) -> tuple[Any, Any]:
            rest = iter(arrays)
            leaves = [next(rest) if leaf is None else leaf[1] for leaf in self.leaves]
            return step(jax.tree.unflatten(self.tree, leaves), state, x)

        return bound


def _is_array(leaf: Any) -> bool:
    """Whether a leaf is a value to compute with. NumPy's types have a dtype and are none."""
    like_array = hasattr(leaf, "dtype") and hasattr(leaf, "shape")
    return (like_array or hasattr(leaf, "__jax_array__") or isinstance(leaf, float | complex)) and (
        not isinstance(leaf, type)
    )
