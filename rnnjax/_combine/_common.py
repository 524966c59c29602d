"""What the transformations share: the checks of their arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from rnnjax._cell import Cell, PyTree
from rnnjax._check import require_cell
from rnnjax._factory import ELSEWHERE, real


def require_cells(what: str, value: Any) -> Any:
    """The cells of `*cells` or `**cells`; raises TypeError where one is no Cell."""
    for i, cell in value.items() if isinstance(value, dict) else enumerate(value):
        name = what.partition(":")[0]
        hint = (
            ELSEWHERE.get(str(i))
            or f"wrap a function in activation(...), unpack a list of cells: {name}(*cells)"
        )
        require_cell(f"{what}[{i}]", cell, hint)
    return value


Inner = Annotated[Cell, require_cell]
Inners = Annotated[Cell, require_cells]  # of `*cells` and `**named`


def require_output_of(name: str, cell: Cell) -> Callable[[PyTree], PyTree]:
    """`cell.output_of`; raises TypeError where it is not declared."""
    if cell.output_of is None:
        raise TypeError(
            f"{name}: {cell.name} declares no output_of, so its y cannot be made from the changed "
            "state: transform the recurrent cell before stacking, or give the Cell output_of=..."
        )
    return cell.output_of


def probability(what: str, value: Any) -> float:
    """`value` as a float; raises unless it is a number in [0, 1]."""
    return real(what, value, "a probability in [0, 1]", lambda p: 0 <= p <= 1)
