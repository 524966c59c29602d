"""The loss of symbols: what is carried, what is cut, what begins anew, what counts."""

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
    cross_entropy,
    optimizer,
)


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


@pytest.mark.parametrize(
    ("rate", "error"),
    [(-0.1, ValueError), (1.5, ValueError), (jnp.nan, ValueError), (True, TypeError)],
)
def test_a_restart_rate_that_will_not_do(rate, error):
    with pytest.raises(error, match=r"restart_rate must be a number in \[0, 1\], got "):
        next_symbol_loss(MODEL, restart_rate=rate)


def test_a_symbol_outside_the_vocabulary_is_skipped_not_learnt_from():
    step, state = stepper(MODEL, SGD), start()
    before = copied(state.params)
    xs, targets = text(T)
    state, metrics = step(state, xs.at[2, 1].set(V), targets)
    assert metrics.skipped
    assert same(state.params, before)


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
    state, step = start(), stepper(MODEL, optax.sgd(1.0))
    params, carried = whole, first = copied((state.params, state.carried))
    for cut in (slice(0, T), slice(T, 2 * T)):
        state, _ = step(state, xs[cut], targets[cut])
        (_, carried), grads = gradient(params, carried, xs[cut], targets[cut])
        params = jax.tree.map(jnp.subtract, params, grads)
    close(state.params, params)
    _, grads = gradient(whole, first, xs, targets)
    full = jax.tree.map(lambda p, g: p - 2 * g, whole, grads)  # the mean is over twice the steps
    assert float(optax.tree.norm(jax.tree.map(jnp.subtract, full, params))) > 1e-2


@pytest.mark.parametrize("restart_rate", [0.0, 1.0])
def test_a_restart_is_where_a_learnable_initial_state_learns(restart_rate):
    cell = learnable()
    state = begin(cell, cell.init(None, None), optax.sgd(1.0), jax.random.key(0))
    step = stepper(cell, optax.sgd(1.0), restart_rate=restart_rate)
    xs, targets = text(T)
    before = copied(state.params)
    state, metrics = step(state, xs, targets)
    # d loss / d h_0 = softmax(h_0) - how often each symbol is the target
    share = np.bincount(np.asarray(targets).ravel(), minlength=V) / targets.size
    want = np.exp(before) / np.exp(before).sum() - share
    np.testing.assert_allclose(before - state.params, restart_rate * want, atol=1e-6)
    np.testing.assert_allclose(metrics.grad_norm, restart_rate * np.linalg.norm(want), rtol=1e-5)


def test_a_sum_over_time_is_the_mean_times_its_steps():
    xs, targets = text(T)
    state = start()
    params = copied(state.params)
    (loss, _), grads = gradient(params, copied(state.carried), xs, targets)
    state, metrics = stepper(MODEL, SGD, loss="sum")(state, xs, targets)
    np.testing.assert_allclose(metrics.loss, T * loss, rtol=1e-6)
    np.testing.assert_allclose(metrics.more["bits per character"], loss / np.log(2), rtol=1e-6)
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
    step = stepper(MODEL, SGD, restart_rate=1.0, tokens="last")
    state, metrics = step(state, xs, targets, mask)
    np.testing.assert_allclose(metrics.loss, loss, rtol=1e-6)
    close(state.params, jax.tree.map(jnp.subtract, params, grads))


def test_a_loss_that_will_not_do():
    with pytest.raises(ValueError, match="loss must be one of mean, sum, got 'max'"):
        stepper(MODEL, SGD, loss="max")
    with pytest.raises(ValueError, match="tokens must be one of all, last, got 'first'"):
        stepper(MODEL, SGD, tokens="first")
