"""Plain scan is a candidate, and nothing costs much more than it: in FLOPs, bytes and estimates."""

from __future__ import annotations

import functools
import pathlib
import sys

import jax
import jax.numpy as jnp
import pytest

from rnnjax._compile import _cost, plan, scan
from rnnjax._compile._cost import PLAIN, Way, cost, handed
from rnnjax._compile._primitives import flops
from rnnjax._compile._rewrite import rewrite
from rnnjax._compile._schedule import schedule
from rnnjax._compile._trace import trace

from .common import check_step, normal

sys.path.append(str(pathlib.Path(__file__).parents[2] / "benchmarks"))
import odd_steps

pytestmark = pytest.mark.as_chosen
# What was several times worse than plain scan before sizes were looked at.
CLIFFS = (
    "convolutional LSTM", "matrices mixed per row, K = 32", "matrices looked up per row",
    "T = 1021, a prime", "weight drop",
)  # fmt: skip
ONCE = Way(staged=True)


@pytest.fixture(scope="module", autouse=True)
def _float32():
    with jax.enable_x64(False):
        yield


@pytest.fixture(scope="module")
def odd():
    with jax.numpy_dtype_promotion("standard"):
        return odd_steps.odd_steps()


def elman(p, h, x):
    h = jnp.tanh(x @ p[0] + h @ p[1] + p[2])
    return h, h


def spec(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def args(t, b, d, h):
    return (spec(d, h), spec(h, h), spec(h)), spec(b, h), spec(t, b, d)


def found(t=100, b=8, d=64, h=64):
    return schedule(rewrite(trace(elman, *args(t, b, d, h), None, False, 1).program))


def gradient(run, odd):
    def loss(params, state, xs):
        return odd_steps.probe(odd.around(functools.partial(run, odd.step))(params, state, xs))

    return jax.grad(loss) if odd.gradient else odd.around(functools.partial(run, odd.step))


def test_no_step_takes_more_arithmetic_than_plain_scan(odd):
    with jax.numpy_dtype_promotion("standard"):
        for name, some in odd.items():
            ours, theirs = (
                sum(map(flops, jax.make_jaxpr(gradient(run, some))(*some[1:4]).eqns))
                for run in (scan, odd_steps.plain)
            )
            assert ours <= 1.05 * theirs, name


@pytest.mark.parametrize("name", CLIFFS)
def test_a_gradient_takes_at_most_half_more_memory_than_that_of_plain_scan(odd, name):
    """What stages hand to each other is kept, there and back."""
    some = odd[name]
    with jax.numpy_dtype_promotion("standard"):
        ours, theirs = (
            jax.jit(gradient(run, some)).lower(*some[1:4]).compile().memory_analysis()
            for run in (scan, odd_steps.plain)
        )
    assert ours.temp_size_in_bytes <= 1.5 * theirs.temp_size_in_bytes


def test_small_steps_are_left_to_plain_scan():
    tiny = plan(elman, *args(200, 1, 4, 4))
    assert [c.kind for c in tiny.components] == ["plain"]
    assert tiny.why == "stages would take longer"
    for options in ({"block": None}, {"block": 20}, {"save": "states"}):  # as asked
        assert plan(elman, *args(200, 1, 4, 4), **options).components[-1].kind == "loop"
    assert plan(elman, *args(200, 8, 4, 4)).components[-1].kind == "loop"
    with jax.enable_x64(True):
        weights = normal(1, 4, 4), normal(2, 4, 4), normal(3, 4)
        check_step(scan, elman, weights, normal(4, 1, 4), normal(5, 20, 1, 4))


def test_what_is_made_for_each_row_is_made_at_each_step(odd):
    """A matrix for each row, of 32: to write them down takes longer than it saves."""
    mixed = odd["matrices mixed per row, K = 32"]
    assert [c.kind for c in plan(mixed.step, *mixed[1:4]).components] == ["plain"]


def test_an_estimate_grows_with_all_it_is_made_of():
    small, wide, rows = found(), found(d=128), found(b=16)
    for way in (PLAIN, ONCE, Way(staged=True, block=10)):
        base = cost(small, way, 100, 1, True)
        for more in (
            cost(wide, way, 100, 1, True),
            cost(rows, way, 100, 1, True),
            cost(small, way, 200, 1, True),
            cost(small, way, 100, 4, True),
        ):
            assert more.forward > base.forward
            assert more.gradient > base.gradient
        assert base.gradient > 2 * base.forward


def test_an_estimate_by_hand():
    """One product moved and one in the loop, both [8, 64] by [64, 64], over 100 steps."""
    product = 2 * 8 * 64 * 64 / _cost._FLOPS
    weight = 4 * 64 * 64 / _cost._WEIGHTS
    activation, z = 8 * 64 * _cost._ACTIVATION, 4 * 8 * 64
    in_loop = _cost._CALL + product + weight
    assert handed(found(), 1) == z
    assert cost(found(), PLAIN, 100, 1, True).forward == pytest.approx(
        100 * (activation + 2 * in_loop)
    )
    between = 2 * 100 * z / _cost._BANDWIDTHS[0][1]
    outside = 100 * product + 10 * (_cost._START + weight)
    staged = cost(found(), Way(staged=True, block=10), 100, 1, True)
    forward = 100 * (activation + in_loop) + outside + between
    assert staged.forward == pytest.approx(forward)
    backward = 100 * (activation + in_loop) + 2 * outside + between  # dx and dW of what moved
    assert staged.gradient == pytest.approx(forward + backward + outside + between)


def test_a_last_block_that_is_shorter_copies_what_goes_in_and_out():
    whole, cut = (cost(found(), Way(staged=True, block=n), 100, 1, True) for n in (10, 11))
    ends = 2 * 100 * 2 * (4 * 8 * 64) / _cost._BANDWIDTHS[0][1]
    assert cut.forward - whole.forward == pytest.approx(ends)


def test_gradients_of_weights_in_the_loop_cost_what_deferred_ones_do_not():
    deferred, summed = (cost(found(), ONCE, 100, 1, defer) for defer in (True, False))
    assert deferred.forward == summed.forward
    assert deferred.gradient < summed.gradient


def test_what_does_not_fit_a_cache_costs_more_and_goes_in_blocks():
    short, long = (cost(found(t), ONCE, t, 1, True).forward / t for t in (1_000, 10_000))
    once = _cost._START + 4 * 64 * 64 / _cost._WEIGHTS
    assert long > short - once * (1 / 1_000 - 1 / 10_000) + 1e-9
    assert plan(elman, *args(1_000, 8, 64, 64)).block is None
    assert plan(elman, *args(10_000, 8, 64, 64)).block == 1000
