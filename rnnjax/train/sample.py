"""Generation: a model of symbols, streamed one symbol at a time."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import Cell
from rnnjax._cell import natural
from rnnjax.train.data import Vocabulary

Array = jax.Array


def generate(
    cell: Cell,
    params: Any,
    vocabulary: Vocabulary,
    prompt: str,
    *,
    length: int,
    temperature: float = 1.0,
    seed: int = 0,
) -> Iterator[str]:
    """Continues a prompt, character by character, through the very step that training unrolled.

        c_t ~ softmax(logits_t / temperature)

    The unknown symbol is never drawn.

    Args:
      cell: the model, from symbols to logits.
      params: its parameters.
      vocabulary: the model's characters.
      prompt: what to continue; at least one character.
      length: how many characters to generate.
      temperature: 1 samples from the model; towards 0 the likeliest; 0 takes it.
      seed: of the draws; the same seed gives the same text.

    Returns:
      An iterator over the characters, without the prompt.

    Raises:
      ValueError: the prompt is empty or has a character the model never saw, or `length` or
        `temperature` is negative or not finite.
    """
    if not prompt:
        raise ValueError("prompt needs at least one character")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be at least 0 and finite, got {temperature}")
    length = natural("length", length)
    symbols = vocabulary.encode(prompt)
    return _stream(cell, params, vocabulary, symbols, length, float(temperature), seed_key(seed))


def seed_key(seed: int) -> Array:
    """The random key of a seed that a user gave."""
    try:
        return jax.random.key(seed)
    except OverflowError:
        raise ValueError(f"seed must fit into 64 bits, got {seed}") from None


def _stream(
    cell: Cell,
    params: Any,
    vocabulary: Vocabulary,
    prompt: np.ndarray,
    length: int,
    temperature: float,
    key: Array,
) -> Iterator[str]:
    step = jax.jit(cell.step, donate_argnums=1)
    # Copied: a learnable initial state may be a buffer of params, which must survive.
    state, logits = jax.tree.map(jnp.copy, cell.initial_state(params)), None
    for symbol in prompt:
        state, logits = step(params, state, jnp.asarray(symbol))
    for t in range(length):
        symbol = _draw(logits, jax.random.fold_in(key, t), len(vocabulary) - 1, temperature)
        yield vocabulary.decode([int(symbol)])
        state, logits = step(params, state, symbol.astype(jnp.int32))


# Static, so that no temperature is too small for the logits' type.
@functools.partial(jax.jit, static_argnames=("unknown", "temperature"))
def _draw(logits: Array, key: Array, unknown: int, temperature: float) -> Array:
    logits = logits.at[unknown].set(-jnp.inf)
    if temperature == 0:
        return logits.argmax()
    # The largest is 0 first: at a temperature near 0 the others become -inf, and none NaN.
    return jax.random.categorical(key, (logits - logits.max()) / temperature)
