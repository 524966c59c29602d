"""Floor 0: the vocabulary of parameter fields, and what goes by it.

A field says by its name what it holds, in every cell: so converters, pictures and weight decay need
no list of cells. A name is one of these, or one of them with a suffix that says of what, such as
`b_n` for the candidate's bias of a GRU.
"""

from __future__ import annotations

from typing import NamedTuple

import jax

from rnnjax._cell import Params, PyTree


class Field(NamedTuple):
    """What the fields of a name hold.

    Attributes:
      holds: in words.
      axes: their order.
      decays: whether weight decay shrinks them.
    """

    holds: str
    axes: str
    decays: bool


FIELDS: dict[str, Field] = {
    "w_x": Field("input weights, gate beside gate", "[D, G H]", decays=True),
    "w_h": Field("recurrent weights, gate beside gate", "[H, G H]", decays=True),
    "w": Field("other weights", "[inputs, outputs]", decays=True),
    # What a unit keeps of itself is its memory: decay would shorten it.
    "diagonal": Field("weights of a unit on itself alone, gate beside gate", "[G H]", decays=False),
    "table": Field("the vectors of symbols", "[V, E]", decays=False),
    "b": Field("biases, gate beside gate", "[G H]", decays=False),
    "scale": Field("gains of features, as of a normalisation", "[features]", decays=False),
    "offset": Field("offsets of a normalisation", "[features]", decays=False),
    "logit_rate": Field("rates in (0, 1), as their logits", "[] or [H]", decays=False),
    "log_tau": Field("time constants, as their logarithms", "[] or [H]", decays=False),
    "log": Field("other positive numbers, as their logarithms", "[H]", decays=False),
    "eig": Field("eigenvalues, real parts beside imaginary parts", "[2 H]", decays=False),
    "angle": Field("angles, in radians", "[H]", decays=False),
    "initial": Field("a learned initial state", "one row of the state", decays=False),
}


def field(name: str) -> Field | None:
    """What a field of this name holds; None for a name outside the vocabulary."""
    known = [known for known in FIELDS if name == known or name.startswith(f"{known}_")]
    return FIELDS[max(known, key=len)] if known else None


def field_names(path: tuple) -> list[str]:
    """The names on a path that are fields: attributes, and a key at its end; others name parts."""
    names = [entry.name for entry in path if isinstance(entry, jax.tree_util.GetAttrKey)]
    last = path[-1:] if path and isinstance(path[-1], jax.tree_util.DictKey) else ()
    return [*names, *(entry.key for entry in last if isinstance(entry.key, str))]


def decays(params: Params) -> PyTree:
    """Which parameters weight decay should shrink: the `mask` of `optax.adamw`.

    Weights decay. Biases, gains and offsets of normalisations, vectors of symbols, rates, time
    constants and initial states do not. It goes by the names of the fields (`rnnjax._fields`); what
    has a name outside the vocabulary decays.

    Args:
      params: the parameters of a cell or a layer.

    Returns:
      A tree of bools like `params`.

    Example:
      >>> import jax, rnnjax
      >>> params = rnnjax.gru(4).init(jax.random.key(0), 3)
      >>> rnnjax.decays(params)
      GRUParams(w_x=True, w_h=True, b=False, b_n=False)

    Reference:
      Krogh & Hertz, A Simple Weight Decay Can Improve Generalization, NeurIPS 1991.
    """

    def of(path: tuple, _: object) -> bool:
        found = map(field, field_names(path))
        return all(each.decays for each in found if each is not None)

    return jax.tree.map_with_path(of, params)
