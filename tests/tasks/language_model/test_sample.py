"""Generation: the draws of the equation, through the very step that was trained."""

import collections
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.tasks.language_model import Vocabulary, Words, generate, generate_batch
from rnnjax.train import NonFiniteError

VOCABULARY = Vocabulary.of("abcd")
V = len(VOCABULARY)
MODEL = rnnjax.stack(rnnjax.embed(V, 4), rnnjax.gru(5), rnnjax.linear(V))
PARAMS = jax.tree.map(
    lambda leaf: 3 * leaf, MODEL.init(jax.random.key(1), jax.ShapeDtypeStruct((), int))
)


def text(cell=MODEL, params=PARAMS, prompt="ab", length=40, **options):
    return "".join(generate(cell, params, VOCABULARY, prompt, length=length, **options))


def fixed(logits, dtype=jnp.float32):
    """A model that says the same whatever it reads."""
    return rnnjax.Cell(
        name="fixed",
        init=lambda key, x_spec: jnp.asarray(logits, dtype),
        initial_state=lambda params, batch_shape=(), *, key=None: jnp.zeros((*batch_shape, 1)),
        step=lambda params, state, x: (state, jnp.broadcast_to(params, (*x.shape, len(logits)))),
        x_ndims=0,
    )


def test_the_seed_decides():
    assert text(seed=3) == text(seed=3)
    assert len({text(seed=seed) for seed in range(4)}) == 4


def test_temperature_0_takes_the_likeliest_of_unroll():
    want = "ab"
    for _ in range(12):
        _, logits = rnnjax.unroll(MODEL, PARAMS, None, jnp.asarray(VOCABULARY.encode(want)))
        want += VOCABULARY.decode([int(logits[-1, : V - 1].argmax())])
    assert text(length=12, temperature=0, seed=1) == want[2:]
    assert text(length=12, temperature=0, seed=2) == want[2:]
    assert len(set(want)) > 1


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature):
    logits = [0.0, 1.0, -1.0, 0.5, 9.0]  # the unknown symbol would be by far the likeliest
    cell = fixed(logits)
    length = 2000
    counts = collections.Counter(
        text(cell, cell.init(None, None), length=length, temperature=temperature)
    )
    p = np.exp(np.array(logits[:-1]) / temperature)
    p /= p.sum()
    found = np.array([counts[c] for c in "abcd"]) / length
    assert sum(counts.values()) == length
    assert np.abs(found - p).max() < 4 * np.sqrt(0.25 / length)  # four standard deviations


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"top_k": 2}, "bd"),
        ({"top_k": 9}, "abcd"),
        ({"top_p": 0.5}, "b"),  # p(b) = 0.51
        ({"top_p": 0.6}, "bd"),
        ({"top_p": 1e-9}, "b"),
        ({"top_k": 3, "top_p": 0.9}, "abd"),  # of the three: b 0.54, d 0.33, a 0.13
        ({"top_k": 3, "top_p": 0.8}, "bd"),
        ({"temperature": 0.1, "top_p": 0.99}, "b"),  # after the temperature
        ({"min_p": 0.5}, "bd"),  # p(b) = 0.51, p(d) = 0.31
        ({"min_p": 0.1}, "abd"),
    ],
)
def test_only_the_likeliest_are_drawn(options, kept):
    """The softmax cut off, and what is left in the proportion it had."""
    logits = np.array([0.1, 1.5, -1.0, 1.0, 9.0])
    cell, length = fixed(logits), 1000
    found = collections.Counter(text(cell, cell.init(None, None), length=length, **options))
    assert "".join(sorted(found)) == kept
    p = np.exp(logits[["abcd".index(c) for c in kept]] / options.get("temperature", 1.0))
    shares = np.array([found[c] for c in kept]) / length
    assert np.abs(shares - p / p.sum()).max() < 4 * np.sqrt(0.25 / length)


