"""One step: shapes, types, noise, purity, rows, and what a cell declares."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, PyTree, parted
from rnnjax._combine._weights import change_recurrent
from rnnjax._noise import is_key, rekey
from rnnjax.testing._case import (
    Broken,
    Case,
    NotMeant,
    at,
    pairs,
    same,
    same_types,
)
from rnnjax.testing._law import law


@law(
    "shapes",
    cause=(
        "an axis is counted from the front (axis=0, x.shape[0]): count from the back (axis=-1), "
        "and make every leaf of the initial state with shape (*batch_shape, ...)."
    ),
)
def shapes(case: Case) -> None:
    """Every leaf of state and y is [*B, ...], for any number of batch axes."""

    def sizes(batch: tuple[int, ...]) -> tuple[PyTree, PyTree]:
        state = jax.eval_shape(lambda: case.cell.initial_state(params, batch, key=case.key))
        x = jax.tree.map(lambda s: jax.ShapeDtypeStruct((*batch, *s.shape), s.dtype), case.spec)
        return state, jax.eval_shape(case.cell.step, params, state, x)[1]

    params = case.params
    one = sizes(())
    for batch in {(), (3,), case.batch_shape, (3, *case.batch_shape)}:
        for what, many, single in zip(("state", "y"), sizes(batch), one, strict=True):
            for where, a, b in pairs(what, many, single):
                if (a.shape, a.dtype) != ((*batch, *b.shape), b.dtype):
                    raise Broken(
                        f"{where} has shape {list(a.shape)} and dtype {a.dtype} for batch "
                        f"{list(batch)}, expected {[*batch, *b.shape]} and {b.dtype}"
                    )


@law(
    "stable carry",
    cause=(
        "the initial state has a dtype of its own: give it that of the parameters, and convert x "
        "to that dtype in the step."
    ),
)
def carry(case: Case) -> None:
    """A step changes nothing of the state's type."""
    for keyed in (True, False):
        state = case.initial((case.rows,), keyed=keyed)
        after, _ = jax.eval_shape(case.cell.step, case.params, state, case.at(0))
        same_types(state, after)


@law("held", cause="the step changes what it is given to hold: return the `Held` as it came.")
def held(case: Case) -> None:
    """What a state holds comes out of a step, a reset and `rekey` as it went in."""
    before = parted(case.fresh)[1]
    if not before:
        raise NotMeant("holds nothing")
    for what, after in (
        ("a step", case.step(case.params, case.fresh, case.at(0))[0]),
        ("resets", case.restarted[0][1][0]),
        ("rekey", rekey(case.cell, case.fresh, case.key)),
    ):
        for where, new, old in pairs("what is held", parted(after)[1], before):
            same(f"{where}, after {what},", new, old, "row", {})


@law(
    "key tree",
    cause=(
        "the state is another without a key; keep the leaf, noise_keys(key, batch_shape) makes it."
    ),
)
def key_tree(case: Case) -> None:
    """The state has one tree with and without a key; key leaves are [*B, 1] and [*B, 0]."""
    with_key, without = (case.initial((case.rows,), keyed=keyed) for keyed in (True, False))
    for where, a, b in pairs("state", with_key, without):
        if not is_key(a):
            same(where, a, b, "row", case.tolerances)
        elif (a.shape, b.shape) != ((case.rows, 1), (case.rows, 0)):
            raise Broken(
                f"{where} holds keys of shapes {list(a.shape)} with a key and {list(b.shape)} "
                f"without, expected [{case.rows}, 1] and [{case.rows}, 0]: use noise_keys"
            )


@law(
    "pure",
    cause=(
        "the step reads or changes something outside its arguments (a counter, a global key, "
        "NumPy's random numbers), or branches on values."
    ),
)
def pure(case: Case) -> None:
    """A step gives the same bits each time, eager as under jit."""
    x = jax.tree.map(jnp.asarray, case.at(0))
    first, again = (case.cell.step(case.params, case.state, x) for _ in range(2))
    jitted = case.step(case.params, case.state, case.at(0))
    for part, a, b, c in zip(("state", "y"), first, again, jitted, strict=True):
        for where, new, old in pairs(part, b, a):
            same(f"{where}, called again,", new, old, "row", {})
        case.same(c, a, f"{part} under jit", "row")


@law(
    "rows independent",
    cause="the step mixes rows: a mean, a norm or a random draw over the batch axes.",
)
def rows(case: Case) -> None:
    """A row alone gives what it gives in a batch."""
    state = case.state
    for t in range(2):
        before, (state, y) = state, case.step(case.params, state, case.at(t))
        for row in range(case.rows):
            alone = case.step(case.params, *at((before, case.at(t)), row))
            for what, whole, one in zip(("state", "y"), (state, y), alone, strict=True):
                for where, a, b in pairs(what, at(whole, row), one):
                    same(f"{where} at t = {t}, row = {row},", a, b, "", case.tolerances)


@law("vmap", cause="an axis is counted from the front, or the step reshapes batch axes.")
def vmap(case: Case) -> None:
    """Mapped over rows, and with two batch axes, a step gives what it gives for one batch axis."""
    want = case.step(case.params, case.state, case.at(0))
    mapped = jax.jit(jax.vmap(case.cell.step, in_axes=(None, 0, 0)))
    case.same(mapped(case.params, case.state, case.at(0)), want, "(state, y) under vmap", "row")

    def shaped(a: Array) -> Array:
        return a.reshape(*case.batch_shape, *a.shape[1:])

    got = case.step(case.params, *jax.tree.map(shaped, (case.state, case.at(0))))
    what = f"(state, y) for batch {list(case.batch_shape)}"
    case.same(got, jax.tree.map(shaped, want), what, " ".join(["row"] * len(case.batch_shape)))


@law(
    "declared",
    cause="output_of is not how y comes from the new state; declare None if it does not.",
)
def declared(case: Case) -> None:
    """`output_of` gives y from the new state, bit for bit; `recurrent` names fields of params."""
    state, y = case.step(case.params, case.state, case.at(0))
    if case.cell.output_of is not None:
        for where, a, b in pairs("output_of(state)", case.cell.output_of(state), y):
            same(where, a, b, "row", {})
    try:
        change_recurrent(case.cell, case.params, lambda _, w: w)
    except TypeError as error:
        raise Broken(str(error)) from None
