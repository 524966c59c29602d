"""A small model of symbols, its text and its training step, for the tests of training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rnnjax
from rnnjax.tasks.language_model import Symbols, next_symbol_loss
from rnnjax.train import init_train_state, make_train_step

V, T, B = 6, 8, 3
MODEL = rnnjax.stack(rnnjax.embed(V, 4), rnnjax.lstm(5), rnnjax.linear(V))
NOISY = rnnjax.stack(rnnjax.embed(V, 4), rnnjax.dropout(0.5), rnnjax.gru(5), rnnjax.linear(V))
SGD, STILL = optax.sgd(1.0), optax.sgd(0.0)


def begin(cell, params, tx, key):
    carried = cell.initial_state(params, (B,), key=jax.random.fold_in(key, 0))
    return init_train_state(params, tx, key, carried)


def start(cell=MODEL, tx=None, seed=0):
    params = cell.init(jax.random.key(seed), jax.ShapeDtypeStruct((), int))
    return begin(cell, params, tx or SGD, jax.random.key(seed + 1))


def stepper(cell, tx, *, max_skips=10, **how):
    """(state, xs, targets, mask, resets) -> (state, metrics); each compiles once."""
    step = make_train_step(next_symbol_loss(cell, **how), tx, max_skips=max_skips)

    def run(state, xs, targets, mask=None, resets=None):
        return step(state, Symbols(xs, targets, False, mask, resets))

    return run


def text(length, seed=0):
    symbols = np.random.default_rng(seed).integers(0, V, (length + 1, B), np.int32)
    return jnp.asarray(symbols[:-1]), jnp.asarray(symbols[1:])


def copied(tree):
    return jax.tree.map(jnp.copy, tree)


def same(a, b):
    """Bitwise, keys included."""

    def data(leaf):
        return jax.random.key_data(leaf) if rnnjax._noise.is_key(leaf) else leaf

    return all(
        np.array_equal(data(x), data(y), equal_nan=True)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def close(a, b, tol=1e-5):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, atol=tol, rtol=tol)


def learnable():
    """A model that adds up nothing but its own initial state, which it learns."""
    return rnnjax.Cell(
        name="learnable",
        init=lambda key, x_spec: jnp.arange(float(V)),
        initial_state=lambda params, batch_shape=(), *, key=None: jnp.broadcast_to(
            params, (*batch_shape, V)
        ),
        step=lambda params, h, x: (h, h),
        x_ndims=0,
    )
