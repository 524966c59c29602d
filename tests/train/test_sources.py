"""Sources: every example once a pass, the same batch for the same step, and what will not do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax import bucket
from rnnjax.train import (
    examples,
    generated,
    iterated,
    sequences,
    sliding_windows,
    streams,
)
from rnnjax.train.sources import Sequences

# --- one long sequence ---------------------------------------------------------------------------


def test_windows_continue_each_other_and_targets_are_one_ahead():
    M, B, T = 103, 4, 5
    source = streams(np.arange(M), B, T)
    assert source.steps_per_pass == 4  # 25 symbols a stream: 24 targets, 4 whole windows
    batches = [source.batch(step) for step in range(source.steps_per_pass)]
    xs = np.concatenate([inputs for inputs, _, _ in batches])
    targets = np.concatenate([targets for _, targets, _ in batches])
    np.testing.assert_array_equal(targets, xs + 1)
    np.testing.assert_array_equal(xs, np.arange(B) * 25 + np.arange(20)[:, None])
    assert [restart for _, _, restart in batches] == [True, False, False, False]


def test_a_new_pass_starts_over():
    source = streams(np.arange(26), 2, 4)
    assert source.steps_per_pass == 3
    for step in range(9):
        inputs, targets, restart = source.batch(step)
        first, one_on, _ = source.batch(step % 3)
        np.testing.assert_array_equal(inputs, first)
        np.testing.assert_array_equal(targets, one_on)
        assert restart == (step % 3 == 0)


def test_the_shortest_text_that_will_do():
    assert streams(np.arange(10), 2, 4).steps_per_pass == 1
    with pytest.raises(ValueError, match=r"9 tokens, need at least B \* \(T \+ 1\) = .* = 10: use"):
        streams(np.arange(9), 2, 4)


@pytest.mark.parametrize(
    ("batch_size", "window", "error", "message"),
    [
        (0, 4, ValueError, "batch_size must be a positive int, got 0"),
        (2, 0, ValueError, "window must be a positive int, got 0"),
        (2, -1, ValueError, "window must be a positive int, got -1"),
        (2.0, 4, TypeError, r"batch_size must be a positive int, got 2\.0"),
    ],
)
def test_sizes_that_will_not_do(batch_size, window, error, message):
    with pytest.raises(error, match=message):
        streams(np.arange(100), batch_size, window)


def test_sliding_windows_are_each_taken_once_a_pass():
    M, N, n, stride = 40, 3, 4, 2
    source = sliding_windows(np.arange(M), N, n, stride)
    assert source.steps_per_pass == 6  # windows start at 0, 2, .. 34: 18 of them
    passes = []
    for step in range(2 * source.steps_per_pass):
        xs, targets, restart = source.batch(step)
        assert xs.shape == targets.shape == (n, N)
        np.testing.assert_array_equal(xs, xs[0] + np.arange(n)[:, None])
        np.testing.assert_array_equal(targets, xs + 1)
        assert restart == (step % source.steps_per_pass == 0)
        passes.append(xs[0])
    first, second = (np.concatenate(part) for part in (passes[:6], passes[6:]))
    assert sorted(first) == sorted(second) == list(range(0, 35, stride))
    assert first.tolist() != second.tolist()
    # The order is a function of the step alone: a resumed run takes the same windows.
    again = sliding_windows(np.arange(M), N, n, stride).batch(7)[0]
    np.testing.assert_array_equal(again[0], passes[7])


def test_the_shortest_text_for_sliding_windows():
    assert sliding_windows(np.arange(9), 3, 4, 2).steps_per_pass == 1
    with pytest.raises(ValueError, match=r"8 tokens, need at least n \+ 1 \+ .* = 9: use a longer"):
        sliding_windows(np.arange(8), 3, 4, 2)
    with pytest.raises(ValueError, match="stride must be a positive int, got 0"):
        sliding_windows(np.arange(9), 3, 4, 0)


def test_steps_of_any_kind():
    """Vectors and booleans are cut as symbols are."""
    ids = np.arange(103)
    xs = np.stack([ids, -ids], axis=1).astype(np.float32)
    for make in (streams, sliding_windows):
        of_ids, of_xs = make(ids, 4, 5), make(jnp.asarray(xs), 4, 5)
        assert of_xs.steps_per_pass == of_ids.steps_per_pass
        for step in (0, 1, of_ids.steps_per_pass):
            ids_batch, batch = of_ids.batch(step), of_xs.batch(step)
            assert batch.xs.shape == (5, 4, 2)
            np.testing.assert_array_equal(batch.xs[..., 1], -ids_batch.xs)
            np.testing.assert_array_equal(batch.targets[..., 0], ids_batch.targets)
            assert batch.fresh == ids_batch.fresh
            assert isinstance(batch.fresh, np.bool_)
        with pytest.raises(ValueError, match="xs must be an array"):
            make(3.0, 4, 5)


def test_axes_say_where_the_rows_are():
    """As the `in_axes` of vmap, for every source: there are B of them."""
    rows = [np.ones(n) for n in (3, 4, 5)]
    for source in (
        streams(np.arange(50), 3, 4),
        sliding_windows(np.arange(50), 3, 4),
        examples((np.arange(5), np.ones((5, 2))), 3),
        sequences(rows, batch_size=3),
        sequences(rows, rows, batch_size=3),
        sequences(rows, np.ones((3, 2)), batch_size=3),
        generated(lambda key, size: jax.random.normal(key, (2, size)), 3, axes=1),
    ):
        assert source.batch_size == 3
        batch = jax.tree.map(jnp.asarray, source.batch(0))
        assert jax.vmap(lambda batch: jnp.zeros(()), in_axes=(source.axes,))(batch).shape == (3,)


# --- examples ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "size"), [(10, 5), (10, 4), (3, 7), (1, 1)])
def test_every_pass_has_every_example_once(count, size):
    source = examples({"a": np.arange(count), "b": jnp.arange(0.0, 2 * count, 2)}, size)
    batches = [source.batch(step) for step in range(3 * count)]
    assert all(batch["a"].shape == (size,) for batch in batches)
    seen = np.concatenate([batch["a"] for batch in batches])
    np.testing.assert_array_equal(np.concatenate([batch["b"] for batch in batches]), 2.0 * seen)
    passes = seen[: len(seen) // count * count].reshape(-1, count)
    assert (np.sort(passes) == np.arange(count)).all()
    if count > 3:
        assert len(np.unique(passes, axis=0)) > 1
    assert source.steps_per_pass == -(-count // size)
    assert set(seen[: source.steps_per_pass * size]) == set(range(count))


def test_a_batch_of_examples_follows_from_the_step_and_the_seed():
    arrays = np.arange(50)
    source = examples(arrays, 8)
    late = source.batch(20)
    np.testing.assert_array_equal(examples(arrays, 8).batch(20), late)
    np.testing.assert_array_equal(source.batch(20), late)
    assert not np.array_equal(examples(arrays, 8, seed=1).batch(20), late)


def test_examples_in_order():
    source = examples((np.arange(5), np.arange(10).reshape(5, 2)), 2)
    batches = list(source.in_order())
    assert [real.tolist() for _, real in batches] == [[True, True], [True, True], [True, False]]
    assert all(a.shape == (2,) and b.shape == (2, 2) for (a, b), _ in batches)
    kept = np.concatenate([a[real] for (a, _), real in batches])
    np.testing.assert_array_equal(kept, np.arange(5))
    assert len(list(examples(np.arange(4), 2).in_order())) == 2


@pytest.mark.parametrize(
    ("arrays", "options", "error", "message"),
    [
        ((), {}, ValueError, r"arrays \[N, \.\.\.\] of one N, got shapes \[\]"),
        ((np.ones(3), np.ones((2, 3))), {}, ValueError, r"got shapes \[\[3\], \[2, 3\]\]"),
        (np.ones(()), {}, ValueError, r"got shapes \[\[\]\]"),
        (np.ones((0, 3)), {}, ValueError, "at least one example, got arrays with N = 0"),
        (np.ones(3), {"batch_size": 0}, ValueError, "batch_size must be a positive int, got 0"),
        (np.ones(3), {"seed": -1}, ValueError, "seed must be an int of at least 0, got -1"),
        (np.ones(3), {"seed": 0.5}, TypeError, "seed must be an int"),
    ],
)
def test_examples_that_will_not_do(arrays, options, error, message):
    with pytest.raises(error, match=message):
        examples(arrays, **{"batch_size": 2, **options})


# --- sequences -----------------------------------------------------------------------------------


def unequal(count=23, least=1):
    """Sequences [T_n, 2] that hold their own number, and how far they are."""
    lengths = np.random.default_rng(0).integers(least, 12, count)
    return [
        np.stack([np.full(length, n), np.arange(length)], axis=1).astype(np.float32)
        for n, length in enumerate(lengths)
    ]


@pytest.mark.parametrize("buckets", [1, 3, 30])
def test_every_pass_has_every_sequence_once(buckets):
    xs = unequal()
    targets = [x[:, 1].astype(np.int32) for x in xs]
    source = sequences(xs, targets, batch_size=4, buckets=buckets)
    orders, shapes, together = [], set(), []
    for turn in range(3):
        seen = []
        together.append(set())
        for step in range(source.steps_per_pass):
            batch = source.batch(turn * source.steps_per_pass + step)
            shapes.add(batch.xs.shape)
            assert batch.xs.shape[1:] == (4, 2)
            assert batch.targets.shape == batch.xs.shape[:2]
            assert batch.lengths.dtype == np.int32
            for row in range(4):
                length = batch.lengths[row]
                if not batch.real[row]:
                    assert length == 0
                    assert not batch.xs[:, row].any()
                    continue
                n = int(batch.xs[0, row, 0])
                seen.append(n)
                np.testing.assert_array_equal(batch.xs[:length, row], xs[n])
                np.testing.assert_array_equal(batch.targets[:length, row], targets[n])
                assert not batch.xs[length:, row].any()
            together[turn].add(frozenset(batch.xs[0, batch.real, 0]))
        assert sorted(seen) == list(range(len(xs)))
        orders.append(seen)
    assert len(shapes) <= buckets
    assert orders[0] != orders[1] != orders[2]
    if buckets < 30:  # where each length has its own, there are few of a kind
        assert together[0] != together[1] != together[2]


def test_a_batch_of_sequences_follows_from_the_step_and_the_seed():
    xs = unequal()
    source = sequences(xs, batch_size=4, buckets=3)
    late = source.batch(40)
    again = sequences(xs, batch_size=4, buckets=3).batch(40)
    np.testing.assert_array_equal(again.xs, late.xs)
    assert late.targets is None
    orders = [
        [source.batch(step).lengths.tolist() for step in range(9)]
        for source in (source, sequences(xs, batch_size=4, buckets=3, seed=1))
    ]
    assert orders[0] != orders[1]


def test_sequences_in_order_and_one_target_each():
    xs = [*unequal(least=0), np.zeros((0, 2), np.float32)]
    labels = np.arange(len(xs)) * 10
    source = sequences(xs, labels, batch_size=5, buckets=4)
    batches = list(source.in_order())
    assert len(batches) == source.steps_per_pass
    assert all(len(batch.xs) for batch in batches)  # a step for those that have none
    steps = [len(batch.xs) for batch in batches]
    assert steps == sorted(steps)
    found = np.concatenate([batch.targets[batch.real] for batch in batches])
    assert sorted(found) == labels.tolist()
    for batch in batches:
        of_batch = [xs[label // 10] for label in batch.targets[batch.real]]
        assert batch.lengths[batch.real].tolist() == [len(x) for x in of_batch]
        for row, x in enumerate(of_batch):
            np.testing.assert_array_equal(batch.xs[: len(x), row], x)
        assert not batch.targets[~batch.real].any()


@pytest.mark.parametrize(
    ("xs", "targets", "options", "error", "message"),
    [
        ([], None, {}, ValueError, "xs must be at least one sequence, got none"),
        ([1, 2], None, {}, ValueError, r"xs\[0\] must be an array \[T, \.\.\.\], got array\(1\)$"),
        ([np.ones((2, 1)), np.ones((2, 3))], None, {}, ValueError, r"xs\[1\] has shape \[2, 3\]"),
        ([np.ones(2)], np.ones(2), {}, ValueError, r"targets has shape \[2\], xs are 1 sequences"),
        ([np.ones(2)], [np.ones(2)] * 2, {}, ValueError, "targets are 2 sequences, xs are 1"),
        ([np.ones(2)], [np.ones(3)], {}, ValueError, r"targets\[0\] has 3 steps, xs\[0\] has 2"),
        ([np.ones(2)], [1], {}, ValueError, r"targets\[0\] .*: one target a sequence is an array"),
        ([np.ones(2)], None, {"batch_size": 0}, ValueError, "batch_size must be a positive int"),
        ([np.ones(2)], None, {"buckets": 0}, ValueError, "buckets must be a positive int"),
        ([np.ones(2)], None, {"seed": -1}, ValueError, "seed must be an int of at least 0"),
    ],
)
def test_sequences_that_will_not_do(xs, targets, options, error, message):
    with pytest.raises(error, match=message):
        sequences(xs, targets, **{"batch_size": 2, **options})


# --- batches that are made as they are wanted ----------------------------------------------------


def test_generated_batches_follow_from_the_step_and_the_seed():
    traced = []

    def draw(key, size):
        traced.append(size)
        return {"xs": jax.random.normal(key, (3, size)), "one": jnp.ones(())}

    source = generated(draw, 4, axes={"xs": 1, "one": None})
    batches = [source.batch(step)["xs"] for step in (0, 1, 10**9)]
    assert len(np.unique(batches)) == 3 * 12
    assert traced == [4]  # jitted
    want = draw(jax.random.fold_in(jax.random.key(0), 1), 4)["xs"]
    np.testing.assert_allclose(batches[1], want, rtol=1e-6)
    assert (generated(draw, 4, seed=1).batch(1)["xs"] != batches[1]).all()
    with pytest.raises(TypeError, match="f must be a function"):
        generated(np.ones(3), 4)
    with pytest.raises(ValueError, match="batch_size must be a positive int"):
        generated(draw, 0)


def test_an_iterator_is_read_in_its_order():
    source = iterated((n * n for n in range(4)), batch_size=8, axes=0)
    assert (source.batch_size, source.axes, source.exact) == (8, 0, False)
    assert source.batch(5) == 0  # whatever comes first
    assert source.batch(6) == 1
    for wrong in (6, 8, 0):
        with pytest.raises(ValueError, match=rf"batch {wrong} was asked for, .* only give 7"):
            source.batch(wrong)
    assert [source.batch(step) for step in (7, 8)] == [4, 9]
    with pytest.raises(ValueError, match="the data ended at step 9"):
        source.batch(9)
    with pytest.raises(TypeError, match="batches must be an iterable of batches, got 3"):
        iterated(3)
    assert iterated([1]).batch_size == 1


def test_pairs_are_padded_by_their_own_lengths():
    draw = np.random.default_rng(2)
    pairs = [
        tuple(draw.integers(1, 9, size) for size in draw.integers(0, 12, 2)) for _ in range(31)
    ]
    xs, targets = (
        [np.append(n, each) for n, each in enumerate(side)] for side in zip(*pairs, strict=True)
    )
    source = sequences(xs, targets, aligned=False, batch_size=4, buckets=3)
    assert source.axes == Sequences(1, 0, 1, 0, 0)
    shapes, seen = set(), []
    for step in range(source.steps_per_pass):
        batch = source.batch(step)
        shapes.add((batch.xs.shape, batch.targets.shape))
        assert batch.targets.shape[0] >= batch.target_lengths.max() > 0
        for row in np.flatnonzero(batch.real):
            n = int(batch.xs[0, row])
            seen.append(n)
            for array, lengths, wanted in (
                (batch.xs, batch.lengths, xs[n]),
                (batch.targets, batch.target_lengths, targets[n]),
            ):
                assert lengths[row] == len(wanted)
                np.testing.assert_array_equal(array[: len(wanted), row], wanted)
                assert not array[len(wanted) :, row].any()
        assert not batch.target_lengths[~batch.real].any()
    assert sorted(seen) == list(range(31))
    assert 1 < len(shapes) <= 3
    # As near to each other as they can be: the steps of both together are what is padded.
    totals = np.array([len(x) + len(t) for x, t in zip(xs, targets, strict=True)])
    for length, rows in bucket(totals, 3):
        assert (max(len(xs[n]) for n in rows), max(len(targets[n]) for n in rows)) in {
            (a[0], b[0]) for a, b in shapes
        }, length


def test_labels_are_labels_whether_aligned_or_not():
    """Only sequences have lengths of their own."""
    for targets in (None, np.arange(3)):
        source = sequences(unequal()[:3], targets, aligned=False, batch_size=2)
        assert source.batch(0).target_lengths is None
        assert source.axes.target_lengths is None
