"""Weights in any container JAX knows: what changes them gives back the container it was given."""

import collections
import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax

KEY = jax.random.key(0)


class Tuple(NamedTuple):
    w_x: jax.Array
    w_h: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Dataclass:
    w_x: jax.Array
    w_h: jax.Array
    φ: object = dataclasses.field(default=jnp.tanh, metadata={"static": True})


@jax.tree_util.register_pytree_node_class
class Nameless:
    """Registered without names: its entries have places alone, and it is made by no arguments."""

    def tree_flatten(self):
        return (self.w_x, self.w_h), None

    @classmethod
    def tree_unflatten(cls, _, leaves):
        self = cls()
        self.w_x, self.w_h = leaves
        return self


def frozen(w_x, w_h):
    return pytest.importorskip("flax", reason="Flax has the container").core.freeze(
        {"w_x": w_x, "w_h": w_h}
    )


def module(w_x, w_h):
    eqx = pytest.importorskip("equinox", reason="Equinox has the container")

    class Weights(eqx.Module):
        w_x: jax.Array
        w_h: jax.Array

        def __init__(self, seed):  # not its fields, as `dataclasses.replace` would have it
            self.w_x, self.w_h = seed

    return Weights((w_x, w_h))


CONTAINERS = {
    "dict": (dict, "w_h"),
    "OrderedDict": (collections.OrderedDict, "w_h"),
    "defaultdict": (lambda **each: collections.defaultdict(list, each), "w_h"),
    "FrozenDict": (frozen, "w_h"),
    "list": (lambda w_x, w_h: [w_x, w_h], "1"),
    "tuple": (lambda w_x, w_h: (w_x, w_h), "1"),
    "NamedTuple": (Tuple, "w_h"),
    "dataclass": (Dataclass, "w_h"),
    "nameless": (lambda w_x, w_h: Nameless.tree_unflatten(None, (w_x, w_h)), "1"),
    "Module": (module, "w_h"),
    "nested": (lambda w_x, w_h: [{"cells": (Tuple(w_x, w_h),)}], "0.cells.0.w_h"),
    "haiku": (lambda w_x, w_h: {"rnn/w": {"x": w_x, "h": w_h}}, "rnn/w.h"),
    "dotted key": (lambda w_x, w_h: {"a.w_h": w_h, "b": w_x}, "a.w_h"),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_weights_in_any_container(name):
    make, path = CONTAINERS[name]
    made = make(w_x=np.full((2, 3), 2.0, np.float32), w_h=2 * np.eye(3, dtype=np.float32))

    def step(params, h, x):
        assert jax.tree.structure(params) == jax.tree.structure(made) or dropping
        w_x, w_h = sorted(
            jax.tree.leaves(params, is_leaf=lambda a: a is not params and hasattr(a, "ndim")),
            key=lambda a: a.shape,
        )
        h = x @ w_x + h @ w_h
        return h, h

    cell = rnnjax.Cell(
        name="own",
        init=lambda key, x_spec: made,
        initial_state=lambda params, batch=(), *, key=None: jnp.zeros((*batch, 3)),
        step=step,
        output_of=lambda h: h,
        recurrent=(path,),
    )
    dropping = False
    new = rnnjax.drop_weights(cell, made, 0.5, key=KEY)
    assert jax.tree.structure(new) == jax.tree.structure(made)
    (w_x, w_h), kept = sorted(jax.tree.leaves(new), key=jnp.shape), jnp.diag(4 * jnp.ones(3))
    assert (w_x == 2).all()
    assert ((w_h == kept) | (w_h == 0)).all()
    assert not (w_h == kept).all()

    _, y = rnnjax.spectral(cell).step(made, jnp.ones(3), jnp.ones(2))
    np.testing.assert_allclose(y, 4 + 1, 1e-6)
    dropping = True  # a weight under dropout is a container of its own
    for noisy in (rnnjax.recurrent_dropout(cell, 0.5), rnnjax.weight_drop(cell, 0.5)):
        state = noisy.initial_state(made, key=KEY)._replace(cell=jnp.ones(3))
        y = noisy.step(made, state, jnp.ones(2))[1]
        assert set(y.tolist()) <= {4.0, 8.0}


def test_a_name_that_params_do_not_have():
    cell = dataclasses.replace(rnnjax.gru(4), recurrent=("w_g",))
    with pytest.raises(
        TypeError, match=r"gru\(4\): recurrent names 'w_g'.*: they have w_x, w_h, b"
    ):
        rnnjax.drop_weights(cell, cell.init(KEY, 3), 0.5, key=KEY)
