"""How another library names and lays out weights, as a table; and the way there and back."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax._cell import Array, Cell, Params
from rnnjax._layer import Layer
from rnnjax.cells import EmbedParams, LayerNormParams, LinearParams
from rnnjax.cells._grid import window_of
from rnnjax.interop._gates import (
    CONVENTIONS,
    OURS,
    Convention,
    Weights,
    joined,
    nothing,
    peepholes,
    to_ours,
    to_theirs,
    turned,
)
from rnnjax.interop._models import (
    UNLEARNED,
    Path,
    arguments,
    cells,
    input_spec,
    kind,
    values,
    whole,
)

Flat = dict[str, Any]  # arrays by whole names, such as "rnn.weight_ih_l0"

_BIASES = ("b", "b_x", "b_h", "b_xh", "b_n", "offset")
_POINTWISE = {"embed": EmbedParams, "linear": LinearParams, "layer_norm": LayerNormParams}


@dataclasses.dataclass(frozen=True, eq=False)
class Format:
    """How a library keeps weights.

    Attributes:
      library: what it is called.
      conventions: its line in the table of gates.
      names: by kind of cell, what it calls the fields of ours. Those of a recurrent cell are w_x
        and w_h, or w_xh for the one above the other; b_x and b_h for two biases, b_xh for both as
        [2, G H], or b for one; b_n for the recurrent one of a GRU's candidate; w_p for a
        projection. Where "{gate}" is in a name, every gate has an array.
      place: where the learned cells of a model stand, as names with "{}" for one of those above.
      reasons: why a kind of cell is refused, where there is more to say than what there is.
      activations: those which its simple network can have; () for any.
      classes: by kind of cell, what its modules are called.
    """

    library: str
    conventions: str
    names: Mapping[str, Mapping[str, str]]
    place: Callable[[Cell | Layer, list[tuple[Path, Cell]]], list[str]]
    reasons: Mapping[str, str]
    activations: tuple[str, ...] = ()
    classes: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


def write(form: Format, model: Cell | Layer, params: Params) -> Flat:
    """The parameters under the names and in the order of the library."""
    written = {name: _own(a) for name, a in _written(form, model, params).items()}
    _check(form, model, written)
    for (_, cell), own in zip(cells(model), values(model, params), strict=True):
        if kind(cell) == "gru" and not {"b_h", "b_xh", "b_n"} & {*form.names["gru"]}:
            require_zeros(form, f"the candidate's recurrent bias b_n of {cell.name}", own.b_n)
    return written


def read(form: Format, model: Cell | Layer, given: Flat, unbiased: Iterable[str] = ()) -> Params:
    """The inverse of `write`, of arrays whose names and shapes are those that it would give.

    The biases at the places of modules that have none are such as add nothing.
    """
    for bias, beside in biases(form, model, unbiased).items():
        if beside in given:
            shape = expected(form, model)[bias]
            given = {**given, bias: nothing(shape, given[beside].dtype)}
    _check(form, model, given)
    own = []
    for place, cell in placed(form, model):
        fields = {}
        for field, names in _names(form, cell).items():
            arrays = [given[place.format(name)] for name in names]
            fields[field] = joined(*arrays) if len(arrays) > 1 else arrays[0]
        own.append(_params(form, cell, fields))
    learned = iter(own)
    every = (() if kind(cell) in UNLEARNED else next(learned) for _, cell in cells(model))
    return jax.tree.map(_own, whole(model, every))


def _own(array: Any) -> Any:
    """NumPy's arrays as copies: a view of a tensor would change where that is trained on."""
    return array.copy() if isinstance(array, np.ndarray) else array


def _written(form: Format, model: Cell | Layer, params: Params) -> Flat:
    places = placed(form, model)
    every = zip(cells(model), values(model, params), strict=True)
    learned = [own for (_, cell), own in every if kind(cell) not in UNLEARNED]
    written = {}
    for (place, cell), own in zip(places, learned, strict=True):
        fields = _fields(form, cell, own)
        for field, names in _names(form, cell).items():
            size = fields[field].shape[-1] // len(names)
            for k, name in enumerate(names):
                by_gate = fields[field][..., k * size : (k + 1) * size]
                written[place.format(name)] = by_gate if len(names) > 1 else fields[field]
    return written


