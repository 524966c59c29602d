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

import rnnjax
from rnnjax.train import clip_by_global_norm, global_norm, optimizer, schedule

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
    "adadelta": optax.adadelta,
    "lion": optax.lion,
    "adafactor": optax.adafactor,
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
    for name in ("lamb", ["adam"], None):  # a list has no hash
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


# --- weight decay, accumulation, plateaus --------------------------------------------------------


def run(tx, params, grads, values=None):
    """The parameters after every update, as a training step takes it."""
    state, seen = tx.init(params), []
    update = jax.jit(optax.with_extra_args_support(tx).update)
    with jax.numpy_dtype_promotion("standard"):  # as a step does
        for n, grad in enumerate(grads):
            extra = {} if values is None else {"value": jnp.float32(values[n])}
            updates, state = update(grad, state, params, **extra)
            params = optax.apply_updates(params, updates)
            seen.append(params)
    return seen


def problem(count, dtype=np.float32):
    """Parameters of a GRU, and gradients."""
    rng = np.random.default_rng(0)
    shapes = {"w_x": (2, 9), "w_h": (3, 9), "b": (9,), "b_n": (3,)}
    params, *grads = (
        rnnjax.GRUParams(**{k: jnp.asarray(rng.normal(size=n), dtype) for k, n in shapes.items()})
        for _ in range(count + 1)
    )
    return params, grads


def same(a, b, rtol=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), a, b)


@pytest.mark.parametrize("name", ["adamw", "lion"])
@pytest.mark.parametrize("weight_decay", [None, 0.3])
def test_weight_decay_is_optax_with_a_mask(name, weight_decay):
    params, grads = problem(3)
    rate = optax.linear_schedule(0.1, 0.0, 5)
    given = {} if weight_decay is None else {"weight_decay": weight_decay}
    theirs = PEERS[name](rate, mask=rnnjax.decays, **given)
    same(
        run(optimizer(name, rate, weight_decay=weight_decay), params, grads)[-1],
        run(theirs, params, grads)[-1],
    )


@pytest.mark.parametrize("name", PEERS)
def test_weight_decay_is_decoupled_for_all(name):
    """θ' = θ - η (direction + λ m ⊙ θ), whatever finds the direction."""
    params, grads = problem(1)
    (plain,), (decayed,) = (
        run(optimizer(name, 0.1, weight_decay=decay), params, grads) for decay in (0, 0.5)
    )
    for field in ("w_x", "w_h"):
        want = getattr(plain, field) - 0.1 * 0.5 * getattr(params, field)
        np.testing.assert_allclose(getattr(decayed, field), want, atol=1e-6)
    np.testing.assert_allclose(decayed.b, plain.b, atol=1e-7)
    np.testing.assert_allclose(decayed.b_n, plain.b_n, atol=1e-7)


def test_what_decays_is_chosen():
    params, grads = problem(1)
    nothing = jax.tree.map(jnp.zeros_like, grads)
    mask = rnnjax.GRUParams(w_x=False, w_h=False, b=True, b_n=False)
    for chosen in (mask, lambda params: mask):
        tx = optimizer("sgd", 0.1, weight_decay=1.0, decay_mask=chosen)
        (got,) = run(tx, params, nothing)
        same(got, params._replace(b=0.9 * params.b))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_accumulated_steps_are_one_of_their_mean(name):
    """Clipped as a whole: the norm is that of the mean."""
    params, grads = problem(6, np.float64)
    means = [jax.tree.map(lambda *g: sum(g) / 3, *grads[first : first + 3]) for first in (0, 3)]
    rate = optax.linear_schedule(0.1, 0.0, 3)  # over updates
    got = run(optimizer(name, rate, 0.5, weight_decay=0.1, accumulate=3), params, grads)
    want = run(optimizer(name, rate, 0.5, weight_decay=0.1), params, means)
    same([got[2], got[5]], want, rtol=1e-12)
    for before, after in ((params, got[0]), (params, got[1]), (got[2], got[4])):
        same(before, after, rtol=0)


def test_a_step_that_is_skipped_adds_nothing():
    """As training skips it: the optimizer's state stays what it was."""
    params, grads = problem(2)
    tx = optimizer("sgd", 0.1, accumulate=2)
    with jax.numpy_dtype_promotion("standard"):
        _, state = tx.update(grads[0], tx.init(params), params)
        tx.update(jax.tree.map(lambda g: g * jnp.nan, grads[0]), state, params)  # and forgotten
        updates, _ = tx.update(grads[1], state, params)
    want = jax.tree.map(lambda a, b: -0.1 * (a + b) / 2, *grads)
    same(updates, want)


