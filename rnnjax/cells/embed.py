"""Vectors for symbols."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._factory import Size, cell_factory
from rnnjax.initializers import Init, preset


class EmbedParams(NamedTuple):
    """Parameters of `embed`.

    Attributes:
      table: E, one vector a symbol, [V, size].
    """

    table: Array


@cell_factory
def embed(vocabulary_size: Size, size: Size, *, init: Init = "rnnjax") -> Cell:
    """Looks each symbol's vector up.

        y_t = E[x_t]

    Shapes: x_t [*B], integers in [0, V); no state; y_t [*B, size].

    A symbol outside [0, V) gives a vector of NaN, which no run overlooks: under jit a value
    cannot raise an error, and JAX's plain indexing would take the nearest row instead.

    Args:
      vocabulary_size: V, the number of symbols.
      size: the length of a vector.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `EmbedParams` and the state ().

    Raises:
      TypeError: a size is not an int, or the symbols are not integers.
      ValueError: a size is below 1, or `init` names no preset.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.embed(10, 4)
      >>> params = cell.init(jax.random.key(0), rnnjax.tokens())
      >>> _, ys = rnnjax.unroll(cell, params, None, jnp.array([[1, 2], [3, 4], [5, 6]]))
      >>> ys.shape
      (3, 2, 4)
    """
    name = f"embed({vocabulary_size}, {size})"
    draw = preset(init)

    def init_params(key: Array, x_spec: Any) -> EmbedParams:
        check_symbols(x_spec)
        return EmbedParams(draw.table(key, (vocabulary_size, size), jnp.result_type(float)))

    def initial_state(
        params: EmbedParams, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> tuple[()]:
        return ()

    def step(params: EmbedParams, state: tuple[()], x: Array) -> tuple[tuple[()], Array]:
        check_symbols(x)
        x = x.astype(int)  # V may be beyond a narrow dtype
        x = jnp.where(x < 0, vocabulary_size, x)  # a negative index would count from the end
        spec = jax.typeof(x).sharding.spec  # on an Explicit mesh a lookup must say where to
        place = jax.P(*spec, None) if any(spec) else None
        return (), params.table.at[x].get(mode="fill", fill_value=jnp.nan, out_sharding=place)

    def check_symbols(x: Any) -> None:
        if not jnp.issubdtype(getattr(x, "dtype", type(None)), jnp.integer):
            got = getattr(x, "dtype", repr(x))
            raise TypeError(
                f"{name} needs integer symbols as xs, got {got}: pass integer ids; to init, "
                "rnnjax.tokens()"
            )

    return Cell(name=name, init=init_params, initial_state=initial_state, step=step, x_ndims=0)
