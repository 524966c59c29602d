"""Every recurrent cell by its name, and what each reads: for comparisons of them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal

import jax.numpy as jnp

import rnnjax
from rnnjax import Cell, cells

# What reads the time of a step besides x: that since the last step, or that since the first.
SINCE_LAST, SINCE_FIRST = {"timed_ct_rnn", "ltc", "cfc"}, {"phased_lstm"}
# What says which inputs are there, and how long ago they were.
MISSING = {"gru_d"}
# As many outputs as inputs: a linear layer stands before them.
WIDE = {"rg_lru", "lru", "s5"}
# Sizes that have no default, from the number of units.
MORE: dict[str, Any] = {
    "jordan": lambda size: {"output_size": size},
    "projected_lstm": lambda size: {"projection_size": max(1, size // 2)},
    "scrn": lambda size: {"context_size": max(1, size // 2)},
}
# All that have units; those of images have none.
NAMES = tuple(
    name
    for name, make in vars(cells).items()
    if inspect.isfunction(make) and "hidden_size" in inspect.signature(make).parameters
)
if TYPE_CHECKING:
    AnyCell = PlainCell = str
else:
    AnyCell = Literal[NAMES]
    # Those that read x alone, so that another cell may stand before them.
    PlainCell = Literal[tuple(n for n in NAMES if n not in SINCE_LAST | SINCE_FIRST | MISSING)]


def cell_named(name: str, hidden_size: int) -> Cell:
    """A recurrent cell of so many units, with its defaults.

    Args:
      name: one of `NAMES`.
      hidden_size: its units.

    Example:
      >>> from rnnjax.tasks._cells import cell_named
      >>> cell_named("projected_lstm", 8).name
      'projected_lstm(8, 4)'
    """
    more = MORE.get(name, lambda size: {})
    return getattr(cells, name)(hidden_size, **more(hidden_size))


def model_of(name: str, hidden_size: int, outputs: int) -> Cell:
    """The cell and a readout of so many outputs; it reads what `inputs_of` makes of x."""
    return rnnjax.stack(**parts_of(name, hidden_size), readout=rnnjax.linear(outputs))


def parts_of(name: str, hidden_size: int) -> dict[str, Cell]:
    """The cell by itself, and what stands before it where it has as many outputs as inputs."""
    before = {"project": rnnjax.linear(hidden_size)} if name in WIDE else {}
    return {**before, "rnn": cell_named(name, hidden_size)}


def inputs_of(name: str, xs: Any) -> Any:
    """The inputs of a cell, from x alone: times are 1 a step, and nothing is missing.

    Args:
      name: one of `NAMES`.
      xs: [T, *B, D].

    Returns:
      What the cell reads: xs, or a tuple that begins with it.
    """
    one = jnp.ones(xs.shape[:-1], xs.dtype)
    if name in SINCE_LAST:
        return xs, one
    if name in SINCE_FIRST:
        return xs, one.cumsum(0)
    if name in MISSING:
        return xs, jnp.ones(xs.shape, bool), jnp.ones_like(xs)
    return xs