def test_accumulation_in_half_precision_is_in_float32():
    grad = {"w": jnp.full(2, 1.0, jnp.bfloat16)}
    grads = [grad, *[{"w": jnp.full(2, 2**-9, jnp.bfloat16)}] * 15]
    got = run(optimizer("sgd", 1.0, accumulate=16), {"w": jnp.zeros(2, jnp.bfloat16)}, grads)[-1]
    assert got["w"].dtype == jnp.bfloat16
    np.testing.assert_allclose(got["w"].astype(np.float32), -(1 + 15 / 512) / 16, rtol=2**-8)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_plateau_is_seen_in_the_loss_of_every_step(accumulate):
    """The means of two fall, and then stop: what every second step shows alone does not."""
    plateau = {"factor": 0.5, "patience": 1, "accumulation_size": 2}
    params, grads = {"w": jnp.zeros(1)}, [{"w": jnp.ones(1)}] * 8
    values = [9, 1, 7, 1, 7, 1, 5, 1]
    tx = optimizer("sgd", 1.0, plateau=plateau, accumulate=accumulate)
    w = np.array([0, *(params["w"][0] for params in run(tx, params, grads, values))])
    scales = [1, 1, 1, 1, 1, 0.5, 0.5, 0.5]
    if accumulate == 2:
        scales = [0, 1, 0, 1, 0, 0.5, 0, 0.5]
    np.testing.assert_allclose(-np.diff(w), scales)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"weight_decay": -0.1}, ValueError, "weight_decay must be a number, at least 0 and fin"),
        ({"weight_decay": "0.1"}, TypeError, "weight_decay must be a number, at least 0 and fin"),
        ({"accumulate": 0}, ValueError, "accumulate must be a positive int, got 0"),
        ({"accumulate": 2.0}, TypeError, "accumulate must be a positive int"),
        ({"plateau": {"factor": 2.0}}, ValueError, "Factor must be in the range"),
        ({"plateau": {"wait": 2}}, TypeError, "wait"),
    ],
)
def test_options_that_will_not_do(options, error, message):
    with pytest.raises(error, match=message):
        optimizer("sgd", 0.1, **options)


# --- schedules -----------------------------------------------------------------------------------


def rates(f, counts):
    with jax.numpy_dtype_promotion("standard"):
        return np.asarray(jax.jit(jax.vmap(f))(jnp.asarray(counts)))


def test_cosine_is_that_of_optax():
    """Bit for bit, as the runs of earlier versions had it."""
    counts = np.arange(120)
    ours = schedule("cosine", 4e-3, 100, warmup=10, end=4e-4)
    theirs = optax.warmup_cosine_decay_schedule(0.0, 4e-3, 10, 100, 4e-4)
    np.testing.assert_array_equal(rates(ours, counts), rates(theirs, counts))
    held = rates(schedule("cosine", 1.0, 20, warmup=4, hold=6, end=0.5), np.arange(25))
    np.testing.assert_allclose(held[:5], np.arange(5) / 4)
    assert (held[4:11] == 1).all()
    np.testing.assert_allclose(held[[15, 20, 24]], [0.75, 0.5, 0.5], rtol=1e-6)


def test_halving_is_zarembas():
    """Four passes of 7 steps at the peak, then half as much each pass."""
    counts = np.arange(70)
    ours = schedule("halving", 0.8, 70, hold=4 * 7, every=7)
    want = 0.8 * 0.5 ** np.maximum(0, counts // 7 + 1 - 4)
    np.testing.assert_allclose(rates(ours, counts), want, rtol=1e-6)
    least = schedule("halving", 0.8, 70, hold=4 * 7, every=7, end=0.1)
    np.testing.assert_allclose(rates(least, counts), np.maximum(want, 0.1), rtol=1e-6)


def test_constant_and_linear():
    counts = np.arange(9)
    np.testing.assert_allclose(rates(schedule("constant", 2.0, 8), counts), 2)
    np.testing.assert_allclose(
        rates(schedule("constant", 2.0, 8, warmup=4), counts), np.minimum(counts / 2, 2)
    )
    np.testing.assert_allclose(
        rates(schedule("linear", 2.0, 8, end=1.0), counts), 2 - counts / 8, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("given", "options", "error", "message"),
    [
        (("step", 1.0, 9), {}, ValueError, "schedule must be one of constant, linear, cosine, ha"),
        (("linear", 0.0, 9), {}, ValueError, "peak must be a positive number, got 0"),
        (("linear", "1", 9), {}, TypeError, "peak must be a positive number, got '1'"),
        (("linear", 1.0, 0), {}, ValueError, "steps must be a positive int, got 0"),
        (("linear", 1.0, 9), {"end": 2.0}, ValueError, "end must be a number from 0 to peak"),
        (
            ("cosine", 1.0, 9),
            {"warmup": 4, "hold": 5},
            ValueError,
            r"less than steps = 9, got 4 \+ 5",
        ),
        (("cosine", 1.0, 9), {"warmup": -1}, ValueError, "warmup must be an int of at least 0"),
        (("halving", 1.0, 9), {}, ValueError, "every is for halving, which needs it"),
        (("halving", 1.0, 9), {"every": 0}, ValueError, "every must be a positive int"),
        (("linear", 1.0, 9), {"every": 2}, ValueError, "every is for halving"),
    ],
)
def test_schedules_that_will_not_do(given, options, error, message):
    with pytest.raises(error, match=message):
        schedule(*given, **options)
