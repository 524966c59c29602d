"""`cast`: which dtype each thing has, and what the numbers are."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from oracles import assert_close, sigmoid

import rnnjax
from rnnjax import LSTMState

D, H, T, B = 6, 8, 5, 2
KEY = jax.random.key(0)
XS = jax.random.normal(KEY, (T, B, D))
DTYPES = LSTMState(h="bfloat16", c="float32")


def narrow(a):
    return np.asarray(a).astype(ml_dtypes.bfloat16).astype(np.float64)


def test_an_lstm_in_mixed_precision_by_a_numpy_loop():
    """Operands of products rounded, all else wide; h rounded when stored, c not."""
    cell = rnnjax.cast(rnnjax.lstm(H), "bfloat16", state=DTYPES)
    params = jax.tree.map(lambda a: a + 0.3 * jax.random.normal(KEY, a.shape), cell.init(KEY, D))
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    state, h, c = cell.initial_state(params, (B,)), np.zeros((B, H)), np.zeros((B, H))
    for x in np.asarray(XS):
        a = narrow(x) @ narrow(p.w_x) + narrow(h) @ narrow(p.w_h) + p.b
        i, f, g, o = np.split(a, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        state, y = cell.step(params, state, jnp.asarray(x))
        # One step from the same h: where a sum falls between two bfloat16 numbers, rounding is a
        # matter of the last bit of float32.
        wide = sigmoid(o) * np.tanh(c)
        assert np.abs(np.asarray(state.c) - c).max() < 1e-5
        assert np.abs(np.asarray(y, np.float64) - wide).max() <= 2.0**-8 * np.abs(wide).max()
        h, c = np.asarray(state.h, np.float64), np.asarray(state.c, np.float64)
    assert np.abs(c - np.asarray(jnp.asarray(c).astype(jnp.bfloat16))).max() > 1e-4  # c stays wide


def test_dtypes_of_parameters_state_outputs_and_gradients():
    for stored in ("float32", "bfloat16"):
        cell = rnnjax.cast(rnnjax.lstm(H), "bfloat16", params=stored, state=DTYPES)
        params = cell.init(KEY, D)
        assert {a.dtype.name for a in params} == {stored}
        state, ys = rnnjax.unroll(cell, params, None, XS)
        assert (state.h.dtype, state.c.dtype, ys.dtype) == (jnp.bfloat16, jnp.float32, jnp.bfloat16)

        def loss(params, cell=cell):
            return rnnjax.unroll(cell, params, None, XS)[1].astype(jnp.float32).sum()

        grads = jax.jit(jax.grad(loss))(params)
        assert {a.dtype.name for a in grads} == {stored}
    # A stack, whose readout has no state of its own, gives its output in the compute dtype.
    model = rnnjax.cast(rnnjax.stack(rnnjax.gru(H), rnnjax.linear(3)), "bfloat16", state="float32")
    state, ys = rnnjax.unroll(model, model.init(KEY, D), None, XS.astype(jnp.bfloat16))
    assert (ys.dtype, state[0].dtype) == (jnp.bfloat16, jnp.float32)


def test_products_accumulate_in_float32():
    """1 + 256 times 2^-9: in bfloat16 each addend is lost."""
    cell = rnnjax.cast(rnnjax.linear(1), "bfloat16")
    params = rnnjax.LinearParams(w=jnp.ones((257, 1)), b=jnp.zeros(1))
    x = jnp.full(257, 2.0**-9).at[0].set(1.0)
    _, y = cell.step(params, (), x)
    assert float(y[0]) == 1.5


def test_wide_casting_changes_nothing():
    cell = rnnjax.lstm(H)
    params = cell.init(KEY, D)
    want = rnnjax.unroll(cell, params, None, XS)
    assert_close(rnnjax.unroll(rnnjax.cast(cell, "float32"), params, None, XS), want)
    # Keys and counters of noisy cells go through.
    noisy = rnnjax.recurrent_dropout(cell, 0.5, variational=True)
    for wrapped in (
        rnnjax.cast(noisy, "float32"),
        rnnjax.recurrent_dropout(rnnjax.cast(cell, "float32"), 0.5, variational=True),
    ):
        state = wrapped.initial_state(params, (B,), key=KEY)
        want = rnnjax.unroll(noisy, params, noisy.initial_state(params, (B,), key=KEY), XS)
        assert_close(rnnjax.unroll(wrapped, params, state, XS), want)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_outputs_are_added_in_float32(dtype):
    """Two of 60000 are beyond float16; of eight 257ths each would be rounded away."""
    cells = [rnnjax.activation(lambda x, k=k: x * k) for k in (1, 1, 1, 1)]
    for merge, scale in (("sum", 4), ("mean", 1)):
        both = rnnjax.parallel(*cells, merge=merge)
        _, y = both.step(((),) * 4, ((),) * 4, jnp.asarray([15_000.0, 257.0]).astype(dtype))
        want = scale * jnp.asarray([15_000.0, 257.0]).astype(dtype).astype(float)
        assert (y.tolist(), y.dtype) == (want.astype(dtype).tolist(), dtype)
    _, y = rnnjax.parallel(*cells, merge="mean").step(((),) * 4, ((),) * 4, jnp.full(1, 6e4, dtype))
    assert y == jnp.full(1, 6e4, dtype)
    one = rnnjax.activation(lambda x: x + 1)
    assert rnnjax.parallel(one, one, merge="sum").step(((),) * 2, ((),) * 2, jnp.arange(2))[
        1
    ].tolist() == [2, 4]
