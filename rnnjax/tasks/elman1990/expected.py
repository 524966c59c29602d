"""What is expected without a network, and how far outputs are from it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from rnnjax.tasks.elman1990.studies import Stream

MEAN, LAST, LIKELY = "always the mean", "by the last symbol", "the likelihoods"
Context = tuple[int, ...]


def conditional_means(
    seen: Sequence[Hashable], targets: np.ndarray, asked: Sequence[Hashable]
) -> np.ndarray:
    """The mean of what followed each context; the mean of all where a context was never seen.

    Where targets are vectors with a single 1, means are relative frequencies.

    Args:
      seen: N contexts.
      targets: what followed each of them, [N, D].
      asked: M contexts.

    Returns:
      Means, [M, D].

    Example:
      >>> import numpy as np
      >>> from rnnjax.tasks.elman1990 import conditional_means
      >>> means = conditional_means("aab", np.array([[0.0], [1.0], [5.0]]), "ba?")
      >>> means.ravel().tolist()
      [5.0, 0.5, 2.0]
    """
    place = {context: n for n, context in enumerate(dict.fromkeys(seen))}
    rows = [place[context] for context in seen]
    sums = np.zeros((len(place) + 1, targets.shape[1]))
    np.add.at(sums, rows, targets)
    means = sums / np.maximum(np.bincount(rows, minlength=len(sums)), 1)[:, None]
    means[-1] = targets.mean(axis=0)
    return means[[place.get(context, -1) for context in asked]]


def unit_contexts(part: Stream) -> list[Context]:
    """At every step the symbols of its unit up to it."""
    ids, found = part.ids.tolist(), []
    for n, place in enumerate(part.places.tolist()):
        found.append(tuple(ids[n - place : n + 1]))
    return found


def expected(train: Stream, part: Stream, code: np.ndarray) -> dict[str, np.ndarray]:
    """What is expected at each step of a part but the first one, from counts of training data.

    The likelihoods are those of what comes next given the unit so far, told where it began: what
    the paper derives from its data. What was never gone on with counts as a unit's end, behind
    which another one begins, whichever it was.

    Args:
      train: what is counted.
      part: N symbols.
      code: the bits of each symbol, [V, D].

    Returns:
      Mean targets [N - 1, D] by name.
    """
    goes_on = {
        context for context, place in zip(unit_contexts(train), train.places[1:], strict=False)
        if place
    }  # fmt: skip
    targets, found = code[train.ids[1:]], {}
    for name, contexts in {
        MEAN: lambda some: [()] * len(some.ids),
        LAST: lambda some: some.ids.tolist(),
        LIKELY: lambda some: [c if c in goes_on else () for c in unit_contexts(some)],
    }.items():
        found[name] = conditional_means(contexts(train)[:-1], targets, contexts(part)[:-1])
    return found


def squared_errors(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The sum of the squares over all bits, at each step: [N, D] twice to [N]."""
    return np.square(np.asarray(outputs, float) - targets).sum(axis=1)


def cosines(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The cosine of the angle between vectors at each step: [N, D] twice to [N]."""
    outputs = np.asarray(outputs, float)
    lengths = np.linalg.norm(outputs, axis=1) * np.linalg.norm(targets, axis=1)
    return (outputs * targets).sum(axis=1) / np.maximum(lengths, 1e-12)


def peaks(errors: np.ndarray) -> np.ndarray:
    """Where an error is above the one before and not below the one behind: [N] to bool [N].

    Example:
      >>> import numpy as np
      >>> from rnnjax.tasks.elman1990 import peaks
      >>> peaks(np.array([2.0, 1.0, 2.0, 3.0])).tolist()
      [True, False, False, True]
    """
    around = np.concatenate([[-np.inf], errors, [-np.inf]])
    return (errors > around[:-2]) & (errors >= around[2:])


def f1(found: np.ndarray, true: np.ndarray) -> float:
    """The harmonic mean of precision and recall of two arrays of bools."""
    return float(2 * (found & true).sum() / max(1, found.sum() + true.sum()))
