"""How the cells of the LSTM's family are related to it, where they are at their limits, and what
they refuse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close, sigmoid

import rnnjax

T, B, D, H = 4, 2, 3, 4
KEY = jax.random.key(0)


def normal(seed, like):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: rng.normal(0, 1, a.shape), like)


def drawn(cell, spec=D):
    return normal(0, jax.eval_shape(lambda: cell.init(KEY, spec)))


@functools.partial(jax.jit, static_argnums=0)
def run(cell, params, xs):
    return rnnjax.unroll(cell, params, None, xs)


XS = np.random.default_rng(1).normal(0, 1, (T, B, D))
LSTM = drawn(rnnjax.lstm(H))


@pytest.mark.usefixtures("x64")
def test_what_makes_an_lstm_of_them():
    want = run(rnnjax.lstm(H), LSTM, XS)
    peepholes = rnnjax.PeepholeLSTMParams(*LSTM, diagonal=np.zeros(3 * H))
    assert_close(run(rnnjax.peephole_lstm(H), peepholes, XS), want)
    projection = rnnjax.ProjectedLSTMParams(*LSTM, w_p=np.eye(H))
    assert_close(run(rnnjax.projected_lstm(H, H), projection, XS), want)
    # Always open: half of the period has passed, of which all is open.
    phases = {"log_tau": np.zeros(H), "b_time": np.zeros(H), "logit_rate": np.full(H, 50.0)}
    phased = rnnjax.PhasedLSTMParams(*peepholes, **phases)
    assert_close(run(rnnjax.phased_lstm(H), phased, (XS, np.full((T, B), 0.5))), want)


@pytest.mark.usefixtures("x64")
def test_a_kernel_of_one_place_is_an_lstm_at_each():
    xs = np.random.default_rng(1).normal(0, 1, (T, B, 2, 3, D))
    conv = rnnjax.conv_lstm((2, 3), H, kernel=1)
    want = run(rnnjax.lstm(H), LSTM, xs)
    assert_close(run(conv, rnnjax.ConvLSTMParams(*LSTM), xs), want)


@pytest.mark.usefixtures("x64")
def test_a_closed_unit_keeps_its_state():
    cell = rnnjax.phased_lstm(H, leak=0.0)
    params = drawn(cell, (D, float))._replace(
        log_tau=np.log(np.full(H, 10.0)), b_time=np.zeros(H), logit_rate=np.full(H, -1.0)
    )
    (h, c), _ = run(cell, params, (XS, np.linspace(5, 9, T)[:, None] + np.zeros((T, B))))
    assert not h.any()
    assert not c.any()


EXPONENTIAL = [
    make(H, heads=heads, forget=forget)
    for make in (rnnjax.slstm, rnnjax.mlstm)
    for heads, forget in ((1, "exp"), (2, "sigmoid"))
]


@pytest.mark.parametrize("cell", [*EXPONENTIAL, rnnjax.on_lstm(H)], ids=lambda cell: cell.name)
@pytest.mark.parametrize("size", [0.0, 300.0])
def test_exponents_of_any_size_leave_all_finite(cell, size):
    params = jax.tree.map(np.float32, drawn(cell))
    xs = np.float32(size * np.stack([XS, -XS]).reshape(2 * T, B, D))

    def loss(params, xs):
        final, ys = rnnjax.unroll(cell, params, None, xs)
        return ys.sum(), (final, ys)

    found = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(params, xs)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def test_an_empty_past_is_compared_with_nothing():
    """Input gates of exp(-300), which is 0 in float32, and yet all there is; forget gates of
    exp(300), which forget nothing."""
    cell = rnnjax.slstm(1)
    b = np.float32([-300, 2, 1, 0])
    params = rnnjax.SLSTMParams(np.zeros((1, 4), "f"), np.zeros((1, 4), "f"), b)
    _, ys = run(cell, params, np.ones((2, 1, 1), "f"))
    assert_close(ys.ravel(), np.float32(sigmoid(0) * np.tanh([1, 1])))
    cell = rnnjax.mlstm(1, forget="exp")
    params = rnnjax.MLSTMParams(np.zeros((1, 6), "f"), np.float32([1, 1, 2, 0, 5, 300]))
    _, ys = run(cell, params, np.ones((2, 1, 1), "f"))
    assert_close(ys.ravel(), np.float32([1, 1]))  # σ(0) v


@pytest.mark.parametrize("cell", [rnnjax.slstm(1), rnnjax.mlstm(1)], ids=lambda cell: cell.name)
def test_half_precision_forgets_beside_a_large_stabiliser(cell):
    """log σ(4.6) = -0.01 is nothing beside m = 8 in bfloat16, 100 times it is 1/e."""
    params = jax.tree.map(jnp.zeros_like, cell.init(KEY, jnp.ones(1, jnp.bfloat16)))
    b = [-50, 4.6, 0, 0] if "slstm" in cell.name else [0, 0, 0, 0, -50, 4.6]
    params = params._replace(b=jnp.asarray(b, jnp.bfloat16))
    state = jax.tree.map(jnp.ones_like, cell.initial_state(params))
    state = state._replace(m=jnp.full_like(state.m, 8))
    xs = jnp.zeros((100, 1), jnp.bfloat16)
    final = jax.jit(lambda: rnnjax.unroll(cell, params, state, xs)[0])()
    decay = float(jnp.log(final.c.astype("float32")).sum() + final.m.astype("float32").sum() - 8)
    assert abs(decay + 1) < 0.25


def test_a_past_may_come_in_at_any_learned_state():
    """The gradient for the initial memory of `slstm` is not cut off by n = 0."""
    cell = rnnjax.learned_state(rnnjax.slstm(H))
    params = cell.init(KEY, D)
    grads = jax.jit(jax.grad(lambda p: rnnjax.unroll(cell, p, None, np.float32(XS))[1].sum()))
    assert all(g.all() for g in (grads(params).initial.c, grads(params).initial.h))


@pytest.mark.usefixtures("x64")
def test_spectral_norm_of_slstm_is_that_of_each_head():
    cell = rnnjax.slstm(H, heads=2)
    params = drawn(cell)
    scaled = params._replace(w_h=params.w_h.copy())
    for k in range(8):  # four gates of two heads, [2, 2] each
        block = np.s_[:, 2 * k : 2 * k + 2]
        scaled.w_h[block] *= 0.5 / np.linalg.norm(params.w_h[block], 2)
    assert_close(run(rnnjax.spectral(cell, 0.5), params, XS), run(cell, scaled, XS))


@pytest.mark.parametrize("cell", [
    rnnjax.peephole_lstm(H), rnnjax.coupled_lstm(H), rnnjax.projected_lstm(H, 2),
    rnnjax.lstm_1997(H), rnnjax.janet(H), rnnjax.slstm(H), rnnjax.multiplicative_lstm(H),
    rnnjax.on_lstm(H), rnnjax.nas(H),
], ids=lambda cell: cell.name)  # fmt: skip
def test_their_recurrent_weights_drop(cell):
    dropping = rnnjax.recurrent_dropout(cell, 0.5)
    params = jax.eval_shape(lambda: dropping.init(KEY, D))
    state = jax.eval_shape(lambda p: dropping.initial_state(p, (B,), key=KEY), params)
    after, _ = jax.eval_shape(dropping.step, params, state, jnp.ones((B, D)))
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_initial_biases():
    janet = jax.jit(lambda: rnnjax.janet(64, longest=100).init(KEY, D))()
    b_f, b_n = np.split(np.asarray(janet.b), 2)
    assert 0 <= b_f.min() < 3 < b_f.max() <= np.log(99)
    assert not b_n.any()
    half = (jnp.ones(D, jnp.bfloat16), jnp.zeros(()))
    phased = jax.jit(lambda: rnnjax.phased_lstm(64, longest=50.0, ratio=0.2).init(KEY, half))()
    tau = np.exp(np.float32(phased.log_tau))
    assert {leaf.dtype.name for leaf in phased} == {"bfloat16"}
    assert 1 <= tau.min() < 5 < 20 < tau.max() <= 50.5
    assert ((phased.b_time >= 0) & (np.float32(phased.b_time) <= 1.02 * tau)).all()
    assert_close(sigmoid(np.float32(phased.logit_rate)).round(2), np.full(64, 0.2, "f"))
    torch = jax.jit(lambda: rnnjax.projected_lstm(64, 4, init="torch").init(KEY, D))()
    for leaf in (torch.w_x, torch.w_h, torch.w_p):
        assert 0.11 < abs(leaf).max() <= 0.125


IMAGES = rnnjax.conv_lstm((2, 3), 1)
TIMED = rnnjax.phased_lstm(H)
TABLE = [
    (lambda: rnnjax.projected_lstm(4, 5), ValueError, r"must be at most hidden_size, 4, got 5"),
    (lambda: rnnjax.slstm(4, heads=3), ValueError, r"slstm: heads must divide .*4, got 3"),
    (lambda: rnnjax.mlstm(4, heads=3), ValueError, r"mlstm: heads must divide .*4, got 3"),
    (lambda: rnnjax.slstm(4, forget="tanh"), ValueError, r"forget must be one of sigmoid, exp"),
    (lambda: rnnjax.on_lstm(4, chunk=3), ValueError, r"chunk must divide hidden_size, 4, got 3"),
    (lambda: rnnjax.janet(4, beta=-1), ValueError, r"janet: beta must be .*at least 0.*got -1"),
    (lambda: rnnjax.janet(4, longest=1), ValueError, r"longest must be an int of at least 2"),
    (lambda: rnnjax.phased_lstm(4, ratio=0), ValueError, r"ratio must be a number in \(0, 1\)"),
    (lambda: TIMED.init(KEY, D), TypeError, r"phased_lstm\(4\) needs pairs \(x_t, t\).*got int"),
    (lambda: TIMED.step(None, None, XS[0]), TypeError, r"needs pairs \(x_t, t\).*got ndarray"),
    (lambda: rnnjax.conv_lstm(8, 4), TypeError, r"shape must be a tuple of 1, 2 or 3 .*got 8"),
    (lambda: rnnjax.conv_lstm((1,) * 4, 4), TypeError, r"shape must be a tuple of 1, 2 or 3"),
    (lambda: rnnjax.conv_lstm((8, 0), 4), ValueError, r"shape must be a positive int, got 0"),
    (lambda: rnnjax.conv_lstm((8,), 4, kernel=(3, 3)), ValueError, r"kernel must have 1 sizes"),
    (lambda: IMAGES.init(KEY, D), ValueError, r"inputs of shape \[2, 3, 'features'\], got \[3\]"),
    (lambda: IMAGES.step(IMAGES.init(KEY, jnp.ones((2, 3, 4))), None, jnp.ones((2, 3, 5))),
     ValueError, r"has shape \[2, 3, 5\], expected \[2, 3, 4\]"),
    (lambda: rnnjax.spectral(IMAGES), TypeError, r"declares no recurrent weights"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), TABLE)
def test_what_they_refuse(call, error, message):
    with pytest.raises(error, match=message):
        call()
