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


def all_pairs(sizes, repeats, count):
    """The cuts by plain dynamic programming: every group of sizes i..j-1 is looked at."""
    shorter = np.concatenate([[0], np.cumsum(repeats)])
    best = [(0, [0])] + [(np.inf, [])] * len(sizes)  # of the first j sizes: their steps, and cuts
    for _ in range(count):
        through = [
            [(best[i][0] + (shorter[j] - shorter[i]) * sizes[j - 1], i) for i in range(j)]
            for j in range(1, len(best))
        ]
        least = [(np.inf, 0), *map(min, through)]
        best = [(steps, [*best[i][1], j]) for j, (steps, i) in enumerate(least)]
    return best[-1][1]


def test_bucket_cuts_where_dynamic_programming_over_all_pairs_does():
    """Also where several cuts are as good: steep and flat, many and few of a size."""
    rng = np.random.default_rng(0)
    for trial in range(200):
        n = rng.integers(1, 12)
        sizes = np.sort(rng.choice(rng.choice([n, 3 * n, 1000]), n, replace=False))
        repeats = rng.integers(1, rng.choice([2, 4, 100]), n)
        count = rng.integers(1, n + 1)
        groups = rnnjax.bucket(rng.permutation(np.repeat(sizes, repeats)), int(count))
        bounds = all_pairs(sizes.tolist(), repeats.tolist(), count)
        assert [size for size, _ in groups] == [sizes[j - 1] for j in bounds[1:]], trial


def test_bucket_and_pack_of_twenty_thousand_lengths():
    """All different: all pairs of them would take 3 GB, a walk along the rows a minute."""
    lengths = np.random.default_rng(0).permutation(20_000) + 1
    groups = rnnjax.bucket(lengths, 8)
    assert sorted(np.concatenate([rows for _, rows in groups])) == list(range(20_000))
    # Equal lengths to 8 groups: the best cuts are the even ones.
    assert [size for size, _ in groups] == [2500 * k for k in range(1, 9)]
    packed = rnnjax.pack([np.ones(1 + n % 199, np.int8) for n in range(20_000)], 200)
    assert packed.xs.shape[1] <= 1.01 * packed.lengths.sum() / 200
    assert len(rnnjax.bucket(lengths, 20_000)) == 20_000


@given(some_lengths)
def test_pack_puts_each_sequence_into_the_first_row_with_room(lengths):
    packed, used = rnnjax.pack(ragged(lengths), 8), []
    for n in np.argsort(-np.array(lengths), kind="stable"):
        row = next((r for r, u in enumerate(used) if u + lengths[n] <= 8), len(used))
        used += [0] * (row == len(used))
        assert (packed.rows[n], packed.starts[n]) == (row, used[row])
        used[row] += lengths[n]
    assert packed.xs.shape[:2] == (8, len(used))


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


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_means_in_half_precision(dtype):
    """MIOpen 2109, tensorflow 57057: a sum overflows, or stops growing, where the mean is small."""
    for value, steps in ((20, 4096), (0.5, 70_000), (2.5, 1000)):
        ys = jnp.full((steps, 1, 1), value, dtype)
        mean, gradient = jax.value_and_grad(lambda ys: rnnjax.mean_pool(ys).sum())(ys)
        assert (mean.item(), mean.dtype.name) == (value, dtype)
        assert gradient.max().item() == pytest.approx(1 / steps, rel=0.01)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "int32"])
def test_pooling_of_integers(dtype):
    """Of their own greatest and least values, and of more steps than the dtype counts."""
    top = 1 if dtype == "bool" else np.iinfo(dtype).max
    low = 0 if dtype == "bool" else np.iinfo(dtype).min
    ys, lengths = np.full((300, 3, 1), top, dtype), np.array([300, 2, 0], np.int16)
    ys[:200, 0], ys[:2, 1] = low, low
    pooled = rnnjax.max_pool(ys, lengths=lengths)
    assert (pooled[:, 0].tolist(), pooled.dtype) == ([top, low, 0], dtype)
    want = [(200 * low + 100 * top) / 300, low, 0]
    np.testing.assert_allclose(rnnjax.mean_pool(ys, lengths=lengths)[:, 0], want, 1e-6)
    assert rnnjax.last(ys, lengths)[:, 0].tolist() == [top, low, 0]


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint32"])
def test_lengths_of_any_integer_dtype(kind):
    """T is beyond what int8 and uint8 hold; an unsigned length beyond T is T, not a negative."""
    most = min(300, np.iinfo(kind).max)
    lengths, xs = np.array([most, 3, 0], kind), np.arange(900).reshape(300, 3)
    wide = lengths.astype(int)
    for function in (rnnjax.last, rnnjax.reverse_sequences):
        assert_close(jax.jit(function)(xs, lengths), function(xs, wide))
        assert_close(function(xs, lengths), function(xs, wide))
    assert_close(
        rnnjax.mean_pool(1.0 * xs[..., None], lengths=lengths),
        rnnjax.mean_pool(1.0 * xs[..., None], lengths=wide),
    )
    _, ys = rnnjax.unroll(
        rnnjax.activation("identity"), (), None, 1.0 + xs[..., None], lengths=lengths
    )
    assert np.count_nonzero(ys, axis=(0, 2)).tolist() == wide.tolist()
    if kind == "uint32":
        beyond = np.array([2**32 - 1] * 3, kind)
        reverse = jax.jit(rnnjax.reverse_sequences)
        assert_close(reverse(xs, beyond), xs[::-1])
    assert [len(a) for a in rnnjax.unpad(xs, lengths)] == wide.tolist()
    groups = rnnjax.bucket(np.repeat(lengths, 100), 2)  # 100 * most is beyond int8 and uint8
    assert [(n, len(rows)) for n, rows in groups] == [(3, 200), (most, 100)]


def test_the_last_real_step_is_that_of_lengths_and_mask():
    ys = np.arange(1, 13).reshape(4, 3)
    mask = np.array([[1, 0, 0], [1, 0, 1], [0, 0, 1], [1, 0, 0]], bool)
    assert rnnjax.last(ys).tolist() == [10, 11, 12]
    assert rnnjax.last(ys, mask=mask).tolist() == [10, 0, 9]
    assert rnnjax.last(ys, [3, 4, 2], mask=mask).tolist() == [4, 0, 6]
    assert rnnjax.last(ys[:, 0], mask=mask[:, 0]) == 10


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
        (lambda: rnnjax.pad([np.int8([1])], value=300), "value is 300, which int8"),
        (lambda: rnnjax.pad([np.uint8([1])], value=-1), "value is -1, which uint8"),
        (lambda: rnnjax.last(jnp.ones((3, 2)), mask=np.ones((2, 2), bool)), "mask has shape"),
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
