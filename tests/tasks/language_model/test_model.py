"""Language models: what is in them, and a tied readout against the same thing untied."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.tasks.language_model import (
    CONFIGS,
    LanguageModel,
    recurrent_language_model,
    tied_readout,
)
from rnnjax.train import streams

SYMBOL = jax.ShapeDtypeStruct((), "int32")


def count(model):
    params = jax.eval_shape(model.init, jax.random.key(0), SYMBOL)
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_the_plain_model_is_a_stack():
    want = rnnjax.stack(
        embed=rnnjax.embed(9, 4), rnn_0=rnnjax.gru(6), rnn_1=rnnjax.gru(6), readout=rnnjax.linear(9)
    )
    model = recurrent_language_model(9, cell="gru", hidden_size=6, layers=2, embedding_size=4)
    assert model == want


def test_what_lies_between_the_layers():
    drop, norm, lstm = rnnjax.dropout(0.3), rnnjax.layer_norm(), rnnjax.lstm(6)
    first, second = ({f"drop_{i}": drop, f"rnn_{i}": lstm, f"norm_{i}": norm} for i in range(2))
    want = rnnjax.stack(
        embed=rnnjax.embed(9, 4), **first, **second, drop=drop, readout=rnnjax.linear(9)
    )
    got = recurrent_language_model(
        9, hidden_size=6, layers=2, embedding_size=4, dropout=0.3, layer_norm=True
    )
    assert got == want


def test_zaremba_small_has_its_number_of_parameters():
    """Embedding, two layers of (200 + 200) 800 + 800, readout. The paper's 4,653,200 has the
    biases of a layer twice."""
    config = CONFIGS["zaremba-small"]
    words = ["<eos>", *map(str, range(9_998))]
    assert (
        count(config.system({"vocabulary": words}).cell)
        == 2_000_000 + 2 * 320_800 + 2_010_000
        == 4_651_600
    )
    config.check()
    small = recurrent_language_model(
        50, hidden_size=20, layers=2, embedding_size=20, init_scale=0.1
    )
    params = small.init(jax.random.key(0), SYMBOL)
    for leaf in jax.tree.leaves(params):
        assert 0.05 < float(jnp.abs(leaf).max()) <= 0.1  # every one, biases and forget gate too
        assert abs(float(leaf.mean())) < 0.05
    assert small == recurrent_language_model(
        50, hidden_size=20, layers=2, embedding_size=20, init_scale=0.1
    )


def test_the_halving_schedule_is_zarembas():
    """Rate 1 for four passes, then half of it after each."""
    config = CONFIGS["zaremba-small"]
    source = streams(np.arange(20 * 7 * 20 + 20), 20, 20)
    windows = source.steps_per_pass
    assert config.total_steps(source) == 13 * windows == 13 * 7
    rate = config.rate(source)
    got = [float(rate(jnp.asarray(step))) for step in range(13 * windows)]
    want = [0.5 ** max(0, epoch - 4) for epoch in range(1, 14) for _ in range(windows)]
    np.testing.assert_allclose(got, want)


def test_schedules_reach_the_optimizer():
    def first_updates(**changes):
        config = LanguageModel(optimizer="sgd", learning_rate=0.5, clip_norm=0, **changes)
        tx = config.transformation(streams(np.arange(5), 1, 2))
        state, updates = tx.init(jnp.zeros(())), []
        for _ in range(6):
            with jax.numpy_dtype_promotion("standard"):  # optax's cosine relies on it
                update, state = tx.update(jnp.ones(()), state)
            updates.append(-float(update))
        return updates

    assert first_updates(schedule="constant") == [0.5] * 6
    assert first_updates(schedule="halving", halve_after=1) == [0.5, 0.5, 0.25, 0.25, 0.125, 0.125]
    assert first_updates(schedule="constant", clip_value=0.25) == [0.125] * 6
    cosine = first_updates(steps=6)
    assert cosine[0] == 0.5  # no step is left for a warm-up
    assert all(a > b for a, b in itertools.pairwise(cosine))


@pytest.mark.usefixtures("x64")
def test_a_tied_readout_is_the_untied_one_with_both_gradients():
    V, E, T, B = 7, 4, 5, 3
    body = (rnnjax.lstm(5), rnnjax.linear(E))
    tied = tied_readout(V, E, *body)
    plain = rnnjax.stack(rnnjax.embed(V, E), *body, rnnjax.linear(V))
    params = tied.init(jax.random.key(0), SYMBOL)
    params = jax.tree.map(lambda leaf: 2.0 * leaf + 0.1, params)
    xs = jnp.asarray(np.random.default_rng(0).integers(0, V, (T, B)))

    def untied(params):
        return (
            rnnjax.EmbedParams(params.table),
            *params.body,
            rnnjax.LinearParams(params.table.T, params.b),
        )

    def loss(cell, params):
        _, logits = rnnjax.unroll(cell, params, None, xs)
        return (jax.nn.log_softmax(logits)[:-1] ** 2).mean()

    got = jax.jit(jax.value_and_grad(lambda params: loss(tied, params)))(params)
    want = jax.jit(jax.value_and_grad(lambda params: loss(plain, untied(params))))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), got, want)


def test_a_tied_readout_says_which_weights_are_recurrent():
    tied = tied_readout(7, 4, rnnjax.dropout(0.5), rnnjax.gru(4))
    assert tied.recurrent == ("body.1.w_h",)
    dropped = rnnjax.weight_drop(tied, 0.5)
    params = dropped.init(jax.random.key(0), SYMBOL)
    state = dropped.initial_state(params, key=jax.random.key(1))
    assert dropped.step(params, state, jnp.asarray(0))[1].shape == (7,)


def test_a_tied_model_of_another_size_has_a_projection():
    assert count(recurrent_language_model(9, hidden_size=6, embedding_size=4, tied=True)) == (
        9 * 4 + (4 + 6) * 24 + 24 + 6 * 4 + 4 + 9
    )
    tied = tied_readout(9, 4, rnnjax.lstm(6))
    with pytest.raises(ValueError, match=r"the last cell's output is \[6\], expected \[4\]"):
        tied.init(jax.random.key(0), SYMBOL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dropout": 1.0}, r"dropout: rate must be a number in \[0, 1\), got 1\.0"),
        ({"hidden_size": 0}, "hidden_size must be a positive int, got 0"),
    ],
)
def test_a_model_that_will_not_do(changes, message):
    with pytest.raises(ValueError, match=message):
        recurrent_language_model(9, **changes)
