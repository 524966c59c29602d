"""Masks that a reset alone changes are drawn at resets, not at every step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from rnnjax._compile import scan

from .common import check_step, normal

T, B, H = 6, 3, 4
RESETS = np.zeros((T, B), bool)
RESETS[[0, 3, 3], [1, 0, 2]] = True
with jax.enable_x64(True):  # the fixture is not there yet when a module is imported
    W, H0 = normal(1, H, H), normal(2, B, H)
    XS = normal(3, T, B, H), jnp.asarray(RESETS)
KEYS = jax.random.split(jax.random.key(0), B)


def restarted(key, reset):
    """New keys where rows restart, selected as `unroll` does it."""
    drawn = jax.vmap(lambda k: jax.random.fold_in(k, 99))(key)
    data = (jax.random.key_data(k) for k in (drawn, key))
    return jax.random.wrap_key_data(jnp.where(reset[:, None], *data))


def weight_drop(w, state, inputs):
    """A mask [H, H] a row, fixed until the row restarts."""
    (h, key), (x, reset) = state, inputs
    key = restarted(key, reset)
    kept = jax.vmap(lambda k: jax.random.bernoulli(k, 0.7, (H, H)))(key)
    h = jnp.tanh(x + jnp.einsum("bi,bij->bj", h, jnp.where(kept, w, 0)))
    return (h, key), (h, kept[:, 0, 0])


def two_masks(w, state, inputs):
    """One mask of the row's key, and one of another that changes at every step."""
    (h, key, other), (x, reset) = state, inputs
    key = restarted(key, reset)
    other = jax.vmap(lambda k: jax.random.fold_in(k, 1))(other)
    for k in (key, other):
        h = jnp.where(jax.vmap(lambda k: jax.random.bernoulli(k, 0.7, (H,)))(k), h, 0)
    h = jnp.tanh(x + h @ w)
    return (h, key, other), h


@pytest.mark.parametrize("reverse", [False, True])
def test_the_same_as_plain_scan(reverse):
    check_step(scan, weight_drop, W, (H0, KEYS), XS, reverse=reverse)


def test_other_keys_are_left_alone():
    check_step(scan, two_masks, W, (H0, KEYS, KEYS), XS, save="states", block=4)


def draws(jaxpr, inside=""):
    """Where random bits are drawn: in which nest of loops and conditions."""
    for eqn in jaxpr.eqns:
        name = eqn.primitive.name
        if name == "random_bits":
            yield inside
        for inner in jaxprs_in_params(eqn.params):
            yield from draws(inner, inside + name * (name in ("scan", "cond")))


def test_a_step_without_a_restart_draws_nothing():
    found = list(draws(jax.make_jaxpr(lambda *a: scan(weight_drop, *a))(W, (H0, KEYS), XS).jaxpr))
    assert sorted(found) == ["", "scancond"], "before the first step, and where a row restarts"
