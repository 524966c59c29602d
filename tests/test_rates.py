"""Rates of noise are values in the state: a schedule changes them without compiling anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_bitwise, assert_close
from tracing import traces

import rnnjax

T, B, D, H = 4, 3, 5, 3
XS = jnp.asarray(np.random.default_rng(0).normal(size=(T, B, D)), jnp.float32)
KEY = jax.random.key(0)
NOISY = {
    "dropout": lambda rate: rnnjax.stack(rnnjax.dropout(rate), rnnjax.gru(H)),
    "input_dropout": lambda rate: rnnjax.input_dropout(rnnjax.gru(H), rate),
    "recurrent_dropout": lambda rate: rnnjax.recurrent_dropout(rnnjax.lstm(H), rate),
    "weight_drop": lambda rate: rnnjax.weight_drop(rnnjax.lstm(H), rate),
    "zoneout": lambda rate: rnnjax.zoneout(rnnjax.lstm(H), rate),
}


@pytest.mark.parametrize("make", NOISY.values(), ids=NOISY)
def test_a_rate_that_is_set_is_the_factorys(make):
    begun, wanted = make(0.5), make(0.25)
    params = begun.init(KEY, D)
    state = rnnjax.set_rates(begun.initial_state(params, (B,), key=KEY), 0.25)
    want = wanted.initial_state(params, (B,), key=KEY)
    assert_bitwise(state, want)
    assert_close(rnnjax.unroll(begun, params, state, XS), rnnjax.unroll(wanted, params, want, XS))


def test_a_schedule_compiles_once():
    cell = rnnjax.stack(drop=rnnjax.dropout(0.5), rnn=rnnjax.gru(H))
    params = cell.init(KEY, D)
    state = cell.initial_state(params, (B,), key=KEY)

    @jax.jit
    def run(rate):
        return rnnjax.unroll(cell, params, rnnjax.set_rates(state, {"drop": rate}), XS)[1]

    with traces(anything=True):
        first = run(0.0)
    with traces(anything=False):
        second = run(0.9)
    assert (first != second).any()


def test_by_path_and_by_row():
    cell = rnnjax.stack(
        drop=rnnjax.dropout(0.5),
        rnn=rnnjax.zoneout(rnnjax.lstm(H), h=0.1, c=0.2),
        force=rnnjax.scheduled_sampling(rnnjax.activation("identity"), 2),
    )
    params = {"drop": (), "rnn": rnnjax.lstm(H).init(KEY, D), "force": ()}
    state = cell.initial_state(params, (2,), key=KEY)
    state = rnnjax.set_rates(state, {"drop": jnp.array([0.0, 0.3]), "rnn.c": 0.9, "force": 0.5})
    assert_close(state["drop"].rate.value, jnp.array([0.0, 0.3]))
    assert_close(state["rnn"].rate.value, {"h": jnp.full(2, 0.1), "c": jnp.full(2, 0.9)})
    assert_close(state["force"].rate.value, jnp.full(2, 0.5))


def test_resets_and_rekey_keep_what_was_set():
    cell = rnnjax.dropout(0.5)
    state = rnnjax.set_rates(cell.initial_state((), (B,), key=KEY), 0.0)
    state = rnnjax.rekey(cell, state, jax.random.key(1))
    state, ys = rnnjax.unroll(cell, (), state, XS, resets=jnp.ones((T, B), bool))
    assert_bitwise(ys, XS)
    assert not state.rate.value.any()


@pytest.mark.parametrize(
    ("state", "rates", "message"),
    [
        (rnnjax.dropout(0.5).initial_state((), (2,)), 1.5, r"all must be in \[0, 1\], got 1.5"),
        (rnnjax.dropout(0.5).initial_state((), (2,)), {"": -1}, r"must be in \[0, 1\], got -1"),
        (rnnjax.dropout(0.5).initial_state((), (2,)), {"rnn": 0.1}, "rnn has no rate"),
        (jnp.zeros(3), 0.1, "the state has no rate; those there are: none"),
    ],
)
def test_rates_that_will_not_do(state, rates, message):
    with pytest.raises(ValueError, match=message):
        rnnjax.set_rates(state, rates)


def test_a_stack_without_names_goes_by_places():
    cell = rnnjax.stack(rnnjax.dropout(0.5), rnnjax.gru(H), rnnjax.dropout(0.5))
    params = cell.init(KEY, D)
    state = rnnjax.set_rates(cell.initial_state(params, (2,), key=KEY), {0: 0.25, "2": 0.75})
    assert_close((state[0].rate.value, state[2].rate.value), (jnp.full(2, 0.25), jnp.full(2, 0.75)))


def test_all_may_be_dropped():
    """At rate 1 nothing is left, and no gradient is 0/0."""
    for cell in (rnnjax.input_dropout(rnnjax.gru(H), 0.5), rnnjax.weight_drop(rnnjax.gru(H), 0.5)):
        params = cell.init(KEY, D)
        state = rnnjax.set_rates(cell.initial_state(params, (B,), key=KEY), 1.0)
        gradient = jax.grad(lambda p, s, c=cell: rnnjax.unroll(c, p, s, XS)[1].sum())(params, state)
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient))


def test_training_restarts_keep_the_rate():
    import optax

    from rnnjax.tasks.language_model import Symbols, next_symbol_loss
    from rnnjax.train import init_train_state, make_train_step

    model = rnnjax.stack(
        embed=rnnjax.embed(5, 4), drop=rnnjax.dropout(0.5), rnn=rnnjax.gru(4), out=rnnjax.linear(5)
    )
    params = model.init(KEY, rnnjax.tokens())
    tx = optax.sgd(0.1)
    carried = rnnjax.set_rates(model.initial_state(params, (8,), key=KEY), 0.1)
    state = init_train_state(params, tx, KEY, carried)
    symbols = jnp.zeros((3, 8), int)
    step = make_train_step(next_symbol_loss(model, restart_rate=0.5), tx)
    for fresh in (False, True):
        state, _ = step(state, Symbols(symbols, symbols, jnp.asarray(fresh)))
    assert_close(state.carried["drop"].rate.value, jnp.full(8, 0.1))
