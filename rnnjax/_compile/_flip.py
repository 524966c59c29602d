"""Loops that hold their matrices with features first: [F, B] in the place of [B, F].

XLA's product on a CPU packs its second operand at each call. Of `h @ W` that is the weight, which
never changes; of `Wᵀ @ hᵀ` it is the state, which is small. So where a large weight meets few rows
a loop takes the second form, and does to [F, B] all that it does to [B, F] (benchmarks/NOTES.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jax import lax

from rnnjax._compile._primitives import ELEMENTWISE, known, nbytes, on_cpu
from rnnjax._compile._product import is_by_matrix, weight_is_second
from rnnjax._compile._schedule import Schedule, Stage
from rnnjax._compile._trace import (
    Equation,
    Values,
    Var,
    applied,
    apply,
    inputs,
    read,
    transposed,
    type_of,
)

# Bytes of a weight whose packing takes long, rows that do not outweigh it, and steps that make up
# for a transposed copy of it.
_LARGE = 1 << 22
_ROWS = range(2, 33)
_STEPS = 8


def with_features_first(schedule: Schedule, length: int) -> Schedule:
    """A schedule whose loops are told where they are faster with features first.

    Args:
      schedule: The schedule.
      length: How many steps run at once: T, or those of a block.
    """
    if not (on_cpu() and known(length) and length >= _STEPS):
        return schedule
    stages = tuple(
        replace(stage, features_first=stage.kind == "loop" and _pays(schedule, stage))
        for stage in schedule.stages
    )
    return replace(schedule, stages=stages)


def _pays(schedule: Schedule, loop: Stage) -> bool:
    """Whether a loop is faster with features first, and all that it does can be done so."""
    products = {product.position: product for product in schedule.products(loop)}
    return any(nbytes(product.weight) >= _LARGE for product in products.values()) and all(
        _is_of_few_rows(eqn, products[i].factor) if i in products else _can_be_flipped(eqn)
        for i, eqn in enumerate(loop.eqns)
    )


def _is_of_few_rows(product: Equation, factor: Var) -> bool:
    """Whether a product is a few rows by a matrix."""
    return (
        weight_is_second(product, factor)
        and is_by_matrix(product)
        and type_of(factor).ndim == 2
        and type_of(factor).shape[0] in _ROWS
    )


def flipped(value: Any) -> Any:
    """[B, F] as [F, B], and the other way round; what is no matrix stays as it is."""
    return lax.transpose(value, (1, 0)) if np.ndim(value) == 2 else value


def apply_flipped(eqn: Equation, env: Mapping[Var, Any]) -> Values:
    """Evaluates one equation of which all matrices are flipped."""
    name = eqn.primitive.name
    if _rank(eqn) < 2:
        return applied(eqn, env)
    if name == _CALL:  # it has its shapes inside
        return [flipped(out) for out in apply(eqn, *map(flipped, read(env, inputs(eqn))))]
    changed = _CHANGED[name](eqn) if name in _CHANGED else {}
    return apply(transposed(eqn, changed), *read(env, inputs(eqn)))


def _can_be_flipped(eqn: Equation) -> bool:
    rank, name = _rank(eqn), eqn.primitive.name
    placed = not all(type_of(v).sharding.mesh.empty for v in (*eqn.invars, *eqn.outvars))
    does = name in ELEMENTWISE or name in _CHANGED or name == _CALL
    return not placed and (rank < 2 or (rank == 2 and does))


def _rank(eqn: Equation) -> int:
    """The most axes that anything in it has."""
    return max(type_of(v).ndim for v in (*eqn.invars, *eqn.outvars))


def _broadcast(eqn: Equation) -> dict[str, Any]:
    given, axes = type_of(eqn.invars[0]).ndim, eqn.params["broadcast_dimensions"]
    return {
        "shape": eqn.params["shape"][::-1],
        "broadcast_dimensions": axes if given == 2 else tuple(1 - axis for axis in axes),
    }


def _slice(eqn: Equation) -> dict[str, Any]:
    names = ("start_indices", "limit_indices", "strides")
    return {name: eqn.params[name] and eqn.params[name][::-1] for name in names}


def _reduce(eqn: Equation) -> dict[str, Any]:
    return {"axes": tuple(sorted(1 - axis for axis in eqn.params["axes"]))}


# Parameters that name axes.
_CHANGED: dict[str, Callable[[Equation], dict[str, Any]]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": lambda eqn: {"dimension": 1 - eqn.params["dimension"]},
    "reduce_max": _reduce,
    "reduce_min": _reduce,
    "reduce_sum": _reduce,
    "slice": _slice,
    "split": lambda eqn: {"axis": 1 - eqn.params["axis"]},
}
_CALL = "custom_jvp_call"
