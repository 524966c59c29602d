"""Clipping by global norm: right wherever optax is, and also where it is not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rnnjax.train import clip_by_global_norm, global_norm, optimizer

SHAPES = {"a": (3, 2), "b": (4,)}


@functools.partial(jax.jit, static_argnums=1)
def clip(tree, max_norm):
    transformation = clip_by_global_norm(max_norm)
    return transformation.update(tree, transformation.init(tree))[0]


def gradients(low, high, dtype=np.float32):
    """Trees of gradients with magnitudes in [low, high], zeros among them."""
    magnitude = st.floats(low, high, width=np.dtype(dtype).itemsize * 8)
    entry = st.one_of(st.just(0.0), magnitude, magnitude.map(lambda x: -x))
    return st.fixed_dictionaries(
        {name: arrays(dtype, shape, elements=entry) for name, shape in SHAPES.items()}
    )


def direction(tree):
    """The unit vector of a tree, in float64."""
    flat = np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])
    norm = np.linalg.norm(flat / max(np.abs(flat).max(), 1e-300)) or 1.0
    return flat / max(np.abs(flat).max(), 1e-300) / norm


@given(gradients(2**-10, 2**10), st.sampled_from([2**-5, 1.0, 100.0]))
def test_equals_optax_where_optax_is_right(tree, max_norm):
    tree = jax.tree.map(jnp.asarray, tree)
    want, _ = optax.clip_by_global_norm(max_norm).update(tree, optax.EmptyState())
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6), clip(tree, max_norm), want
    )
    np.testing.assert_allclose(global_norm(tree), optax.tree.norm(tree), rtol=1e-6)


@given(gradients(2.0**60, 2.0**126), st.sampled_from([2**-5, 1.0]))
def test_huge_gradients_keep_their_direction(tree, max_norm):
    got = clip(jax.tree.map(jnp.asarray, tree), max_norm)
    if not any(leaf.any() for leaf in tree.values()):
        assert not any(leaf.any() for leaf in got.values())
        return
    np.testing.assert_allclose(direction(got), direction(tree), atol=1e-6)
    np.testing.assert_allclose(global_norm(got), max_norm, rtol=1e-5)


@given(gradients(2.0**-110, 2.0**-90), st.sampled_from([2.0**-100, 1.0]))
def test_tiny_gradients_keep_their_direction(tree, max_norm):
    got = clip(jax.tree.map(jnp.asarray, tree), max_norm)
    if any(leaf.any() for leaf in tree.values()):
        np.testing.assert_allclose(direction(got), direction(tree), atol=1e-6)


@given(gradients(100, 60000, np.float16))
def test_half_precision_keeps_direction_and_dtype(tree):
    got = clip(jax.tree.map(jnp.asarray, tree), 1.0)
    assert all(leaf.dtype == jnp.float16 for leaf in got.values())
    if any(leaf.any() for leaf in tree.values()):
        np.testing.assert_allclose(direction(got), direction(tree), atol=2e-3)


@given(gradients(2.0**-100, 2.0**100))
def test_max_norm_zero_gives_zeros(tree):
    got = clip(jax.tree.map(jnp.asarray, tree), 0.0)
    assert all((leaf == 0).all() for leaf in got.values())


def test_the_examples_where_optax_fails():
    for value, dtype in ((1e20, jnp.float32), (300.0, jnp.float16)):
        got = clip({"w": jnp.full(4, value, dtype)}, 1.0)["w"]
        np.testing.assert_allclose(got.astype(jnp.float32), 0.5, rtol=1e-3)


@pytest.mark.parametrize("max_norm", [0.0, 1.0])
def test_zero_gradients_stay_zero(max_norm):
    got = clip({"a": jnp.zeros(3), "empty": jnp.zeros((0, 2)), "none": None}, max_norm)
    assert (got["a"] == 0).all()
    assert got["none"] is None


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_non_finite_gradients_are_not_hidden(bad):
    tree = {"a": jnp.array([1.0, bad]), "b": jnp.ones(3)}
    got = clip(tree, 1.0)
    assert not jnp.isfinite(got["a"][1])
    assert not jnp.isfinite(global_norm(tree))


@pytest.mark.usefixtures("x64")
def test_dtypes_mix_under_strict_promotion():
    tree = {
        "f64": jnp.full(2, 3e200, jnp.float64),
        "f32": jnp.full(2, 1.0, jnp.float32),
        "bf16": jnp.full(2, 2.0, jnp.bfloat16),
        "c64": jnp.full(2, 3 + 4j, jnp.complex64),
    }
    got = clip(tree, 1.0)
    assert {k: v.dtype for k, v in got.items()} == {k: v.dtype for k, v in tree.items()}
    assert global_norm(tree).dtype == jnp.float64
    np.testing.assert_allclose(got["f64"], 0.5**0.5, rtol=1e-12)
    small = {k: v for k, v in tree.items() if k != "f64"}
    np.testing.assert_allclose(global_norm(small), np.sqrt(2 + 8 + 50), rtol=1e-6)
    np.testing.assert_allclose(clip(small, 1.0)["c64"], (3 + 4j) / np.sqrt(60), rtol=1e-5)


def test_no_nan_is_made_on_the_way():
    with jax.debug_nans(True):
        clip({"a": jnp.zeros(3)}, 1.0)
        clip({"a": jnp.zeros(3)}, 0.0)


@pytest.mark.parametrize("max_norm", [-1.0, float("inf"), float("nan")])
def test_a_norm_that_will_not_do(max_norm):
    with pytest.raises(ValueError, match="max_norm must be at least 0 and finite"):
        clip_by_global_norm(max_norm)


PEERS = {
    "sgd": optax.sgd,
    "momentum": lambda rate: optax.sgd(rate, momentum=0.9),
    "rmsprop": optax.rmsprop,
    "adam": optax.adam,
    "adamw": optax.adamw,
    "adagrad": optax.adagrad,
}


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("rate", [0.1, optax.linear_schedule(0.1, 0.0, 5)])
@pytest.mark.parametrize("clip_norm", [None, 0, 0.5])
def test_optimizers_are_optax_behind_the_clip(name, rate, clip_norm):
    ours = optimizer(name, rate, clip_norm)
    clipping = optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity()
    theirs = optax.chain(clipping, PEERS[name](rate))
    params = other = {"w": jnp.array([1.0, -2.0])}
    a, b = ours.init(params), theirs.init(params)
    for grads in ({"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([0.1, -0.1])}):
        with jax.numpy_dtype_promotion("standard"):  # optax's Adam relies on it
            updates, a = ours.update(grads, a, params)
            params = optax.apply_updates(params, updates)
            updates, b = theirs.update(grads, b, other)
            other = optax.apply_updates(other, updates)
    np.testing.assert_allclose(params["w"], other["w"], rtol=1e-6)


def test_entries_are_clipped_before_the_norm():
    grads = {"w": jnp.array([3.0, -4.0, 0.5])}
    for clip_norm, scale in ((None, 1.0), (1.5, 1.0), (0.75, 0.5)):
        tx = optimizer("sgd", 1.0, clip_norm, clip_value=1.0)
        updates, _ = tx.update(grads, tx.init(grads))
        np.testing.assert_allclose(updates["w"], scale * np.array([-1.0, 1.0, -0.5]), rtol=1e-6)
    for wrong in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="clip_value must be a number, at least 0 and finite"):
            optimizer("sgd", 0.1, clip_value=wrong)


def test_an_unknown_optimizer_names_the_choices():
    for name in ("lion", ["adam"], None):  # a list has no hash
        with pytest.raises(ValueError, match="one of sgd, momentum, rmsprop, adam") as raised:
            optimizer(name, 0.1)
        assert str(raised.value).endswith(f"got {name!r}")


@pytest.mark.parametrize(
    ("clip_norm", "error"),
    [
        (-1.0, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        (True, TypeError),
        (False, TypeError),
        ("1", TypeError),
    ],
)
def test_a_clip_norm_that_will_not_do(clip_norm, error):
    with pytest.raises(error, match="clip_norm must be a number, at least 0 and finite, got "):
        optimizer("sgd", 0.1, clip_norm)


@pytest.mark.parametrize("rate", ["0.1", None, True, [0.1], np.ones(2)])
def test_a_learning_rate_that_will_not_do(rate):
    with pytest.raises(TypeError, match="learning_rate must be a number or a schedule, got "):
        optimizer("sgd", rate)


@pytest.mark.parametrize("rate", [1, np.float32(1), jnp.float32(1), lambda count: 1.0])
def test_learning_rates_of_any_kind(rate):
    sgd = optimizer("sgd", rate)
    updates, _ = sgd.update(jnp.ones(2), sgd.init(jnp.zeros(2)))
    assert updates.tolist() == [-1, -1]
