"""Statistics of the noise, and when it is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_bitwise, assert_close

import rnnjax
from rnnjax import ElmanParams, LSTMState

KEY = jax.random.key(7)
T, B, H, RATE = 20, 50, 40, 0.3
IDENTITY = rnnjax.elman(H, activation="identity")
ONES = jnp.ones((T, B, H))
# The output is the input alone, or the state alone.
INPUT = ElmanParams(w_x=jnp.eye(H), w_h=jnp.zeros((H, H)), b=jnp.zeros(H))
STATE = ElmanParams(w_x=jnp.zeros((H, H)), w_h=jnp.eye(H), b=jnp.zeros(H))


def with_ones(cell, params, key=KEY):
    """The state of a noisy Elman cell, h = 1."""
    state = cell.initial_state(params, (B,), key=key)
    return state._replace(cell=jnp.ones((B, H)))


def input_masks(variational, key=KEY):
    cell = rnnjax.input_dropout(IDENTITY, RATE, variational=variational)
    return rnnjax.unroll(cell, INPUT, with_ones(cell, INPUT, key), ONES)[1] * (1 - RATE)


def recurrent_masks(variational, key=KEY):
    """Each step from h = 1: the state is put back by x_t, and what the mask left is y_t."""
    cell = rnnjax.recurrent_dropout(IDENTITY, RATE, variational=variational)

    def step(params, state, x):
        new, y = cell.step(params, state, x)
        return new._replace(cell=jnp.ones_like(y)), y

    _, ys = rnnjax.scan(step, STATE, with_ones(cell, STATE, key), 0 * ONES)
    return ys * (1 - RATE)


def zoneout_masks(key=KEY):
    """True where a unit kept its value, of a cell that adds 1."""
    cell = rnnjax.zoneout(IDENTITY, RATE)
    params = STATE._replace(b=jnp.ones(H))
    _, ys = rnnjax.unroll(cell, params, with_ones(cell, params, key), 0 * ONES)
    before = jnp.concatenate([jnp.ones((1, B, H)), ys[:-1]])
    return (ys != before).astype(float)


def weight_masks(key=KEY):
    """[T, B, H * H]: which connections of each row are left at each step."""
    cell = rnnjax.weight_drop(IDENTITY, RATE)
    state = cell.initial_state(STATE, (B,), key=key)
    params = STATE._replace(w_h=jnp.ones((H, H)))

    def step(params, state, x):
        kept = jax.vmap(lambda h: cell.step(params, state._replace(cell=h), x)[1])
        y = kept(jnp.broadcast_to(jnp.eye(H)[:, None], (H, B, H)))
        return state, y.swapaxes(0, 1).reshape(B, H * H)

    return rnnjax.scan(step, params, state, 0 * ONES[:2])[1] * (1 - RATE)


MASKS = {
    "input_dropout": (lambda key=KEY: input_masks(False, key), True),
    "input_dropout-variational": (lambda key=KEY: input_masks(True, key), False),
    "recurrent_dropout": (lambda key=KEY: recurrent_masks(False, key), True),
    "recurrent_dropout-variational": (lambda key=KEY: recurrent_masks(True, key), False),
    "zoneout": (zoneout_masks, True),
    "weight_drop": (weight_masks, False),
}


@pytest.mark.parametrize("name", MASKS)
def test_rates_and_when_masks_are_drawn(name):
    masks, fresh = MASKS[name]
    kept = np.asarray(masks())
    assert np.isclose(kept, kept.round(), atol=1e-5).all()
    kept = kept.round()
    assert set(np.unique(kept)) == {0.0, 1.0}
    drawn = kept if fresh else kept[0]
    if fresh:  # every row of every step has its own mask
        assert (
            len({row.tobytes() for row in drawn.reshape(-1, kept.shape[-1])}) == kept[..., 0].size
        )
    else:  # every row has its own, at every step the same
        assert (kept == kept[0]).all()
        assert len({row.tobytes() for row in drawn}) == B
    assert abs(drawn.mean() - (1 - RATE)) < 5 * (RATE * (1 - RATE) / drawn.size) ** 0.5
    per_unit = drawn.reshape(-1, kept.shape[-1])  # no unit is favoured
    bound = 6 * (RATE * (1 - RATE) / len(per_unit)) ** 0.5
    assert np.abs(per_unit.mean(0) - (1 - RATE)).max() < bound
    assert_bitwise(masks(KEY), masks())
    assert (np.asarray(masks(jax.random.key(8))).round() != kept).any(-1).all()


@pytest.mark.parametrize("name", MASKS)
def test_the_mean_over_keys_is_evaluation(name):
    """From one state, where output and noise are linear, the mean is the evaluation's output."""
    make = {
        "input_dropout": lambda v: rnnjax.input_dropout(IDENTITY, RATE, variational=v),
        "recurrent_dropout": lambda v: rnnjax.recurrent_dropout(IDENTITY, RATE, variational=v),
        "zoneout": lambda v: rnnjax.zoneout(IDENTITY, RATE),
        "weight_drop": lambda v: rnnjax.weight_drop(IDENTITY, RATE),
    }[name.partition("-")[0]]
    cell = make("variational" in name)
    params = IDENTITY.init(KEY, H)
    h, x = jax.random.normal(KEY, (2, H))
    n = 4000
    noisy = cell.initial_state(params, (n,), key=KEY)._replace(cell=jnp.tile(h, (n, 1)))
    _, ys = jax.jit(cell.step)(params, noisy, jnp.tile(x, (n, 1)))
    _, want = cell.step(params, cell.initial_state(params)._replace(cell=h), x)
    error = jnp.abs(ys.mean(0) - want)
    assert (error < 5 * ys.std(0) / n**0.5).all()
    assert jnp.median(ys.std(0)) > 0.05  # the noise was there


