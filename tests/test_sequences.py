"""Padding, bucketing and packing, and what is read off padded sequences."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import assert_close

import rnnjax


def ragged(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n, 3)) for n in lengths]


some_lengths = st.lists(st.integers(0, 7), min_size=1, max_size=6)


@given(some_lengths)
def test_unpad_undoes_pad(lengths):
    sequences = ragged(lengths)
    xs, found = rnnjax.pad(sequences, value=np.nan)
    assert found.tolist() == lengths
    for a, b in zip(rnnjax.unpad(xs, found), sequences, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.isnan(xs).sum() == 3 * (xs.shape[0] * len(lengths) - sum(lengths))


@given(some_lengths, st.integers(1, 4))
def test_bucket_has_the_least_padding_of_all_choices(lengths, count):
    groups = rnnjax.bucket(lengths, count)
    assert len(groups) <= count
    assert sorted(np.concatenate([rows for _, rows in groups]).tolist()) == list(
        range(len(lengths))
    )
    assert all(max(lengths[i] for i in rows) == size for size, rows in groups)

    def padded(bounds):
        return sum(min(b for b in bounds if b >= n) for n in lengths)

    sizes = sorted(set(lengths))
    choices = itertools.chain.from_iterable(
        itertools.combinations(sizes, k) for k in range(1, count + 1)
    )
    least = min(padded(c) for c in choices if max(c) == sizes[-1])
    assert sum(size * len(rows) for size, rows in groups) == least


@given(some_lengths)
def test_packed_sequences_run_as_if_alone(lengths):
    sequences = ragged(lengths)
    packed = rnnjax.pack(sequences, 8)
    for a, b in zip(rnnjax.unpack(packed.xs, packed), sequences, strict=True):
        np.testing.assert_array_equal(a, b)
    assert packed.mask.sum() == sum(lengths)
    assert packed.resets.sum() == sum(n > 0 for n in lengths)


def test_unroll_over_packed_rows(x64):
    sequences = ragged([3, 5, 1, 4, 2, 0])
    packed = rnnjax.pack(sequences, 6)
    assert packed.xs.shape[1] < len(sequences)
    layer = rnnjax.bidirectional(rnnjax.lstm(4))
    params = layer.init(jax.random.key(0), 3)
    xs, mask, resets = jnp.asarray(packed.xs), packed.mask, packed.resets
    _, ys = layer.apply(params, xs, mask=jnp.asarray(mask), resets=jnp.asarray(resets))
    for got, sequence in zip(rnnjax.unpack(ys, packed), sequences, strict=True):
        assert_close(got, np.asarray(layer.apply(params, jnp.asarray(sequence))[1]))


@given(some_lengths)
def test_reverse_sequences(lengths):
    xs, n = rnnjax.pad(ragged(lengths), length=7)
    got = rnnjax.reverse_sequences(jnp.asarray(xs), jnp.asarray(n))
    want, _ = rnnjax.pad([s[::-1] for s in ragged(lengths)], length=7)
    np.testing.assert_array_equal(got, want.astype(got.dtype))


@pytest.mark.parametrize("garbage", [0.0, 1e30, np.inf, np.nan])
def test_reading_off_padded_sequences(x64, garbage):
    sequences = ragged([3, 0, 7])
    xs, lengths = rnnjax.pad(sequences, value=garbage)
    ys, lengths = jnp.asarray(xs), jnp.asarray(lengths)
    zero = np.zeros(3)
    last = np.array([s[-1] if len(s) else zero for s in sequences])
    mean = np.array([s.mean(0) if len(s) else zero for s in sequences])
    peak = np.array([s.max(0) if len(s) else zero for s in sequences])
    assert_close(rnnjax.last(ys, lengths), last)
    assert_close(rnnjax.mean_pool(ys, lengths=lengths), mean)
    assert_close(rnnjax.max_pool(ys, lengths=lengths), peak)
    mask = jnp.arange(7)[:, None] < lengths.astype(int)
    assert_close(rnnjax.max_pool(ys, mask=mask), peak)

    def total(ys):
        return (
            rnnjax.last(ys, lengths)
            + rnnjax.mean_pool(ys, lengths=lengths)
            + rnnjax.max_pool(ys, mask=mask)
        ).sum()

    gradient = np.asarray(jax.grad(total)(ys))
    assert np.isfinite(gradient).all()
    assert not gradient[~np.asarray(mask)].any()


def test_without_padding_pooling_is_over_all_steps():
    ys = jnp.arange(6.0).reshape(3, 2, 1)
    assert_close(rnnjax.mean_pool(ys), ys.mean(0))
    assert_close(rnnjax.max_pool(ys), ys.max(0))


def test_pooling_over_no_steps_is_zero():
    for pool in (rnnjax.mean_pool, rnnjax.max_pool):
        assert_close(pool(jnp.ones((0, 2, 3))), jnp.zeros((2, 3)))


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_any_batch_shape(batch):
    rng = np.random.default_rng(1)
    ys, lengths = rng.normal(size=(5, *batch, 4)), rng.integers(0, 6, batch)

    def flat(function):  # the batch as one axis
        one = jax.jit(function)(ys.reshape(5, -1, 4), jnp.asarray(lengths).reshape(-1))
        return one.reshape(*one.shape[:-2], *batch, 4)

    assert_close(rnnjax.last(ys, lengths), flat(rnnjax.last))
    assert_close(rnnjax.reverse_sequences(ys, lengths), flat(rnnjax.reverse_sequences))
    for pool in (rnnjax.mean_pool, rnnjax.max_pool):
        assert_close(pool(ys, lengths=lengths), flat(lambda y, n: pool(y, lengths=n)))


def test_lists_will_do_as_lengths_and_mask():
    ys = jnp.arange(12.0).reshape(3, 2, 2)
    assert_close(rnnjax.last(ys, [3, 1]), rnnjax.last(ys, jnp.array([3, 1])))
    assert rnnjax.reverse_sequences(ys, [3, 1])[0, 0].tolist() == [8.0, 9.0]
    mask = [[True, True], [True, False], [True, False]]
    assert_close(rnnjax.mean_pool(ys, lengths=[3, 1]), rnnjax.mean_pool(ys, mask=mask))


def test_traced_lengths_act_as_the_nearest_of_0_and_T():
    ys = jnp.arange(6.0).reshape(3, 2)
    for function in (rnnjax.last, rnnjax.reverse_sequences):
        run = jax.jit(function)
        assert_close(run(ys, jnp.array([7, -2])), run(ys, jnp.array([3, 0])))


@pytest.mark.parametrize("build", [rnnjax.pad, lambda s: rnnjax.pack(s, 2)])
def test_no_sequence_is_cut_to_the_dtype_of_the_first(build):
    xs = build([np.array([1, 2]), np.array([0.5])])[0]
    assert sorted(xs.ravel().tolist()) == [0.0, 0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rnnjax.pad([]), "pad needs at least one sequence"),
        (lambda: rnnjax.pad([np.ones((2, 3)), np.ones((2, 4))]), r"sequences\[1\] has shape"),
        (lambda: rnnjax.pad([np.ones(3)], length=2), r"sequences\[0\] has 3 steps, length is 2"),
        (lambda: rnnjax.pack([np.ones(3)], 2), r"sequences\[0\] has 3 steps, length is 2"),
        (lambda: rnnjax.unpad(np.ones((3, 2)), [1]), r"lengths has shape \[1\]"),
        (lambda: rnnjax.unpad(np.ones((3, 1)), [4]), r"lengths\[0\] = 4 is outside \[0, 3\]"),
        (lambda: rnnjax.bucket([], 2), "at least one sequence"),
        (lambda: rnnjax.bucket([1], 0), "count of at least 1"),
        (lambda: rnnjax.pad([np.arange(2)], value=np.nan), "value is nan, which int64"),
        (
            lambda: rnnjax.unpack(np.ones((2, 1)), rnnjax.pack([np.ones(3)], 3)),
            r"expected \[3, 1\]",
        ),
        (lambda: rnnjax.mean_pool(jnp.ones((3, 2, 4)), lengths=[3]), r"lengths has shape \[1\]"),
        (lambda: rnnjax.max_pool(jnp.ones((3, 1, 4)), lengths=[5]), r"lengths\[0\] = 5 is outside"),
        (lambda: rnnjax.last(jnp.ones((3, 2, 4)), [3]), r"lengths has shape \[1\]"),
        (lambda: rnnjax.last(jnp.ones((3, 1, 4)), [5]), r"lengths\[0\] = 5 is outside"),
        (lambda: rnnjax.reverse_sequences(jnp.ones((3, 1)), [-1]), r"lengths\[0\] = -1 is"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rnnjax.unpad(np.ones((3, 2)), [1.5, 2.0]), "lengths must be integers"),
        (lambda: rnnjax.bucket([1.5, 2.0], 1), "lengths must be integers"),
        (lambda: rnnjax.bucket([[1], [2]], 1), "lengths must be integers"),
        (lambda: rnnjax.bucket([1], 1.5), "count must be an int"),
        (lambda: rnnjax.last(jnp.ones((3, 1)), [1.0]), "lengths must be integers"),
        (lambda: rnnjax.mean_pool(jnp.ones((3, 1, 4)), mask=np.ones((3, 1))), "mask must be bool"),
    ],
)
def test_wrong_types(call, message):
    with pytest.raises(TypeError, match=message):
        call()
