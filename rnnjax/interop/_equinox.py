"""Equinox: `LSTMCell`, `GRUCell` and what is around.

A model is the cell, or a module or tree of modules: parts stand under their names, as attributes or
keys, those without names by number, and directions as `forward` and `backward`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from rnnjax._cell import Cell, Params, PyTree
from rnnjax._layer import Layer
from rnnjax.interop._format import (
    Flat,
    Format,
    compare,
    options,
    placed,
    read,
    require_zeros,
    write,
)
from rnnjax.interop._models import Path, Way
from rnnjax.interop._tree import flat, name_of, part_of

_NAMES = {
    "lstm": {"w_x": "weight_ih", "w_h": "weight_hh", "b": "bias"},
    "gru": {"w_x": "weight_ih", "w_h": "weight_hh", "b": "bias", "b_n": "bias_n"},
    "embed": {"table": "weight"},
    "linear": {"w": "weight", "b": "bias"},
    "layer_norm": {"scale": "weight", "offset": "bias"},
}
_CLASSES = {
    "lstm": ("LSTMCell",),
    "gru": ("GRUCell",),
    "embed": ("Embedding",),
    "linear": ("Linear",),
    "layer_norm": ("LayerNorm",),
}


def from_equinox(model: Cell | Layer, modules: PyTree) -> Params:
    """The parameters of a model of ours from Equinox's modules, bit for bit.

    Args:
      model: what they are parameters of: a cell, or layers of cells. Parts have the names of the
        attributes or keys under which the modules stand.
      modules: a module, or a tree of modules, whose epsilons are then compared and whose biases
        are zeros where they have none, or of their arrays.

    Returns:
      Parameters of the model.

    Raises:
      ValueError: a name is missing or unknown, a shape is another, a module has another epsilon, or
        Equinox has no such cell.

    Example:
      >>> import numpy as np, rnnjax
      >>> from rnnjax import interop
      >>> cell = {
      ...     "weight_ih": np.ones((16, 3)), "weight_hh": np.ones((16, 4)), "bias": np.ones(16)
      ... }
      >>> interop.from_equinox(rnnjax.lstm(4), cell).w_x.shape
      (3, 16)
    """
    without = set()
    for place, cell in placed(EQUINOX, model):
        module = part_of(modules, place.rpartition("/")[0], "/")
        if dataclasses.is_dataclass(module):
            compare(EQUINOX, cell, {"epsilon": getattr(module, "eps", None)}, options(cell), module)
            if getattr(module, "bias", None) is None:
                without.add(place)
    return read(EQUINOX, model, flat(modules, "/"), without)


def to_equinox(model: Cell | Layer, params: Params, modules: PyTree) -> PyTree:
    """Equinox's modules with the weights of a model of ours: the inverse of `from_equinox`.

    Args:
      model: a cell, or layers of cells.
      params: its parameters.
      modules: a module, or a tree of modules, whose arrays are replaced.

    Returns:
      Modules as those given.

    Raises:
      ValueError: as in `from_equinox`; a module has no bias where ours is not zeros.

    Example:
      >>> import equinox, jax, rnnjax
      >>> from rnnjax import interop
      >>> cell = rnnjax.gru(4)
      >>> module = equinox.nn.GRUCell(3, 4, key=jax.random.key(0))
      >>> module = interop.to_equinox(cell, cell.init(jax.random.key(1), 3), module)
      >>> module.bias_n.shape
      (4,)
    """
    from_equinox(model, modules)  # it is one of the model
    arrays: Flat = write(EQUINOX, model, params)
    theirs = flat(modules, "/")
    for name in arrays:
        if name not in theirs:
            require_zeros(EQUINOX, name, arrays[name])
    return jax.tree.map_with_path(lambda path, _: arrays["/".join(map(name_of, path))], modules)


def _place(model: Cell | Layer, every: list[tuple[Path, Cell]]) -> list[str]:
    """`encoder/0/forward/{}`: the attributes, keys and numbers on the way."""
    named = [[step for step in path if step is not Way.CELL] for path, _ in every]
    ways: dict[Any, str] = {Way.FORWARD: "forward", Way.BACKWARD: "backward"}
    return ["/".join([*(str(ways.get(step, step)) for step in steps), "{}"]) for steps in named]


EQUINOX = Format(
    library="Equinox",
    conventions="equinox",
    names=_NAMES,
    place=_place,
    reasons={"gru_before": "its GRUCell resets after the product, which is another function"},
    classes=_CLASSES,
)
