"""What the adapters share: the spec of one step, and a Cell of another library's functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Params, PyTree, StateFn, StepFn, as_spec


def adapted(
    name: str, init: Callable[[Array, Any], Params], initial_state: StateFn, step: StepFn
) -> Cell:
    """A Cell of a library's functions, whose own `init` takes an input of zeros."""

    def init_params(key: Array, x_spec: PyTree) -> Params:
        return init(key, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), as_spec(x_spec)))

    def promoting(params: Params, state: Any, x: PyTree) -> tuple[Any, PyTree]:
        with jax.numpy_dtype_promotion("standard"):  # theirs may mix dtypes
            return step(params, state, x)

    return Cell(name=name, init=init_params, initial_state=initial_state, step=promoting)