def test_what_the_text_or_its_prompt_has_is_less_likely():
    """The likeliest each time: d, then b, since d has half its logit; then both have."""
    cell = fixed([-1.0, 1.5, -0.5, 2.0, 9.0])  # a logit below 0 is multiplied
    options = {"length": 5, "temperature": 0, "repetition": 2.0}
    assert text(cell, cell.init(None, None), prompt="a", **options) == "dbddd"
    assert text(cell, cell.init(None, None), prompt="d", **options) == "bdddd"


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_draws_from_half_precision_follow_the_softmax(dtype):
    """In bfloat16 itself, the first eighth of 512 equal symbols is drawn 40 % of the time."""
    vocabulary = Vocabulary([chr(0x4E00 + i) for i in range(512)])
    cell = fixed([0.0] * 513, dtype)

    def drawn(**options):
        texts = generate_batch(
            cell, cell.init(None, None), vocabulary, chr(0x4E00), samples=64, length=32, **options
        )
        return np.array([[ord(text) - 0x4E00 for text in row] for row in texts])

    found = drawn()
    for share in ((found < 64).mean(), (found >= 448).mean()):
        assert abs(share - 1 / 8) < 4 * np.sqrt(1 / 8 * 7 / 8 / found.size)
    found = drawn(top_p=0.75)  # sums of 1/512, of which bfloat16 has few
    assert 370 < found.max() < 384


def test_of_equals_the_first_are_kept():
    cell = fixed([1.0, 1.0, 1.0, 1.0, 1.0])
    assert set(text(cell, cell.init(None, None), length=60, top_k=2)) == {"a", "b"}


def test_a_batch_is_each_of_its_texts():
    options = {"length": 25, "temperature": 0.8, "top_k": 3}
    batch = generate_batch(MODEL, PARAMS, VOCABULARY, "ab", samples=3, seed=4, **options)
    texts = ["".join(pieces) for pieces in zip(*batch, strict=True)]
    assert texts == [text(seed=4 + b, **options) for b in range(3)]
    assert len(set(texts)) == 3
    with pytest.raises(ValueError, match="samples must be a positive int, got 0"):
        generate_batch(MODEL, PARAMS, VOCABULARY, "ab", samples=0, length=1)


def test_an_unknown_symbol_is_read_only_when_asked_to():
    assert text(prompt="abx", unknown=True) == text(
        prompt="ab\N{REPLACEMENT CHARACTER}", unknown=True
    )
    assert len(text(prompt="x", unknown=True)) == 40


def test_words_come_with_their_blanks():
    vocabulary = Words.of("a , b")
    assert vocabulary.symbols == ["<eos>", ",", "a", "b"]
    cell = fixed([0.0, 0.0, 1.0, 0.0, 9.0])
    pieces = generate(cell, cell.init(None, None), vocabulary, "b,", length=2, temperature=0)
    assert list(pieces) == [" a", " a"]


@pytest.mark.parametrize("temperature", [1e-6, 1e-37, 1e-60])
def test_a_temperature_near_0_is_near_the_likeliest(temperature):
    cell = fixed([1.0, 50.0, 60.0, 59.0, 90.0])
    assert text(cell, cell.init(None, None), length=5, temperature=temperature) == "ccccc"


def test_the_least_share_keeps_the_likeliest():
    cell = fixed([1.0, 50.0, 60.0, 59.0, 90.0])
    assert text(cell, cell.init(None, None), length=5, top_p=1e-60) == "ccccc"


