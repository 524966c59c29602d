"""What can be written without a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from rnnjax.tasks._writing.pairs import Part, Symbols, Tokens


def most_frequent(train: Part, test: Part) -> Sequence[Tokens]:
    """Always the answer that the training pairs have most often."""
    counts = Counter(tuple(some[0]) for some in train.answers)
    return [counts.most_common(1)[0][0]] * len(test.sources)


def symbol_by_symbol(
    train: Part, test: Part, *, rounds: int = 8, most: int = 20_000
) -> Sequence[Tokens]:
    """Each symbol becomes the likeliest one by itself, in its order: IBM's model 1.

        t(f | e) ∝ Σ_pairs t(f | e) / Σ_e' t(f | e')     over all f, e of a pair, again and again

    with a symbol of no source that explains what nothing does; what it likes best of all is left
    out of what is written.

    Args:
      train: pairs of symbols; the first so many are used.
      test: what is to be written of.
      rounds: how often the table is made anew.
      most: how many pairs are used.

    Reference:
      Brown et al., The Mathematics of Statistical Machine Translation, Computational Linguistics
      19(2), 1993.
    """
    sources, answers = train.sources[:most], [some[0] for some in train.answers[:most]]
    read, written = Symbols.of(sources), Symbols.of(answers)
    pairs = [
        (np.append(e, 0), f) for e, f in zip(read.ids(sources), written.ids(answers), strict=True)
    ]
    cells = [np.repeat(e, len(f)) * written.size + np.tile(f, len(e)) for e, f in pairs]
    group = np.cumsum([0, *[len(f) for _, f in pairs]])
    asked = [np.tile(group[n] + np.arange(len(f)), len(e)) for n, (e, f) in enumerate(pairs)]
    # Of the table only what occurs, in the order of e and then of f.
    occurs, cell = np.unique(np.concatenate(cells), return_inverse=True)
    place, row = np.concatenate(asked), occurs // written.size
    table = np.ones(len(occurs))
    for _ in range(rounds):
        share = table[cell]
        share /= np.bincount(place, share)[place]
        table = np.bincount(cell, share)
        table /= np.maximum(np.bincount(row, table)[row], 1e-30)
    order = np.lexsort((-np.arange(len(table)), table, row))
    likeliest = dict(zip(row[order].tolist(), (occurs % written.size)[order].tolist(), strict=True))
    names = {read.known[e - 1]: written.known[int(f) - 1] for e, f in likeliest.items() if e}
    return [[names[symbol] for symbol in tokens if symbol in names] for tokens in test.sources]


def unchanged(test: Part) -> Sequence[Tokens]:
    """What was read, as it stands."""
    return [list(tokens) for tokens in test.sources]
