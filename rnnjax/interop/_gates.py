"""Whose gates stand where: the table of conventions, said once, and what goes by it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Array, Params
from rnnjax.cells import (
    ConvLSTMParams,
    CoupledLSTMParams,
    ElmanParams,
    GRUParams,
    IRNNParams,
    LSTMParams,
    PeepholeLSTMParams,
    ProjectedLSTMParams,
    UGRNNParams,
)

# Ours: the gates and what holds them, gate beside gate, input-major, [D, G H].
# The forget bias is stored, and h' = (1 - z) n + z h.
OURS: dict[str, tuple[str, type]] = {
    "elman": ("h", ElmanParams),
    "irnn": ("h", IRNNParams),
    "lstm": ("ifgo", LSTMParams),
    "projected_lstm": ("ifgo", ProjectedLSTMParams),
    "peephole_lstm": ("ifgo", PeepholeLSTMParams),
    "coupled_lstm": ("fgo", CoupledLSTMParams),
    "conv_lstm": ("ifgo", ConvLSTMParams),
    "gru": ("rzn", GRUParams),
    "gru_before": ("rzn", GRUParams),
    "ugrnn": ("fn", UGRNNParams),  # its g and c by the names of Flax
}


class Convention(NamedTuple):
    """How another library keeps the weights of one kind of cell.

    Attributes:
      gates: their order, in our letters.
      transposed: whether matrices are output-major, [G H, D].
      negated: the gates of the opposite meaning: as 1 - σ(a) = σ(-a), their weights are negated.
      forget: what is added to f at run time and is not in the bias.
    """

    gates: str
    transposed: bool = False
    negated: str = ""
    forget: float = 0.0


_SIMPLE = Convention("h")
_TRANSPOSED = Convention("h", transposed=True)

CONVENTIONS: dict[str, dict[str, Convention]] = {
    "torch": {
        "elman": _TRANSPOSED,
        "irnn": _TRANSPOSED,
        "lstm": Convention("ifgo", transposed=True),
        "projected_lstm": Convention("ifgo", transposed=True),
        "gru": Convention("rzn", transposed=True),
        "linear": _TRANSPOSED,
    },
    "keras": {
        "elman": _SIMPLE,
        "irnn": _SIMPLE,
        "lstm": Convention("ifgo"),
        "conv_lstm": Convention("ifgo"),
        "gru": Convention("zrn"),
        "gru_before": Convention("zrn"),
    },
    "flax": {
        "elman": _SIMPLE,
        "irnn": _SIMPLE,
        "lstm": Convention("ifgo"),
        "conv_lstm": Convention("igfo", forget=1.0),
        "gru": Convention("rzn"),
        "ugrnn": Convention("fn"),
    },
    "haiku": {
        "elman": _SIMPLE,
        "irnn": _SIMPLE,
        "lstm": Convention("igfo", forget=1.0),
        "conv_lstm": Convention("igfo", forget=1.0),
        "gru_before": Convention("zrn", negated="z"),
    },
    "equinox": {
        "lstm": Convention("ifgo", transposed=True),
        "gru": Convention("rzn", transposed=True),
        "linear": _TRANSPOSED,
    },
    "onnx": {
        "elman": _TRANSPOSED,
        "irnn": _TRANSPOSED,
        "lstm": Convention("iofg", transposed=True),
        "peephole_lstm": Convention("iofg", transposed=True),
        "coupled_lstm": Convention("fog", transposed=True, negated="f"),  # it stores i = 1 - f
        "gru": Convention("zrn", transposed=True),
        "gru_before": Convention("zrn", transposed=True),
    },
}


class Weights(NamedTuple):
    """The weights of a cell in another library's order.

    Attributes:
      w_x: input weights.
      w_h: recurrent weights.
      b_x: the bias beside the inputs [G H].
      b_h: that beside the state [G H].
    """

    w_x: Array
    w_h: Array
    b_x: Array
    b_h: Array


def joined(*arrays: Any, axis: int = -1) -> Any:
    """The arrays side by side: NumPy's stay NumPy's, so that float64 stays float64."""
    xp = jnp if any(isinstance(a, jax.Array) for a in arrays) else np
    return xp.concatenate(arrays, axis=axis)


def nothing(shape: int | tuple[int, ...], dtype: Any) -> Any:
    """A bias that adds nothing to any number, bit for bit: -0.0, since -0.0 + 0.0 is 0.0."""
    return np.full(shape, -0.0, dtype)


def to_theirs(kind: str, params: Params, convention: Convention) -> Weights:
    """Our parameters as another library has them: what is moved or negated keeps its bits."""
    order, sign = _moves(kind, convention, params.b)
    w_x, w_h = (w[..., order] * sign for w in (params.w_x, params.w_h))
    b_x, b_h = params.b[order] * sign, nothing(params.b.size, params.b.dtype)
    if kind == "gru":  # its candidate keeps both biases
        n = params.b_n.size
        b_h = joined(b_h[n:], params.b_n)
    b_x = b_x + _added(convention, b_x, -convention.forget)
    return Weights(turned(convention, w_x), turned(convention, w_h), b_x, b_h[order])


def to_ours(kind: str, weights: Weights, convention: Convention) -> dict[str, Any]:
    """The inverse of `to_theirs`: the fields w_x, w_h and b, and b_n where there is one."""
    order, sign = _moves(kind, convention, weights.b_x)
    back = np.argsort(order)
    w_x, w_h = ((turned(convention, w) * sign)[..., back] for w in weights[:2])
    b_x = weights.b_x + _added(convention, weights.b_x, convention.forget)
    both, b_x, b_h = ((b * sign)[back] for b in (b_x + weights.b_h, b_x, weights.b_h))
    if kind != "gru":
        return {"w_x": w_x, "w_h": w_h, "b": both}
    n = b_x.size // 3
    return {"w_x": w_x, "w_h": w_h, "b": joined(both[:-n], b_x[-n:]), "b_n": b_h[-n:]}


def peepholes(convention: Convention, diagonal: Array) -> Array:
    """Our peepholes i, f, o in the order of another library, or back: it exchanges two at most."""
    order = np.array(["ifo".index(gate) for gate in convention.gates if gate != "g"])
    return diagonal.reshape(3, -1)[order].reshape(-1)


def turned(convention: Convention, matrix: Array) -> Array:
    """A matrix of ours as theirs stands, or back."""
    return matrix.T if convention.transposed else matrix


def _moves(kind: str, convention: Convention, b: Array) -> tuple[np.ndarray, ...]:
    """Which of our columns each of theirs is, and its sign."""
    gates = convention.gates
    units, places = b.size // len(gates), [OURS[kind][0].index(gate) for gate in gates]
    order = np.add.outer(np.multiply(places, units), np.arange(units)).ravel()
    sign = np.repeat([-1 if gate in convention.negated else 1 for gate in gates], units)
    return order, sign.astype(b.dtype)


def _added(convention: Convention, b: Array, forget: float) -> np.ndarray:
    """What moves a forget bias from their run time into ours, or back; nothing to other gates."""
    gates = convention.gates
    shifts = [forget if gate == "f" and convention.forget else -0.0 for gate in gates]
    return np.repeat(shifts, b.size // len(gates)).astype(b.dtype)
