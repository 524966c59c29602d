"""A remembered trace is used only while nothing that the step sees can have changed."""

import dataclasses
import functools
import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tracing import traces

import rnnjax
from rnnjax import scan

XS, H = jnp.linspace(-1, 1, 24).reshape(4, 2, 3), jnp.zeros((2, 3))
SCALE = 1.0


def run(step):
    return np.asarray(scan(step, (), H, XS)[1])


def with_closed_over_list():
    held = [1.0]

    def step(p, h, x):
        h = h + held[0] * x
        return h, h

    return step, functools.partial(held.__setitem__, 0, 2.0)


def with_closed_over_dict():
    held = {"nested": ({"scale": 1.0},)}

    def step(p, h, x):
        h = h + held["nested"][0]["scale"] * x
        return h, h

    return step, lambda: held["nested"][0].update(scale=2.0)


def with_closed_over_numpy_array():
    held = np.ones((), np.float32)

    def step(p, h, x):
        h = h + held * x
        return h, h

    return step, lambda: held.__setitem__((), 2.0)


def with_rebound_variable():
    scale = 1.0

    def step(p, h, x):
        h = h + scale * x
        return h, h

    def change():
        nonlocal scale
        scale = 2.0

    return step, change


def with_global_variable():
    def inner(x):
        return SCALE * x

    def step(p, h, x):
        h = h + inner(x)
        return h, h

    return step, lambda: globals().update(SCALE=2.0)


class Module:
    """As a module of a framework that keeps weights as attributes."""

    def __init__(self):
        self.scale = 1.0

    def step(self, p, h, x):
        h = h + self.scale * x
        return h, h


def with_attribute():
    module = Module()
    return module.step, lambda: setattr(module, "scale", 2.0)


def with_attribute_behind_a_partial():
    module = Module()
    step = functools.partial(lambda m, p, h, x: m.step(p, h, x), module)
    return step, lambda: setattr(module, "scale", 2.0)


CHANGES = [value for name, value in list(globals().items()) if name.startswith("with_")]


@pytest.mark.parametrize("make", CHANGES, ids=lambda make: make.__name__)
def test_what_is_changed_between_calls_is_seen(make, monkeypatch):
    monkeypatch.setitem(globals(), "SCALE", 1.0)
    step, change = make()
    before = run(step)
    change()
    np.testing.assert_allclose(run(step), 2 * before, rtol=1e-6)


@pytest.mark.parametrize("make", [with_closed_over_list, with_attribute], ids=["list", "object"])
def test_unroll_sees_it_too(make):
    step, change = make()
    cell = rnnjax.Cell(
        "mine", None, lambda p, b=(), *, key=None: jnp.zeros((*b, 3), jnp.float32), step
    )
    before = rnnjax.unroll(cell, (), None, XS)[1]
    change()
    np.testing.assert_allclose(rnnjax.unroll(cell, (), None, XS)[1], 2 * before, rtol=1e-6)


def test_an_object_among_the_params_is_seen():
    module = Module()
    before = scan(lambda m, h, x: m.step((), h, x), module, H, XS)[1]
    module.scale = 2.0
    after = scan(lambda m, h, x: m.step((), h, x), module, H, XS)[1]
    np.testing.assert_allclose(after, 2 * before, rtol=1e-6)


def test_an_attribute_that_holds_a_tracer_does_not_leak():
    module = Module()

    def loss(scale):
        module.scale = scale
        return scan(module.step, (), H, XS)[1].sum()

    assert jax.grad(loss)(1.0) == jax.grad(loss)(2.0) == pytest.approx(float(XS.cumsum(0).sum()))


W = jnp.ones(())


@dataclasses.dataclass(frozen=True)
class Settings:
    scale: float = 1.0


def plain_step(p, h, x):
    h = jnp.tanh(h + W * x)
    return h, h


def closing_over_constants():
    w, settings = W, (Settings(), [1.0, {"a": jnp.sin}])
    return lambda p, h, x: (plain_step(p, h, x * settings[0].scale)[0], h * w)


UNCHANGED = {
    "function": plain_step,
    "closure": closing_over_constants(),
    "partial": functools.partial(plain_step),
    "jitted": jax.jit(plain_step),
    "cell": rnnjax.stack(rnnjax.elman(3, activation=jnp.sin), rnnjax.dropout(0.1)).step,
}


@pytest.mark.parametrize("name", UNCHANGED)
def test_what_is_seen_not_to_have_changed_is_not_traced_again(name):
    step, params, state = UNCHANGED[name], (), H
    if name == "cell":
        cell = rnnjax.stack(rnnjax.elman(3, activation=jnp.sin), rnnjax.dropout(0.1))
        params = cell.init(jax.random.key(0), 3)
        state = cell.initial_state(params, (2,))
    xs = XS + 1
    with traces(anything=True):
        scan(step, params, state, XS[:3])
    scan(step, params, state, XS)
    with traces(anything=False):
        scan(step, params, state, xs)


def test_numbers_among_the_params_reach_the_step_as_they_are():
    def step(p, h, x):
        if p["rate"] > 0:  # a traced number could not be asked
            h = h + p["rate"] * x
        return h, jnp.full((2,), p["sign"])

    def ys(rate, sign):
        return scan(step, {"rate": rate, "sign": sign, "act": jnp.tanh}, H, XS)

    np.testing.assert_allclose(ys(0.5, 0.0)[0], XS.sum(0) / 2, rtol=1e-6)
    assert not np.signbit(ys(0.5, 0.0)[1]).any()
    assert np.signbit(ys(0.5, -0.0)[1]).all(), "-0.0 equals 0.0 and is another number"


def test_equal_numbers_among_the_params_are_not_traced_again():
    def step(p, h, x):
        return h + p["rate"] * x, x

    scan(step, {"rate": 0.5, "n": 1000}, H, XS)
    with traces(anything=False):
        scan(step, {"rate": float("0.5"), "n": int("1000")}, H, XS)


def test_a_cell_that_nobody_holds_is_gone():
    def task(run):
        big, gru = jnp.ones(12345, jnp.float32), rnnjax.gru(3)
        params = gru.init(jax.random.key(0), XS[0, 0])

        def step(p, h, x):
            return gru.step(p, h, x + 0 * big[0])

        run(rnnjax.Cell("task", gru.init, gru.initial_state, step), params)

    task(lambda cell, p: rnnjax.unroll(cell, p, None, XS))
    task(lambda cell, p: rnnjax.unroll(cell, p, None, XS, lengths=jnp.array([4, 1])))
    task(lambda cell, p: rnnjax.scan(cell.step, p, H, XS))
    gc.collect()
    assert not [a for a in jax.live_arrays() if a.size == 12345]
