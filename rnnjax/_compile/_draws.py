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
    evaluate,
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
        if isinstance(key, Var) and (flag := _restarts(maker, key, before)) is not None:
            program = _carried(program, before, key, flag)
    return program


def _restarts(maker: Mapping[Var, Equation], key: Var, before: Var) -> Atom | None:
    """The flag of `key = select(flag, new key, before)`; None if the key is anything else."""

    def made(atom: Atom, primitive: str) -> list[Atom]:
        eqn = maker.get(atom) if isinstance(atom, Var) else None
        return eqn.invars if eqn is not None and eqn.primitive.name == primitive else []

    for data in made(key, "random_wrap"):
        match made(data, "select_n"):  # which takes the first where the flag is False
            case [flag, kept, _] if made(kept, "random_unwrap") == [before]:
                return flag
    return None


def _carried(program: Program, before: Var, key: Var, flag: Atom) -> Program:
    drawn = _drawn_from(program, key)
    if not any(eqn.primitive.name == "random_bits" for eqn in drawn):
        return program
    inside = set(map(id, drawn))
    others = [eqn for eqn in program.eqns if id(eqn) not in inside]
    used = {v for eqn in others for v in inputs(eqn)} | {*variables((*program.next, *program.ys))}
    wanted = [v for eqn in drawn for v in eqn.outvars if v in used]

    def draw(key: Any) -> list[Any]:
        env: dict[Var, Any] = {key_var: key}
        evaluate(drawn, env)
        return read(env, wanted)

    def again(flag: Any, key: Any, *carried: Any) -> list[Any]:
        return lax.cond(flag.any(), draw, lambda _: list(carried), key)

    key_var, carried = key, [like(v) for v in wanted]
    eqns, now = express(again, flag, key, *carried)
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
