"""JAX's own switches: one test each, of a model with noise, lengths, resets and a gradient.

A switch that a release of JAX no longer has is skipped, by name.
"""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CELLS, spec
from combine.transformations import TRANSFORMATIONS
from oracles import assert_close

import rnnjax
from rnnjax._cell import as_spec

T, B, D = 3, 2, 2
MODEL = rnnjax.stack(rnnjax.zoneout(rnnjax.learned_state(rnnjax.lstm(2)), 0.1), rnnjax.linear(2))
RNG = np.random.default_rng(0)
XS = RNG.normal(size=(T, B, D)).astype(np.float32)
LENGTHS, RESETS = np.array([T, 1], np.int32), np.arange(T)[:, None] == [2, 0]
KEY = np.array([0, 1], np.uint32)  # the data of one, since keys are made as a switch says


@pytest.fixture(scope="module")
def params():
    drawn = MODEL.init(jax.random.key(0), D)
    return jax.tree.map(lambda a: RNG.normal(size=a.shape).astype(np.float32), drawn)


@pytest.fixture(autouse=True)
def _strict_dtype_promotion():
    """Not here: what a fixture sets for a while would be put back for good."""


@contextlib.contextmanager
def switched(name, value):
    if name not in jax.config.values:
        pytest.skip(f"this JAX has no {name}")
    before = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        yield
    finally:
        jax.config.update(name, before)


def loss(params, state, xs, lengths, resets):
    state, ys = rnnjax.unroll(MODEL, params, state, xs, lengths=lengths, resets=resets)
    return jnp.square(ys).sum(), (state[0].cell, ys)


def run(params):
    """The final state, the outputs and the gradient, by functions that are new to JAX."""
    key = jax.random.wrap_key_data(KEY, impl="threefry2x32")
    state = MODEL.initial_state(params, (B,), key=key)
    step = jax.jit(jax.value_and_grad(lambda *a: loss(*a), has_aux=True))
    (_, values), gradient = step(params, state, XS, LENGTHS, RESETS)
    return values, gradient


@pytest.fixture(scope="module")
def usual(params):
    return jax.device_get(run(params))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jax_check_tracer_leaks", True),
        ("jax_debug_infs", True),
        ("jax_debug_key_reuse", True),
        ("jax_debug_nans", True),
        ("jax_default_matmul_precision", "highest"),
        ("jax_disable_jit", True),
        ("jax_enable_checks", True),
        ("jax_enable_custom_prng", True),
        ("jax_explain_cache_misses", True),
        ("jax_legacy_prng_key", "error"),
        ("jax_log_compiles", True),
        ("jax_numpy_dtype_promotion", "standard"),
        ("jax_numpy_rank_promotion", "raise"),
        ("jax_random_seed_offset", 1),
        ("jax_softmax_custom_jvp", False),
        ("jax_use_direct_linearize", False),
    ],
)
def test_the_numbers_do_not_change(name, value, params, usual):
    with switched(name, value):
        assert_close(run(params), usual)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jax_default_matmul_precision", "bfloat16"),
        ("jax_default_prng_impl", "rbg"),
        ("jax_default_prng_impl", "unsafe_rbg"),
        ("jax_enable_x64", True),  # bits are drawn as float64, parameters stay what they are
        ("jax_threefry_partitionable", False),
    ],
)
def test_the_numbers_are_as_good(name, value, params):
    with switched(name, value):
        (state, ys), gradient = run(params)
    for leaf in jax.tree.leaves((state, ys, gradient)):
        assert leaf.dtype == jnp.float32
        assert np.isfinite(leaf).all()
        assert np.any(leaf)
    assert not np.any(ys[1:, 1])


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_parameters_and_noise_from_keys_of_other_kinds(impl):
    """A row draws what it draws alone, though these generators do not for a batch of keys."""
    with switched("jax_default_prng_impl", impl):
        params = MODEL.init(jax.random.key(0), D)
        state = MODEL.initial_state(params, (B,), key=jax.random.key(1))
    _, ys = rnnjax.unroll(MODEL, params, state, XS, resets=RESETS)
    one = jax.tree.map(lambda s: s[:1], state)
    assert_close(ys[:, :1], rnnjax.unroll(MODEL, params, one, XS[:, :1], resets=RESETS[:, :1])[1])


def test_nothing_is_copied_to_or_from_a_device_unasked(params):
    step = jax.jit(jax.grad(lambda *a: loss(*a)[0]))
    state = MODEL.initial_state(params, (B,))
    arguments = jax.device_put((params, state, XS, LENGTHS, RESETS))
    with jax.transfer_guard("disallow"):
        jax.block_until_ready(step(*arguments))


INNER = (
    rnnjax.layer_norm_lstm(3),
    rnnjax.gru(3),
    rnnjax.layer_norm_gru(3, reset="before"),
)


@pytest.mark.parametrize(
    ("cell", "x"),
    [
        *((cell, spec(name)) for name, (cell, _) in CELLS.items()),
        *((cell, 3) for cell in INNER),
        *((make(INNER[0]), 3) for make in TRANSFORMATIONS.values()),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_no_cell_promotes_ranks(cell, x, x64):
    """From init to the step of a batch, with noise; the rest `unroll` does for every cell."""

    def once(key, x):
        params = cell.init(key, x)
        state = cell.initial_state(params, (2, B), key=key)
        return cell.step(
            params, state, jax.tree.map(lambda x: jnp.ones((2, B, *x.shape), x.dtype), x)
        )

    with jax.numpy_rank_promotion("raise"):
        jax.eval_shape(once, jax.random.key(0), as_spec(x))


def test_no_pooling_promotes_ranks():
    ys, mask = np.ones((T, B, D), np.float32), np.ones((T, B), bool)
    with jax.numpy_rank_promotion("raise"):
        rnnjax.reverse_sequences(ys, LENGTHS)
        for pool in (rnnjax.last, rnnjax.mean_pool, rnnjax.max_pool):
            jax.eval_shape(lambda ys, pool=pool: pool(ys, mask=mask), ys)
            jax.eval_shape(lambda ys, pool=pool: pool(ys, lengths=LENGTHS), ys)
