"""Symbols fed back into an embedding: freely, by the teacher, or by chance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close

import rnnjax
from rnnjax import decoding
from rnnjax.testing import check_cell

V, T, B = 5, 6, 3
MODEL = rnnjax.stack(rnnjax.embed(V, 4), rnnjax.gru(6), rnnjax.linear(V))
PARAMS = jax.tree.map(
    lambda s: 1.5 * np.random.default_rng(30 + sum(s.shape)).normal(size=s.shape).astype("f"),
    jax.eval_shape(lambda: MODEL.init(jax.random.key(0), rnnjax.tokens())),
)
XS = np.random.default_rng(0).integers(0, V, (T, B))
FREE = rnnjax.feedback(MODEL, V, feed="argmax", first=2)
TAUGHT = rnnjax.teacher_forcing(MODEL, V, feed="argmax")


def mixed(feed="argmax", rate=0.5):
    return rnnjax.scheduled_sampling(MODEL, V, rate=rate, feed=feed)


def test_freely_it_writes_what_greedy_decoding_does():
    state = FREE.initial_state(PARAMS, (B,))
    _, logits = rnnjax.unroll(FREE, PARAMS, state, None, length=T)
    written = decoding.greedy(MODEL, PARAMS, None, np.full(B, 2), length=T)
    np.testing.assert_array_equal(logits.argmax(-1), written.symbols)
    read = np.concatenate([np.full((1, B), 2), written.symbols[:-1]])
    assert_close(logits, rnnjax.unroll(MODEL, PARAMS, None, read)[1])
    assert len(np.unique(read)) > 1


def test_the_teacher_is_the_model_and_goes_on_freely():
    state, logits = rnnjax.unroll(TAUGHT, PARAMS, None, XS)
    inner, want = rnnjax.unroll(MODEL, PARAMS, None, XS)
    assert_close(logits, want)
    assert_close(state.cell.cell, inner)
    _, logits = rnnjax.unroll(FREE, PARAMS, state, None, length=T)
    written = decoding.greedy(MODEL, PARAMS, inner, want[-1].argmax(-1), length=T)
    np.testing.assert_array_equal(logits.argmax(-1), written.symbols)
    assert jax.tree.structure(FREE.init(jax.random.key(0), None)) == jax.tree.structure(PARAMS)


@pytest.mark.parametrize("rate", [1.0, 0.0])
def test_the_first_symbol_is_always_the_teachers(rate):
    """And at a rate of 0 no other; a new sequence begins anew."""
    cell = mixed(rate=rate)
    resets = np.zeros((T, B), bool)
    resets[3, 1] = True
    state = cell.initial_state(PARAMS, (B,), key=jax.random.key(1))
    _, logits = rnnjax.unroll(cell, PARAMS, state, XS, resets=resets)
    if rate:
        assert_close(logits, rnnjax.unroll(MODEL, PARAMS, None, XS, resets=resets)[1])
        return
    want = decoding.greedy(MODEL, PARAMS, None, XS[0], length=T).symbols
    again = decoding.greedy(MODEL, PARAMS, None, XS[3, 1:2], length=T - 3).symbols
    want = np.array(want)
    want[3:, 1] = again[:, 0]
    np.testing.assert_array_equal(logits.argmax(-1), want)


def echo(x):
    """Logits of the very symbol that is read."""
    return 9 * jax.nn.one_hot(x, V)


def test_a_rate_of_any_value_is_one_program():
    """A row stays at its first symbol until the teacher says another: (1 - rate)^t do."""
    inner = rnnjax.activation(echo)
    inner = rnnjax.Cell(
        "echo", inner.init, inner.initial_state, lambda p, s, x: (s, echo(x)), x_ndims=0
    )
    cell, n, traces = rnnjax.scheduled_sampling(inner, V, feed="argmax"), 2000, []
    xs = jnp.ones((5, n), int).at[0].set(3)

    @jax.jit
    def run(rate):
        traces.append(None)
        state = cell.initial_state((), (n,), key=jax.random.key(0))
        return rnnjax.unroll(cell, (), rnnjax.set_rates(state, rate), xs)[1].argmax(-1)

    for rate in (0.1, 0.4, 1.0):
        read = np.asarray(run(rate))
        assert (read[0] == 3).all()
        for t in (1, 4):
            p = (1 - rate) ** t
            assert abs((read[t] == 3).mean() - p) <= 5 * (p * (1 - p) / n) ** 0.5
    assert len(traces) == 1
    fresh = cell.initial_state((), (n,))  # without a key it runs freely
    assert (rnnjax.unroll(cell, (), fresh, xs)[1].argmax(-1) == 3).all()


def test_samples_are_of_the_logits():
    table = jnp.log(jnp.array([0.1, 0.5, 0.4]))
    inner = rnnjax.Cell(
        "fixed",
        init=lambda key, x_spec: (),
        initial_state=lambda params, batch=(), *, key=None: jnp.zeros(batch, jnp.int32),
        step=lambda params, state, x: (x, jnp.broadcast_to(table, (*x.shape, 3))),
        x_ndims=0,
    )
    cell, n = rnnjax.feedback(inner, 3, feed="sample", first=2), 3000
    state = cell.initial_state((), (n,), key=jax.random.key(0))
    first, _ = rnnjax.unroll(cell, (), state, None, length=1)
    assert (first.cell.cell == 2).all()
    second, _ = rnnjax.unroll(cell, (), first, None, length=1)
    share = np.bincount(second.cell.cell, minlength=3) / n
    assert np.abs(share - np.exp(table)).max() < 5 * (0.25 / n) ** 0.5


def test_it_keeps_the_contract():
    report = check_cell(
        rnnjax.scheduled_sampling(
            rnnjax.stack(rnnjax.embed(3, 2), rnnjax.elman(3), rnnjax.linear(3)), 3, feed="argmax"
        ),
        rnnjax.tokens(), integers=(0, 3), batch_shape=(2,),
    )  # fmt: skip
    assert {outcome.outcome for outcome in report.outcomes} <= {"holds"}