def placed(form: Format, model: Cell | Layer) -> list[tuple[str, Cell]]:
    """Every cell that has parameters, and where their arrays stand."""
    learned = [(path, cell) for path, cell in cells(model) if kind(cell) not in UNLEARNED]
    for _, cell in learned:
        _names(form, cell)
    places = form.place(model, learned)
    if twice := [place for place in places if places.count(place) > 1]:
        raise ValueError(
            f"{form.library} has one place, {twice[0].format('..')}, for two cells of "
            f"{model.name}: only what is recurrent has directions there"
        )
    return list(zip(places, (cell for _, cell in learned), strict=True))


def _names(form: Format, cell: Cell) -> dict[str, list[str]]:
    """What the fields of a cell are called; raises ValueError where there is no such cell."""
    name = kind(cell)
    reason = form.reasons.get(name, f"what is converted is {', '.join(form.names)}")
    if name not in form.names:
        raise ValueError(f"{form.library} has no {cell.name}: {reason}")
    activation = options(cell).get("activation")
    if form.activations and activation and activation not in form.activations:
        known = " or ".join(form.activations)
        raise ValueError(f"{form.library} has no {cell.name}: its activation is {known}")
    gates = _convention(form, cell).gates
    return {
        field: [name.replace("{gate}", gate) for gate in gates] if "{gate}" in name else [name]
        for field, name in form.names[name].items()
    }


def options(cell: Cell) -> dict[str, Any]:
    """What a cell was given and its parameters do not say."""
    if kind(cell) == "irnn":
        return {"activation": "relu"}
    given = arguments(cell)
    return {name: given[name] for name in ("activation", "epsilon") if name in given}


def compare(
    form: Format,
    cell: Cell,
    got: Mapping[str, Any],
    wanted: Mapping[str, Any],
    module: Any = None,
) -> None:
    """Raises ValueError where theirs has another class or option than what computes as the cell."""
    classes = () if module is None else form.classes[kind(cell)]
    if classes and not {c.__name__ for c in type(module).__mro__} & {*classes}:
        raise ValueError(
            f"{form.library} has {type(module).__name__} where {cell.name} would be "
            f"{' or '.join(classes)}: give the module that computes as {cell.name} does, or its "
            "weights alone"
        )
    for name, value in wanted.items():
        if name in got and got[name] != value:
            raise ValueError(
                f"{form.library} has {name}={got[name]!r}, but {cell.name} computes as with "
                f"{value!r}: the same weights would give other numbers"
            )


def biases(form: Format, model: Cell | Layer, places: Iterable[str]) -> dict[str, str]:
    """The names of the biases at some places, each with that of weights beside it."""
    return {
        place.format(name): place.format(next(iter(fields.values()))[0])
        for place, cell in placed(form, model)
        if place in places
        for fields in [_names(form, cell)]
        for field, names in fields.items()
        if field in _BIASES
        for name in names
    }


def _convention(form: Format, cell: Cell) -> Convention:
    return CONVENTIONS[form.conventions].get(kind(cell), Convention("h"))


def _fields(form: Format, cell: Cell, params: Params) -> dict[str, Any]:
    """The fields as the library has them."""
    convention, names = _convention(form, cell), form.names[kind(cell)]
    wanted = _POINTWISE.get(kind(cell)) or OURS[kind(cell)][1]
    if type(params) is not wanted:
        raise TypeError(
            f"params of {cell.name} must be {wanted.__name__}, got {type(params).__name__}"
        )
    if kind(cell) in _POINTWISE:
        return {f: turned(convention, getattr(params, f)) for f in names}
    w_x, w_h, b_x, b_h = to_theirs(kind(cell), params, convention)
    fields = {"w_x": _gridded(cell, w_x), "w_h": _gridded(cell, w_h), "b_x": b_x, "b_h": b_h}
    if "w_xh" in names:
        fields["w_xh"] = joined(w_x, w_h, axis=0)
    if "b_xh" in names:
        fields["b_xh"] = joined(b_x[None], b_h[None], axis=0)
    if "w_p" in names:
        fields["w_p"] = turned(convention, params.w_p)
    if "diagonal" in names:
        fields["diagonal"] = peepholes(convention, params.diagonal)
    return {**fields, "b": b_x, "b_n": getattr(params, "b_n", None)}


