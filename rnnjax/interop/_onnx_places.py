"""What moves numbers between the operators of a graph, tried on numbers that say their place.

A transpose that exchanges steps and rows gives no error, only other numbers. So what an operator
gives is filled with numbers of its steps, rows and features; these go through all that stands
before the next operator, and must arrive there as that takes them.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np


class _UnfitError(ValueError):
    """What moves numbers cannot be applied to data of some sizes."""


def follow(
    values: Any, given: Any, trail: Iterable[Callable[[Places], None]], traced: Iterable[int]
) -> None:
    """Follows the data of a graph, of every size that it leaves open.

    Exporters leave sizes open of which they wrote the traced ones elsewhere: where what moves
    numbers does not fit others, these are tried.

    Args:
      values: what computes an array by its name, from its `arrays`.
      given: the description of the data, an input of the graph.
      trail: the steps from operator to operator.
      traced: sizes that stand in the graph.

    Raises:
      ValueError: features, steps or rows change their places, or no size fits.
    """
    if given is None:
        raise ValueError("the ONNX model computes from none of its inputs")
    known = given.type.tensor_type.HasField("shape")
    dims = given.type.tensor_type.shape.dim
    names = [d.dim_param or k for k, d in enumerate(dims) if not d.dim_value] if known else "TB"
    primes = [11, 13, 17, 19, 23][: len({*names})]
    errors = []
    for sizes in itertools.product(*((prime, *sorted({*traced})) for prime in primes)):
        try:
            places = Places(values, given, dict(zip(dict.fromkeys(names), sizes, strict=False)))
            for step in trail:
                step(places)
            return
        except _UnfitError as error:
            errors.append(error)
    raise errors[0]


class Places:
    """Where every number of the data stands.

    Args:
      values: as in `follow`, with `arrays` of which it gets its own.
      given: the description of the data.
      sizes: of its axes, by their names or places, where it leaves them open.
    """

    def __init__(self, values: Any, given: Any, sizes: dict[int | str, int]) -> None:
        self.values, self.given, self.sizes = copy.copy(values), given, sizes
        self.values.arrays = dict(values.arrays)
        self.began, self.whole, self.rows = False, False, None

    def kept(self, node: Any, data: str) -> None:
        """Goes through what leaves every number at its place."""
        if self.began:
            self.values.arrays[node.output[0]] = self._value(node, data)

    def cast(self, node: Any, data: str, *, floating: bool) -> None:
        """Goes through a cast; raises ValueError where it rounds what was computed to integers."""
        if self.began and not floating:
            raise ValueError("a Cast of the ONNX model makes integers of what was computed")
        self.whole |= not floating
        self.kept(node, data)

    def through(
        self, node: Any, data: str, features: tuple[int, int], *, ways: int = 0, layout: int = 0
    ) -> None:
        """Goes through an operator.

        Args:
          node: the operator.
          data: its input.
          features: how many it takes, 0 where it takes symbols, and how many it gives.
          ways: the directions of one that is recurrent.
          layout: its layout: 0 where steps stand first, 1 where rows do.

        Raises:
          ValueError: features, steps or rows have changed their places.
        """
        takes, gives = features
        places = self._taken(node, data, takes) if self.began else self._first(node, data, takes)
        self.began = True
        if not ways:
            self.values.arrays[node.output[0]] = places[..., None] * gives + np.arange(gives)
            return
        steps = np.moveaxis(places, layout, 0)
        known = steps if self.rows is None else self.rows
        if steps.ndim != 2 or not np.array_equal(steps, known):
            raise ValueError(f"before the {node.op_type} of the ONNX model steps and rows {_MOVED}")
        self.rows = steps
        by_way = np.arange(gives).reshape(ways, gives // ways)
        y = steps[:, None, :, None] * gives + by_way[:, None]  # [T, directions, B, H]
        last = y[-1]
        if layout:  # [B, T, directions, H]
            y, last = np.transpose(y, (2, 0, 1, 3)), np.swapaxes(last, 0, 1)
        self.values.arrays |= dict(zip(node.output, (y, last), strict=False))

    def _taken(self, node: Any, data: str, takes: int) -> np.ndarray:
        """The places of what arrives, which is by feature along the last axis."""
        x = self._value(node, data)
        places = x[..., 0] // max(takes, 1) if x.ndim else x
        if not takes or not np.array_equal(x, places[..., None] * takes + np.arange(takes)):
            raise ValueError(f"before the {node.op_type} of the ONNX model features {_MOVED}")
        return places

    def _first(self, node: Any, data: str, takes: int) -> np.ndarray:
        """The places of what the first operator is given: how its input stands is its own."""
        if self.whole and takes:
            raise ValueError("a Cast of the ONNX model makes integers of its input")
        kind = self.given.type.tensor_type
        shape = [d.dim_value or self.sizes[d.dim_param or k] for k, d in enumerate(kind.shape.dim)]
        if not kind.HasField("shape"):
            shape = [*self.sizes.values()] + [takes] * bool(takes)
        elif takes and not kind.shape.dim[-1].dim_value:
            shape[-1] = takes
        self.values.arrays[self.given.name] = np.zeros(shape, np.int64)
        shape = self._value(node, data).shape
        shape = shape[:-1] if takes else shape
        return np.arange(math.prod(shape)).reshape(shape)

    def _value(self, node: Any, data: str) -> np.ndarray:
        try:
            return self.values.value(data)
        except Exception as error:
            raise _UnfitError(
                f"what stands before the {node.op_type} of the ONNX model fits no data of the "
                f"shapes that it says: {error}"
            ) from error


_MOVED = "have changed their places: the same weights would give other numbers"
