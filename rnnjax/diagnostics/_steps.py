"""A cell over a sequence, with what differentiation needs to see each step apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Array, Cell, Params, PyTree, State
from rnnjax._check import check_call, checked_rows, sequence_sizes
from rnnjax._compile._memory import remembered
from rnnjax._compile._static import Static
from rnnjax._dtypes import at_least_float32
from rnnjax._unroll import select_rows, time_first, unroll
from rnnjax.diagnostics._state import Units


class Steps(NamedTuple):
    """The steps of a run, in the order in which they are taken.

    Attributes:
      xs: inputs, [T, *B, ...].
      valid: which are real, [T, *B]; None for all.
      resets: before which the row starts again, [T, *B]; None for none.
      time: T.
      batch: *B.
    """

    xs: PyTree
    valid: Array | None
    resets: Array | None
    time: int
    batch: tuple[int, ...]

    @property
    def real(self) -> Array:
        """Which steps are real, [T, *B]."""
        return jnp.ones((self.time, *self.batch), bool) if self.valid is None else self.valid

    @property
    def last(self) -> Array:
        """True at each row's last real step, [T, *B]."""
        following = jnp.flip(jnp.flip(self.real, 0).cumsum(0), 0) - self.real.astype(int)
        return self.real & (following == 0)


def steps_of(
    cell: Cell,
    params: Params,
    state: State | None,
    xs: PyTree,
    *,
    length: int | None = None,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    time_axis: int = 0,
    **_: Any,
) -> Steps:
    """The steps of a call of `unroll`; raises what it does."""
    check_call(cell, reverse)
    lengths = None if lengths is None else jnp.asarray(lengths)
    time, batch = sequence_sizes(cell, params, state, xs, length, lengths, time_axis)
    lengths, mask, resets = checked_rows(lengths, mask, resets, time, batch, time_axis)
    xs, valid, resets = time_first(
        xs, lengths, mask, resets, time=time, time_axis=time_axis, reverse=reverse
    )
    if reverse:
        xs, valid, resets = jax.tree.map(lambda leaf: leaf[::-1], (xs, valid, resets))
    return Steps(xs, valid, resets, time, batch)


def compiled(
    f: Callable[..., Any], what: Any, params: Params, told: tuple[Any, ...], *given: Any
) -> Any:
    """`f(what, params, told, *given)` under jit, compiled once for a cell that has not changed.

    As `unroll` has it: what a step reads besides its arguments is looked at in each call, and
    parameters may be no arrays. `told` has a hash, and `f` is a function of a module. What it is of
    may also be a function of the user's.
    """
    arrays, static = Static.of(params)

    def make(get: Callable[[], Any]) -> Callable[..., Any]:
        return jax.jit(lambda arrays, *given: f(get(), static.joined(arrays), told, *given))

    apart = Static((static.tree, f, told), static.leaves)
    return remembered(what, apart, make)(arrays, *given)


def one_step(x: PyTree, batch: tuple[int, ...]) -> Steps:
    """A run of one step."""
    return Steps(jax.tree.map(lambda leaf: leaf[None], x), None, None, 1, batch)


def run(
    cell: Cell,
    params: Params | Callable[[PyTree], Params],
    state: State,
    steps: Steps,
    *,
    units: Units | None = None,
    taps: Array | None = None,
    copies: PyTree = None,
) -> tuple[State, PyTree]:
    """What `unroll` computes, step by step under `lax.scan`, open to derivatives of each step.

    Args:
      cell: the cell.
      params: its parameters; where there are copies, a function from those of a step to them.
      state: the state before the first step.
      steps: the steps.
      units: which numbers of the state the taps are added to.
      taps: [T, *B, N], zeros that are added to the state before each step, and before its reset:
        the gradient with respect to tap k is that with respect to the state which k steps left.
      copies: [T, ...], one for each step.

    Returns:
      (the last state, ys [T, *B, ...]).
    """

    def body(state: State, inputs: Any) -> tuple[State, PyTree]:
        (x, valid, reset), tap, here = inputs
        if units is not None and tap is not None:
            state = units.write(state, units.read(state) + tap)
        x, mask, resets = jax.tree.map(lambda leaf: leaf[None], (x, valid, reset))
        here = params if copies is None else params(here)
        state, y = unroll(cell, here, state, x, length=1, mask=mask, resets=resets)
        return state, jax.tree.map(lambda leaf: leaf[0], y)

    inputs = ((steps.xs, steps.valid, steps.resets), taps, copies)
    return jax.lax.scan(body, state, inputs, length=steps.time)


def is_floating(leaf: Any) -> bool:
    """Whether a leaf is an array of real or complex numbers; parameters may be no arrays."""
    is_array = isinstance(leaf, jax.Array | np.ndarray | np.generic)
    return is_array and jnp.issubdtype(leaf.dtype, jnp.inexact)


def floating(tree: PyTree) -> tuple[list[Array], Any]:
    """The real and complex leaves of a tree, and a function from such leaves to the tree."""
    leaves, form = jax.tree.flatten(tree)
    places = [n for n, leaf in enumerate(leaves) if is_floating(leaf)]

    def back(some: list[Array]) -> PyTree:
        new = dict(zip(places, some, strict=True))
        return form.unflatten([new.get(n, leaf) for n, leaf in enumerate(leaves)])

    return [leaves[n] for n in places], back


def entering(loss: Callable[[PyTree], Any], ys: PyTree) -> list[Array]:
    """∂E/∂y_t, for the floating leaves of the outputs."""
    leaves, whole = floating(ys)

    def total(leaves: list[Array]) -> Array:
        return real_numbers("loss", loss(whole(leaves))).sum()

    return jax.grad(total)(leaves)


def real_numbers(what: str, found: Any, *, one: bool = False) -> Array:
    """What a loss returned, if it is an array of real numbers, or one of them; else TypeError."""
    wanted = "one real number" if one else "an array of real numbers"
    is_number = hasattr(found, "shape") or isinstance(found, float)
    value = jnp.asarray(found) if is_number else None
    if value is None or not jnp.issubdtype(value.dtype, jnp.floating) or (one and value.ndim):
        came = f"{value.dtype}{list(value.shape)}" if value is not None else type(found).__name__
        raise TypeError(f"{what} must return {wanted} and nothing beside, got {came}")
    return value


def at_steps(where: Array, tree: Any) -> Any:
    """Gradients with respect to outputs, [T, *B, ...], where the flags [T, *B] are; 0 elsewhere."""
    return jax.tree.map(lambda g: select_rows(where, g, jnp.zeros_like(g)), tree)


def norm(x: Array) -> Array:
    """The norm over the last axis, of numbers whose squares may be too small or too large."""
    x = jnp.abs(x).astype(at_least_float32(jnp.abs(x).dtype))
    most = x.max(axis=-1, keepdims=True, initial=0)
    scale = jnp.where((most > 0) & jnp.isfinite(most), most, 1)
    return jnp.sqrt(jnp.square(x / scale).sum(axis=-1)) * scale[..., 0]