def test_other_numbers_compile_nothing(caplog):
    options = [
        {"temperature": 0.5},
        {"temperature": 0.7},
        {"temperature": 0.0},
        {"temperature": 1.0, "top_k": 3},
        {"top_k": 2, "top_p": 0.5, "seed": 9, "prompt": "abcd", "length": 3},
        {"top_p": 0.9},
    ]
    text(**options[0])
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        for each in options[1:]:
            text(**each)
    assert not [r.getMessage() for r in caplog.records if r.getMessage().startswith("Compiling")]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_logits_that_are_not_finite_are_an_error_not_a_text(temperature, bad):
    """From the symbol on at which they are, and in the text in which they are."""

    def step(params, state, x):
        state = state + 1
        logits = jnp.broadcast_to(params, (*x.shape, V))
        return state, jnp.where((state == 4)[..., None], bad, logits)

    late = rnnjax.Cell(
        name="late",
        init=lambda key, x_spec: jnp.arange(float(V)),
        initial_state=lambda params, batch_shape=(), *, key=None: (
            -jnp.arange(float(np.prod(batch_shape)))
        ),
        step=step,
        x_ndims=0,
    )
    params, wanted = late.init(None, None), {"length": 9, "temperature": temperature}
    found = generate(late, params, VOCABULARY, "ab", **wanted)
    assert len(next(found) + next(found)) == 2
    message = "the logits of text 0 are not finite after 4 symbols; the parameters are finite: "
    with pytest.raises(NonFiniteError, match=message):
        next(found)
    broken = jax.tree.map(lambda leaf: leaf.at[0].set(bad), PARAMS)
    message = r"text 0 are not finite after 3 symbols: params\[0\]\.table is not finite$"
    with pytest.raises(NonFiniteError, match=message):
        text(params=broken, prompt="aba", **wanted)


def test_the_text_that_breaks_is_named():
    def step(params, rows, x):  # the second row alone
        return rows, jnp.where(rows[..., None] == 1, jnp.nan, jnp.zeros((*x.shape, V)))

    cell = rnnjax.Cell(
        name="second",
        init=lambda key, x_spec: jnp.zeros(1),
        initial_state=lambda params, batch_shape=(), *, key=None: jnp.arange(float(batch_shape[0])),
        step=step,
        x_ndims=0,
    )
    with pytest.raises(NonFiniteError, match="the logits of text 1 are not finite after 1 symbols"):
        next(generate_batch(cell, jnp.zeros(1), VOCABULARY, "a", samples=3, length=1))


def test_params_survive_a_learnable_initial_state():
    learnt = rnnjax.Cell(
        name="learnt",
        init=lambda key, x_spec: jnp.arange(float(V)),
        initial_state=lambda params, batch_shape=(), *, key=None: jnp.broadcast_to(
            params, (*batch_shape, V)
        ),
        step=lambda params, h, x: (h + params, h),
        x_ndims=0,
    )
    params = learnt.init(None, None)
    assert text(learnt, params, seed=1) == text(learnt, params, seed=1)


def test_the_text_comes_one_character_at_a_time():
    stream = generate(MODEL, PARAMS, VOCABULARY, "a", length=10**9)
    assert len(next(stream) + next(stream)) == 2
    assert text(length=0) == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": ""}, "prompt needs at least one character"),
        ({"top_k": -1}, "top_k must be an int of at least 0, got -1"),
        ({"top_p": 0.0}, r"top_p must be a number in \(0, 1\], got 0\.0"),
        ({"top_p": 1.5}, r"top_p must be a number in \(0, 1\], got 1\.5"),
        ({"prompt": "abx"}, r"the character 'x' \(position 2\) was not in the training text"),
        ({"temperature": -0.1}, r"temperature must be a number, at least 0 and finite, got -0\.1"),
        (
            {"temperature": float("nan")},
            "temperature must be a number, at least 0 and finite, got nan",
        ),
        (
            {"temperature": float("inf")},
            "temperature must be a number, at least 0 and finite, got inf",
        ),
        ({"length": -1}, "length must be an int of at least 0, got -1"),
    ],
)
def test_errors_come_before_the_first_character(options, message):
    with pytest.raises(ValueError, match=message):
        generate(MODEL, PARAMS, VOCABULARY, **{"prompt": "a", "length": 5, **options})
