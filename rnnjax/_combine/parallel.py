"""Several cells on one input."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, PyTree, at_least_float32, cell_factory, one_of
from rnnjax._combine._common import Inners, initial_states
from rnnjax._combine._weights import under


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
    "separate": lambda *ys: ys,
}
Merge = Annotated[Literal["concat", "sum", "mean", "separate"], one_of(*_MERGES)]


def merged(merge: str, *ys: PyTree) -> PyTree:
    """The outputs as one; those of several dtypes in the widest, as a mixed precision means it."""
    with jax.numpy_dtype_promotion("standard"):
        return _MERGES[merge](*ys)


@cell_factory
def parallel(*cells: Inners, merge: Merge = "concat") -> Cell:
    """Gives one input to several cells and merges what they make of it.

        s^k_t, u^k_t = cell_k(s^k_{t-1}, x_t)        k = 1 .. K
        y_t = [u^1_t, .., u^K_t]                     merge="concat"

    Parameters and state are tuples with one entry a cell.

    Args:
      *cells: the cells, of one kind of input.
      merge: how the outputs meet: "concat" along the features, "sum", "mean", or "separate" for
        the tuple of them.

    Returns:
      A Cell.

    Raises:
      TypeError: an argument is not a Cell.
      ValueError: there is no cell, `merge` is an unknown name, or the cells disagree on the axes
        of an input (`x_ndims`) or on what stands for a missing one (`fill`); or, in a step,
        outputs to be added differ in size.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.parallel(rnnjax.gru(4), rnnjax.elman(2))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> _, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 6)
    """
    first = cells[0]
    for i, cell in enumerate(cells):
        for field in ("x_ndims", "fill"):
            got, want = getattr(cell, field), getattr(first, field)
            if got != want:
                raise ValueError(
                    f"parallel: cells[{i}], {cell.name}, has {field}={got!r}, but {first.name} "
                    f"has {want!r}: cells on one input must agree"
                )

    def init_params(key: Array, x_spec: PyTree) -> tuple:
        return tuple(cell.init(jax.random.fold_in(key, i), x_spec) for i, cell in enumerate(cells))

    def initial_state(
        params: tuple, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> tuple:
        return initial_states(cells, params, batch_shape, key)

    def step(params: tuple, state: tuple, x: PyTree) -> tuple[tuple, PyTree]:
        each = [cell.step(p, s, x) for cell, p, s in zip(cells, params, state, strict=True)]
        state, ys = zip(*each, strict=True)
        return state, merged(merge, *ys)

    outputs = [cell.output_of for cell in cells if cell.output_of is not None]

    def output_of(state: tuple) -> PyTree:
        return merged(merge, *(out(s) for out, s in zip(outputs, state, strict=True)))

    names = [cell.name for cell in cells] + [merge] * (merge != "concat")
    return Cell(
        name=f"parallel({', '.join(names)})",
        init=init_params,
        initial_state=initial_state,
        step=step,
        x_ndims=first.x_ndims,
        output_of=output_of if len(outputs) == len(cells) else None,
        recurrent=tuple(path for i, cell in enumerate(cells) for path in under(i, cell)),
        fill=first.fill,
    )
