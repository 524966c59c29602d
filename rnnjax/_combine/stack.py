"""Cells above each other."""

from __future__ import annotations

import jax

from rnnjax._cell import Array, Cell, PyTree, as_spec, cell_factory
from rnnjax._combine._common import Inners, initial_states
from rnnjax._combine._weights import under


@cell_factory
def stack(*cells: Inners) -> Cell:
    """Feeds each cell's output to the next: a deep recurrent network as one cell.

        x^0_t = x_t
        s^l_t, x^l_t = cell_l(s^l_{t-1}, x^{l-1}_t)        l = 1 .. L
        y_t = x^L_t

    Parameters and state are tuples with one entry a cell. Pointwise cells have the state (), so
    `stack(embed(96, 64), lstm(256), lstm(256), linear(96))` is a language model which trains over
    whole windows and streams symbol by symbol.

    Args:
      *cells: the cells, lowest first.

    Returns:
      A Cell.

    Raises:
      TypeError: an argument is not a Cell.
      ValueError: there is no cell.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> model = rnnjax.stack(rnnjax.embed(96, 8), rnnjax.gru(16), rnnjax.linear(96))
      >>> params = model.init(jax.random.key(0), jax.ShapeDtypeStruct((), int))
      >>> state, logits = rnnjax.unroll(model, params, None, jnp.zeros((5, 2), int))
      >>> logits.shape
      (5, 2, 96)

    Reference:
      Graves, Mohamed & Hinton, Speech Recognition with Deep Recurrent Neural Networks, ICASSP
      2013, arXiv:1303.5778.
    """

    def init_params(key: Array, x_spec: PyTree) -> tuple:
        params, x_spec = [], as_spec(x_spec)
        for i, cell in enumerate(cells):
            params.append(cell.init(jax.random.fold_in(key, i), x_spec))
            state = jax.eval_shape(cell.initial_state, params[-1])
            _, x_spec = jax.eval_shape(cell.step, params[-1], state, x_spec)
        return tuple(params)

    def initial_state(
        params: tuple, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> tuple:
        return initial_states(cells, params, batch_shape, key)

    def step(params: tuple, state: tuple, x: PyTree) -> tuple[tuple, PyTree]:
        new = []
        for cell, p, s in zip(cells, params, state, strict=True):
            s, x = cell.step(p, s, x)
            new.append(s)
        return tuple(new), x

    top = cells[-1].output_of
    return Cell(
        name=f"stack({', '.join(cell.name for cell in cells)})",
        init=init_params,
        initial_state=initial_state,
        step=step,
        x_ndims=cells[0].x_ndims,
        output_of=None if top is None else lambda state: top(state[-1]),
        recurrent=tuple(path for i, cell in enumerate(cells) for path in under(i, cell)),
        fill=cells[0].fill,
    )
