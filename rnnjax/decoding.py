"""Floor 3: cells that write, symbol by symbol: the likeliest, a sample, or a beam search.

A cell from symbols to logits, such as `stack(embed(V, 64), gru(256), linear(V))`, reads the symbol
it wrote last:

    s_t, logits_t = cell(s_{t-1}, w_{t-1});  w_t from logits_t        t = 1 .. T

`w_0` is given, as is the state before it: one that has read a prompt, or that holds a memory to
attend to. Each function is one program, for any axes of a batch, whose rows know nothing of each
other. A row that has written the end symbol writes nothing else; when all have, it stops.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Params, State, joined, parted
from rnnjax._check import require_cell
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import natural, non_negative, real
from rnnjax._noise import fold_in, is_key, noise_keys

Allowed = Callable[[Array, Array], Array]
Weights = Callable[[Params, State, Array], Array]


class Decoded(NamedTuple):
    """What was written.

    Attributes:
      symbols: int32 [T, *B]; of a beam search [T, *B, K], the best first. After its end symbol a
        row goes on with it. -1 where no logit was finite, or nothing was allowed.
      lengths: how many symbols come before the end symbol, [*B] or [*B, K].
      scores: log p(symbols), the end symbol's too, [*B]; of a beam search [*B, K], with its
        penalties; -inf where there are fewer than K, whose symbols are -1.
    """

    symbols: Array
    lengths: Array
    scores: Array


def greedy(
    cell: Cell,
    params: Params,
    state: State | None,
    first: Array,
    *,
    length: int,
    end: int | None = None,
    allowed: Allowed | None = None,
) -> Decoded:
    """Writes the likeliest symbol at each step.

        w_t = argmax logits_t, of equals the first

    Args:
      cell: the cell, from symbols [*B] to logits [*B, V].
      params: its parameters.
      state: the state before the first symbol is read; None for `cell.initial_state`.
      first: w_0, the symbol to begin with, integers [*B].
      length: T, how many symbols are written at most.
      end: the end symbol, if there is one.
      allowed: `(prefix [*B, T], t) -> bool`, which broadcasts to [*B, V]: the symbols that may come
        at step t = 0 .. T-1 after what was written before, -1 where nothing was yet. Scores stay
        the cell's own. Another function is another program.

    Returns:
      A `Decoded`.

    Raises:
      TypeError: `cell` takes no symbols, or `first` holds no integers.
      ValueError: `length` is below 1; or the logits are not [*B, V].

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> model = rnnjax.stack(rnnjax.embed(5, 4), rnnjax.gru(8), rnnjax.linear(5))
      >>> params = model.init(jax.random.key(0), rnnjax.tokens())
      >>> prompt = jnp.array([[1, 2], [3, 4]])  # [T, B]; all but its last symbol is read before
      >>> state, _ = rnnjax.unroll(model, params, None, prompt[:-1])
      >>> written = rnnjax.decoding.greedy(model, params, state, prompt[-1], length=7, end=0)
      >>> written.symbols.shape, written.lengths.shape
      ((7, 2), (2,))
    """
    first, length, end = _checked(cell, first, length, end)
    return _greedy(cell, params, state, first, length, end, allowed)


def sample(
    cell: Cell,
    params: Params,
    state: State | None,
    first: Array,
    *,
    key: Array,
    length: int,
    temperature: float | Array = 1.0,
    top_k: int | Array = 0,
    top_p: float | Array = 1.0,
    min_p: float | Array = 0.0,
    repetition: float | Array = 1.0,
    end: int | None = None,
    allowed: Allowed | None = None,
) -> Decoded:
    """Draws a symbol at each step.

        w_t ~ softmax(logits_t / temperature), cut off as `draw` says

    Before that, logits of symbols that the row has written already are divided by `repetition`
    where they are positive, and multiplied by it elsewhere. All numbers may be traced: others
    compile nothing anew.

    Args:
      cell: as for `greedy`.
      params: its parameters.
      state: as for `greedy`.
      first: as for `greedy`.
      key: one key for the batch, or one a row [*B].
      length: as for `greedy`.
      temperature: as for `draw`.
      top_k: as for `draw`.
      top_p: as for `draw`.
      min_p: as for `draw`.
      repetition: the penalty of repetition; above 1 it is rarer, 1 is none.
      end: as for `greedy`.
      allowed: as for `greedy`.

    Returns:
      A `Decoded`, whose scores are the cell's own log p, whatever was cut off.

    Raises:
      TypeError: as `greedy`.
      ValueError: as `greedy`, or a number is out of range.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> model = rnnjax.stack(rnnjax.embed(5, 4), rnnjax.gru(8), rnnjax.linear(5))
      >>> params = model.init(jax.random.key(0), rnnjax.tokens())
      >>> written = rnnjax.decoding.sample(
      ...     model, params, None, jnp.zeros(3, int), key=jax.random.key(1), length=7, top_p=0.9
      ... )
      >>> written.symbols.shape
      (7, 3)

    Reference:
      The penalty of repetition: Keskar et al., CTRL: A Conditional Transformer Language Model for
      Controllable Generation, 2019, arXiv:1909.05858.
    """
    first, length, end = _checked(cell, first, length, end)
    cuts = _cuts(temperature, top_k, top_p, min_p)
    repetition = _penalty(repetition)
    keys = noise_keys(key, first.shape)[..., 0]
    return _sample(cell, params, state, first, length, end, allowed, keys, repetition, cuts)


def draw(
    logits: Array,
    keys: Array,
    *,
    temperature: float | Array = 1.0,
    top_k: int | Array = 0,
    top_p: float | Array = 1.0,
    min_p: float | Array = 0.0,
) -> Array:
    """Draws one symbol a row.

        w ~ softmax(logits / temperature), of the likeliest alone

    In float32 or better. All numbers may be traced: others compile nothing anew.

    Args:
      logits: [*B, V]; -inf for symbols that must not be drawn.
      keys: one key a row, [*B].
      temperature: 1 draws from the softmax; towards 0 the likeliest; 0 takes it.
      top_k: of the k likeliest symbols alone; 0 for all.
      top_p: of the fewest likeliest symbols that have this probability together, after temperature
        and `top_k`; 1 for all.
      min_p: of the symbols with at least this share of the likeliest one's probability, after
        temperature and before the others; 0 for all.

    Returns:
      int32 [*B]; -1 where the largest logit is not finite.

    Raises:
      ValueError: `temperature` is negative or not finite, `top_k` negative, `top_p` outside (0, 1],
        or `min_p` outside [0, 1].

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> logits, keys = jnp.array([[0.0, 2.0, 1.0]]), jax.random.split(jax.random.key(0), 1)
      >>> print(rnnjax.decoding.draw(logits, keys, temperature=0))
      [1]

    Reference:
      top_k: Fan, Lewis & Dauphin, Hierarchical Neural Story Generation, ACL 2018,
      arXiv:1805.04833; top_p: Holtzman et al., The Curious Case of Neural Text Degeneration, ICLR
      2020, arXiv:1904.09751; min_p: Nguyen et al., Turning Up the Heat: Min-p Sampling for Creative
      and Coherent LLM Outputs, ICLR 2025, arXiv:2407.01082.
    """
    return _draw(logits, keys, **_cuts(temperature, top_k, top_p, min_p))


def beam_search(
    cell: Cell,
    params: Params,
    state: State | None,
    first: Array,
    *,
    length: int,
    width: int,
    end: int | None = None,
    length_penalty: float | Array = 0.0,
    coverage_penalty: float | Array = 0.0,
    weights: Weights | None = None,
    allowed: Allowed | None = None,
) -> Decoded:
    """Keeps the K best of what could be written.

        score = log p(w_1 .. w_n) / ((5 + n) / 6)^α + β Σ_s log min(Σ_t a_{t,s}, 1)

    At each step every one of the K goes on with every symbol, and the K best of all these are kept.
    What has ended, its end symbol counted in n, is kept as it is as long as it is among them. K = 1
    is `greedy`; with as many as there are prefixes the best is found for certain.

    Args:
      cell: as for `greedy`; in its step the batch is [*B, K].
      params: its parameters.
      state: as for `greedy`. What it holds is the same for all K.
      first: as for `greedy`.
      length: as for `greedy`.
      width: K.
      end: as for `greedy`.
      length_penalty: α; 0 for log p itself, which favours what is short.
      coverage_penalty: β, for models that should look at all of a memory; it needs `weights`.
      weights: `(params, state, symbol) -> a_t [*B, K, S]`, where a step that reads the symbol in
        this state looks, such as the step of `attend(..., output="weights")`, its heads' mean.
        Places that get exactly nothing, as padding does, count nothing.
      allowed: as for `greedy`, of [*B, K, T].

    Returns:
      A `Decoded` with K of everything, the best first.

    Raises:
      TypeError: as `greedy`.
      ValueError: as `greedy`, `width` is below 1, a penalty is negative, or there is a coverage
        penalty without `weights`.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> model = rnnjax.stack(rnnjax.embed(5, 4), rnnjax.gru(8), rnnjax.linear(5))
      >>> params = model.init(jax.random.key(0), rnnjax.tokens())
      >>> best = rnnjax.decoding.beam_search(
      ...     model, params, None, jnp.zeros(2, int), length=7, width=3, end=0
      ... )
      >>> best.symbols.shape, bool((best.scores[:, :-1] >= best.scores[:, 1:]).all())
      ((7, 2, 3), True)

    Reference:
      Graves, Sequence Transduction with Recurrent Neural Networks, 2012, arXiv:1211.3711; the
      penalties: Wu et al., Google's Neural Machine Translation System, 2016, arXiv:1609.08144.
    """
    first, length, end = _checked(cell, first, length, end)
    width = natural("width", width, least=1)
    penalties = tuple(
        value if isinstance(value, jax.Array) else non_negative(name, value)
        for name, value in (
            ("length_penalty", length_penalty),
            ("coverage_penalty", coverage_penalty),
        )
    )
    if weights is None and (isinstance(coverage_penalty, jax.Array) or coverage_penalty):
        raise ValueError(
            "coverage_penalty needs weights, a function (params, state, symbol) -> [*B, K, S]"
        )
    return _beam(cell, params, state, first, length, end, allowed, width, weights, penalties)


# --- programs ------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnums=(0, 4, 5, 6))
def _greedy(
    cell: Cell, params: Params, state: State | None, first: Array, length: int, end: int | None,
    allowed: Allowed | None,
) -> Decoded:  # fmt: skip
    def choose(row: _Row, logits: Array) -> Array:
        return jnp.where(jnp.isfinite(logits.max(-1)), logits.argmax(-1), -1).astype(jnp.int32)

    return _single(cell, params, state, first, length, end, allowed, choose)


@functools.partial(jax.jit, static_argnums=(0, 4, 5, 6))
def _sample(
    cell: Cell, params: Params, state: State | None, first: Array, length: int, end: int | None,
    allowed: Allowed | None, keys: Array, repetition: Array, cuts: dict[str, Array],
) -> Decoded:  # fmt: skip
    def choose(row: _Row, logits: Array) -> Array:
        return _draw(_rarer(logits, row.more, repetition), fold_in(keys, row.t), **cuts)

    return _single(cell, params, state, first, length, end, allowed, choose)


def _single(
    cell: Cell, params: Params, state: State | None, first: Array, length: int, end: int | None,
    allowed: Allowed | None, choose: Callable[[_Row, Array], Array],
) -> Decoded:  # fmt: skip
    """One symbol a row; `choose` is given what the row has written in `row.more`, bool [*B, V]."""
    state = cell.initial_state(params, first.shape) if state is None else state

    def advance(row: _Row, state: State, logits: Array) -> _Row:
        own, logits = jax.nn.log_softmax(logits), _restricted(logits, allowed, row)
        symbol = choose(row, logits)
        symbol = symbol if end is None else jnp.where(row.done, end, symbol)
        gain = jnp.take_along_axis(own, jnp.maximum(symbol, 0)[..., None], axis=-1)[..., 0]
        gain = jnp.where(symbol < 0, jnp.nan, jnp.where(row.done, 0, gain))
        return row._replace(
            state=state,
            symbol=symbol,
            score=row.score + gain,
            more=row.more | (_places(logits) == symbol[..., None]),
        )

    def nothing(logits: Any) -> Array:
        return jnp.zeros(logits.shape, bool)

    return _written(cell, params, state, first, length, end, advance, jnp.zeros(()), nothing)


@functools.partial(jax.jit, static_argnums=(0, 4, 5, 6, 7, 8))
def _beam(
    cell: Cell, params: Params, state: State | None, first: Array, length: int, end: int | None,
    allowed: Allowed | None, width: int, weights: Weights | None, penalties: tuple[Array, Array],
) -> Decoded:  # fmt: skip
    state = cell.initial_state(params, first.shape) if state is None else state
    first, state = jax.tree.map(functools.partial(_tiled, first.ndim, width), (first, state))
    held = parted(state)[1]

    def advance(row: _Row, state: State, logits: Array) -> _Row:
        covered = row.more
        if weights is not None:
            looked = weights(params, joined(row.state, held), row.symbol)
            covered = covered + jnp.where(row.done[..., None], 0, looked)
        gain = _restricted(jax.nn.log_softmax(logits), allowed, row)
        if end is not None:
            stays = jnp.where(_places(logits) == end, 0, -jnp.inf).astype(gain.dtype)
            gain = jnp.where(row.done[..., None], stays, gain)
        total = row.score[..., None] + gain
        divisor, bonus = penalty(row.length, covered, total.dtype)
        rank = total / divisor[..., None] + bonus[..., None]
        flat = (*rank.shape[:-2], width * rank.shape[-1])
        _, index = jax.lax.top_k(rank.reshape(flat), width)
        kept = row._replace(t=(), state=state, more=covered)
        kept = jax.tree.map(functools.partial(_taken, index // rank.shape[-1]), kept)
        return kept._replace(
            t=row.t,
            symbol=index % rank.shape[-1],
            score=jnp.take_along_axis(total.reshape(flat), index, axis=-1),
        )

    def penalty(length: Array, covered: Any, dtype: Any) -> tuple[Array, Array]:
        """What log p is divided by, and what is added then."""
        α, β = (jnp.asarray(number).astype(dtype) for number in penalties)
        divisor = ((5 + length.astype(dtype)) / 6) ** α
        if weights is None:
            return divisor, jnp.zeros_like(divisor)
        shares = jnp.log(jnp.where(covered > 0, jnp.minimum(covered, 1), 1))
        return divisor, β * shares.sum(-1).astype(dtype)

    def nothing(logits: Any) -> Any:
        if weights is None:
            return ()
        looked = jax.eval_shape(weights, params, state, first)
        return jnp.zeros(looked.shape, looked.dtype)

    score = jnp.where(jnp.arange(width) == 0, 0, -jnp.inf)  # all are the same row still

    def ranked(row: _Row) -> Array:
        divisor, bonus = penalty(row.length, row.more, row.score.dtype)
        return row.score / divisor + bonus

    return _written(cell, params, state, first, length, end, advance, score, nothing, ranked)


class _Row(NamedTuple):
    """What is carried from symbol to symbol, of each row or of each of its K."""

    t: Array
    state: State
    symbol: Array
    prefix: Array  # [.., T], -1 where nothing is yet
    score: Array  # log p
    length: Array  # with the end symbol
    done: Array
    more: Any


def _written(
    cell: Cell, params: Params, state: State, first: Array, length: int, end: int | None,
    advance: Callable[[_Row, State, Array], _Row], score: Array, more: Callable[[Any], Any],
    ranked: Callable[[_Row], Array] = lambda row: row.score,
) -> Decoded:  # fmt: skip
    """The loop: `advance` is given a row, its state and logits after its last symbol."""
    state, held = parted(state)

    def read(state: State, symbol: Array) -> tuple[State, Array]:
        state, logits = cell.step(params, joined(state, held), symbol)
        if logits.shape[:-1] != symbol.shape or logits.ndim == 0:
            raise ValueError(
                f"{cell.name} gives outputs of shape {list(logits.shape)}, expected logits "
                f"{[*symbol.shape, 'V']}"
            )
        return parted(state)[0], logits.astype(at_least_float32(logits.dtype))

    def body(row: _Row) -> _Row:
        after, logits = read(row.state, row.symbol)
        row = row._replace(length=row.length + (~row.done).astype(jnp.int32))
        new = advance(row, after, logits)
        symbol = new.symbol.astype(jnp.int32)
        return new._replace(
            t=row.t + 1,
            symbol=symbol,
            prefix=new.prefix.at[..., row.t].set(symbol),
            done=new.done if end is None else new.done | (symbol == end),
        )

    logits = jax.eval_shape(read, state, first)[1]
    if end is not None and end >= logits.shape[-1]:
        raise ValueError(f"end is {end}, but {cell.name} has {logits.shape[-1]} symbols")
    row = _Row(
        t=jnp.zeros((), jnp.int32),
        state=state,
        symbol=first,
        prefix=jnp.full((*first.shape, length), -1, jnp.int32),
        score=jnp.broadcast_to(score.astype(logits.dtype), first.shape),
        length=jnp.zeros(first.shape, jnp.int32),
        done=jnp.zeros(first.shape, bool),
        more=more(logits),
    )
    row = jax.lax.while_loop(
        # What has no chance any more needs no end.
        lambda row: (row.t < length) & ~(row.done | jnp.isneginf(row.score)).all(),
        body,
        row,
    )
    symbols = row.prefix
    if end is not None:  # it may have stopped before
        symbols = jnp.where(_places(symbols) < row.t, symbols, end)
    none = jnp.isneginf(row.score)
    return Decoded(
        symbols=jnp.moveaxis(jnp.where(none[..., None], -1, symbols), -1, 0),
        lengths=jnp.where(none, 0, row.length - row.done.astype(jnp.int32)),
        scores=ranked(row),
    )


def _places(a: Array) -> Array:
    """0 .. n-1 along the last axis of an array."""
    return jax.lax.broadcasted_iota(jnp.int32, a.shape, a.ndim - 1)


def _restricted(logits: Array, allowed: Allowed | None, row: _Row) -> Array:
    """Logits, -inf where a symbol is not allowed."""
    if allowed is None:
        return logits
    return jnp.where(jnp.broadcast_to(allowed(row.prefix, row.t), logits.shape), logits, -jnp.inf)


def _tiled(axis: int, width: int, leaf: Array) -> Array:
    """K of each row, along a new axis after those of the batch."""
    shape = (*leaf.shape[:axis], width, *leaf.shape[axis:])
    return jnp.broadcast_to(jnp.expand_dims(leaf, axis), shape)


def _taken(parent: Array, leaf: Array) -> Array:
    """The leaf [*B, K, ...] of each one's parent [*B, K]."""
    if is_key(leaf):
        data = _taken(parent, jax.random.key_data(leaf))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    index = parent.reshape(*parent.shape, *(1,) * (leaf.ndim - parent.ndim))
    return jnp.take_along_axis(leaf, index, axis=parent.ndim - 1)


