"""Honest baselines for a language model: what counting and compressing reach on the same text.

All are in bits per symbol of the held-out text, over the same symbols and the same split as the
model, so that a model which does not beat them has learnt nothing worth its time.
"""

from __future__ import annotations

import lzma
import math
import zlib

import numpy as np

from rnnjax.tasks.language_model.vocabulary import check_symbols


def baselines(
    train: np.ndarray,
    validation: np.ndarray,
    test: np.ndarray,
    size: int,
    orders: tuple[int, ...] = (3,),
) -> dict[str, float]:
    """Bits per symbol of the n-gram baselines on the test symbols.

    Args:
      train: the ids counts are taken from, [N].
      validation: the ids the weights of the interpolation are fitted on.
      test: the ids the result is for.
      size: V, the number of symbols.
      orders: which interpolated n-grams.

    Returns:
      "uniform", "unigram" (with add-one smoothing) and, interpolated, "3-gram".

    Raises:
      ValueError: a symbol is outside [0, V).

    Example:
      >>> import numpy as np
      >>> ids = np.tile([0, 1, 2, 3], 100)
      >>> round(baselines(ids, ids, ids, 4)["uniform"], 3)
      2.0
    """
    for part in (train, validation, test):
        check_symbols(part, size)
    unigram = np.log2((np.bincount(train, minlength=size) + 1) / (len(train) + size))
    return {
        "uniform": math.log2(size),
        "unigram": float(-unigram[test].mean()),
        **{f"{n}-gram": interpolated_ngram(train, validation, test, size, n) for n in orders},
    }


def interpolated_ngram(
    train: np.ndarray, validation: np.ndarray, test: np.ndarray, size: int, order: int = 3
) -> float:
    """Bits per symbol of an interpolated n-gram model.

        p(c | context) = λ_0 / V + Σ_{n=1..order} λ_n count(last n-1 characters, c) / count(them)

    The weights λ sum to 1 and are fitted by expectation maximisation on the validation text. Where
    a context never occurred its weight goes to the shorter ones, in proportion.

    Args:
      train: the ids counts are taken from, [N].
      validation: the ids the weights are fitted on.
      test: the ids the result is for.
      size: V, the number of symbols.
      order: the longest n-gram; a context has one character less.

    Returns:
      Bits per symbol of `test`.

    Raises:
      ValueError: a symbol is outside [0, V).

    Reference:
      Jelinek & Mercer, Interpolated Estimation of Markov Source Parameters from Sparse Data, 1980.
    """
    for part in (train, validation, test):
        check_symbols(part, size)
    fitted, seen = _experts(train, validation, size, order)
    weights = np.full(order + 1, 1 / (order + 1))
    for _ in range(50):
        share = weights * seen
        posterior = share * fitted / share.sum(1, keepdims=True)
        posterior /= posterior.sum(1, keepdims=True)
        weights = posterior.mean(0)
    held_out, seen = _experts(train, test, size, order)
    share = weights * seen
    return float(-np.log2((share * held_out).sum(1) / share.sum(1)).mean())


def _experts(
    train: np.ndarray, text: np.ndarray, size: int, order: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each expert's probability of each character, [M, order + 1], and whether it has one."""
    probability = np.zeros((len(text), order + 1))
    probability[:, 0] = 1 / size
    seen = np.zeros_like(probability)
    seen[:, 0] = 1
    for n in range(1, min(order, len(train), len(text)) + 1):  # longer n-grams never occur
        start = n - 1  # the first characters of the text have shorter contexts
        grams, counts = np.unique(_grams(train, size, n), return_counts=True)
        contexts, place = np.unique(grams // size, return_inverse=True)
        totals = np.bincount(place, weights=counts)
        here = _grams(text, size, n)
        total = _look_up(contexts, totals, here // size)
        seen[start:, n] = total > 0
        probability[start:, n] = _look_up(grams, counts, here) / np.maximum(total, 1)
    return probability, seen


def _grams(ids: np.ndarray, size: int, n: int) -> np.ndarray:
    """Each n-gram of a text as one number in base V, [M - n + 1]."""
    number = np.zeros(len(ids) - n + 1, np.int64)
    for k in range(n):
        number = number * size + ids[k : len(ids) - n + 1 + k]
    return number


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The value of each wanted key, 0 for one that is absent; keys are sorted."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)


def compressors(train: str, test: str) -> dict[str, float]:
    """Bits per character of general compressors on the test text, UTF-8 encoded.

    Args:
      train: the training text.
      test: the held-out text.

    Returns:
      "gzip" and "xz", of the held-out text alone; "xz given train": how much longer the
      compressed training text becomes with the held-out text behind it. (gzip looks back 32 KiB,
      so the training text tells it nothing.)

    Example:
      >>> sorted(compressors("abc" * 500, "abc" * 100))
      ['gzip', 'xz', 'xz given train']
    """
    before, text = train.encode(), test.encode()

    def xz(data: bytes) -> int:
        return len(lzma.compress(data, preset=9))

    sizes = {
        "gzip": len(zlib.compress(text, level=9, wbits=31)),
        "xz": xz(text),
        "xz given train": xz(before + text) - xz(before),
    }
    return {name: 8 * size / len(test) for name, size in sizes.items()}
