"""States as vectors: the real numbers of a state tree in one row, and back."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Array, Cell, Params, PyTree, State, is_held
from rnnjax._check import require_cell
from rnnjax._held import below, path_name

# Which leaves: their paths or what stands above them, or whether one is, by path and value.
Select = str | Sequence[str] | Callable[[str, Array], bool] | None


def settled(select: Select) -> Select:
    """`select` in a form that has a hash."""
    return tuple(select) if isinstance(select, Sequence) and not isinstance(select, str) else select


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One leaf of a state among the numbers of its vector.

    Attributes:
      index: its place among the nodes of the state, with what is held as one node.
      path: its path, as a user writes it; "state" where the state is one array.
      shape: that of one row.
      dtype: its own.
      place: where in the vector it is.
    """

    index: int
    path: str
    shape: tuple[int, ...]
    dtype: np.dtype
    place: slice

    @property
    def complex(self) -> bool:
        """Whether it is there as real parts, and imaginary parts behind them."""
        return jnp.issubdtype(self.dtype, jnp.complexfloating)

    def names(self) -> list[str]:
        """The name of each number."""
        units = [f"[{','.join(map(str, i))}]" if i else "" for i in np.ndindex(self.shape)]
        parts = (".real", ".imag") if self.complex else ("",)
        return [f"{self.path}{unit}{part}" for part in parts for unit in units]

    def read(self, value: Array, batch: tuple[int, ...]) -> Array:
        """Its numbers, [*B, n]."""
        row = jnp.asarray(value).reshape(*batch, math.prod(self.shape))
        return jnp.concatenate([row.real, row.imag], -1) if self.complex else row

    def write(self, vector: Array) -> Array:
        """The leaf from a vector [*B, N]."""
        row = vector[..., self.place]
        if self.complex:
            real, imag = jnp.split(row.astype(jnp.finfo(self.dtype).dtype), 2, -1)
            row = jax.lax.complex(real, imag)
        return row.astype(self.dtype).reshape(*vector.shape[:-1], *self.shape)


@dataclasses.dataclass(frozen=True)
class Units:
    """Which numbers of a cell's states make up their vectors, in which order.

    Attributes:
      leaves: the leaves they are in.
      rank: how many axes the batch has.
      dtype: of the vector; wide enough for each leaf.
    """

    leaves: tuple[Leaf, ...]
    rank: int
    dtype: np.dtype

    @classmethod
    def of(cls, cell: Cell, params: Params, state: State, select: Select = None) -> Units:
        """Those of a state; `as_vector` says of what `select` chooses from, and what is raised."""
        require_cell("cell", cell)
        alone = jax.eval_shape(lambda: cell.initial_state(params))
        return cls.among(f"the state of {cell.name}", state, alone, select)

    @classmethod
    def of_input(cls, cell: Cell, x: PyTree) -> Units:
        """Those of an input of one step."""
        require_cell("cell", cell)
        ndims = jax.tree.broadcast(cell.x_ndims, x)
        alone = jax.tree.map(lambda leaf, n: np.empty((1,) * n), x, ndims)
        return cls.among(f"x, an input of {cell.name},", x, alone)

    @classmethod
    def among(cls, what: str, tree: PyTree, alone: PyTree, select: Select = None) -> Units:
        """Those of a tree whose leaves have the ranks of `alone` where there is no batch."""
        nodes = jax.tree.leaves_with_path(tree, is_leaf=is_held)
        one_row = jax.tree.leaves(alone, is_leaf=is_held)
        if len(nodes) != len(one_row):
            raise ValueError(
                f"{what} has {len(one_row)} leaves, got {len(nodes)}: pass what cell.initial_state "
                "gives, or what the cell has reached from there"
            )
        ranks, known, leaves, start = set(), [], [], 0
        wanted = _chooser(select)
        for index, ((path, node), one) in enumerate(zip(nodes, one_row, strict=True)):
            at = path_name(path) or "state"
            if is_held(node):
                known.append(f"{at} (held)")
                continue
            dtype = jnp.result_type(node)
            known.append(f"{at} ({dtype})")
            rank = jnp.ndim(node) - one.ndim
            ranks.add(rank)
            if not jnp.issubdtype(dtype, jnp.inexact) or not wanted(at, node):
                continue
            shape = jnp.shape(node)[rank:]
            size = math.prod(shape) * (2 if jnp.issubdtype(dtype, jnp.complexfloating) else 1)
            leaves.append(Leaf(index, at, shape, dtype, slice(start, start + size)))
            start += size
        if len(ranks) > 1 or min(ranks, default=0) < 0:
            raise ValueError(f"the leaves of {what} disagree on the batch axes: {', '.join(known)}")
        paths = () if select is None or callable(select) else paths_of(select)
        empty = [at for at in paths if not any(below(leaf.path, at) for leaf in leaves)]
        if not start or empty:
            found = f"select: {', '.join(empty)} has" if empty else f"{what} has"
            found = found if empty or select is None else "what select takes has"
            raise ValueError(
                f"{found} no real or complex numbers; the leaves of {what} are "
                f"{', '.join(known) or 'none'}: let select name some of float or complex dtype"
            )
        real = [jnp.finfo(leaf.dtype).dtype for leaf in leaves]
        with jax.numpy_dtype_promotion("standard"):  # the leaves keep their own
            return cls(tuple(leaves), max(ranks), functools.reduce(jnp.promote_types, real))

    @property
    def names(self) -> list[str]:
        """The name of each number."""
        return [name for leaf in self.leaves for name in leaf.names()]

    @property
    def places(self) -> dict[str, slice]:
        """Where each leaf is, by its path."""
        return {leaf.path: leaf.place for leaf in self.leaves}

    def read(self, state: State) -> Array:
        """The vector [*B, N] of a state."""
        nodes = jax.tree.leaves(state, is_leaf=is_held)
        batch = jnp.shape(nodes[self.leaves[0].index])[: self.rank]
        rows = [leaf.read(nodes[leaf.index], batch).astype(self.dtype) for leaf in self.leaves]
        return jnp.concatenate(rows, -1)

    def write(self, state: State, vector: Array) -> State:
        """The state with the numbers of a vector; what is not selected stays as it is."""
        nodes, tree = jax.tree.flatten(state, is_leaf=is_held)
        for leaf in self.leaves:
            nodes[leaf.index] = leaf.write(vector)
        return tree.unflatten(nodes)


