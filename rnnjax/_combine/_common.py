"""What the transformations share: checks, and maps over floating leaves."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, PyTree, fold_in, real, require_cell

_WRAP = "wrap a function in activation(...)"
HINT = f"call a factory, as in lstm(256), or {_WRAP}"


def require_cells(what: str, value: tuple[Any, ...]) -> tuple[Cell, ...]:
    """The cells; raises unless they are at least one Cell and nothing else."""
    if not value:
        name = what.partition(":")[0]
        raise ValueError(f"{name} needs at least one cell, got none")
    for i, cell in enumerate(value):
        hint = f"{_WRAP}, unpack a list of cells: {what.partition(':')[0]}(*cells)"
        require_cell(f"{what}[{i}]", cell, hint)
    return value


Inner = Annotated[Cell, functools.partial(require_cell, hint=HINT)]
Inners = Annotated[Cell, require_cells]  # of `*cells`


def require_output_of(name: str, cell: Cell) -> Callable[[PyTree], PyTree]:
    """`cell.output_of`; raises TypeError where it is not declared."""
    if cell.output_of is None:
        raise TypeError(
            f"{name}: {cell.name} declares no output_of, so its y cannot be made from the changed "
            "state: transform the recurrent cell before stacking, or give the Cell output_of=..."
        )
    return cell.output_of


def is_floating(leaf: Any) -> bool:
    """Whether a leaf holds floating-point numbers."""
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def map_floats(f: Callable[..., Any], tree: PyTree, *others: PyTree) -> PyTree:
    """Maps f over the floating leaves; keys, counters and flags stay those of `tree`."""
    return jax.tree.map(lambda a, *b: f(a, *b) if is_floating(a) else a, tree, *others)


def probability(what: str, value: Any) -> float:
    """`value` as a float; raises unless it is a number in [0, 1]."""
    return real(what, value, "a probability in [0, 1]", lambda p: 0 <= p <= 1)


def initial_states(
    cells: tuple[Cell, ...], params: tuple, batch_shape: tuple[int, ...], key: Array | None
) -> tuple:
    """The states of several cells, the noise of each from its own key."""
    return tuple(
        cell.initial_state(p, batch_shape, key=None if key is None else fold_in(key, i))
        for i, (cell, p) in enumerate(zip(cells, params, strict=True))
    )
