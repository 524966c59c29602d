"""What the noisy transformations share: their state and their masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Held, Params, PyTree, State
from rnnjax._noise import fold_in, held_rates, noise_keys


class NoisyState(NamedTuple):
    """State of a cell with noise around it.

    Attributes:
      cell: the state of the cell inside.
      key: the row's key [*B, 1]; [*B, 0] in evaluation.
      t: how many steps the row has taken, [*B]; None where noise is fixed within a sequence.
      rate: the row's rate, `Held` [*B], or several; `set_rates` changes it.
    """

    cell: Any
    key: Array
    t: Array | None
    rate: Held


def noisy(
    cell: Cell,
    name: str,
    step: Callable[[Array | None, Any, Params, State, PyTree], tuple[State, PyTree]],
    *,
    rate: Any,
    fresh: bool,
) -> Cell:
    """The cell with noise around it.

    Noise that is fixed within a sequence is a function of the key alone, which a step hands on
    unchanged: so it is drawn once, outside the loop. What is fresh each step is of key and t.

    Args:
      cell: the cell inside.
      name: the new cell's name.
      step: the equations, `(keys [*B], or None in evaluation, rates [*B], params, state, x) ->
        (state, y)`.
      rate: the rate, or a tree of them, with which a state begins.
      fresh: whether the keys are new at each step.
    """

    def initial_state(
        params: Params, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> NoisyState:
        own, inner = (None, None) if key is None else (fold_in(key, 0), fold_in(key, 1))
        return NoisyState(
            cell=cell.initial_state(params, batch_shape, key=inner),
            key=noise_keys(own, batch_shape),
            t=jnp.zeros(batch_shape, jnp.int32) if fresh else None,
            rate=held_rates(rate, batch_shape),
        )

    def noisy_step(params: Params, state: NoisyState, x: PyTree) -> tuple[NoisyState, PyTree]:
        key, t = state.key[..., 0] if state.key.shape[-1] else None, state.t
        if t is not None:
            key, t = None if key is None else fold_in(key, t), t + 1
        new, y = step(key, state.rate.value, params, state.cell, x)
        return NoisyState(new, state.key, t, state.rate), y

    inner = cell.output_of
    return dataclasses.replace(
        cell,
        name=name,
        initial_state=initial_state,
        step=noisy_step,
        output_of=None if inner is None else lambda state: inner(state.cell),
    )
