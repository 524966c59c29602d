"""Products by a fixed weight, whose derivatives are laid out as a CPU runs them well.

Autodiff's derivatives of `y = a @ W` are right in value and slow in layout (benchmarks/NOTES.md).
The product for dW, summed over time and batch, has dy as its first operand, and XLA makes a
transposed copy of dy; with `a` first it does not. In a loop, the product for da reads W along its
rows; with a transposed copy of W, made once before the loop, it does not. Both are said here.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from rnnjax._compile._primitives import counted, nbytes, on_cpu, size_of
from rnnjax._compile._trace import Equation, Var, type_of

# A transposed copy pays as long as it stays in a core's cache beside everything else.
_CACHE = 1 << 21

Options = tuple[tuple[str, Any], ...]


def weight_is_second(eqn: Equation, factor: Var) -> bool:
    """Whether an equation is a product of matrices with `factor` as its first operand."""
    return eqn.primitive.name == "dot_general" and eqn.invars[0] is factor


def by_weight(eqn: Equation, factor: Any, weight: Any, turned: Any = None) -> Any:
    """The product that `weight_is_second` found, of the equation's operands.

    With `turned`, the transposed weight, the derivative for the factor is a product by that.
    """
    return _product(tuple(eqn.params.items()), factor, weight, turned)


def by_tangent(eqn: Equation, factor: Any, d_weight: Any) -> Any:
    """The same product as a linear function of the weight."""
    return _by_tangent(factor, d_weight, **eqn.params)


def turns(eqn: Equation, factor: Var) -> bool:
    """Whether the derivative of a product in a loop gains from a transposed copy of its weight."""
    if not on_cpu() or not weight_is_second(eqn, factor):
        return False
    # One row alone gains nothing.
    return (
        is_by_matrix(eqn)
        and size_of(eqn.invars[0]) > counted(type_of(eqn.invars[0]).shape[-1])
        and nbytes(eqn.invars[1]) <= _CACHE
    )


def is_by_matrix(eqn: Equation) -> bool:
    """Whether an equation is `a @ W`, W a matrix."""
    a, w = map(type_of, eqn.invars)
    contracted, batch = eqn.params["dimension_numbers"]
    return w.ndim == 2 and [*map(list, contracted)] == [[a.ndim - 1], [0]] and not any(batch)


def of_swapped(precision: Any) -> Any:
    """The precision of a product whose operands change places."""
    if isinstance(precision, lax.DotAlgorithm):
        return precision._replace(
            lhs_precision_type=precision.rhs_precision_type,
            rhs_precision_type=precision.lhs_precision_type,
            lhs_component_count=precision.rhs_component_count,
            rhs_component_count=precision.lhs_component_count,
        )
    return precision[::-1] if type(precision) is tuple else precision


def by_weight_flipped(eqn: Equation, factor: Any, weight: Any, turned: Any) -> Any:
    """`(a @ W)ᵀ = Wᵀ @ aᵀ` for an equation `a @ W`, of aᵀ, W and Wᵀ.

    XLA takes nine times as long where it has to turn a first operand itself, so Wᵀ is given; the
    derivative for aᵀ is a product by W.
    """
    options = {k: v for k, v in eqn.params.items() if k != "dimension_numbers"}
    options["precision"] = of_swapped(options["precision"])
    return _flipped_p.bind(factor, weight, turned, **options)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _product(options: Options, factor: Any, weight: Any, turned: Any) -> Any:
    del turned
    return lax.dot_general(factor, weight, **dict(options))


def _jvp(options: Options, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    (factor, weight, turned), (d_factor, d_weight, _) = primals, tangents
    given, terms = dict(options), []
    if not isinstance(d_factor, SymbolicZero):
        by, other = weight, {}
        if turned is not None:
            by, other = turned, {"dimension_numbers": (((factor.ndim - 1,), (1,)), ((), ()))}
        terms.append(lax.dot_general(d_factor, by, **{**given, **other}))
    if not isinstance(d_weight, SymbolicZero):
        terms.append(_by_tangent(factor, d_weight, **given))
    return _product(options, factor, weight, turned), functools.reduce(operator.add, terms)


_product.defjvp(_jvp, symbolic_zeros=True)


def _by_tangent(factor: Any, d_weight: Any, **options: Any) -> Any:
    # Where the mesh is part of the types, the derivative's placement is left to autodiff.
    placed = not jax.typeof(factor).sharding.mesh.empty
    return (lax.dot_general if placed else _by_weight_p.bind)(factor, d_weight, **options)


_by_weight_p = Primitive("dot_general_by_weight")


@_by_weight_p.def_impl
def _evaluate(factor: Any, weight: Any, **options: Any) -> Any:
    return lax.dot_general(factor, weight, **options)


@_by_weight_p.def_abstract_eval
def _type(factor: Any, weight: Any, **options: Any) -> Any:
    return lax.dot_general_p.abstract_eval(factor, weight, **options)[0]


mlir.register_lowering(_by_weight_p, mlir.lower_fun(_evaluate, multiple_results=False))


def _of_factor(ct: Any, factor: Any, weight: Any, **options: Any) -> Any:
    return jax.linear_transpose(lambda f: lax.dot_general(f, weight, **options), factor.aval)(ct)[0]


def _of_weight(ct: Any, factor: Any, weight: Any, **options: Any) -> Any:
    """Σ aᵀ dy, the factor first; then the axes as the weight has them."""
    axes, batch = options.pop("dimension_numbers")
    kept = [a for a in range(factor.ndim) if a not in (*axes[0], *batch[0])]
    free = [a for a in range(weight.aval.ndim) if a not in (*axes[1], *batch[1])]
    lead = range(len(batch[0]))
    numbers = ((kept, range(len(lead), len(lead) + len(kept))), (batch[0], lead))
    found = lax.dot_general(factor, ct, numbers, **options)
    # Its axes: batch, then the contracted ones in the factor's order, then the weight's free ones.
    contracted = [axes[1][axes[0].index(a)] for a in sorted(axes[0])]
    order = [*batch[1], *contracted, *free]
    found = lax.transpose(found, sorted(range(len(order)), key=order.__getitem__))
    return found.astype(weight.aval.dtype)


ad.defbilinear(_by_weight_p, _of_factor, _of_weight)


def _batched(args: Sequence[Any], dims: Sequence[Any], **options: Any) -> tuple[Any, int]:
    if dims[1] is not None:
        return jax.vmap(functools.partial(_evaluate, **options), dims)(*args), 0
    (factor, weight), at = args, dims[0]
    (axes, weight_axes), (batch, weight_batch) = options.pop("dimension_numbers")
    axes, batch = ([a + (a >= at) for a in group] for group in (axes, batch))
    free = [a for a in range(factor.ndim) if a not in (*axes, *batch)]
    numbers = ((tuple(axes), weight_axes), (tuple(batch), weight_batch))
    out = _by_weight_p.bind(factor, weight, dimension_numbers=numbers, **options)
    return out, len(batch) + free.index(at)


batching.primitive_batchers[_by_weight_p] = _batched


# What follows has the weight as its first operand, and the axis that is contracted first in the
# second: the products of loops with features first (_flip.py).
_DOWN = (((1,), (0,)), ((), ()))
_flipped_p = Primitive("dot_general_flipped")


@_flipped_p.def_impl
def _evaluate_flipped(factor: Any, weight: Any, turned: Any, **options: Any) -> Any:
    del weight
    return lax.dot_general(turned, factor, _DOWN, **options)


@_flipped_p.def_abstract_eval
def _type_flipped(factor: Any, weight: Any, turned: Any, **options: Any) -> Any:
    del weight
    return lax.dot_general_p.abstract_eval(turned, factor, dimension_numbers=_DOWN, **options)[0]


mlir.register_lowering(_flipped_p, mlir.lower_fun(_evaluate_flipped, multiple_results=False))


def _jvp_flipped(primals: Sequence[Any], tangents: Sequence[Any], **options: Any) -> Any:
    (factor, weight, turned), (d_factor, d_weight, _) = primals, tangents
    terms = []
    if not isinstance(d_factor, ad.Zero):
        terms.append(_flipped_p.bind(d_factor, weight, turned, **options))
    if not isinstance(d_weight, ad.Zero):
        terms.append(lax.dot_general(d_weight, factor, (((0,), (0,)), ((), ())), **options))
    return _flipped_p.bind(*primals, **options), functools.reduce(operator.add, terms)


def _transposed_flipped(ct: Any, factor: Any, weight: Any, turned: Any, **options: Any) -> Any:
    del turned
    found = lax.dot_general(weight, ct, _DOWN, **options)
    return found.astype(factor.aval.dtype), None, None


def _batched_flipped(args: Sequence[Any], dims: Sequence[Any], **options: Any) -> tuple[Any, int]:
    (factor, weight, turned), (at, *others) = args, dims
    if others != [None, None]:
        return jax.vmap(functools.partial(_evaluate_flipped, **options), dims)(*args), 0
    # More rows of the same product.
    rows = jnp.moveaxis(factor, at, -1)
    out = _flipped_p.bind(rows.reshape(len(rows), -1), weight, turned, **options)
    return out.reshape(len(out), *rows.shape[1:]), 2


ad.deflinear2(_flipped_p, _transposed_flipped)
ad.primitive_jvps[_flipped_p] = _jvp_flipped
batching.primitive_batchers[_flipped_p] = _batched_flipped
