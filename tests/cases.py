"""Every cell once, with inputs to run it on: adding a cell is one line here."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from oracles import numpy

import rnnjax
from rnnjax._cell import joined, parted

V, D = 5, 3


def floats(rng, shape):
    return rng.normal(0, 1, (*shape, D))


def sine(x):
    return jnp.sin(x)


def tokens(rng, shape):
    return rng.integers(0, V, shape)


CELLS = {
    "elman": (rnnjax.elman(4), floats),
    "elman-relu": (rnnjax.elman(4, activation="relu"), floats),
    "elman-function": (rnnjax.elman(4, activation=sine), floats),
    "lstm": (rnnjax.lstm(4), floats),
    "gru-after": (rnnjax.gru(4), floats),
    "gru-before": (rnnjax.gru(4, reset="before"), floats),
    "layer_norm_lstm": (rnnjax.layer_norm_lstm(4), floats),
    "layer_norm_gru": (rnnjax.layer_norm_gru(4), floats),
    "embed": (rnnjax.embed(V, 3), tokens),
    "linear": (rnnjax.linear(4), floats),
    "activation": (rnnjax.activation("tanh"), floats),
    "dropout": (rnnjax.dropout(0.4), floats),
    "layer_norm": (rnnjax.layer_norm(), floats),
    "stack": (
        rnnjax.stack(
            rnnjax.layer_norm(),
            rnnjax.lstm(4),
            rnnjax.dropout(0.4),
            rnnjax.gru(3),
            rnnjax.linear(2),
        ),
        floats,
    ),
    "language-model": (
        rnnjax.stack(rnnjax.embed(V, 3), rnnjax.dropout(0.4), rnnjax.lstm(4), rnnjax.linear(V)),
        tokens,
    ),
}
# One of each kind of state, for the tests that compile much.
FEW = ("lstm", "gru-before", "stack", "language-model")


def inputs(name, shape, seed=0):
    """xs of leading shape [T, *B], at the default precision."""
    xs = CELLS[name][1](np.random.default_rng(seed), shape)
    return jnp.asarray(xs, float if xs.dtype.kind == "f" else int)


def spec(name):
    return jax.eval_shape(functools.partial(inputs, name, ()))


def parameters(name, seed=0):
    """What `init` draws, moved off the zeros and ones it may hold."""
    return _parameters(name, seed, jnp.result_type(float))


@functools.cache
def _parameters(name, seed, _):
    cell, _ = CELLS[name]
    params = jax.jit(lambda key: cell.init(key, spec(name)))(jax.random.key(seed))
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda a: jnp.asarray(a + rng.normal(0, 0.3, a.shape), a.dtype), numpy(params)
    )


def state(name, params, batch, key=None, seed=0):
    """A state away from the initial one: noise in every float, `key`'s masks."""
    fresh = CELLS[name][0].initial_state(params, batch, key=key)
    rng = np.random.default_rng(seed)

    def move(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return jnp.asarray(leaf + rng.normal(0, 0.5, leaf.shape), leaf.dtype)

    fresh, held = parted(numpy(fresh))  # a rate is a probability
    return joined(jax.tree.map(move, fresh), held)
