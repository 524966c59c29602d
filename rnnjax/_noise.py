"""Floor 0: noise, as keys in a state: how they are made, drawn from and renewed."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax._cell import Array, Cell, Held, PyTree, State, joined, parted
from rnnjax._held import below, path_name


def is_key(x: Any) -> bool:
    """Whether x holds typed PRNG keys."""
    return jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key)


def noise_keys(key: Array | None, batch_shape: tuple[int, ...]) -> Array:
    """The key leaf of a noisy cell's state: one key a row, or none in evaluation.

    Row b's key depends on `key` and b alone, not on the size of the batch.

    Args:
      key: one key for the batch, one key a row [*B], or None for evaluation. Keys of any kind,
        old-style uint32 keys included; the leaf holds threefry keys.
      batch_shape: *B.

    Returns:
      Typed keys [*B, 1], or [*B, 0] when `key` is None.

    Raises:
      ValueError: the shape of `key` is neither [] nor [*B].

    Example:
      >>> import jax, rnnjax
      >>> rnnjax.noise_keys(jax.random.key(0), (3,)).shape, rnnjax.noise_keys(None, (3,)).shape
      ((3, 1), (3, 0))
    """
    if key is None:
        return jnp.broadcast_to(_threefry(jax.random.key(0)), (*batch_shape, 0))
    key = _threefry(key)
    if key.shape not in ((), batch_shape):
        raise ValueError(f"key has shape {list(key.shape)}, expected [] or {list(batch_shape)}")
    if key.shape != batch_shape:
        key = fold_in(key, jnp.arange(math.prod(batch_shape)).reshape(batch_shape))
    return key[..., None]


def fold_in(key: Array, data: jax.typing.ArrayLike) -> Array:
    """`jax.random.fold_in` for any batch of keys; the result is of threefry keys."""
    return jnp.vectorize(jax.random.fold_in)(_threefry(key), data)


def held_rates(rates: PyTree, batch_shape: tuple[int, ...]) -> Held:
    """Rates as a noisy cell holds them in its state, for each row; `set_rates` changes them."""
    return Held(jax.tree.map(lambda rate: jnp.full(batch_shape, rate, float), rates))


def draw(key: Array, probability: Array, shape: tuple[int, ...]) -> Array:
    """True with a probability: bool [*B, *shape] from keys and probabilities [*B], row by row."""
    one = jnp.vectorize(
        lambda key, p: jax.random.bernoulli(key, p, shape),
        signature=f"(),()->({','.join(f'f{i}' for i in range(len(shape)))})",
    )
    return one(key, probability)


def dropped(key: Array, rate: Array, x: Array) -> Array:
    """x [*B, ...] with each feature dropped at its row's rate, and the others scaled up for it."""
    kept = draw(key, 1 - rate, x.shape[key.ndim :])
    return jnp.where(kept, x / share(rate, x), 0)


def share(rate: Array, x: Array) -> Array:
    """What is left at rates [*B], beside x [*B, ...]; 1 instead of 0, to divide by."""
    return beside(jnp.where(rate < 1, 1 - rate, 1), x)


def beside(rate: Array, x: Array) -> Array:
    """Rates [*B] in the rank and the dtype of x [*B, ...]."""
    return jnp.expand_dims(rate, (*range(rate.ndim, x.ndim),)).astype(x.dtype)


def _threefry(key: Array) -> Array:
    """The key as a threefry key: only threefry draws for a row in a batch what it draws alone."""
    data = jax.random.key_data(key) if is_key(key) else key
    return jax.random.wrap_key_data(data[..., :2], impl="threefry2x32")  # rbg has two of them


def folded(name: int | str | tuple) -> int | np.uint32:
    """A name, or a path of a tree, as a number to fold into a key: the same in every process."""
    if isinstance(name, int):
        return name
    text = name if isinstance(name, str) else jax.tree_util.keystr(name)
    return np.uint32(int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]))


def rekey(cell: Cell, state: State, key: Array) -> State:
    """Draws a state's noise anew from `key`, and leaves everything else as it is.

    Truncated back-propagation calls it once a window, so that masks which are fixed within a
    sequence are fresh in each window. A state without noise comes back unchanged.

    Args:
      cell: the cell whose state it is.
      state: its state.
      key: one key for the batch.

    Returns:
      The state, its key leaves replaced by keys folded from `key`, the leaf's place and the row.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.dropout(0.5)
      >>> state = cell.initial_state((), (2,), key=jax.random.key(0))
      >>> bool((rnnjax.rekey(cell, state, jax.random.key(1)).key == state.key).any())
      False
    """
    del cell  # every cell keeps its noise as keys, so the state says it all
    state, held = parted(state)

    def redrawn(path: tuple, leaf: Array) -> Array:
        if not is_key(leaf) or leaf.shape[-1:] != (1,):
            return leaf
        return noise_keys(fold_in(key, folded(path)), leaf.shape[:-1])

    return joined(jax.tree.map_with_path(redrawn, state), held)


def set_rates(state: State, rates: float | Array | Mapping[str, float | Array]) -> State:
    """Changes the rates of a state's noise: of dropout, zoneout, scheduled sampling.

    A rate is held in the state, not compiled into a program, so that a schedule may change it at
    every step of training. The factory's argument is what it begins with.

    Args:
      state: the state of a noisy cell, or of what holds one.
      rates: a number, which may be traced, for all rates; or one for each part by its path, such
        as {"drop": 0.3} for `stack(drop=dropout(0.5), rnn=...)`; its place in a stack without
        names. Others stay.

    Returns:
      The state, with these rates.

    Raises:
      ValueError: a path leads to no rate, the state has none, or a rate is outside [0, 1].

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.stack(drop=rnnjax.dropout(0.5), rnn=rnnjax.gru(4))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> state = cell.initial_state(params, (2,), key=jax.random.key(1))
      >>> print(rnnjax.set_rates(state, {"drop": 0.25})["drop"].rate.value)
      [0.25 0.25]
    """
    rates = rates if isinstance(rates, Mapping) else {"": rates}
    rates = {str(at): _probability(at, rate) for at, rate in rates.items()}
    places: list[str] = []
    found = dict.fromkeys(rates, False)

    def changed(path: tuple, leaf: Array) -> Array:
        short, count = re.subn(r"(^|\.)rate\.value(?=\.|$)", "", path_name(path))
        if not count:
            return leaf
        places.append(short.strip("."))
        for at, rate in rates.items():
            if below(places[-1], at):
                found[at] = True
                leaf = jnp.broadcast_to(jnp.asarray(rate, leaf.dtype), leaf.shape)
        return leaf

    state = jax.tree.map_with_path(changed, state)
    for at, there in found.items():
        if not there:
            known = ", ".join(place or "the state itself" for place in places) or "none"
            raise ValueError(f"rates: {at or 'the state'} has no rate; those there are: {known}")
    return state


def _probability(at: Any, rate: Any) -> Any:
    """A rate; raises ValueError for one outside [0, 1], where its value is known."""
    if not isinstance(rate, Tracer) and not (np.min(rate) >= 0 and np.max(rate) <= 1):
        raise ValueError(f"rates: {at or 'all'} must be in [0, 1], got {rate}")
    return rate
