"""Trees of other libraries as flat dicts of arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import ml_dtypes
import numpy as np

from rnnjax._cell import PyTree


def flat(tree: PyTree, separator: str) -> dict[str, Any]:
    """The arrays of a tree by the names on their paths; raises ValueError where two are alike."""
    arrays: dict[str, Any] = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        name = separator.join(map(name_of, path))
        if name in arrays:
            raise ValueError(f"two arrays are called {name}: rename a key that has a {separator!r}")
        arrays[name] = as_array(leaf)
    return arrays


def name_of(entry: Any) -> str:
    """The name of one step of a path: a key, an attribute, or a place."""
    for attribute in ("key", "name", "idx"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def part_of(tree: Any, path: str, separator: str) -> Any:
    """What stands at a path of keys, attributes and places; None where nothing does."""
    for step in path.split(separator) if path else ():
        try:
            known = isinstance(tree, Mapping) or step.isdigit()
            key = step if isinstance(tree, Mapping) else int(step) if known else ""
            tree = tree[key] if known else getattr(tree, step)
        except (AttributeError, LookupError, TypeError):
            return None
    return tree


def nested(arrays: dict[str, Any], separator: str) -> dict[str, Any]:
    """The inverse of `flat`, of dicts."""
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *way, last = name.split(separator)
        node = tree
        for step in way:
            node = node.setdefault(step, {})
        node[last] = array
    return tree


def as_array(value: Any) -> Any:
    """JAX's and NumPy's arrays as they are; tensors and variables as NumPy's, bit for bit."""
    if isinstance(value, jax.Array | np.ndarray):
        return value
    if hasattr(value, "detach"):  # a tensor of PyTorch, whose bfloat16 NumPy does not know
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            return value.float().numpy().astype(ml_dtypes.bfloat16)
        return value.numpy()
    return np.asarray(value)
