"""Language models as cells: from symbols to logits."""

from __future__ import annotations

import functools
from typing import Any

import jax

import rnnjax
from rnnjax import Cell
from rnnjax.initializers import PRESETS, Initializers
from rnnjax.tasks._tied import tied_readout
from rnnjax.train.task import CELLS

Array = jax.Array


def recurrent_language_model(
    symbols: int,
    *,
    cell: str = "lstm",
    hidden_size: int = 256,
    layers: int = 1,
    embedding_size: int = 64,
    dropout: float = 0.0,
    layer_norm: bool = False,
    tied: bool = False,
    init_scale: float = 0.0,
) -> Cell:
    """A recurrent language model: vectors of symbols, recurrent layers, a readout.

        x_t -> embed -> [dropout -> cell -> layer_norm] · layers -> dropout -> logits

    Args:
      symbols: V, how many symbols there are.
      cell: "elman", "lstm" or "gru".
      hidden_size: units of each layer.
      layers: how many recurrent layers.
      embedding_size: length of a symbol's vector.
      dropout: the probability of dropping a feature between layers, never from step to step.
      layer_norm: whether each layer's output is normalised.
      tied: whether the readout uses the symbols' vectors; from another size than theirs, a linear
        layer leads to it.
      init_scale: draw every parameter from U(-init_scale, init_scale); 0 for the cells' own.

    Returns:
      A Cell from integers to logits [*B, V].

    Raises:
      TypeError, ValueError: an argument that the cells refuse.

    Example:
      >>> import jax, rnnjax
      >>> from rnnjax.tasks.language_model import recurrent_language_model
      >>> model = recurrent_language_model(10, hidden_size=8, embedding_size=8, tied=True)
      >>> params = model.init(jax.random.key(0), rnnjax.tokens())
      >>> sum(leaf.size for leaf in jax.tree.leaves(params)) == 10 * 8 + 8 * 32 * 2 + 32 + 10
      True

    Reference:
      Zaremba, Sutskever & Vinyals, Recurrent Neural Network Regularization, 2014,
      arXiv:1409.2329.
    """
    init = _uniform(float(init_scale)) if init_scale else PRESETS["rnnjax"]
    body = {}
    for i in range(layers):
        body |= {f"drop_{i}": rnnjax.dropout(dropout)} if dropout else {}
        body |= {f"rnn_{i}": CELLS[cell](hidden_size, init=init)}
        body |= {f"norm_{i}": rnnjax.layer_norm()} if layer_norm else {}
    body |= {"drop": rnnjax.dropout(dropout)} if dropout else {}
    if tied:
        if hidden_size != embedding_size:
            body["project"] = rnnjax.linear(embedding_size, init=init)
        return tied_readout(symbols, embedding_size, init=init, **body)
    embed = rnnjax.embed(symbols, embedding_size, init=init)
    return rnnjax.stack(embed=embed, **body, readout=rnnjax.linear(symbols, init=init))


@functools.cache  # one function a scale, so that equal models are equal
def _uniform(scale: float) -> Initializers:
    def draw(key: Array, shape: Any, dtype: Any) -> Array:
        return jax.random.uniform(key, shape, dtype, -scale, scale)

    return Initializers(draw, draw, draw, 0.0, draw, draw, draw)
