"""Optimizers and schedules by name; a clip of the global norm that is safe at any scale."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnjax._dtypes import at_least_float32
from rnnjax._factory import natural, non_negative, one_of, real
from rnnjax._fields import decays

Array = jax.Array
PyTree = Any

# Without the weight decay that some have in optax, and DECAYS here.
OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "momentum": lambda learning_rate: optax.sgd(learning_rate, momentum=0.9),
    "rmsprop": optax.rmsprop,
    "adam": optax.adam,
    "adamw": optax.adam,
    "adagrad": optax.adagrad,
    "adadelta": optax.adadelta,
    "lion": lambda learning_rate: optax.lion(learning_rate, weight_decay=0.0),
    "adafactor": optax.adafactor,
}
DECAYS = {"adamw": 1e-4, "lion": 1e-3}
SCHEDULES = ("constant", "linear", "cosine", "halving")


def optimizer(
    name: str,
    learning_rate: optax.ScalarOrSchedule,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    *,
    weight_decay: float | None = None,
    decay_mask: PyTree | Callable[[PyTree], PyTree] = decays,
    accumulate: int = 1,
    plateau: Mapping[str, Any] | None = None,
) -> optax.GradientTransformation:
    """An optimizer by name, after clipping entry by entry, then by global norm.

        θ <- θ - η (direction(clip(g)) + λ m ⊙ θ)

    where g is the mean gradient of `accumulate` steps, λ the weight decay and m its mask. It is a
    chain of optax, and any other chain of optax will do wherever one of these is taken.

    Args:
      name: "sgd", "momentum" (0.9), "rmsprop", "adam", "adamw", "adagrad", "adadelta", "lion" or
        "adafactor".
      learning_rate: η, a number, or an optax schedule over updates (of which there is one in
        `accumulate` steps).
      clip_norm: the largest global norm of the gradient; None or 0 does not clip.
      clip_value: the largest magnitude of an entry of the gradient; None or 0 does not clip.
      weight_decay: λ, decoupled from the gradient; None for 1e-4 with "adamw", 1e-3 with "lion" and
        0 with the others.
      decay_mask: m, which parameters decay: a tree of bools, or a function from parameters to one.
      accumulate: how many steps make an update, by `optax.MultiSteps`: the gradient is the mean of
        theirs, in float32 or better, and is clipped as a whole, so n batches of B give the update
        of one of nB. A step that training skips adds nothing and does not count.
      plateau: the arguments of `optax.contrib.reduce_on_plateau`, such as {"factor": 0.5,
        "patience": 10, "accumulation_size": 100}, which scales updates down where the loss has
        stopped to fall. That is the loss of the batch, the update's `value`; every step's counts,
        also with `accumulate`, so let `accumulation_size` be many steps.

    Returns:
      An optax gradient transformation.

    Raises:
      ValueError: `name` is unknown, a threshold or `weight_decay` is negative or not finite, or
        `accumulate` is below 1; and what optax raises for `plateau`.
      TypeError: `learning_rate` is neither a number nor a schedule, or an argument no number.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax.train import optimizer
      >>> sgd = optimizer("sgd", 1.0, clip_norm=1.0)
      >>> updates, _ = sgd.update(jnp.array([3.0, 4.0]), sgd.init(jnp.zeros(2)))
      >>> print(updates)
      [-0.6 -0.8]

    Reference:
      For the decay: Loshchilov & Hutter, Decoupled Weight Decay Regularization, ICLR 2019,
      arXiv:1711.05101.
    """
    if not isinstance(name, str) or name not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {name!r}")
    scalar = isinstance(learning_rate, numbers.Real | jax.Array | np.ndarray)
    if isinstance(learning_rate, bool) or not (
        callable(learning_rate) or (scalar and not np.ndim(learning_rate))
    ):
        raise TypeError(f"learning_rate must be a number or a schedule, got {learning_rate!r}")
    chain = []
    for what, threshold, clip in (
        ("clip_value", clip_value, optax.clip),
        ("clip_norm", clip_norm, clip_by_global_norm),
    ):
        if threshold is not None:
            threshold = non_negative(what, threshold)
        if threshold:
            chain.append(clip(threshold))
    decay = DECAYS.get(name, 0.0) if weight_decay is None else weight_decay
    if non_negative("weight_decay", decay):
        # The direction is minus what the optimizer does at rate 1.
        chain.append(OPTIMIZERS[name](1.0))
        chain.append(optax.add_decayed_weights(-decay, decay_mask))
        chain.append(optax.scale_by_learning_rate(learning_rate, flip_sign=False))
    else:
        chain.append(OPTIMIZERS[name](learning_rate))
    made = optax.chain(*chain) if len(chain) > 1 else chain[0]
    if natural("accumulate", accumulate, least=1) > 1:
        steps = optax.MultiSteps(made, accumulate, accumulator_dtype=jnp.result_type(float))
        made = steps.gradient_transformation()
    if plateau is not None:
        # Outside, where it sees the loss of every step: inside, that of one in `accumulate`.
        made = optax.chain(made, optax.contrib.reduce_on_plateau(**plateau))
    return made


def schedule(
    name: str,
    peak: float,
    steps: int,
    *,
    warmup: int = 0,
    hold: int = 0,
    end: float = 0.0,
    every: int | None = None,
) -> optax.Schedule:
    """A learning rate over update steps, by name: up from 0 to the peak, there for a while, down.

    Args:
      name: what follows the peak: "constant" stays there; "linear" and "cosine" come down to `end`
        at step `steps`; "halving" halves at once and again every `every` steps, never below `end`.
      peak: the largest rate.
      steps: how many updates there are, that is steps / `accumulate`.
      warmup: how many of them the rate takes from 0 up to the peak, in a straight line.
      hold: how many it stays there.
      end: the least rate; a "constant" one has none.
      every: of "halving" alone, which needs it.

    Returns:
      An optax schedule: count -> rate.

    Raises:
      ValueError: `name` is unknown, `peak` not positive, `end` above it, a number of steps is
        negative, there is none left to come down in, or `every` is missing or of no use.
      TypeError: an argument is no number.

    Example:
      >>> from rnnjax.train import schedule
      >>> rate = schedule("linear", 1.0, 10, warmup=2, hold=4)
      >>> [float(rate(step)) for step in range(11)]
      [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    one_of(*SCHEDULES)("schedule", name)
    peak = real("peak", peak, "a positive number", lambda x: 0 < x < math.inf)
    end = real("end", end, f"a number from 0 to peak = {peak}", lambda x: 0 <= x <= peak)
    steps = natural("steps", steps, least=1)
    warmup, hold = natural("warmup", warmup), natural("hold", hold)
    left = steps - warmup - hold
    if name in ("linear", "cosine") and left < 1:
        raise ValueError(
            f"warmup + hold must be less than steps = {steps}, got {warmup} + {hold}: the rate has "
            "no step to come down in"
        )
    if (name == "halving") != (every is not None):
        raise ValueError(f"every is for halving, which needs it; got {name!r} and every={every}")
    if every is not None:
        last = optax.exponential_decay(
            peak / 2, natural("every", every, least=1), 0.5, staircase=True, end_value=end
        )
    elif name == "linear":
        last = optax.linear_schedule(peak, end, left)
    elif name == "cosine":
        last = optax.cosine_decay_schedule(peak, left, end / peak)
    else:
        last = optax.constant_schedule(peak)
    parts = [last]
    bounds = []
    for length, part in (
        (hold, optax.constant_schedule(peak)),
        (warmup, optax.linear_schedule(0.0, peak, max(warmup, 1))),
    ):
        if length:
            parts.insert(0, part)
            bounds = [length, *(length + bound for bound in bounds)]
    return optax.join_schedules(parts, bounds) if bounds else last


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
