"""Plain scan is a candidate, and nothing costs much more than it: in FLOPs, bytes and estimates."""

from __future__ import annotations

import functools
import pathlib
import sys

import jax
import jax.numpy as jnp
import pytest

import rnnjax
from rnnjax._compile import _cost, plan, scan
from rnnjax._compile._cost import Estimate
from rnnjax._compile._primitives import flops
from rnnjax._compile._rewrite import rewrite
from rnnjax._compile._schedule import schedule
from rnnjax._compile._trace import trace

from .common import assert_same, check_step, normal

sys.path.append(str(pathlib.Path(__file__).parents[2] / "benchmarks"))
import odd_steps

pytestmark = pytest.mark.as_chosen
# What was several times worse than plain scan before sizes were looked at.
CLIFFS = (
    "convolutional LSTM", "matrices mixed per row, K = 32", "matrices looked up per row",
    "T = 1021, a prime", "weight drop",
)  # fmt: skip


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


def estimate(t=100, b=8, d=64, h=64, rows=1, defer=True):
    found = schedule(rewrite(trace(elman, *args(t, b, d, h), None, False, 1).program))
    return Estimate(found, t, rows, defer)


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
    asked = {"block": None}, {"block": 20}, {"save": "states"}, {"backward": "deferred"}
    for options in asked:
        assert plan(elman, *args(200, 1, 4, 4), **options).components[-1].kind == "loop"
    assert plan(elman, *args(200, 8, 4, 4)).components[-1].kind == "loop"
    with jax.enable_x64(True):
        weights = normal(1, 4, 4), normal(2, 4, 4), normal(3, 4)
        check_step(scan, elman, weights, normal(4, 1, 4), normal(5, 20, 1, 4))


def test_what_is_not_one_kernel_is_not_left_to_plain_scan():
    """Two products and sums of one row may be one; gates, a second layer or more rows are not."""

    def deep(p, hs, x):
        new = [x]
        for h in hs:
            new.append(elman(p, h, new[-1])[0])
        return tuple(new[1:]), new[-1]

    params, h, xs = args(200, 1, 4, 4)
    assert plan(deep, params, (h, h), xs).components[-1].kind == "loop"
    cell = rnnjax.lstm(4)
    params = jax.eval_shape(lambda key: cell.init(key, 4), jax.random.key(0))
    state = jax.eval_shape(lambda p: cell.initial_state(p, (1,)), params)
    assert plan(cell.step, params, state, xs).components[-1].kind == "loop"


def test_what_is_made_for_each_row_is_made_at_each_step(odd):
    """A matrix for each row, of 32: to write them down takes longer than it saves."""
    mixed = odd["matrices mixed per row, K = 32"]
    assert [c.kind for c in plan(mixed.step, *mixed[1:4]).components] == ["plain"]


def test_a_vmapped_lookup_has_its_gradient():
    """At sizes where `scan` once was two programs, one of them for derivatives."""
    cell = rnnjax.embed(6621, 64)
    keys = jax.random.split(jax.random.key(0), 3)
    params = jax.vmap(lambda key: cell.init(key, rnnjax.tokens()))(keys)
    xs = jnp.arange(10 * 128).reshape(10, 128)

    def total(run, params):
        return jnp.square(jax.vmap(lambda p: run(cell.step, p, (), xs)[1])(params)).sum()

    ours, theirs = (
        jax.grad(functools.partial(total, run))(params) for run in (scan, odd_steps.plain)
    )
    assert_same(ours, theirs, 1e-5, "gradient")


