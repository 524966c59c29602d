"""Flax's nnx: a model of ours as a module, and a cell of nnx as one of ours."""

from __future__ import annotations

from typing import Any

from flax import nnx

from rnnjax._cell import Array, Cell, Params, PyTree, State
from rnnjax._layer import Layer, layer_of
from rnnjax.interop._adapted import adapted


class RNN(nnx.Module):
    """A cell or layer of ours as a module of nnx: `state, ys = rnn(xs, lengths=...)`.

    Attributes:
      model: the Cell or Layer.
      params: its parameters, an `nnx.Param` of a tree as ours.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> from flax import nnx as flax_nnx
      >>> from rnnjax.interop import nnx
      >>> rnn = nnx.RNN(rnnjax.gru(4), 3, rngs=flax_nnx.Rngs(0))
      >>> state, ys = rnn(jnp.ones((5, 2, 3)), lengths=jnp.array([5, 2]))
      >>> ys.shape
      (5, 2, 4)
    """

    def __init__(self, model: Cell | Layer, x_spec: PyTree, *, rngs: nnx.Rngs) -> None:
        self.model = model
        self.params = nnx.Param(model.init(rngs.params(), x_spec))

    def __call__(self, xs: PyTree, **options: Any) -> tuple[State, PyTree]:
        """Runs it over xs [T, B, ...]; the options are those of `rnnjax.Layer.apply`."""
        return layer_of(self.model).apply(self.params.get_value(), xs, **options)


def cell(module: Any) -> tuple[Cell, Params]:
    """A cell of nnx as one of ours, and its parameters: lengths and masks work with it.

    Args:
      module: an `nnx.LSTMCell`, `nnx.GRUCell` or another `RNNCellBase`.

    Returns:
      A Cell whose parameters are such an `nnx.State`, and this one's. It draws none: its `init`
      gives these.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> from flax import nnx as flax_nnx
      >>> from rnnjax.interop import nnx
      >>> gru, params = nnx.cell(flax_nnx.GRUCell(3, 4, rngs=flax_nnx.Rngs(0)))
      >>> h, ys = rnnjax.unroll(gru, params, None, jnp.ones((5, 2, 3)), lengths=jnp.array([5, 2]))
      >>> ys.shape
      (5, 2, 4)
    """
    graph, params, rest = nnx.split(module, nnx.Param, ...)

    def initial_state(
        params: Params, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> State:
        shape = (*batch_shape, module.in_features)
        return module.initialize_carry(shape, rngs=nnx.Rngs(0))

    def step(given: Params, state: State, x: Array) -> tuple[State, Array]:
        return nnx.merge(graph, given, rest)(state, x)

    return adapted(type(module).__name__, lambda key, x: params, initial_state, step), params
