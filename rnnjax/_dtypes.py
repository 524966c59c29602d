"""Floor 0: which numbers a tree holds, and what sums of them are taken in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._cell import PyTree, is_held


def is_floating(leaf: Any) -> bool:
    """Whether a leaf holds floating-point numbers."""
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def map_floats(f: Callable[..., Any], tree: PyTree, *others: PyTree) -> PyTree:
    """Maps f over the floating leaves; keys, counters, flags and what is held stay as in `tree`."""

    def one(leaf: Any, *rest: Any) -> Any:
        return leaf if is_held(leaf) or not is_floating(leaf) else f(leaf, *rest)

    return jax.tree.map(one, tree, *others, is_leaf=is_held)


def at_least_float32(dtype: Any) -> Any:
    """float32 for the half precisions, else `dtype`: what norms and sums are taken in."""
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)
