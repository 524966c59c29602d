"""Evaluation: every symbol after the first is predicted once, and the window is only a chunk."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.tasks.language_model import (
    evaluate,
    loss_by_position,
    token_losses,
    window_losses,
)
from rnnjax.train import NonFiniteError

V = 6
MODEL = rnnjax.stack(rnnjax.embed(V, 4), rnnjax.lstm(5), rnnjax.linear(V))
PARAMS = jax.tree.map(
    lambda leaf: 2 * leaf, MODEL.init(jax.random.key(0), jax.ShapeDtypeStruct((), int))
)


def symbols(length, seed=0):
    return np.random.default_rng(seed).integers(0, V, length, np.int32)


def each_nats(ids, starts=(0,)):
    """The loss of each target by a plain loop over `cell.step`; the state is fresh at `starts`."""
    step, nats = jax.jit(MODEL.step), []
    for t, (symbol, target) in enumerate(itertools.pairwise(ids)):
        if t in starts:
            state = MODEL.initial_state(PARAMS)
        state, logits = step(PARAMS, state, jnp.asarray(symbol))
        nats.append(-float(jax.nn.log_softmax(logits)[target]))
    return np.array(nats)


def nats_one_by_one(ids, starts=(0,)):
    return each_nats(ids, starts).mean()


@pytest.mark.parametrize("window", [1, 7, 36, 256])
def test_one_stream_carries_the_state_through_the_whole_text(window):
    ids = symbols(37)
    got = evaluate(MODEL, PARAMS, ids, batch_size=1, window=window)
    assert got == pytest.approx(nats_one_by_one(ids), rel=1e-5)
    # The carried state matters to this text: else the test would say nothing about it.
    assert abs(got - nats_one_by_one(ids, range(0, 37, 7))) > 1e-3


@pytest.mark.parametrize(("length", "batch_size"), [(37, 5), (41, 4), (6, 8), (2, 3), (2, 1)])
@pytest.mark.parametrize("window", [4, 256])
def test_parts_side_by_side_predict_every_target_once(length, batch_size, window):
    ids = symbols(length)
    part = -(-(length - 1) // batch_size)
    got = evaluate(MODEL, PARAMS, ids, batch_size=batch_size, window=window)
    assert got == pytest.approx(nats_one_by_one(ids, range(0, length, part)), rel=1e-5)


def test_targets_are_counted_not_just_averaged():
    """A model of nothing but the last symbol: its loss is a count of pairs, whatever the parts."""
    bigram = rnnjax.embed(V, V)
    table = bigram.init(jax.random.key(1), jax.ShapeDtypeStruct((), int))
    ids = symbols(101)
    logits = jax.nn.log_softmax(jax.tree.leaves(table)[0])
    want = -np.mean(np.asarray(logits)[ids[:-1], ids[1:]])
    for batch_size, window in ((1, 3), (7, 256), (64, 1), (200, 2)):
        got = evaluate(bigram, table, ids, batch_size=batch_size, window=window)
        assert got == pytest.approx(float(want), rel=1e-5)


def test_dropout_is_off():
    noisy = rnnjax.stack(rnnjax.embed(V, 4), rnnjax.dropout(0.5), rnnjax.lstm(5), rnnjax.linear(V))
    quiet = rnnjax.stack(rnnjax.embed(V, 4), rnnjax.lstm(5), rnnjax.linear(V))
    params = noisy.init(jax.random.key(0), jax.ShapeDtypeStruct((), int))
    without = (params[0], *params[2:])
    ids = symbols(30)
    assert evaluate(noisy, params, ids) == evaluate(quiet, without, ids)


@pytest.mark.parametrize("length", [0, 1])
def test_too_short_a_text(length):
    with pytest.raises(ValueError, match=f"{length} tokens, need at least 2"):
        evaluate(MODEL, PARAMS, symbols(length))


def test_sizes_that_will_not_do():
    with pytest.raises(ValueError, match="batch_size must be a positive int, got 0"):
        evaluate(MODEL, PARAMS, symbols(9), batch_size=0)
    with pytest.raises(ValueError, match="window must be a positive int, got 0"):
        evaluate(MODEL, PARAMS, symbols(9), window=0)


def test_the_loss_of_each_symbol():
    ids = symbols(38)
    got = token_losses(MODEL, PARAMS, ids, batch_size=1, window=5)
    np.testing.assert_allclose(got, each_nats(ids), rtol=1e-5)
    got = token_losses(MODEL, PARAMS, ids, batch_size=3, window=5)  # parts of 13, 13 and 11
    np.testing.assert_allclose(got, each_nats(ids, (0, 13, 26)), rtol=1e-5)
    got = token_losses(MODEL, PARAMS, ids, batch_size=3, window=5, restart_every=4)
    starts = [p + k for p in (0, 13, 26) for k in (0, 4, 8, 12)]
    np.testing.assert_allclose(got, each_nats(ids, starts), rtol=1e-5)
    assert evaluate(MODEL, PARAMS, ids, batch_size=3) == pytest.approx(
        token_losses(MODEL, PARAMS, ids, batch_size=3).mean(), rel=1e-6
    )


@pytest.mark.parametrize(("window", "batch_size"), [(4, 3), (4, 64), (1, 5), (99, 2)])
def test_windows_know_nothing_but_the_symbols_in_them(window, batch_size):
    ids = symbols(20)
    want = [each_nats(ids[max(0, t + 1 - window) : t + 2])[-1] for t in range(19)]
    got = window_losses(MODEL, PARAMS, ids, window=window, batch_size=batch_size)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_losses_by_position():
    losses = np.arange(10.0)
    mean, count = loss_by_position(losses, 4)
    np.testing.assert_allclose(mean, [4, 5, 4, 5])  # 0 4 8 | 1 5 9 | 2 6 | 3 7
    assert count.tolist() == [3, 3, 2, 2]
    mean, count = loss_by_position(losses, 3, batch_size=2)  # parts 0..4 and 5..9
    np.testing.assert_allclose(mean, [(0 + 3 + 5 + 8) / 4, (1 + 4 + 6 + 9) / 4, (2 + 7) / 2])
    assert np.isnan(loss_by_position(losses[:2], 3)[0][2])


def test_a_loss_that_is_not_a_number_is_an_error():
    ids = symbols(20)
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, PARAMS)
    message = r"the loss of symbol 1 is not a number: params\[0\]\.table is not finite$"
    for judge in (evaluate, token_losses, lambda *args: window_losses(*args, window=4)):
        with pytest.raises(NonFiniteError, match=message):
            judge(MODEL, broken, ids)
    ids[12] = V  # one that the model does not have
    with pytest.raises(NonFiniteError, match=r"symbol 12 is not a number; the parameters are fin"):
        evaluate(MODEL, PARAMS, ids, batch_size=1)
