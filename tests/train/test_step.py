"""A training step: what it hands on, what it skips, what it is told and gives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from symbols import (
    MODEL,
    NOISY,
    SGD,
    STILL,
    B,
    T,
    V,
    begin,
    close,
    copied,
    learnable,
    same,
    start,
    stepper,
    text,
)

import rnnjax
from rnnjax.tasks.language_model import next_symbol_loss
from rnnjax.train import (
    NonFiniteError,
    check_finite,
    cross_entropy,
    init_train_state,
    make_train_step,
    optimizer,
)


def poisoned(tx=None, value=jnp.nan):
    """A model whose gradient is NaN, or some other value, in params[1].w_h; and an optimizer."""

    @jax.custom_vjp
    def poison(h):
        return h

    poison.defvjp(lambda h: (h, None), lambda _, g: (jnp.full_like(g, value),))
    lstm = rnnjax.lstm(5)

    def step(params, state, x):
        # The gradient of w_h alone is poisoned; the others' stays finite.
        params = params._replace(w_h=poison(params.w_h))
        return lstm.step(params, state, x)

    cell = rnnjax.stack(
        rnnjax.embed(V, 4), dataclasses.replace(lstm, step=step, name="poisoned"), rnnjax.linear(V)
    )
    return cell, tx or optimizer("adam", 0.1)


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_non_finite_gradient_changes_nothing_and_is_counted(clip_norm):
    cell, tx = poisoned(optimizer("adam", 0.1, clip_norm))
    state, (xs, targets) = start(cell, tx), text(T)
    before = copied(state)
    state, metrics = stepper(cell, tx)(state, xs, targets)
    assert metrics.skipped
    assert jnp.isfinite(metrics.loss)
    assert not jnp.isfinite(metrics.grad_norm)
    assert same(state[:4], before[:4])  # params, opt_state, carried, key
    assert (int(state.step), int(state.skipped), int(state.in_row)) == (1, 1, 1)
    check_finite(state)


def test_a_run_of_them_stops_and_names_step_and_leaf():
    cell, tx = poisoned()
    state, (xs, targets) = start(cell, tx), text(T)
    before = copied(state.params)
    step = stepper(cell, tx, max_skips=3)
    for _ in range(5):  # it stays frozen, however late the loop looks
        state, metrics = step(state, xs, targets)
        assert metrics.skipped
    with pytest.raises(NonFiniteError, match=r"params\[1\]\.w_h is not finite at step 3, .* 3 "):
        check_finite(state, 3)
    assert same(state.params, before)


@pytest.mark.parametrize(
    ("tx", "culprit"),
    [
        (optax.adam(0.1), r"the optimizer's state\[0\]\.nu\[1\]\.w_h"),  # of squares
        (optax.sgd(1e20), r"the updated params\[1\]\.w_h"),
    ],
)
def test_a_finite_gradient_that_overflows_later_is_skipped(tx, culprit):
    cell, tx = poisoned(tx, 1e25)
    state, (xs, targets) = start(cell, tx), text(T)
    before = copied(state)
    state, metrics = stepper(cell, tx, max_skips=1)(state, xs, targets)
    assert metrics.skipped
    assert jnp.isfinite(metrics.loss)
    assert jnp.isfinite(metrics.grad_norm)
    assert same(state[:4], before[:4])
    assert (int(state.step), int(state.skipped), int(state.in_row)) == (1, 1, 1)
    with pytest.raises(NonFiniteError, match=f"^{culprit} is not finite at step 1, the last of 1 "):
        check_finite(state, 1)


@pytest.mark.parametrize(
    ("max_skips", "error"), [(0, ValueError), (-1, ValueError), (True, TypeError), (1.0, TypeError)]
)
def test_max_skips_that_will_not_do(max_skips, error):
    stepper(MODEL, SGD, max_skips=1)  # equal to True and 1.0, for a cache
    for check in (
        lambda: stepper(MODEL, SGD, max_skips=max_skips),
        lambda: check_finite(start(), max_skips),
    ):
        with pytest.raises(error, match="max_skips must be a positive int, got "):
            check()


def test_equal_arguments_give_the_step_that_is_compiled_already():
    equal = rnnjax.stack(rnnjax.embed(V, 4), rnnjax.lstm(5), rnnjax.linear(V))
    loss = next_symbol_loss(MODEL)
    assert next_symbol_loss(equal, restart_rate=0) is loss
    assert make_train_step(loss, SGD, max_skips=10) is make_train_step(loss, SGD)
    assert make_train_step(loss, STILL) is not make_train_step(loss, SGD)


def test_a_frozen_run_stays_frozen_when_gradients_are_finite_again():
    step, state = stepper(MODEL, SGD, max_skips=2), start()
    before = copied(state.params)
    state = state._replace(in_row=jnp.asarray(2, jnp.int32))
    state, metrics = step(state, *text(T))
    assert metrics.skipped
    assert same(state.params, before)


def test_a_good_step_ends_the_row():
    step, state = stepper(MODEL, SGD, max_skips=3), start()
    state = state._replace(in_row=jnp.asarray(2, jnp.int32), skipped=jnp.asarray(7, jnp.int32))
    state, metrics = step(state, *text(T))
    assert not metrics.skipped
    assert (int(state.in_row), int(state.skipped)) == (0, 7)


@pytest.mark.optimised
def test_two_runs_are_bitwise_equal():
    tx = optimizer("adam", 1e-2, 1.0)
    step = stepper(NOISY, tx, restart_rate=0.3)

    def run():
        state = start(NOISY, tx)
        for i in range(4):
            state, _ = step(state, *text(T, i))
        return state

    assert same(run(), run())


def test_one_trace_a_shape():
    traces = []

    def step_of(params, state, x):
        traces.append(None)
        return MODEL.step(params, state, x)

    cell = dataclasses.replace(MODEL, step=step_of)
    state, step = start(cell), stepper(cell, SGD)
    state, _ = step(state, *text(T))
    first = len(traces)
    for i in range(3):
        state, _ = step(state, *text(T, i))
    assert len(traces) == first


def test_no_buffer_is_shared_and_the_callers_survive():
    def lookahead_like(params):
        return params  # an optimizer whose state is the parameters

    tx = optax.GradientTransformation(lookahead_like, lambda g, s, p=None: (g, s))
    learnt = jnp.ones(V)
    cell = rnnjax.Cell(  # a learnable initial state: the parameter itself
        name="learnt",
        init=lambda key, x_spec: {"h": learnt},
        initial_state=lambda params, batch_shape=(), *, key=None: jnp.broadcast_to(
            params["h"], (*batch_shape, V)
        ),
        step=lambda params, h, x: (h, h),
        x_ndims=0,
    )
    params, key = cell.init(None, None), jax.random.key(0)
    state = begin(cell, params, tx, key)
    buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state[:3])]
    assert len(set(buffers)) == len(buffers)
    stepper(cell, tx)(state, *text(T))
    assert not params["h"].is_deleted()
    jax.random.split(key)


@pytest.mark.usefixtures("x64")
def test_float64_stays_float64():
    tx = optimizer("adam", 1e-2, 1.0)
    state = start(tx=tx)
    dtypes = jax.tree.map(lambda leaf: leaf.dtype, state)
    state, metrics = stepper(MODEL, tx)(state, *text(T))
    assert jax.tree.map(lambda leaf: leaf.dtype, state) == dtypes
    assert metrics.loss.dtype == metrics.grad_norm.dtype == jnp.float64


def test_a_loss_that_is_not_finite_is_named_and_carries_nothing_on():
    cell = learnable()
    state = begin(cell, cell.init(None, None), optax.sgd(1.0), jax.random.key(0))
    step = stepper(cell, optax.sgd(1.0), max_skips=1)
    before = copied(state[:4])
    xs, targets = text(T)
    state, metrics = step(state, xs, targets.at[0, 0].set(V))
    assert jnp.isnan(metrics.loss)
    assert metrics.grad_norm == 0  # the initial state is constant here: only the loss tells
    assert same(state[:4], before)
    with pytest.raises(NonFiniteError, match="the loss is not finite at step 1, the last of 1 "):
        check_finite(state, 1)


@pytest.mark.parametrize(
    "tx",
    [
        optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(accumulation_size=2)),
        optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(3)),
    ],
    ids=["plateau", "line search"],
)
def test_an_optimizer_that_wants_the_loss_gets_it(tx):
    """What it keeps infinite, as the first one its best loss at first, is no broken step."""
    bigram, (xs, targets) = rnnjax.embed(V, V), text(T)
    state, step = start(bigram, tx), stepper(bigram, tx, loss="sum")
    params, opt_state = copied((state.params, state.opt_state))
    broken, _ = step(copied(state), xs, targets.at[0, 0].set(V))
    assert int(broken.skipped) == 1
    assert same(broken[:2], (params, opt_state))

    def loss(params):
        return cross_entropy(params.table[xs], targets).total / B

    @jax.jit
    def by_hand(params, opt_state):
        value, grads = jax.value_and_grad(loss)(params)
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = tx.update(
                grads, opt_state, params, value=value, grad=grads, value_fn=loss
            )
        return optax.apply_updates(params, updates), opt_state

    for _ in range(3):
        state, metrics = step(state, xs, targets)
        params, opt_state = by_hand(params, opt_state)
        assert not metrics.skipped
    close((state.params, state.opt_state), (params, opt_state))


# --- any loss ------------------------------------------------------------------------------------


@jax.custom_vjp
def planted(w, value, gradient):
    """A value and a gradient of the test's choice."""
    return value


