"""How many of a step `jax.vmap` runs at once."""

from __future__ import annotations

from typing import Any

import jax
from jax.core import Tracer
from jax.custom_batching import custom_vmap


def mapped_rows(tree: Any) -> int:
    """How many rows `jax.vmap` maps at once: a step that is mapped is traced for one of them.

    Those that are mapped outside of a `jit` around the call cannot be seen from within.
    """
    # What `jit` traces is not mapped as far as anyone can know, and would keep what is done.
    leaves = [
        leaf
        for leaf in jax.tree.leaves(tree)
        if isinstance(leaf, Tracer) and type(leaf).__name__ != "DynamicJaxprTracer"
    ]
    found = 1

    @custom_vmap
    def look(values: list[Any]) -> list[Any]:
        return values

    @look.def_vmap
    def _(size: int, batched: list[list[bool]], values: list[Any]) -> tuple[list[Any], list[bool]]:
        nonlocal found
        found = size * mapped_rows(values)
        return values, batched[0]

    if leaves:
        look(jax.lax.stop_gradient(leaves))
    return found
