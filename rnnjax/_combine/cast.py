"""Mixed precision around a cell."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Params, PyTree, State, as_spec
from rnnjax._combine._common import Inner
from rnnjax._dtypes import at_least_float32, map_floats
from rnnjax._factory import cell_factory


def _dtypes(what: str, value: Any) -> Any:
    def dtype(leaf: Any) -> Any:
        try:
            found = jnp.dtype(leaf)
        except TypeError:
            found = None
        if found is None or not jnp.issubdtype(found, jnp.floating):
            raise TypeError(f"{what} must be a floating dtype, such as 'bfloat16', got {leaf!r}")
        return found

    return jax.tree.map(dtype, value)


Dtypes = Annotated[Any, _dtypes]  # None stays None


@cell_factory
def cast(cell: Inner, compute: Dtypes, *, params: Dtypes = None, state: Dtypes = None) -> Cell:
    """Runs a cell in mixed precision: stored parameters, products and state of their own dtypes.

        products        operands rounded to `compute`, sums in float32 or better
        all the rest    in float32, or in `compute` where that is wider
        s_t             rounded to `state`
        y_t             output_of(s_t), or rounded to `compute` where that is not declared

    So gates are added and squashed in float32, an LSTM's memory can be kept in float32 beside a
    bfloat16 h, and the weights are rounded once, outside the loop. Gradients have the dtype of
    what is stored. Products inside a cell's own `cond`, `while`, `scan` or custom derivative are
    done in float32.

    Args:
      cell: the cell.
      compute: the dtype products read, such as "bfloat16".
      params: the dtype in which `init` gives the parameters; None for float32, or
        `compute` where that is wider. A step takes parameters of any dtype.
      state: the dtype of the state's floating leaves, one or a pytree prefix of the state, such
        as `LSTMState(h="bfloat16", c="float32")`; None for `compute`.

    Returns:
      A Cell with the cell's parameters and state, of these dtypes.

    Raises:
      TypeError: `cell` is not a Cell, or a dtype is not floating; or, in `initial_state`, `state`
        is no prefix of the state.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> dtypes = rnnjax.LSTMState(h="bfloat16", c="float32")
      >>> cell = rnnjax.cast(rnnjax.lstm(4), "bfloat16", state=dtypes)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> state, ys = rnnjax.unroll(cell, params, None, jnp.ones((5, 2, 3)))
      >>> params.w_h.dtype.name, ys.dtype.name, state.c.dtype.name
      ('float32', 'bfloat16', 'float32')

    Reference:
      Micikevicius et al., Mixed Precision Training, ICLR 2018, arXiv:1710.03740.
    """
    if not isinstance(compute, jnp.dtype):
        raise TypeError(f"cast: compute must be one floating dtype, got {compute!r}")
    wide, stored, kept = at_least_float32(compute), params, compute if state is None else state
    name = f"cast({cell.name}, {compute.name})"

    def widened(tree: PyTree) -> PyTree:
        return map_floats(lambda a: a.astype(wide), tree)

    def init_params(key: Array, x_spec: PyTree) -> Params:
        spec = map_floats(
            lambda a: jax.ShapeDtypeStruct(a.shape, wide),
            as_spec(x_spec),
        )
        drawn = cell.init(key, spec)
        return drawn if stored is None else map_floats(lambda a: a.astype(stored), drawn)

    def as_kept(tree: State) -> State:
        try:
            dtypes = jax.tree.broadcast(kept, tree)
        except ValueError:
            raise TypeError(
                f"{name}: state has the tree {jax.tree.structure(kept)}, which is no prefix of "
                f"the cell's: {jax.tree.structure(tree)}"
            ) from None
        return map_floats(lambda a, dtype: a.astype(dtype), tree, dtypes)

    def initial_state(
        params: Params, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> State:
        return as_kept(cell.initial_state(widened(params), batch_shape, key=key))

    def step(params: Params, state: State, x: PyTree) -> tuple[State, PyTree]:
        # Here, since it reads JAX's programs as the compiler does, which a new JAX may write anew.
        from rnnjax._combine._precision import in_precision

        new, y = in_precision(cell.step, compute, wide)(params, state, x)
        new = as_kept(new)
        if cell.output_of is not None:
            return new, cell.output_of(new)
        return new, map_floats(lambda a: a.astype(compute), y)

    return dataclasses.replace(
        cell, name=name, init=init_params, initial_state=initial_state, step=step
    )
