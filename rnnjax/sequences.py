"""Floor 3: sequences of different lengths as arrays, and back.

Time-major throughout: [T, B, ...]. What builds batches (`pad`, `bucket`, `pack`) works on the host
with NumPy; what runs inside a model (`last`, pooling, `reverse_sequences`) is JAX.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Array, natural
from rnnjax._check import check_lengths, checked_rows
from rnnjax._unroll import select_rows, times, valid_steps


def pad(
    sequences: Sequence[Any], *, length: int | None = None, value: float = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Puts sequences of different lengths side by side.

    Args:
      sequences: B arrays [T_b, ...] that differ in nothing but T_b.
      length: T; None for the longest sequence.
      value: what fills the rest.

    Returns:
      (xs [T, B, ...], lengths [B]).

    Raises:
      ValueError: there is no sequence, the sequences differ in more than length, or one is longer
        than `length`.

    Example:
      >>> import numpy as np, rnnjax
      >>> xs, lengths = rnnjax.pad([np.array([1, 2, 3]), np.array([4])])
      >>> print(xs.T, lengths)
      [[1 2 3]
       [4 0 0]] [3 1]
    """
    arrays = _same_steps("pad", sequences)
    lengths = np.array([len(a) for a in arrays], np.int32)
    time = int(lengths.max()) if length is None else length
    if lengths.max() > time:
        row = int(lengths.argmax())
        raise ValueError(f"sequences[{row}] has {lengths[row]} steps, length is {time}")
    dtype = arrays[0].dtype
    if dtype.kind in "biu" and value != int(np.nan_to_num(value)):
        raise ValueError(f"value is {value}, which {dtype} sequences cannot hold: convert them")
    xs = np.full((time, len(arrays), *arrays[0].shape[1:]), value, dtype)
    for row, array in enumerate(arrays):
        xs[: len(array), row] = array
    return xs, lengths


def unpad(xs: Any, lengths: Any) -> list[np.ndarray]:
    """The sequences that `pad` put side by side, as a list of arrays [T_b, ...].

    Args:
      xs: [T, B, ...].
      lengths: [B].

    Returns:
      B arrays.

    Raises:
      TypeError: the lengths are not integers.
      ValueError: xs and lengths disagree on B, or a length is outside [0, T].

    Example:
      >>> import numpy as np, rnnjax
      >>> [list(map(int, s)) for s in rnnjax.unpad(np.array([[1, 4], [2, 0]]), [2, 1])]
      [[1, 2], [4]]
    """
    xs, lengths = np.asarray(xs), np.asarray(lengths)
    if not np.issubdtype(lengths.dtype, np.integer):
        raise TypeError(f"lengths must be integers, got {lengths.dtype}")
    if xs.ndim < 2 or lengths.shape != xs.shape[1:2]:
        raise ValueError(f"lengths has shape {list(lengths.shape)}, xs is {list(xs.shape)}")
    for row in np.flatnonzero((lengths < 0) | (lengths > len(xs))):
        raise ValueError(f"lengths[{row}] = {lengths[row]} is outside [0, {len(xs)}]")
    return [xs[:n, row] for row, n in enumerate(lengths)]


def bucket(lengths: Any, count: int) -> list[tuple[int, np.ndarray]]:
    """Groups sequences by length, so that a model compiles for at most `count` shapes.

    Of all ways to choose at most `count` padded lengths it takes one with the least padding, by
    dynamic programming over the distinct lengths.

    Args:
      lengths: the length of each sequence.
      count: how many groups there may be.

    Returns:
      A list of (padded length, indices of the sequences), shortest first; every sequence is in
      exactly one group, and no longer than its padded length.

    Raises:
      TypeError: the lengths are not integers [N], or `count` is not an int.
      ValueError: there is no sequence, a length is negative, or `count` is below 1.

    Example:
      >>> import rnnjax
      >>> [(n, rows.tolist()) for n, rows in rnnjax.bucket([3, 10, 4, 9], 2)]
      [(4, [0, 2]), (10, [1, 3])]
    """
    lengths = np.asarray(lengths)
    count = natural("count", count)
    if lengths.size and (lengths.ndim != 1 or lengths.dtype.kind not in "iu"):
        raise TypeError(f"lengths must be integers [N], got {lengths.dtype}{list(lengths.shape)}")
    if lengths.size == 0 or lengths.min() < 0 or count < 1:
        raise ValueError(
            f"bucket needs lengths of at least one sequence, none negative, and a count of at "
            f"least 1; got {lengths.size} lengths and count {count}"
        )
    sizes, repeats = np.unique(lengths, return_counts=True)
    shorter = np.concatenate([[0], np.cumsum(repeats)])  # sequences among the first j sizes
    i, j = np.indices((len(sizes) + 1,) * 2)
    steps = (shorter[j] - shorter[i]) * np.concatenate([[0], sizes])[j]
    group = np.where(i < j, steps, np.inf)  # the padded steps of sizes i..j-1 as one group
    cost, cuts = np.where(np.arange(len(sizes) + 1) == 0, 0, np.inf), []
    for _ in range(min(count, len(sizes))):
        through = cost[:, None] + group
        cost = through.min(axis=0)
        cuts.append(through.argmin(axis=0))
    bounds = [len(sizes)]
    for cut in reversed(cuts):
        bounds.append(int(cut[bounds[-1]]))
    bounds.reverse()
    place = np.searchsorted(sizes[np.array(bounds[1:]) - 1], lengths)
    return [
        (int(sizes[stop - 1]), np.flatnonzero(place == number))
        for number, stop in enumerate(bounds[1:])
    ]


