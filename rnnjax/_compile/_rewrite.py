"""Rewrites that let plainly written equations condense well.

Each rule looks at one equation and returns a replacement, written as an ordinary JAX function of
the equation's sources. A rule must keep the value exactly, up to the order of a sum.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from rnnjax._compile._cut import cut_of, cut_operand
from rnnjax._compile._graph import condense
from rnnjax._compile._primitives import ELEMENTWISE
from rnnjax._compile._trace import (
    Atom,
    Equation,
    Literal,
    Program,
    Var,
    express,
    substitute,
    type_of,
    variables,
)

Replacement = tuple[list[Equation], tuple[Atom, ...]]

_SUMS = frozenset({"add", "add_any"})


def rewrite(program: Program) -> Program:
    """Applies all rules until nothing changes."""
    program = tidy(program)
    rules = (same_either_way, transpose_before, product_of_concatenation)
    for rule in (*rules, reassociated_sum, cut_before):
        while changes := _matches(rule, program):
            program = tidy(_replace(program, changes))
    return program


def tidy(program: Program) -> Program:
    """Shares common subexpressions and drops what nobody uses."""
    return _drop_unused(_share_common(program))


class Context:
    """What a rule may ask about the program around an equation."""

    def __init__(self, program: Program):
        self._graph = condense(program)
        self._maker = {v: eqn for eqn in program.eqns for v in eqn.outvars}
        self._users: dict[Var, list[Equation]] = {}
        for eqn in program.eqns:
            for v in variables(eqn.invars):
                self._users.setdefault(v, []).append(eqn)
        self._outputs = set(variables((*program.next, *program.ys)))

    def maker(self, atom: Atom) -> Equation | None:
        """The equation that computes an atom."""
        return self._maker.get(atom) if isinstance(atom, Var) else None

    def users(self, var: Var) -> list[Equation] | None:
        """The equations that read a variable, or None if it is also an output of the step."""
        return None if var in self._outputs else self._users.get(var, [])

    def recurrence(self, atom: Atom) -> int | None:
        """The cycle that computes an atom, or None."""
        return self._graph.cycle_of(atom)


Rule = Callable[[Context, Equation], Replacement | None]


def same_either_way(context: Context, eqn: Equation) -> Replacement | None:
    """`select(c, a, a) = a`: a key that a masked step leaves alone is the same at every step."""
    if eqn.primitive.name != "select_n":
        return None
    _, first, *others = eqn.invars
    same = all(other is first for other in others) and isinstance(first, Var)
    return ([], (first,)) if same and first.aval == eqn.outvars[0].aval else None


def transpose_before(context: Context, eqn: Equation) -> Replacement | None:
    """`transpose(W @ x + U @ h) = x W^T + h U^T`, the axes of batch and features in their places.

    So is a cell written for one row and mapped over rows: its weights come first, and the
    transpose stands between the products and everything that follows.
    """
    if eqn.primitive.name != "transpose":
        return None
    order = eqn.params["permutation"]

    def absorbs(atom: Atom) -> bool:
        """Whether an atom is a product, or made of some, that may as well be transposed."""
        made = context.maker(atom)
        if made is None or len(context.users(made.outvars[0]) or ()) != 1:
            return isinstance(atom, Literal) and np.ndim(atom.val) == 0
        if made.primitive.name == "dot_general":
            return order == _swapped(made)
        return made.primitive.name in ELEMENTWISE and all(map(absorbs, made.invars))

    source = context.maker(eqn.invars[0])
    if source is None or not absorbs(eqn.invars[0]):
        return None

    def product(lhs: Any, rhs: Any) -> Any:
        options = dict(source.params)
        numbers = tuple(pair[::-1] for pair in options.pop("dimension_numbers"))
        if isinstance(options["precision"], tuple):
            options["precision"] = options["precision"][::-1]
        return lax.dot_general(rhs, lhs, numbers, **options)

    def elementwise(*values: Any) -> Any:
        turned = [lax.transpose(v, order) if v.ndim else v for v in values]
        return source.primitive.bind(*turned, **source.params)

    rewritten = product if source.primitive.name == "dot_general" else elementwise
    return express(rewritten, *source.invars)


def _swapped(product: Equation) -> tuple[int, ...]:
    """The order that a product's axes have when its operands change places."""
    (contracted, _), (batch, _) = product.params["dimension_numbers"]
    lead, axes = len(batch), range(type_of(product.outvars[0]).ndim)
    middle = type_of(product.invars[0]).ndim - len(contracted)
    return (*axes[:lead], *axes[middle:], *axes[lead:middle])


