"""Flax's linen: a model of ours as a module, and a cell of linen as one of ours."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax

from rnnjax._cell import Array, Cell, Params, PyTree, State, step_spec
from rnnjax._factory import cell_factory
from rnnjax._layer import Layer, layer_of
from rnnjax.interop._adapted import adapted


class RNN(nn.Module):
    """A cell or layer of ours as a module of linen: `state, ys = RNN(model)(xs, lengths=...)`.

    Its parameters are one entry of "params", a tree as ours. Noise is drawn from the rng "dropout",
    and without one there is none.

    Attributes:
      model: the Cell or Layer.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.interop import linen
      >>> module = linen.RNN(rnnjax.lstm(4))
      >>> variables = module.init(jax.random.key(0), jnp.ones((5, 2, 3)))
      >>> state, ys = module.apply(variables, jnp.ones((5, 2, 3)), lengths=jnp.array([5, 2]))
      >>> ys.shape, variables["params"]["rnn"].w_x.shape
      ((5, 2, 4), (3, 16))
    """

    model: Cell | Layer

    @nn.compact
    def __call__(self, xs: PyTree, **options: Any) -> tuple[State, PyTree]:
        """Runs it over xs [T, B, ...]; the options are those of `rnnjax.Layer.apply`."""
        spec = step_spec(xs)
        params = self.param("rnn", lambda key: self.model.init(key, spec))
        key = self.make_rng("dropout") if self.has_rng("dropout") else None
        return layer_of(self.model).apply(params, xs, **{"key": key, **options})


@cell_factory
def cell(module: nn.RNNCellBase) -> Cell:
    """A cell of linen as one of ours, with its own state: `unroll`, lengths and masks work with it.

    Args:
      module: an unbound `nn.RNNCellBase`.

    Returns:
      A Cell whose parameters are the module's "params".

    Example:
      >>> import flax.linen as nn, jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.interop import linen
      >>> gru = linen.cell(nn.GRUCell(4))
      >>> params = gru.init(jax.random.key(0), 3)
      >>> h, ys = rnnjax.unroll(gru, params, None, jnp.ones((5, 2, 3)), lengths=jnp.array([5, 2]))
      >>> ys.shape
      (5, 2, 4)
    """

    def initial_state(
        params: Params, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> State:
        return module.initialize_carry(jax.random.key(0), (*batch_shape, 1))

    def init(key: Array, x: Array) -> Params:
        return module.init(key, initial_state(None), x)["params"]

    def step(params: Params, state: State, x: Array) -> tuple[State, Array]:
        result: Any = module.apply({"params": params}, state, x)
        return result

    return adapted(type(module).__name__, init, initial_state, step)