class Packed(NamedTuple):
    """Several sequences in each row; see `pack`.

    Attributes:
      xs: [T, B, ...].
      mask: bool [T, B], False where no sequence is.
      resets: bool [T, B], True at the first step of each sequence.
      rows: the row of each sequence.
      starts: its first step there.
      lengths: its length.
    """

    xs: np.ndarray
    mask: np.ndarray
    resets: np.ndarray
    rows: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray


def pack(sequences: Sequence[Any], length: int) -> Packed:
    """Packs several sequences into each row, so that little of a batch is padding.

    Longest first, each into the first row that has room (first-fit decreasing: at most 11/9 of
    the least number of rows, and one; Johnson, 1973). `unroll(..., mask=packed.mask,
    resets=packed.resets)` then treats each sequence as if it were alone.

    Args:
      sequences: arrays [T_n, ...] that differ in nothing but T_n.
      length: T, the length of a row.

    Returns:
      A `Packed`; `unpack(ys, packed)` gives each sequence's outputs back.

    Raises:
      ValueError: there is no sequence, the sequences differ in more than length, or one is longer
        than `length`.

    Example:
      >>> import numpy as np, rnnjax
      >>> packed = rnnjax.pack([np.array([1, 2]), np.array([3]), np.array([4, 5, 6])], 3)
      >>> print(packed.xs.T)
      [[4 5 6]
       [1 2 3]]
      >>> [list(map(int, s)) for s in rnnjax.unpack(packed.xs, packed)]
      [[1, 2], [3], [4, 5, 6]]
    """
    arrays = _same_steps("pack", sequences)
    lengths = np.array([len(a) for a in arrays], np.int32)
    if lengths.max() > length:
        n = int(lengths.argmax())
        raise ValueError(f"sequences[{n}] has {lengths[n]} steps, length is {length}")
    rows, starts, used = np.zeros_like(lengths), np.zeros_like(lengths), []
    for n in np.argsort(-lengths, kind="stable"):
        row = next((r for r, u in enumerate(used) if u + lengths[n] <= length), len(used))
        if row == len(used):
            used.append(0)
        rows[n], starts[n] = row, used[row]
        used[row] += int(lengths[n])
    xs = np.zeros((length, len(used), *arrays[0].shape[1:]), arrays[0].dtype)
    mask, resets = np.zeros(xs.shape[:2], bool), np.zeros(xs.shape[:2], bool)
    for array, row, start in zip(arrays, rows, starts, strict=True):
        xs[start : start + len(array), row] = array
        mask[start : start + len(array), row] = True
        resets[start : start + 1, row] |= len(array) > 0
    return Packed(xs, mask, resets, rows, starts, lengths)


def unpack(ys: Any, packed: Packed) -> list[np.ndarray]:
    """What belongs to each packed sequence, in the order they were given to `pack`.

    Args:
      ys: [T, B, ...], such as the outputs of a run over `packed.xs`.
      packed: what `pack` returned.

    Returns:
      A list of arrays [T_n, ...].

    Raises:
      ValueError: ys has not the rows and steps of `packed.xs`.

    Example:
      >>> import numpy as np, rnnjax
      >>> packed = rnnjax.pack([np.ones(2), np.ones(1)], 3)
      >>> [len(s) for s in rnnjax.unpack(10 * packed.xs, packed)]
      [2, 1]
    """
    ys = np.asarray(ys)
    if ys.shape[:2] != packed.mask.shape:
        raise ValueError(f"ys is {list(ys.shape)}, expected {list(packed.mask.shape)} and features")
    places = zip(packed.rows, packed.starts, packed.lengths, strict=True)
    return [ys[start : start + n, row] for row, start, n in places]


