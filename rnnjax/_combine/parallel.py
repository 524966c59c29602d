"""Several cells on one input."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, PyTree
from rnnjax._combine._common import Inners
from rnnjax._combine._parts import Parts
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import cell_factory, one_of


def _added(*ys: Array, mean: bool = False) -> Array:
    """Their sum or mean, taken in float32 or better; raises ValueError rather than broadcast."""
    for y in ys[1:]:
        if y.shape != ys[0].shape:
            raise ValueError(
                f"outputs of {ys[0].shape[-1]} and {y.shape[-1]} features cannot be added: give "
                'the cells one size, or pass merge="concat"'
            )
    dtype = jnp.result_type(*ys)
    floating = jnp.issubdtype(dtype, jnp.inexact)
    ys = tuple(y.astype(at_least_float32(dtype)) for y in ys) if floating else ys
    total = sum(ys[1:], start=ys[0])
    total = total / len(ys) if mean else total
    return total.astype(dtype) if floating else total


_MERGES: dict[str, Any] = {
    "concat": lambda *ys: jax.tree.map(lambda *y: jnp.concatenate(y, axis=-1), *ys),
    "sum": lambda *ys: jax.tree.map(_added, *ys),
    "mean": lambda *ys: jax.tree.map(lambda *y: _added(*y, mean=True), *ys),
}
Merge = Annotated[Literal["concat", "sum", "mean", "separate"], one_of(*_MERGES, "separate")]


def merged(merge: str, parts: Parts, ys: list[PyTree]) -> PyTree:
    """The outputs as one; those of several dtypes in the widest, as a mixed precision means it."""
    if merge == "separate":
        return parts.tree(ys)
    with jax.numpy_dtype_promotion("standard"):
        return _MERGES[merge](*ys)


@cell_factory
def parallel(*cells: Inners, merge: Merge = "concat", **named: Inners) -> Cell:
    """Gives one input to several cells and merges what they make of it.

        s^k_t, u^k_t = cell_k(s^k_{t-1}, x_t)        k = 1 .. K
        y_t = [u^1_t, .., u^K_t]                     merge="concat"

    Parameters and state are dicts by the names of the cells, or tuples where they have none.

    Args:
      *cells: the cells, of one kind of input.
      merge: how the outputs meet: "concat" along the features, "sum", "mean", or "separate" for
        the dict or tuple of them.
      **named: the cells by names of your choice, instead; as in `stack`.

    Returns:
      A Cell.

    Raises:
      TypeError: an argument is not a Cell, or some have names and some have not.
      ValueError: there is no cell, `merge` is an unknown name, or the cells disagree on the axes
        of an input (`x_ndims`) or on what stands for a missing one (`fill`); or, in a step,
        outputs to be added differ in size.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.parallel(slow=rnnjax.gru(4), fast=rnnjax.elman(2))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> _, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 6)
    """
    parts = Parts.of("parallel", cells, named)
    cells = parts.parts
    first = cells[0]
    for i, cell in zip(parts.names, cells, strict=True):
        for field in ("x_ndims", "fill"):
            got, want = getattr(cell, field), getattr(first, field)
            if got != want:
                raise ValueError(
                    f"parallel: cells[{i}], {cell.name}, has {field}={got!r}, but {first.name} "
                    f"has {want!r}: cells on one input must agree"
                )

    def init_params(key: Array, x_spec: PyTree) -> PyTree:
        keys = parts.keys(key)
        return parts.tree(cell.init(k, x_spec) for cell, k in zip(cells, keys, strict=True))

    def step(params: PyTree, state: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
        each = [cell.step(p, s, x) for cell, p, s in parts.each(params, state)]
        return parts.tree(s for s, _ in each), merged(merge, parts, [y for _, y in each])

    outputs = [cell.output_of for cell in cells if cell.output_of is not None]

    def output_of(state: PyTree) -> PyTree:
        states = parts.entries("state", state)
        return merged(merge, parts, [out(s) for out, s in zip(outputs, states, strict=True)])

    return Cell(
        name=f"parallel({parts}{f', {merge}' * (merge != 'concat')})",
        init=init_params,
        initial_state=parts.initial_state,
        step=step,
        x_ndims=first.x_ndims,
        output_of=output_of if len(outputs) == len(cells) else None,
        recurrent=parts.recurrent(),
        fill=first.fill,
    )
