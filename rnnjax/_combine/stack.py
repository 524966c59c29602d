"""Cells above each other."""

from __future__ import annotations

import jax

from rnnjax._cell import Array, Cell, PyTree, as_spec
from rnnjax._combine._common import Inners
from rnnjax._combine._parts import Parts
from rnnjax._factory import cell_factory


@cell_factory
def stack(*cells: Inners, **named: Inners) -> Cell:
    """Feeds each cell's output to the next: a deep recurrent network as one cell.

        x^0_t = x_t
        s^l_t, x^l_t = cell_l(s^l_{t-1}, x^{l-1}_t)        l = 1 .. L
        y_t = x^L_t

    Pointwise cells have the state (), so `stack(embed(96, 64), lstm(256), linear(96))` is a
    language model which trains over whole windows and streams symbol by symbol.

    Parameters and state are dicts by the names of the cells, `stack(embed=..., rnn=...)`, or tuples
    where they have none. Parameters and noise are drawn by name too: a named cell put between two
    others changes nothing of theirs.

    Args:
      *cells: the cells, lowest first.
      **named: the same by names of your choice, instead.

    Returns:
      A Cell.

    Raises:
      TypeError: an argument is not a Cell, or some have names and some have not.
      ValueError: there is no cell.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> model = rnnjax.stack(
      ...     embed=rnnjax.embed(96, 8), rnn=rnnjax.gru(16), readout=rnnjax.linear(96)
      ... )
      >>> params = model.init(jax.random.key(0), rnnjax.tokens())
      >>> state, logits = rnnjax.unroll(model, params, None, jnp.zeros((5, 2), int))
      >>> logits.shape, state["rnn"].shape, params["readout"].b.shape
      ((5, 2, 96), (2, 16), (96,))

    Reference:
      Graves, Mohamed & Hinton, Speech Recognition with Deep Recurrent Neural Networks, ICASSP
      2013, arXiv:1303.5778.
    """
    parts = Parts.of("stack", cells, named)
    cells = parts.parts

    def init_params(key: Array, x_spec: PyTree) -> PyTree:
        params, x_spec = [], as_spec(x_spec)
        for cell, k in zip(cells, parts.keys(key), strict=True):
            params.append(cell.init(k, x_spec))
            state = jax.eval_shape(cell.initial_state, params[-1])
            _, x_spec = jax.eval_shape(cell.step, params[-1], state, x_spec)
        return parts.tree(params)

    def step(params: PyTree, state: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
        new = []
        for cell, p, s in parts.each(params, state):
            s, x = cell.step(p, s, x)
            new.append(s)
        return parts.tree(new), x

    top = cells[-1].output_of
    return Cell(
        name=f"stack({parts})",
        init=init_params,
        initial_state=parts.initial_state,
        step=step,
        x_ndims=cells[0].x_ndims,
        output_of=None if top is None else lambda state: top(state[parts.names[-1]]),
        recurrent=parts.recurrent(),
        fill=cells[0].fill,
    )
