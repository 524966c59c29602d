"""Floor 2: `unroll` runs a cell over a sequence, with lengths, masks, resets and direction."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Array, Cell, Params, PyTree, State, joined, parted
from rnnjax._check import (
    check_call,
    check_carry,
    check_state,
    checked_rows,
    explained,
    sequence_sizes,
)
from rnnjax._compile import scan
from rnnjax._compile._mapped import mapped_rows
from rnnjax._compile._memory import remembered
from rnnjax._compile._static import Static
from rnnjax._factory import natural
from rnnjax._noise import fold_in, is_key

# What looks on: every call of `unroll` goes to it instead, so that `rnnjax.diagnostics` may see the
# gradients in any loss. None where nobody does; what jit compiled for another one is not used.
onlooker = jax.make_user_context(None)


def unroll(
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
    save: str = "auto",
    block: int | str | None = "auto",
    loop_unroll: int = 1,
) -> tuple[State, PyTree]:
    """Runs a cell over a sequence.

        s_0 = state;  s_t, y_t = cell.step(params, s_{t-1}, x_t)

    All options compose. Where `lengths` or `mask` says that step t of row b is padding, the state
    holds, y is exactly 0, and what xs contains there never matters, forward or backward: not
    even NaN. A row of length 0 ends in the state it was given.

    Args:
      cell: the cell.
      params: its parameters.
      state: the state before the first step, leaves [*B, ...]; None for `cell.initial_state`,
        without noise. What it holds (`Held`) may be of any size.
      xs: the inputs [T, *B, ...], a pytree when the cell takes one; None when it takes none.
      length: T; needed when `xs` is None.
      lengths: integers [*B]: steps n..T-1 of a row of length n are padding. Concrete values
        outside [0, T] raise; under jit they act as the nearest of 0 and T.
      mask: bool [T, *B]: False is padding, anywhere. With `lengths` too, both must allow a step.
      resets: bool [T, *B]: True marks the first step of a new sequence in time order: the state
        is replaced by the initial state (fresh noise from the row's own key) before it. With
        `reverse`, before the step which precedes it in time. A reset on padding is ignored.
      reverse: run each row from its last real step to its first; y[t] stays aligned with x[t].
      time_axis: where the time axis of xs, mask, resets and ys is; 1 for batch-major data
        [B, T, ...].
      save: what is kept for the gradient, as in `rnnjax.scan`: "all", or "states" for less memory.
      block: how many steps go through all stages together, as in `rnnjax.scan`.
      loop_unroll: how many steps one iteration of the compiled loop takes.

    Returns:
      (state after each row's last real step, ys [T, *B, ...]).

    Raises:
      TypeError: a dtype or a tree is not what the cell expects; the message names the leaf.
      ValueError: a shape is not what the cell expects, or a length is outside [0, T].

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jax.random.normal(jax.random.key(1), (5, 2, 3))
      >>> h, ys = rnnjax.unroll(cell, params, None, xs, lengths=jnp.array([5, 2]))
      >>> bool((h[1] == ys[1, 1]).all()), bool((ys[2:, 1] == 0).all())
      (True, True)
    """
    check_call(cell, reverse)
    if onlooker.value is not None:
        return onlooker.value(
            cell, params, state, xs, length=length, lengths=lengths, mask=mask, resets=resets,
            reverse=reverse, time_axis=time_axis, save=save, block=block, loop_unroll=loop_unroll,
        )  # fmt: skip
    lengths = None if lengths is None else jnp.asarray(lengths)
    sizes = sequence_sizes(cell, params, state, xs, length, lengths, time_axis)
    lengths, mask, resets = checked_rows(lengths, mask, resets, *sizes, time_axis)
    # What `scan` is told, in a form that has a hash.
    told = {
        "reverse": reverse,
        "save": save,
        "block": block,
        "loop_unroll": natural("loop_unroll", loop_unroll, least=1),
        "mapped": mapped_rows((params, state, xs)),
    }
    options = sizes, time_axis, tuple(told.items())
    arrays, static = Static.of(params)

    # Under jit, so that a second call with the same shapes does not call `step` again.
    def make(get: Callable[[], Cell]) -> Callable[..., tuple[State, PyTree]]:
        return jax.jit(functools.partial(_unroll, get, static), static_argnums=0)

    return remembered(cell, static, make)(options, arrays, state, xs, lengths, mask, resets)


def time_first(
    xs: PyTree,
    lengths: Array | None,
    mask: Array | None,
    resets: Array | None,
    *,
    time: int,
    time_axis: int,
    reverse: bool,
) -> tuple[PyTree, Array | None, Array | None]:
    """The inputs [T, *B, ...], which steps are real, and which begin anew, in this direction."""
    xs, mask, resets = jax.tree.map(
        lambda leaf: jnp.moveaxis(leaf, time_axis, 0), (xs, mask, resets)
    )
    valid = valid_steps(time, lengths, mask)
    if resets is not None:
        resets = resets if valid is None else resets & valid
        resets = reversed_resets(resets, valid) if reverse else resets
    return xs, valid, resets


def _unroll(
    get: Callable[[], Cell],
    static: Static,
    options: tuple,
    arrays: PyTree,
    state: State | None,
    xs: PyTree,
    lengths: Array | None,
    mask: Array | None,
    resets: Array | None,
) -> tuple[State, PyTree]:
    (time, batch), time_axis, told = options
    told = dict(told)
    cell, params = get(), static.joined(arrays)
    xs, valid, resets = time_first(
        xs, lengths, mask, resets, time=time, time_axis=time_axis, reverse=told["reverse"]
    )
    with explained(cell, params, xs, batch):
        fresh = cell.initial_state(params, batch)
    state = fresh if state is None else check_state(cell, state, fresh, time, batch, time_axis)
    fresh, state = _like_xs((fresh, state), xs, batch)
    (fresh, _), (state, held) = parted(fresh), parted(state)

    if valid is not None:
        # Before the step: a `where` after it would leave 0 * NaN in the gradient.
        xs = select_rows(valid, xs, _harmless(cell, valid, xs))

    def step(constants: PyTree, state: State, inputs: PyTree) -> tuple[State, PyTree]:
        arrays, fresh, held = constants
        params = static.joined(arrays)
        x, valid, reset = inputs
        if reset is not None:
            state = select_rows(reset, _restart(cell, params, state, fresh), state)
        begin = state if valid is None else _safe(valid, state, fresh)
        with jax.named_scope(cell.name), explained(cell, params, xs, batch):
            new, y = cell.step(params, joined(begin, held), x)
            new, _ = parted(new)
            check_carry(cell, state, new)
        if valid is not None:
            new = select_rows(valid, new, state)
            y = select_rows(valid, y, jax.tree.map(_zero, y))
        return new, y

    constants, inputs = (arrays, fresh, held), (xs, valid, resets)
    state, ys = scan(step, constants, state, inputs, length=time, **told)
    return joined(state, held), jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, time_axis), ys)


def times(time: int, batch: tuple[int, ...]) -> Array:
    """The steps 0 .. T-1, as [T, 1, ...] to stand beside arrays [*B]."""
    return jnp.arange(time).reshape(-1, *(1 for _ in batch))


def before_end(time: int, lengths: Array) -> Array:
    """Which steps are before the lengths [*B], bool [T, *B]."""
    # Those of uint32 go beyond int32.
    largest = min(jnp.iinfo(dtype).max for dtype in (lengths.dtype, jnp.result_type(int)))
    return times(time, lengths.shape) < jnp.minimum(lengths, largest).astype(int)[None]


def valid_steps(time: int, lengths: Array | None, mask: Array | None) -> Array | None:
    """Which steps are real, [T, *B]: those before the length that the mask allows; None for all."""
    if lengths is None:
        return mask
    within = before_end(time, lengths)
    return within if mask is None else mask & within


def _restart(cell: Cell, params: Params, state: State, fresh: State) -> State:
    """The initial state of rows that start again: new noise where the state has noise."""
    keys = [leaf for leaf in jax.tree.leaves(state) if is_key(leaf) and leaf.shape[-1:] == (1,)]
    if not keys:
        return fresh
    # Any data but the small integers cells fold in to tell layers, rows and steps apart.
    key = fold_in(keys[0][..., 0], np.uint32(2**32 - 1))
    drawn, _ = parted(cell.initial_state(params, key.shape, key=key))
    return jax.tree.map(lambda new, old: _placed(new, jax.typeof(old).sharding.spec), drawn, state)


def reversed_resets(resets: Array, valid: Array | None) -> Array:
    """Where a reversed run restarts: before a real step when the next real one is a reset."""
    steps = times(resets.shape[0], resets.shape[1:])
    # Each real step as its time and, in the last bit, its flag: the least to come is the next.
    marks = 2 * steps + resets.astype(int)
    if valid is not None:
        marks = jnp.where(valid, marks, 2 * resets.shape[0])
    following = jax.lax.cummin(marks, reverse=True)[1:] % 2 == 1
    restarts = jnp.concatenate([following, jnp.zeros_like(resets[:1])])
    return restarts if valid is None else restarts & valid


def select_rows(condition: Array, yes: PyTree, no: PyTree) -> PyTree:
    """Selects rows: the condition's axes are the leading axes of every leaf."""
    return jax.tree.map(lambda a, b: a if a is b else _selected(condition, a, b), yes, no)


def _selected(condition: Array, a: Array, b: Array) -> Array:
    if is_key(a):  # to select a key is to use it, and a key is used once
        data = _selected(condition, jax.random.key_data(a), jax.random.key_data(b))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(a))
    shape = (*condition.shape, *(1,) * (a.ndim - condition.ndim))
    return jnp.where(condition.reshape(shape), a, b)


def _harmless(cell: Cell, valid: Array, xs: PyTree) -> PyTree:
    """What padding is replaced by: the row's first real input, or the cell's fill without one.

    A derivative at padding is formed, then multiplied by 0; so it must be finite. It is where the
    row really begins, from the state it really begins in (`_safe`).
    """
    first = valid & (jnp.cumsum(valid, axis=0) == 1)

    def replace(leaf: Array, fill: float) -> Array:
        if is_key(leaf):
            return leaf
        own = select_rows(first, jax.lax.stop_gradient(leaf), _zero(leaf))
        own = own.any(axis=0) if leaf.dtype == bool else own.sum(axis=0, dtype=leaf.dtype)
        own = select_rows(valid.any(axis=0), own, jnp.full_like(own, fill))
        return jnp.broadcast_to(own, leaf.shape)

    return jax.tree.map(replace, xs, jax.tree.broadcast(cell.fill, xs))


def _safe(valid: Array, state: State, fresh: State) -> State:
    """The state, on padding the initial one: a held state may be anything, even not finite."""
    return jax.tree.map(lambda s, f: s if is_key(s) else select_rows(valid, s, f), state, fresh)


def _zero(leaf: Array) -> Array:
    return leaf if is_key(leaf) else jnp.zeros_like(leaf)


def _like_xs(state: State, xs: PyTree, batch: tuple[int, ...]) -> State:
    """Gives states the sharding and the varying axes of the inputs' batch axes."""
    for leaf in jax.tree.leaves(xs):
        if not is_key(leaf):
            others = (0, *range(1 + len(batch), leaf.ndim))
            flag = jnp.zeros_like(leaf[:1], dtype=bool).any(axis=others)
            state = _placed(state, jax.typeof(flag).sharding.spec)
            # Under shard_map, what is selected by a varying flag varies. XLA removes it.
            state = jax.tree.map(functools.partial(_selected, flag), state, state)
    return state


def _placed(tree: PyTree, spec: tuple) -> PyTree:
    """The tree, its leading axes sharded like a value's of this spec on an Explicit mesh."""
    return jax.sharding.reshard(tree, jax.P(*spec)) if any(spec) else tree
