"""What a model is made of: its cells, where they stand, and their parameters in order."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._cell import Cell, Params, PyTree, tokens
from rnnjax._combine._parts import Parts
from rnnjax._layer import Layer
from rnnjax.layers import BidirectionalParams


class Way(enum.Enum):
    """Steps on the way to a cell that no part has a name for."""

    CELL = "cell"  # of `recurrent`
    FORWARD = "forward"
    BACKWARD = "backward"


Path = tuple[int | str | Way, ...]  # an int where parts have no names

UNLEARNED = ("dropout", "activation")
POINTWISE = ("embed", "linear", "layer_norm", *UNLEARNED)
# What computes in evaluation as the cell inside does, of the same parameters.
AROUND = ("cast", "clip_gradient", "input_dropout", "recurrent_dropout", "weight_drop")


def kind(model: Cell | Layer) -> str:
    """The name of the factory that made it, "" without one; "gru_before" is a kind of its own."""
    if model._recipe is None:
        return ""
    name = model._recipe[0].__name__
    return "gru_before" if name == "gru" and arguments(model)["reset"] == "before" else name


def arguments(model: Cell | Layer) -> dict[str, Any]:
    """What that factory was given, by name."""
    factory, args, kwargs = model._recipe  # pyright: ignore[reportGeneralTypeIssues]
    return inspect.signature(factory).bind(*args, **dict(kwargs)).arguments


def branches(model: Cell | Layer) -> list[tuple[Path, Cell | Layer]]:
    """The parts of a composite, each with the steps to it; [] for a cell."""
    name = kind(model)
    if name in ("stack", "serial"):
        parts = _parts(model)
        return [((n,), part) for n, part in zip(parts.names, parts.parts, strict=True)]
    if name == "bidirectional":
        given = arguments(model)
        ways = given["forward"], given["backward"] or given["forward"]
        return [
            ((step, *_within(part)), part)
            for step, part in zip((Way.FORWARD, Way.BACKWARD), ways, strict=True)
        ]
    if name == "recurrent":
        return [(_within(arguments(model)["cell"]), arguments(model)["cell"])]
    return [((), arguments(model)["cell"])] if name in AROUND else []


def _within(part: Cell | Layer) -> Path:
    """What runs a recurrent cell keeps it under a name; a stack and what is pointwise, it is."""
    bare = isinstance(part, Cell) and kind(part) not in (*POINTWISE, "stack")
    return (Way.CELL,) if bare else ()


def _parts(model: Cell | Layer) -> Parts:
    _, args, kwargs = model._recipe  # pyright: ignore[reportGeneralTypeIssues]
    return Parts.of(kind(model), args, dict(kwargs))


def cells(model: Cell | Layer, path: Path = ()) -> Iterator[tuple[Path, Cell]]:
    """Every cell with the steps to it, from the input on."""
    if not isinstance(model, Cell | Layer):
        raise TypeError(f"model must be a Cell or a Layer, got {type(model).__name__}")
    below = branches(model)
    if isinstance(model, Cell) and not below:
        yield path, model
    elif not below and kind(model) != "pyramid":
        raise ValueError(f"{model.name} is a layer of its own: no other library has its weights")
    for steps, part in below:
        yield from cells(part, (*path, *steps))


def values(model: Cell | Layer, params: Params) -> list[Params]:
    """The parameters of every cell, in the order of `cells`."""
    below, name = branches(model), kind(model)
    if not below:
        return [params] if isinstance(model, Cell) else []
    if name in ("stack", "serial"):
        params = _parts(model).entries(f"params of {model.name}", params)
    elif name != "bidirectional":
        params = [params]
    return [v for (_, part), p in zip(below, params, strict=True) for v in values(part, p)]


def whole(model: Cell | Layer, parts: Iterator[Params]) -> Params:
    """The inverse of `values`."""
    below, name = branches(model), kind(model)
    if not below:
        return next(parts) if isinstance(model, Cell) else ()
    entries = [whole(part, parts) for _, part in below]
    if name in ("stack", "serial"):
        return _parts(model).tree(entries)
    return BidirectionalParams(*entries) if name == "bidirectional" else entries[0]


def merges(model: Cell | Layer) -> list[str]:
    """How outputs meet, of both directions and of steps that become one, in order."""
    own = {
        "bidirectional": lambda: [arguments(model)["merge"]],
        "pyramid": lambda: ["pyramid"],
    }.get(kind(model), list)()
    return own + [merge for _, part in branches(model) for merge in merges(part)]


def require_concat(library: str, model: Cell | Layer) -> None:
    """Raises ValueError where outputs meet in a way that a library has not."""
    if "pyramid" in merges(model):
        raise ValueError(f"{library} has no layer that makes several steps one, as pyramid does")
    if other := [merge for merge in merges(model) if merge != "concat"]:
        raise ValueError(f'{library} has no merge="{other[0]}": it joins directions by "concat"')


def input_spec(model: Cell | Layer, size: int) -> PyTree:
    """The spec of an input of `size` features, as the first cell takes it."""
    first = next((cell for _, cell in cells(model)), None)
    if first is None or kind(first) == "embed":
        return tokens()
    grid = arguments(first)["shape"] if kind(first) == "conv_lstm" else ()
    return jax.ShapeDtypeStruct((*grid, size), jnp.result_type(float))
