"""The transformations without noise, against their equations step by step."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close, sigmoid
from transformations import D, H, parameters

import rnnjax

pytestmark = pytest.mark.usefixtures("x64")
T, B = 5, 2
GRU = rnnjax.gru(H)


def inputs(*shape):
    return jax.random.normal(jax.random.key(1), shape, float)


def looped(cell, params, h, xs):
    """States and outputs of a plain loop over the cell inside."""
    hs = []
    for x in xs:
        h, _ = cell.step(params, h, x)
        hs.append(h)
    return jnp.stack(hs)


def test_shortcuts_equations():
    xs = inputs(T, B, D)
    cell = rnnjax.highway(GRU)
    params = parameters(cell)
    u = looped(GRU, params.cell, jnp.zeros((B, H)), xs)
    g = sigmoid(np.asarray(xs) @ np.asarray(params.w) + np.asarray(params.b))
    assert_close(rnnjax.unroll(cell, params, None, xs)[1], g * u + (1 - g) * xs)
    assert_close(rnnjax.unroll(rnnjax.residual(GRU), params.cell, None, xs)[1], u + xs)
    assert float(cell.init(jax.random.key(0), D).b.max()) == -1


@pytest.mark.parametrize("merge", ["concat", "sum", "mean", "separate"])
def test_parallel_equations(merge):
    xs, cells = inputs(T, B, D), (GRU, rnnjax.elman(H))
    cell = rnnjax.parallel(*cells, merge=merge)
    params = parameters(cell)
    each = [looped(c, p, jnp.zeros((B, H)), xs) for c, p in zip(cells, params, strict=True)]
    want = {
        "concat": lambda a, b: jnp.concatenate([a, b], -1),
        "sum": lambda a, b: a + b,
        "mean": lambda a, b: (a + b) / 2,
        "separate": lambda a, b: (a, b),
    }[merge](*each)
    assert_close(rnnjax.unroll(cell, params, None, xs)[1], want)


def test_parallel_merges_dtypes_to_the_widest():
    cell = rnnjax.parallel(rnnjax.cast(GRU, "bfloat16"), rnnjax.elman(H))
    ys = rnnjax.unroll(cell, parameters(cell), None, inputs(T, B, D))[1]
    assert ys.dtype == inputs(T, B, D).dtype
    assert ys.shape[-1] == 2 * H


@pytest.mark.parametrize("per", [None, "leaf", "unit"])
def test_leaky_equations(per):
    cell = rnnjax.learned_leaky(GRU, 0.3, per=per) if per else rnnjax.leaky(GRU, 0.3)
    params, xs = parameters(cell), inputs(T, B, D)
    inner, a = params, 0.3
    if per:
        inner, a = params.cell, sigmoid(np.asarray(params.logit_rate))
        fresh = cell.init(jax.random.key(0), D).logit_rate
        assert_close(sigmoid(np.asarray(fresh)), np.full((H,) if per == "unit" else (), 0.3))
    h, hs = jnp.ones((B, H)), []
    for x in xs:
        h = (1 - a) * h + a * GRU.step(inner, h, x)[0]
        hs.append(h)
    assert_close(rnnjax.unroll(cell, params, jnp.ones((B, H)), xs), (h, jnp.stack(hs)))


def test_learned_state_is_where_rows_and_resets_begin():
    cell = rnnjax.learned_state(rnnjax.lstm(H))
    params, xs = parameters(cell), inputs(T, B, D)
    resets = jnp.zeros((T, B), bool).at[2, 1].set(True)

    def loss(params):
        return jnp.sin(rnnjax.unroll(cell, params, None, xs, resets=resets)[1]).sum()

    def by_hand(params):
        total = 0.0
        for row, cuts in ((0, [0, T]), (1, [0, 2, T])):
            for begin, end in itertools.pairwise(cuts):
                run = rnnjax.unroll(rnnjax.lstm(H), params.cell, params.initial, xs[begin:end, row])
                total += jnp.sin(run[1]).sum()
        return total

    got, want = (jax.jit(jax.value_and_grad(f))(params) for f in (loss, by_hand))
    assert_close(got, want)
    assert all((g != 0).all() for g in got[1].initial)
    state = cell.initial_state(params, ())
    assert state.h.unsafe_buffer_pointer() != params.initial.h.unsafe_buffer_pointer()


def test_emit_state_gives_h_and_c():
    lstm = rnnjax.lstm(H)
    params, xs = parameters(lstm), inputs(T, B, D)
    final, states = rnnjax.unroll(rnnjax.emit_state(lstm), params, None, xs)
    want, hs = rnnjax.unroll(lstm, params, None, xs)
    assert_close(final, want)
    assert_close((states.h, states.c[-1]), (hs, want.c))


def test_clip_gradient_clips_what_each_step_hands_back():
    w, limit = jnp.asarray(1.5), 0.05
    linear = rnnjax.elman(1, activation="identity")
    params = rnnjax.ElmanParams(w_x=jnp.ones((1, 1)), w_h=w[None, None], b=jnp.zeros(1))
    cell = rnnjax.clip_gradient(linear, limit)
    weights = jnp.asarray([0.01, -0.02, 0.4, 0.03, -0.02])

    def loss(h, xs):
        return (rnnjax.unroll(cell, params, h, xs)[1][:, 0] * weights).sum()

    got = jax.grad(loss, argnums=(0, 1))(jnp.zeros(1), jnp.ones((T, 1)))
    back, per_step = 0.0, []
    for weight in np.asarray(weights)[::-1]:
        at_output = weight + back  # of h_t: its own output, and what came back from t + 1
        per_step.append(at_output)
        back = np.clip(at_output * 1.5, -limit, limit)
    assert_close(got, (jnp.asarray([back]), jnp.asarray(per_step[::-1])[:, None]))
    assert abs(back) == limit


def test_clip_state_clips_what_each_step_hands_on():
    cell, limit = rnnjax.clip_state(rnnjax.lstm(H), 0.2), 0.2
    params, xs = parameters(cell), inputs(T, B, D)
    silent = dataclasses.replace(rnnjax.lstm(H), output_of=None)
    state = rnnjax.LSTMState(h=jnp.zeros((B, H)), c=jnp.ones((B, H)))
    got = rnnjax.unroll(cell, params, state, xs)
    _, ys = rnnjax.unroll(rnnjax.clip_state(silent, 0.2), params, state, xs)
    hs, outs = [], []
    for x in xs:
        state, y = rnnjax.lstm(H).step(params, state, x)
        state = rnnjax.LSTMState(*(np.where(abs(s) > limit, limit * np.sign(s), s) for s in state))
        hs.append(state.h)
        outs.append(y)
    assert_close(got, (state, np.stack(hs)))
    assert_close(ys, np.stack(outs))
    assert (np.stack(hs) == -limit).any()
    assert (np.stack(hs) == limit).any()


def feedback_loop(cell, params, xs, fed):
    """Outputs of a plain loop; `fed(t, y)` says what step t gets for the last output y."""
    state, y, ys = cell.initial_state(params, (B,)), jnp.zeros((B, H)), []
    for t, x in enumerate(xs):
        state, y = cell.step(params, state, jnp.concatenate([x, fed(t, y)], -1))
        ys.append(y)
    return jnp.stack(ys)


def test_feedback_runs_freely_or_by_the_teacher():
    inner = rnnjax.stack(GRU, rnnjax.linear(H))
    xs, targets = inputs(T, B, D), 2 + inputs(T, B, H)
    free, teacher = rnnjax.feedback(inner, H), rnnjax.teacher_forcing(inner, H)
    params = parameters(free)
    want = feedback_loop(inner, params, xs, lambda t, y: y)
    assert_close(rnnjax.unroll(free, params, None, xs)[1], want)
    want = feedback_loop(inner, params, xs, lambda t, y: targets[t])
    assert_close(rnnjax.unroll(teacher, params, None, (xs, targets))[1], want)


def test_feedback_schedules_by_key_and_runs_freely_without():
    """y_t = what is fed: zeros of its own, ones of the teacher's."""
    inner = rnnjax.activation("identity")
    cell, n = rnnjax.scheduled_sampling(inner, 1, rate=0.3), 400
    state = cell.initial_state((), (n,), key=jax.random.key(3))
    state, ys = rnnjax.unroll(cell, (), state, (jnp.zeros((20, n, 0)), jnp.ones((20, n, 1))))
    # A row stays at 1 once the teacher has said so: 0 with probability 0.7^t.
    for t in (0, 4):
        p = 0.7 ** (t + 1)
        assert abs((ys[t] == 0).mean() - p) < 5 * (p * (1 - p) / n) ** 0.5
    fresh = cell.initial_state((), (n,))
    _, ys = rnnjax.unroll(cell, (), fresh, (jnp.zeros((3, n, 0)), jnp.ones((3, n, 1))))
    assert (ys == 0).all()


def test_feedback_of_symbols():
    """Logits that do not depend on the input: their argmax or samples come back as one-hots."""
    table = jnp.log(jnp.asarray([0.1, 0.6, 0.3]))
    seen = rnnjax.Cell(
        name="seen",
        init=lambda key, x_spec: (),
        initial_state=lambda params, batch=(), *, key=None: jnp.zeros((*batch, 3)),
        step=lambda params, s, x: (x, jnp.broadcast_to(table, x.shape)),
    )
    n = 3000
    for feed, key in (("argmax", None), ("sample", None), ("sample", jax.random.key(0))):
        cell = rnnjax.feedback(seen, 3, feed=feed)
        state = cell.initial_state((), (n,), key=key)
        state, _ = rnnjax.unroll(cell, (), state, None, length=1)
        assert (state.cell.cell == 0).all()  # nothing came before
        state, _ = rnnjax.unroll(cell, (), state, None, length=1)
        assert (state.cell.cell.sum(-1) == 1).all()
        share = state.cell.cell.mean(0)
        if key is None:
            assert_close(share, jnp.asarray([0.0, 1.0, 0.0]))
        else:
            assert float(jnp.abs(share - jnp.exp(table)).max()) < 5 * (0.25 / n) ** 0.5
