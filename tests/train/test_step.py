"""Truncated back-propagation: what is carried, what is cut, what is skipped."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnnjax
from rnnjax.train import (
    NonFiniteError,
    check_finite,
    cross_entropy,
    init_train_state,
    make_train_step,
    optimizer,
)

V, T, B = 6, 8, 3
MODEL = rnnjax.stack(rnnjax.embed(V, 4), rnnjax.lstm(5), rnnjax.linear(V))
NOISY = rnnjax.stack(rnnjax.embed(V, 4), rnnjax.dropout(0.5), rnnjax.gru(5), rnnjax.linear(V))


SGD, STILL = optax.sgd(1.0), optax.sgd(0.0)
stepper = make_train_step  # each compiles once


def start(cell=MODEL, tx=None, seed=0):
    params = cell.init(jax.random.key(seed), jax.ShapeDtypeStruct((), int))
    return init_train_state(cell, params, tx or SGD, B, jax.random.key(seed + 1))


def text(length, seed=0):
    symbols = np.random.default_rng(seed).integers(0, V, (length + 1, B), np.int32)
    return jnp.asarray(symbols[:-1]), jnp.asarray(symbols[1:])


def copied(tree):
    return jax.tree.map(jnp.copy, tree)


def same(a, b):
    """Bitwise, keys included."""

    def data(leaf):
        return jax.random.key_data(leaf) if rnnjax._noise.is_key(leaf) else leaf

    return all(
        np.array_equal(data(x), data(y), equal_nan=True)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def close(a, b, tol=1e-5):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, atol=tol, rtol=tol)


def gradient(params, state, xs, targets, **kwargs):
    def loss(params):
        carried, logits = rnnjax.unroll(MODEL, params, state, xs, **kwargs)
        return cross_entropy(logits, targets, kwargs.get("mask")).mean, carried

    return jax.value_and_grad(loss, has_aux=True)(params)


def test_one_window_is_full_back_propagation():
    state, (xs, targets) = start(), text(2 * T)
    params, carried = copied((state.params, state.carried))

    def loop(params):  # neither unroll nor a loss of ours
        state, nats = carried, 0.0
        for x, target in zip(xs, targets, strict=True):
            state, logits = MODEL.step(params, state, x)
            nats -= jax.nn.log_softmax(logits)[jnp.arange(B), target].sum()
        return nats / targets.size, state

    (loss, after), grads = jax.jit(jax.value_and_grad(loop, has_aux=True))(params)
    state, metrics = stepper(MODEL, SGD)(state, xs, targets)
    np.testing.assert_allclose(metrics.loss, loss, rtol=1e-6)
    np.testing.assert_allclose(metrics.grad_norm, optax.tree.norm(grads), rtol=1e-5)
    close(state.params, jax.tree.map(jnp.subtract, params, grads))
    close(state.carried, after)


def test_state_is_carried_and_no_gradient_crosses_the_cut():
    xs, targets = text(2 * T)
    state, step = start(tx=STILL), stepper(MODEL, STILL)
    params, carried = copied((state.params, state.carried))
    for cut in (slice(0, T), slice(T, 2 * T)):
        state, metrics = step(state, xs[cut], targets[cut])
    # The values are those of one long run ...
    after, logits = rnnjax.unroll(MODEL, params, carried, xs)
    close(state.carried, after)
    np.testing.assert_allclose(metrics.loss, cross_entropy(logits[T:], targets[T:]).mean, rtol=1e-5)
    # ... the gradient is that of the second window from a constant state, not that of the whole.
    middle, _ = rnnjax.unroll(MODEL, params, carried, xs[:T])
    _, cut = gradient(params, middle, xs[T:], targets[T:])

    def through(params):
        _, logits = rnnjax.unroll(MODEL, params, carried, xs)
        return cross_entropy(logits[T:], targets[T:]).mean

    whole = jax.grad(through)(params)
    np.testing.assert_allclose(metrics.grad_norm, optax.tree.norm(cut), rtol=1e-5)
    assert abs(float(metrics.grad_norm) - float(optax.tree.norm(whole))) > 1e-4


def test_resets_and_mask_reach_the_model():
    xs, targets = text(T)
    resets = jnp.zeros((T, B), bool).at[3, 1].set(True)
    mask = jnp.arange(T)[:, None] < jnp.array([T, 5, 0])
    step, state = stepper(MODEL, SGD), start()
    state, _ = step(state, xs, targets)  # away from the initial state
    params, carried = copied((state.params, state.carried))
    (loss, after), grads = gradient(params, carried, xs, targets, mask=mask, resets=resets)
    state, metrics = step(state, xs, targets, mask, resets)
    np.testing.assert_allclose(metrics.loss, loss, rtol=1e-6)
    close(state.params, jax.tree.map(jnp.subtract, params, grads))
    close(state.carried, after)
    close([leaf[2] for leaf in jax.tree.leaves(after)], [x[2] for x in jax.tree.leaves(carried)])


def test_padding_never_matters_to_a_step():
    xs, targets = text(T)
    mask = jnp.arange(T)[:, None] < jnp.array([T, 5, 0])
    step = stepper(MODEL, SGD)
    want = step(start(), xs, targets, mask)
    got = step(start(), jnp.where(mask, xs, -7), jnp.where(mask, targets, V + 3), mask)
    assert same(got, want)


def test_a_window_of_padding_changes_no_parameter():
    xs, targets = text(T)
    state = start()
    before = copied(state.params)
    state, metrics = stepper(MODEL, SGD)(state, xs, targets, jnp.zeros((T, B), bool))
    assert metrics.loss == metrics.grad_norm == 0
    assert not metrics.skipped
    assert same(state.params, before)


def test_dropout_is_fresh_each_window_and_the_same_for_the_same_key():
    xs, targets = text(T)
    step = stepper(NOISY, STILL)

    def losses(seed):
        state, found = start(NOISY, STILL, seed), []
        for _ in range(3):
            carried = NOISY.initial_state(state.params, (B,), key=state.key)
            state, metrics = step(copied(state._replace(carried=carried)), xs, targets)
            found.append(float(metrics.loss))
        return found

    first = losses(0)
    assert first == losses(0)
    assert len(set(first)) == 3  # nothing differs between the windows but the masks


def test_restart_rate_starts_rows_afresh():
    xs, targets = text(T)
    tx = STILL
    state, _ = stepper(MODEL, tx)(start(tx=tx), xs, targets)
    params = copied(state.params)
    always = stepper(MODEL, tx, restart_rate=1.0)
    state, metrics = always(state, xs, targets)
    (loss, after), _ = gradient(params, None, xs, targets)
    np.testing.assert_allclose(metrics.loss, loss, rtol=1e-6)
    close(state.carried, after)


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
    make_train_step(MODEL, SGD, max_skips=1)  # equal to True and 1.0, for a cache
    for check in (
        lambda: make_train_step(MODEL, SGD, max_skips=max_skips),
        lambda: check_finite(start(), max_skips),
    ):
        with pytest.raises(error, match="max_skips must be a positive int, got "):
            check()


@pytest.mark.parametrize(
    ("rate", "error"),
    [(-0.1, ValueError), (1.5, ValueError), (jnp.nan, ValueError), (True, TypeError)],
)
def test_a_restart_rate_that_will_not_do(rate, error):
    with pytest.raises(error, match=r"restart_rate must be a number in \[0, 1\], got "):
        make_train_step(MODEL, SGD, restart_rate=rate)


def test_equal_arguments_give_the_step_that_is_compiled_already():
    equal = rnnjax.stack(rnnjax.embed(V, 4), rnnjax.lstm(5), rnnjax.linear(V))
    assert make_train_step(equal, SGD, restart_rate=0) is make_train_step(MODEL, SGD, max_skips=10)
    assert make_train_step(MODEL, STILL) is not make_train_step(MODEL, SGD)


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


def test_a_symbol_outside_the_vocabulary_is_skipped_not_learnt_from():
    step, state = stepper(MODEL, SGD), start()
    before = copied(state.params)
    xs, targets = text(T)
    state, metrics = step(state, xs.at[2, 1].set(V), targets)
    assert metrics.skipped
    assert same(state.params, before)


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
    state = init_train_state(cell, params, tx, B, key)
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


def test_learning_happens():
    tx = optimizer("adam", 2e-2, 1.0)
    state, step = start(tx=tx), stepper(MODEL, tx)
    xs = jnp.asarray(np.arange(T)[:, None] % V + np.zeros(B, int), jnp.int32)
    losses = []
    for _ in range(60):
        state, metrics = step(state, xs, (xs + 1) % V)
        losses.append(float(metrics.loss))
    assert losses[-1] < 0.2 < 1.5 < losses[0]


def test_two_windows_train_on_two_truncated_gradients():
    xs, targets = text(2 * T)
    state, step = start(), make_train_step(MODEL, optax.sgd(1.0))
    params, carried = whole, first = copied((state.params, state.carried))
    for cut in (slice(0, T), slice(T, 2 * T)):
        state, _ = step(state, xs[cut], targets[cut])
        (_, carried), grads = gradient(params, carried, xs[cut], targets[cut])
        params = jax.tree.map(jnp.subtract, params, grads)
    close(state.params, params)
    _, grads = gradient(whole, first, xs, targets)
    full = jax.tree.map(lambda p, g: p - 2 * g, whole, grads)  # the mean is over twice the steps
    assert float(optax.tree.norm(jax.tree.map(jnp.subtract, full, params))) > 1e-2


def learnable():
    """A model that adds up nothing but its own initial state, which it learns."""
    return rnnjax.Cell(
        name="learnable",
        init=lambda key, x_spec: jnp.arange(float(V)),
        initial_state=lambda params, batch_shape=(), *, key=None: jnp.broadcast_to(
            params, (*batch_shape, V)
        ),
        step=lambda params, h, x: (h, h),
        x_ndims=0,
    )


@pytest.mark.parametrize("restart_rate", [0.0, 1.0])
def test_a_restart_is_where_a_learnable_initial_state_learns(restart_rate):
    cell = learnable()
    state = init_train_state(cell, cell.init(None, None), optax.sgd(1.0), B, jax.random.key(0))
    step = make_train_step(cell, optax.sgd(1.0), restart_rate=restart_rate)
    xs, targets = text(T)
    before = copied(state.params)
    state, metrics = step(state, xs, targets)
    # d loss / d h_0 = softmax(h_0) - how often each symbol is the target
    share = np.bincount(np.asarray(targets).ravel(), minlength=V) / targets.size
    want = np.exp(before) / np.exp(before).sum() - share
    np.testing.assert_allclose(before - state.params, restart_rate * want, atol=1e-6)
    np.testing.assert_allclose(metrics.grad_norm, restart_rate * np.linalg.norm(want), rtol=1e-5)


def test_a_loss_that_is_not_finite_is_named_and_carries_nothing_on():
    cell = learnable()
    state = init_train_state(cell, cell.init(None, None), optax.sgd(1.0), B, jax.random.key(0))
    step = make_train_step(cell, optax.sgd(1.0), max_skips=1)
    before = copied(state[:4])
    xs, targets = text(T)
    state, metrics = step(state, xs, targets.at[0, 0].set(V))
    assert jnp.isnan(metrics.loss)
    assert metrics.grad_norm == 0  # the initial state is constant here: only the loss tells
    assert same(state[:4], before)
    with pytest.raises(NonFiniteError, match="the loss is not finite at step 1, the last of 1 "):
        check_finite(state, 1)


def test_a_sum_over_time_is_the_mean_times_its_steps():
    xs, targets = text(T)
    state = start()
    params = copied(state.params)
    (loss, _), grads = gradient(params, copied(state.carried), xs, targets)
    state, metrics = make_train_step(MODEL, SGD, loss="sum")(state, xs, targets)
    np.testing.assert_allclose(metrics.loss, loss, rtol=1e-6)  # still nats a token
    np.testing.assert_allclose(metrics.grad_norm, T * optax.tree.norm(grads), rtol=1e-5)
    close(state.params, jax.tree.map(lambda p, g: p - T * g, params, grads))


@pytest.mark.parametrize("masked", [False, True])
def test_the_last_targets_alone_may_count(masked):
    xs, targets = text(T)
    # The first row has a gap before its last step, the last one no step at all.
    ends, mask = np.array([T, 5, 0] if masked else [T] * 3), None
    if masked:
        mask = jnp.asarray(
            (np.arange(T)[:, None] < ends) & (np.arange(T)[:, None] != [T - 2, 0, 0])
        )
    state = start()
    params = copied(state.params)

    def last(params):
        _, logits = rnnjax.unroll(MODEL, params, None, xs, mask=mask)
        rows = np.flatnonzero(ends)
        nats = -jax.nn.log_softmax(logits[ends - 1, np.arange(B)])
        return nats[rows, targets[ends - 1, np.arange(B)][rows]].mean()

    loss, grads = jax.value_and_grad(last)(params)
    step = make_train_step(MODEL, SGD, restart_rate=1.0, tokens="last")
    state, metrics = step(state, xs, targets, mask)
    np.testing.assert_allclose(metrics.loss, loss, rtol=1e-6)
    close(state.params, jax.tree.map(jnp.subtract, params, grads))


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
    state, step = start(bigram, tx), make_train_step(bigram, tx, loss="sum")
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


def test_a_loss_that_will_not_do():
    with pytest.raises(ValueError, match="loss must be one of mean, sum, got 'max'"):
        make_train_step(MODEL, SGD, loss="max")
    with pytest.raises(ValueError, match="tokens must be one of all, last, got 'first'"):
        make_train_step(MODEL, SGD, tokens="first")
