"""What a program needs: keys, buffers to donate, one trace, few bits, and values."""

from __future__ import annotations

import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import PyTree
from rnnjax._dtypes import map_floats
from rnnjax._noise import is_key, rekey
from rnnjax._unroll import unroll
from rnnjax.testing._case import (
    Broken,
    Case,
    NotMeant,
    T,
    at,
    calls,
    host,
    loop,
    pairs,
    same_types,
)
from rnnjax.testing._law import law


@law("noise", cause="the noise does not come from the key that initial_state is given.")
def noise(case: Case) -> None:
    """The same key gives the same noise, another key another; evaluation has none."""
    if not case.noisy:
        raise NotMeant("no noise")
    case.same(case.initial((case.rows,)), case.fresh, "the initial state, drawn again,", "row")
    key = jax.random.fold_in(case.key, 1)
    drawn = case.cell.initial_state(case.params, (case.rows,), key=key)
    for how, other in ((" after rekey", rekey(case.cell, case.fresh, key)), ("", drawn)):
        for where, a, b in pairs("state", case.fresh, other):
            if not is_key(a):
                continue
            data, others = (np.asarray(jax.random.key_data(keys)) for keys in (a, b))
            if (same := (data == others).all((-2, -1))).any():
                row = int(np.argmax(same))
                raise Broken(f"{where} at row = {row}: another key gives the same noise{how}")


@law(
    "buffers",
    cause=(
        "one array is used for two leaves, or a parameter is returned as state: make zeros for "
        "each leaf, copy a learned state with jnp.array(..., copy=True)."
    ),
)
def buffers(case: Case) -> None:
    """Each leaf of an initial state owns its buffer, so that a state can be donated."""
    for batch in ((), (case.rows,)):
        state, owners = case.initial(batch), {}
        for what, tree in (("params", case.params), ("state", state)):
            for path, leaf in jax.tree.leaves_with_path(tree):
                if is_key(leaf) or not isinstance(leaf, jax.Array) or not leaf.size:
                    continue
                where, pointer = what + jax.tree_util.keystr(path), leaf.unsafe_buffer_pointer()
                if what == "state" and pointer in owners:
                    raise Broken(f"{where} shares its buffer with {owners[pointer]}")
                owners[pointer] = where
    jax.jit(case.cell.step, donate_argnums=1)(case.params, case.initial((case.rows,)), case.at(0))


@law(
    "no retrace",
    cause=(
        "a leaf of the initial state is weakly typed, as in jnp.full((), 0.0): give it a dtype."
    ),
)
def retrace(case: Case) -> None:
    """A second call with the same shapes does not call `step` again, jitted or in `unroll`."""
    step, fresh = jax.jit(lambda *args: case.counted.step(*args)), case.initial((case.rows,))
    step.trace(case.params, fresh, case.at(0))
    state, _ = case.step(case.params, fresh, case.at(0))
    before = calls["step"]
    step.trace(case.params, state, case.at(1))
    if calls["step"] != before:
        kinds = [
            f"state{jax.tree_util.keystr(path)} is weakly typed"
            for path, leaf in jax.tree.leaves_with_path(fresh)
            if jax.typeof(leaf).weak_type
        ]
        raise Broken(f"the second jitted step traced again: {', '.join(kinds) or 'types changed'}")
    for seed in (3, 4):
        before = calls["step"]
        unroll(
            case.counted, case.params, state, case.inputs((T // 2, case.rows), seed), length=T // 2
        )
    if calls["step"] != before:
        raise Broken("a second unroll of the same shapes called step again")


@law(
    "bfloat16",
    cause="the step computes in the dtype of x or in a fixed one: convert x to the parameters'.",
)
def bfloat16(case: Case) -> None:
    """With bfloat16 params and x the state keeps its type, and y is close to that of more bits."""

    def narrow(tree: PyTree) -> PyTree:
        return map_floats(lambda a: a.astype(jnp.bfloat16), tree)

    def parts(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda a: [a.real, a.imag] if jnp.iscomplexobj(a) else a, tree)

    def widen(tree: PyTree) -> PyTree:
        return map_floats(lambda a: a.astype(case.dtype), host(tree))

    params, xs = jax.tree.map(jnp.asarray, narrow(host(case.params))), narrow(case.xs)
    state = case.cell.initial_state(params, (case.rows,), key=case.key)
    state = case.holding(state, jnp.bfloat16)
    same_types(state, case.step(params, state, at(xs, 0))[0])
    _, ys = loop(case.step, params, state, xs)
    _, want = loop(case.step, widen(params), case.fresh, widen(xs))
    # The bits that are missing are in the parameters and inputs too, whatever the dtype of y.
    case.same(narrow(parts(ys)), narrow(parts(want)), "y in bfloat16", "t row")


@law(
    "value",
    cause="the factory is not at module level, or is not decorated with @rnnjax.cell_factory.",
)
def value(case: Case) -> None:
    """A cell is a value: hashable, equal to its copy, and to what it is after pickling."""
    cell = case.cell
    if hash(dataclasses.replace(cell)) != hash(dataclasses.replace(cell)):
        raise Broken("two copies of the cell have two hashes")
    if dataclasses.replace(cell) != dataclasses.replace(cell):
        raise Broken("two copies of the cell are not equal")
    if cell._recipe is None:
        return  # made by hand, perhaps of lambdas, which do not pickle
    again = pickle.loads(pickle.dumps(cell))
    if again != cell or hash(again) != hash(cell):
        raise Broken("the cell is not equal to what it is after pickling")
