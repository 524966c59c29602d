"""Every cell of the field: its paper's equations in NumPy, its size, its plan, the contract."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from environment import LONG
from oracles import assert_close, pair

import rnnjax
from rnnjax.testing import check_cell

from . import KNOWN

T, B = 4, 3
LENGTHS = np.array([T, 0, 2])
ODD = {
    "lengths": LENGTHS,
    "mask": np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 1]], bool),
    "resets": np.array([[0, 1, 0], [1, 0, 0], [0, 1, 1], [1, 0, 1]], bool),
    "reverse": True,
}
# What the NumPy loops show already; all laws in the long version.
SHOWN = [] if LONG else ["compiled", "masked"]
pytestmark = pytest.mark.usefixtures("x64")
each = pytest.mark.parametrize("name", KNOWN)
# One of each factory; the others, with other options, in the long version.
first = {known.cell._recipe[0]: name for name, known in reversed(KNOWN.items())}.values()
one = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in first else pytest.mark.slow) for n in KNOWN]
)


def rng(seed):
    return np.random.default_rng(seed)


@functools.cache
def parameters(name):
    """What `init` draws, moved off the zeros and ones it may hold."""
    known, random = KNOWN[name], rng(0)
    params = jax.jit(lambda key: known.cell.init(key, known.spec))(jax.random.key(0))
    return jax.tree.map(lambda a: np.asarray(a) + random.normal(0, 0.3, a.shape), params)


def problem(known, params):
    """State, xs and cotangents of the final state and of ys."""
    random, cell = rng(1), known.cell
    zeros = jax.tree.map(np.asarray, cell.initial_state(params, (B,)))
    draw = functools.partial(jax.tree.map, lambda a: random.normal(0, 0.7, a.shape))
    state = draw(zeros) if known.states is None else known.states(random, zeros)
    xs = known.inputs(random, (T, B))
    final, ys = jax.eval_shape(lambda: rnnjax.unroll(cell, params, state, xs))
    fresh = jax.tree.map(np.asarray, cell.initial_state(params))
    return state, xs, draw((final, ys)), fresh


@each
def test_equations(name):
    compare(name)


@one
def test_equations_with_gaps_and_restarts(name):
    compare(name, **ODD)


def compare(name, **options):
    """Values and gradients with those of the NumPy loop."""
    known, params = KNOWN[name], parameters(name)
    state, xs, bars, fresh = problem(known, params)

    def loss(params, state):
        result = rnnjax.unroll(known.cell, params, state, xs, **options)
        return pair(jax.tree.map(jnp.real, result), bars), result

    def loop(params, state):
        return oracles.run(known.step, params, fresh, state, xs, **options)

    gradients, result = jax.jit(jax.grad(loss, (0, 1), has_aux=True, allow_int=True))(params, state)
    assert_close(result, loop(params, state))
    if known.real:
        want = oracles.gradient(lambda given: pair(loop(*given), bars), (params, state))
        assert_close(gradients, want)


@each
def test_parameters_are_those_of_the_paper(name):
    assert sum(a.size for a in jax.tree.leaves(parameters(name))) == KNOWN[name].count


@each
def test_what_can_leave_the_loop_leaves_it(name):
    known = KNOWN[name]
    params = parameters(name)
    xs = known.inputs(rng(0), (T, B))
    state = known.cell.initial_state(params, (B,))
    found = rnnjax.plan(known.cell.step, params, state, xs)
    loops = [c for c in found.components if c.kind in ("loop", "plain")]
    assert sum(c.products for c in loops) == known.in_loop, str(found)


@one
def test_it_keeps_the_contract(name):
    known = KNOWN[name]
    laws = {"draw": known.inputs, **known.laws}
    check_cell(known.cell, known.spec, batch_shape=(2,), skip=SHOWN, **laws)
