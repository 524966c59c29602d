"""Every transformation gives a cell like any other; what it computes, `test_kit.py` asks."""

import functools
import operator
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close, numpy
from transformations import TRANSFORMATIONS, D, H, floats, moved, parameters, with_floats

import rnnjax

T, B = 4, 2
CELLS = {"lstm": rnnjax.lstm(H), "gru": rnnjax.gru(H, reset="before")}
each = pytest.mark.parametrize("name", TRANSFORMATIONS)


def at(tree, index):
    return jax.tree.map(lambda a: a[index], numpy(tree))


def loss(run, weights):
    """A function of floats alone, which returns what it ran too: what autodiff is asked about."""

    def value(params, begin, state, xs):
        final, ys = run(params, with_floats(state, begin), xs)
        terms = zip([*floats(ys), *floats(final)], weights, strict=True)
        return sum((w * jnp.sin(a)).sum() for a, w in terms), (final, ys)

    return jax.jit(jax.value_and_grad(value, argnums=(0, 1, 3), has_aux=True))


@pytest.mark.slow  # another account of what the kit asks, independent of it
@pytest.mark.usefixtures("x64")
@each
@pytest.mark.parametrize("inner", CELLS)
def test_the_batch_is_each_row_alone_by_plain_scan(name, inner):
    cell = TRANSFORMATIONS[name](CELLS[inner])
    params = parameters(cell)
    state = moved(cell.initial_state(params, (B,), key=jax.random.key(2)))
    xs = np.random.default_rng(3).normal(size=(T, B, D))
    # Weights for each output and final state, broadcast over rows: nothing cancels.
    row = at(state, 0)
    end = jax.eval_shape(functools.partial(cell.step, params), row, xs[0, 0])
    weights = [0.5 + 0.3 * i for i in range(len(floats(end[1])) + len(floats(end[0])))]

    def compiled(params, state, xs):
        return rnnjax.unroll(cell, params, state, xs)

    def plain(params, state, xs):
        return jax.lax.scan(functools.partial(cell.step, params), state, xs)

    (_, (final, ys)), grads = loss(compiled, weights)(params, floats(state), state, xs)
    alone = loss(plain, weights)
    total = []
    for b in range(B):
        row = at(state, b)
        (_, (row_final, row_ys)), row_grads = alone(params, floats(row), row, xs[:, b])
        assert_close(at(final, b), row_final)
        assert_close(at(ys, (slice(None), b)), row_ys)
        assert_close(at(grads[1], b), row_grads[1])
        assert_close(at(grads[2], (slice(None), b)), row_grads[2])
        total.append(numpy(row_grads[0]))
    assert_close(grads[0], jax.tree.map(operator.add, *total))
    assert all(np.any(g) for g in jax.tree.leaves(numpy(grads)) if name != "learned_state")


@each
def test_it_is_a_cell_like_any_other(name):
    make = TRANSFORMATIONS[name]
    cell = make(CELLS["lstm"])
    assert cell is make(rnnjax.lstm(hidden_size=H))
    assert pickle.loads(pickle.dumps(cell)) == cell
    assert CELLS["lstm"].name in cell.name
    assert cell.name.startswith(name.partition("-")[0])