def _rarer(logits: Array, written: Array, repetition: float | Array) -> Array:
    """Logits, where those of symbols that were written, bool [*B, V], are less likely."""
    penalty = jnp.asarray(repetition).astype(logits.dtype)
    less = jnp.where(logits > 0, logits / penalty, logits * penalty)
    return jnp.where(written, less, logits)


@jax.jit
def _draw(
    logits: Array,
    keys: Array,
    *,
    temperature: Array,
    top_k: Array,
    top_p: Array,
    min_p: Array,
) -> Array:
    logits = logits.astype(at_least_float32(logits.dtype))
    largest = logits.max(axis=-1, keepdims=True)
    top_k = jnp.where(temperature == 0, 1, jnp.where(top_k == 0, logits.shape[-1], top_k))
    # No temperature is too small for the type; and the largest is 0 first, so that near 0 the
    # others become -inf, and none NaN.
    temperature = jnp.maximum(temperature, jnp.finfo(logits.dtype).tiny).astype(logits.dtype)
    logits = (logits - largest) / temperature
    logits = jnp.where(logits >= jnp.log(min_p).astype(logits.dtype), logits, -jnp.inf)

    def likeliest(logits: Array) -> Array:
        order = jnp.argsort(-logits, axis=-1)  # stable: of equals the first
        ranks = jnp.argsort(order, axis=-1)
        logits = jnp.where(ranks < top_k, logits, -jnp.inf)
        share = jax.nn.softmax(jnp.take_along_axis(logits, order, axis=-1))
        likelier = jnp.take_along_axis(jnp.cumsum(share, axis=-1) - share, ranks, axis=-1)
        return jnp.where((likelier < top_p) | (ranks == 0), logits, -jnp.inf)

    cut = (top_k < logits.shape[-1]) | (top_p < 1)  # sorting is what a draw costs
    logits = jax.lax.cond(cut, likeliest, lambda logits: logits, logits)
    one = jnp.vectorize(jax.random.categorical, signature="(),(k)->()")
    drawn = one(keys, logits).astype(jnp.int32)
    return jnp.where(jnp.isfinite(largest[..., 0]), drawn, -1)