def paths_of(select: str | Sequence[str]) -> list[str]:
    """One path, or several."""
    return [select] if isinstance(select, str) else list(select)


def _chooser(select: Select) -> Callable[[str, Array], bool]:
    """`select` as a function of a leaf's path and value."""
    if callable(select):
        return select
    paths = [""] if select is None else paths_of(select)
    return lambda path, leaf: any(below(path, at) for at in paths)


def as_vector(
    cell: Cell, params: Params, state: State, select: Select = None
) -> tuple[Array, Callable[[Array], State], list[str]]:
    """The real numbers of a state as one vector a row, and back.

    Its real and complex leaves are taken, a complex one as its real parts and then its imaginary
    ones. Keys, integers, bools and what the state holds (`Held`) stay what they are.

    Args:
      cell: the cell.
      params: its parameters; they say how many axes one row has.
      state: a state of it, leaves [*B, ...].
      select: which leaves, where not all: a path such as "rnn.h", or what stands above some, as
        "rnn"; several of them; or a function of a leaf's path and value to bool.

    Returns:
      (vector [*B, N], restore, names): `restore` takes a vector, which may have other leading axes,
      to the state that has its numbers; `names` has one name a number, such as "rnn.h[3]".

    Raises:
      TypeError: `cell` is no Cell.
      ValueError: nothing is left to take; the message has the leaves that there are.

    Example:
      >>> import jax, rnnjax
      >>> from rnnjax.diagnostics import as_vector
      >>> cell = rnnjax.stack(low=rnnjax.gru(2), high=rnnjax.lstm(2))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> state = cell.initial_state(params, (5,))
      >>> v, restore, names = as_vector(cell, params, state, "high")
      >>> v.shape, names
      ((5, 4), ['high.h[0]', 'high.h[1]', 'high.c[0]', 'high.c[1]'])
      >>> print(restore(v + 1)["high"].c[0], restore(v + 1)["low"][0])
      [1. 1.] [0. 0.]
    """
    units = Units.of(cell, params, state, select)
    return units.read(state), functools.partial(units.write, state), units.names
