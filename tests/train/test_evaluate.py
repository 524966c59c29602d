"""Evaluation: every symbol after the first is predicted once, and the window is only a chunk."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.train import evaluate

V = 6
MODEL = rnnjax.stack(rnnjax.embed(V, 4), rnnjax.lstm(5), rnnjax.linear(V))
PARAMS = jax.tree.map(
    lambda leaf: 2 * leaf, MODEL.init(jax.random.key(0), jax.ShapeDtypeStruct((), int))
)


def symbols(length, seed=0):
    return np.random.default_rng(seed).integers(0, V, length, np.int32)


def nats_one_by_one(ids, starts=(0,)):
    """Mean loss by a plain loop over `cell.step`; the state is fresh at each of `starts`."""
    step, total = jax.jit(MODEL.step), 0.0
    for t, (symbol, target) in enumerate(itertools.pairwise(ids)):
        if t in starts:
            state = MODEL.initial_state(PARAMS)
        state, logits = step(PARAMS, state, jnp.asarray(symbol))
        total -= float(jax.nn.log_softmax(logits)[target])
    return total / (len(ids) - 1)


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
