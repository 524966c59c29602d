"""Cells between an embedding and a readout that share their weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

import rnnjax
from rnnjax import Cell, Size, cell_factory
from rnnjax._combine._weights import under
from rnnjax.initializers import Init, preset

Array = jax.Array


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
