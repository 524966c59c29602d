"""Equinox: a model of ours as a module, and a cell of Equinox as one of ours."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Params, PyTree, State
from rnnjax._layer import Layer, layer_of
from rnnjax.interop._adapted import adapted


class RNN(eqx.Module):
    """A cell or layer of ours as a module of Equinox: `state, ys = rnn(xs, lengths=...)`.

    Attributes:
      params: its parameters, the arrays of the module.
      model: the Cell or Layer.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.interop import equinox
      >>> rnn = equinox.RNN(rnnjax.gru(4), 3, key=jax.random.key(0))
      >>> state, ys = rnn(jnp.ones((5, 2, 3)), lengths=jnp.array([5, 2]))
      >>> ys.shape, rnn.params.w_x.shape
      ((5, 2, 4), (3, 12))
    """

    params: PyTree
    model: Cell | Layer = eqx.field(static=True)

    def __init__(self, model: Cell | Layer, x_spec: PyTree, *, key: Array) -> None:
        self.params, self.model = model.init(key, x_spec), model

    def __call__(self, xs: PyTree, **options: Any) -> tuple[State, PyTree]:
        """Runs it over xs [T, B, ...]; the options are those of `rnnjax.Layer.apply`."""
        return layer_of(self.model).apply(self.params, xs, **options)


def cell(module: eqx.nn.LSTMCell | eqx.nn.GRUCell) -> tuple[Cell, Params]:
    """A cell of Equinox as one of ours, and its parameters: lengths and masks work with it.

    Args:
      module: an `eqx.nn.LSTMCell` or `eqx.nn.GRUCell`, or one like them.

    Returns:
      A Cell whose parameters are such modules, and this one.

    Example:
      >>> import equinox as eqx, jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.interop import equinox
      >>> gru, params = equinox.cell(eqx.nn.GRUCell(3, 4, key=jax.random.key(0)))
      >>> h, ys = rnnjax.unroll(gru, params, None, jnp.ones((5, 2, 3)), lengths=jnp.array([5, 2]))
      >>> ys.shape
      (5, 2, 4)
    """
    kind, sizes = type(module), (module.input_size, module.hidden_size)
    arrays, rest = eqx.partition(module, eqx.is_array)

    def initial_state(
        params: Params, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> State:
        zeros = [jnp.zeros((*batch_shape, sizes[1]), params.weight_hh.dtype) for _ in range(2)]
        return tuple(zeros) if kind is eqx.nn.LSTMCell else zeros[0]

    def step(params: Params, state: State, x: Array) -> tuple[State, Array]:
        run = eqx.combine(params, rest)
        for _ in x.shape[:-1]:
            run = jax.vmap(run)
        state = run(x, state)
        return state, jax.tree.leaves(state)[0]

    def init(key: Array, x: Array) -> Params:
        made = kind(*sizes, use_bias=module.use_bias, dtype=module.weight_hh.dtype, key=key)
        return eqx.filter(made, eqx.is_array)

    return adapted(kind.__name__, init, initial_state, step), arrays
