"""Clipping of the state, at each step."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from rnnjax._cell import Cell, Params, PyTree, State
from rnnjax._combine._common import Inner
from rnnjax._dtypes import map_floats
from rnnjax._factory import Positive, cell_factory


@cell_factory
def clip_state(cell: Inner, limit: Positive) -> Cell:
    """Clips the state at each step, element by element.

        s̃_t, ỹ_t = cell(s_{t-1}, x_t)
        s_t = min(max(s̃_t, -limit), limit)
        y_t = output_of(s_t), or ỹ_t where the cell declares no `output_of`

    Every floating leaf of the state is clipped; keys, counters and what is held are left alone.
    What other libraries clip is something else: TensorFlow's `cell_clip` an LSTM's c_t before h_t
    is made from it, where here h_t comes from c̃_t and is clipped itself; ONNX's `clip` what goes
    into the activations, and no state.

    Args:
      cell: the cell.
      limit: the largest absolute value of an element, positive.

    Returns:
      A Cell with the cell's parameters and state.

    Raises:
      TypeError: `cell` is not a Cell, or `limit` is no number.
      ValueError: `limit` is not positive.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.clip_state(rnnjax.elman(1, activation="identity"), 2.5)
      >>> one = jnp.ones((1, 1))
      >>> params = rnnjax.ElmanParams(w_x=one, w_h=one, b=jnp.zeros(1))
      >>> print(rnnjax.unroll(cell, params, None, jnp.ones((4, 1)))[1].ravel())
      [1.  2.  2.5 2.5]

    Reference:
      Sak, Senior & Beaufays, Long Short-Term Memory Based Recurrent Neural Network Architectures
      for Large Vocabulary Speech Recognition, 2014, arXiv:1402.1128, which clips the memory.
    """

    def step(params: Params, state: State, x: PyTree) -> tuple[State, PyTree]:
        state, y = cell.step(params, state, x)
        state = map_floats(lambda s: jnp.clip(s, -limit, limit), state)
        return state, y if cell.output_of is None else cell.output_of(state)

    return dataclasses.replace(cell, name=f"clip_state({cell.name}, {limit})", step=step)
