"""The landscape of a loss: slices of it, and the path that an optimizer takes there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnjax._cell import Array, PyTree
from rnnjax._factory import natural
from rnnjax.diagnostics._steps import compiled, floating, is_floating, real_numbers


class Slice(NamedTuple):
    """A loss along one or two directions.

    Attributes:
      at: where along each direction, [n] each.
      values: the loss there, [n] or [n_1, n_2].
    """

    at: tuple[np.ndarray, ...]
    values: Array


class Descent(NamedTuple):
    """The path of an optimizer: before each of n steps, and after the last.

    Attributes:
      params: where it was, leaves [n + 1, ...].
      loss: there, [n + 1].
      norm: of the gradient there, before clipping, [n + 1].
    """

    params: PyTree
    loss: np.ndarray
    norm: np.ndarray


def random_direction(key: Array, params: PyTree) -> PyTree:
    """A random direction, normalised filter by filter.

        d_f <- d_f |θ_f| / |d_f|            of each unit f, the weights that lead into it

    so that a step is as large beside the weights of a small unit as beside those of a large one,
    and slices of different networks can be compared. Weights lead into the unit of their last axis.
    What has fewer than two axes, as biases, does not move; nor do integers.

    Args:
      key: what it is drawn by.
      params: the parameters.

    Returns:
      A tree like `params`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from rnnjax.diagnostics import random_direction
      >>> params = {"w": jnp.ones((3, 2)).at[:, 1].set(10), "b": jnp.ones(2)}
      >>> along = random_direction(jax.random.key(0), params)
      >>> print(jnp.linalg.norm(along["w"], axis=0).round(2), along["b"])
      [ 1.73 17.32] [0. 0.]

    Reference:
      Li, Xu, Taylor, Studer & Goldstein, Visualizing the Loss Landscape of Neural Nets, NeurIPS
      2018, arXiv:1712.09913.
    """
    leaves, tree = jax.tree.flatten(_numbers(params))

    def drawn(key: Array, weight: Array) -> Array:
        if jnp.ndim(weight) < 2 or not is_floating(weight):
            return jnp.zeros_like(weight)
        along = jax.random.normal(key, weight.shape, weight.dtype)
        axes = tuple(range(weight.ndim - 1))
        sizes = (jnp.sqrt(jnp.square(jnp.abs(a)).sum(axes, keepdims=True)) for a in (weight, along))
        wanted, found = sizes
        return along * (wanted / found)

    keys = jax.random.split(key, len(leaves))
    return tree.unflatten(
        [drawn(k, w) if hasattr(w, "dtype") else w for k, w in zip(keys, leaves, strict=True)]
    )


def loss_slice(
    loss: Callable[[PyTree], Array],
    params: PyTree,
    directions: Sequence[PyTree],
    at: Any = None,
    *,
    rows: int = 16,
) -> Slice:
    """A loss along one direction, or on the plane of two.

        L(θ + α d)        L(θ + α d + β e)

    Args:
      loss: from parameters to a scalar. It is compiled once, as `unroll` does with a step, where
        all that it reads besides them can be known; bind what may change, such as a batch, with
        `functools.partial`, or close over it as a JAX array.
      params: θ, where α and β are 0; its real and complex numbers move, all else stays.
      directions: d, or d and e: trees like `params`, such as `random_direction` draws, or the
        difference of two networks.
      at: α, and β: numbers [n], the same for both, or a pair of them; by default 51 from -1 to 1.
      rows: how many places are looked at side by side.

    Returns:
      A `Slice`.

    Raises:
      TypeError: the loss is not one real number.
      ValueError: there are not one or two directions, they are not like `params`, or `at` is not
        one or two rows of numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax.diagnostics import loss_slice
      >>> bowl = lambda θ: jnp.sum(θ**2)
      >>> print(loss_slice(bowl, jnp.zeros(2), [jnp.array([1.0, 0.0])], [-1.0, 0.0, 2.0]).values)
      [1. 0. 4.]
    """
    params, *directions = _numbers([params, *directions])
    if len(directions) not in (1, 2):
        raise ValueError(f"directions must be one or two trees, got {len(directions)}")
    for n, along in enumerate(directions):
        shapes, wanted = (
            [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)] for tree in (along, params)
        )
        if jax.tree.structure(along) != jax.tree.structure(params) or shapes != wanted:
            raise ValueError(f"directions[{n}] has leaves {shapes}, expected those of params")
    at = np.linspace(-1, 1, 51) if at is None else at
    given = at if isinstance(at, tuple) else (at,) * len(directions)
    axes = tuple(np.asarray(numbers, float) for numbers in given)
    if len(axes) != len(directions) or any(numbers.ndim != 1 for numbers in axes):
        raise ValueError(
            f"at must be numbers [n], or a tuple of such, one for each of {len(directions)} "
            f"directions, got {at!r}: pass a list for the same numbers along each"
        )
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    flat = jnp.asarray(places.reshape(-1, len(axes)), jnp.result_type(float))
    given = [floating(along)[0] for along in directions]
    values = compiled(_values, loss, params, (rows,), given, flat)
    return Slice(axes, values.reshape(places.shape[:-1]))


def _values(
    loss: Callable[[PyTree], Array], params: PyTree, told: tuple, directions: Any, places: Array
) -> Array:
    """The loss at places along directions, [n]."""
    start, whole = floating(params)

    def there(place: Array) -> Array:
        def moved(leaf: Array, *along: Array) -> Array:
            return sum((place[n].astype(d.dtype) * d for n, d in enumerate(along)), leaf)

        found = loss(whole([moved(*leaves) for leaves in zip(start, *directions, strict=True)]))
        return real_numbers("loss", found, one=True)

    return jax.lax.map(there, places, batch_size=told[0])


def _numbers(tree: PyTree) -> PyTree:
    """The tree, with Python's own floats as arrays."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, float) else leaf, tree)


