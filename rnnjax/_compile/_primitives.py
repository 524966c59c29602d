"""What the compiler knows about primitives: which may be mapped over time, and what they cost."""

from __future__ import annotations

import math
from typing import Any

import jax
from jax import export

from rnnjax._compile._trace import Atom, Equation, derivative_rule, subprograms, type_of

# One output element from one element of each operand (operands of shape () are shared).
ELEMENTWISE = frozenset(
    """
    abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp conj
    convert_element_type copy cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge
    gt imag integer_pow is_finite le lgamma log log1p logistic lt max min mul ne neg nextafter not
    or pow real rem round rsqrt select_n shift_left shift_right_arithmetic shift_right_logical
    sign sin sinh sqrt square sub tan tanh xor
    """.split()
)

# Primitives whose mapping over time computes what computing them step by step computes.
# Absent on purpose: control flow, checkpoints, callbacks, collectives, everything unknown.
_MAPPABLE = ELEMENTWISE | frozenset(
    """
    argmax argmin bitcast_convert_type broadcast_in_dim closed_call concatenate
    conv_general_dilated cumlogsumexp cummax cummin cumprod cumsum custom_jvp_call custom_vjp_call
    dot_general dynamic_slice dynamic_update_slice expand_dims gather iota jit pad pcast pjit
    pvary random_bits random_fold_in random_seed random_split random_unwrap random_wrap reduce_and
    reduce_max reduce_min reduce_or reduce_prod reduce_sum reshape rev slice sort split squeeze
    stop_gradient threefry2x32 top_k transpose
    """.split()
)

# Cheap equations that blow their input up; they are repeated beside each consumer.
EXPANDING = frozenset({"broadcast_in_dim", "iota", "convert_element_type"})

# A few cycles an element, or no arithmetic at all.
_CHEAP = frozenset(
    """
    add add_any broadcast_in_dim clamp concatenate convert_element_type copy eq ge gt integer_pow
    le lt max min mul ne neg not or and reshape select_n sign slice split square squeeze sub
    transpose
    """.split()
)

# What an unknown size counts as: many, so that what is done for it does not depend on luck.
_UNKNOWN = 1 << 10

PRODUCTS = frozenset({"dot_general", "conv_general_dilated"})

# Contractions shorter than this are left where they stand: [B, 1] @ [1, 4H] is a broadcast, and
# a stored [T, B, 4H] costs more than computing it again.
SHORTEST_CONTRACTION = 2

# So are shorter ones than this, and table lookups, where the result is so many times as large as
# the state: a matrix for each row (benchmarks/NOTES.md).
SHORTEST_WIDE_CONTRACTION = 32
WIDE = 8

# How many derivatives of a call with its own rule are looked into: a rule may call its function.
_ORDERS = 3


def mappable(eqn: Equation, orders: int = _ORDERS) -> bool:
    """Whether an equation, and its derivatives, may be computed for all of time at once."""
    if eqn.primitive.name not in _MAPPABLE or eqn.effects:
        return False
    # Only threefry promises that mapped bits are the bits of each key alone.
    dtypes = [str(type_of(v).dtype) for v in (*eqn.invars, *eqn.outvars)]
    if any(dtype.startswith("key") and dtype != "key<fry>" for dtype in dtypes):
        return False
    if not all(mappable(inner, orders) for inner in subprograms(eqn)):
        return False
    rule = derivative_rule(eqn) if orders else []
    return rule is not None and all(mappable(inner, orders - 1) for inner in rule)


def on_cpu() -> bool:
    """Whether programs run on a CPU, where what is tuned for its caches pays."""
    return jax.default_backend() == "cpu"


def worth_keeping(primitive: Any, *_: Any, **__: Any) -> bool:
    """Whether a result is kept for the gradient (a policy of `jax.checkpoint`)."""
    return primitive.name not in _CHEAP


def has_backward_rule(eqn: Equation) -> bool:
    """Whether an equation, or a function it calls, has a `custom_vjp`, which need not be linear."""
    own = eqn.primitive.name.startswith("custom_vjp_call")
    return own or any(map(has_backward_rule, subprograms(eqn)))


def is_complex(eqn: Equation) -> bool:
    """Whether an equation, or a function it calls, makes complex numbers."""
    dtypes = [type_of(v).dtype for v in eqn.outvars]
    return any(jax.numpy.issubdtype(dtype, jax.numpy.complexfloating) for dtype in dtypes) or any(
        map(is_complex, subprograms(eqn))
    )


def is_narrow(atom: Atom) -> bool:
    """Whether a value has fewer bits than products are summed in."""
    dtype = type_of(atom).dtype
    return jax.numpy.issubdtype(dtype, jax.numpy.floating) and dtype.itemsize < 4


def known(size: Any) -> bool:
    """Whether a size is a number, and no symbol of a program that is exported for any size."""
    return not export.is_symbolic_dim(size)


def counted(size: Any) -> int:
    """A size as a number to decide by."""
    return size if known(size) else _UNKNOWN


def size_of(atom: Atom) -> int:
    """Number of elements, to decide by."""
    return math.prod(map(counted, type_of(atom).shape))


def contraction(eqn: Equation) -> int:
    """Number of terms summed into one element of a product."""
    if eqn.primitive.name == "dot_general":
        (lhs, _), _ = eqn.params["dimension_numbers"]
        return math.prod(counted(type_of(eqn.invars[0]).shape[axis]) for axis in lhs)
    numbers = eqn.params["dimension_numbers"]
    shape = type_of(eqn.invars[1]).shape
    return size_of(eqn.invars[1]) // max(1, counted(shape[numbers.rhs_spec[0]]))


def flops(eqn: Equation) -> int:
    """Floating point operations of one equation: 2 per term of a product, 1 per element else."""
    name = eqn.primitive.name
    if name in PRODUCTS:
        return 2 * size_of(eqn.outvars[0]) * contraction(eqn)
    inner = sum(flops(e) for e in subprograms(eqn))
    if inner:
        return inner * counted(eqn.params.get("length", 1))
    return sum(map(size_of, eqn.outvars)) if name in ELEMENTWISE else 0


def nbytes(atom: Atom) -> int:
    """Bytes of a value; a random key counts as two words."""
    return size_of(atom) * getattr(type_of(atom).dtype, "itemsize", 8)
