"""Losses: values against optax and NumPy, and padding that never matters."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnjax.train import bits_per_token, cross_entropy, perplexity

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
