"""The baselines against counting with dicts, one character at a time."""

import collections
import gzip
import lzma
import math

import numpy as np
import pytest

from rnnjax.tasks.language_model import baselines, compressors, interpolated_ngram

V = 4


def texts(seed, lengths=(300, 80, 60)):
    """Train, validation, test: a Markov chain, so that contexts tell something."""
    rng = np.random.default_rng(seed)
    chain = rng.dirichlet(np.full(V, 0.4), size=(V, V))
    chain[..., V - 1] *= 0.05  # rare: some contexts of the held-out texts were never seen
    chain /= chain.sum(-1, keepdims=True)
    out = []
    for length in lengths:
        ids = [0, 1]
        while len(ids) < length:
            ids.append(rng.choice(V, p=chain[ids[-2], ids[-1]]))
        out.append(np.array(ids))
    return out


def slow_experts(train, text, order):
    """For each character of a text, [(seen, probability)] of the orders 0..order."""
    train, text = train.tolist(), text.tolist()
    counts = [collections.Counter() for _ in range(order + 1)]
    totals = [collections.Counter() for _ in range(order + 1)]
    for n in range(1, order + 1):
        for end in range(n, len(train) + 1):
            counts[n][tuple(train[end - n : end])] += 1
            totals[n][tuple(train[end - n : end - 1])] += 1
    rows = []
    for t in range(len(text)):
        row = [(True, 1 / V)]
        for n in range(1, order + 1):
            gram = tuple(text[max(0, t - n + 1) : t + 1])
            seen = len(gram) == n and totals[n][gram[:-1]] > 0
            row.append((seen, counts[n][gram] / totals[n][gram[:-1]] if seen else 0.0))
        rows.append(row)
    return rows


def mixed(weights, row):
    total = sum(w for w, (seen, _) in zip(weights, row, strict=True) if seen)
    return [w * p / total if seen else 0.0 for w, (seen, p) in zip(weights, row, strict=True)]


def slow_ngram(train, validation, test, order):
    weights = [1 / (order + 1)] * (order + 1)
    fitted = slow_experts(train, validation, order)
    for _ in range(50):
        posteriors = []
        for row in fitted:
            parts = mixed(weights, row)
            posteriors.append([part / sum(parts) for part in parts])
        weights = [sum(column) / len(fitted) for column in zip(*posteriors, strict=True)]
    held_out = slow_experts(train, test, order)
    return -sum(math.log2(sum(mixed(weights, row))) for row in held_out) / len(held_out)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_ngrams_equal_counting_by_hand(seed, order):
    train, validation, test = texts(seed)
    got = interpolated_ngram(train, validation, test, V, order)
    assert got == pytest.approx(slow_ngram(train, validation, test, order), abs=1e-10)


def test_the_simple_ones_equal_their_formulas():
    train, validation, test = texts(2)
    found = baselines(train, validation, test, V)
    counts = collections.Counter(train.tolist())
    smoothed = [math.log2((counts[c] + 1) / (len(train) + V)) for c in test.tolist()]
    assert found["uniform"] == 2
    assert found["unigram"] == pytest.approx(-sum(smoothed) / len(smoothed), abs=1e-12)
    assert found["3-gram"] == interpolated_ngram(train, validation, test, V, order=3)
    assert found["3-gram"] < found["unigram"] < found["uniform"]


def test_the_fit_looks_at_validation_alone():
    """With a validation text like the training text the long contexts get all the weight."""
    train = np.tile([0, 1, 2, 1, 0, 3], 50)
    noise = np.random.default_rng(0).integers(0, V, 200)
    trusting = interpolated_ngram(train, train, noise, V)
    wary = interpolated_ngram(train, noise, noise, V)
    assert trusting > 3.5  # worse than guessing: it trusts contexts that tell nothing here
    assert wary < 2.3  # close to uniform


def test_texts_shorter_than_the_contexts():
    """Orders that never occur get no weight; here there is only the unigram left."""
    got = interpolated_ngram(np.array([0, 1]), np.array([1, 0]), np.array([0, 1]), 2)
    assert got == pytest.approx(1.0, abs=1e-9)
    assert interpolated_ngram(np.array([0]), np.array([0]), np.array([0]), V) < 0.5


def test_compressors_count_the_bits_of_files_that_decompress():
    train, test = "the quick brown fox\n" * 200, "the quick brown dog ü\n" * 50
    found = compressors(train, test)
    packed = gzip.compress(test.encode(), compresslevel=9)
    assert gzip.decompress(packed).decode() == test
    assert found["gzip"] == 8 * len(packed) / len(test)  # characters, not bytes
    packed = lzma.compress(test.encode(), preset=9)
    assert lzma.decompress(packed).decode() == test
    assert found["xz"] == 8 * len(packed) / len(test)
    assert 0 <= found["xz given train"] < found["xz"]


def test_compressors_cannot_squeeze_noise():
    noise = "".join(map(chr, np.random.default_rng(0).integers(0, 128, 4000)))
    found = compressors(noise[:2000], noise[2000:])
    assert min(found.values()) > 7  # seven bits went into each character


def test_a_symbol_outside_the_vocabulary_is_refused():
    ids = np.tile(np.arange(4, dtype=np.int8), 10)
    with pytest.raises(ValueError, match=r"symbol -1 at position 3 is outside \[0, 4\)"):
        baselines(ids, ids, np.where(ids == 3, np.int8(-1), ids), 4)
