"""Floor 3: sequences of different lengths as arrays, and back.

Time-major throughout: [T, B, ...]. What builds batches (`pad`, `bucket`, `pack`) works on the host
with NumPy; what runs inside a model (`last`, pooling, `reverse_sequences`) is JAX.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Array
from rnnjax._check import check_lengths, checked_rows
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import natural
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
    with np.errstate(all="ignore"):  # NaN as an integer, 1e30 in float16
        fill = np.asarray(value).astype(dtype)
    if dtype.kind in "biu" and fill != value:
        raise ValueError(f"value is {value}, which {dtype} sequences cannot hold: convert them")
    xs = np.full((time, len(arrays), *arrays[0].shape[1:]), fill, dtype)
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
    dynamic programming over the distinct lengths: `count` times their number in time and memory.

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
    sizes, repeats = np.unique(lengths.astype(np.int64), return_counts=True)
    bounds = _bounds(sizes, repeats, min(count, len(sizes)))
    place = np.searchsorted(sizes[bounds[1:] - 1], lengths)
    groups = np.split(np.argsort(place, kind="stable"), np.bincount(place).cumsum()[:-1])
    return [(int(sizes[stop - 1]), rows) for stop, rows in zip(bounds[1:], groups, strict=True)]


def _bounds(sizes: np.ndarray, repeats: np.ndarray, count: int) -> np.ndarray:
    """Where `count` groups of sizes are cut for the least steps: group g is bounds[g]..bounds[g+1].

        cost_g(j) = min_{i<j} cost_{g-1}(i) + (shorter_j - shorter_i) sizes_{j-1}

    is, for each j, the least of lines of slopes -shorter_i at sizes_{j-1}: the corner of a convex
    hull. So a group more takes one walk along the sizes, where all pairs would take their square.
    """
    bounds = np.arange(len(sizes) + 1)
    if count == len(sizes):
        return bounds
    shorter = np.concatenate([[0], repeats.cumsum()])  # sequences among the first j sizes
    cost, cuts = shorter[1:] * sizes, []  # of the first group + 1, .., all sizes in `group` groups
    for group in range(1, count):
        hull, slopes = _lower_hull(shorter[group:], cost)
        cut = hull[np.searchsorted(slopes, sizes[group:])]
        cost = cost[cut] + (shorter[group + 1 :] - shorter[group + cut]) * sizes[group:]
        cuts.append(group + cut)
    stops = [len(sizes)]
    for group in range(count - 1, 0, -1):
        stops.append(cuts[group - 1][stops[-1] - group - 1])
    return np.array([0, *reversed(stops)])


def _lower_hull(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners of the lower convex hull of points from left to right, and the slopes between.

    Of integers, the slopes rounded down: an integer is above a slope if it is above its floor.
    """
    hull: list[tuple[int, int, int]] = []
    for i, (a, b) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
        while len(hull) > 1:
            (_, a0, b0), (_, a1, b1) = hull[-2:]
            if (b1 - b0) * (a - a1) < (b - b1) * (a1 - a0):
                break
            hull.pop()
        hull.append((i, a, b))
    corners, x, y = np.array(hull).T
    return corners, np.diff(y) // np.diff(x)


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
    rows, starts = _first_fit(lengths, length)
    xs = np.zeros((length, rows.max() + 1, *arrays[0].shape[1:]), arrays[0].dtype)
    mask, resets = np.zeros(xs.shape[:2], bool), np.zeros(xs.shape[:2], bool)
    resets[starts[lengths > 0], rows[lengths > 0]] = True
    for array, row, start in zip(arrays, rows.tolist(), starts.tolist(), strict=True):
        xs[start : start + len(array), row] = array
        mask[start : start + len(array), row] = True
    return Packed(xs, mask, resets, rows, starts, lengths)


