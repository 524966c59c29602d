"""Splits and slices as data, so that they can be moved to what they cut."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from jax import lax

from rnnjax._compile._trace import Equation, type_of


class Cut(NamedTuple):
    """Pieces of an array along one axis, as `(start, stop, stride)`."""

    axis: int
    ranges: tuple[tuple[int, int, int], ...]

    def of(self, value: Any, axis: int | None = None) -> list[Any]:
        """The pieces of `value`, cut along `axis` if that is another one for it."""
        axis = self.axis if axis is None else axis
        bounds = [0, *(stop for _, stop, _ in self.ranges)]
        adjoining = self.ranges == tuple((a, b, 1) for a, b in itertools.pairwise(bounds))
        if adjoining and bounds[-1] == value.shape[axis]:
            # One split transposes to one concatenation.
            return list(lax.split(value, [b - a for a, b, _ in self.ranges], axis))
        return [lax.slice_in_dim(value, *piece, axis=axis) for piece in self.ranges]


def cut_of(eqn: Equation) -> Cut | None:
    """The cut that an equation makes, if it is a split, or a slice along one axis."""
    if eqn.primitive.name == "split":
        sizes = [int(size) for size in eqn.params["sizes"]]
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        ranges = tuple((end - size, end, 1) for end, size in zip(ends, sizes, strict=True))
        return Cut(eqn.params["axis"], ranges)
    if eqn.primitive.name == "slice":
        before, after = type_of(eqn.invars[0]).shape, type_of(eqn.outvars[0]).shape
        axes = [axis for axis, size in enumerate(before) if after[axis] != size]
        if len(axes) == 1:
            names = ("start_indices", "limit_indices", "strides")
            start, stop, stride = (
                (eqn.params[name] or (1,) * len(before))[axes[0]] for name in names
            )
            return Cut(axes[0], ((start, stop, stride),))
    return None


def cut_operand(cut: Cut, value: Any, whole: Sequence[int]) -> list[Any]:
    """Cuts one operand of an elementwise function with result shape `whole`.

    An operand that is the same all along the cut axis is a part of every piece.
    """
    if value.ndim == 0 or value.shape[cut.axis] != whole[cut.axis]:
        return [value] * len(cut.ranges)
    return cut.of(value)


def cut_broadcast(cut: Cut, value: Any, whole: Sequence[int], axes: Sequence[int]) -> list[Any]:
    """Cuts `lax.broadcast_in_dim(value, whole, axes)` before broadcasting."""
    own = [i for i, axis in enumerate(axes) if axis == cut.axis and value.shape[i] != 1]
    pieces = cut.of(value, own[0]) if own else [value] * len(cut.ranges)
    shapes = [
        [*whole[: cut.axis], len(range(*piece)), *whole[cut.axis + 1 :]] for piece in cut.ranges
    ]
    return [
        lax.broadcast_in_dim(piece, shape, axes)
        for piece, shape in zip(pieces, shapes, strict=True)
    ]
