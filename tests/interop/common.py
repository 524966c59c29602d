"""Models to convert, random parameters and inputs for them, and the comparison with a library."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from oracles import assert_close, pair

import rnnjax
from rnnjax._layer import layer_of
from rnnjax.interop._models import input_spec

T, B, D, H = 4, 3, 3, 4
LENGTHS = np.array([T, 1, 2])
REAL = np.arange(T)[:, None, None] < LENGTHS[:, None]

both, serial = rnnjax.bidirectional, rnnjax.serial
LSTM, GRU, BEFORE = rnnjax.lstm(H), rnnjax.gru(H), rnnjax.gru(H, reset="before")
TANH, RELU = rnnjax.elman(H), rnnjax.elman(H, activation="relu")
CONV = rnnjax.conv_lstm((3, 2), 2, kernel=(3, 2))
UGRNN = rnnjax.ugrnn(H)


def language_model(*cells):
    """Symbols in, logits out, with names."""
    return rnnjax.stack(
        embed=rnnjax.embed(7, D), rnn=rnnjax.stack(*cells), readout=rnnjax.linear(5)
    )


def drawn(model, dtype=np.float64, seed=0):
    """Random parameters, different for every gate; some are -0.0."""
    rng = np.random.default_rng(seed)
    like = jax.eval_shape(lambda: model.init(jax.random.key(0), input_spec(model, D)))

    def draw(leaf):
        a = rng.normal(0, 0.7, leaf.shape).astype(dtype)
        return np.where(rng.random(leaf.shape) < 0.1, np.array(-0.0, dtype), a)

    return jax.tree.map(draw, like)


def inputs(model, dtype=np.float64, seed=1):
    """Random inputs [T, B, ...], and weights of the outputs in a loss, of none that are padding."""
    rng, spec = np.random.default_rng(seed), input_spec(model, D)
    xs = rng.normal(0, 1, (T, B, *spec.shape)).astype(dtype)
    if np.issubdtype(spec.dtype, np.integer):
        xs = rng.integers(0, 7, (T, B))
    return xs


def differentiated(run, params, xs, bar):
    """The outputs and the gradients for the parameters."""

    def loss(params):
        ys = run(params, xs)
        return pair(ys, bar), ys

    grads, ys = jax.jit(jax.grad(loss, has_aux=True))(params)
    return ys, grads


def compare(model, run, convert, *, lengths=None, dtype=np.float64):
    """Compares values and gradients with `run(convert(params), xs) -> ys`, time first."""
    params, xs = drawn(model, dtype), inputs(model, dtype)

    def ours(params, xs):
        return layer_of(model).apply(params, xs, lengths=lengths)[1]

    def theirs(params, xs):
        with jax.numpy_dtype_promotion("standard"):
            return run(convert(params), xs)

    shape = jax.eval_shape(ours, params, xs).shape
    bar = np.random.default_rng(2).normal(0, 1, shape).astype(dtype)
    bar = bar if lengths is None else bar * REAL.astype(dtype)
    got, want = (differentiated(f, params, xs, bar) for f in (ours, theirs))
    if lengths is not None:  # what stands on padding is a library's own
        got, want = ((np.where(REAL, ys, 0), grads) for ys, grads in (got, want))
    narrow = jax.tree.map(lambda a: np.asarray(a, dtype), (got, want))
    assert_close(*narrow)


def keras_module():
    """Keras with the backend of JAX; skips the test without it."""
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    if keras.backend.backend() != "jax":
        pytest.skip("another test imported Keras with another backend")
    return keras
