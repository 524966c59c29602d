"""A cell that sees its own last output."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import (
    Array,
    Cell,
    Params,
    PyTree,
    Size,
    as_spec,
    at_least_float32,
    cell_factory,
    draw,
    fold_in,
    one_of,
)
from rnnjax._combine._common import Inner, is_floating, probability
from rnnjax._combine._noise import noisy


class FeedbackState(NamedTuple):
    """State of `feedback`.

    Attributes:
      cell: the state of the cell inside.
      y: what is fed back, [*B, size]: zeros before the first step.
    """

    cell: Any
    y: Array


@cell_factory
def feedback(
    cell: Inner,
    size: Size,
    *,
    forcing: Annotated[float, probability] = 0.0,
    feed: Annotated[str, one_of("output", "argmax", "sample")] = "output",
) -> Cell:
    """Joins a cell's last output to its input.

        f_t = y_{t-1}                         free running, forcing=0; f_1 = 0
        f_t = d_t                             teacher forcing, forcing=1: the input is (x_t, d_t)
        f_t = d_t with probability forcing,   scheduled sampling, by the row's key and t
              else y_{t-1}
        s_t, y_t = cell(s_{t-1}, [x_t, f_t])

    d_t is what y_{t-1} should have been, so the targets shifted by one step. With 0 < forcing < 1
    a state without a key runs freely. The parameters do not depend on `forcing` or `feed`: both may
    change as training goes on. The step takes None for x_t too; then f_t alone is the input.

    Args:
      cell: a cell of floating vectors, with outputs [*B, size].
      size: how many features the output has.
      forcing: the probability of feeding the true output, in [0, 1].
      feed: what of y_{t-1} is fed back: the "output" itself, or, where it is logits, a one-hot
        vector of the "argmax", or of a "sample" by the row's key (the argmax without a key).

    Returns:
      A Cell with the cell's parameters, whose `NoisyState` holds a `FeedbackState`.

    Raises:
      TypeError: an argument is of the wrong type; or, with `forcing`, an input is no pair.
      ValueError: an argument is out of range; or, in a step, the output is not [*B, size].

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> inner = rnnjax.stack(rnnjax.gru(8), rnnjax.linear(2))
      >>> teacher, free = rnnjax.feedback(inner, 2, forcing=1), rnnjax.feedback(inner, 2)
      >>> params = free.init(jax.random.key(0), 3)
      >>> _, ys = rnnjax.unroll(teacher, params, None, (jnp.ones((5, 4, 3)), jnp.ones((5, 4, 2))))
      >>> _, zs = rnnjax.unroll(free, params, None, jnp.ones((5, 4, 3)))
      >>> ys.shape, zs.shape
      ((5, 4, 2), (5, 4, 2))

    Reference:
      Williams & Zipser, A Learning Algorithm for Continually Running Fully Recurrent Neural
      Networks, Neural Computation 1(2), 1989; Bengio et al., Scheduled Sampling, NeurIPS 2015,
      arXiv:1506.03099.
    """
    options = [f"{forcing}"] * (forcing > 0) + [feed] * (feed != "output")
    name = f"feedback({', '.join([cell.name, str(size), *options])})"

    def init_params(key: Array, x_spec: PyTree) -> Params:
        x, _ = pair(as_spec(x_spec))
        if x is not None and (not hasattr(x, "shape") or len(x.shape) != 1):
            raise TypeError(f"{name} needs vectors as inputs, or None, got x_spec {x}")
        features, dtype = (0, float) if x is None else (x.shape[0], x.dtype)
        return cell.init(key, jax.ShapeDtypeStruct((features + size,), dtype))

    def initial_state(
        params: Params, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> FeedbackState:
        state = cell.initial_state(params, batch_shape, key=key)
        dtypes = [leaf.dtype for leaf in jax.tree.leaves((state, params)) if is_floating(leaf)]
        return FeedbackState(state, jnp.zeros((*batch_shape, size), dtypes[0] if dtypes else float))

    def step(
        key: Array | None, params: Params, state: FeedbackState, x: PyTree
    ) -> tuple[FeedbackState, Array]:
        (x, target), fed = pair(x), state.y
        if target is not None and forcing == 1:
            fed = target.astype(fed.dtype)
        elif target is not None and key is not None:
            told = draw(fold_in(key, 0), forcing, ())
            fed = jnp.where(told[..., None], target.astype(fed.dtype), fed)
        x = fed if x is None else jnp.concatenate([x, fed.astype(x.dtype)], axis=-1)
        new, y = cell.step(params, state.cell, x)
        if y.shape != fed.shape:
            raise ValueError(
                f"{name}: {cell.name} gives outputs of shape {list(y.shape)}, expected "
                f"{list(fed.shape)}: pass size={y.shape[-1]}"
            )
        return FeedbackState(new, chosen(key, y).astype(fed.dtype)), y

    def pair(x: PyTree) -> tuple[Any, Any]:
        if not forcing:
            return x, None
        if isinstance(x, tuple) and len(x) == 2:
            return x
        raise TypeError(f"{name} needs pairs (x_t, d_t), d_t the target, got {type(x).__name__}")

    def chosen(key: Array | None, y: Array) -> Array:
        if feed == "output":
            return y
        index = y.argmax(-1)
        if feed == "sample" and key is not None:
            sample = jnp.vectorize(jax.random.categorical, signature="(),(k)->()")
            index = sample(fold_in(key, 1), y.astype(at_least_float32(y.dtype)))
        return jax.nn.one_hot(index, size, dtype=y.dtype)

    inner = cell.output_of
    looped = dataclasses.replace(
        cell,
        init=init_params,
        initial_state=initial_state,
        x_ndims=(1, 1) if forcing else 1,
        output_of=None if inner is None else lambda state: inner(state.cell),
        fill=(cell.fill, 0.0) if forcing else cell.fill,
    )
    return noisy(looped, name, step, fresh=True)
