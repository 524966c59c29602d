"""Leaky integration of the state."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, PyTree, State, cell_factory, one_of, real
from rnnjax._combine._common import Inner, is_floating, map_floats, require_output_of
from rnnjax._combine._weights import under
from rnnjax.cells._common import rows


class LeakyParams(NamedTuple):
    """Parameters of `leaky` where the rate is learned.

    Attributes:
      cell: the parameters of the cell inside.
      logit: log(a / (1 - a)) for each leaf of the state: [], or the leaf's shape; None for
        leaves that are no numbers.
    """

    cell: Any
    logit: Any


def _fraction(what: str, value: Any) -> float:
    return real(what, value, "a number in (0, 1]", lambda a: 0 < a <= 1)


@cell_factory
def leaky(
    cell: Inner,
    rate: Annotated[float, _fraction] = 0.5,
    *,
    learn: Annotated[Literal["no", "scalar", "unit"], one_of("no", "scalar", "unit")] = "no",
) -> Cell:
    """Moves the state only a part of the way to where the cell would take it.

        s̃_t, _ = cell(s_{t-1}, x_t)
        s_t = (1 - a) ⊙ s_{t-1} + a ⊙ s̃_t        a = rate, or σ(logit) where it is learned
        y_t = output_of(s_t)

    Every floating leaf of the state leaks; keys and counters are left alone.

    Args:
      cell: a cell that declares `output_of`.
      rate: a, in (0, 1]; where it is learned, what it begins with, below 1.
      learn: "no"; "scalar" for one rate a leaf of the state; "unit" for one a unit.

    Returns:
      A Cell with the cell's parameters (`LeakyParams` where the rate is learned) and state.

    Raises:
      TypeError: `cell` is not a Cell or declares no `output_of`, or `rate` is no number.
      ValueError: `rate` is outside (0, 1], or is 1 where it is learned; `learn` is an unknown
        name.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.leaky(rnnjax.elman(4), 0.25, learn="unit")
      >>> params = cell.init(jax.random.key(0), 3)
      >>> _, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 3)))
      >>> ys.shape, params.logit.shape
      ((5, 2, 4), (4,))

    Reference:
      Jaeger, Lukoševičius, Popovici & Siewert, Optimization and Applications of Echo State
      Networks with Leaky-Integrator Neurons, Neural Networks 20(3), 2007.
    """
    learned = learn != "no"
    name = f"leaky({cell.name}, {rate}{f', {learn}' * learned})"
    output_of = require_output_of(name, cell)
    if learned and rate == 1:
        raise ValueError("leaky: rate must be below 1 where it is learned, got 1.0")

    def init_params(key: Array, x_spec: PyTree) -> LeakyParams:
        params = cell.init(key, x_spec)

        def logit(leaf: Array) -> Array | None:
            shape = leaf.shape if learn == "unit" else ()
            value = math.log(rate / (1 - rate))
            return jnp.full(shape, value, leaf.dtype) if is_floating(leaf) else None

        return LeakyParams(params, jax.tree.map(logit, cell.initial_state(params)))

    def initial_state(
        params: LeakyParams, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> State:
        return cell.initial_state(params.cell, batch_shape, key=key)

    def step(params: Any, state: State, x: PyTree) -> tuple[State, PyTree]:
        new, _ = cell.step(params.cell if learned else params, state, x)
        if learned:
            a = map_floats(lambda s, logit: rows(jax.nn.sigmoid(logit), s), state, params.logit)
            new = map_floats(lambda s̃, s, a: (1 - a) * s + a * s̃, new, state, a)
        else:
            new = map_floats(lambda s̃, s: (1 - rate) * s + rate * s̃, new, state)
        return new, output_of(new)

    if not learned:
        return dataclasses.replace(cell, name=name, step=step)
    return dataclasses.replace(
        cell,
        name=name,
        init=init_params,
        initial_state=initial_state,
        step=step,
        recurrent=under("cell", cell),
    )