def _params(form: Format, cell: Cell, fields: dict[str, Any]) -> Params:
    """Our parameters, of the fields of the library: the inverse of `_fields`."""
    convention, name = _convention(form, cell), kind(cell)
    if name in _POINTWISE:
        return _POINTWISE[name](**{f: turned(convention, a) for f, a in fields.items()})
    if "w_xh" in fields:
        units = fields["w_xh"].shape[-1] // len(convention.gates)
        fields |= {"w_x": fields["w_xh"][:-units], "w_h": fields["w_xh"][-units:]}
    if "b_xh" in fields:
        fields |= {"b_x": fields["b_xh"][0], "b_h": fields["b_xh"][1]}
    b_x = fields["b_x"] if "b_x" in fields else fields["b"]
    b_h = fields.get("b_h", nothing(b_x.size, b_x.dtype))
    if "b_n" in fields:
        b_h = joined(b_h[fields["b_n"].size :], fields["b_n"])
    w_x, w_h = fields["w_x"], fields["w_h"]
    if name == "conv_lstm":
        w_x, w_h = (w.reshape(-1, w.shape[-1]) for w in (w_x, w_h))
    own = to_ours(name, Weights(w_x, w_h, b_x, b_h), convention)
    if "w_p" in fields:
        own["w_p"] = turned(convention, fields["w_p"])
    if "diagonal" in fields:
        own["diagonal"] = peepholes(convention, fields["diagonal"])
    return OURS[name][1](**own)


def _gridded(cell: Cell, w: Array) -> Array:
    """A matrix of weights as a kernel [*K, D, O] where the library has one."""
    if kind(cell) != "conv_lstm":
        return w
    given = arguments(cell)
    return w.reshape(*window_of(cell.name, given["kernel"], given["shape"]), -1, w.shape[-1])


def require_zeros(form: Format, what: str, bias: Array) -> None:
    """Raises ValueError where a bias that has no place in the library is not zeros."""
    if isinstance(bias, Tracer) or np.any(np.asarray(bias)):
        raise ValueError(
            f"{form.library} has no place for {what}: convert to what has one, or train on with it "
            "at zeros"
        )


def _check(form: Format, model: Cell | Layer, given: Flat) -> None:
    """Raises ValueError where a name is missing or unknown, or a shape is not what it should be."""
    one, two = (expected(form, model, size) for size in (1, 2))
    # How many inputs there are: a shape says it which depends on that.
    sizes = (
        got - small + 1
        for name in one
        if name in given and len(one[name]) == given[name].ndim
        for got, small, large in zip(given[name].shape, one[name], two[name], strict=True)
        if small < large
    )
    wanted = expected(form, model, max(1, next(sizes, 1)))
    missing = [name for name in wanted if name not in given]
    unknown = sorted(name for name in given if name not in wanted)  # dicts differ in their order
    for name in unknown if missing else ():
        prefix = name.removesuffix(missing[0])
        if prefix != name and all(f"{prefix}{each}" in given for each in wanted):
            raise ValueError(
                f"the weights of {model.name} stand under {prefix!r}: give those of that part "
                "alone, by names without it"
            )
    has = f"have {', '.join(unknown)}, for which {model.name} has no place"
    if missing:
        lack = f"the weights lack {', '.join(missing)}, which {model.name} needs"
        raise ValueError(f"{lack}; they {has}" if unknown else lack)
    if unknown:
        raise ValueError(f"the weights {has}")
    for name, shape in wanted.items():
        if given[name].shape != shape:
            raise ValueError(
                f"{name} is {[*given[name].shape]}, expected {[*shape]} for {model.name}"
            )
        if not jnp.issubdtype(given[name].dtype, jnp.floating):
            raise TypeError(f"{name} must be floating, got {given[name].dtype}")


@functools.lru_cache(maxsize=64)
def expected(form: Format, model: Cell | Layer, size: int = 1) -> dict[str, tuple[int, ...]]:
    """The shapes of all arrays for inputs of `size` features."""
    shapes = {}

    def written(key: Array) -> None:  # a dict that is returned would be sorted
        spec = input_spec(model, size)
        arrays = _written(form, model, model.init(key, spec))
        shapes.update({name: array.shape for name, array in arrays.items()})

    jax.eval_shape(written, jax.random.key(0))
    return shapes