def test_rekey_draws_fresh_masks_each_window():
    cell = rnnjax.recurrent_dropout(
        rnnjax.input_dropout(rnnjax.gru(H), RATE, variational=True), RATE, variational=True
    )
    params = cell.init(KEY, H)
    state = cell.initial_state(params, (2,), key=KEY)

    @jax.jit
    def window(state, key):
        state = rnnjax.rekey(cell, state, key)
        return rnnjax.unroll(cell, params, state, ONES[:3, :2])

    fresh = {}
    for i in range(3):
        new, _ = window(state, jax.random.fold_in(KEY, i))
        again, _ = window(state, jax.random.fold_in(KEY, i))
        assert_bitwise(again, new)
        for where, leaf in jax.tree.leaves_with_path(new):
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                fresh.setdefault(str(where), set()).add(jax.random.key_data(leaf).tobytes())
        state = new
    assert [len(keys) for keys in fresh.values()] == [3, 3]


def test_nested_noise_is_independent():
    """Two dropouts, one inside the other, and two layers of a stack."""
    for inner, params in (
        (rnnjax.input_dropout(IDENTITY, RATE), INPUT),
        (rnnjax.dropout(RATE), ()),
    ):
        twice = rnnjax.input_dropout(inner, RATE)
        state = twice.initial_state(params, (B,), key=KEY)
        _, ys = rnnjax.unroll(twice, params, state, ONES)
        expected, n = (1 - RATE) ** 2, ys.size
        assert abs((ys != 0).mean() - expected) < 5 * (expected * (1 - expected) / n) ** 0.5
    deep = rnnjax.recurrent_dropout(rnnjax.stack(IDENTITY, IDENTITY), RATE, variational=True)
    state = deep.initial_state((STATE, STATE), (B,), key=KEY)
    state = state._replace(cell=(jnp.ones((B, H)), jnp.ones((B, H))))
    (low, high), *_ = deep.step((STATE, STATE), state, ONES[0])[0]
    assert ((low != 0) != (high != 0)).any(-1).all()


def test_a_reset_draws_a_new_mask_in_its_row_alone():
    cell = rnnjax.input_dropout(IDENTITY, RATE, variational=True)
    resets = jnp.zeros((4, B), bool).at[2, 0].set(True)
    _, ys = rnnjax.unroll(cell, INPUT, with_ones(cell, INPUT), ONES[:4], resets=resets)
    assert (ys[1] == ys[0]).all()
    assert (ys[2:, 1:] == ys[0, 1:]).all()
    assert (ys[2, 0] != ys[0, 0]).any()
    assert (ys[3, 0] == ys[2, 0]).all()


def test_evaluation_drops_nothing():
    xs = jax.random.normal(KEY, (T, B, H))
    params = IDENTITY.init(KEY, H)
    _, want = rnnjax.unroll(IDENTITY, params, None, xs)
    for cell in (
        rnnjax.input_dropout(IDENTITY, RATE),
        rnnjax.recurrent_dropout(IDENTITY, RATE, variational=True),
        rnnjax.weight_drop(IDENTITY, RATE),
    ):
        assert_bitwise(rnnjax.unroll(cell, params, None, xs)[1], want)


def test_drop_weights():
    cell = rnnjax.stack(rnnjax.lstm(H), rnnjax.gru(H))
    params = cell.init(KEY, H)
    params = (params[0], params[1]._replace(w_h=jnp.ones((H, 3 * H))))
    dropped = rnnjax.drop_weights(cell, params, RATE, key=KEY)
    kept = [d.w_h != 0 for d in dropped]
    for before, after, left in zip(params, dropped, kept, strict=True):
        assert_close(after.w_h, jnp.where(left, before.w_h / (1 - RATE), 0))
        assert abs(left.mean() - (1 - RATE)) < 5 * (RATE * (1 - RATE) / left.size) ** 0.5
        assert_bitwise(after._replace(w_h=()), before._replace(w_h=()))
    assert (kept[0][:, : 3 * H] != kept[1]).any()
    assert_bitwise(rnnjax.drop_weights(cell, params, RATE, key=KEY), dropped)
    assert_bitwise(rnnjax.drop_weights(cell, params, 0.0, key=KEY), params)


def test_zoneout_rates_reach_their_leaves():
    cell = rnnjax.lstm(H)
    params = cell.init(KEY, H)
    for rates in ({"c": RATE}, {"rates": LSTMState(h=0.0, c=RATE)}):
        zoned = rnnjax.zoneout(cell, **rates)
        state = zoned.initial_state(params, (B,), key=KEY)
        new, _ = zoned.step(params, state, ONES[0])
        assert not (new.cell.h == state.cell.h).any()
        kept = new.cell.c == state.cell.c
        assert abs(kept.mean() - RATE) < 5 * (RATE * (1 - RATE) / kept.size) ** 0.5


def test_samples_fed_back_are_drawn_in_float32():
    """Of equal logits the noise decides; of few values, as in bfloat16, ties go to the first."""
    symbols, rows, dtype = 512, 2000, jnp.bfloat16
    logits = rnnjax.Cell(
        "logits",
        init=lambda key, x_spec: jnp.zeros(symbols, dtype),
        initial_state=lambda params, batch=(), *, key=None: (),
        step=lambda params, state, x: (state, jnp.zeros((*x.shape[:-1], symbols), dtype)),
    )
    cell = rnnjax.feedback(logits, symbols, feed="sample")
    state = cell.initial_state(logits.init(KEY, 1), (rows,), key=KEY)
    state, _ = jax.jit(cell.step)((), state, jnp.zeros((rows, 1), dtype))
    first = np.asarray(state.cell.y.argmax(-1) < 64).mean()
    assert abs(first - 64 / symbols) < 0.03
