"""Floor 3: reading labels out of frames: the best path, and a search over prefixes.

Who is trained by `rnnjax.train.ctc` says of every frame which label is there, or the blank, of
which label no frame says. A path of one symbol a frame stands for the labels that are left when
repeats are merged and blanks taken out, and many paths stand for the same labels. Both functions
are one program, for any number of rows, which know nothing of each other.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array
from rnnjax._check import check_lengths
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import natural
from rnnjax._unroll import before_end, select_rows
from rnnjax.decoding import Decoded


def best_path(logits: Array, lengths: Array, *, blank: int = 0) -> Decoded:
    """The labels of the likeliest path.

        labels = B(argmax logits_1, .., argmax logits_T)

    where B merges repeats and then takes blanks out. Other labels may be likelier, by many paths
    together: `prefix_search` looks for them.

    Args:
      logits: [T, B, V], floating.
      lengths: integers [B] in [0, T], how many steps each sequence has.
      blank: the symbol that stands for none.

    Returns:
      A `Decoded` of int32 [T, B], labels and then blanks, whose scores are log p of the path.

    Raises:
      TypeError: `logits` are not floating, or `lengths` no integers.
      ValueError: the shapes disagree, a length is out of its range, or `blank` is no symbol.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> path = jnp.array([[1], [1], [0], [1], [2], [2]])
      >>> found = rnnjax.ctc.best_path(jax.nn.one_hot(path, 3), jnp.array([6]))
      >>> print(found.symbols[:, 0], found.lengths)
      [1 1 2 0 0 0] [3]

    Reference:
      Graves, Fernández, Gomez & Schmidhuber, Connectionist Temporal Classification: Labelling
      Unsegmented Sequence Data with Recurrent Neural Networks, ICML 2006, section 3.2.
    """
    blank = _checked(logits, lengths, blank)
    return _best_path(logits, lengths, blank)


def prefix_search(logits: Array, lengths: Array, *, width: int, blank: int = 0) -> Decoded:
    """Keeps the K likeliest prefixes of labels, each with all of its paths.

        b_t(l) = (b_{t-1}(l) + n_{t-1}(l)) y_t(blank)
        n_t(l) = n_{t-1}(l) y_t(l_n) + (b_{t-1}(l') + [l_n ≠ l'_n] n_{t-1}(l')) y_t(l_n)

    b and n are p of the paths of the first t frames that stand for the labels l and end with a
    blank or without one; l' is l without its last label l_n. With as many as there are prefixes,
    the likeliest labels are found for certain.

    Args:
      logits: as for `best_path`.
      lengths: as there.
      width: K.
      blank: as there.

    Returns:
      A `Decoded` of int32 [T, B, K], the likeliest labels first and blanks behind them, with scores
      log p(labels) [B, K], of the paths that were kept; -inf where there are fewer than K, whose
      symbols are -1.

    Raises:
      TypeError: as `best_path`.
      ValueError: as `best_path`, or `width` is below 1.

    Example:
      Both frames are likelier blank than not, and yet a label is likelier than none:

      >>> import jax.numpy as jnp, rnnjax
      >>> logits, lengths = jnp.log(jnp.array([[[0.6, 0.4]], [[0.6, 0.4]]])), jnp.array([2])
      >>> found = rnnjax.ctc.prefix_search(logits, lengths, width=2)
      >>> found.symbols[:, 0].T.tolist(), [f"{p:.2f}" for p in jnp.exp(found.scores[0])]
      ([[1, 0], [0, 0]], ['0.64', '0.36'])
      >>> print(rnnjax.ctc.best_path(logits, lengths).lengths)
      [0]

    Reference:
      Graves et al., 2006, as for `best_path`, whose prefix search keeps all prefixes; with a beam:
      Hannun, Maas, Jurafsky & Ng, First-Pass Large Vocabulary Continuous Speech Recognition using
      Bi-Directional Recurrent DNNs, 2014, arXiv:1408.2873.
    """
    blank = _checked(logits, lengths, blank)
    return _prefix_search(logits, lengths, natural("width", width, least=1), blank)


@functools.partial(jax.jit, static_argnums=2)
def _best_path(logits: Array, lengths: Array, blank: int) -> Decoded:
    time = len(logits)
    steps = before_end(time, lengths)
    path = jnp.where(steps, logits.argmax(axis=-1), blank).astype(jnp.int32)
    before = jnp.concatenate([jnp.full_like(path[:1], blank), path[:-1]])
    new = (path != blank) & (path != before)
    place = jnp.where(new, jnp.cumsum(new, axis=0) - 1, time)  # beyond the end: dropped
    rows = jnp.arange(path.shape[1])
    symbols = jnp.full_like(path, blank).at[place, rows].set(path, mode="drop")
    likeliest = _log_softmax(logits, steps).max(axis=-1)
    return Decoded(symbols, new.sum(axis=0), jnp.where(steps, likeliest, 0).sum(axis=0))


class _Prefixes(NamedTuple):
    """What a row has kept.

    Attributes:
      symbols: the labels, int32 [K, T], -1 behind them; all of them -1 of a place without a prefix.
      lengths: how many, [K].
      blank: log b, [K].
      label: log n, [K].
    """

    symbols: Array
    lengths: Array
    blank: Array
    label: Array

    @property
    def score(self) -> Array:
        """log (b + n), [K]."""
        return jnp.logaddexp(self.blank, self.label)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _prefix_search(logits: Array, lengths: Array, width: int, blank: int) -> Decoded:
    time, _, size = logits.shape
    steps = before_end(time, lengths)
    y = _log_softmax(logits, steps)

    def start() -> _Prefixes:
        nothing = jnp.full(width, -jnp.inf, y.dtype)
        return _Prefixes(
            jnp.full((width, time), -1, jnp.int32), jnp.zeros(width, int), nothing.at[0].set(0),
            nothing,
        )  # fmt: skip

    def step(kept: _Prefixes, at: tuple[Array, Array]) -> tuple[_Prefixes, None]:
        y, real = at
        last = _last(kept)  # -1 of the empty prefix
        # As it is, by a blank or by its last label again.
        blanks = kept.score + y[blank]
        labels = kept.label + jnp.where(last < 0, -jnp.inf, y[last])
        # One label more, [K, V].
        symbols = jnp.arange(size, dtype=jnp.int32)
        same = symbols == last[:, None]
        more = jnp.where(same, kept.blank[:, None], kept.score[:, None]) + y
        more = jnp.where(symbols == blank, -jnp.inf, more)
        # What so becomes a prefix that is kept is the same prefix: its paths are added up.
        parent = _is_parent(kept)  # [K of it, K of the longer one]
        entering = jnp.where(parent, more[:, last], -jnp.inf)
        labels = jnp.logaddexp(labels, jax.nn.logsumexp(entering, axis=0))
        there = (parent[:, :, None] & (last[:, None] == symbols)).any(axis=1)
        more = jnp.where(there, -jnp.inf, more)

        _, best = jax.lax.top_k(
            jnp.concatenate([jnp.logaddexp(blanks, labels), more.ravel()]), width
        )
        grown = best >= width
        row = jnp.where(grown, (best - width) // size, best)
        symbol = jnp.where(grown, (best - width) % size, -1).astype(jnp.int32)
        n = kept.lengths[row]
        end = jnp.where(grown, n, time)
        after = _Prefixes(
            kept.symbols[row].at[jnp.arange(width), end].set(symbol, mode="drop"),
            n + grown.astype(n.dtype),
            jnp.where(grown, -jnp.inf, blanks[row]),
            jnp.where(grown, more[row, symbol], labels[row]),
        )
        return jax.tree.map(lambda new, old: jnp.where(real, new, old), after, kept), None

    def search(y: Array, steps: Array) -> _Prefixes:
        return jax.lax.scan(step, start(), (y, steps))[0]

    found = jax.vmap(search, in_axes=1)(y, steps)
    score = found.score
    there = score > -jnp.inf
    filled = jnp.where(found.symbols < 0, blank, found.symbols)
    symbols = jnp.where(there[..., None], filled, -1)
    return Decoded(jnp.moveaxis(symbols, -1, 0), jnp.where(there, found.lengths, 0), score)


def _last(kept: _Prefixes) -> Array:
    """The last label of each prefix, [K]; -1 where it has none."""
    place = jnp.maximum(kept.lengths - 1, 0)
    return jnp.take_along_axis(kept.symbols, place[:, None], axis=1)[:, 0]


def _is_parent(kept: _Prefixes) -> Array:
    """Whether a prefix (row) is another (column) without its last label, bool [K, K]."""
    time = kept.symbols.shape[1]
    shorter = jnp.where(jnp.arange(time) < kept.lengths[:, None] - 1, kept.symbols, -1)
    same = (kept.symbols[:, None] == shorter).all(axis=-1)
    # Of places without a prefix none is another's.
    there = (kept.score > -jnp.inf)[:, None] & (kept.score > -jnp.inf)
    return same & there & (kept.lengths > 0)


def _log_softmax(logits: Array, steps: Array) -> Array:
    """log y [T, B, V], in float32 or better; what padding holds does not matter."""
    logits = select_rows(steps, logits, jnp.zeros_like(logits))
    return jax.nn.log_softmax(logits.astype(at_least_float32(logits.dtype)))


def _checked(logits: Any, lengths: Any, blank: Any) -> int:
    """The blank; raises where something will not do."""
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(f"logits must be floating, got {logits.dtype}")
    if logits.ndim != 3:
        raise ValueError(f"logits must be [T, B, V], got shape {list(logits.shape)}")
    check_lengths(lengths, len(logits), logits.shape[1:2], 0)
    blank = natural("blank", blank)
    if blank >= logits.shape[-1]:
        raise ValueError(f"blank is {blank}, logits have {logits.shape[-1]} symbols")
    return blank
