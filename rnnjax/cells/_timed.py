"""What the cells in continuous time share: how far a step goes, and inputs with its length."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import jax.numpy as jnp

from rnnjax._cell import Array, as_spec
from rnnjax._factory import one_of
from rnnjax.cells._common import vector, vector_spec

Method = Annotated[Literal["euler", "exponential"], one_of("euler", "exponential")]


def approach(method: str, ratio: Array) -> Array:
    """What part of the way a leaky unit goes in a time of dt / τ = ratio."""
    return ratio if method == "euler" else -jnp.expm1(-ratio)


def _timed(name: str, x: Any) -> tuple[Any, Any]:
    if not isinstance(x, tuple) or len(x) != 2:
        what = type(x).__name__
        raise TypeError(
            f"{name} needs pairs (x_t, dt_t), dt_t the time since x_{{t-1}}, got {what}"
        )
    dtype = getattr(x[1], "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"{name} needs floating-point dt, got {dtype or type(x[1]).__name__}")
    return x


def timed_spec(name: str, x_spec: Any) -> tuple[int, Any]:
    """`vector_spec` of inputs (x, dt); the spec of dt is one number, such as `float`."""
    x, dt = _timed(name, as_spec(x_spec))
    if dt.shape:
        raise ValueError(
            f"{name} needs one dt a step, got shape {list(dt.shape)}: pass x_spec=(D, float)"
        )
    return vector_spec(name, x)


def timed(name: str, x: Any, w: Array) -> tuple[Array, Array]:
    """`vector` of inputs (x, dt): x [*B, D] and dt [*B, 1]."""
    x, dt = _timed(name, x)
    return vector(name, x, w), dt.astype(w.dtype)[..., None]
