"""Haiku: `VanillaRNN`, `LSTM`, `GRU`, `ConvLSTM` and what is around.

A part's name is its module's; those without names have Haiku's own, lstm, lstm_1, .. Haiku adds 1
to the forget gate at run time, its GRU resets before the product and its z is our 1 - z, and its
`VanillaRNN` is of relu.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from rnnjax._cell import Cell, Params, PyTree
from rnnjax._layer import Layer
from rnnjax.interop._format import Flat, Format, read, write
from rnnjax.interop._models import Path, Way, arguments, kind
from rnnjax.interop._tree import flat

_VANILLA = {"w_x": "linear/w", "b_x": "linear/b", "w_h": "linear_1/w", "b_h": "linear_1/b"}
_NAMES = {
    "elman": _VANILLA,
    "irnn": _VANILLA,
    "lstm": {"w_xh": "linear/w", "b": "linear/b"},
    "conv_lstm": {
        "w_x": "input_to_hidden/w", "b_x": "input_to_hidden/b",
        "w_h": "hidden_to_hidden/w", "b_h": "hidden_to_hidden/b",
    },
    "gru_before": {"w_x": "w_i", "w_h": "w_h", "b": "b"},
    "embed": {"table": "embeddings"},
    "linear": {"w": "w", "b": "b"},
    "layer_norm": {"scale": "scale", "offset": "offset"},
}  # fmt: skip
_CLASSES = {
    "elman": "vanilla_rnn",
    "irnn": "vanilla_rnn",
    "gru_before": "gru",
}


def from_haiku(model: Cell | Layer, tree: PyTree) -> Params:
    """The parameters of a model of ours from Haiku's.

    The 1 that Haiku adds to a forget gate goes into the bias, which is rounded once.

    Args:
      model: what they are parameters of: a cell, or layers of cells. Parts have the names of
        Haiku's modules; where they have none they are called as Haiku does, lstm, lstm_1, ..
      tree: the parameters of a transformed function.

    Returns:
      Parameters of the model.

    Raises:
      ValueError: a name is missing or unknown, a shape is another, or Haiku has no such cell.
        Options that are not in the tree, such as an epsilon, are not compared: say them to the
        model.

    Example:
      >>> import numpy as np, rnnjax
      >>> from rnnjax import interop
      >>> tree = {"lstm/linear": {"w": np.ones((7, 16)), "b": np.zeros(16)}}
      >>> params = interop.from_haiku(rnnjax.lstm(4), tree)
      >>> params.w_h.shape, params.b[4:8].tolist()
      ((4, 16), [1.0, 1.0, 1.0, 1.0])
    """
    given = {name.replace("/~/", "/"): array for name, array in flat(tree, "/").items()}
    return read(HAIKU, model, given)


def to_haiku(model: Cell | Layer, params: Params) -> dict[str, Flat]:
    """Haiku's parameters of a model of ours: the inverse of `from_haiku`.

    The 1 that Haiku adds to a forget gate is taken from the bias: exactly, where that is from ½ to
    2, else rounded. All else keeps its bits.

    Args:
      model: a cell, or layers of cells.
      params: its parameters.

    Returns:
      A dict of dicts, by the names of modules.

    Raises:
      ValueError: Haiku has no such cell: a GRU that resets after the product, or a simple network
        of another activation than relu.

    Example:
      >>> import jax, rnnjax
      >>> from rnnjax import interop
      >>> model = rnnjax.stack(rnnjax.lstm(4), rnnjax.lstm(4), rnnjax.linear(2))
      >>> [*interop.to_haiku(model, model.init(jax.random.key(0), 3))]
      ['lstm/linear', 'lstm_1/linear', 'linear']
    """
    tree: dict[str, Flat] = {}
    for name, array in write(HAIKU, model, params).items():
        module, _, leaf = name.rpartition("/")
        tree.setdefault(module, {})[leaf] = array
    return tree


def _place(model: Cell | Layer, every: list[tuple[Path, Cell]]) -> list[str]:
    """`encoder/lstm_1/{}`: the modules on the way, the last by its class where it has no name."""
    places, seen = [], Counter()
    for path, cell in every:
        ways: dict[Any, str] = {Way.FORWARD: "forward", Way.BACKWARD: "backward"}
        steps = [ways.get(step, step) for step in path if step is not Way.CELL]
        names = [step for step in steps if isinstance(step, str)]
        if not steps or isinstance(steps[-1], int):
            names.append(_class(cell))
        own = "/".join(names)
        places.append(f"{own}_{seen[own]}/{{}}" if seen[own] else f"{own}/{{}}")
        seen[own] += 1
    return places


def _class(cell: Cell) -> str:
    """What Haiku calls a module of this kind."""
    if kind(cell) == "conv_lstm":
        return f"conv{len(arguments(cell)['shape'])}_dlstm"
    return _CLASSES.get(kind(cell), kind(cell))


HAIKU = Format(
    library="Haiku",
    conventions="haiku",
    names=_NAMES,
    place=_place,
    reasons={"gru": "its GRU resets before the product, which is another function"},
    activations=("relu",),
)
