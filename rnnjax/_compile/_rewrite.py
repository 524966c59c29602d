"""Rewrites that let plainly written equations condense well: `_rules.py` has them.

All that a rule can reach is replaced at once: a step may have thousands of equations in a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnjax._compile._context import Context
from rnnjax._compile._rules import RULES, Replacement, Rule
from rnnjax._compile._trace import Atom, Equation, Literal, Program, Var, substitute, variables


def rewrite(program: Program) -> Program:
    """Applies all rules, each until nothing changes."""
    program = tidy(program)
    for rule in RULES:
        while changes := _matches(rule, program):
            program = tidy(_replace(program, changes))
    return program


def tidy(program: Program) -> Program:
    """Shares common subexpressions and drops what nobody uses."""
    return _drop_unused(_share_common(program))


def _matches(rule: Rule, program: Program) -> dict[int, Replacement]:
    places = [i for i, e in enumerate(program.eqns) if e.primitive.name in rule.primitives]
    context = Context(program) if places else None
    found = {i: rule.replacement(context, program.eqns[i]) for i in places if context}
    return {i: replacement for i, replacement in found.items() if replacement is not None}


def _replace(program: Program, changes: Mapping[int, Replacement]) -> Program:
    """Puts replacements where the replaced equations stand."""
    env: dict[Var, Atom] = {}
    eqns: list[Equation] = []
    for index, eqn in enumerate(program.eqns):
        body, outs = changes.get(index, ([eqn], None))
        eqns += [e.replace(invars=list(substitute(env, e.invars))) for e in body]
        if outs is not None:
            env.update(zip(eqn.outvars, substitute(env, outs), strict=True))
    return program.replace(
        eqns=tuple(eqns), next=substitute(env, program.next), ys=substitute(env, program.ys)
    )


def _share_common(program: Program) -> Program:
    """Keeps one of several equal equations."""
    env: dict[Var, Atom] = {}
    seen: dict[Any, Equation] = {}
    eqns: list[Equation] = []
    for eqn in program.eqns:
        eqn = eqn.replace(invars=list(substitute(env, eqn.invars)))
        try:
            first = seen.setdefault(_identity(eqn), eqn)
        except TypeError:  # unhashable parameters: nothing to compare
            first = eqn
        if first is eqn:
            eqns.append(eqn)
        else:
            env.update(zip(eqn.outvars, first.outvars, strict=True))
    return program.replace(
        eqns=tuple(eqns), next=substitute(env, program.next), ys=substitute(env, program.ys)
    )


def _identity(eqn: Equation) -> Any:
    atoms = tuple(
        (np.asarray(a.val).tobytes(), a.aval) if isinstance(a, Literal) else a for a in eqn.invars
    )
    return (eqn.primitive, atoms, tuple(sorted(eqn.params.items())))


def _drop_unused(program: Program) -> Program:
    used = set(variables((*program.next, *program.ys)))
    eqns = []
    for eqn in reversed(program.eqns):
        if used.intersection(eqn.outvars):
            eqns.append(eqn)
            used.update(variables(eqn.invars))
    return program.replace(eqns=tuple(reversed(eqns)))
