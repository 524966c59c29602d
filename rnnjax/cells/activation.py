"""A pointwise function."""

from __future__ import annotations

from typing import Any

from rnnjax._cell import Array, Cell
from rnnjax._factory import cell_factory
from rnnjax.cells._common import Activation, as_function, label


@cell_factory
def activation(function: Activation) -> Cell:
    """Applies a function to each input.

        y_t = φ(x_t)

    Shapes: x_t [*B, ...]; no parameters, no state; y_t [*B, ...].

    Args:
      function: φ: "tanh", "relu", "identity", another name, or any function of one array.

    Returns:
      A Cell with the parameters () and the state ().

    Raises:
      TypeError: `function` is neither a name nor a function.
      ValueError: `function` is an unknown name; the message lists the known ones.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> _, ys = rnnjax.unroll(rnnjax.activation("relu"), (), None, jnp.array([[-1.0], [2.0]]))
      >>> print(ys)
      [[0.]
       [2.]]
    """
    φ = as_function(function)

    def init_params(key: Array, x_spec: Any) -> tuple[()]:
        return ()

    def initial_state(
        params: tuple[()], batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> tuple[()]:
        return ()

    def step(params: tuple[()], state: tuple[()], x: Array) -> tuple[tuple[()], Array]:
        return (), φ(x)

    return Cell(
        name=f"activation({label(function)})",
        init=init_params,
        initial_state=initial_state,
        step=step,
    )
