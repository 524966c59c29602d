"""Rewrites that let plainly written equations condense well.

Each rule looks at one equation and returns a replacement, written as an ordinary JAX function of
the equation's sources. A rule must keep the value exactly, up to the order of a sum of products. It
replaces at once all that it can reach from there: a step may have thousands of equations in a row.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from rnnjax._compile._cut import cut_of, cut_operand
from rnnjax._compile._graph import condense, time_varying
from rnnjax._compile._primitives import ELEMENTWISE, PRODUCTS, is_narrow
from rnnjax._compile._trace import (
    Atom,
    Equation,
    Literal,
    Program,
    Var,
    among,
    express,
    substitute,
    type_of,
    variables,
)

Replacement = tuple[list[Equation], tuple[Atom, ...]]

_SUMS = frozenset({"add", "add_any"})

# What brings a bias to the shape of a sum.
_REPEATED = frozenset({"broadcast_in_dim", "convert_element_type", "reshape"})


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
        self.varying = time_varying(program)
        self.multiplied = self._multiplied(program)
        self.in_pieces = self._in_pieces(program)

    def maker(self, atom: Atom) -> Equation | None:
        """The equation that computes an atom."""
        return self._maker.get(atom) if isinstance(atom, Var) else None

    def users(self, var: Var) -> list[Equation] | None:
        """The equations that read a variable, or None if it is also an output of the step."""
        return None if var in self._outputs else self._users.get(var, [])

    def recurrence(self, atom: Atom) -> int | None:
        """The cycle that computes an atom, or None."""
        return self._graph.cycle_of(atom)

    def above(
        self, atom: Atom, taken: Callable[[Equation], bool], through: Callable[[Equation], bool]
    ) -> list[Equation]:
        """The equations that make an atom from those that are not `taken`, in program order.

        Args:
          atom: What they make; it comes last.
          taken: Whether an equation is one of them.
          through: Whether those above it may be, too.
        """
        found: dict[int, Equation] = {}
        rest = [atom]
        while rest:
            made = self.maker(rest.pop())
            if made is None or not taken(made):
                continue
            place = self._graph.producers[made.outvars[0]]
            if place not in found:
                found[place] = made
                rest += made.invars if through(made) else []
        return [found[place] for place in sorted(found)]

    def _multiplied(self, program: Program) -> set[Var]:
        """What is made of products outside any recurrence, for all of time at once."""
        found: set[Var] = set()
        for eqn in program.eqns:
            alone = sum(among(operand, self.varying) for operand in eqn.invars) == 1
            if self.recurrence(eqn.outvars[0]) is None and (
                (eqn.primitive.name in PRODUCTS and alone)
                or any(among(operand, found) for operand in eqn.invars)
            ):
                found.update(eqn.outvars)
        return found

    def _in_pieces(self, program: Program) -> set[Var]:
        """What is read in pieces alone, and is made elementwise of something outside its loop."""
        read: set[Var] = set()
        for eqn in reversed(program.eqns):
            (out, *_) = eqn.outvars
            users = self.users(out)
            elementwise = eqn.primitive.name in ELEMENTWISE and self.recurrence(out) is not None
            if elementwise and users and all(_cuts(user, out, read) for user in users):
                read.add(out)
        found: set[Var] = set()
        for eqn in program.eqns:
            (out, *_) = eqn.outvars
            if out in read and any(
                among(operand, found)
                or (self.recurrence(operand) != self.recurrence(out) and type_of(operand).ndim)
                for operand in eqn.invars
            ):
                found.add(out)
        return found


def _cuts(user: Equation, var: Var, read: set[Var]) -> bool:
    """Whether an equation cuts a variable, or is read in pieces itself and of the same shape."""
    (out, *_) = user.outvars
    return cut_of(user) is not None or (out in read and type_of(out).shape == type_of(var).shape)


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

    def absorbs(made: Equation) -> bool:
        """Whether what an equation makes may as well be transposed."""
        if len(context.users(made.outvars[0]) or ()) != 1:
            return False
        return _swapped(made) == order if is_product(made) else made.primitive.name in ELEMENTWISE

    def is_product(made: Equation) -> bool:
        return made.primitive.name == "dot_general"

    tree = context.above(eqn.invars[0], absorbs, lambda made: not is_product(made))
    made = {v for member in tree for v in member.outvars}
    leaves = [a for member in tree if not is_product(member) for a in member.invars]
    if not tree or not all(among(a, made) or _is_number(a) for a in leaves):
        return None

    def transposed(member: Equation, operands: list[Any]) -> Any:
        if not is_product(member):
            return member.primitive.bind(*operands, **member.params)
        options = dict(member.params)
        numbers = tuple(pair[::-1] for pair in options.pop("dimension_numbers"))
        if isinstance(options["precision"], tuple):
            options["precision"] = options["precision"][::-1]
        lhs, rhs = operands
        return lax.dot_general(rhs, lhs, numbers, **options)

    return _rebuilt(tree, lambda value: value, transposed)


def _is_number(atom: Atom) -> bool:
    return isinstance(atom, Literal) and np.ndim(atom.val) == 0


def _swapped(product: Equation) -> tuple[int, ...]:
    """The order that a product's axes have when its operands change places."""
    (contracted, _), (batch, _) = product.params["dimension_numbers"]
    lead, axes = len(batch), range(type_of(product.outvars[0]).ndim)
    middle = type_of(product.invars[0]).ndim - len(contracted)
    return (*axes[:lead], *axes[middle:], *axes[lead:middle])


