"""Steps that are exported for any batch and any number of steps: values and gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax import export

from rnnjax._compile import plan, scan

from .common import assert_same, normal, plain
from .steps import H, P, lstm


def delayed_lstm(p, state, x):
    """The step before reaches the gates, and the state a readout."""
    state, before = state
    state, y = lstm(p, state, jnp.concatenate([before, x[:, 1:]], -1))
    return (state, x[:, :1]), (y, y @ p[1])


def values_and_gradients(run, params, xs, **options):
    def loss(params, xs):
        h = jnp.zeros((xs.shape[1], H))
        ys = run(delayed_lstm, params, ((h, h), h[:, :1]), xs, **options)[1]
        return sum(jnp.sum(jnp.sin(y)) for y in ys), ys

    return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, xs)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        (f"5, b, {H}", {"block": 2}),
        (f"t, 3, {H}", {"reverse": True}),
        (f"t, b, {H}", {"block": 2, "save": "states"}),
    ],
    ids=["batch", "time", "both"],
)
def test_unknown_sizes(shape, options):
    xs = jax.ShapeDtypeStruct(export.symbolic_shape(shape), jnp.float64)
    given = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype), P)

    def run(params, xs):
        return values_and_gradients(scan, params, xs, **options)

    written = export.export(jax.jit(run))(given, xs)
    for steps in (5,) if shape[0] == "5" else (5, 1):
        xs = normal(9, steps, 3, H)
        assert_same(written.call(P, xs), values_and_gradients(plain, P, xs, **options))


def test_the_plan_of_unknown_sizes():
    (time,) = export.symbolic_shape("t")
    state = (jax.ShapeDtypeStruct((3, H), jnp.float64),) * 2
    found = plan(lstm, P, state, jax.ShapeDtypeStruct((time, 3, H), jnp.float64), block=2)
    assert [c.kind for c in found.components[-2:]] == ["parallel", "loop"]
    assert (found.save, found.block) == ("all", None)
    assert "sizes are unknown" in str(found)
