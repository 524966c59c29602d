"""Language models as cells: from symbols to logits."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax

import rnnjax
from rnnjax import Cell, Size, cell_factory
from rnnjax._combine._weights import under
from rnnjax.initializers import PRESETS, Init, Initializers, preset
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


class TiedParams(NamedTuple):
    """Parameters of `tied_readout`.

    Attributes:
      table: E, one vector a symbol, [V, size]: both embedding and readout.
      body: those of the cells between.
      b: bias of the readout, [V].
    """

    table: Array
    body: Any
    b: Array


@cell_factory
def tied_readout(
    vocabulary_size: Size, size: Size, *cells: Cell, init: Init = "rnnjax", **named: Cell
) -> Cell:
    """Cells between an embedding and a readout which share their weights.

        s_t, y_t = cells(s_{t-1}, E[x_t])
        logits_t = y_t Eᵀ + b

    Args:
      vocabulary_size: V, the number of symbols.
      size: the length of a symbol's vector, and of the last cell's output.
      *cells: the cells between, lowest first.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".
      **named: the cells between by names of your choice, instead; as in `stack`.

    Returns:
      A Cell with `TiedParams` and the state of `stack(*cells)`.

    Raises:
      TypeError: a size is not an int, or an argument is not a Cell.
      ValueError: a size is below 1, there is no cell, or the last one's output has another size.

    Reference:
      Press & Wolf, Using the Output Embedding to Improve Language Models, EACL 2017,
      arXiv:1608.05859.
    """
    lookup = rnnjax.embed(vocabulary_size, size, init=init)
    between = rnnjax.stack(*cells, **named)

    def init_params(key: Array, x_spec: Any) -> TiedParams:
        k_table, k_body, k_b = jax.random.split(key, 3)
        table = lookup.init(k_table, x_spec).table
        vector = jax.ShapeDtypeStruct((size,), table.dtype)
        body = between.init(k_body, vector)
        state = jax.eval_shape(between.initial_state, body)
        _, y = jax.eval_shape(between.step, body, state, vector)
        if y.shape != (size,):
            raise ValueError(f"the last cell's output is {list(y.shape)}, expected [{size}]")
        b = preset(init).w_b(k_b, (size, vocabulary_size), table.dtype)[0]
        return TiedParams(table, body, b)

    def initial_state(
        params: TiedParams, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> Any:
        return between.initial_state(params.body, batch_shape, key=key)

    def step(params: TiedParams, state: Any, x: Array) -> tuple[Any, Array]:
        _, vector = lookup.step(rnnjax.EmbedParams(params.table), (), x)
        state, y = between.step(params.body, state, vector)
        return state, y @ params.table.T + params.b

    return Cell(
        name=f"tied_readout({lookup.name}, {between.name})",
        init=init_params,
        initial_state=initial_state,
        step=step,
        x_ndims=0,
        recurrent=under("body", between),
    )