def product_of_concatenation(context: Context, eqn: Equation) -> Replacement | None:
    """`[x, h] @ W = x @ W_x + h @ W_h`, where x is outside the recurrence and h inside."""
    cycle = context.recurrence(eqn.outvars[0])
    if eqn.primitive.name != "dot_general" or cycle is None:
        return None
    for side in (0, 1):
        joined = context.maker(eqn.invars[side])
        if joined is not None and joined.primitive.name == "concatenate":
            inside = [context.recurrence(part) == cycle for part in joined.invars]
            contracted = eqn.params["dimension_numbers"][0][side]
            if any(inside) and not all(inside) and joined.params["dimension"] in contracted:
                return _expanded(eqn, side, joined, inside)
    return None


def _expanded(eqn: Equation, side: int, joined: Equation, inside: list[bool]) -> Replacement:
    """The product with the concatenation on one side, as a sum of products."""
    axes, batch = eqn.params["dimension_numbers"]
    axis = joined.params["dimension"]
    other_axis = axes[1 - side][axes[side].index(axis)]
    options = {k: v for k, v in eqn.params.items() if k != "dimension_numbers"}

    def expanded(weight: Any, *parts: Any) -> Any:
        terms, start = [], 0
        for _, group in itertools.groupby(zip(inside, parts, strict=True), lambda p: p[0]):
            factor = lax.concatenate([part for _, part in group], axis)
            stop = start + factor.shape[axis]
            part = lax.slice_in_dim(weight, start, stop, axis=other_axis)
            pair = (factor, part) if side == 0 else (part, factor)
            terms.append(lax.dot_general(*pair, (axes, batch), **options))
            start = stop
        return functools.reduce(operator.add, terms)

    return express(expanded, eqn.invars[1 - side], *joined.invars)


def reassociated_sum(context: Context, eqn: Equation) -> Replacement | None:
    """`(x + h) + b = (x + b) + h`: terms from outside the recurrence are added outside."""
    if eqn.primitive.name not in _SUMS:
        return None
    (out,) = eqn.outvars
    cycle = context.recurrence(out)
    if cycle is None or not jnp.issubdtype(type_of(out).dtype, jnp.inexact):
        return None

    def terms(atom: Atom) -> list[Atom]:
        made = context.maker(atom)
        if made is None or not inner(made):
            return [atom]
        return terms(made.invars[0]) + terms(made.invars[1])

    def inner(made: Equation) -> bool:
        """Part of the same sum, and used for nothing else."""
        (result, *_) = made.outvars
        return (
            made.primitive.name in _SUMS
            and context.recurrence(result) == cycle
            and result.aval == out.aval
            and len(context.users(result) or ()) == 1
        )

    users = context.users(out) or ()
    if len(users) == 1 and users[0].primitive.name in _SUMS:
        (larger,) = users[0].outvars
        if context.recurrence(larger) == cycle and larger.aval == out.aval:
            return None  # not the root of the sum
    addends = [term for atom in eqn.invars for term in terms(atom)]
    outside = [term for term in addends if context.recurrence(term) != cycle]
    inside = [term for term in addends if context.recurrence(term) == cycle]
    if len(outside) < 2 or len(addends) < 3:
        return None

    def regrouped(*values: Any) -> Any:
        return functools.reduce(operator.add, values)

    return express(regrouped, *outside, *inside)


def cut_before(context: Context, eqn: Equation) -> Replacement | None:
    """`split(f(a, b)) = f(split(a), split(b))`, so that a loop reads its pieces ready cut.

    A loop that slices what it reads is not vectorised well; one that reads each piece from an
    array of its own is. What is done outside the loop is cut after it is done: one large product,
    one sum of its gradient, run better than several small ones.
    """
    cut = cut_of(eqn)
    if cut is None:
        return None
    source = context.maker(eqn.invars[0])
    if source is None or source.primitive.name not in ELEMENTWISE:
        return None
    (out,) = source.outvars
    cycle = context.recurrence(out)
    outside = [atom for atom in source.invars if context.recurrence(atom) != cycle]
    if cycle is None or not _only_cut(context, out) or not any(type_of(a).ndim for a in outside):
        return None

    def cut_first(*values: Any) -> list[Any]:
        pieces = zip(*(cut_operand(cut, v, type_of(out).shape) for v in values), strict=True)
        return [source.primitive.bind(*piece, **source.params) for piece in pieces]

    return express(cut_first, *source.invars)


def _only_cut(context: Context, var: Var) -> bool:
    users = context.users(var)
    return users is not None and all(cut_of(user) is not None for user in users)


def _matches(rule: Rule, program: Program) -> dict[int, Replacement]:
    context = Context(program)
    found = ((i, rule(context, eqn)) for i, eqn in enumerate(program.eqns))
    return {i: replacement for i, replacement in found if replacement is not None}


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
