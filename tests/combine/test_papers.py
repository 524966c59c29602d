"""Zoneout, layer normalisation and variational dropout against the equations of their papers.

Float64 NumPy loops, one row at a time, with random weights and a state that is not zero. Masks are
seen through probes: cells so simple that what comes out is the mask.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close, gradient, sigmoid

import rnnjax
from rnnjax import ElmanParams, LSTMState

pytestmark = pytest.mark.usefixtures("x64")
T, B, D, H = 5, 2, 3, 4
KEY = jax.random.key(5)


def draw(cell, seed=0):
    params = cell.init(KEY, D)
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: a + jnp.asarray(rng.normal(0, 0.4, a.shape)), params)


def normal(*shape, seed=1):
    return np.random.default_rng(seed).normal(0, 1, shape)


def layer_norm(a):
    return (a - a.mean()) / np.sqrt(((a - a.mean()) ** 2).mean() + 1e-6)


def gates(array, count):
    size = array.shape[-1] // count
    return [array[..., k * size : (k + 1) * size] for k in range(count)]


def check(cell, loop, params, state, xs, floats=lambda s: s):
    """Values, final state, and gradients of a weighted sum for parameters and inputs."""
    weights = normal(T, B, H, seed=3)

    def loss(params, xs):
        return (rnnjax.unroll(cell, params, state, xs)[1] * weights).sum()

    def want(params, xs):
        begin = jax.tree.map(np.asarray, floats(state))
        begins = [jax.tree.map(lambda a, b=b: a[b], begin) for b in range(B)]
        rows = [loop(params, begins[b], xs[:, b], b) for b in range(B)]
        return [final for final, _ in rows], np.stack([ys for _, ys in rows], 1)

    final, ys = rnnjax.unroll(cell, params, state, xs)
    numpy = jax.tree.map(np.asarray, params)
    finals, expected = want(numpy, np.asarray(xs))
    assert_close(ys, expected)
    for b in range(B):
        assert_close(jax.tree.map(lambda a, b=b: a[b], floats(final)), finals[b])
    grads = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, xs)
    assert_close(
        grads, gradient(lambda both: (want(*both)[1] * weights).sum(), (numpy, np.asarray(xs)))
    )


def test_layer_norm_lstm():
    cell = rnnjax.layer_norm_lstm(H)

    def loop(p, s, xs, row):
        (h, c), ys = s, []
        for x in xs:
            a = p.scale_h * layer_norm(h @ p.w_h) + p.scale_x * layer_norm(x @ p.w_x) + p.b
            i, f, g, o = gates(a, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(p.scale_c * layer_norm(c) + p.offset_c)
            ys.append(h)
        return LSTMState(h, c), np.stack(ys)

    state = LSTMState(jnp.asarray(normal(B, H)), jnp.asarray(normal(B, H, seed=2)))
    check(cell, loop, draw(cell), state, jnp.asarray(normal(T, B, D)))


@pytest.mark.parametrize("reset", ["after", "before"])
def test_layer_norm_gru(reset):
    cell = rnnjax.layer_norm_gru(H, reset=reset)

    def loop(p, h, xs, row):
        ys = []
        (W_r, W_z, W_n), (U_r, U_z, U_n), (b_r, b_z, b_c) = (gates(a, 3) for a in p[:3])
        (s_r, s_z, s_n), (g_r, g_z, g_n) = gates(p.scale_x, 3), gates(p.scale_h, 3)
        for x in xs:
            x_rz = layer_norm(np.concatenate([x @ W_r, x @ W_z]))
            h_rz = layer_norm(np.concatenate([h @ U_r, h @ U_z]))
            r = sigmoid(s_r * x_rz[:H] + g_r * h_rz[:H] + b_r)
            z = sigmoid(s_z * x_rz[H:] + g_z * h_rz[H:] + b_z)
            if reset == "after":
                h_n = r * (g_n * layer_norm(h @ U_n) + p.b_n)
            else:
                h_n = g_n * layer_norm((r * h) @ U_n)
            h = (1 - z) * np.tanh(s_n * layer_norm(x @ W_n) + b_c + h_n) + z * h
            ys.append(h)
        return h, np.stack(ys)

    check(cell, loop, draw(cell), jnp.asarray(normal(B, H)), jnp.asarray(normal(T, B, D)))


def lstm_cell(p, h_gates, c, x):
    """One LSTM step, h as the gates see it."""
    i, f, g, o = gates(x @ p.w_x + h_gates @ p.w_h + p.b, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def zoneout_masks(cell):
    """[T, B, H] for h and for c: True where zoneout keeps the old value, by a cell that counts."""
    counter = rnnjax.Cell(
        name="counter",
        init=lambda key, x_spec: (),
        initial_state=lambda params, batch=(), *, key=None: LSTMState(
            jnp.zeros((*batch, H)), jnp.zeros((*batch, H))
        ),
        step=lambda params, s, x: (LSTMState(s.h + 1, s.c + 1), s),
        output_of=lambda s: s,
    )
    zoned = rnnjax.zoneout(counter, h=0.3, c=0.6)
    state = zoned.initial_state((), (B,), key=KEY)
    _, counts = rnnjax.unroll(zoned, (), state, jnp.zeros((T, B, D)))
    return jax.tree.map(lambda n: np.diff(np.asarray(n), axis=0, prepend=0) == 0, counts)


@pytest.mark.parametrize("training", [True, False])
def test_zoneout_lstm(training):
    cell = rnnjax.zoneout(rnnjax.lstm(H), h=0.3, c=0.6)
    params = draw(cell)
    state = cell.initial_state(params, (B,), key=KEY if training else None)
    begin = LSTMState(jnp.asarray(normal(B, H)), jnp.asarray(normal(B, H, seed=2)))
    masks = zoneout_masks(cell)
    assert 0 < masks.h.mean() < masks.c.mean() < 1

    def loop(p, s, xs, row):
        (h, c), ys = s, []
        for t, x in enumerate(xs):
            h_new, c_new = lstm_cell(p, h, c, x)
            d_h, d_c = (masks.h[t, row], masks.c[t, row]) if training else (0.3, 0.6)
            h, c = d_h * h + (1 - d_h) * h_new, d_c * c + (1 - d_c) * c_new
            ys.append(h)
        return LSTMState(h, c), np.stack(ys)

    state = state._replace(cell=begin)
    check(cell, loop, params, state, jnp.asarray(normal(T, B, D)), lambda s: s.cell)


def dropout_mask(rate):
    """[B, H]: the mask of the one recurrent field of a cell with H units, by the identity."""
    probe = rnnjax.recurrent_dropout(rnnjax.elman(H, activation="identity"), rate, variational=True)
    params = ElmanParams(w_x=jnp.zeros((D, H)), w_h=jnp.eye(H), b=jnp.zeros(H))
    state = probe.initial_state(params, (B,), key=KEY)._replace(cell=jnp.ones((B, H)))
    return np.asarray(probe.step(params, state, jnp.zeros((B, D)))[1])


@pytest.mark.parametrize("inner", ["lstm", "after", "before"])
def test_variational_dropout(inner):
    """One mask a row for h on its way into the gates, the same at every step (Gal, equation 7)."""
    plain = rnnjax.lstm(H) if inner == "lstm" else rnnjax.gru(H, reset=inner)
    cell = rnnjax.recurrent_dropout(plain, 0.5, variational=True)
    params = draw(cell)
    m = dropout_mask(0.5)
    assert set(np.unique(m)) == {0.0, 2.0}

    def lstm(p, s, xs, row):
        (h, c), ys = s, []
        for x in xs:
            h, c = lstm_cell(p, m[row] * h, c, x)
            ys.append(h)
        return LSTMState(h, c), np.stack(ys)

    def gru(p, h, xs, row):
        ys = []
        (W_r, W_z, W_n), (U_r, U_z, U_n), (b_r, b_z, b_c) = (gates(a, 3) for a in p[:3])
        for x in xs:
            d = m[row] * h
            r, z = sigmoid(x @ W_r + d @ U_r + b_r), sigmoid(x @ W_z + d @ U_z + b_z)
            if inner == "after":
                n = np.tanh(x @ W_n + b_c + r * (d @ U_n + p.b_n))
            else:
                n = np.tanh(x @ W_n + b_c + (r * d) @ U_n)
            h = (1 - z) * n + z * h
            ys.append(h)
        return h, np.stack(ys)

    h, c = jnp.asarray(normal(B, H)), jnp.asarray(normal(B, H, seed=2))
    state = cell.initial_state(params, (B,), key=KEY)
    state = state._replace(cell=LSTMState(h, c) if inner == "lstm" else h)
    loop = lstm if inner == "lstm" else gru
    check(cell, loop, params, state, jnp.asarray(normal(T, B, D)), lambda s: s.cell)
