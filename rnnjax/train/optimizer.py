"""Optimizers by name, behind a clip of the global norm that is safe at any scale."""

from __future__ import annotations

import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnjax._dtypes import at_least_float32
from rnnjax._factory import non_negative

Array = jax.Array
PyTree = Any

OPTIMIZERS = {
    "sgd": optax.sgd,
    "momentum": lambda learning_rate: optax.sgd(learning_rate, momentum=0.9),
    "rmsprop": optax.rmsprop,
    "adam": optax.adam,
    "adamw": optax.adamw,
    "adagrad": optax.adagrad,
}


def optimizer(
    name: str,
    learning_rate: optax.ScalarOrSchedule,
    clip_norm: float | None = None,
    clip_value: float | None = None,
) -> optax.GradientTransformation:
    """An optimizer by name, after clipping entry by entry, then by global norm.

    Args:
      name: "sgd", "momentum" (0.9), "rmsprop", "adam", "adamw" or "adagrad".
      learning_rate: a number, or an optax schedule over update steps.
      clip_norm: the largest global norm of the gradient; None or 0 does not clip.
      clip_value: the largest magnitude of an entry of the gradient; None or 0 does not clip.

    Returns:
      An optax gradient transformation.

    Raises:
      ValueError: `name` is unknown, or a threshold is negative or not finite.
      TypeError: `learning_rate` is neither a number nor a schedule, or a threshold no number.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax.train import optimizer
      >>> sgd = optimizer("sgd", 1.0, clip_norm=1.0)
      >>> updates, _ = sgd.update(jnp.array([3.0, 4.0]), sgd.init(jnp.zeros(2)))
      >>> print(updates)
      [-0.6 -0.8]
    """
    if not isinstance(name, str) or name not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {name!r}")
    scalar = isinstance(learning_rate, numbers.Real | jax.Array | np.ndarray)
    if isinstance(learning_rate, bool) or not (
        callable(learning_rate) or (scalar and not np.ndim(learning_rate))
    ):
        raise TypeError(f"learning_rate must be a number or a schedule, got {learning_rate!r}")
    clips = []
    for what, threshold, clip in (
        ("clip_value", clip_value, optax.clip),
        ("clip_norm", clip_norm, clip_by_global_norm),
    ):
        if threshold is not None:
            threshold = non_negative(what, threshold)
        if threshold:
            clips.append(clip(threshold))
    last = OPTIMIZERS[name](learning_rate)
    return optax.chain(*clips, last) if clips else last


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    """Scales gradients down to a largest global norm, without overflow or underflow on the way.

        g <- g min(1, max_norm / ‖g‖)

    Equals `optax.clip_by_global_norm` wherever that is right. That one squares first, so it turns
    finite gradients of 1e20 in float32, or 300 in float16, into 0; this one divides by the
    largest entry first. Zero gradients stay zero, and non-finite ones stay non-finite, for the
    training step to see.

    Args:
      max_norm: the largest norm; 0 gives zero updates.

    Returns:
      An optax gradient transformation without state.

    Raises:
      ValueError: `max_norm` is negative or not finite.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax.train import clip_by_global_norm
      >>> clip = clip_by_global_norm(1.0)
      >>> updates, _ = clip.update(jnp.array([3e30, 4e30]), clip.init(None))
      >>> print(updates)
      [0.6 0.8]

    Reference:
      Pascanu, Mikolov & Bengio, On the Difficulty of Training Recurrent Neural Networks, ICML
      2013, arXiv:1211.5063.
    """
    if not 0 <= max_norm < float("inf"):
        raise ValueError(f"max_norm must be at least 0 and finite, got {max_norm}")

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        largest, ratio = _scaled_norm(updates)
        clipped = largest * ratio > max_norm
        factor = max_norm / jnp.where(clipped, ratio, jnp.ones_like(ratio))  # never 0 / 0

        def clip(g: Array) -> Array:
            dtype = np.result_type(g.dtype, largest.dtype)  # complex stays complex
            wide = g.astype(dtype)
            scaled = wide / largest.astype(dtype) * factor.astype(dtype)
            return jnp.where(clipped, scaled, wide).astype(g.dtype)

        return jax.tree.map(clip, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def global_norm(tree: PyTree) -> Array:
    """The Euclidean norm of all leaves together, in float32 or better, at any scale.

    Args:
      tree: any pytree of floating arrays.

    Returns:
      ‖tree‖, []: float64 if a leaf is, else float32. inf if the norm itself is beyond the
      largest float, NaN if an entry is not finite.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax.train import global_norm
      >>> float(global_norm({"w": jnp.array([300.0], jnp.float16), "b": jnp.array([400.0])}))
      500.0
    """
    largest, ratio = _scaled_norm(tree)
    return largest * ratio


def _scaled_norm(tree: PyTree) -> tuple[Array, Array]:
    """(m, ‖tree / m‖) where m is the largest magnitude, or 1 when that is 0."""
    leaves = [jnp.abs(leaf) for leaf in jax.tree.leaves(tree) if leaf.size]
    dtype = np.result_type(np.float32, *(at_least_float32(leaf.dtype) for leaf in leaves))
    wide = [leaf.astype(dtype) for leaf in leaves]
    largest = jnp.stack([jnp.zeros((), dtype), *(leaf.max() for leaf in wide)]).max()
    largest = jnp.where(largest == 0, jnp.ones_like(largest), largest)
    squares = [jnp.square(leaf / largest).sum() for leaf in wide]
    return largest, jnp.sqrt(sum(squares, jnp.zeros((), dtype)))
