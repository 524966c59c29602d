"""Where a step computes the logistic function: its gates.

Reads what `jax.make_jaxpr` writes by way of the compiler's own readers, so it is imported where a
step is traced: a new JAX may write programs anew.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from rnnjax._cell import Array, Params, PyTree, State, StepFn
from rnnjax._compile._trace import Equation, Var, among, apply, evaluate, inputs, read


def with_logistics(
    step: StepFn, params: Params, state: State, x: PyTree
) -> tuple[tuple[State, PyTree], list[Array]]:
    """Takes a step, and keeps what every logistic function in it gave, in order.

    One whose argument is made of parameters alone is the same at every step, and no gate. Several
    that are computed side by side and then taken apart are several.
    """
    traced = jax.make_jaxpr(functools.partial(step, params), return_shape=True)
    closed, shapes = traced(state, x)
    found: list[Array] = []

    def run(closed: Any, values: Sequence[Any], moving: set[Var]) -> list[Any]:
        def by(eqn: Equation, env: Mapping[Var, Any]) -> Sequence[Any]:
            given = [among(atom, moving) for atom in eqn.invars]
            if any(given):
                moving.update(eqn.outvars)
            if eqn.primitive.name in ("jit", "pjit"):
                inner = eqn.params["jaxpr"]
                into = {v for v, moves in zip(inner.jaxpr.invars, given, strict=True) if moves}
                return run(inner, read(env, eqn.invars), into)
            outs = apply(eqn, *(env[v] for v in inputs(eqn)))
            if eqn.primitive.name == "logistic" and any(given):
                found.append(outs[0])
            if eqn.primitive.name == "split":
                whole = env[eqn.invars[0]] if among(eqn.invars[0], env) else None
                for place in [n for n, gate in enumerate(found) if gate is whole]:
                    found[place : place + 1] = outs
            return outs

        env: dict[Var, Any] = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
        env.update(zip(closed.jaxpr.invars, values, strict=True))
        evaluate(closed.jaxpr.eqns, env, by)
        return read(env, closed.jaxpr.outvars)

    outs = run(closed, jax.tree.leaves((state, x)), set(closed.jaxpr.invars))
    return jax.tree.unflatten(jax.tree.structure(shapes), outs), found
