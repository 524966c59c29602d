"""PyTorch: `RNN`, `LSTM` and `GRU`, their layers, directions and projections, and what is around.

A composite without names is the layers of one module; one whose parts have names is a module that
has them as attributes. `nn.GRU` resets after the product, and `nn.RNN` is of tanh or relu.
"""

from __future__ import annotations

import re
from typing import Any

from rnnjax._cell import Array, Cell, Params
from rnnjax._layer import Layer
from rnnjax.interop._format import Flat, Format, compare, options, placed, read, write
from rnnjax.interop._models import POINTWISE, Path, Way, kind, require_concat
from rnnjax.interop._tree import flat

_RECURRENT = {"w_x": "weight_ih", "w_h": "weight_hh", "b_x": "bias_ih", "b_h": "bias_hh"}
_NAMES = {
    "elman": _RECURRENT,
    "irnn": _RECURRENT,
    "lstm": _RECURRENT,
    "projected_lstm": {**_RECURRENT, "w_p": "weight_hr"},
    "gru": _RECURRENT,
    "embed": {"table": "weight"},
    "linear": {"w": "weight", "b": "bias"},
    "layer_norm": {"scale": "weight", "offset": "bias"},
}
_CLASSES = {
    "elman": ("RNN", "RNNCell"),
    "irnn": ("RNN", "RNNCell"),
    "lstm": ("LSTM", "LSTMCell"),
    "projected_lstm": ("LSTM",),
    "gru": ("GRU", "GRUCell"),
    "embed": ("Embedding",),
    "linear": ("Linear",),
    "layer_norm": ("LayerNorm",),
}


def from_torch(model: Cell | Layer, weights: Any) -> Params:
    """The parameters of a model of ours from PyTorch's weights.

    Two biases become their sum; all else keeps its bits. A `batch_first` module has the same
    weights: its data are `time_axis=1` here.

    Args:
      model: what they are weights of: a cell, or layers of cells. A composite without names is the
        layers of one `nn.RNN`, `nn.LSTM` or `nn.GRU`, as in
        `serial(bidirectional(lstm(8)), bidirectional(lstm(8)))`; one whose parts have names is a
        module that has them as attributes, as in `stack(embed=..., rnn=..., readout=...)`.
      weights: a state dict of tensors or arrays, or the module, whose class and options are then
        compared, and whose biases are zeros where it has none. A `nn.RNNCell`, `nn.LSTMCell` or
        `nn.GRUCell` is the one layer of a module.

    Returns:
      Parameters of the model; NumPy's arrays where tensors came.

    Raises:
      ValueError: a name is missing or unknown, a shape is another, PyTorch has no such model, or
        the module computes something else, such as another nonlinearity.

    Example:
      >>> import numpy as np, rnnjax
      >>> from rnnjax import interop
      >>> state_dict = {
      ...     "weight_ih_l0": np.ones((16, 3)), "weight_hh_l0": np.ones((16, 4)),
      ...     "bias_ih_l0": np.ones(16), "bias_hh_l0": np.ones(16),
      ... }
      >>> params = interop.from_torch(rnnjax.lstm(4), state_dict)
      >>> params.w_x.shape, params.b[0].item()
      ((3, 16), 2.0)
    """
    without = []
    if hasattr(weights, "state_dict"):
        without, weights = _without_bias(model, weights), weights.state_dict()
    return read(TORCH, model, _layered(flat(weights, ".")), without)


def to_torch(model: Cell | Layer, params: Params) -> dict[str, Array]:
    """PyTorch's state dict of a model of ours: the inverse of `from_torch`, bit for bit.

    Load it with `module.load_state_dict({k: torch.tensor(v) for k, v in state_dict.items()})`, an
    `nn.LSTMCell` by `k.removesuffix("_l0")`. The second biases add nothing; trained further, two
    biases move twice as far as one.

    Args:
      model: a cell, or layers of cells, as in `from_torch`.
      params: its parameters.

    Returns:
      A dict of arrays by PyTorch's names.

    Raises:
      ValueError: PyTorch has no such model: a GRU that resets before the product, an activation
        other than tanh and relu, layers that differ in kind or size.

    Example:
      >>> import jax, rnnjax
      >>> from rnnjax import interop
      >>> model = rnnjax.stack(rnn=rnnjax.gru(4), readout=rnnjax.linear(2))
      >>> state_dict = interop.to_torch(model, model.init(jax.random.key(0), 3))
      >>> state_dict["rnn.weight_ih_l0"].shape, state_dict["readout.weight"].shape
      ((12, 3), (2, 4))
    """
    return write(TORCH, model, params)


