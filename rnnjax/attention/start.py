"""The state of a decoder that has a memory to look at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Params, PyTree, State
from rnnjax._check import checked_rows, require_cell
from rnnjax._factory import natural
from rnnjax._held import below, hold, path_name
from rnnjax._unroll import valid_steps
from rnnjax.attention._common import AttendParams, AttendState
from rnnjax.attention._score import Memory
from rnnjax.cells._common import check_floating


def start(
    cell: Cell,
    params: Params,
    memory: Array,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    time_axis: int = 0,
    state: State | None = None,
    at: str = "",
    key: Array | None = None,
) -> State:
    """The state of a decoder before its first step, with a memory to look at.

        keys = m W_k,  values = m W_v                        once; as they stand where none is drawn

    `cell` is an `attend` or `attend_after`, or holds some anywhere: in a stack, under dropout. Each
    gets the memory, with its own keys. They are functions of the parameters: call it in the loss.

    Args:
      cell: the cell.
      params: its parameters.
      memory: what it looks at, [S, *B, M], such as the outputs of an encoder.
      lengths: integers [*B]: places n..S-1 of a row of length n are padding, whatever they hold.
      mask: bool [S, *B]: False is padding, anywhere. With `lengths` too, both must allow a place.
      time_axis: where the axis of places is, of `memory` and `mask`; 1 for [B, S, M].
      state: the state to put it into, such as one with an encoder's last state for the decoder's
        first; None for `cell.initial_state`.
      at: where, by a path in the state, as in "decoder"; without it, all that attend get it. Call
        it again with another memory for another place.
      key: a key for the noise of the initial state; None for evaluation.

    Returns:
      The state.

    Raises:
      TypeError: the memory is not floating, lengths are not integers, or a mask not bool.
      ValueError: nothing attends there, the memory has another number of features, or sizes
        disagree.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax import attention
      >>> model = rnnjax.stack(
      ...     embed=rnnjax.embed(10, 3),
      ...     decoder=rnnjax.attend(rnnjax.gru(4), 6, attention.general()),
      ...     readout=rnnjax.linear(10),
      ... )
      >>> params = model.init(jax.random.key(0), rnnjax.tokens())
      >>> state = attention.start(model, params, jnp.ones((7, 2, 6)), lengths=jnp.array([7, 4]))
      >>> state["decoder"].memory.value.mask.sum(-1).tolist()
      [7, 4]
      >>> _, logits = rnnjax.unroll(model, params, state, jnp.zeros((5, 2), int))
      >>> logits.shape
      (5, 2, 10)
    """
    require_cell("cell", cell)
    memory = jnp.asarray(memory)
    check_floating("attention.start: memory", memory)
    axis = natural("time_axis", time_axis)
    if memory.ndim < 2 or axis > memory.ndim - 2:
        raise ValueError(
            f"memory has shape {list(memory.shape)}, expected [S, *B, M] with time_axis 0, or S at "
            f"time_axis, got {axis}"
        )
    batch = (*memory.shape[:axis], *memory.shape[axis + 1 : -1])
    size = memory.shape[axis]
    lengths, mask, _ = checked_rows(lengths, mask, None, size, batch, axis)
    mask = None if mask is None else jnp.moveaxis(mask, axis, 0)
    real = valid_steps(size, lengths, mask)
    real = jnp.ones((size, *batch), bool) if real is None else real
    # [*B, S], and harmless at padding: a weight of 0 does not undo a NaN.
    memory, real = jnp.moveaxis(memory, axis, -2), jnp.moveaxis(real, 0, -1)
    memory = jnp.where(real[..., None], memory, 0)

    state = cell.initial_state(params, batch, key=key) if state is None else state
    places = [*_found(state, AttendState)]
    chosen = [
        (path, own, node)
        for (_, own), (path, node) in zip(_found(params, AttendParams), places, strict=True)
        if below(path, at)
    ]
    if not chosen:
        known = ", ".join(path or "the state itself" for path, _ in places) or "none"
        raise ValueError(
            f"nothing attends at {at or 'any place'} of {cell.name}; what attends: {known}"
        )
    for path, own, node in chosen:
        made = _memory(path or cell.name, own, node.memory.value, memory, real)
        state = hold(state, made, at=f"{path}.memory" if path else "memory")
    return state


def _found(tree: PyTree, kind: type, at: tuple = ()) -> Iterator[tuple[str, Any]]:
    """The nodes of a kind with their paths, each before those inside it."""
    for path, node in jax.tree_util.tree_leaves_with_path(
        tree, is_leaf=lambda n: isinstance(n, kind)
    ):
        if isinstance(node, kind):
            path = (*at, *path)
            yield path_name(path), node
            yield from _found(node.cell, kind, (*path, jax.tree_util.GetAttrKey("cell")))


def _memory(where: str, own: AttendParams, empty: Memory, memory: Array, real: Array) -> Memory:
    """Keys and values, padded to the places of the empty memory, where it has some."""
    drawn = [w.shape[0] for w in (own.w_key, own.w_value) if w is not None]
    features, places = [*drawn, empty.values.shape[-1]][0], empty.mask.shape[-1]
    size = memory.shape[-2]
    if memory.shape[-1] != features:
        raise ValueError(f"memory has {memory.shape[-1]} features, {where} was made for {features}")
    if places:
        if size > places:
            raise ValueError(f"memory has {size} places, the score of {where} takes {places}")
        more = [(0, 0)] * (real.ndim - 1) + [(0, places - size)]
        memory, real = jnp.pad(memory, [*more, (0, 0)]), jnp.pad(real, more)
    memory = memory.astype(empty.values.dtype)
    return Memory(
        values=memory if own.w_value is None else memory @ own.w_value,
        keys=None if own.w_key is None else memory @ own.w_key,
        mask=real,
    )
