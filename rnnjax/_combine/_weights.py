"""Recurrent weights: where they are in the parameters, and how to change or drop them.

`Cell.recurrent` names fields of the parameters, as JAX's key paths do: by field, key or place.
Where parameters are nested, a name is a path with dots, such as "1.w_h" for the second cell of a
stack or "cell.w_h" for a wrapped one, so that what acts on recurrent weights reaches all of them,
however deep and in whatever registered container.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Params, State
from rnnjax._noise import share
from rnnjax.cells._common import rows


def require_recurrent(name: str, cell: Cell) -> None:
    """Raises TypeError unless the cell says which fields are its recurrent weights."""
    if not cell.recurrent:
        raise TypeError(
            f"{name}: {cell.name} declares no recurrent weights: use a recurrent cell, or give "
            'the Cell recurrent=("w_h",) with the names of the fields that multiply its state'
        )


def under(prefix: object, cell: Cell) -> tuple[str, ...]:
    """The paths of a cell's recurrent fields once its parameters are the entry `prefix`."""
    return tuple(f"{prefix}.{path}" for path in cell.recurrent)


def wrapped(cell: Cell, **fields: Any) -> Cell:
    """A cell with that cell's state, whose parameters hold those of the cell inside as `cell`."""

    def initial_state(
        params: Any, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> State:
        return cell.initial_state(params.cell, batch_shape, key=key)

    kept = {"initial_state": initial_state, "recurrent": under("cell", cell)}
    return dataclasses.replace(cell, **{**kept, **fields})


def change_recurrent(cell: Cell, params: Params, change: Callable[[str, Any], Any]) -> Params:
    """The parameters with each recurrent field w replaced by `change(its name, w)`.

    Raises:
      TypeError: `cell.recurrent` names what the parameters do not have.
    """
    paths = functools.partial(jax.tree_util.keystr, simple=True, separator=".")
    entries, tree = jax.tree_util.tree_flatten_with_path(
        params, lambda path, _: paths(path) in cell.recurrent, is_leaf_takes_path=True
    )
    places = {paths(path): place for place, (path, _) in enumerate(entries)}
    leaves = [leaf for _, leaf in entries]
    for name in cell.recurrent:
        if name not in places:
            raise TypeError(
                f"{cell.name}: recurrent names {name!r}, which is no field of params: "
                f"they have {', '.join(places)}"
            )
        leaves[places[name]] = change(name, leaves[places[name]])
    return tree.unflatten(leaves)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Recurrent:
    """A recurrent weight that drops: stands where w stood, so that h @ w reads h @ it.

    It acts on the product itself, hence exactly on what the cell multiplies by w: on h, or on r ⊙ h
    in a GRU with the reset before the product. What is no product with w or with columns of it
    raises, rather than drop nothing.

    Attributes:
      w: the weights [H, K], or one matrix a row [*B, H, K].
      m: what h is multiplied by, [*B, H], or None.
      by_row: whether w has the batch axes.
    """

    w: Array
    m: Array | None = None
    by_row: bool = dataclasses.field(default=False, metadata={"static": True})

    @classmethod
    def of(cls, name: str, w: Any) -> Recurrent:
        """w, as one of these; raises TypeError unless it is a matrix."""
        if w.ndim != 2:
            raise TypeError(f"{name} needs recurrent weights [H, K], got shape {list(w.shape)}")
        return w if isinstance(w, cls) else cls(w)

    shape = property(lambda self: self.w.shape[-2:])
    dtype = property(lambda self: self.w.dtype)
    ndim = property(lambda self: 2)

    def __rmatmul__(self, h: Array) -> Array:
        h = h if self.m is None else h * self.m
        return (h[..., None, :] @ self.w)[..., 0, :] if self.by_row else h @ self.w

    def __getitem__(self, index: Any) -> Recurrent:
        if not isinstance(index, tuple) or len(index) != 2 or index[0] != slice(None):
            raise TypeError("a recurrent weight under dropout may be cut into columns, w[:, a:b]")
        return dataclasses.replace(self, w=self.w[..., index[1]])

    def masked(self, m: Array) -> Recurrent:
        """With h ⊙ m in place of h."""
        return dataclasses.replace(self, m=m if self.m is None else self.m * m)

    def dropped(self, kept: Array, rate: Array) -> Recurrent:
        """With w / (1 - rate) where it is kept, bool [*B, H, K], and 0 elsewhere in place of w."""
        w = rows(self.w, kept)
        w = jnp.where(kept, w / share(rate, w), 0)
        return dataclasses.replace(self, w=w, by_row=True)


def change_blocks(
    name: str, cell: Cell, params: Params, change: Callable[[Array], Array]
) -> Params:
    """The parameters with each recurrent field [H, G H] changed gate by gate, as [..., G, H, H]."""

    def changed(_: str, w: Any) -> Any:
        if w.ndim != 2 or w.shape[1] % w.shape[0]:
            raise TypeError(f"{name} needs recurrent weights [H, G H], got {list(w.shape)}")

        def each(w: Array) -> Array:
            gates = w.reshape(*w.shape[:-1], -1, w.shape[-2])  # [..., H, G, H]
            return jnp.swapaxes(change(jnp.swapaxes(gates, -2, -3)), -2, -3).reshape(w.shape)

        # A weight that drops keeps dropping: what is changed is the array in it.
        return dataclasses.replace(w, w=each(w.w)) if isinstance(w, Recurrent) else each(w)

    return change_recurrent(cell, params, changed)
