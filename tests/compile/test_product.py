"""The product whose derivatives are laid out for a CPU is `dot_general` in every other respect."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from rnnjax._compile._product import by_weight, turns

from .common import normal

# Shapes of factor and weight, and the axes that are contracted and batched.
LAYOUTS = {
    "x @ W": ((3, 4), (4, 5), (((1,), (0,)), ((), ()))),
    "x @ W.T": ((3, 4), (5, 4), (((1,), (1,)), ((), ()))),
    "heads": ((2, 3, 4), (2, 4, 5), (((2,), (1,)), ((0,), (0,)))),
    "heads last": ((3, 4, 2), (5, 4, 2), (((1,), (1,)), ((2,), (2,)))),
    "two axes": ((4, 3, 6), (6, 5, 4), (((0, 2), (2, 0)), ((), ()))),
    "first axis": ((4, 3), (4, 5, 2), (((0,), (0,)), ((), ()))),
}


def both(layout, dtype=jnp.float64):
    """Ours and `dot_general`, and operands."""
    factor, weight, numbers = LAYOUTS[layout]
    a, w = normal(1, *factor).astype(dtype), normal(2, *weight).astype(dtype)

    def reference(a, w):
        sums = jnp.float32 if dtype == jnp.bfloat16 else dtype
        return lax.dot_general(a, w, numbers, preferred_element_type=sums)

    (eqn,) = jax.make_jaxpr(reference)(a, w).eqns
    return (lambda a, w: by_weight(eqn, a, w)), reference, a, w


def same(got, want, tol=1e-12):
    assert jax.tree.map(jnp.shape, got) == jax.tree.map(jnp.shape, want)
    assert jax.tree.map(lambda x: x.dtype, got) == jax.tree.map(lambda x: x.dtype, want)
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(np.float64(g), np.float64(w), rtol=tol, atol=tol)


def gradient(f):
    return jax.grad(lambda a, w: jnp.sin(f(a, w)).sum(), argnums=(0, 1))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_and_derivatives(layout):
    ours, reference, a, w = both(layout)
    same(ours(a, w), reference(a, w))
    same(gradient(ours)(a, w), gradient(reference)(a, w))
    da, dw = jnp.cos(a), jnp.sin(w)
    for tangents in ((da, dw), (da, 0 * w), (0 * a, dw)):
        same(jax.jvp(ours, (a, w), tangents), jax.jvp(reference, (a, w), tangents))
    again = [jax.jvp(gradient(f), (a, w), (da, dw)) for f in (ours, reference)]
    same(*again)
    twice = [jax.grad(lambda w, f=f: gradient(f)(a, w)[1].sum())(w) for f in (ours, reference)]
    same(*twice)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axes", [(0, None), (1, None), (None, 0), (1, 0)], ids=str)
def test_mapped(layout, axes):
    ours, reference, a, w = both(layout)
    stacked = [
        v if axis is None else jnp.stack([v, 2 * v, v - 1], axis)
        for v, axis in zip((a, w), axes, strict=True)
    ]
    same(jax.vmap(ours, axes)(*stacked), jax.vmap(reference, axes)(*stacked))
    same(jax.vmap(gradient(ours), axes)(*stacked), jax.vmap(gradient(reference), axes)(*stacked))
    outer = [gradient(jax.vmap(f, axes))(*stacked) for f in (ours, reference)]
    same(*outer)


def test_half_precision_keeps_its_dtypes():
    ours, reference, a, w = both("x @ W", jnp.bfloat16)
    same(ours(a, w), reference(a, w))
    same(gradient(ours)(a, w), gradient(reference)(a, w), tol=1e-2)


def test_the_gradient_has_the_factor_first():
    ours, _, a, w = both("x @ W")
    jaxpr = jax.make_jaxpr(
        jax.linear_transpose(lambda w: jax.jvp(lambda w: ours(a, w), (w,), (w,))[1], w)
    )
    shapes = [
        [v.aval.shape for v in eqn.invars]
        for eqn in jaxpr(jnp.ones((3, 5))).eqns
        if eqn.primitive.name == "dot_general"
    ]
    assert shapes == [[(3, 4), (3, 5)]]


def test_where_a_transposed_copy_pays():
    def found(rows, size, dtype=jnp.float32):
        shapes = [jax.ShapeDtypeStruct(s, dtype) for s in ((*rows, size), (size, 4 * size))]
        (eqn,) = jax.make_jaxpr(jnp.matmul)(*shapes).eqns
        return turns(eqn, eqn.invars[0])

    assert found((8,), 128)
    assert found((2, 4), 128)
    assert not found((1,), 128)  # no product of matrices
    assert not found((64,), 512)  # 4 MB
