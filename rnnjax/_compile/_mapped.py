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

    def rows_of(leaf: Any) -> int:
        found = 1
        # What `jit` traces is not mapped as far as anyone can know, and would keep what is done.
        if not isinstance(leaf, Tracer) or type(leaf).__name__ == "DynamicJaxprTracer":
            return found

        @custom_vmap
        def look(value: Any) -> Any:
            return value

        @look.def_vmap
        def _(size: int, batched: list[bool], value: Any) -> tuple[Any, bool]:
            nonlocal found
            found = size * rows_of(value)
            return value, batched[0]

        look(jax.lax.stop_gradient(leaf))
        return found

    return max(map(rows_of, jax.tree.leaves(tree)), default=1)
