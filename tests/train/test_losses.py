"""Losses: values against optax and NumPy, and padding that never matters."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnjax.train import (
    binary_cross_entropy,
    bits_per_token,
    cross_entropy,
    ctc,
    gaussian_nll,
    mean_absolute_error,
    mean_squared_error,
    perplexity,
    quantile_loss,
)

T, B, V = 5, 3, 7


def problem(seed=0, dtype=jnp.float32):
    rng = np.random.default_rng(seed)
    logits = jnp.asarray(rng.normal(0, 2, (T, B, V)), dtype)
    mask = jnp.asarray(np.arange(T)[:, None] < np.array([5, 3, 0]))
    return logits, jnp.asarray(rng.integers(0, V, (T, B))), mask


def test_equals_optax():
    logits, targets, _ = problem()
    want = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    loss = cross_entropy(logits, targets)
    np.testing.assert_allclose(loss.total, want.sum(), rtol=1e-6)
    np.testing.assert_allclose(loss.mean, want.mean(), rtol=1e-6)
    assert loss.count == T * B


@pytest.mark.usefixtures("x64")
def test_equals_numpy_in_float64_with_mask():
    logits, targets, mask = problem(dtype=jnp.float64)
    p = np.exp(np.asarray(logits))
    p /= p.sum(-1, keepdims=True)
    nats = -np.log(np.take_along_axis(p, np.asarray(targets)[..., None], -1)[..., 0])
    loss = cross_entropy(logits, targets, mask)
    assert loss.mean.dtype == jnp.float64
    np.testing.assert_allclose(loss.total, nats[np.asarray(mask)].sum(), rtol=1e-12)
    np.testing.assert_allclose(loss.mean, nats[np.asarray(mask)].mean(), rtol=1e-12)
    assert loss.count == 8


@pytest.mark.optimised
@pytest.mark.parametrize("content", [0.0, 1e30, -math.inf, math.inf, math.nan])
@pytest.mark.parametrize("target", [0, -1, V, 2**31 - 1])
def test_padding_never_matters_bitwise(content, target):
    logits, targets, mask = problem()

    def run(logits, targets):
        return jax.value_and_grad(lambda x: cross_entropy(x, targets, mask).mean)(logits)

    want, want_grad = run(logits, targets)
    dirty = jnp.where(mask[..., None], logits, content)
    got, got_grad = run(dirty, jnp.where(mask, targets, target))
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(got_grad, want_grad)
    assert not np.asarray(got_grad)[~np.asarray(mask)].any()


def test_mean_is_over_real_tokens_not_over_all():
    logits, targets, mask = problem()
    alone = cross_entropy(logits[:, :1], targets[:, :1])
    both = cross_entropy(logits, targets, mask.at[:, 1:].set(False))
    np.testing.assert_allclose(both.mean, alone.mean, rtol=1e-6)


def test_all_padding_under_jit_is_zero_with_zero_gradient():
    logits, targets, mask = problem()
    run = jax.jit(jax.value_and_grad(lambda x, m: cross_entropy(x, targets, m).mean))
    loss, grad = run(logits, jnp.zeros_like(mask))
    assert loss == 0
    assert not grad.any()


@pytest.mark.parametrize("target", [-1, V])
def test_a_real_target_outside_the_vocabulary_is_loud(target):
    logits, targets, _ = problem()
    assert jnp.isnan(cross_entropy(logits, targets.at[1, 1].set(target)).mean)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"])
def test_targets_of_any_integer_type(dtype):
    """V is beyond the narrow ones: what wraps in them is NaN, never the loss of another symbol."""
    size = 70_000
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(2, 1, size)), jnp.float32)
    convert = np.asarray if dtype == "int64" else jnp.asarray  # which has no such type
    targets, least, most = np.array([[3], [127]], dtype), np.iinfo(dtype).min, np.iinfo(dtype).max
    want = cross_entropy(logits, np.array([[3], [127]], np.int32)).total
    assert cross_entropy(logits, convert(targets)).total == want
    for outside in {least, most, max(least, -1), min(most, size)} - set(range(size)):
        targets[1, 0] = outside
        assert jnp.isnan(cross_entropy(logits, convert(targets)).total)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_summed_in_float32(dtype):
    logits = jnp.zeros((1000, 100, 4), dtype)
    loss = cross_entropy(logits, jnp.zeros((1000, 100), int))
    assert loss.total.dtype == jnp.float32
    np.testing.assert_allclose(loss.total, 1e5 * math.log(4), rtol=1e-5)


@pytest.mark.parametrize(
    ("logits", "targets", "mask", "error", "message"),
    [
        ((0, 2, 4), (0, 2), None, ValueError, r"at least one token, targets are \[0, 2\]"),
        ((3, 0, 4), (3, 0), None, ValueError, r"at least one token"),
        ((3, 2, 4), (2, 3), None, ValueError, r"targets has shape \[2, 3\].*expected \[3, 2\]"),
        ((3, 2, 4), (3, 2), (3,), ValueError, r"mask has shape \[3\].*expected \[3, 2\]"),
    ],
)
def test_shapes_that_will_not_do(logits, targets, mask, error, message):
    mask = None if mask is None else jnp.ones(mask, bool)
    with pytest.raises(error, match=message):
        cross_entropy(jnp.zeros(logits), jnp.zeros(targets, int), mask)


def test_dtypes_that_will_not_do():
    with pytest.raises(TypeError, match="targets must be integers, got float32"):
        cross_entropy(jnp.zeros((3, 2, 4)), jnp.zeros((3, 2)))
    with pytest.raises(TypeError, match="mask must be bool, got int32"):
        cross_entropy(jnp.zeros((3, 2, 4)), jnp.zeros((3, 2), int), jnp.ones((3, 2), jnp.int32))


def test_units():
    np.testing.assert_allclose(bits_per_token(math.log(8)), 3)
    np.testing.assert_allclose(perplexity(math.log(8)), 8, rtol=1e-6)


# --- label smoothing, yes and no, numbers --------------------------------------------------------


@pytest.mark.usefixtures("x64")
def test_label_smoothing_equals_optax():
    logits, targets, mask = problem(dtype=jnp.float64)
    smooth = optax.smooth_labels(jax.nn.one_hot(targets, V), 0.1)
    want = optax.softmax_cross_entropy(logits, smooth)[mask].mean()
    got = cross_entropy(logits, targets, mask, label_smoothing=0.1).mean
    np.testing.assert_allclose(got, want, rtol=1e-12)
    assert jnp.isnan(cross_entropy(logits, targets.at[0, 0].set(V), label_smoothing=0.1).mean)
    for wrong in (1.0, -0.1):
        with pytest.raises(ValueError, match=r"label_smoothing must be a number in \[0, 1\)"):
            cross_entropy(logits, targets, label_smoothing=wrong)


QUANTILES = (0.1, 0.5, 0.8)
# (loss, the features of its predictions, its NumPy); each takes (arrays of its floats, targets).
ENTRIES = {
    "binary": (
        lambda p, z, mask=None: binary_cross_entropy(p, jnp.asarray(z > 0), mask),
        1,
        lambda p, z: np.where(z > 0, np.log1p(np.exp(-p)), np.log1p(np.exp(p))),
    ),
    "squared": (mean_squared_error, 1, lambda p, z: (p - z) ** 2),
    "absolute": (mean_absolute_error, 1, lambda p, z: abs(p - z)),
    "gaussian": (
        lambda p, z, mask=None: gaussian_nll(p[0], p[1], z, mask),
        2,
        lambda p, z: (
            0.5 * np.log(2 * np.pi * np.exp(2 * p[1])) + (z - p[0]) ** 2 / np.exp(p[1]) ** 2 / 2
        ),
    ),
    "quantile": (
        lambda p, z, mask=None: quantile_loss(jnp.stack([*p], -1), z, QUANTILES, mask),
        3,
        lambda p, z: sum(
            np.where(z > x, q * (z - x), (1 - q) * (x - z))
            for x, q in zip(p, QUANTILES, strict=True)
        ),
    ),
}
each_loss = pytest.mark.parametrize("name", ENTRIES)


def numbers(name, dtype=np.float64):
    """A loss, its NumPy, predictions, targets [T, B, 2] and a mask [T, B]."""
    loss, count, oracle = ENTRIES[name]
    rng = np.random.default_rng(1)
    predictions = rng.normal(size=(count, T, B, 2)).astype(dtype)
    targets = rng.normal(size=(T, B, 2)).astype(dtype)
    mask = np.arange(T)[:, None] < np.array([5, 3, 0])
    return loss, oracle, predictions if count > 1 else predictions[0], targets, jnp.asarray(mask)


@pytest.mark.usefixtures("x64")
@each_loss
def test_losses_of_numbers_equal_numpy(name):
    loss, oracle, predictions, targets, mask = numbers(name)
    want = oracle(predictions, targets)[np.asarray(mask)]
    got = loss(jnp.asarray(predictions), jnp.asarray(targets), mask)
    of_each = 3 if name == "quantile" else 1
    np.testing.assert_allclose(got.total, want.sum(), rtol=1e-12)
    np.testing.assert_allclose(got.mean, want.mean() / of_each, rtol=1e-12)
    assert got.count == 16 * of_each
    assert all(isinstance(x, jax.Array) for x in loss(predictions, targets, np.asarray(mask)))
    assert got.total.dtype == jnp.float64
    everything = loss(jnp.asarray(predictions), jnp.asarray(targets))
    np.testing.assert_allclose(everything.total, oracle(predictions, targets).sum(), rtol=1e-12)
    # A mask of every entry, as for labels that are missing here and there.
    some = np.random.default_rng(2).random(targets.shape) < 0.5
    got = loss(jnp.asarray(predictions), jnp.asarray(targets), jnp.asarray(some))
    np.testing.assert_allclose(
        got.mean, oracle(predictions, targets)[some].mean() / of_each, rtol=1e-12
    )


@pytest.mark.optimised
@each_loss
def test_padding_of_numbers_never_matters_bitwise(name):
    loss, _, predictions, targets, mask = numbers(name, np.float32)
    both = (0, 1) if name != "binary" else (0,)
    run = jax.jit(jax.value_and_grad(lambda p, z: loss(p, z, mask).mean, both))
    want, want_grads = run(predictions, targets)
    real = np.asarray(mask)[..., None]
    for content in (1e30, -math.inf, math.nan):
        got, got_grads = run(
            np.where(real, predictions, content).astype(np.float32),
            np.where(real, targets, content).astype(np.float32),
        )
        np.testing.assert_array_equal(got, want)
        for a, b in zip(got_grads, want_grads, strict=True):
            np.testing.assert_array_equal(a, b)
    for grad in want_grads:
        assert np.isfinite(grad).all()
        assert not np.where(real, 0, grad).any()


@each_loss
def test_numbers_in_half_precision_are_summed_in_float32(name):
    loss, count, oracle = ENTRIES[name]
    predictions = np.full((count, 300, 100), 0.5, np.float16)
    predictions = predictions if count > 1 else predictions[0]
    targets = np.full((300, 100), 3, np.float16)
    got = loss(jnp.asarray(predictions), jnp.asarray(targets))
    assert got.total.dtype == jnp.float32
    want = oracle(predictions.astype(float), targets.astype(float)).sum()
    np.testing.assert_allclose(got.total, want, rtol=1e-5)


def test_yes_and_no_at_zero_and_far_out():
    grad = jax.grad(lambda p: binary_cross_entropy(p, jnp.array([True, False])).total)
    assert grad(jnp.zeros(2)).tolist() == [-0.5, 0.5]
    assert binary_cross_entropy(jnp.array([-1e4]), jnp.array([1])).total == 1e4
    np.testing.assert_allclose(
        binary_cross_entropy(jnp.array([30.0]), jnp.ones(1)).total, math.exp(-30), rtol=1e-5
    )
    for outside in (-0.1, 1.1, math.nan):
        assert jnp.isnan(binary_cross_entropy(jnp.zeros(1), jnp.array([outside])).total)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: mean_squared_error(jnp.zeros((3, 2)), jnp.zeros((3, 1))),
            ValueError,
            r"targets has shape \[3, 1\], predictions are \[3, 2\]: expected \[3, 2\]",
        ),
        (
            lambda: mean_absolute_error(jnp.zeros((3, 2)), jnp.zeros((3, 2)), jnp.ones(2, bool)),
            ValueError,
            r"mask has shape \[2\], expected \[3, 2\] or its first axes",
        ),
        (
            lambda: binary_cross_entropy(jnp.zeros((3, 2), int), jnp.zeros((3, 2))),
            TypeError,
            "logits must be floating, got int32",
        ),
        (
            lambda: mean_squared_error(jnp.zeros(3), jnp.zeros(3), jnp.ones(3)),
            TypeError,
            "mask must be bool, got float32",
        ),
        (
            lambda: mean_squared_error(jnp.zeros((0, 2)), jnp.zeros((0, 2))),
            ValueError,
            r"at least one token, targets are \[0, 2\]",
        ),
        (
            lambda: gaussian_nll(jnp.zeros(3), jnp.zeros(1), jnp.zeros(3)),
            ValueError,
            r"log_std has shape \[1\], mean are \[3\]",
        ),
        (
            lambda: gaussian_nll(jnp.zeros(3), jnp.zeros(3, int), jnp.zeros(3)),
            TypeError,
            "log_std must be floating",
        ),
        (
            lambda: quantile_loss(jnp.zeros((3, 2)), jnp.zeros(3), (0.5,)),
            ValueError,
            r"predictions has shape \[3, 2\], .*: expected \[3, 1\]",
        ),
        (
            lambda: quantile_loss(jnp.zeros((3, 2)), jnp.zeros(3), (0.5, 1.0)),
            ValueError,
            r"quantiles\[1\] must be a number in \(0, 1\), got 1.0",
        ),
    ],
)
def test_numbers_that_will_not_do(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --- labels of which no one knows where they stand -----------------------------------------------


def probability(p, labels, blank):
    """The sum over all alignments of one sequence: p [T, V]."""
    total = 0.0
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        merged = [symbol for symbol, _ in itertools.groupby(path) if symbol != blank]
        if merged == list(labels):
            total += np.prod([p[t, symbol] for t, symbol in enumerate(path)])
    return total


ROWS = [  # the steps of each row and its labels; there is room for 4 and 3
    (4, [1, 2]),
    (3, [2, 2]),
    (4, [2, 2]),
    (1, [1]),
    (3, []),
    (2, [2, 1]),
    (4, [1, 2, 1]),
]


def ctc_problem(blank, dtype):
    swap = {0: blank, blank: 0}
    rows = [(n, [swap.get(symbol, symbol) for symbol in labels]) for n, labels in ROWS]
    logits = np.random.default_rng(0).normal(size=(4, len(rows), 3)).astype(dtype)
    labels = np.array([[*row, *[7] * (3 - len(row))] for _, row in rows])
    lengths = np.array([n for n, _ in rows], np.uint8)
    return logits, lengths, labels, np.array([len(row) for _, row in rows]), rows


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("blank", [0, 2])
def test_ctc_is_the_sum_over_all_alignments(blank):
    logits, lengths, labels, label_lengths, rows = ctc_problem(blank, np.float64)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    want = [-np.log(probability(p[:n, b], row, blank)) for b, (n, row) in enumerate(rows)]

    @jax.jit
    def run(logits, mask):
        each = ctc(logits, jnp.asarray(lengths), labels, label_lengths, mask=mask, blank=blank)
        return each.mean, each.count, each.total

    for b, value in enumerate(want):
        _, count, total = run(logits, np.arange(len(rows)) == b)
        np.testing.assert_allclose(total, value, rtol=1e-12)
        assert count == 1
    np.testing.assert_allclose(run(logits, np.ones(len(rows), bool))[0], np.mean(want), rtol=1e-12)


def test_ctc_ignores_what_is_beyond_the_lengths():
    logits, lengths, labels, label_lengths, _ = ctc_problem(0, np.float32)
    mask = np.arange(len(lengths)) != 6
    loss = jax.jit(
        jax.value_and_grad(lambda x, n: ctc(x, lengths, n, label_lengths, mask=mask).mean)
    )
    want, want_grad = loss(logits, labels)
    padding = (np.arange(4)[:, None] >= lengths) | ~mask
    got, got_grad = loss(
        np.where(padding[..., None], np.nan, logits).astype(np.float32),
        np.where((labels == 7) | ~mask[:, None], -5, labels),
    )
    assert got == want
    np.testing.assert_array_equal(got_grad, want_grad)
    assert np.isfinite(want_grad).all()
    assert not np.asarray(want_grad)[padding].any()


def test_ctc_of_a_long_sequence_and_of_none():
    """3,000 steps that are all unlikely, and a row without any."""
    logits = np.zeros((3000, 3, 3), np.float32)
    logits[..., 2] = 100  # neither the label nor the blank
    one, lengths = np.ones(3, int), np.array([3000, 0, 0])
    loss = ctc(jnp.asarray(logits), lengths, one[:, None], np.array([1, 0, 0]))
    np.testing.assert_allclose(loss.total, 3e5 - math.log(3000 * 3001 / 2), rtol=1e-4)
    assert loss.count == 3
    row = np.array([False, True, False])
    alone = ctc(jnp.asarray(logits), lengths, one[:, None], one, mask=row)
    assert alone.total == math.inf  # no step for its label


def test_ctc_without_an_alignment_has_no_gradient():
    """Twice the same label in two steps, beside a row that has an alignment."""
    logits = np.random.default_rng(1).normal(size=(2, 2, 3)).astype(np.float32)
    labels, two = np.array([[1, 1], [1, 2]]), np.full(2, 2)
    loss = jax.jit(jax.value_and_grad(lambda x: ctc(x, two, labels, two).total))
    value, gradient = loss(logits)
    assert value == math.inf
    assert np.isfinite(gradient).all()
    assert not np.asarray(gradient)[:, 0].any()
    assert np.asarray(gradient)[:, 1].all()


def test_ctc_labels_that_are_no_labels_are_loud():
    logits, one = jnp.zeros((2, 1, 3)), np.ones(1, int)
    for wrong in (0, 3, -1):
        loss = ctc(logits, 2 * one, np.array([[wrong]]), one)
        assert jnp.isnan(loss.mean)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"logits": jnp.zeros((2, 3))}, ValueError, r"logits must be \[T, B, V\], got .*\[2, 3\]"),
        ({"logits": jnp.zeros((2, 1, 3), int)}, TypeError, "logits must be floating"),
        ({"logits": jnp.zeros((0, 1, 3)), "lengths": np.zeros(1, int)}, ValueError, "at least one"),
        ({"labels": np.ones((1, 1))}, TypeError, "labels must be integers, got float64"),
        (
            {"labels": np.ones((2, 1), int)},
            ValueError,
            r"labels has shape \[2, 1\], expected \[1, S",
        ),
        ({"lengths": np.ones(2, int)}, ValueError, r"lengths has shape \[2\]"),
        ({"lengths": np.array([3])}, ValueError, r"lengths\[0\] = 3 is outside \[0, 2\]"),
        ({"label_lengths": np.array([2])}, ValueError, r"label_lengths\[0\] = 2 is outside \[0, 1"),
        ({"label_lengths": np.ones(1)}, TypeError, "label_lengths must be integers"),
        ({"mask": np.ones(2, bool)}, ValueError, r"mask has shape \[2\]"),
        ({"blank": 3}, ValueError, "blank is 3, logits have 3 symbols"),
        ({"blank": -1}, ValueError, "blank must be"),
    ],
)
def test_ctc_that_will_not_do(changed, error, message):
    one = np.ones(1, int)
    given = {
        "logits": jnp.zeros((2, 1, 3)),
        "lengths": 2 * one,
        "labels": one[:, None],
        "label_lengths": one,
    }
    with pytest.raises(error, match=message):
        ctc(**{**given, **changed})
