"""Keras: `SimpleRNN`, `LSTM`, both forms of `GRU`, `ConvLSTM`, directions, and what is around.

Keras keeps a list of arrays, in the order of the layers: names play no part.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnjax._cell import Array, Cell, Params
from rnnjax._layer import Layer
from rnnjax.interop._format import Format, biases, compare, expected, options, placed, read, write
from rnnjax.interop._models import UNLEARNED, Path, arguments, cells, kind, merges
from rnnjax.interop._tree import as_array

_RECURRENT = {"w_x": "kernel", "w_h": "recurrent_kernel", "b": "bias"}
_NAMES = {
    "elman": _RECURRENT,
    "irnn": _RECURRENT,
    "lstm": _RECURRENT,
    "conv_lstm": _RECURRENT,
    "gru": {"w_x": "kernel", "w_h": "recurrent_kernel", "b_xh": "bias"},
    "gru_before": _RECURRENT,
    "embed": {"table": "embeddings"},
    "linear": {"w": "kernel", "b": "bias"},
    "layer_norm": {"scale": "gamma", "offset": "beta"},
}
_CLASSES = {
    "elman": ("SimpleRNNCell",),
    "irnn": ("SimpleRNNCell",),
    "lstm": ("LSTMCell",),
    "conv_lstm": ("ConvLSTMCell",),
    "gru": ("GRUCell",),
    "gru_before": ("GRUCell",),
    "embed": ("Embedding",),
    "linear": ("Dense",),
    "layer_norm": ("LayerNormalization",),
    "activation": ("Activation",),
}
# Ours by Keras' names; its "gelu" is the exact one and ours is that with tanh.
_FUNCTIONS = {"identity": "linear", "gelu": "gelu(approximate=True)"}
# What leaves numbers as they are in evaluation. Masks are no weights: they are our lengths.
_SILENT = (
    "InputLayer", "Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise", "Identity",
    "ActivityRegularization", "Masking",
)  # fmt: skip


def from_keras(model: Cell | Layer, weights: Any) -> Params:
    """The parameters of a model of ours from Keras' weights.

    Of the two biases of `GRU(reset_after=True)` those of r and z become their sum; all else keeps
    its bits.

    Args:
      model: what they are weights of: a cell, or layers of cells; names are not compared.
      weights: the list `layer.get_weights()` or a list of arrays, or the layer or model, whose
        options are then compared, and whose biases are zeros where it has none.

    Returns:
      Parameters of the model.

    Raises:
      ValueError: there are more arrays or fewer, a shape is another, Keras has no such cell, or the
        layer computes something else: another activation, the other form of GRU, `go_backwards`.

    Example:
      >>> import numpy as np, rnnjax
      >>> from rnnjax import interop
      >>> weights = [np.ones((3, 12)), np.ones((4, 12)), np.ones((2, 12))]
      >>> params = interop.from_keras(rnnjax.gru(4), weights)
      >>> params.w_x.shape, params.b[0].item(), params.b_n[0].item()
      ((3, 12), 2.0, 1.0)
    """
    places: list[str] = []
    if hasattr(weights, "get_weights"):
        places = _without_bias(model, weights)
        weights = [variable.value for variable in weights.weights]
    absent = biases(KERAS, model, places)
    names = [name for name in expected(KERAS, model) if name not in absent]
    if len(names) != len(weights):
        raise ValueError(
            f"{model.name} has {len(names)} arrays in Keras, {', '.join(names)}, got {len(weights)}"
        )
    given = dict(zip(names, map(as_array, weights), strict=True))
    return read(KERAS, model, given, places)


def to_keras(model: Cell | Layer, params: Params) -> list[Array]:
    """Keras' weights of a model of ours: the inverse of `from_keras`, bit for bit.

    Set them with `layer.set_weights(weights)`.

    Args:
      model: a cell, or layers of cells.
      params: its parameters.

    Returns:
      A list of arrays, in the order of `layer.get_weights()`.

    Raises:
      ValueError: Keras has no such cell.

    Example:
      >>> import jax, rnnjax
      >>> from rnnjax import interop
      >>> model = rnnjax.bidirectional(rnnjax.gru(4, reset="before"))
      >>> weights = interop.to_keras(model, model.init(jax.random.key(0), 3))
      >>> [w.shape for w in weights]
      [(3, 12), (4, 12), (12,), (3, 12), (4, 12), (12,)]
    """
    return [*write(KERAS, model, params).values()]


def _place(model: Cell | Layer, every: list[tuple[Path, Cell]]) -> list[str]:
    """By number: the order is all there is."""
    return [f"{i}/{{}}" for i, _ in enumerate(every)]


def _without_bias(model: Cell | Layer, layer: Any) -> list[str]:
    """Where a layer has no bias; raises ValueError where it computes what the model does not."""
    ours = [cell for _, cell in cells(model) if kind(cell) != "dropout"]
    theirs = [*_computing(layer)]
    named = [type(each).__name__ for each in theirs]
    if len(ours) != len(theirs):
        raise ValueError(f"{model.name} computes in {len(ours)} parts, Keras in {', '.join(named)}")
    for cell, their in zip(ours, theirs, strict=True):
        config = their.get_config()
        axes = {"axis": np.ravel(config["axis"]).tolist()} if "axis" in config else {}
        compare(KERAS, cell, {**config, **axes}, _wanted(cell), their)
    if merges(model) != [*_merged(layer)]:
        raise ValueError(
            f"Keras merges directions by {[*_merged(layer)]}, {model.name} by {merges(model)}"
        )
    learned = [each for each, cell in zip(theirs, ours, strict=True) if kind(cell) not in UNLEARNED]
    return [
        place
        for (place, _), each in zip(placed(KERAS, model), learned, strict=True)
        if not getattr(each, "use_bias", getattr(each, "center", True))
    ]


def _computing(layer: Any, *, backward: bool = False) -> Iterator[Any]:
    """The cells and layers that change numbers in evaluation, in the order of `get_weights`."""
    if hasattr(layer, "forward_layer"):
        yield from _computing(layer.forward_layer)
        yield from _computing(layer.backward_layer, backward=True)
    elif hasattr(layer, "cell"):
        if layer.go_backwards != backward:
            raise ValueError(
                f"{layer.name} of Keras has go_backwards={layer.go_backwards}, and what it gives "
                "stands last step first: convert layer.get_weights(), and run the cell by "
                "unroll(.., reverse=True), which gives the first step first"
            )
        yield from getattr(layer.cell, "cells", [layer.cell])
    elif hasattr(layer, "layers"):
        yield from (each for part in layer.layers for each in _computing(part))
    elif hasattr(layer, "layer"):  # TimeDistributed
        yield from _computing(layer.layer)
    elif type(layer).__name__ not in _SILENT:
        yield layer


def _merged(layer: Any) -> Iterator[Any]:
    """How its directions meet, in our words."""
    if hasattr(layer, "merge_mode"):
        yield {"ave": "mean", None: "separate"}.get(layer.merge_mode, layer.merge_mode)
    yield from (each for part in getattr(layer, "layers", ()) for each in _merged(part))


def _wanted(cell: Cell) -> dict[str, Any]:
    """The options with which Keras computes what the cell does."""
    own, name = options(cell), kind(cell)
    wanted: dict[str, Any] = {"rms_scaling": False, "axis": [-1]}
    if name == "activation":
        own = {"activation": arguments(cell)["function"]}
    if "activation" in own:
        wanted["activation"] = _FUNCTIONS.get(own["activation"], own["activation"])
    if name in ("lstm", "conv_lstm", "gru", "gru_before"):
        wanted |= {"activation": "tanh", "recurrent_activation": "sigmoid"}
    if name in ("gru", "gru_before"):
        wanted["reset_after"] = name == "gru"
    if name == "conv_lstm":
        ones = (1,) * len(arguments(cell)["shape"])
        wanted |= {"padding": "same", "data_format": "channels_last"}
        wanted |= {"strides": ones, "dilation_rate": ones}
    return {**own, "activation": "linear", **wanted} if name == "linear" else {**own, **wanted}


KERAS = Format(
    library="Keras",
    conventions="keras",
    names=_NAMES,
    place=_place,
    reasons={"projected_lstm": "its LSTM has no projection", "mgu": "it has no such layer"},
    classes=_CLASSES,
)
