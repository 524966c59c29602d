"""Losses over real tokens."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._dtypes import at_least_float32

Array = jax.Array


class TokenLoss(NamedTuple):
    """What `cross_entropy` returns.

    Attributes:
      mean: nats a real token, []; 0 where there is none.
      total: nats over all real tokens, [].
      count: how many real tokens there are, [].
    """

    mean: Array
    total: Array
    count: Array


def cross_entropy(logits: Array, targets: Array, mask: Array | None = None) -> TokenLoss:
    """Cross-entropy of predicted symbols, over real tokens alone.

        total = -Σ_{t,b real} log softmax(logits[t, b])[targets[t, b]],   mean = total / count

    What logits and targets hold at a masked token never matters, forward or backward. A target
    outside [0, V) at a real token gives NaN, which no run overlooks.

    Args:
      logits: [T, *B, V], floating; summed in float32 or better.
      targets: integers [T, *B] in [0, V).
      mask: bool [T, *B], False at padding; None when every token is real.

    Returns:
      A `TokenLoss`, in nats.

    Raises:
      TypeError: `logits` are not floating, `targets` not integers, or `mask` is not bool.
      ValueError: the shapes disagree, or there is no token at all (T = 0 or B = 0).

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax.train import bits_per_token, cross_entropy
      >>> loss = cross_entropy(jnp.zeros((3, 2, 4)), jnp.zeros((3, 2), int))
      >>> float(bits_per_token(loss.mean))
      2.0
    """
    nats = token_nats(logits, targets, mask)
    count = jnp.asarray(targets.size, nats.dtype)
    if mask is not None:
        count = mask.sum().astype(nats.dtype)
    total = nats.sum()
    return TokenLoss(total / jnp.maximum(count, 1), total, count)


def token_nats(logits: Array, targets: Array, mask: Array | None = None) -> Array:
    """The loss of every token by itself, 0 at padding; arguments and errors of `cross_entropy`.

    Returns:
      Nats, [T, *B].
    """
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(f"logits must be floating, got {logits.dtype}")
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        raise TypeError(f"targets must be integers, got {targets.dtype}")
    if mask is not None and mask.dtype != bool:
        raise TypeError(f"mask must be bool, got {mask.dtype}")
    for name, array in (("targets", targets), ("mask", mask)):
        if array is not None and array.shape != logits.shape[:-1]:
            raise ValueError(
                f"{name} has shape {list(array.shape)}, logits are {list(logits.shape)}: "
                f"expected {list(logits.shape[:-1])}"
            )
    if not targets.size:
        raise ValueError(f"a loss needs at least one token, targets are {list(targets.shape)}")
    if mask is not None:
        logits = jnp.where(mask[..., None], logits, jnp.zeros_like(logits))
        targets = jnp.where(mask, targets, jnp.zeros_like(targets))
    logits = logits.astype(at_least_float32(logits.dtype))
    # Widened, since V may be beyond a narrow dtype; and a negative one would count from the end.
    targets, size = targets.astype(int), logits.shape[-1]
    targets = jnp.where((targets < 0) | (targets >= size), size, targets)
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1, mode="fill")[..., 0]
    nats = jax.nn.logsumexp(logits, axis=-1) - chosen
    return nats if mask is None else jnp.where(mask, nats, jnp.zeros_like(nats))


def bits_per_token(nats: Array | float) -> Array | float:
    """Nats a token as bits a token (bits per character, where tokens are characters)."""
    return nats / math.log(2)


def perplexity(nats: Array | float) -> Array:
    """Nats a token as perplexity, exp(nats)."""
    return jnp.exp(nats)
