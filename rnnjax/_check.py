"""Floor 2: the checks of `unroll`. An error says the argument, what came, what was expected."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax._cell import Array, Cell, Params, PyTree, State, joined, parted
from rnnjax._factory import natural
from rnnjax._noise import is_key

Shape = tuple[int, ...]


_HINT = "call a factory, as in lstm(256), or wrap a function in activation(...)"


def require_cell(what: str, value: Any, hint: str = _HINT) -> Cell:
    """The cell; raises TypeError for anything else."""
    if not isinstance(value, Cell):
        name = getattr(value, "__name__", type(value).__name__)
        raise TypeError(f"{what} must be a Cell, got {name}: {hint}")
    return value


def sequence_sizes(
    cell: Cell,
    params: Params,
    state: State | None,
    xs: PyTree,
    length: int | None,
    lengths: Array | None,
    time_axis: int,
) -> tuple[int, Shape]:
    """T and *B, from xs, or without any from `length` and the state or lengths."""
    time_axis = natural("time_axis", time_axis)
    length = None if length is None else natural("length", length)
    leaves = jax.tree.leaves(xs)
    if not leaves:
        if length is None:
            raise ValueError("length is needed when xs is None: pass length=T")
        if state is not None:
            unbatched = jax.tree.leaves(jax.eval_shape(cell.initial_state, params))
            for leaf, one in zip(jax.tree.leaves(state), unbatched, strict=False):
                return length, jnp.shape(leaf)[: jnp.ndim(leaf) - one.ndim]
        return length, () if lengths is None else lengths.shape
    try:
        ndims = jax.tree.leaves(jax.tree.broadcast(cell.x_ndims, xs))
    except ValueError:
        raise TypeError(
            f"xs has the tree {jax.tree.structure(xs)}, {cell.name} expects "
            f"{jax.tree.structure(cell.x_ndims)}"
        ) from None
    found = set()
    for leaf in leaves:
        if not hasattr(leaf, "shape"):
            raise TypeError(f"xs must hold arrays, got {type(leaf).__name__}: use jnp.asarray(xs)")
    for leaf, ndim in zip(leaves, ndims, strict=True):
        leading = leaf.shape[: leaf.ndim - ndim]
        if leaf.ndim <= ndim:
            raise ValueError(
                f"xs has shape {list(leaf.shape)}, {cell.name} expects [T, *B] and then "
                f"{ndim} {'axis' if ndim == 1 else 'axes'} a step"
            )
        if not 0 <= time_axis < len(leading):
            raise ValueError(
                f"time_axis must lie in 0..{len(leading) - 1} for xs of shape "
                f"{list(leaf.shape)}, got {time_axis}"
            )
        found.add(leading)
    if len(found) > 1:
        shapes = " and ".join(str(list(shape)) for shape in sorted(found))
        raise ValueError(f"the leaves of xs disagree on [T, *B]: {shapes}")
    (leading,) = found
    time = leading[time_axis]
    if length not in (None, time):
        raise ValueError(f"length is {length}, but xs has {time} steps")
    return time, leading[:time_axis] + leading[time_axis + 1 :]


def check_call(cell: Any, reverse: Any) -> None:
    """Raises unless the static arguments of `unroll` are of their types."""
    require_cell("cell", cell)
    if not isinstance(reverse, bool):
        raise TypeError(f"reverse must be True or False, got {reverse!r}")


def checked_rows(
    lengths: Any, mask: Any, resets: Any, time: int, batch: Shape, time_axis: int = 0
) -> tuple[Array | None, Array | None, Array | None]:
    """What says which steps are real and which restart, as arrays of the types they must have."""
    lengths, mask, resets = (None if a is None else jnp.asarray(a) for a in (lengths, mask, resets))
    if lengths is not None:
        check_lengths(lengths, time, batch, time_axis)
    for name, flags in (("mask", mask), ("resets", resets)):
        if flags is not None:
            check_flags(name, flags, time, batch, time_axis)
    return lengths, mask, resets


def check_lengths(
    lengths: Array, time: int, batch: Shape, time_axis: int, name: str = "lengths"
) -> None:
    """Raises unless lengths are integers [*B], and in [0, T] where they are concrete."""
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(f"{name} must be integers, got {lengths.dtype}")
    if lengths.shape != batch:
        raise ValueError(
            f"{name} has shape {list(lengths.shape)}, the batch of xs is {list(batch)}"
            + _hint(lengths.shape, time, batch, time_axis)
        )
    if not isinstance(lengths, Tracer):
        values = np.asarray(lengths)
        for row in np.argwhere((values < 0) | (values > time)):
            index = "".join(f"[{i}]" for i in row)
            raise ValueError(f"{name}{index} = {values[tuple(row)]} is outside [0, {time}]")


def check_flags(name: str, flags: Array, time: int, batch: Shape, time_axis: int) -> None:
    """Raises unless flags (mask, resets) are bool and have the time and batch axes of xs."""
    if flags.dtype != bool:
        raise TypeError(f"{name} must be bool, got {flags.dtype}")
    expected = (*batch[:time_axis], time, *batch[time_axis:])
    if flags.shape != expected:
        raise ValueError(
            f"{name} has shape {list(flags.shape)}, expected {list(expected)}: the leading axes "
            f"of xs, time at axis {time_axis}"
        )


@contextlib.contextmanager
def explained(cell: Cell, params: Params, xs: PyTree, batch: Shape) -> Iterator[None]:
    """Where the cell fails, says so if params have not the form that `cell.init` gives them."""
    try:
        yield
    except Exception as error:
        one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1 + len(batch) :], x.dtype), xs)
        try:
            expected = jax.eval_shape(cell.init, jax.random.key(0), one)
        except Exception:  # it has no init, or none for these xs: the error must speak for itself
            raise error from None
        _check_params(cell, params, one, expected, error)
        raise


def _check_params(
    cell: Cell, params: Params, inputs: PyTree, expected: PyTree, cause: Exception
) -> None:
    """Raises if params have not the tree, the shapes and the kinds of dtypes that are expected."""
    _check_tree("params", cell, params, expected, cause)
    sizes = [leaf.shape for leaf in jax.tree.leaves(inputs)]
    features = sizes[0][0] if len(sizes) == 1 and len(sizes[0]) == 1 else None
    for (path, got), want in zip(
        jax.tree.leaves_with_path(params), jax.tree.leaves(expected), strict=True
    ):
        kinds = [jnp.issubdtype(jnp.result_type(x), jnp.floating) for x in (got, want)]
        if kinds == [False, True]:
            raise TypeError(
                f"params{jax.tree_util.keystr(path)} is {jnp.result_type(got)}, {cell.name} "
                "needs a floating-point array"
            ) from cause
        if jnp.shape(got) == want.shape:
            continue
        message = (
            f"params{jax.tree_util.keystr(path)} has shape {list(jnp.shape(got))}, "
            f"{cell.name} needs {list(want.shape)} for these xs"
        )
        differing = [(a, b) for a, b in zip(jnp.shape(got), want.shape, strict=False) if a != b]
        if len(differing) == 1 and differing[0][1] == features:
            message = f"xs has {features} features, params expect {differing[0][0]}: {message}"
        raise ValueError(message) from cause


def check_state(
    cell: Cell, state: State, expected: State, time: int, batch: Shape, time_axis: int
) -> State:
    """The state, weak types made strong, once it has the tree, shapes and dtypes expected.

    What is held is the caller's: it need but have the axes of the batch.
    """
    (state, held), (expected, _) = parted(state), parted(expected)
    _check_tree("state", cell, state, expected)
    for path, leaf in jax.tree.leaves_with_path(held):
        if jnp.shape(leaf)[: len(batch)] != batch:
            raise ValueError(
                f"what the state holds, {jax.tree_util.keystr(path)}, has shape "
                f"{list(jnp.shape(leaf))}, the batch of xs is {list(batch)}"
            )

    def check(path: Any, got: Any, want: Array) -> Array:
        where = f"state{jax.tree_util.keystr(path)}"
        shape, rows = jnp.shape(got), jnp.shape(got)[: len(batch)]
        if rows != batch:
            raise ValueError(
                f"{where} has shape {list(shape)}, the batch of xs is {list(batch)}"
                + _hint(rows, time, batch, time_axis)
            )
        if is_key(want) and is_key(got):
            if shape not in ((*batch, 0), (*batch, 1)):
                raise ValueError(
                    f"{where} holds keys of shape {list(shape)}, expected {[*batch, 1]}, or "
                    f"{[*batch, 0]} in evaluation: make them with noise_keys or initial_state"
                )
            return got
        if shape != want.shape:
            raise ValueError(
                f"{where} has shape {list(shape)}, {cell.name} needs {list(want.shape)}"
            )
        dtype = jnp.result_type(got)
        if dtype != want.dtype and not jax.typeof(got).weak_type:
            raise TypeError(
                f"{where} is {dtype}, {cell.name} with these params needs {want.dtype}: "
                f"convert it with .astype({str(want.dtype)!r})"
            )
        return jax.lax.convert_element_type(got, want.dtype)

    return joined(jax.tree.map_with_path(check, state, expected), held)


def check_carry(cell: Cell, before: State, after: State) -> None:
    """Raises unless a step left the type of the state alone."""
    _check_tree(f"the state after a step of {cell.name}", cell, after, before)
    for (path, old), new in zip(
        jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True
    ):
        old, new = jax.typeof(old), jax.typeof(new)
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise TypeError(
                f"a step of {cell.name} turns state{jax.tree_util.keystr(path)} from "
                f"{old.str_short()} into {new.str_short()}; the state's type must not change"
            )


def _check_tree(
    what: str, cell: Cell, got: PyTree, expected: PyTree, cause: Exception | None = None
) -> None:
    if jax.tree.structure(got) == jax.tree.structure(expected):
        return
    have, need = (
        [f"{what}{jax.tree_util.keystr(path)}" for path, _ in jax.tree.leaves_with_path(tree)]
        for tree in (got, expected)
    )
    missing = ", ".join(path for path in need if path not in have) or "nothing"
    unexpected = ", ".join(path for path in have if path not in need) or "nothing"
    raise TypeError(
        f"{what} is not that of {cell.name}: got {_kind(got)}, expected {_kind(expected)}; "
        f"missing: {missing}; unexpected: {unexpected}"
    ) from cause


def _kind(tree: Any) -> str:
    return f"an array {list(tree.shape)}" if hasattr(tree, "shape") else type(tree).__name__


def _hint(rows: Shape, time: int, batch: Shape, time_axis: int) -> str:
    """What to do where the sizes show that time and batch were taken for each other."""
    if rows != batch and time_axis == 0 and rows[:1] == (time,) and rows[1:] == batch[1:]:
        return "; xs looks batch-major: pass time_axis=1"
    if rows != batch and time_axis == 1 and rows[:1] == (time,):
        return "; xs looks time-major: pass time_axis=0"
    return ""
