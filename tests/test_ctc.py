"""Labels out of frames: both ways against all paths, one by one."""

import collections
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.train import ctc

WIDE = 40  # more prefixes than three symbols make in four frames


def collapsed(path, blank):
    """The labels that a path stands for."""
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != blank)


def every_labelling(logits, blank):
    """p of all labels, from all paths of logits [T, V], in float64."""
    y = np.exp(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
    found = collections.Counter({(): 0.0})
    for path in itertools.product(range(y.shape[1]), repeat=len(y)):
        found[collapsed(path, blank)] += math.prod(y[t, s] for t, s in enumerate(path))
    return found


def labels_of(found, row, *place):
    n = found.lengths[(row, *place)]
    return tuple(found.symbols[(slice(None), row, *place)][:n].tolist())


LENGTHS = np.array([4, 4, 3, 1, 0])


def problem(dtype, scale=1.5):
    return (scale * np.random.default_rng(3).normal(size=(4, 5, 3))).astype(dtype)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("blank", [0, 2])
def test_a_wide_search_finds_all_labels_in_order(blank):
    logits = problem(np.float64)
    found = rnnjax.ctc.prefix_search(jnp.asarray(logits), LENGTHS, width=WIDE, blank=blank)
    for row, n in enumerate(LENGTHS):
        want = every_labelling(logits[:n, row], blank).most_common()
        assert [labels_of(found, row, k) for k in range(len(want))] == [label for label, _ in want]
        scores = found.scores[row]
        np.testing.assert_allclose(jnp.exp(scores[: len(want)]), [p for _, p in want], rtol=1e-12)
        assert (scores[len(want) :] == -jnp.inf).all()
        assert (found.symbols[:, row, len(want) :] == -1).all()
        assert (found.lengths[row, len(want) :] == 0).all()
        for k, (label, _) in enumerate(want):
            assert (found.symbols[len(label) :, row, k] == blank).all()


@pytest.mark.usefixtures("x64")
def test_a_score_is_the_loss_of_its_labels():
    """Labels with repeats among them."""
    logits = jnp.asarray(problem(np.float64)[:, :1])
    found = rnnjax.ctc.prefix_search(logits, LENGTHS[:1], width=WIDE)
    loss = jax.jit(lambda labels, n: ctc(logits, LENGTHS[:1], labels, n).total)
    labels = [labels_of(found, 0, k) for k in range(int((found.scores[0] > -jnp.inf).sum()))]
    assert len(labels) == 15  # that fit into four steps
    assert any(a == b for some in labels for a, b in itertools.pairwise(some))
    for k, some in enumerate(labels):
        padded = np.array([[*some, *[0] * (4 - len(some))]])
        nats = loss(padded, np.array([len(some)]))
        np.testing.assert_allclose(found.scores[0, k], -nats, rtol=1e-10)


def beam(y, width):
    """The search with a dictionary of prefixes, p of [blank last, label last]; blank is 0."""
    kept = {(): [1.0, 0.0]}
    for p in y:
        new = collections.defaultdict(lambda: [0.0, 0.0])
        for prefix, (blank, label) in kept.items():
            new[prefix][0] += (blank + label) * p[0]
            for symbol in range(1, len(p)):
                if prefix[-1:] == (symbol,):
                    new[prefix][1] += label * p[symbol]
                    new[*prefix, symbol][1] += blank * p[symbol]
                else:
                    new[*prefix, symbol][1] += (blank + label) * p[symbol]
        order = sorted(new, key=lambda prefix: -sum(new[prefix]))
        kept = {prefix: new[prefix] for prefix in order[:width]}
    return {prefix: sum(both) for prefix, both in kept.items()}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("width", [1, 2, 5])
def test_a_narrow_search_is_that_of_a_dictionary(width):
    """What was dropped may come again, and is then the prefix of what was kept."""
    logits = 2 * np.random.default_rng(4).normal(size=(7, 60, 4))
    found = rnnjax.ctc.prefix_search(jnp.asarray(logits), np.full(60, 7), width=width)
    y = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    for row in range(60):
        want = beam(y[:, row], width)
        assert [labels_of(found, row, k) for k in range(width)] == list(want)
        np.testing.assert_allclose(np.exp(found.scores[row]), list(want.values()), rtol=1e-10)


@pytest.mark.parametrize("blank", [0, 2])
def test_the_best_path_by_hand(blank):
    logits = problem(np.float64)
    found = rnnjax.ctc.best_path(jnp.asarray(logits, jnp.float32), LENGTHS, blank=blank)
    y = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert found.symbols.shape == (4, 5)
    for row, n in enumerate(LENGTHS):
        want = collapsed(y[:n, row].argmax(-1).tolist(), blank)
        assert labels_of(found, row) == want
        assert (found.symbols[len(want) :, row] == blank).all()
        np.testing.assert_allclose(found.scores[row], y[:n, row].max(-1).sum(), rtol=1e-5)
    path = np.array([1, 1, 0, 1, 2, 2, 0, 0, 2])
    found = rnnjax.ctc.best_path(jnp.eye(3)[path][:, None], np.array([9]))
    assert labels_of(found, 0) == (1, 1, 2, 2)


@pytest.mark.parametrize("junk", [np.nan, np.inf, 1e30])
def test_padding_does_not_matter(junk):
    logits = problem(np.float32)
    beyond = np.arange(4)[:, None] >= LENGTHS
    for read in (rnnjax.ctc.best_path, lambda *a: rnnjax.ctc.prefix_search(*a, width=5)):
        want = read(jnp.asarray(logits), LENGTHS)
        got = read(jnp.where(beyond[..., None], junk, logits), LENGTHS.astype(np.uint8))
        jax.tree.map(np.testing.assert_array_equal, got, want)


def test_what_is_not_a_number_is_no_labels():
    logits = np.full((4, 1, 3), np.nan, np.float32)
    found = rnnjax.ctc.prefix_search(logits, np.array([4]), width=2)
    assert not (found.scores > -np.inf).any()
    assert (found.symbols == -1).all()


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"logits": np.zeros((2, 3))}, ValueError, r"logits must be \[T, B, V\], got .*\[2, 3\]"),
        ({"logits": np.zeros((2, 1, 3), int)}, TypeError, "logits must be floating, got int64"),
        ({"lengths": np.array([3])}, ValueError, r"lengths\[0\] = 3 is outside \[0, 2\]"),
        ({"lengths": np.zeros(2, int)}, ValueError, r"lengths has shape \[2\]"),
        ({"lengths": np.zeros(1)}, TypeError, "lengths must be integers"),
        ({"blank": 3}, ValueError, "blank is 3, logits have 3 symbols"),
        ({"blank": -1}, ValueError, "blank must be"),
        ({"width": 0}, ValueError, "width must be"),
    ],
)
def test_what_will_not_do(changed, error, message):
    given = {"logits": np.zeros((2, 1, 3)), "lengths": np.ones(1, int), "width": 2, **changed}
    with pytest.raises(error, match=message):
        rnnjax.ctc.prefix_search(**given)
    if "width" not in changed:
        del given["width"]
        with pytest.raises(error, match=message):
            rnnjax.ctc.best_path(**given)