def _first_fit(lengths: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Longest first, each into the first row with room for it: its row, and its first step there.

    The rows' rooms are the leaves of a binary tree whose nodes hold the most room below them
    (node k has the children 2k and 2k + 1), so that the first row with room is found on one way
    down.
    """
    leaves = 1 << (len(lengths) - 1).bit_length()
    room = [length] * (2 * leaves)
    rows, starts = np.zeros_like(lengths), np.zeros_like(lengths)
    for n in np.argsort(-lengths, kind="stable").tolist():
        size, node = int(lengths[n]), 1
        while node < leaves:
            node *= 2
            node += room[node] < size
        rows[n], starts[n] = node - leaves, length - room[node]
        room[node] -= size
        while node := node // 2:
            room[node] = max(room[2 * node], room[2 * node + 1])
    return rows, starts


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
    lengths, time = jnp.asarray(lengths), xs.shape[0]
    check_lengths(lengths, time, xs.shape[1 : 1 + lengths.ndim], 0)
    t, lengths = times(time, lengths.shape), _nearest(lengths, time)[None]
    source = jnp.where(t < lengths, lengths - 1 - t, t)
    return jnp.take_along_axis(
        xs, source.reshape(*source.shape, *(1,) * (xs.ndim - source.ndim)), axis=0
    )


def _nearest(lengths: Array, time: int) -> Array:
    """Lengths as the nearest of 0 .. T, in a dtype that holds T whatever theirs."""
    return jnp.clip(lengths, 0, min(time, jnp.iinfo(lengths.dtype).max)).astype(int)


def last(ys: Array, lengths: Array | None = None, *, mask: Array | None = None) -> Array:
    """Each row's output at its last real step; 0 for a row without any.

    Args:
      ys: [T, *B, ...].
      lengths: [*B], as in `rnnjax.unroll`.
      mask: bool [T, *B], as in `rnnjax.unroll`.

    Returns:
      [*B, ...].

    Raises:
      TypeError, ValueError: lengths are not integers of ys' batch shape in [0, T], or the mask is
        not bool of its time and batch axes.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> print(rnnjax.last(jnp.array([[1.0, 4.0], [2.0, 5.0]]), jnp.array([2, 1])))
      [2. 4.]
    """
    ys = jnp.asarray(ys)
    if lengths is None and mask is None and len(ys):
        return ys[-1]
    axes = 1 if mask is None else np.ndim(mask)  # as lengths and mask say how many B has
    axes = axes if lengths is None else 1 + np.ndim(lengths)
    valid = _real(ys, lengths, mask, ys.shape[1:axes])
    t = times(len(ys), valid.shape[1:])
    final = jnp.where(valid, t, -1).max(axis=0, initial=-1)
    return select_rows(t == final[None], ys, jnp.zeros_like(ys)).sum(axis=0, dtype=ys.dtype)


def mean_pool(ys: Array, *, lengths: Array | None = None, mask: Array | None = None) -> Array:
    """The mean over each row's real steps; 0 for a row without any.

    Args:
      ys: [T, *B, D]; summed in float32 or better. Integers have a floating mean.
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
    ys = jnp.asarray(ys)
    ys = ys if jnp.issubdtype(ys.dtype, jnp.inexact) else ys.astype(float)
    valid = _real(ys, lengths, mask, ys.shape[1:-1])
    wide = at_least_float32(ys.dtype)
    total = select_rows(valid, ys, jnp.zeros_like(ys)).sum(axis=0, dtype=wide)
    count = jnp.maximum(valid.sum(axis=0), 1).astype(wide)
    return (total / count[..., None]).astype(ys.dtype)


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
    ys = jnp.asarray(ys)
    valid, least = _real(ys, lengths, mask, ys.shape[1:-1]), _least(ys.dtype)
    peak = select_rows(valid, ys, jnp.full_like(ys, least)).max(axis=0, initial=least)
    return select_rows(valid.any(axis=0), peak, jnp.zeros_like(peak))


def _least(dtype: Any) -> Any:
    """What no value of a dtype is below."""
    if jnp.issubdtype(dtype, bool):
        return False
    return jnp.iinfo(dtype).min if jnp.issubdtype(dtype, jnp.integer) else -jnp.inf


def _real(ys: Array, lengths: Any, mask: Any, batch: tuple[int, ...]) -> Array:
    """Which steps are real, bool [T, *B]."""
    lengths, mask, _ = checked_rows(lengths, mask, None, len(ys), batch)
    valid = valid_steps(len(ys), lengths, mask)
    return jnp.ones((len(ys), *batch), bool) if valid is None else valid


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
    return [array.astype(dtype, copy=False) for array in arrays]
