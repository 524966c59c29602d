"""What the tasks that look at pictures have alike: scikit-learn's digits, and convolutions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax.cells._common import rows
from rnnjax.cells._grid import convolved
from rnnjax.cells.linear import LinearParams
from rnnjax.train.files import needed

Array = jax.Array
DIGIT, DIGITS = 8, 10  # the side of a digit's picture, and how many digits there are
AT_ONCE = 500  # vectors that are compared with all known ones side by side


@functools.cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """The handwritten digits of scikit-learn: [1797, 8, 8] in [0, 1], and what they are."""
    load_digits = needed("sklearn.datasets").load_digits
    images, labels = (np.asarray(part) for part in load_digits(return_X_y=True))
    return (images.reshape(-1, DIGIT, DIGIT) / 16).astype(np.float32), labels.astype(np.int32)


def split(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which digits train, validate and test: five of seven, one and one."""
    order, held = np.random.default_rng(0).permutation(count), count // 7
    return order[2 * held :], order[held : 2 * held], order[:held]


def nearest(xs: np.ndarray, known: np.ndarray) -> np.ndarray:
    """For vectors [N, D] the place of the nearest of the known ones [M, D]."""
    sizes = np.square(known).sum(axis=1)
    return np.concatenate(
        [
            (sizes - 2 * xs[start : start + AT_ONCE] @ known.T).argmin(axis=1)
            for start in range(0, len(xs), AT_ONCE)
        ]
    )


def mapped(name: str, f: Callable[[Array], Array], x_ndims: int) -> rnnjax.Cell:
    """A function of each step, as a cell without parameters or state."""
    return rnnjax.Cell(
        name=name,
        init=lambda key, x_spec: (),
        initial_state=lambda params, batch_shape=(), *, key=None: (),
        step=lambda params, state, x: ((), f(x)),
        x_ndims=x_ndims,
    )


def patches(size: int) -> rnnjax.Cell:
    """Each 2 x 2 pixels as the four features of one place, [*B, H / 2, W / 2, 4]."""

    def apart(x: Array) -> Array:
        x = x.reshape(*x.shape[:-2], size // 2, 2, size // 2, 2)
        return jnp.moveaxis(x, -3, -2).reshape(*x.shape[:-4], size // 2, size // 2, 4)

    return mapped("patches", apart, 2)


def unpatched(x: Array) -> Array:
    """The pixels of the four features of each place, [*B, H, W]: `patches` undone."""
    *batch, height, width, _ = x.shape
    x = jnp.moveaxis(x.reshape(*batch, height, width, 2, 2), -2, -3)
    return x.reshape(*batch, 2 * height, 2 * width)


def convolution(size: int, features: int) -> rnnjax.Cell:
    """A convolution of 3 x 3 places and what is positive of it, [*B, size, size, C] to features."""
    shape = (size, size)

    def init(key: Array, x_spec: Any) -> LinearParams:
        draw = jax.nn.initializers.he_normal()
        w = draw(key, (9 * x_spec.shape[-1], features), x_spec.dtype)
        return LinearParams(w, jnp.zeros(features, x_spec.dtype))

    def step(params: LinearParams, state: tuple[()], x: Array) -> tuple[tuple[()], Array]:
        return (), jax.nn.relu(
            convolved("convolution", x, params.w, (3, 3), shape) + rows(params.b, x)
        )

    return rnnjax.Cell(
        name=f"convolution({size}, {features})",
        init=init,
        initial_state=lambda params, batch_shape=(), *, key=None: (),
        step=step,
        x_ndims=3,
    )
