"""Truncated back-propagation through time, for any loss and sequences of any length."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._dtypes import at_least_float32
from rnnjax._factory import natural, one_of
from rnnjax.train.step import Loss

Array = jax.Array
PyTree = Any


def truncated(
    loss: Loss,
    window: int,
    back: int | None = None,
    *,
    time_axes: PyTree = 0,
    reduce: str = "mean",
) -> Loss:
    """Cuts a loss over a long batch into windows: BPTT(k1, k2).

    After every k1 steps the loss of these steps is propagated back through k2 steps, the k1 and the
    k2 - k1 before them, and no further. The gradient is the sum over all windows. It is made on the
    way forward and each window's past is forgotten, so memory does not grow with T beyond the batch
    itself. With k1 = T, or k2 >= T whatever k1, it is back-propagation through all of time.

        θ' = Σ_w ∂ loss(θ, s_w, window w) / ∂θ,   s_w carried there from step start_w - (k2 - k1)

    Where k2 > k1, the state k2 - k1 steps before each window is kept besides, and the steps between
    run again with a gradient, their own loss not counted: k1 + k2 steps a window. The key of a
    window is folded from its number; where k1 divides k2, what runs again has the noise it had.

    Gradients reach `params` alone: those of `carried`, of the batch, and of what comes out besides
    the value are zero, and there is no forward mode. What the loss closes over must be constant.

    Args:
      loss: (params, carried, batch, key) -> (value, (carried, metrics)), for a batch of any number
        of steps; a new `carried` is of the type of the one that came.
      window: k1.
      back: k2, at least k1; None for k1.
      time_axes: where time is in each leaf of the batch: a tree prefix as `in_axes` of `jax.vmap`.
        A leaf without time (None) is given to every window as it is: so what is to happen once,
        such as a new start, has to be done to `carried` before, or be said step by step (resets).
      reduce: whether the value is the "mean" of the windows' values, each weighted by its steps,
        which are fewer in the last where k1 does not divide T, or their "sum". Metrics are means.

    Returns:
      A loss of the same signature. Equal arguments give equal losses, so a step compiles once.

    Raises:
      TypeError, ValueError: `loss` is no function, a length is not a positive int, k2 < k1, or
        `reduce` is neither; and when called: the leaves disagree on T, there is no step, or
        `carried` comes back as another type.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from rnnjax.train import truncated
      >>> def loss(decay, state, xs, key):  # s_t = decay s_{t-1} + x_t
      ...     state, ss = jax.lax.scan(lambda s, x: (decay * s + x,) * 2, state, xs)
      ...     return ss.mean(), (state, {})
      >>> def slope(loss):
      ...     return jax.grad(lambda d: loss(d, 0.0, jnp.ones(6), jax.random.key(0))[0])(0.5)
      >>> [round(float(slope(f)), 3) for f in (loss, truncated(loss, 2), truncated(loss, 2, 6))]
      [2.094, 1.625, 2.094]

    Reference:
      Williams & Peng, An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent
      Network Trajectories, Neural Computation 2(4), 1990.
    """
    if not callable(loss):
        raise TypeError(f"loss must be a function (params, carried, batch, key), got {loss!r}")
    window = natural("window", window, least=1)
    back = window if back is None else natural("back", back, least=1)
    if back < window:
        raise ValueError(f"back must be at least window = {window}, got {back}")
    summed = one_of("mean", "sum")("reduce", reduce) == "sum"
    axes, tree = jax.tree.flatten(time_axes, is_leaf=lambda axis: axis is None)
    return _Truncated(loss, window, back - window, tuple(axes), tree, summed)


@dataclasses.dataclass(frozen=True)
class _Truncated:
    """The arguments of `truncated`, as the function they make."""

    loss: Loss
    window: int
    before: int
    axes: tuple[int | None, ...]
    tree: Any
    summed: bool

    def __call__(
        self, params: PyTree, carried: PyTree, batch: PyTree, key: Array
    ) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
        arrays = jax.tree.map(jnp.asarray, (params, carried, batch))
        return _swept(self, *arrays, key)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _swept(
    of: _Truncated, params: PyTree, carried: PyTree, batch: PyTree, key: Array
) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
    return _sweep(of, params, carried, batch, key, with_gradient=False)[0]


def _forward(
    of: _Truncated, params: PyTree, carried: PyTree, batch: PyTree, key: Array
) -> tuple[Any, PyTree]:
    return _sweep(of, params, carried, batch, key, with_gradient=True)


def _backward(of: _Truncated, gradient: PyTree, cotangents: Any) -> tuple[PyTree, None, None, None]:
    scale = cotangents[0]
    return jax.tree.map(lambda g: g * scale.astype(g.dtype), gradient), None, None, None


_swept.defvjp(_forward, _backward)


class _Sweep(NamedTuple):
    """What passes from window to window.

    Attributes:
      carried: the state behind the last window.
      lagging: the state k2 - k1 steps before the next one; () where that is the same.
      gradient: the sum so far.
    """

    carried: PyTree
    lagging: PyTree
    gradient: PyTree


def _sweep(
    of: _Truncated,
    params: PyTree,
    carried: PyTree,
    batch: PyTree,
    key: Array,
    *,
    with_gradient: bool,
) -> tuple[tuple[Array, tuple[PyTree, dict[str, Array]]], PyTree]:
    """((value, (carried, metrics)), the gradient with respect to params, or ())."""
    axes = _axes(of, batch)
    steps = _steps(batch, axes)
    length = min(of.window, steps)
    # The k2 - k1 steps before a window, as far as there are any before the last one, are some whole
    # windows and before these a rest.
    before = min(of.before, (steps - 1) // length * length)
    whole, rest = divmod(before, length)

    def piece(params: PyTree, carried: PyTree, index: Any, start: Any, size: int) -> Any:
        """The loss of `size` steps, with the key of window `index`."""
        part = jax.tree.map(
            lambda leaf, axis: (
                leaf if axis < 0 else jax.lax.dynamic_slice_in_dim(leaf, start, size, axis)
            ),
            batch,
            axes,
        )
        value, (new, metrics) = of.loss(params, carried, part, jax.random.fold_in(key, index))
        _check_type(carried, new)
        return value, (new, metrics)

    def advanced(params: PyTree, carried: PyTree, index: Any, start: Any, size: int) -> PyTree:
        """The state `size` steps on; as it is where these would lie before the batch."""
        if not size:
            return carried
        return jax.lax.cond(
            start >= 0,
            lambda state: piece(params, state, index, start, size)[1][0],
            lambda state: state,
            carried,
        )

    def window(sweep: _Sweep, index: Any, size: int) -> tuple[_Sweep, tuple[Array, Any]]:
        first = index - whole
        begin = first * length

        def loss(params: PyTree) -> tuple[Array, Any]:
            state = sweep.carried
            if before:
                state = advanced(params, sweep.lagging, first - 1, begin - rest, rest)
                state = jax.lax.fori_loop(
                    0,
                    whole,
                    lambda j, state: advanced(
                        params, state, first + j, (first + j) * length, length
                    ),
                    state,
                )
            return piece(params, state, index, index * length, size)

        if with_gradient:
            (value, (new, metrics)), gradient = jax.value_and_grad(loss, has_aux=True)(params)
            share = 1.0 if of.summed else size / steps
            gradient = jax.tree.map(
                lambda total, g: total + share * g.astype(total.dtype), sweep.gradient, gradient
            )
        else:
            (value, (new, metrics)), gradient = loss(params), ()
        lagging = sweep.lagging
        if before:
            lagging = advanced(params, lagging, first - 1, begin - rest, rest)
            lagging = advanced(params, lagging, first, begin, length - rest)
        return _Sweep(new, lagging, gradient), (value, metrics)

    zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, at_least_float32(p.dtype)), params)
    sweep = _Sweep(carried, carried if before else (), zeros if with_gradient else ())
    reported = []
    count, left = divmod(steps, length)
    if count:
        sweep, each = jax.lax.scan(
            lambda sweep, index: window(sweep, index, length), sweep, jnp.arange(count)
        )
        reported.append(each)
    if left:
        sweep, last = window(sweep, jnp.asarray(count), left)
        reported.append(jax.tree.map(lambda x: jnp.asarray(x)[None], last))
    values, metrics = jax.tree.map(lambda *parts: jnp.concatenate(parts), *reported)

    def mean(each: Array) -> Array:
        each = each if jnp.issubdtype(each.dtype, jnp.floating) else each.astype(float)
        wide = each.astype(at_least_float32(each.dtype))
        total = wide[:count].sum() * length + wide[count:].sum() * left
        return (total / steps).astype(each.dtype)

    value = values.sum() if of.summed else mean(values)
    of_params = params if with_gradient else ()
    gradient = jax.tree.map(lambda g, p: g.astype(p.dtype), sweep.gradient, of_params)
    return (value, (sweep.carried, jax.tree.map(mean, metrics))), gradient


def _axes(of: _Truncated, batch: PyTree) -> PyTree:
    """The axis of time in each leaf of a batch, -1 for none."""
    for axis in of.axes:
        if axis is not None:
            natural("time_axes", axis)
    prefix = of.tree.unflatten([-1 if axis is None else axis for axis in of.axes])
    try:
        return jax.tree.broadcast(prefix, batch)
    except ValueError:
        raise ValueError(
            f"time_axes has the tree {of.tree}, which is no prefix of the batch's, "
            f"{jax.tree.structure(batch)}"
        ) from None


def _steps(batch: PyTree, axes: PyTree) -> int:
    """T, which all leaves with time must have."""
    found = {}
    for (path, leaf), axis in zip(
        jax.tree.leaves_with_path(batch), jax.tree.leaves(axes), strict=True
    ):
        if axis >= jnp.ndim(leaf):
            raise ValueError(
                f"batch{jax.tree_util.keystr(path)} has shape {list(jnp.shape(leaf))}, without an "
                f"axis {axis} for time: say so by time_axes, None for a leaf without time"
            )
        if axis >= 0:
            found[f"batch{jax.tree_util.keystr(path)}"] = jnp.shape(leaf)[axis]
    if len(set(found.values())) > 1:
        told = ", ".join(f"{name} has {steps}" for name, steps in found.items())
        raise ValueError(f"all leaves need as many steps: {told}; see time_axes")
    if not found or not min(found.values()):
        raise ValueError(f"a batch needs at least one leaf with steps, got {found or 'none'}")
    return min(found.values())


def _check_type(old: PyTree, new: PyTree) -> None:
    """Raises ValueError unless a loss returns `carried` as it came."""

    def kind(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x: f"{jnp.result_type(x)}{list(jnp.shape(x))}", tree)

    if kind(old) != kind(new):
        raise ValueError(f"loss must return carried as it came: {kind(old)}, got {kind(new)}")
