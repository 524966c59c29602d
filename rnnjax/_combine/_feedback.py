"""What the forms of feedback share: a cell that is given its last output beside its input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Params, PyTree, as_spec, parted, tokens
from rnnjax._combine._noise import noisy
from rnnjax._dtypes import at_least_float32, is_floating
from rnnjax._factory import natural, one_of
from rnnjax._noise import fold_in

Feed = Annotated[str, one_of("output", "argmax", "sample")]
Symbol = Annotated[int, natural]


class FeedbackState(NamedTuple):
    """State of `feedback`, `teacher_forcing` and `scheduled_sampling`.

    Attributes:
      cell: the state of the cell inside.
      y: what is fed back, [*B, size]: zeros before the first step. To a cell of symbols, one of
        them, int32 [*B]: -1 before the first step.
    """

    cell: Any
    y: Array


def looped(
    cell: Cell,
    name: str,
    size: int,
    feed: str,
    *,
    first: int = 0,
    paired: bool,
    fed: Callable[[Array | None, Any, Array, Any], Array],
    rate: Any,
) -> Cell:
    """The cell with f_t beside x_t, where f_t = fed(keys, rates, y_{t-1}, target d_t).

    A cell of symbols (`x_ndims` 0) gets f_t alone, a symbol of its logits or d_t.

    Args:
      cell: a cell of floating vectors, with outputs [*B, size], or of symbols, with logits.
      name: the new cell's name.
      size: how many features the output has.
      feed: what of the output is fed back.
      first: the symbol before any was put out, where there is no target.
      paired: whether inputs are pairs (x_t, d_t); else there is no d_t.
      fed: what is fed.
      rate: what `fed` is given as rates.
    """
    symbols = cell.x_ndims == 0
    if symbols and feed == "output":
        raise TypeError(
            f"{name}: {cell.name} takes symbols, but puts logits out: pass feed='argmax' or "
            "feed='sample'"
        )
    if first >= size or (first and not symbols):
        raise ValueError(
            f"{name}: first must be one of the {size} symbols of a cell that takes symbols, got "
            f"{first}"
        )

    def parts(x: PyTree) -> tuple[Any, Any]:
        if symbols:
            if (x is None) == paired:
                wanted = "the symbols d_t" if paired else "None, with length=T,"
                raise TypeError(f"{name} needs {wanted} as xs, got {type(x).__name__}")
            return None, x
        if not paired:
            return x, None
        if isinstance(x, tuple) and len(x) == 2:
            return x
        raise TypeError(f"{name} needs pairs (x_t, d_t), d_t the target, got {type(x).__name__}")

    def init_params(key: Array, x_spec: PyTree) -> Params:
        if symbols:
            return cell.init(key, tokens() if x_spec is None else x_spec)
        x, _ = parts(as_spec(x_spec))
        if x is not None and (not hasattr(x, "shape") or len(x.shape) != 1):
            raise TypeError(f"{name} needs vectors as inputs, or None, got x_spec {x}")
        features, dtype = (0, float) if x is None else (x.shape[0], x.dtype)
        return cell.init(key, jax.ShapeDtypeStruct((features + size,), dtype))

    def initial_state(
        params: Params, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> FeedbackState:
        state = cell.initial_state(params, batch_shape, key=key)
        if symbols:
            return FeedbackState(state, jnp.full(batch_shape, -1, jnp.int32))
        numbers = filter(is_floating, jax.tree.leaves((parted(state)[0], params)))
        dtype = next((leaf.dtype for leaf in numbers), float)
        return FeedbackState(state, jnp.zeros((*batch_shape, size), dtype))

    def step(
        key: Array | None, rate: Any, params: Params, state: FeedbackState, x: PyTree
    ) -> tuple[FeedbackState, Array]:
        x, target = parts(x)
        last = state.y
        if symbols:
            target = None if target is None else target.astype(last.dtype)
            last = jnp.where(last < 0, first if target is None else target, last)
        f = fed(key, rate, last, target)
        x = f if x is None else jnp.concatenate([x, f.astype(x.dtype)], axis=-1)
        new, y = cell.step(params, state.cell, x)
        expected = (*f.shape, size) if symbols else f.shape
        if y.shape != expected:
            raise ValueError(
                f"{name}: {cell.name} gives outputs of shape {list(y.shape)}, expected "
                f"{list(expected)}: pass size={y.shape[-1]}"
            )
        return FeedbackState(new, chosen(key, y).astype(f.dtype)), y

    def chosen(key: Array | None, y: Array) -> Array:
        if feed == "output":
            return y
        index = y.argmax(-1)
        if feed == "sample" and key is not None:
            sample = jnp.vectorize(jax.random.categorical, signature="(),(k)->()")
            index = sample(fold_in(key, 1), y.astype(at_least_float32(y.dtype)))
        return index if symbols else jax.nn.one_hot(index, size, dtype=y.dtype)

    inner = cell.output_of
    joined = dataclasses.replace(
        cell,
        init=init_params,
        initial_state=initial_state,
        x_ndims=0 if symbols else (1, 1) if paired else 1,
        output_of=None if inner is None else lambda state: inner(state.cell),
        fill=(cell.fill, 0.0) if paired and not symbols else cell.fill,
    )
    return noisy(joined, name, step, rate=rate, fresh=True)
