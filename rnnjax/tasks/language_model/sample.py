"""Generation: a model of symbols, streamed one symbol at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import Cell
from rnnjax._factory import natural
from rnnjax._noise import fold_in
from rnnjax.decoding import _cuts, _penalty, _rarer, draw
from rnnjax.tasks.language_model.vocabulary import Vocabulary, Words
from rnnjax.train.run import seed_key
from rnnjax.train.step import non_finite

Array = jax.Array


def generate(
    cell: Cell,
    params: Any,
    vocabulary: Vocabulary | Words,
    prompt: str,
    *,
    length: int,
    **options: Any,
) -> Iterator[str]:
    """Continues a prompt, symbol by symbol, through the very step that training unrolled.

    Args:
      cell: the model, from symbols to logits.
      params: its parameters.
      vocabulary: the model's symbols.
      prompt: what to continue; at least one symbol.
      length: how many symbols to generate.
      **options: those of `generate_batch`.

    Returns:
      An iterator over what each symbol adds to the text, without the prompt.

    Raises:
      ValueError, NonFiniteError: as `generate_batch`.
    """
    texts = generate_batch(cell, params, vocabulary, prompt, samples=1, length=length, **options)
    return (text for (text,) in texts)


def generate_batch(
    cell: Cell,
    params: Any,
    vocabulary: Vocabulary | Words,
    prompt: str,
    *,
    samples: int,
    length: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition: float = 1.0,
    seed: int = 0,
    unknown: bool = False,
) -> Iterator[list[str]]:
    """Continues a prompt in several ways at once, as one batch.

        c_t ~ softmax(logits_t / temperature)

    The unknown symbol is never drawn. Drawn in float32 or better, as `rnnjax.decoding.sample` does;
    other numbers compile nothing anew.

    Args:
      cell: the model, from symbols to logits.
      params: its parameters.
      vocabulary: the model's symbols.
      prompt: what to continue; at least one symbol.
      samples: how many texts.
      length: how many symbols to generate.
      temperature: 1 samples from the model; towards 0 the likeliest; 0 takes it.
      top_k: draw from the k likeliest symbols alone; 0 from all.
      top_p: draw from the fewest likeliest symbols that have this probability together, after
        temperature and `top_k`; 1 from all.
      min_p: draw from symbols with at least this share of the likeliest one's probability; 0 from
        all.
      repetition: the penalty of a symbol that the text or its prompt has already; 1 is none.
      seed: of the draws; text b is the one that `seed + b` gives alone.
      unknown: whether a symbol of the prompt that the model never saw is read as the unknown one.

    Returns:
      An iterator over lists of what each text's next symbol adds to it, without the prompt.

    Raises:
      ValueError: the prompt is empty or has a symbol the model never saw, or a number is out of
        range.
      NonFiniteError: at the symbol where the largest logit is not finite.
    """
    symbols = vocabulary.encode(prompt, unknown=unknown)
    if not len(symbols):
        raise ValueError(f"prompt needs at least one {vocabulary.unit}")
    length, cuts = natural("length", length), _cuts(temperature, top_k, top_p, min_p)
    how = _penalty(repetition), cuts
    keys = jnp.stack([seed_key(seed + b) for b in range(natural("samples", samples, least=1))])
    return _stream(cell, params, vocabulary, symbols, length, how, keys)


def _stream(
    cell: Cell,
    params: Any,
    vocabulary: Vocabulary | Words,
    prompt: np.ndarray,
    length: int,
    how: tuple[float, dict[str, float]],
    keys: Array,
) -> Iterator[list[str]]:
    step = jax.jit(cell.step, donate_argnums=1)
    batch = keys.shape
    # Copied: a learnable initial state may be a buffer of params, which must survive.
    state, logits = jax.tree.map(jnp.copy, cell.initial_state(params, batch)), None
    for symbol in prompt:
        state, logits = step(params, state, jnp.full(batch, symbol, jnp.int32))
    before = np.full(batch, prompt[-1])
    written = jnp.asarray(np.isin(np.arange(len(vocabulary)), prompt)[None].repeat(len(before), 0))
    for t in range(length):
        symbols, written = _draw(logits, written, keys, t, len(vocabulary) - 1, *how)
        now = np.asarray(symbols)
        for b in np.flatnonzero(now < 0)[:1]:
            what = f"the logits of text {b} are not finite after {len(prompt) + t} symbols"
            raise non_finite(what, params)
        yield [vocabulary.piece(int(a), int(b)) for a, b in zip(before, now, strict=True)]
        before = now
        state, logits = step(params, state, symbols)


@jax.jit
def _draw(
    logits: Array, written: Array, keys: Array, t: Array, unknown: Array, repetition: Array,
    cuts: dict[str, Array],
) -> tuple[Array, Array]:  # fmt: skip
    """A symbol for each text, but not the unknown one, and which it has now."""
    logits = _rarer(logits.at[..., unknown].set(-jnp.inf), written, repetition)
    symbols = draw(logits, fold_in(keys, t), **cuts)
    return symbols, written | (jnp.arange(logits.shape[-1]) == symbols[:, None])