def _place(model: Cell | Layer, every: list[tuple[Path, Cell]]) -> list[str]:
    """`rnn.{}_l1_reverse`: the attributes, and within a module its layer and direction."""
    require_concat("PyTorch", model)
    places, modules = [], {}
    for path, cell in every:
        names = [step for step in path if isinstance(step, str)]
        prefix, rest = "".join(f"{name}." for name in names), path[len(names) :]
        layer = tuple(step for step in rest if isinstance(step, int))
        if path != (*names, *layer, *rest[len(layer) :]):
            if not any(isinstance(step, Way) for step in path):
                raise ValueError(
                    f"{cell.name} has a name within a part that has none, and PyTorch's modules "
                    f"none but names: give the parts of {model.name} theirs"
                )
            raise ValueError(
                f"PyTorch joins both directions after every layer, but {cell.name} is one of the "
                "parts of a direction: use serial(bidirectional(...), bidirectional(...))"
            )
        if kind(cell) not in POINTWISE:
            layers = modules.setdefault(prefix, {})
            layers.setdefault(layer, []).append(cell)
            number, back = [*layers].index(layer), Way.BACKWARD in rest
            places.append(f"{prefix}{{}}_l{number}{'_reverse' * back}")
        elif not layer:
            places.append(f"{prefix}{{}}")
        else:
            raise ValueError(
                f"{cell.name} among other parts needs the name that it has in PyTorch's module: "
                "stack(embed=..., rnn=..., readout=...)"
            )
    for layers in modules.values():
        _require_alike([*layers.values()])
    return places


def _require_alike(layers: list[list[Cell]]) -> None:
    """The layers of one module are of one kind and size, and of as many directions."""
    names = [cell.name for ways in layers for cell in ways]
    if len(set(names)) > 1 or len({len(ways) for ways in layers}) > 1:
        raise ValueError(
            "the layers of one module of PyTorch are alike, all in both directions or all in one, "
            f"got {', '.join(names)}: give those that differ names, as modules of their own"
        )


def _layered(weights: Flat) -> Flat:
    """Those of an `nn.LSTMCell` under the names of the first layer of an `nn.LSTM`."""
    cells = {n: f"{n}_l0" for n in weights if re.search(r"(^|\.)(weight|bias)_[ih]h$", n)}
    cells = {old: new for old, new in cells.items() if new not in weights}
    return {cells.get(name, name): array for name, array in weights.items()}


def _without_bias(model: Cell | Layer, module: Any) -> list[str]:
    """Where a module has no bias; raises ValueError where it computes what the model does not."""
    modules, without = dict(module.named_modules()), []
    for place, cell in placed(TORCH, model):
        where = place.rpartition(".")[0]
        if where not in modules:
            raise ValueError(
                f"the module has no {where}, where {cell.name} should be: it has "
                f"{', '.join(name for name in modules if name)}"
            )
        own = modules[where]
        there = {"activation": "nonlinearity", "epsilon": "eps", "max_norm": "max_norm"}
        got = {name: getattr(own, at) for name, at in there.items() if hasattr(own, at)}
        compare(TORCH, cell, got, {"max_norm": None, **options(cell)}, own)
        bias = getattr(own, "bias", None)  # a flag of nn.RNN, a tensor of nn.Linear
        if bias is None or bias is False:
            without.append(place)
    return without


TORCH = Format(
    library="PyTorch",
    conventions="torch",
    names=_NAMES,
    place=_place,
    reasons={"gru_before": "nn.GRU resets after the product, which is another function"},
    activations=("tanh", "relu"),
    classes=_CLASSES,
)