def reverse_sequences(xs: Array, lengths: Array) -> Array:
    """Reverses the real part of each row, and leaves the padding where it is.

        y_t = x_{n-1-t} for t < n, else x_t

    Args:
      xs: [T, *B, ...].
      lengths: n, [*B], as in `rnnjax.unroll`.

    Returns:
      [T, *B, ...].

    Raises:
      TypeError, ValueError: lengths are not integers of xs' batch shape in [0, T].

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> print(rnnjax.reverse_sequences(jnp.array([[1, 4], [2, 5], [3, 0]]), jnp.array([3, 2])).T)
      [[3 2 1]
       [5 4 0]]
    """
    xs = jnp.asarray(xs)
    t, lengths = _steps(xs, lengths)
    source = jnp.where(t < lengths, lengths - 1 - t, t)
    return jnp.take_along_axis(
        xs, source.reshape(*source.shape, *(1,) * (xs.ndim - source.ndim)), axis=0
    )


def last(ys: Array, lengths: Array) -> Array:
    """Each row's output at its last real step; 0 for a row of length 0.

    Args:
      ys: [T, *B, ...].
      lengths: [*B], as in `rnnjax.unroll`.

    Returns:
      [*B, ...].

    Raises:
      TypeError, ValueError: lengths are not integers of ys' batch shape in [0, T].

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> print(rnnjax.last(jnp.array([[1.0, 4.0], [2.0, 5.0]]), jnp.array([2, 1])))
      [2. 4.]
    """
    ys = jnp.asarray(ys)
    t, lengths = _steps(ys, lengths)
    return select_rows(t == lengths - 1, ys, jnp.zeros_like(ys)).sum(axis=0, dtype=ys.dtype)


def _steps(xs: Array, lengths: Any) -> tuple[Array, Array]:
    """The times [T, 1, ...] beside lengths [*B], which are checked and lie in [0, T]."""
    lengths, time = jnp.asarray(lengths), xs.shape[0]
    check_lengths(lengths, time, xs.shape[1 : 1 + lengths.ndim], 0)
    return times(time, lengths.shape), jnp.clip(lengths.astype(int), 0, time)


def mean_pool(ys: Array, *, lengths: Array | None = None, mask: Array | None = None) -> Array:
    """The mean over each row's real steps; 0 for a row without any.

    Args:
      ys: [T, *B, D].
      lengths: [*B], as in `rnnjax.unroll`.
      mask: bool [T, *B], as in `rnnjax.unroll`.

    Returns:
      [*B, D].

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> ys = jnp.array([[[1.0], [3.0]], [[2.0], [jnp.nan]]])
      >>> print(rnnjax.mean_pool(ys, lengths=jnp.array([2, 1])).T)
      [[1.5 3. ]]
    """
    ys, valid = _real(ys, lengths, mask)
    total = select_rows(valid, ys, jnp.zeros_like(ys)).sum(axis=0)
    return total / jnp.maximum(valid.sum(axis=0), 1).astype(ys.dtype)[..., None]


def max_pool(ys: Array, *, lengths: Array | None = None, mask: Array | None = None) -> Array:
    """The maximum over each row's real steps; 0 for a row without any.

    Args:
      ys: [T, *B, D].
      lengths: [*B], as in `rnnjax.unroll`.
      mask: bool [T, *B], as in `rnnjax.unroll`.

    Returns:
      [*B, D].

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> ys = jnp.array([[[-1.0], [-3.0]], [[-2.0], [9.0]]])
      >>> print(rnnjax.max_pool(ys, lengths=jnp.array([2, 1])).T)
      [[-1. -3.]]
    """
    ys, valid = _real(ys, lengths, mask)
    peak = select_rows(valid, ys, jnp.full_like(ys, -jnp.inf)).max(axis=0, initial=-jnp.inf)
    return select_rows(valid.any(axis=0), peak, jnp.zeros_like(peak))


def _real(ys: Any, lengths: Any, mask: Any) -> tuple[Array, Array]:
    """The outputs, and which of them are real, [T, *B]."""
    ys = jnp.asarray(ys)
    time, batch = ys.shape[0], ys.shape[1:-1]
    lengths, mask, _ = checked_rows(lengths, mask, None, time, batch)
    valid = valid_steps(time, batch, lengths, mask)
    return ys, jnp.ones((time, *batch), bool) if valid is None else valid


def _same_steps(name: str, sequences: Sequence[Any]) -> list[np.ndarray]:
    arrays = [np.asarray(s) for s in sequences]
    if not arrays:
        raise ValueError(f"{name} needs at least one sequence, got none")
    for n, array in enumerate(arrays):
        if array.ndim == 0 or array.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                f"sequences[{n}] has shape {list(array.shape)}, sequences[0] "
                f"{list(arrays[0].shape)}: they may differ in their first axis alone"
            )
    dtype = np.result_type(*arrays)  # that of the first would cut the fractions off the others
    return [array.astype(dtype) for array in arrays]