def test_steps_that_the_estimates_once_tripped_over():
    """No product, no loop, a contraction of nothing, more steps than one wants to try as blocks."""
    with jax.enable_x64(True):
        w = normal(1, 0, 4), normal(2, 4, 4)
        check_step(
            scan, lambda p, h, x: (jnp.tanh(h @ p[1] + x[:, :0] @ p[0]), h), w, normal(3, 2, 4),
            normal(4, 9, 2, 3),
        )  # fmt: skip
    shift = plan(lambda p, h, x: (x, x - h), (), spec(4), spec(100_000, 4))
    assert shift.components[-1].kind != "plain", "nothing to go by"
    many = plan(lambda p, h, x: (h * 0.9 + x, h), (), spec(), spec(10**8))
    assert many.components[-1].kind == "plain"

    def network(p, h, x):
        return h, jax.nn.relu(x @ p[0]) @ p[1]

    layers = plan(network, (spec(64, 256), spec(256, 64)), spec(4), spec(5000, 16, 64))
    assert layers.block == 100


def ways(of):
    return of.plain(), of.stages(None), of.stages(10)


def test_an_estimate_grows_with_all_it_is_made_of():
    larger = (estimate(d=128), estimate(b=16), estimate(t=200), estimate(rows=4))
    for base, *more in zip(ways(estimate()), *map(ways, larger), strict=True):
        for one in more:
            assert one.forward > base.forward
            assert one.gradient > base.gradient
        assert base.gradient > 2 * base.forward


def test_an_estimate_by_hand():
    """One product moved and one in the loop, both [8, 64] by [64, 64], over 100 steps."""
    product = 2 * 8 * 64 * 64 / _cost._FLOPS
    weight = 4 * 64 * 64 / _cost._WEIGHTS
    activation, z = 8 * 64 * _cost._ACTIVATION, 4 * 8 * 64
    in_loop = _cost._CALL + product + weight
    of = estimate()
    assert of.handed == z
    plainly = 100 * (activation + 2 * in_loop)
    summed = 100 * (_cost._CALL + 4 * product + 2 * weight)
    assert of.plain() == pytest.approx((plainly, 2 * plainly + 2 * summed))
    between = 2 * 100 * z / _cost._BANDWIDTHS[0][1]
    outside = 100 * product + 10 * (_cost._START + weight)
    looped = 100 * (activation + in_loop)
    forward = looped + outside + between
    backward = looped + 2 * outside + between  # dx and dW of what moved
    assert of.stages(10) == pytest.approx((forward, forward + backward + outside + between))


def test_a_last_block_that_is_shorter_copies_what_goes_in_and_out():
    whole, cut = (estimate().stages(block) for block in (10, 11))
    ends = 2 * 100 * 2 * (4 * 8 * 64) / _cost._BANDWIDTHS[0][1]
    assert cut.forward - whole.forward == pytest.approx(ends)


def test_gradients_of_weights_in_the_loop_cost_what_deferred_ones_do_not():
    deferred, summed = (estimate(defer=defer).stages(None) for defer in (True, False))
    assert deferred.forward == summed.forward
    assert deferred.gradient < summed.gradient


def test_what_does_not_fit_a_cache_costs_more_and_goes_in_blocks():
    short, long = (estimate(t).stages(None).forward / t for t in (1_000, 10_000))
    once = _cost._START + 4 * 64 * 64 / _cost._WEIGHTS
    assert long > short - once * (1 / 1_000 - 1 / 10_000) + 1e-9
    assert plan(elman, *args(1_000, 8, 64, 64)).block is None
    assert plan(elman, *args(10_000, 8, 64, 64)).block == 1000


def test_a_state_larger_than_what_stages_hand_on_is_not_run_in_blocks():
    """Blocks would copy it, step by step, for the gradient; where it must be saved, they are."""

    def remembers(p, memory, x):
        x = jnp.tanh(x @ p)
        memory = 0.9 * memory + x[..., :, None] * x[..., None, :]
        return memory, (memory @ x[..., None])[..., 0]

    def planned(size):
        return plan(remembers, spec(size, size), spec(64, size, size), spec(100, 64, size))

    assert planned(64).block is None
    assert planned(64).why == "blocks would take longer"
    large = planned(512)
    assert (large.save, large.components[-1].kind) == ("states", "loop")
    assert large.block is not None
