"""Truncated back-propagation: BPTT(k1, k2) against plain autodiff, and its memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.train import truncated

T = 7
KEY = jax.random.key(0)


def problem():
    """Parameters, a state and a batch with a reset in it, in NumPy float64."""
    rng = np.random.default_rng(0)
    params = {"a": rng.normal(size=(2, 2)), "b": rng.normal(size=2)}
    resets = np.zeros(T, bool)
    resets[4] = True
    batch = {"xs": rng.normal(size=(T, 2)), "resets": resets}
    return params, rng.normal(size=2), batch


def states(params, state, batch):
    def step(state, now):
        state = jnp.where(now["resets"], jnp.zeros_like(state), state)
        state = jnp.tanh(state @ params["a"] + now["xs"] * params["b"])
        return state, state

    return jax.lax.scan(step, state, batch)


def loss(params, state, batch, key):
    state, each = states(params, state, batch)
    return jnp.square(each).mean(), (state, {"first": each[0, 0], "steps": jnp.array(len(each))})


@jax.jit
def by_hand(params, state, batch, starts, begins, ends, shares):
    """The windows begin to end, whose gradients go back to the starts: autodiff and a cut."""

    def window(params, start, begin, end, share):
        def step(state, now):
            t, now = now
            state = jnp.where(t == start, jax.lax.stop_gradient(state), state)
            return states(params, state, jax.tree.map(lambda x: x[None], now))[0], state

        last, before = jax.lax.scan(step, state, (jnp.arange(T), batch))
        after = jnp.concatenate([before[1:], last[None]])
        counted = (jnp.arange(T) >= begin) & (jnp.arange(T) < end)
        squares = jnp.where(counted, jnp.square(after).mean(axis=1), 0).sum()
        return share * squares / (end - begin).astype(float)

    def total(params):
        return jax.vmap(window, (None, 0, 0, 0, 0))(params, starts, begins, ends, shares).sum()

    return jax.value_and_grad(total)(params)


def wanted(k1, k2, summed=False):
    """Value and gradient by hand, for windows that are padded to as many as T."""
    begins = np.arange(0, T, k1)
    ends = np.minimum(begins + k1, T)
    starts = np.maximum(begins - (k2 - k1), 0)
    shares = np.ones(len(begins)) if summed else (ends - begins) / T
    padded = [
        np.pad(x, (0, T - len(begins)), constant_values=fill)
        for x, fill in ((starts, 0), (begins, 0), (ends, 1), (shares, 0))
    ]
    return by_hand(*problem(), *padded)


def got(k1, k2, **options):
    f = truncated(loss, k1, k2, **options)
    return jax.jit(jax.value_and_grad(f, has_aux=True))(*problem(), KEY)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("k1", "k2"),
    [(1, 1), (1, 3), (2, 2), (2, 3), (2, 5), (2, 6), (3, 7), (3, 3), (5, 6), (7, 7), (9, 30)],
)
def test_equals_autodiff_with_cuts(k1, k2):
    params, state, batch = problem()
    value, gradient = wanted(min(k1, T), k2)
    (mean, (carried, metrics)), gradients = got(k1, k2)
    np.testing.assert_allclose(mean, value, rtol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), gradients, gradient)
    final, each = states(params, state, batch)
    np.testing.assert_allclose(carried, final, rtol=1e-12)
    begins = np.arange(0, T, k1)
    steps = np.minimum(k1, T - begins)
    np.testing.assert_allclose(
        metrics["first"], np.asarray(each)[begins, 0] @ steps / T, rtol=1e-12
    )
    np.testing.assert_allclose(metrics["steps"], steps @ steps / T, rtol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("k1", "k2"), [(2, 7), (3, 8), (7, 7)])
def test_is_full_back_propagation_when_it_covers_all(k1, k2):
    full, gradient = wanted(T, T)
    (value, _), gradients = got(k1, k2)
    np.testing.assert_allclose(value, full, rtol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), gradients, gradient)
    _, cut = wanted(k1, k1)
    assert k1 == T or not np.allclose(cut["a"], gradient["a"], rtol=1e-3)


@pytest.mark.usefixtures("x64")
def test_a_sum_of_windows():
    value, gradient = wanted(3, 4, summed=True)
    (total, (_, metrics)), gradients = got(3, 4, reduce="sum")
    np.testing.assert_allclose(total, value, rtol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), gradients, gradient)
    np.testing.assert_allclose(metrics["steps"], (9 + 9 + 1) / T)  # a mean in either case


def test_without_a_gradient_it_is_the_same():
    f = truncated(loss, 2, 3)
    params, state, batch = jax.tree.map(jnp.asarray, problem())
    value, (carried, metrics) = jax.jit(f)(params, state, batch, KEY)
    (mean, (final, other)), _ = jax.jit(jax.value_and_grad(f, has_aux=True))(
        params, state, batch, KEY
    )
    for a, b in ((value, mean), (carried, final), (metrics["first"], other["first"])):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_gradients_reach_params_alone_and_are_scaled():
    params, state, batch = jax.tree.map(jnp.asarray, problem())

    @jax.jit
    def run(params, state, xs):
        def scaled(params, state, xs):
            value, (carried, metrics) = truncated(loss, 3)(params, state, {**batch, "xs": xs}, KEY)
            return 3 * value + carried.sum() + metrics["first"]

        return jax.grad(scaled, (0, 1, 2))(params, state, xs)

    of_params, of_state, of_xs = run(params, state, batch["xs"])
    (_, _), once = got(3, 3)
    np.testing.assert_allclose(of_params["a"], 3 * once["a"], rtol=1e-5)
    assert not of_state.any()
    assert not of_xs.any()


def test_noise_is_of_the_window():
    """What runs again before a window has the noise it had: with another, the value differs."""

    def noisy(scale, state, xs, key):
        def step(state, now):
            x, noise = now
            state = jnp.tanh(state + scale * noise + x)
            return state, state

        state, each = jax.lax.scan(step, state, (xs, jax.random.normal(key, (len(xs),))))
        return jnp.square(each).mean(), (state, {})

    given = jnp.ones(()), jnp.zeros(()), jnp.linspace(-1, 1, 8)
    one, twice, none = (jax.jit(truncated(noisy, 2, back))(*given, KEY)[0] for back in (None, 6, 3))
    np.testing.assert_allclose(one, twice, rtol=1e-6)
    assert abs(one - none) > 1e-4
    state, values = given[1], []
    for window in range(4):
        xs = given[2][2 * window : 2 * window + 2]
        value, (state, _) = noisy(given[0], state, xs, jax.random.fold_in(KEY, window))
        values.append(float(value))
    np.testing.assert_allclose(one, np.mean(values), rtol=1e-6)
    assert jax.jit(truncated(noisy, 2))(*given, jax.random.key(1))[0] != one


def test_axes_of_time():
    """Batch-major inputs, and a leaf without time that every window is given."""

    def shifted(params, state, batch, key):
        xs, offset = batch
        state, each = jax.lax.scan(
            lambda s, x: (jnp.tanh(params * s + x),) * 2, state, xs.T + offset
        )
        return each.mean(), (state, {})

    xs = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    offset = np.arange(3, dtype=np.float32)
    run = jax.jit(truncated(shifted, 2, time_axes=(1, None)))
    value, (state, _) = run(0.5, np.zeros(3, "f4"), (xs, offset), KEY)
    want, (final, _) = shifted(0.5, jnp.zeros(3), (xs, offset), KEY)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    np.testing.assert_allclose(state, final, rtol=1e-5)


def test_many_small_gradients_are_summed_in_float32():
    def each(w, state, xs, key):
        return (w * xs).mean(), (state, {})

    f = truncated(each, 1, reduce="sum")
    xs = jnp.full(3000, 0.01, jnp.bfloat16)
    gradient = jax.jit(jax.grad(lambda w: f(w, (), xs, KEY)[0]))(jnp.ones((), jnp.bfloat16))
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(gradient.astype(float), 3000 * xs[0].astype(float), rtol=1e-2)


def test_equal_arguments_give_equal_losses():
    assert truncated(loss, 2) == truncated(loss, 2, 2)
    assert hash(truncated(loss, 2, time_axes={"xs": 0})) == hash(
        truncated(loss, 2, 2, time_axes={"xs": 0})
    )
    assert truncated(loss, 2) != truncated(loss, 2, reduce="sum")


@pytest.mark.optimised
def test_memory_does_not_grow_with_time_beyond_the_batch():
    params, _, _ = jax.tree.map(jnp.float32, problem())

    def temporaries(steps, f):
        batch = {"xs": np.zeros((steps, 64, 2), "f4"), "resets": np.zeros(steps, bool)}
        gradient = jax.jit(jax.value_and_grad(lambda *given: f(*given)[0]))
        compiled = gradient.lower(params, np.zeros((64, 2), "f4"), batch, KEY).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    batch = (8000 - 2000) * 64 * 2 * 4
    for f in (truncated(loss, 50), truncated(loss, 50, 100)):
        assert temporaries(8000, f) - temporaries(2000, f) < batch
    assert temporaries(8000, loss) - temporaries(2000, loss) > 2 * batch  # through all of time


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: truncated(loss, 0), ValueError, "window must be a positive int, got 0"),
        (lambda: truncated(loss, 4, 3), ValueError, "back must be at least window = 4, got 3"),
        (lambda: truncated(loss, 4, 4.0), TypeError, "back must be a positive int"),
        (lambda: truncated(None, 4), TypeError, "loss must be a function"),
        (lambda: truncated(loss, 4, reduce="max"), ValueError, "reduce must be one of mean, sum"),
    ],
)
def test_arguments_that_will_not_do(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_batches_that_will_not_do():
    params, state, batch = problem()
    run = functools.partial(truncated(loss, 2), params, state)
    with pytest.raises(ValueError, match=r"as many steps: batch\['resets'\] has 5, .* has 7"):
        run({**batch, "resets": np.zeros(5, bool)}, KEY)
    with pytest.raises(ValueError, match=r"batch\['fresh'\] has shape \[\], without an axis 0"):
        run({**batch, "fresh": np.bool_(True)}, KEY)
    with pytest.raises(ValueError, match="at least one leaf with steps"):
        run(jax.tree.map(lambda x: x[:0], batch), KEY)
    with pytest.raises(ValueError, match="at least one leaf with steps, got none"):
        truncated(loss, 2, time_axes=None)(params, state, batch, KEY)
    with pytest.raises(ValueError, match=r"time_axes has the tree .* no prefix of the batch's"):
        truncated(loss, 2, time_axes=(0, 0))(params, state, batch, KEY)
    with pytest.raises(ValueError, match="time_axes must be an int of at least 0, got -1"):
        truncated(loss, 2, time_axes=-1)(params, state, batch, KEY)

    def changed(params, state, batch, key):
        return jnp.ones(()), (state[:1], {})

    with pytest.raises(ValueError, match=r"carried as it came: float32\[2\], got float32\[1\]"):
        truncated(changed, 2)(params, state, batch, KEY)
