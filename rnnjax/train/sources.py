"""Where batches come from. A source gives the batch of any step, so a run resumes exactly."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import numpy as np

from rnnjax._factory import natural
from rnnjax.sequences import bucket, pad

Array = jax.Array
PyTree = Any


class Source(Protocol):
    """What training asks for batches.

    A source with passes says as `steps_per_pass` how many steps take each of its examples once; one
    whose batches do not follow from the step alone says `exact = False`.
    """

    @property
    def batch_size(self) -> int:
        """B, how many rows a batch has."""
        ...

    @property
    def axes(self) -> PyTree:
        """Where the axis of the rows is in each leaf of a batch.

        A tree prefix as `in_axes` of `jax.vmap`; None for leaves without rows.
        """
        ...

    def batch(self, step: int, /) -> PyTree:
        """The batch of a step, 0 for the first."""
        ...


# --- one long sequence ---------------------------------------------------------------------------


class Window(NamedTuple):
    """A piece of a long sequence, and what comes one step later.

    Attributes:
      xs: [T, B, ...].
      targets: [T, B, ...].
      fresh: bool [], whether a new pass starts, so that no state is carried into it.
    """

    xs: Any
    targets: Any
    fresh: Any


class Streams(NamedTuple):
    """A long sequence as parallel streams, for truncated back-propagation.

    Attributes:
      xs: [N, B, ...]; column b is the b-th part of the sequence.
      window: T, how many steps one window takes.
    """

    xs: np.ndarray
    window: int

    axes = Window(1, 1, None)

    @property
    def batch_size(self) -> int:
        """B."""
        return self.xs.shape[1]

    @property
    def steps_per_pass(self) -> int:
        """How many windows one pass over the sequence has."""
        return (len(self.xs) - 1) // self.window

    def batch(self, step: int) -> Window:
        """The `Window` of a training step."""
        index = step % self.steps_per_pass
        piece = self.xs[index * self.window : (index + 1) * self.window + 1]
        return Window(piece[:-1], piece[1:], np.bool_(index == 0))


def streams(xs: Any, batch_size: int, window: int) -> Streams:
    """Cuts a long sequence into B streams of equal length, to be read side by side in windows of T.

    Window k of stream b continues window k-1 of stream b, so the state can be carried.

    Args:
      xs: the steps, [M, ...]: ids of symbols, or arrays of anything.
      batch_size: B.
      window: T.

    Returns:
      `Streams`; fewer than B steps at the end, and those that fill no window, are left out.

    Raises:
      ValueError: the sequence is shorter than one window of every stream, or a size is not
        positive.

    Example:
      >>> import numpy as np
      >>> from rnnjax.train import streams
      >>> xs, targets, fresh = streams(np.arange(10), 2, 2).batch(1)
      >>> xs.T.tolist(), targets.T.tolist(), bool(fresh)
      ([[2, 3], [7, 8]], [[3, 4], [8, 9]], False)
    """
    batch_size = natural("batch_size", batch_size, least=1)
    window = natural("window", window, least=1)
    xs = _steps(xs)
    needed = batch_size * (window + 1)
    if len(xs) < needed:
        raise ValueError(
            f"{len(xs)} tokens, need at least B * (T + 1) = {batch_size} * ({window} + 1) = "
            f"{needed}: use a longer text, a smaller batch or a shorter window"
        )
    length = len(xs) // batch_size
    parts = xs[: length * batch_size].reshape(batch_size, length, *xs.shape[1:])
    return Streams(parts.swapaxes(0, 1), window)


class Windows(NamedTuple):
    """A long sequence as windows that slide over it, each with the step that follows it.

    Attributes:
      xs: the steps, [M, ...].
      batch_size: N, how many windows one step takes.
      window: n, how many steps a window has.
      stride: how far one window lies from the next.
    """

    xs: np.ndarray
    batch_size: int
    window: int
    stride: int

    axes = Window(1, 1, None)

    @property
    def steps_per_pass(self) -> int:
        """How many batches one pass over the sequence has."""
        return self._places // self.batch_size

    @property
    def _places(self) -> int:
        return (len(self.xs) - self.window - 1) // self.stride + 1

    def batch(self, step: int) -> Window:
        """The `Window` of a training step.

        Each pass takes the windows in another order; the last ones, which fill no batch, are left
        out. The last row of the targets is the step that follows.
        """
        turn, index = divmod(step, self.steps_per_pass)
        order = _shuffled(self._places, turn)
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        places = chosen.astype(np.int64) * self.stride + np.arange(self.window + 1)[:, None]
        piece = self.xs[places]
        return Window(piece[:-1], piece[1:], np.bool_(index == 0))


def sliding_windows(xs: Any, batch_size: int, window: int, stride: int = 1) -> Windows:
    """Cuts a long sequence into windows of n steps, to predict the one behind each.

    Args:
      xs: the steps, [M, ...]: ids of symbols, or arrays of anything.
      batch_size: N, how many windows one step takes.
      window: n.
      stride: how far one window lies from the next; 1 takes all of them.

    Returns:
      `Windows`.

    Raises:
      ValueError: the sequence has fewer than N windows, or a size is not positive.

    Example:
      >>> import numpy as np
      >>> from rnnjax.train import sliding_windows
      >>> xs, targets, _ = sliding_windows(np.arange(9), 2, 3, stride=2).batch(0)
      >>> sorted(xs[0].tolist()), (targets[-1] - xs[-1]).tolist()
      ([0, 4], [1, 1])
    """
    batch_size = natural("batch_size", batch_size, least=1)
    window = natural("window", window, least=1)
    stride = natural("stride", stride, least=1)
    xs = _steps(xs)
    needed = window + 1 + (batch_size - 1) * stride
    if len(xs) < needed:
        raise ValueError(
            f"{len(xs)} tokens, need at least n + 1 + (N - 1) * stride = {window} + 1 + "
            f"({batch_size} - 1) * {stride} = {needed}: use a longer text, a smaller batch or a "
            "shorter window"
        )
    return Windows(xs, batch_size, window, stride)


def _steps(xs: Any) -> np.ndarray:
    array = np.asarray(xs)
    if not array.ndim:
        raise ValueError(f"xs must be an array [M, ...] of steps, got {xs!r}")
    return array


@functools.lru_cache(maxsize=2)  # a pass takes one order, a batch may begin another
def _shuffled(count: int, *seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.arange(count, dtype=np.uint32))


# --- examples, and sequences of different lengths ------------------------------------------------


class Examples(NamedTuple):
    """Examples in shuffled passes; see `examples`.

    Attributes:
      arrays: a tree of arrays [N, ...].
      batch_size: B.
      seed: what the orders are drawn by.
    """

    arrays: PyTree
    batch_size: int
    seed: int

    axes = 0

    @property
    def steps_per_pass(self) -> int:
        """How many steps take every example at least once: N / B, rounded up."""
        return -(-self._count // self.batch_size)

    @property
    def _count(self) -> int:
        return len(jax.tree.leaves(self.arrays)[0])

    def batch(self, step: int) -> PyTree:
        """The examples of a training step, leaves [B, ...]."""
        turns, places = np.divmod(step * self.batch_size + np.arange(self.batch_size), self._count)
        rows = [
            _shuffled(self._count, self.seed, turn)[places[turns == turn]]
            for turn in range(int(turns[0]), int(turns[-1]) + 1)
        ]
        return self._rows(np.concatenate(rows))

    def in_order(self) -> Iterator[tuple[PyTree, np.ndarray]]:
        """Every example once, as it stands: (batch, which of its rows are real, bool [B]).

        The last batch is filled up with the last example, so that all have one shape.
        """
        for start in range(0, self._count, self.batch_size):
            rows = np.arange(start, start + self.batch_size)
            yield self._rows(np.minimum(rows, self._count - 1)), rows < self._count

    def _rows(self, rows: np.ndarray) -> PyTree:
        return jax.tree.map(lambda array: array[rows], self.arrays)


def examples(arrays: PyTree, batch_size: int, *, seed: int = 0) -> Examples:
    """Examples of one shape each, as an endless row of shuffled passes.

    Every pass takes every example exactly once; where B does not divide N, a batch has the end of
    one pass and the beginning of the next.

    Args:
      arrays: a tree of arrays [N, ...], such as a pair (xs, labels).
      batch_size: B; it may be larger than N.
      seed: what the orders are drawn by.

    Returns:
      `Examples`, whose batches have leaves [B, ...]; `in_order()` takes each example once, for
      evaluation.

    Raises:
      ValueError: there is no array or no example, the arrays disagree on N, or a size will not do.

    Example:
      >>> import numpy as np
      >>> from rnnjax.train import examples
      >>> source = examples({"xs": np.arange(5)}, 2)
      >>> seen = np.concatenate([source.batch(step)["xs"] for step in range(5)])
      >>> sorted(seen[:5].tolist()), sorted(seen[5:].tolist())
      ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    """
    arrays = jax.tree.map(np.asarray, arrays)
    shapes = [array.shape for array in jax.tree.leaves(arrays)]
    if not shapes or not all(shape[:1] == shapes[0][:1] for shape in shapes) or not shapes[0][:1]:
        raise ValueError(
            f"examples need arrays [N, ...] of one N, got shapes {[list(s) for s in shapes]}"
        )
    if not shapes[0][0]:
        raise ValueError("examples need at least one example, got arrays with N = 0")
    return Examples(arrays, natural("batch_size", batch_size, least=1), natural("seed", seed))


class Sequences(NamedTuple):
    """A batch of sequences of different lengths, padded.

    Attributes:
      xs: [T, B, ...], 0 behind the end of each.
      lengths: int32 [B].
      targets: [T, B, ...] where every step has one, or each is a sequence itself, 0 behind its end;
        [B, ...] where every sequence has one, or None.
      real: bool [B], False for rows that only fill the batch; their length is 0.
      target_lengths: int32 [B] of targets that are sequences with lengths of their own, else None.
    """

    xs: Any
    lengths: Any
    targets: Any
    real: Any
    target_lengths: Any = None

    @property
    def mask(self) -> Any:
        """Which steps of targets that are sequences are real, bool [T, B]."""
        lengths = self.lengths if self.target_lengths is None else self.target_lengths
        return np.arange(len(self.targets))[:, None] < lengths


class Bucketed(NamedTuple):
    """Sequences of different lengths in shuffled passes; see `sequences`.

    Attributes:
      xs: N arrays [T_n, ...].
      targets: N arrays [T_n, ...], an array [N, ...], or None.
      aligned: whether the targets are as long as the xs.
      batch_size: B.
      seed: what the orders are drawn by.
      groups: the padded lengths of xs and of targets, and which sequences are padded to them.
      starts: of every batch of a pass its group, and where in it the batch starts.
    """

    xs: list[np.ndarray]
    targets: list[np.ndarray] | np.ndarray | None
    aligned: bool
    batch_size: int
    seed: int
    groups: list[tuple[int, int, np.ndarray]]
    starts: list[tuple[int, int]]

    @property
    def axes(self) -> Sequences:
        """Where the axis of the rows is."""
        each = None if self.targets is None else 1 if isinstance(self.targets, list) else 0
        return Sequences(1, 0, each, 0, None if self.aligned else 0)

    @property
    def steps_per_pass(self) -> int:
        """How many batches take every sequence exactly once."""
        return len(self.starts)

    def batch(self, step: int) -> Sequences:
        """The `Sequences` of a training step."""
        turn, index = divmod(step, self.steps_per_pass)
        which, start = self.starts[_shuffled(self.steps_per_pass, self.seed, turn)[index]]
        rows = self.groups[which][-1]
        order = np.random.default_rng((self.seed, turn, which)).permutation(rows)
        return self._padded(which, order[start : start + self.batch_size])

    def in_order(self) -> Iterator[Sequences]:
        """Every sequence once, for evaluation: bucket by bucket, shortest first."""
        for which, start in self.starts:
            yield self._padded(which, self.groups[which][-1][start : start + self.batch_size])

    def _padded(self, which: int, rows: np.ndarray) -> Sequences:
        longest, longest_target, _ = self.groups[which]
        missing = self.batch_size - len(rows)

        def padded(arrays: list[np.ndarray], length: int) -> tuple[np.ndarray, np.ndarray]:
            return pad([*(arrays[n] for n in rows), *[arrays[0][:0]] * missing], length=length)

        xs, lengths = padded(self.xs, longest)
        targets, target_lengths = self.targets, None
        if isinstance(targets, list):
            targets, target_lengths = padded(targets, longest_target)
        elif targets is not None:
            targets = np.concatenate([targets[rows], np.zeros_like(targets[:1].repeat(missing, 0))])
        real = np.arange(self.batch_size) < len(rows)
        return Sequences(xs, lengths, targets, real, None if self.aligned else target_lengths)


def sequences(
    xs: Sequence[Any],
    targets: Sequence[Any] | np.ndarray | Array | None = None,
    *,
    batch_size: int,
    aligned: bool = True,
    buckets: int = 8,
    seed: int = 0,
) -> Bucketed:
    """Sequences of different lengths, like beside like, as an endless row of shuffled passes.

    Every pass takes every sequence exactly once. The last batch of a bucket is filled up with rows
    of length 0 that are not `real`, so that a step compiles for at most `buckets` shapes.

    Args:
      xs: N arrays [T_n, ...] that differ in nothing but T_n.
      targets: N arrays [T_n, ...] for one at each step, an array [N, ...] for one a sequence, or
        None.
      batch_size: B.
      aligned: whether a list of targets has one at each step; False where each is a sequence with a
        length of its own, such as a translation: then those are alike that are equally long
        together.
      buckets: how many padded lengths there are at most, chosen by `rnnjax.bucket`.
      seed: what the orders are drawn by.

    Returns:
      `Bucketed`, whose batches are `Sequences`; `in_order()` takes each sequence once, for
      evaluation.

    Raises:
      ValueError: there is no sequence, the sequences differ in more than length, the targets do
        not fit them, or a size will not do.

    Example:
      >>> import numpy as np
      >>> from rnnjax.train import sequences
      >>> source = sequences([np.ones(n) for n in (3, 9, 4)], batch_size=2, buckets=2)
      >>> [(batch.xs.shape, batch.lengths.tolist()) for batch in source.in_order()]
      [((4, 2), [3, 4]), ((9, 2), [9, 0])]

      Pairs of sequences:

      >>> words, sounds = [np.ones(n, int) for n in (3, 9)], [np.ones(n, int) for n in (2, 8)]
      >>> batch = sequences(words, sounds, aligned=False, batch_size=2, buckets=1).batch(0)
      >>> batch.targets.shape, sorted(batch.target_lengths.tolist())
      ((8, 2), [2, 8])
    """
    batch_size = natural("batch_size", batch_size, least=1)
    buckets, seed = natural("buckets", buckets, least=1), natural("seed", seed)
    arrays = _alike("xs", xs)
    lengths = [len(array) for array in arrays]
    if isinstance(targets, np.ndarray | jax.Array):
        targets = np.asarray(targets)
        if targets.shape[:1] != (len(arrays),):
            raise ValueError(
                f"targets has shape {list(targets.shape)}, xs are {len(arrays)} sequences: "
                "expected [N, ...], one target for each"
            )
    elif targets is not None:
        targets = _alike("targets", targets)
        if len(targets) != len(arrays):
            raise ValueError(f"targets are {len(targets)} sequences, xs are {len(arrays)}")
        for n, (target, length) in enumerate(zip(targets, lengths, strict=True)):
            if aligned and len(target) != length:
                raise ValueError(
                    f"targets[{n}] has {len(target)} steps, xs[{n}] has {length}: pass "
                    "aligned=False if they have lengths of their own"
                )
    sizes = np.array(lengths)
    target_sizes = sizes
    if isinstance(targets, list) and not aligned:
        target_sizes = np.array([len(target) for target in targets])
    # At least one step: a loss of none is an error.
    groups = [
        (max(1, int(sizes[rows].max())), max(1, int(target_sizes[rows].max())), rows)
        for _, rows in bucket(sizes if target_sizes is sizes else sizes + target_sizes, buckets)
    ]
    starts = [
        (which, start)
        for which, (*_, rows) in enumerate(groups)
        for start in range(0, len(rows), batch_size)
    ]
    return Bucketed(arrays, targets, target_sizes is sizes, batch_size, seed, groups, starts)


def _alike(what: str, sequences: Sequence[Any]) -> list[np.ndarray]:
    """Sequences as arrays of one dtype; raises ValueError where they differ in more than length."""
    arrays = [np.asarray(sequence) for sequence in sequences]
    if not arrays:
        raise ValueError(f"{what} must be at least one sequence, got none")
    for n, array in enumerate(arrays):
        if not array.ndim:
            hint = ": one target a sequence is an array [N, ...]" if what == "targets" else ""
            raise ValueError(f"{what}[{n}] must be an array [T, ...], got {array!r}{hint}")
        if array.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                f"{what}[{n}] has shape {list(array.shape)}, {what}[0] {list(arrays[0].shape)}: "
                "they may differ in their first axis alone"
            )
    dtype = np.result_type(*arrays)
    return [array.astype(dtype, copy=False) for array in arrays]


# --- batches that are made as they are wanted ----------------------------------------------------


class Generated(NamedTuple):
    """Batches drawn from a key; see `generated`.

    Attributes:
      draw: (key, B) -> batch.
      batch_size: B.
      axes: where the axis of the rows is.
      key: what the key of a step is folded from.
    """

    draw: Callable[[Array, int], PyTree]
    batch_size: int
    axes: PyTree
    key: Array

    def batch(self, step: int) -> PyTree:
        """The batch of a training step."""
        return self.draw(jax.random.fold_in(self.key, step), self.batch_size)


def generated(
    f: Callable[[Array, int], PyTree], batch_size: int, *, seed: int = 0, axes: PyTree = 0
) -> Generated:
    """Endless made-up data: the batch of a step is a function of the step's key.

    Args:
      f: (key, B) -> batch; jitted, so written in `jax.numpy`.
      batch_size: B.
      seed: what the keys are drawn by.
      axes: where the axis of the rows is in each leaf of a batch, as `in_axes` of `jax.vmap`.

    Returns:
      `Generated`.

    Raises:
      TypeError, ValueError: f is no function, or a size will not do.

    Example:
      >>> import jax
      >>> from rnnjax.train import generated
      >>> source = generated(lambda key, size: jax.random.normal(key, (10, size)), 4, axes=1)
      >>> source.batch(3).shape, bool((source.batch(3) == source.batch(4)).any())
      ((10, 4), False)
    """
    if not callable(f):
        raise TypeError(f"f must be a function (key, B) -> batch, got {f!r}")
    batch_size, seed = natural("batch_size", batch_size, least=1), natural("seed", seed)
    return Generated(jax.jit(f, static_argnums=1), batch_size, axes, jax.random.key(seed))


class Iterated:
    """Batches from an iterator, in its order; see `iterated`."""

    exact: ClassVar[bool] = False

    def __init__(self, batches: Iterator[PyTree], batch_size: int, axes: PyTree):
        self.batch_size, self.axes = batch_size, axes
        self._batches = batches
        self._next: int | None = None  # the step that may be asked for; any to begin with

    def batch(self, step: int) -> PyTree:
        """The next batch, which must be that of the next step."""
        if self._next not in (None, step):
            raise ValueError(
                f"batch {step} was asked for, an iterator can only give {self._next}: use a source "
                "with random access, or a new iterator"
            )
        try:
            batch = next(self._batches)
        except StopIteration:
            raise ValueError(
                f"the data ended at step {step}: train for fewer steps, or repeat the data"
            ) from None
        self._next = step + 1
        return batch


def iterated(batches: Iterable[PyTree], *, batch_size: int = 1, axes: PyTree = None) -> Iterated:
    """Batches from any iterable: a generator, a data set of grain, a list.

    There is no random access: steps must be asked for one after the other, from any first one on,
    and a run that is resumed goes on with whatever the iterable then gives (`exact` is False).

    Args:
      batches: the batches, one a step.
      batch_size: B, for those who count what is done; 1 counts batches.
      axes: where the axis of the rows is in each leaf of a batch, as `in_axes` of `jax.vmap`; None
        where it is nowhere, and nothing is spread over devices.

    Returns:
      `Iterated`.

    Raises:
      TypeError: `batches` is no iterable.

    Example:
      >>> from rnnjax.train import iterated
      >>> source = iterated(["a", "b"])
      >>> source.batch(0), source.batch(1)
      ('a', 'b')
    """
    if not isinstance(batches, Iterable):
        raise TypeError(f"batches must be an iterable of batches, got {batches!r}")
    return Iterated(iter(batches), natural("batch_size", batch_size, least=1), axes)
