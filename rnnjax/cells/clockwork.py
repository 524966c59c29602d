"""The clockwork recurrent network."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory, natural
from rnnjax.cells._common import (
    Activation,
    as_function,
    hidden_state,
    label,
    rows,
    vector,
    vector_spec,
)
from rnnjax.initializers import Init, preset


class ClockworkParams(NamedTuple):
    """Parameters of `clockwork`; modules from fast to slow.

    Attributes:
      w_x: W, input weights [D, H].
      w_h: U, recurrent weights [H, H]; those from faster modules to slower ones are not used.
      b: bias [H].
    """

    w_x: Array
    w_h: Array
    b: Array


class ClockworkState(NamedTuple):
    """State of `clockwork`.

    Attributes:
      h: hidden state [*B, H], also the output.
      t: how many steps the row has taken, [*B].
    """

    h: Array
    t: Array


def _periods(what: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple | list) or not value:
        raise TypeError(f"{what} must be a tuple of ints, got {value!r}")
    periods = tuple(natural(what, period, least=1) for period in value)
    if list(periods) != sorted(set(periods)):
        raise ValueError(f"{what} must go up, from fast to slow, got {periods}")
    return periods


@cell_factory
def clockwork(
    hidden_size: Size,
    periods: Annotated[tuple[int, ...], _periods] = (1, 2, 4, 8),
    *,
    activation: Activation = "tanh",
    init: Init = "rnnjax",
) -> Cell:
    """Clockwork network: modules of units, each of which steps at a period of its own.

        n = φ(x_t W + h_{t-1} U + b)
        h_t = n in modules i with t mod T_i = 0, h_{t-1} in the others       t = 0, 1, ...

    A module sees itself and slower modules: the block of U from module j to module i is zero
    unless T_j ≥ T_i. Steps are counted from 0, so that the first one writes every module. (The
    paper leaves the bias out of its equations.)

    Shapes: x_t [*B, D]; state h [*B, H], t [*B]; y_t = h_t [*B, H].

    Args:
      hidden_size: H, the number of units, a multiple of the number of modules.
      periods: T, one for each module, going up.
      activation: φ: "tanh", "relu", "identity", another name, or any function.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `ClockworkParams` and `ClockworkState`.

    Raises:
      TypeError: `hidden_size` is not an int, or `periods` is no tuple of ints.
      ValueError: `hidden_size` is no multiple of the number of modules, `periods` do not go up,
        or `activation` or `init` is an unknown name.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.clockwork(16, periods=(1, 3))
      >>> params = cell.init(jax.random.key(0), 8)
      >>> state, ys = rnnjax.unroll(cell, params, None, jnp.ones((3, 8)))
      >>> [bool((ys[t] == ys[t + 1])[8:].all()) for t in range(2)]
      [True, True]

    Reference:
      Koutník, Greff, Gomez & Schmidhuber, A Clockwork RNN, ICML 2014, arXiv:1402.3511.
    """
    options = [label(activation)] * (activation != "tanh")
    name = f"clockwork({', '.join([str(hidden_size), str(periods), *options])})"
    if hidden_size % len(periods):
        raise ValueError(
            f"{name}: hidden_size must be a multiple of {len(periods)}, the number of periods"
        )
    φ = as_function(activation)
    draw, zeros = preset(init), hidden_state(hidden_size)
    units = [period for period in periods for _ in range(hidden_size // len(periods))]

    def init_params(key: Array, x_spec: Any) -> ClockworkParams:
        inputs, dtype = vector_spec(name, x_spec)
        return ClockworkParams(**draw.weights(key, inputs, hidden_size, 1, dtype))

    def initial_state(
        params: Any, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> ClockworkState:
        return ClockworkState(zeros(params, batch_shape), jnp.zeros(batch_shape, jnp.int32))

    def step(
        params: ClockworkParams, state: ClockworkState, x: Array
    ) -> tuple[ClockworkState, Array]:
        x, (h, t) = vector(name, x, params.w_x), state
        clocks = jnp.array(units, jnp.int32)
        u = jnp.where(clocks[:, None] >= clocks[None], params.w_h, 0)
        n = φ(x @ params.w_x + h @ u + rows(params.b, x))
        h = jnp.where(t[..., None] % rows(clocks, h) == 0, n, h)
        return ClockworkState(h, t + 1), h

    return Cell(
        name=name,
        init=init_params,
        initial_state=initial_state,
        step=step,
        output_of=lambda state: state.h,
    )