planted.defvjp(lambda w, value, gradient: (value, gradient), lambda g, _: (g, None, None))


def counting(w, carried, batch, key):
    """A loss that hands on how many batches it saw, if it was given a count."""
    value, gradient = batch
    carried = jax.tree.map(lambda count: count + 1, carried)
    return planted(w, value, gradient), (carried, {"double": 2 * value})


CLIPPED = optimizer("sgd", 1.0, clip_norm=1.0)


@pytest.mark.parametrize("carried", [(), jnp.zeros((), jnp.int32)], ids=["nothing", "count"])
@pytest.mark.parametrize(
    ("value", "gradient", "dtype"),
    [
        (1.0, 3.0, "float32"),
        (1.0, 1e20, "float32"),
        (1.0, 300.0, "float16"),
        (1.0, 0.0, "float32"),
        (1.0, np.nan, "float32"),
        (1.0, np.inf, "float32"),
        (np.nan, 3.0, "float32"),
        (np.inf, 3.0, "float32"),
    ],
)
def test_what_is_planted_in_a_loss_or_its_gradient(carried, value, gradient, dtype):
    state = init_train_state(jnp.zeros(4, dtype), CLIPPED, jax.random.key(0), carried)
    batch = jnp.float32(value), jnp.full(4, gradient, dtype)
    state, metrics = make_train_step(counting, CLIPPED)(state, batch)
    good = bool(np.isfinite(value) and np.isfinite(gradient))
    assert bool(metrics.skipped) is not good
    # Clipped to a norm of 1: four equal entries of a half each.
    want = -0.5 if good and gradient else 0.0
    np.testing.assert_allclose(state.params, np.full(4, want, dtype), rtol=1e-3)
    assert jax.tree.leaves(state.carried) == ([int(good)] if jax.tree.leaves(carried) else [])
    np.testing.assert_array_equal(metrics.more["double"], np.float32(2 * value))
    if np.isfinite(gradient):
        np.testing.assert_allclose(metrics.grad_norm, 2 * gradient, rtol=1e-3)


