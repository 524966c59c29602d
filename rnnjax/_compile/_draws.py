"""What is drawn from a key that changes with a reset alone is drawn again only where there is one.

A mask that is fixed within a sequence is a function of the row's key. Where rows restart inside the
sequence, `select(reset, new key, key)` stands between them, and the mask, perhaps a matrix a row,
would be drawn at every step. So it is carried, and a step draws it anew only if some row restarts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jax import lax

from rnnjax._compile._trace import (
    Atom,
    Equation,
    Program,
    Var,
    apply,
    express,
    inputs,
    like,
    read,
    substitute,
    variables,
)


def carried_draws(program: Program) -> Program:
    """The program with such draws among its carries; `Program.first` makes their first values."""
    maker = {v: eqn for eqn in program.eqns for v in eqn.outvars}
    for before, key in zip(program.carry, program.next, strict=True):
        if (restarts := _restarts(maker, key, before)) is not None:
            program = _carried(program, before, key, restarts)
    return program


def _restarts(maker: Mapping[Any, Equation], key: Atom, before: Var) -> Var | None:
    """The flag of `key = select(flag, new key, before)`; None if the key is anything else."""
    wrapped = maker.get(key) if isinstance(key, Var) else None
    if wrapped is None or wrapped.primitive.name != "random_wrap":
        return None
    chosen = maker.get(wrapped.invars[0])
    if chosen is None or chosen.primitive.name != "select_n":
        return None
    flag, kept, _ = chosen.invars  # the first is taken where the flag is False
    data = maker.get(kept)
    kept_as_it_was = data is not None and data.primitive.name == "random_unwrap"
    return flag if kept_as_it_was and data.invars[0] is before else None


def _carried(program: Program, before: Var, key: Var, restarts: Var) -> Program:
    drawn = _drawn_from(program, key)
    if not any(eqn.primitive.name == "random_bits" for eqn in drawn):
        return program
    inside = set(map(id, drawn))
    others = [eqn for eqn in program.eqns if id(eqn) not in inside]
    used = {v for eqn in others for v in inputs(eqn)} | {*variables((*program.next, *program.ys))}
    wanted = [v for eqn in drawn for v in eqn.outvars if v in used]

    def draw(key: Any) -> list[Any]:
        env: dict[Var, Any] = {key_var: key}
        for eqn in drawn:
            env.update(zip(eqn.outvars, apply(eqn, *read(env, inputs(eqn))), strict=True))
        return read(env, wanted)

    def again(restarts: Any, key: Any, *carried: Any) -> list[Any]:
        return lax.cond(restarts.any(), draw, lambda _: list(carried), key)

    key_var, carried = key, [like(v) for v in wanted]
    eqns, now = express(again, restarts, key, *carried)
    at = next(i for i, eqn in enumerate(others) if key in eqn.outvars) + 1
    env = dict(zip(wanted, now, strict=True))
    after = [e.replace(invars=list(substitute(env, e.invars))) for e in others[at:]]
    place = program.carry.index(before)
    return program.replace(
        carry=(*program.carry, *carried),
        next=(*substitute(env, program.next), *now),
        ys=substitute(env, program.ys),
        eqns=(*others[:at], *eqns, *after),
        first=lambda init: [*(init := program.first(init)), *draw(init[place])],
    )


def _drawn_from(program: Program, key: Var) -> list[Equation]:
    """The equations that read the key, or what is made of it alone."""
    made, found = {key}, []
    for eqn in program.eqns:
        read = inputs(eqn)
        if read and made.issuperset(read):
            made.update(eqn.outvars)
            found.append(eqn)
    return found
