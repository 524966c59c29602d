"""The rewriting rules.

Each looks at one equation and returns a replacement, written as an ordinary JAX function of the
equation's sources. A rule must keep the value exactly, up to the order of a sum of products.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from rnnjax._compile._context import Context
from rnnjax._compile._cut import cut_of, cut_operand
from rnnjax._compile._primitives import ELEMENTWISE, is_narrow
from rnnjax._compile._product import of_swapped
from rnnjax._compile._trace import (
    Atom,
    Equation,
    Literal,
    Var,
    among,
    express,
    type_of,
)

Replacement = tuple[list[Equation], tuple[Atom, ...]]

_SUMS = frozenset({"add", "add_any"})

# What brings a bias to the shape of a sum.
_REPEATED = frozenset({"broadcast_in_dim", "convert_element_type", "reshape"})


def same_either_way(context: Context, eqn: Equation) -> Replacement | None:
    """`select(c, a, a) = a`: a key that a masked step leaves alone is the same at every step."""
    _, first, *others = eqn.invars
    same = all(other is first for other in others) and isinstance(first, Var)
    return ([], (first,)) if same and first.aval == eqn.outvars[0].aval else None


def transpose_before(context: Context, eqn: Equation) -> Replacement | None:
    """`transpose(W @ x + U @ h) = x W^T + h U^T`, the axes of batch and features in their places.

    So is a cell written for one row and mapped over rows: its weights come first, and the
    transpose stands between the products and everything that follows.
    """
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
        options["precision"] = of_swapped(options["precision"])
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
    if cycle is None or (is_narrow(eqn.outvars[0]) and _prescribed(eqn.params["precision"])):
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


class Rule(NamedTuple):
    """A rule.

    Attributes:
      pattern: What becomes what.
      primitives: Of the equations that it looks at.
      replacement: What stands in the place of one of them, or None to leave it.
    """

    pattern: str
    primitives: frozenset[str]
    replacement: Callable[[Context, Equation], Replacement | None]


# In the order in which they are applied.
RULES = (
    Rule("select(c, a, a) = a", frozenset({"select_n"}), same_either_way),
    Rule("(W @ x + U @ h)ᵀ = xᵀ Wᵀ + hᵀ Uᵀ", frozenset({"transpose"}), transpose_before),
    Rule("[x, h] @ W = x @ W_x + h @ W_h", frozenset({"dot_general"}), product_of_concatenation),
    Rule("(x W + h U) + b = (x W + b) + h U", _SUMS, reassociated_sum),
    Rule("split(f(a, b)) = f(split(a), split(b))", frozenset({"split", "slice"}), cut_before),
)
