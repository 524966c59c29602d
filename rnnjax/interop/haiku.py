"""Haiku: a model of ours as a module, and a core of Haiku as a cell of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Params, PyTree, State, step_spec
from rnnjax._factory import cell_factory
from rnnjax._layer import Layer, layer_of
from rnnjax.interop._adapted import adapted
from rnnjax.interop._tree import name_of


class RNN(hk.Module):
    """A cell or layer of ours as a module of Haiku: `state, ys = RNN(model)(xs, lengths=...)`.

    Example:
      >>> import haiku as hk, jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.interop import haiku
      >>> network = hk.transform(lambda xs: haiku.RNN(rnnjax.gru(4))(xs))
      >>> params = network.init(jax.random.key(0), jnp.ones((5, 2, 3)))
      >>> sorted(params["rnn"])
      ['b', 'b_n', 'w_h', 'w_x']
    """

    def __init__(self, model: Cell | Layer, name: str | None = None) -> None:
        super().__init__(name=name)
        self.model = model

    def __call__(self, xs: PyTree, **options: Any) -> tuple[State, PyTree]:
        """Runs it over xs [T, B, ...]; the options are those of `rnnjax.Layer.apply`."""
        spec = step_spec(xs)
        if hk.running_init():
            drawn = self.model.init(hk.next_rng_key(), spec)
        else:
            drawn = jax.eval_shape(lambda key: self.model.init(key, spec), jax.random.key(0))
        params = jax.tree.map_with_path(
            lambda path, leaf: hk.get_parameter(  # drawn together, so as in `init`
                ".".join(map(name_of, path)), leaf.shape, leaf.dtype, init=lambda *_: leaf
            ),
            drawn,
        )
        return layer_of(self.model).apply(params, xs, **options)


@cell_factory
def cell(core: Callable[[], hk.RNNCore]) -> Cell:
    """A core of Haiku as a cell of ours, with its own state: lengths and masks work with it.

    Args:
      core: a function that makes the core, such as `lambda: hk.LSTM(4)`.

    Returns:
      A Cell whose parameters are those of the transformed core.

    Example:
      >>> import haiku as hk, jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.interop import haiku
      >>> lstm = haiku.cell(lambda: hk.LSTM(4))
      >>> params = lstm.init(jax.random.key(0), 3)
      >>> state, ys = rnnjax.unroll(lstm, params, None, jnp.ones((5, 2, 3)))
      >>> state.hidden.shape
      (2, 4)
    """
    module = hk.without_apply_rng(hk.transform(lambda x, state: core()(x, state)))
    start = hk.without_apply_rng(hk.transform(lambda batch: core().initial_state(batch)))

    def initial_state(
        params: Params, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> State:
        one = start.apply({}, None)
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*batch_shape, *leaf.shape)), one)

    def init(key: Array, x: Array) -> Params:
        return module.init(key, x, initial_state(None))

    def step(params: Params, state: State, x: Array) -> tuple[State, Array]:
        y, state = module.apply(params, x, state)
        return state, y

    return adapted("haiku", init, initial_state, step)
