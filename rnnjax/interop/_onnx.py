"""ONNX: the operators RNN, LSTM and GRU, directions and peepholes, and what is around.

Their gates stand as i, o, f, c and z, r, h; both directions of a layer are one operator. A file is
read in the order of its nodes: names play no part.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rnnjax._cell import Cell, Params
from rnnjax._layer import Layer
from rnnjax.interop import _onnx_graph as onnx_graph
from rnnjax.interop._format import Flat, Format, compare, options, placed, read, write
from rnnjax.interop._models import Path, Way, arguments, cells, kind, require_concat
from rnnjax.interop._tree import as_array

_RECURRENT = {"w_x": "W", "w_h": "R", "b_xh": "B"}
_NAMES = {
    "elman": _RECURRENT,
    "irnn": _RECURRENT,
    "lstm": _RECURRENT,
    "peephole_lstm": {**_RECURRENT, "diagonal": "P"},
    "coupled_lstm": _RECURRENT,
    "gru": _RECURRENT,
    "gru_before": _RECURRENT,
    "embed": {"table": "table"},
    "linear": {"w": "w", "b": "b"},
    "layer_norm": {"scale": "scale", "offset": "offset"},
}
_LSTM = {"activations": ["Sigmoid", "Tanh", "Tanh"], "input_forget": 0, "P": False}
_GRU = {"activations": ["Sigmoid", "Tanh"]}
_OPERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "lstm": ("LSTM", _LSTM),
    "peephole_lstm": ("LSTM", {**_LSTM, "P": True}),
    "coupled_lstm": ("LSTM", {**_LSTM, "input_forget": 1}),
    "gru": ("GRU", {**_GRU, "linear_before_reset": 1}),
    "gru_before": ("GRU", {**_GRU, "linear_before_reset": 0}),
    "embed": ("Gather", {"axis": 0}),
    "linear": ("MatMul", {"alpha": 1.0, "beta": 1.0, "transA": 0}),
    "layer_norm": ("LayerNormalization", {"axis": -1}),
}
_ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid", "softplus": "Softplus"}


class Stage(NamedTuple):
    """One operator: a recurrent layer of one direction or two, or what is pointwise.

    Attributes:
      cells: one for each direction, and where the arrays of each stand.
      operator: its name in ONNX.
      attributes: what decides, beside the weights, what it computes.
    """

    cells: list[tuple[str, Cell]]
    operator: str
    attributes: dict[str, Any]


def from_onnx(model: Cell | Layer, source: Any, *, reverse: bool = False) -> Params:
    """The parameters of a model of ours from an ONNX model.

    Operators of `layout=1` have the same weights: their data are `time_axis=1` here.

    Args:
      model: what they are weights of: a cell, or layers of cells, in the order of the nodes.
      source: an `onnx.ModelProto` or the path of one; or, without the package, a list of dicts of
        arrays, one an operator, by the names of its inputs, as in `[{"W": .., "R": .., "B": ..}]`.
      reverse: whether the operators are those of `unroll(model, .., reverse=True)`, of a cell.

    Returns:
      Parameters of the model, NumPy's arrays.

    Raises:
      ValueError: the operators, their attributes or the shapes are not those of the model, such as
        another `linear_before_reset`, a `clip`, peepholes which the model has not, or an initial
        state of its own that is not zeros; what stands between two operators exchanges steps, rows
        or features.

    Example:
      >>> import numpy as np, rnnjax
      >>> from rnnjax import interop
      >>> weights = {"W": np.ones((1, 12, 3)), "R": np.ones((1, 12, 4)), "B": np.zeros((1, 24))}
      >>> interop.from_onnx(rnnjax.gru(4), [weights]).w_x.shape
      (3, 12)
    """
    stages, ways = _stages(model), _directions(model, reverse)
    wanted = [stage.operator for stage in stages]
    if isinstance(source, list):
        if len(source) != len(wanted):
            raise ValueError(
                f"{model.name} is {', '.join(wanted)} in ONNX, got {len(source)} dicts"
            )
        theirs = [(name, {}, arrays) for name, arrays in zip(wanted, source, strict=True)]
    else:
        theirs = onnx_graph.found(source)
    if (got := [name for name, _, _ in theirs]) != wanted:
        raise ValueError(f"{model.name} is {', '.join(wanted)} in ONNX, got {', '.join(got)}")
    given: Flat = {}
    for stage, (_, attributes, arrays) in zip(stages, theirs, strict=True):
        own = {**stage.attributes, "direction": ways[len(stage.cells) - 1]}
        compare(ONNX, stage.cells[0][1], attributes, own)
        arrays = {name: as_array(array) for name, array in arrays.items()}
        for k, (place, cell) in enumerate(stage.cells):
            own = _of_direction(cell, arrays, k) if "W" in arrays else arrays
            given |= {place.format(name): array for name, array in own.items()}
    return read(ONNX, model, given)


def to_onnx(
    model: Cell | Layer,
    params: Params,
    *,
    lengths: bool = True,
    states: bool = False,
    reverse: bool = False,
) -> Any:
    """An ONNX model which computes what ours does: the inverse of `from_onnx`.

    Its inputs are "xs", time first as ours, [T, B, D] or integers [T, B], and "lengths", int32 [B];
    its output is "ys". With `states` there are also "h0", "c0", "h1", .. [directions, B, H], one a
    recurrent layer, as inputs, and "h0_last", .. as outputs: a T of 1 streams. Beyond a row's
    length what is recurrent gives zeros, as ours, but what is pointwise above it does not. Of a row
    of length 0 onnxruntime gives zeros as the last state, where ours is the initial one.

    Args:
      model: a cell, or layers of cells.
      params: its parameters.
      lengths: whether it takes lengths.
      states: whether it takes initial states and gives the last ones.
      reverse: whether it computes as `unroll(model, .., reverse=True)`, of a cell.

    Returns:
      An `onnx.ModelProto`.

    Raises:
      ValueError: ONNX has no such cell, or directions that are not joined by "concat"; `reverse`
        of a Layer, which runs as it says itself.
      ModuleNotFoundError: the package onnx is not installed (extra: onnx).

    Example:
      >>> import jax, rnnjax
      >>> from rnnjax import interop
      >>> model = rnnjax.stack(rnnjax.gru(4), rnnjax.linear(2))
      >>> proto = interop.to_onnx(model, model.init(jax.random.key(0), 3))
      >>> [node.op_type for node in proto.graph.node]
      ['GRU', 'Transpose', 'Reshape', 'MatMul', 'Add', 'Identity']
    """
    given = {name: np.asarray(a) for name, a in write(ONNX, model, params).items()}
    stages, ways = [], _directions(model, reverse)
    for stage in _stages(model):
        every = [
            _as_direction(cell, {n: given[place.format(n)] for n in names})
            for place, cell in stage.cells
            for names in [_NAMES.get(kind(cell), {}).values()]
        ]
        told = {"direction": ways[len(every) - 1]} if stage.operator in onnx_graph.RECURRENT else {}
        stages.append((stage.operator, {**stage.attributes, **told}, every))
    return onnx_graph.written(stages, lengths=lengths, states=states)


def _place(model: Cell | Layer, every: list[tuple[Path, Cell]]) -> list[str]:
    """By number: the order is all there is."""
    require_concat("ONNX", model)
    return [f"{i}/{{}}" for i, _ in enumerate(every)]


def _stages(model: Cell | Layer) -> list[Stage]:
    """The operators of a model, in order."""
    places, every, stages = iter(placed(ONNX, model)), iter(cells(model)), []
    for path, cell in every:
        group = [(path, cell)]
        if Way.FORWARD in path:
            group.append(next(every))
            wanted = tuple(Way.BACKWARD if step is Way.FORWARD else step for step in path)
            if (group[1][0], group[1][1].name) != (wanted, cell.name):
                raise ValueError(
                    "both directions of a layer are one operator in ONNX, of one cell each and "
                    f"alike, got {cell.name} and {group[1][1].name}"
                )
        if kind(cell) != "dropout":  # this does nothing in evaluation
            learned = kind(cell) != "activation"
            operator, attributes = _operator(cell)
            if len(group) > 1 and operator not in onnx_graph.RECURRENT:
                raise ValueError(
                    f"ONNX has no {cell.name} of two directions: only what is recurrent"
                )
            own = [(next(places)[0] if learned else "", each) for _, each in group]
            stages.append(Stage(own, operator, attributes))
    if not stages:
        raise ValueError(f"{model.name} computes nothing that ONNX would")
    return stages


def _operator(cell: Cell) -> tuple[str, dict[str, Any]]:
    """What computes as the cell does: an operator and its attributes."""
    own = options(cell)
    if "activation" in own or kind(cell) == "activation":
        function = own.get("activation") or arguments(cell)["function"]
        if function not in _ACTIVATIONS:
            known = ", ".join(_ACTIVATIONS)
            raise ValueError(f"ONNX has no {cell.name}: its activation must be one of {known}")
        name = _ACTIVATIONS[function]
        return (name, {}) if kind(cell) == "activation" else ("RNN", {"activations": [name]})
    operator, attributes = _OPERATORS[kind(cell)]
    return operator, {**attributes, **{n: float(np.float32(v)) for n, v in own.items()}}


def _directions(model: Cell | Layer, reverse: bool) -> tuple[str, str]:
    """The direction of an operator of one cell, and of one of two."""
    if reverse and isinstance(model, Layer):
        raise ValueError(
            f"reverse=True with {model.name}, a Layer, which runs as it says itself: give the cell "
            "that `unroll(.., reverse=True)` runs"
        )
    return "reverse" if reverse else "forward", "bidirectional"


def _of_direction(cell: Cell, arrays: Flat, k: int) -> Flat:
    """The arrays of one direction of an operator in the forms of ours."""
    own = {name: array[k] for name, array in arrays.items()}
    own["B"] = own["B"].reshape(2, -1)
    if kind(cell) == "coupled_lstm":  # what its forget gate has is not read
        units = own["R"].shape[-1]
        kept = np.r_[0 : 2 * units, 3 * units : 4 * units]
        own = {"W": own["W"][kept], "R": own["R"][kept], "B": own["B"][:, kept]}
    return own


def _as_direction(cell: Cell, own: Flat) -> Flat:
    """The inverse of `_of_direction`."""
    if kind(cell) == "coupled_lstm":
        units = own["R"].shape[-1]
        blank = np.full(units, 2 * units)
        axes = {"W": 0, "R": 0, "B": 1}
        own = {name: np.insert(own[name], blank, 0, axis) for name, axis in axes.items()}
    return {**own, "B": own["B"].ravel()} if "B" in own else own


ONNX = Format(
    library="ONNX",
    conventions="onnx",
    names=_NAMES,
    place=_place,
    reasons={"projected_lstm": "its LSTM has no projection"},
)
