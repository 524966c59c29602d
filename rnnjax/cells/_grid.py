"""What the cells over a line, an image or a volume share: sizes, and products as convolutions."""

from __future__ import annotations

import math
from typing import Annotated, Any

import jax

from rnnjax._cell import Array
from rnnjax._factory import natural
from rnnjax.cells._common import array_spec, check_floating


def _shape(what: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple) or not 1 <= len(value) <= 3:
        raise TypeError(f"{what} must be a tuple of 1, 2 or 3 sizes, got {value!r}")
    return tuple(natural(what, size, least=1) for size in value)


def _kernel(what: str, value: Any) -> int | tuple[int, ...]:
    return _shape(what, value) if isinstance(value, tuple) else natural(what, value, least=1)


# The sizes of a line, an image or a volume; those of a kernel over it, or one for all axes.
Shape = Annotated[tuple[int, ...], _shape]
Kernel = Annotated[int | tuple[int, ...], _kernel]


def window_of(name: str, kernel: int | tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes of a kernel, one for each axis of `shape`."""
    window = kernel if isinstance(kernel, tuple) else (kernel,) * len(shape)
    if len(window) != len(shape):
        raise ValueError(f"{name}: kernel must have {len(shape)} sizes as shape has, got {kernel}")
    return window


def grid_spec(name: str, x_spec: Any, shape: tuple[int, ...]) -> tuple[int, Any]:
    """Features and floating dtype of the spec of an input [*S, D].

    Raises:
      TypeError: the spec is not floating, or not of one array.
      ValueError: the spec is of another shape.
    """
    x_spec = array_spec(name, x_spec)
    if x_spec.shape[:-1] != shape:
        got = f"{list(x_spec.shape)} a step: pass a jax.ShapeDtypeStruct"
        raise ValueError(f"{name} needs inputs of shape {[*shape, 'features']}, got {got}")
    return x_spec.shape[-1], x_spec.dtype


def convolved(
    name: str, x: Array, w: Array, window: tuple[int, ...], shape: tuple[int, ...]
) -> Array:
    """x [*B, *S, D] with a kernel w [*K, D, O], kept as a matrix [K D, O]: [*B, *S, O].

    Zeros stand around x. As in all networks it is a correlation: the kernel is not turned around.

    Raises:
      TypeError: x is not floating.
      ValueError: x is of another shape than S, or has another number of features than w expects.
    """
    check_floating(name, x)
    axes = len(shape)
    expected = [*shape, len(w) // math.prod(window)]
    batch, one = x.shape[: -axes - 1], x.shape[-axes - 1 :]
    if list(one) != expected:
        raise ValueError(f"{name}: a step of xs has shape {list(one)}, expected {expected}")
    space = "DHW"[-axes:]
    y = jax.lax.conv_general_dilated(
        x.reshape(math.prod(batch), *one).astype(w.dtype),
        w.reshape(*window, -1, w.shape[-1]),
        window_strides=(1,) * axes,
        padding="SAME",
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
    )
    return y.reshape(*batch, *y.shape[1:])