# --- checks --------------------------------------------------------------------------------------


def _cuts(temperature: Any, top_k: Any, top_p: Any, min_p: Any) -> dict[str, Any]:
    """The numbers of `draw`, checked where they are no arrays."""

    def checked(name: str, value: Any, check: Callable[[str, Any], Any]) -> Any:
        return value if isinstance(value, jax.Array) else check(name, value)

    def within(wanted: str, fits: Callable[[float], bool]) -> Callable[[str, Any], float]:
        return lambda name, value: real(name, value, wanted, fits)

    return {
        "temperature": checked("temperature", temperature, non_negative),
        "top_k": checked("top_k", top_k, natural),
        "top_p": checked("top_p", top_p, within("a number in (0, 1]", lambda x: 0 < x <= 1)),
        "min_p": checked("min_p", min_p, within("a number in [0, 1]", lambda x: 0 <= x <= 1)),
    }


def _penalty(repetition: Any) -> Any:
    """The penalty of repetition, checked where it is no array."""
    if isinstance(repetition, jax.Array):
        return repetition
    return real("repetition", repetition, "a positive number", lambda x: 0 < x < math.inf)


def _checked(cell: Cell, first: Any, length: Any, end: Any) -> tuple[Array, int, int | None]:
    """`first`, `length` and `end` as they must be."""
    require_cell("cell", cell)
    if cell.x_ndims != 0:
        raise TypeError(
            f"{cell.name} takes no symbols: it must begin with embed(V, size), as in "
            "stack(embed(96, 64), gru(256), linear(96))"
        )
    first = jnp.asarray(first)
    if not jnp.issubdtype(first.dtype, jnp.integer):
        raise TypeError(f"first must hold integer symbols [*B], got {first.dtype}")
    return (
        first.astype(jnp.int32),
        natural("length", length, least=1),
        None if end is None else natural("end", end),
    )
