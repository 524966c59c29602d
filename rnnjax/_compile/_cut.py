"""Splits and slices as data, so that they can be moved to what they cut."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax import lax

from rnnjax._compile._trace import Equation, type_of


class Cut(NamedTuple):
    """Pieces of an array along one axis, as `(start, stop, stride)`."""

    axis: int
    ranges: tuple[tuple[int, int, int], ...]

    def of(self, value: Any) -> list[Any]:
        """The pieces of `value`."""
        bounds = [0, *(stop for _, stop, _ in self.ranges)]
        adjoining = self.ranges == tuple((a, b, 1) for a, b in itertools.pairwise(bounds))
        if adjoining and bounds[-1] == value.shape[self.axis]:
            # One split transposes to one concatenation.
            return list(lax.split(value, [b - a for a, b, _ in self.ranges], self.axis))
        return [lax.slice_in_dim(value, *piece, axis=self.axis) for piece in self.ranges]

    def joined(self, pieces: Mapping[int, Any], whole: Any) -> Any:
        """The transpose of `of`: an array like `whole` of some of its pieces, and zeros."""
        given = [pieces.get(i, lax.full_like(p, 0)) for i, p in enumerate(self.of(whole))]
        return jax.linear_transpose(self.of, whole)(given)[0]


def disjoint(cuts: Sequence[Cut | None]) -> bool:
    """Whether all are cuts, along one axis, and no element is in two pieces."""
    known = [cut for cut in cuts if cut]
    ranges = sorted(piece for cut in known for piece in cut.ranges)
    apart = all(stop <= start for (_, stop, _), (start, _, _) in itertools.pairwise(ranges))
    return len(known) == len(cuts) and len({cut.axis for cut in known}) < 2 and apart


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
