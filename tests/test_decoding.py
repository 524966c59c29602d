"""Decoding: against all that could be written, and a beam search in NumPy."""

import itertools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close

import rnnjax
from rnnjax import Held, attention, decoding

V, T, B, END = 4, 5, 3, 0
MODEL = rnnjax.stack(rnnjax.embed(V, 4), rnnjax.gru(5), rnnjax.linear(V))
FIRST = np.array([1, 2, 3])
ALL = np.array([*itertools.product(range(V), repeat=T)]).T  # [T, V^T]


def drawn(seed, model=MODEL, scale=3.0):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), rnnjax.tokens()))
    return jax.tree.map(lambda s: scale * rng.normal(size=s.shape).astype("f"), shapes)


PARAMS = drawn(0, scale=1.0)


@jax.jit
def log_p(params, first, symbols):
    """log p of each symbol [T, N] after what came before, [T, N]."""
    read = jnp.concatenate([jnp.broadcast_to(first, symbols[:1].shape), symbols[:-1]])
    _, logits = rnnjax.unroll(MODEL, params, None, read)
    own = jax.nn.log_softmax(logits)
    return jnp.take_along_axis(own, symbols[..., None], -1)[..., 0]


def every_one(params, first, alpha=0.0, end=END, fits=lambda text: True):
    """All that can be written, as (score, text with its end symbol), the best first."""
    each = np.asarray(log_p(params, first, ALL), np.float64)
    found = {}
    for n, text in enumerate(ALL.T.tolist()):
        size = text.index(end) + 1 if end in text else T
        if fits(text[:size]):
            score = each[:size, n].sum() / ((5 + size) / 6) ** alpha
            found[tuple(text[:size])] = score
    return sorted(((score, text) for text, score in found.items()), reverse=True)


def texts(decoded, row, end=END):
    """The K texts of a row, with the end symbols, and their scores."""
    symbols, lengths, scores = (np.asarray(leaf) for leaf in decoded)
    found = []
    for k in range(scores.shape[-1]):
        size, text = lengths[row, k], symbols[:, row, k]
        if scores[row, k] == -np.inf:
            assert (text == -1).all()
            continue
        assert (text[size:] == end).all(), "what has ended stays ended"
        found.append((scores[row, k], tuple(text[: size + (size < T)].tolist())))
    return found


