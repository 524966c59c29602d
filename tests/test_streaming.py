"""The same parameters one step at a time: jitted, donated, exported, and as an agent acts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CELLS, parameters
from jax import export
from oracles import assert_close

import rnnjax

T, B = 6, 2
MODEL, draw_inputs = CELLS["language-model"]


def setup():
    return parameters("language-model"), draw_inputs(np.random.default_rng(1), (T, B))


@pytest.mark.parametrize("key", [None, 3])
def test_jitted_donated_steps_equal_unroll(key):
    params, xs = setup()
    key = None if key is None else jax.random.key(key)
    step = jax.jit(MODEL.step, donate_argnums=1)
    state, ys = MODEL.initial_state(params, (B,), key=key), []
    for x in xs:
        state, y = step(params, state, x)
        ys.append(y)
    whole = rnnjax.unroll(MODEL, params, MODEL.initial_state(params, (B,), key=key), xs)
    assert_close((state, np.stack(ys)), whole)


def test_an_exported_step_streams():
    cell = rnnjax.stack(rnnjax.lstm(4), rnnjax.linear(3))
    params = jax.jit(lambda key: cell.init(key, 2))(jax.random.key(0))
    xs = np.random.default_rng(1).normal(size=(T, B, 2)).astype(np.float32)

    def step(h, c, x):  # what is exported takes and gives plain arrays
        ((h, c), _), y = cell.step(params, (rnnjax.LSTMState(h, c), ()), x)
        return h, c, y

    (h, c), _ = cell.initial_state(params, (B,))
    written = export.export(jax.jit(step))(h, c, xs[0]).serialize()
    read = export.deserialize(written)
    ys = []
    for x in xs:
        h, c, y = read.call(h, c, x)
        ys.append(y)
    state, whole = rnnjax.unroll(cell, params, None, xs)
    assert_close(np.stack(ys), whole)
    assert_close((h, c), tuple(state[0]))


def test_replaying_a_rollout_gives_the_numbers_of_acting():
    """Act step by step, restart where an episode ended; then learn from one unroll."""
    params, xs = setup()
    dones = np.random.default_rng(2).random((T, B)) < 0.4
    fresh, acted = MODEL.initial_state(params, (B,)), []
    state = fresh

    @jax.jit
    def act(params, state, x, done):
        def restarted(new, old):
            return jnp.where(done.reshape(B, *(1,) * (new.ndim - 1)), new, old)

        return MODEL.step(params, jax.tree.map(restarted, fresh, state), x)

    for x, done in zip(xs, dones, strict=True):
        state, y = act(params, state, x, done)
        acted.append(y)
    assert_close(rnnjax.unroll(MODEL, params, fresh, xs, resets=dones)[1], np.stack(acted))
