"""What pictures have alike: lines told apart without colour, and directions to look along."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

LINES = ("-", "--", ":", "-.")
MARKS = "osv^D*P"


def styled(curves: Mapping[str, Any]) -> Iterator[tuple[str, Any, str, str]]:
    """What is to be drawn by name, each with a line and a mark of its own as long as they last."""
    lines, marks = itertools.cycle(LINES), itertools.cycle(MARKS)
    for (name, curve), line, mark in zip(curves.items(), lines, marks, strict=False):
        yield name, curve, line, mark


def principal(axes: Any, vectors: Any) -> Callable[[Any], np.ndarray]:
    """From vectors [..., N] to what is seen of them, [2 or 3, ...]; labels the axes.

    They are seen in the directions of most variance of those given, [..., N], NaN where there are
    none; ValueError where there are fewer numbers or vectors than directions.
    """
    ndim, size = 3 if axes.name == "3d" else 2, np.shape(vectors)[-1]
    cloud = np.reshape(np.asarray(vectors, float), (-1, size))
    cloud = cloud[~np.isnan(cloud).any(axis=1)]
    if min(cloud.shape) < ndim:
        raise ValueError(f"{len(cloud)} points of {size} numbers have no {ndim} directions to draw")
    middle = cloud.mean(axis=0)
    _, sizes, directions = np.linalg.svd(cloud - middle, full_matrices=False)
    shares = np.square(sizes) / np.square(sizes).sum()
    for n, name in enumerate("xyz"[:ndim]):
        getattr(axes, f"set_{name}label")(f"PC {n + 1} ({shares[n]:.0%} of variance)")

    def seen(vectors: Any) -> np.ndarray:
        return np.moveaxis((np.asarray(vectors, float) - middle) @ directions[:ndim].T, -1, 0)

    return seen