def test_every_step_has_a_key_of_its_own_that_follows_from_the_runs():
    def loss(w, carried, batch, key):
        return w.sum(), ((), {"drawn": jax.random.uniform(key)})

    step, tx = make_train_step(loss, STILL), STILL
    state = init_train_state(jnp.zeros(2), tx, jax.random.key(7))
    drawn = []
    for k in range(3):
        state, metrics = step(state, ())
        drawn.append(float(metrics.more["drawn"]))
        key = jax.random.fold_in(jax.random.key(7), k + 1)
        assert drawn[-1] == float(jax.random.uniform(key))
    assert len(set(drawn)) == 3


def test_a_big_batch_is_the_mean_of_small_ones_and_a_skipped_one_adds_nothing():
    def loss(w, carried, batch, key):
        return jnp.square(batch @ w).mean(), ((), {})

    rows = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    several, once = optax.MultiSteps(optax.sgd(0.1), 3), optax.sgd(0.1)
    small = init_train_state(jnp.ones(3), several, jax.random.key(0))
    step = make_train_step(loss, several)
    for batch in (rows[:2], np.full((2, 3), np.nan, np.float32), rows[2:4], rows[4:]):
        small, _ = step(small, batch)
    big = init_train_state(jnp.ones(3), once, jax.random.key(0))
    big, _ = make_train_step(loss, once)(big, rows)
    assert (int(small.step), int(small.skipped)) == (4, 1)
    close(small.params, big.params, 1e-6)
    assert abs(float(big.params[0]) - 1) > 1e-3


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda w: w.sum(), r"loss must return \(value, \(carried, metrics\)\), got "),
        (lambda w: (w.sum(), ()), r"loss must return \(value, \(carried, metrics\)\), got "),
        (lambda w: (w, (0.0, {})), r"the value of a loss must be a scalar, got shape \[2\]"),
        (lambda w: (w.sum(), (0.0, {"a": w})), r"the metric a of a loss must be a scalar"),
        (lambda w: (w.sum(), (w, {})), r"carried must keep its form: it was float32\[\], and"),
        (lambda w: (w.sum(), ((), {})), r"carried must keep its form: it was float32\[\], and"),
    ],
)
def test_a_loss_of_another_form(returned, message):
    step = make_train_step(lambda w, carried, batch, key: returned(w), SGD)
    state = init_train_state(jnp.zeros(2), SGD, jax.random.key(0), jnp.zeros(()))
    with pytest.raises(TypeError, match=message):
        step(state, ())