def product_of_concatenation(context: Context, eqn: Equation) -> Replacement | None:
    """`[x, h] @ W = x @ W_x + h @ W_h`, where x is outside the recurrence and h inside.

    A product of few bits is summed in more, then rounded once; so are its parts and their sum.
    """
    cycle = context.recurrence(eqn.outvars[0])
    if eqn.primitive.name != "dot_general" or cycle is None:
        return None
    if is_narrow(eqn.outvars[0]) and _prescribed(eqn.params["precision"]):
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
    if is_narrow(eqn.outvars[0]):
        options["preferred_element_type"] = jnp.float32

    def expanded(weight: Any, *parts: Any) -> Any:
        terms, start = [], 0
        for _, group in itertools.groupby(zip(inside, parts, strict=True), lambda p: p[0]):
            factor = lax.concatenate([part for _, part in group], axis)
            stop = start + factor.shape[axis]
            part = lax.slice_in_dim(weight, start, stop, axis=other_axis)
            pair = (factor, part) if side == 0 else (part, factor)
            terms.append(lax.dot_general(*pair, (axes, batch), **options))
            start = stop
        return functools.reduce(operator.add, terms).astype(type_of(eqn.outvars[0]).dtype)

    return express(expanded, eqn.invars[1 - side], *joined.invars)


def _prescribed(precision: Any) -> bool:
    """Whether the types that a product is summed in are given."""
    return isinstance(precision, lax.DotAlgorithm | lax.DotAlgorithmPreset)


def reassociated_sum(context: Context, eqn: Equation) -> Replacement | None:
    """`(x W + h U) + b = (x W + b) + h U`: products outside are added outside, and a bias to them.

    Nothing else changes its place: `(z + c) - c`, with a large c, is a way to round.
    """
    (out, *_) = eqn.outvars
    if not _is_sum(context, eqn):
        return None
    users = context.users(out) or ()
    if len(users) == 1 and _is_sum(context, users[0]) and users[0].outvars[0].aval == out.aval:
        return None  # not the root of the sum

    def inner(made: Equation) -> bool:
        """Part of the same sum, and used for nothing else."""
        (result, *_) = made.outvars
        return (
            _is_sum(context, made)
            and result.aval == out.aval
            and len(context.users(result) or ()) == 1
        )

    addends: list[Atom] = []
    rest = list(eqn.invars[::-1])
    while rest:
        made = context.maker(rest[-1])
        if made is not None and inner(made):
            rest[-1:] = made.invars[::-1]
        else:
            addends.append(rest.pop())
    products = [term for term in addends if among(term, context.multiplied)]
    outside = products + [term for term in addends if _is_bias(context, term)]
    if not products or len(outside) < 2 or len(addends) < 3:
        return None

    def regrouped(*values: Any) -> Any:
        return functools.reduce(operator.add, values)

    inside = [term for term in addends if not any(term is moved for moved in outside)]
    return express(regrouped, *outside, *inside)


def _is_sum(context: Context, eqn: Equation) -> bool:
    """Whether an equation adds in a recurrence, in full precision, what may change its place."""
    return (
        eqn.primitive.name in _SUMS
        and context.recurrence(eqn.outvars[0]) is not None
        and all(among(v, context.varying) or _is_bias(context, v) for v in eqn.invars)
        and jnp.issubdtype(type_of(eqn.outvars[0]).dtype, jnp.inexact)
        and not is_narrow(eqn.outvars[0])
    )


def _is_bias(context: Context, atom: Atom) -> bool:
    """Whether a term is an array that is the same at every step and is added, and no more.

    What is to round a sum is a number, or is taken off again.
    """
    if not isinstance(atom, Var) or atom in context.varying:
        return False
    while True:
        users = context.users(atom) or ()
        if not all(user.primitive.name in _SUMS | _REPEATED for user in users):
            return False
        made = context.maker(atom)
        if made is None or made.primitive.name not in _REPEATED:
            return bool(users) and type_of(atom).ndim > 0
        (atom, *_) = made.invars
        if not isinstance(atom, Var):
            return False


def cut_before(context: Context, eqn: Equation) -> Replacement | None:
    """`split(f(a, b)) = f(split(a), split(b))`, so that a loop reads its pieces ready cut.

    A loop that slices what it reads is not vectorised well; one that reads each piece from an
    array of its own is. What is done outside the loop is cut after it is done: one large product,
    one sum of its gradient, run better than several small ones.
    """
    cut = cut_of(eqn)
    if cut is None or not among(eqn.invars[0], context.in_pieces):
        return None

    def taken(made: Equation) -> bool:
        return made.outvars[0] in context.in_pieces

    def pieces(value: Any) -> list[Any]:
        return cut_operand(cut, value, type_of(eqn.invars[0]).shape)

    def cut_first(member: Equation, operands: list[Any]) -> list[Any]:
        bind = member.primitive.bind
        return [bind(*piece, **member.params) for piece in zip(*operands, strict=True)]

    return _rebuilt(context.above(eqn.invars[0], taken, taken), pieces, cut_first)


def _rebuilt(
    tree: Sequence[Equation],
    leaf: Callable[[Any], Any],
    build: Callable[[Equation, list[Any]], Any],
) -> Replacement:
    """The last of some equations, with all of them made anew.

    Args:
      tree: The equations, in an order in which they can be evaluated.
      leaf: What stands for a value that none of them makes.
      build: What stands for the result of one of them, from what stands for its operands.
    """

    def rebuilt(*values: Any) -> Any:
        rest, made = iter(values), {}
        for eqn in tree:
            given = list(zip(eqn.invars, rest, strict=False))
            operands = [made[a] if among(a, made) else leaf(value) for a, value in given]
            made[eqn.outvars[0]] = build(eqn, operands)
        return made[tree[-1].outvars[0]]

    return express(rebuilt, *(atom for eqn in tree for atom in eqn.invars))


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