def descent(
    loss: Callable[[PyTree], Array],
    params: PyTree,
    optimizer: optax.GradientTransformation,
    steps: int,
) -> Descent:
    """The path of an optimizer on a loss, by the steps that training takes.

    Args:
      loss: from parameters to a scalar.
      params: where it begins; its real and complex numbers move, all else stays.
      optimizer: an optax transformation, such as `rnnjax.train.optimizer` gives.
      steps: how many it takes.

    Returns:
      A `Descent`.

    Raises:
      TypeError: the loss is not one real number.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from rnnjax.diagnostics import descent
      >>> print(descent(lambda x: x**2, jnp.array(1.0), optax.sgd(0.25), 2).params)
      [1.   0.5  0.25]
    """
    from rnnjax.train.step import init_train_state, make_train_step

    start, whole = floating(_numbers(params))

    def as_trained(params: PyTree, carried: PyTree, batch: PyTree, key: Array) -> Any:
        return real_numbers("loss", loss(whole(params)), one=True), (carried, {})

    step = make_train_step(as_trained, optimizer)
    state = init_train_state(start, optimizer, jax.random.key(0))
    path = []
    for _ in range(natural("steps", steps) + 1):
        here = jax.tree.map(np.array, whole(state.params))  # a step gives its buffers away
        state, metrics = step(state, ())
        path.append((here, metrics.loss, metrics.grad_norm))
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *path)
    return Descent(*stacked)


def plot_loss_slice(axes: Any, found: Slice, levels: int = 20) -> None:
    """Draws a loss along one direction, or the contours of it on the plane of two.

    Args:
      axes: matplotlib's axes to draw on.
      found: what `loss_slice` returned.
      levels: how many contours there are; the loss stands on some of them.
    """
    axes.set_xlabel("along the first direction")
    if len(found.at) == 1:
        axes.plot(found.at[0], found.values)
        axes.set_ylabel("loss")
        return
    lines = axes.contour(*found.at, found.values.T, levels, cmap="cividis")
    axes.clabel(lines, fontsize=7)
    axes.plot(0, 0, "k+", markersize=12)
    axes.set_ylabel("along the second direction")
