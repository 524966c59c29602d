"""Flax, linen and nnx: `SimpleCell`, `LSTMCell`, `GRUCell`, `ConvLSTMCell` and what is around.

Parts without names are those of a `Sequential`; a layer is an `RNN` or a `Bidirectional` of them.
Flax carries (c, h). Its `MGUCell` with `reset_gate=False` is `ugrnn`; with the gate it is not
`mgu`, the paper's: it resets after the product, and its f keeps h where the paper's takes in n.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from rnnjax._cell import Cell, Params, PyTree
from rnnjax._factory import one_of
from rnnjax._layer import Layer
from rnnjax.cells._common import as_function, label
from rnnjax.interop._format import Format, compare, options, placed, read, write
from rnnjax.interop._models import Path, Way, merges
from rnnjax.interop._tree import flat, nested, part_of

_AROUND = {
    "embed": {"table": "embedding"},
    "linear": {"w": "kernel", "b": "bias"},
    "layer_norm": {"scale": "scale", "offset": "bias"},
}
_SIMPLE = {"w_x": "i/kernel", "w_h": "h/kernel", "b": "i/bias"}
_LINEN = {
    "elman": _SIMPLE,
    "irnn": _SIMPLE,
    "lstm": {"w_x": "i{gate}/kernel", "w_h": "h{gate}/kernel", "b": "h{gate}/bias"},
    "conv_lstm": {"w_x": "ih/kernel", "w_h": "hh/kernel", "b_x": "ih/bias", "b_h": "hh/bias"},
    "gru": {
        "w_x": "i{gate}/kernel", "w_h": "h{gate}/kernel", "b": "i{gate}/bias", "b_n": "hn/bias"
    },
    "ugrnn": {"w_x": "i{gate}/kernel", "w_h": "h{gate}/kernel", "b": "i{gate}/bias"},
    **_AROUND,
}  # fmt: skip
_FUSED = {"w_x": "dense_i/kernel", "w_h": "dense_h/kernel"}
_NNX = {
    "elman": {**_FUSED, "b": "dense_i/bias"},
    "irnn": {**_FUSED, "b": "dense_i/bias"},
    "lstm": {**_FUSED, "b": "dense_h/bias"},
    "gru": {**_FUSED, "b": "dense_i/bias"},
    **_AROUND,
}
_REASONS = {
    "gru_before": "its GRUCell resets after the product, which is another function",
    "mgu": (
        "its MGUCell is another function, n = tanh(W x + b + f (U h + b_n)) and h' = (1 - f) n + f "
        "h, where mgu has U (f h) and h' = (1 - f) h + f n: run it by interop.linen.cell"
    ),
}
_CLASSES = {
    "elman": ("SimpleCell",),
    "irnn": ("SimpleCell",),
    "lstm": ("LSTMCell", "OptimizedLSTMCell"),
    "gru": ("GRUCell",),
    "embed": ("Embed",),
    "linear": ("Linear",),
    "layer_norm": ("LayerNorm",),
}


def from_flax(model: Cell | Layer, tree: PyTree, *, api: str = "linen") -> Params:
    """The parameters of a model of ours from Flax's.

    Args:
      model: what they are parameters of: a cell, or layers of cells. Parts have the names of
        Flax's submodules; where they have none they are those of a `Sequential`.
      tree: linen's tree of "params"; nnx's module, whose options are then compared and whose
        biases are zeros where it has none, or its state as a tree of dicts.
      api: "linen" or "nnx".

    Returns:
      Parameters of the model.

    Raises:
      ValueError: a name is missing or unknown, a shape is another, Flax has no such cell, or a
        module of nnx computes something else, such as another activation, `reverse` or `merge_fn`.
        Options that are not in a tree, such as an epsilon, are not compared: say them to the
        model.

    Example:
      >>> import flax.linen as nn, jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax import interop
      >>> xs = jnp.ones((2, 5, 3))
      >>> tree = nn.RNN(nn.GRUCell(4)).init(jax.random.key(0), xs)["params"]
      >>> params = interop.from_flax(rnnjax.recurrent(rnnjax.gru(4)), tree)
      >>> params.w_x.shape
      (3, 12)
    """
    form, module = _form(api), None
    if form is NNX and hasattr(tree, "__dict__"):
        from flax import nnx

        if isinstance(tree, nnx.Module):
            module, tree = tree, nnx.state(tree, nnx.Param)
        tree = nnx.to_pure_dict(tree) if isinstance(tree, nnx.State) else tree
    given = flat(tree, "/")
    if form is NNX and any(f"/{name}".endswith("/if_/kernel") for name in given):
        form = NNX_BY_GATE  # of nnx.LSTMCell, as if is no name in Python
        given = {f"/{name}".replace("/if_/", "/if/")[1:]: array for name, array in given.items()}
    without = [] if module is None else _without_bias(model, module)
    return read(form, model, given, without)


def to_flax(model: Cell | Layer, params: Params, *, api: str = "linen") -> dict[str, Any]:
    """Flax's parameters of a model of ours: the inverse of `from_flax`, bit for bit.

    linen takes them as `{"params": tree}`; nnx by `nnx.update(module, tree)`. A forget bias which
    ConvLSTMCell adds at run time is subtracted, and so rounded.

    Args:
      model: a cell, or layers of cells.
      params: its parameters.
      api: "linen" or "nnx", whose LSTM is the `OptimizedLSTMCell`.

    Returns:
      A tree of dicts.

    Raises:
      ValueError: Flax has no such cell, or nnx no place for a GRU's b_n that is not zero.

    Example:
      >>> import jax, rnnjax
      >>> from rnnjax import interop
      >>> cell = rnnjax.lstm(4)
      >>> tree = interop.to_flax(cell, cell.init(jax.random.key(0), 3))
      >>> sorted(tree), tree["ii"]["kernel"].shape
      (['hf', 'hg', 'hi', 'ho', 'if', 'ig', 'ii', 'io'], (3, 4))
    """
    form = _form(api)
    return nested(write(form, model, params), "/")


def _without_bias(model: Cell | Layer, module: Any) -> list[str]:
    """Where a module of nnx has no bias; raises ValueError where it is not what the model is."""
    without, joins = [], iter([merge for merge in merges(model) if merge != "pyramid"])
    for place, cell in placed(NNX, model):
        way = place.split("/")[:-1]
        above = [part_of(module, "/".join(way[:n]), "/") for n in range(len(way) + 1)]
        for outer, inner in zip([None, *above], above, strict=False):
            # A Bidirectional says itself which way each runs.
            if getattr(inner, "reverse", None) is True and not hasattr(outer, "merge_fn"):
                raise ValueError(
                    f"Flax's nnx has reverse=True around {cell.name}: convert nnx.state(module), "
                    "and run the cell by unroll(.., reverse=True)"
                )
            joined = getattr(outer, "merge_fn", None)
            if joined and inner is getattr(outer, "forward_rnn", None):
                merge, its = next(joins, None), joined.__name__
                if (merge == "concat") != (its == "_concatenate"):
                    raise ValueError(f"Flax's nnx has merge_fn={its}, {model.name} {merge!r}")
        if above[-1] is None:  # `read` says which names are missing
            continue
        wanted = {
            "gate_fn": "sigmoid",
            "activation_fn": label(as_function(options(cell).get("activation", "tanh"))),
            "residual": False,
            "carry_init": None,
            "epsilon": options(cell).get("epsilon"),
            "reduction_axes": -1,
            "feature_axes": -1,
        }
        got = {name: getattr(above[-1], name) for name in wanted if hasattr(above[-1], name)}
        named = {name: label(f) for name, f in got.items() if callable(f)}  # pyright: ignore
        compare(NNX, cell, {**got, **named}, wanted, above[-1])
        if not getattr(above[-1], "use_bias", True):
            without.append(place)
    return without


def _form(api: str) -> Format:
    return {"linen": LINEN, "nnx": NNX}[one_of("linen", "nnx")("api", api)]


def _place(sequential: str) -> Callable[[Cell | Layer, list[tuple[Path, Cell]]], list[str]]:
    def name(step: int | str | Way) -> str:
        ways: dict[Any, str] = {
            Way.CELL: "cell",
            Way.FORWARD: "forward_rnn",
            Way.BACKWARD: "backward_rnn",
        }
        return sequential.format(step) if isinstance(step, int) else str(ways.get(step, step))

    def place(model: Cell | Layer, every: list[tuple[Path, Cell]]) -> list[str]:
        """`layers_0/forward_rnn/cell/{}`: the submodules on the way."""
        return ["/".join([*map(name, path), "{}"]) for path, _ in every]

    return place


LINEN = Format(
    library="Flax",
    conventions="flax",
    names=_LINEN,
    place=_place("layers_{}"),
    reasons=_REASONS,
)
NNX = Format(
    library="Flax's nnx",
    conventions="flax",
    names=_NNX,
    place=_place("layers/{}"),
    reasons={**_REASONS, "conv_lstm": "it has no convolutional cell"},
    classes=_CLASSES,
)
NNX_BY_GATE = dataclasses.replace(NNX, names={**_NNX, "lstm": _LINEN["lstm"]})
