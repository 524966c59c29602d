"""What the forms of feedback share: a cell that is given its last output beside its input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Params, PyTree, as_spec, parted
from rnnjax._combine._noise import noisy
from rnnjax._dtypes import at_least_float32, is_floating
from rnnjax._factory import one_of
from rnnjax._noise import fold_in

Feed = Annotated[str, one_of("output", "argmax", "sample")]


class FeedbackState(NamedTuple):
    """State of `feedback`, `teacher_forcing` and `scheduled_sampling`.

    Attributes:
      cell: the state of the cell inside.
      y: what is fed back, [*B, size]: zeros before the first step.
    """

    cell: Any
    y: Array


def looped(
    cell: Cell,
    name: str,
    size: int,
    feed: str,
    *,
    paired: bool,
    fed: Callable[[Array | None, Any, Array, Any], Array],
    rate: Any,
) -> Cell:
    """The cell with f_t beside x_t, where f_t = fed(keys, rates, y_{t-1}, target d_t).

    Args:
      cell: a cell of floating vectors, with outputs [*B, size].
      name: the new cell's name.
      size: how many features the output has.
      feed: what of the output is fed back.
      paired: whether inputs are pairs (x_t, d_t); else there is no d_t.
      fed: what is fed.
      rate: what `fed` is given as rates.
    """

    def parts(x: PyTree) -> tuple[Any, Any]:
        if not paired:
            return x, None
        if isinstance(x, tuple) and len(x) == 2:
            return x
        raise TypeError(f"{name} needs pairs (x_t, d_t), d_t the target, got {type(x).__name__}")

    def init_params(key: Array, x_spec: PyTree) -> Params:
        x, _ = parts(as_spec(x_spec))
        if x is not None and (not hasattr(x, "shape") or len(x.shape) != 1):
            raise TypeError(f"{name} needs vectors as inputs, or None, got x_spec {x}")
        features, dtype = (0, float) if x is None else (x.shape[0], x.dtype)
        return cell.init(key, jax.ShapeDtypeStruct((features + size,), dtype))

    def initial_state(
        params: Params, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> FeedbackState:
        state = cell.initial_state(params, batch_shape, key=key)
        numbers = filter(is_floating, jax.tree.leaves((parted(state)[0], params)))
        dtype = next((leaf.dtype for leaf in numbers), float)
        return FeedbackState(state, jnp.zeros((*batch_shape, size), dtype))

    def step(
        key: Array | None, rate: Any, params: Params, state: FeedbackState, x: PyTree
    ) -> tuple[FeedbackState, Array]:
        x, target = parts(x)
        f = fed(key, rate, state.y, target)
        x = f if x is None else jnp.concatenate([x, f.astype(x.dtype)], axis=-1)
        new, y = cell.step(params, state.cell, x)
        if y.shape != f.shape:
            raise ValueError(
                f"{name}: {cell.name} gives outputs of shape {list(y.shape)}, expected "
                f"{list(f.shape)}: pass size={y.shape[-1]}"
            )
        return FeedbackState(new, chosen(key, y).astype(f.dtype)), y

    def chosen(key: Array | None, y: Array) -> Array:
        if feed == "output":
            return y
        index = y.argmax(-1)
        if feed == "sample" and key is not None:
            sample = jnp.vectorize(jax.random.categorical, signature="(),(k)->()")
            index = sample(fold_in(key, 1), y.astype(at_least_float32(y.dtype)))
        return jax.nn.one_hot(index, size, dtype=y.dtype)

    inner = cell.output_of
    joined = dataclasses.replace(
        cell,
        init=init_params,
        initial_state=initial_state,
        x_ndims=(1, 1) if paired else 1,
        output_of=None if inner is None else lambda state: inner(state.cell),
        fill=(cell.fill, 0.0) if paired else cell.fill,
    )
    return noisy(joined, name, step, rate=rate, fresh=True)