def assert_same(got, want):
    assert [text for _, text in got] == [text for _, text in want]
    np.testing.assert_allclose([s for s, _ in got], [s for s, _ in want], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_as_wide_as_all_prefixes_it_finds_the_best_of_all(alpha):
    wide = decoding.beam_search(
        MODEL, PARAMS, None, FIRST, length=T, width=V ** (T - 1), end=END, length_penalty=alpha
    )
    for row, first in enumerate(FIRST):
        want = every_one(PARAMS, first, alpha)
        assert_same(texts(wide, row)[:100], want[:100])


def test_without_an_end_symbol():
    wide = decoding.beam_search(MODEL, PARAMS, None, FIRST, length=T, width=V ** (T - 1))
    want = every_one(PARAMS, FIRST[1], end=None)
    assert_same(texts(wide, 1, None)[:256], want[:256])
    assert (wide.lengths == T).all()


def by_hand(params, first, width, alpha):
    """The search of `beam_search`, with lists of texts."""
    kept = [(0.0, ())]
    table = {}
    each = np.asarray(log_p(params, first, ALL), np.float64)
    for n, text in enumerate(map(tuple, ALL.T.tolist())):
        for t in range(T):
            table[text[: t + 1]] = each[t, n]
    for _ in range(T):
        options = []
        for score, text in kept:
            if text and text[-1] == END:
                options.append((score, text))
            else:
                options += [(score + table[(*text, w)], (*text, w)) for w in range(V)]
        options.sort(key=lambda o: -o[0] / ((5 + len(o[1])) / 6) ** alpha)
        kept = options[:width]
    return [(score / ((5 + len(text)) / 6) ** alpha, text) for score, text in kept]


@pytest.mark.parametrize(("width", "alpha"), [(V, 0.0), (V, 1.0), (2, 0.6)])
def test_a_narrow_beam_is_the_search_by_hand(width, alpha):
    for seed in range(5):
        params = drawn(seed, scale=1.0)
        found = decoding.beam_search(
            MODEL, params, None, FIRST, length=T, width=width, end=END, length_penalty=alpha
        )
        for row, first in enumerate(FIRST):
            assert_same(texts(found, row), by_hand(params, first, width, alpha))


def test_width_1_is_greedy_and_wider_is_better():
    @jax.jit
    def each(params):
        found = [
            decoding.beam_search(MODEL, params, None, FIRST[:1], length=T, width=k, end=END)
            for k in (1, 2, 4, 8)
        ]
        return found, decoding.greedy(MODEL, params, None, FIRST[:1], length=T, end=END)

    cases = [drawn(seed) for seed in range(200)]
    found, greedy = jax.vmap(each)(jax.tree.map(lambda *a: np.stack(a), *cases))
    np.testing.assert_array_equal(found[0].symbols[..., 0], greedy.symbols)
    np.testing.assert_array_equal(found[0].lengths[..., 0], greedy.lengths)
    np.testing.assert_allclose(found[0].scores[..., 0], greedy.scores, rtol=1e-5, atol=1e-6)
    best = np.array([f.scores[:, 0, 0] for f in found])
    assert (np.diff(best.mean(1)) > -1e-6).all(), "wider is never worse, in the mean"
    assert best.mean(1)[2] > best.mean(1)[0] + 0.05
    assert (greedy.lengths < T).any()
    assert (greedy.lengths == T).any()


def test_greedy_and_samples_are_scored_by_the_model():
    greedy = decoding.greedy(MODEL, PARAMS, None, FIRST, length=T, end=END)
    sample = decoding.sample(
        MODEL, PARAMS, None, FIRST, key=jax.random.key(0), length=T, end=END, temperature=1.5
    )
    for found in (greedy, sample):
        symbols, lengths, scores = (np.asarray(leaf) for leaf in found)
        for row, first in enumerate(FIRST):
            each = np.asarray(log_p(PARAMS, first, symbols[:, row : row + 1]))[:, 0]
            size = lengths[row] + (lengths[row] < T)
            np.testing.assert_allclose(scores[row], each[:size].sum(), rtol=1e-5)
            assert (symbols[lengths[row] :, row] == END).all()
            assert (symbols[: lengths[row], row] != END).all()
    read = np.concatenate([FIRST[None], greedy.symbols[:-1]])
    _, logits = rnnjax.unroll(MODEL, PARAMS, None, read)
    before = np.arange(T)[:, None] < greedy.lengths
    np.testing.assert_array_equal(np.asarray(logits.argmax(-1))[before], greedy.symbols[before])


def test_rows_are_independent_and_the_batch_has_any_axes():
    how = {"length": T, "width": 3, "end": END, "length_penalty": 0.5}
    whole = decoding.beam_search(MODEL, PARAMS, None, FIRST, **how)
    for row in range(B):
        alone = decoding.beam_search(MODEL, PARAMS, None, FIRST[row], **how)
        assert_close(alone.symbols, whole.symbols[:, row])
        assert_close(alone[1:], (whole.lengths[row], whole.scores[row]))
    two = decoding.beam_search(MODEL, PARAMS, None, FIRST[None, :], **how)
    assert_close(two.symbols[:, 0], whole.symbols)
    keys = jax.random.split(jax.random.key(3), B)
    drawn_all = decoding.sample(MODEL, PARAMS, None, FIRST, key=keys, length=9)
    one = decoding.sample(MODEL, PARAMS, None, FIRST[1:2], key=keys[1:2], length=9)
    assert_close(one, jax.tree.map(lambda a: a[..., 1:2], drawn_all))


# --- states of any form --------------------------------------------------------------------------


def remembering():
    """A cell whose state is a dict of a sum, a counter, keys and what is held; a fixed walk.

    The next symbol is told by all that was written: so a state that is not reordered is seen.
    """

    def step(params, state, x):
        seen = state["seen"] * V + x
        bias = state["held"].value["bias"]
        noise = jax.random.key_data(state["key"][..., 0])[..., 1:].astype(jnp.int32)
        mixed = (seen[..., None] * 7 + jnp.arange(V) * 5 + noise % 3) % 11
        logits = mixed.astype(jnp.float32) / 3 + bias
        return {**state, "seen": seen, "t": (state["t"][0] + 1,)}, logits

    def initial_state(params, batch=(), *, key=None):
        keys = rnnjax.noise_keys(jax.random.key(5) if key is None else key, batch)
        return {
            "seen": jnp.zeros(batch, jnp.int32),
            "t": (jnp.zeros(batch, jnp.int32),),
            "key": keys,
            "held": Held({"bias": jnp.zeros((*batch, V))}),
        }

    return rnnjax.Cell("remembering", lambda key, x_spec: (), initial_state, step, x_ndims=0)


def test_states_of_any_form_are_reordered():
    cell = remembering()
    bias = np.random.default_rng(0).normal(size=(B, V)).astype("f")
    state = rnnjax.hold(cell.initial_state((), (B,)), {"bias": bias})
    found = decoding.beam_search(cell, (), state, FIRST, length=T, width=5)
    symbols, _, scores = (np.asarray(leaf) for leaf in found)
    for row, k in itertools.product(range(B), range(5)):
        one, score = jax.tree.map(lambda a, r=row: a[r], state), 0.0
        for symbol, following in itertools.pairwise([FIRST[row], *symbols[:, row, k]]):
            one, logits = cell.step((), one, jnp.int32(symbol))
            score += jax.nn.log_softmax(logits)[following]
        np.testing.assert_allclose(scores[row, k], score, rtol=1e-5)
    assert len({tuple(text) for text in symbols[:, 0].T}) == 5


# --- constraints, coverage -----------------------------------------------------------------------


def no_repeat(prefix, t):
    """Not the symbol that was written last."""
    last = jnp.where(t > 0, jnp.take(prefix, jnp.maximum(t - 1, 0), axis=-1), -1)
    return jnp.arange(V) != last[..., None]


def test_prefixes_are_constrained():
    def fits(text):
        return all(a != b for a, b in itertools.pairwise(text))

    wide = decoding.beam_search(
        MODEL, PARAMS, None, FIRST, length=T, width=256, end=END, allowed=no_repeat
    )
    for row, first in enumerate(FIRST):
        want = every_one(PARAMS, first, fits=fits)
        assert_same(texts(wide, row)[: len(want)], want)
        assert len(texts(wide, row)) == len(want)
    for how in (decoding.greedy, decoding.sample):
        options = {"key": jax.random.key(0)} if how is decoding.sample else {}
        symbols = how(MODEL, PARAMS, None, FIRST, length=9, allowed=no_repeat, **options).symbols
        assert (np.diff(symbols, axis=0) != 0).all()


def test_where_nothing_is_allowed_nothing_is_written():
    def never(prefix, t):
        return jnp.full(V, False)

    found = decoding.greedy(MODEL, PARAMS, None, FIRST, length=2, allowed=never)
    assert (found.symbols == -1).all()
    assert jnp.isnan(found.scores).all()
    found = decoding.beam_search(MODEL, PARAMS, None, FIRST, length=2, width=2, allowed=never)
    assert jnp.isneginf(found.scores).all()


def test_coverage_is_of_what_was_looked_at():
    """The score of each of the K, from the weights of its own unroll."""
    decoder = rnnjax.attend(rnnjax.gru(4), 3, attention.additive(3))
    shown = rnnjax.attend(rnnjax.gru(4), 3, attention.additive(3), output="weights")
    embed = rnnjax.embed(V, 4)
    model = rnnjax.stack(embed=embed, decoder=decoder, readout=rnnjax.linear(V))
    looks = rnnjax.stack(embed=embed, decoder=shown)
    params = drawn(1, model, 1.0)
    memory = np.random.default_rng(0).normal(size=(6, B, 3)).astype("f")
    state = attention.start(model, params, memory, lengths=np.array([6, 3, 0]))

    def part(tree):
        return {name: tree[name] for name in ("embed", "decoder")}

    def weights(params, state, symbol):
        return looks.step(part(params), part(state), symbol)[1][..., 0, :]

    alpha, beta, width = 0.5, 5.0, 3
    found = decoding.beam_search(
        model, params, state, FIRST, length=T, width=width, end=END,
        length_penalty=alpha, coverage_penalty=beta, weights=weights,
    )  # fmt: skip
    plain = decoding.beam_search(model, params, state, FIRST, length=T, width=width, end=END)
    assert (found.symbols != plain.symbols).any()
    symbols, lengths, scores = (np.asarray(leaf) for leaf in found)
    for k in range(width):
        read = np.concatenate([FIRST[None], symbols[:-1, :, k]])
        _, logits = rnnjax.unroll(model, params, state, read)
        _, looked = rnnjax.unroll(looks, part(params), part(state), read)
        each = np.take_along_axis(
            np.asarray(jax.nn.log_softmax(logits)), symbols[:, :, k, None], -1
        )[..., 0]
        for row, places in enumerate((6, 3, 0)):
            n = lengths[row, k] + (lengths[row, k] < T)
            covered = np.minimum(np.asarray(looked)[:n, row, 0, :places].sum(0), 1)
            want = each[:n, row].sum() / ((5 + n) / 6) ** alpha + beta * np.log(covered).sum()
            np.testing.assert_allclose(scores[row, k], want, rtol=1e-4)


# --- draws ---------------------------------------------------------------------------------------


LOGITS = np.array([0.1, 1.5, -1.0, 1.0], np.float32)


@pytest.mark.parametrize(("cuts", "kept"), [
    ({}, [0, 1, 2, 3]),
    ({"top_k": 2}, [1, 3]),
    ({"top_p": 0.6}, [1, 3]),
    ({"min_p": 0.2}, [0, 1, 3]),  # of the likeliest: 0.25, 1, 0.08, 0.61
    ({"min_p": 0.7}, [1]),
    ({"min_p": 0.5, "temperature": 2.0}, [1, 3]),  # 0.497, 1, 0.29, 0.78
    ({"temperature": 0}, [1]),
    ({"temperature": 0.0, "top_k": 3}, [1]),
], ids=str)  # fmt: skip
def test_draws_are_of_the_softmax_cut_off(cuts, kept):
    n = 4000
    keys = jax.random.split(jax.random.key(0), (2, n // 2))
    drawn = decoding.draw(jnp.broadcast_to(LOGITS, (2, n // 2, V)), keys, **cuts)
    p = np.exp(LOGITS[kept] / (cuts.get("temperature") or 1.0))
    found = np.bincount(np.asarray(drawn).ravel(), minlength=V) / n
    assert (np.flatnonzero(found) == kept).all()
    assert np.abs(found[kept] - p / p.sum()).max() < 4 * (0.25 / n) ** 0.5


def fixed(logits):
    """A cell that says the same whatever it reads."""
    return rnnjax.Cell(
        "fixed",
        init=lambda key, x_spec: (),
        initial_state=lambda params, batch=(), *, key=None: jnp.zeros((*batch, 1)),
        step=lambda params, state, x: (state, jnp.broadcast_to(logits, (*x.shape, V))),
        x_ndims=0,
    )


@pytest.mark.parametrize(("logits", "penalty", "want"), [
    ([1.0, -0.1, 2.0, -3.0], 1.0, [2, 2, 2, 2]),
    ([1.0, -0.1, 2.0, -3.0], 1.5, [2, 2, 2, 2]),
    ([1.0, -0.1, 2.0, -3.0], 2.5, [2, 0, 2, 2]),  # 2 -> 0.8, 1 -> 0.4
    ([-1.0, -2.0, -3.0, -4.0], 2.5, [0, 1, 0, 0]),  # -1 -> -2.5, -2 -> -5
], ids=str)  # fmt: skip
def test_repetition_is_penalised(logits, penalty, want):
    """Positive logits divided, the others multiplied, of what the row has written."""
    logits = jnp.array(logits)
    found = decoding.sample(
        fixed(logits), (), None, np.zeros(2, int), key=jax.random.key(0), length=4,
        temperature=0, repetition=penalty,
    )  # fmt: skip
    assert found.symbols[:, 0].tolist() == want
    own = jax.nn.log_softmax(logits)[np.array(want)].sum()
    np.testing.assert_allclose(found.scores, own, rtol=1e-6)  # the cell's own


def test_steps_draw_anew():
    """Each step of each row has a draw of its own; the key decides."""
    cell, first = fixed(jnp.zeros(V)), np.zeros(50, int)
    symbols = [
        decoding.sample(cell, (), None, first, key=jax.random.key(seed), length=40).symbols
        for seed in (0, 0, 1)
    ]
    assert (symbols[0] == symbols[1]).all()
    for other in (symbols[2], jnp.roll(symbols[0], 1, 0), jnp.roll(symbols[0], 1, 1)):
        assert abs((symbols[0] == other).mean() - 1 / V) < 5 * (3 / 16 / other.size) ** 0.5


def test_other_numbers_compile_nothing(caplog):
    def each(temperature, top_p, alpha, key):
        decoding.sample(MODEL, PARAMS, None, FIRST, key=jax.random.key(key), length=T,
                        temperature=temperature, top_p=top_p, end=END)  # fmt: skip
        decoding.beam_search(
            MODEL, PARAMS, None, FIRST, length=T, width=2, end=END, length_penalty=alpha
        )

    each(1.0, 1.0, 0.0, 0)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        each(0.5, 0.9, 1.0, 1)
    assert not [r.getMessage() for r in caplog.records if r.getMessage().startswith("Compiling")]


def test_what_is_not_finite_is_seen():
    broken = jax.tree.map(lambda a: a * np.nan, PARAMS)
    found = decoding.greedy(MODEL, broken, None, FIRST, length=3, end=END)
    assert (found.symbols == -1).all()
    assert jnp.isnan(found.scores).all()
    assert (decoding.draw(jnp.full((2, V), jnp.inf), jax.random.split(jax.random.key(0))) < 0).all()


def beams(**how):
    how = {"length": T, "width": 2, **how}
    return decoding.beam_search(MODEL, PARAMS, None, how.pop("first", FIRST), **how)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: decoding.greedy(rnnjax.gru(3), (), None, FIRST, length=1), TypeError,
     r"gru\(3\) takes no symbols"),
    (lambda: beams(first=np.ones(2)), TypeError, r"first must hold integer .*, got float"),
    (lambda: beams(length=0), ValueError, r"length must be a positive int, got 0"),
    (lambda: beams(width=0), ValueError, r"width must be a positive int, got 0"),
    (lambda: beams(end=-1), ValueError, r"end must be an int of at least 0"),
    (lambda: beams(end=V), ValueError, r"end is 4, but stack\(.*\) has 4 symbols"),
    (lambda: beams(length_penalty=-1.0), ValueError, r"length_penalty must be .* got -1\.0"),
    (lambda: beams(coverage_penalty=0.1), ValueError, r"coverage_penalty needs weights"),
    (lambda: decoding.draw(LOGITS, jax.random.key(0), top_p=0.0), ValueError, r"top_p must be"),
    (lambda: decoding.draw(LOGITS, jax.random.key(0), min_p=1.5), ValueError, r"min_p must be"),
    (lambda: decoding.sample(MODEL, PARAMS, None, FIRST, key=jax.random.key(0), length=1,
                             repetition=0.0), ValueError, r"repetition must be a positive"),
])  # fmt: skip
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
