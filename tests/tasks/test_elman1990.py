"""Elman, 1990: what streams are made of, what is expected of them, figures, what users bring."""

import dataclasses
import itertools
import re
from collections import Counter

import jax
import numpy as np
import pytest

from rnnjax.tasks.elman1990 import (
    STUDIES,
    Elman1990,
    Stream,
    conditional_means,
    expected,
    peaks,
    read_units,
    squared_errors,
    stream,
)
from rnnjax.tasks.elman1990.expected import LAST, LIKELY, MEAN, cosines, f1, unit_contexts
from rnnjax.tasks.elman1990.picture import draw_words_tree
from rnnjax.tasks.elman1990.studies import CATEGORIES, LEXICON, TEMPLATES, WORDS
from rnnjax.tasks.elman1990.task import PUBLISHED, Part, means_by_symbol
from rnnjax.train.run import begin
from rnnjax.train.step import make_train_step


@pytest.fixture(scope="module")
def drawn():
    """Units of each study."""
    return {name: study.draw(np.random.default_rng(7)) for name, study in STUDIES.items()}


# --- streams --------------------------------------------------------------------------------------


def test_streams_are_of_the_paper_s_sizes(drawn):
    assert {name: len(units) for name, units in drawn.items() if name != "words"} == {
        "sentences": 10_000, "letters": 1000, "xor": 1000,
    }  # fmt: skip
    assert {name: study.code.shape for name, study in STUDIES.items()} == {
        "sentences": (30, 31), "words": (26, 5), "letters": (6, 6), "xor": (2, 1),
    }  # fmt: skip
    words = sum(map(len, drawn["sentences"]))
    assert words == pytest.approx(27_534, abs=4 * 43)  # sqrt(10000 * 3 / 16)
    assert 200 * 4 <= len(drawn["words"]) <= 200 * 9


def test_the_third_bit_is_the_xor_of_the_other_two(drawn):
    counts = Counter(drawn["xor"])
    assert set(counts) == {tuple("000"), tuple("011"), tuple("101"), tuple("110")}
    assert min(counts.values()) > 250 - 4 * 13.7  # sqrt(1000 * 3 / 16)


def test_each_consonant_has_its_vowels(drawn):
    counts = Counter(map("".join, drawn["letters"]))
    assert set(counts) == {"ba", "dii", "guuu"}
    assert min(counts.values()) > 1000 / 3 - 4 * 15


def test_codes_are_those_of_the_tables():
    study = STUDIES["letters"]
    consonant, vowel, interrupted, high, back, voiced = study.code.T
    assert consonant.tolist() == [symbol in "bdg" for symbol in study.symbols]
    np.testing.assert_array_equal(vowel, 1 - consonant)
    np.testing.assert_array_equal(interrupted, consonant)
    assert [s for s, bit in zip(study.symbols, high, strict=True) if bit] == ["d", "i", "u"]
    assert [s for s, bit in zip(study.symbols, back, strict=True) if bit] == ["g", "a", "u"]
    assert voiced.all()
    words = STUDIES["words"]
    bits = dict(zip(words.symbols, words.code.astype(int).tolist(), strict=True))
    # As table 2 has them.
    for letter, code in {"m": "01101", "a": "00001", "y": "11001", "s": "10011"}.items():
        assert bits[letter] == [*map(int, code)]


def test_words_are_of_the_lexicon(drawn):
    assert set(map("".join, drawn["words"])) == set(LEXICON)
    assert len(set(LEXICON)) == 15


def test_every_sentence_is_of_a_template_and_every_template_gives_some(drawn):
    sentences = Counter(drawn["sentences"])
    words = {name: some.split() for name, some in CATEGORIES.items()}
    share = Counter()
    for template in TEMPLATES:
        some = [*itertools.product(*(words[name] for name in template))]
        for sentence in some:
            share[sentence] += 1 / len(TEMPLATES) / len(some)
    assert set(sentences) <= set(share)
    assert sum(share.values()) == pytest.approx(1)
    # As often as they should: 4 standard errors of any, and the whole by chi squared.
    often = {s: p for s, p in share.items() if 10_000 * p > 8}
    far = sum((sentences[s] - 10_000 * p) ** 2 / (10_000 * p) for s, p in often.items())
    assert far < len(often) + 4 * np.sqrt(2 * len(often))
    assert len(WORDS) == 29


def test_who_does_what(drawn):
    """What the templates of the paper's table 4 mean, without them."""
    humans, aggressors = set("man woman boy girl".split()), set("dragon monster lion".split())
    animals, food = set("cat mouse dog".split()), set("cookie bread sandwich".split())
    fragile, things = set("glass plate".split()), set("book rock car".split())
    animate, inanimate = humans | aggressors | animals, things | food | fragile
    done = {}
    for subject, verb, *objects in drawn["sentences"]:
        done.setdefault(verb, set()).add((subject, *objects))
    pairs = {
        "eat": {(a, f) for a in animate for f in food}
        | {(a, b) for a in aggressors for b in animate},
        "smash": {(a, f) for a in humans | aggressors for f in fragile},
        "smell": {(h, i) for h in humans for i in inanimate},
        "move": {(a, i) for a in animate for i in inanimate} | {(x,) for x in animate | inanimate},
        "chase": {(a, b) for a in animate for b in animate},
        "sleep": {(h,) for h in humans},
    }
    pairs |= {"like": pairs["chase"], "think": pairs["sleep"], "exist": pairs["sleep"]}
    pairs |= {"break": pairs["move"] | pairs["smash"], "see": pairs["chase"] | pairs["smell"]}
    assert set(done) == set(pairs)
    for verb, some in done.items():
        assert some <= pairs[verb]
        assert len(some) > 0.8 * len(pairs[verb])


def test_places_begin_anew_with_every_unit(drawn):
    for name, study in STUDIES.items():
        ids, places = stream(study, drawn[name])
        assert (places == 0).sum() == len(drawn[name])
        whole = "".join(study.symbols[n] for n in ids)
        assert whole == "".join("".join(unit) for unit in drawn[name])
        assert np.all((np.diff(places) == 1) | (places[1:] == 0))


# --- what is expected -----------------------------------------------------------------------------


def test_likelihoods_are_relative_frequencies_by_brute_force(drawn):
    """Of every word after every beginning of a sentence, and behind all that ended."""
    study, units = STUDIES["sentences"], drawn["sentences"][:3000]
    beginnings = {unit[:n] for unit in units for n in range(1, len(unit))}

    def heads(some):
        """What of its sentence has been read at each word; "" where that goes on nowhere."""
        read = [unit[:n] for unit in some for n in range(1, len(unit) + 1)]
        return [head if head in beginnings else "" for head in read]

    words = [word for unit in units for word in unit]
    seen = [*zip(heads(units)[:-1], words[1:], strict=True)]
    asked = drawn["sentences"][3000:3030]
    found = expected(stream(study, units), stream(study, asked), study.code)[LIKELY]
    assert len(found) == sum(map(len, asked)) - 1
    for shares, head in zip(found, heads(asked)[:-1], strict=True):
        followed = Counter(word for before, word in seen if before == head)
        right = [followed[symbol] / followed.total() for symbol in study.symbols]
        np.testing.assert_allclose(shares, [*right, 0], atol=1e-12)


def test_likelihoods_of_the_xor_by_hand(drawn):
    study = STUDIES["xor"]
    part = stream(study, [tuple("011"), tuple("101"), tuple("0")])
    found = expected(stream(study, drawn["xor"]), part, study.code)[LIKELY][:, 0]
    # After two bits their XOR is certain; elsewhere it is even.
    assert found[[1, 4]].tolist() == [1, 1]
    np.testing.assert_allclose(found[[0, 2, 3, 5]], 0.5, atol=4 * 0.023)
    assert found[2] == found[5], "behind a triple another begins, whichever it was"


def test_mean_and_last_symbol_by_hand():
    code = np.eye(3)
    train = Stream(np.array([0, 1, 0, 2, 0, 1]), np.zeros(6, int))
    found = expected(train, Stream(np.array([0, 1, 2, 0]), np.zeros(4, int)), code)
    np.testing.assert_allclose(found[MEAN], [[2 / 5, 2 / 5, 1 / 5]] * 3)
    np.testing.assert_allclose(found[LAST], [[0, 2 / 3, 1 / 3], [1, 0, 0], [1, 0, 0]])


def test_what_was_never_seen_is_the_mean_of_all():
    found = conditional_means("ab", np.array([[1.0], [3.0]]), "z")
    assert found.tolist() == [[2.0]]


def test_contexts_are_the_unit_so_far():
    assert unit_contexts(Stream(np.array([5, 6, 7, 8]), np.array([0, 1, 0, 1]))) == [
        (5,), (5, 6), (7,), (7, 8),
    ]  # fmt: skip


# --- figures --------------------------------------------------------------------------------------


def test_figures_are_those_of_loops():
    rng = np.random.default_rng(0)
    study, task = STUDIES["sentences"], Elman1990()
    part = stream(study, study.draw(rng, 5))
    likely, outputs = rng.random((2, len(part.ids) - 1, 31))
    found = task.figures(Part(part, {LIKELY: likely}), outputs)
    errors, far, cosine, by_place = [], [], [], {}
    for n, output in enumerate(outputs):
        error = sum((output[k] - (k == part.ids[n + 1])) ** 2 for k in range(31))
        errors.append(error)
        by_place.setdefault(part.places[n + 1], []).append(error)
        far.append(sum((output[k] - likely[n, k]) ** 2 for k in range(31)))
        norm = np.sqrt(sum(output**2) * sum(likely[n] ** 2))
        cosine.append(sum(output * likely[n]) / norm)
    assert next(iter(found)) == task.metric
    assert found == pytest.approx({
        task.metric: np.mean(errors),
        "of first words": np.mean(by_place[0]),
        "of second words": np.mean(by_place[1]),
        "of third words": np.mean(by_place[2]),
        "from the likelihoods": np.mean(far),
        "cosine with the likelihoods": np.mean(cosine),
    })  # fmt: skip
    assert cosines(np.zeros((1, 2)), np.ones((1, 2))).tolist() == [0]


def test_places_behind_the_last_named_one_are_its_kind():
    task = Elman1990(study="words")
    part = stream(task.reads, [tuple("they"), tuple("a")])
    outputs = np.zeros((4, 5))
    some = dict.fromkeys((LAST, LIKELY), outputs)
    found = task.figures(Part(part, some), outputs)
    ones = [n.bit_count() for n in (8, 5, 25, 1)]  # h, e, y, a
    assert found["of first letters"] == ones[3]
    assert found["of other letters"] == pytest.approx(np.mean(ones[:3]))


def test_words_are_found_at_peaks_of_the_error():
    errors = np.array([2.0, 1.0, 4.0, 4.0, 3.0, 5.0, 6.0, 0.0])
    found = peaks(errors)
    for n, error in enumerate(errors):
        before = errors[n - 1] if n else -1
        behind = errors[n + 1] if n + 1 < len(errors) else -1
        assert found[n] == (error > before and error >= behind)
    # t h e | s e a | d o g: two of three found, two false.
    assert f1(np.array([1, 0, 0, 1, 1, 1, 0, 0, 0], bool), np.arange(9) % 3 == 0) == 4 / 7
    assert f1(np.zeros(3, bool), np.array([True, False, False])) == 0


def test_words_of_a_perfect_network_are_found_in_full():
    """Whose error is 1 where a word begins, and 0 elsewhere."""
    task = Elman1990(study="words")
    # Whatever comes first has no letter before that it would have to be above.
    part = stream(task.reads, [("a",), *task.reads.draw(np.random.default_rng(0))])
    starts, targets = part.places[1:] == 0, task.reads.code[part.ids[1:]]
    outputs = targets + np.eye(5)[0] * starts[:, None]
    found = task.figures(Part(part, dict.fromkeys((LAST, LIKELY), targets)), outputs)
    hidden = starts[1:] & starts[:-1]  # behind a word of one letter, whose error is as high
    assert hidden.any()
    right = starts.sum() - hidden.sum()
    wanted = 2 * right / (right + starts.sum())
    assert found["F1 of words found at peaks of the error"] == pytest.approx(wanted)
    share = starts.mean()
    assert found["F1 of words found at every letter"] == pytest.approx(2 * share / (1 + share))


def test_what_is_published_is_of_sums_of_squares():
    """0.88 is 0.053 and what the likelihoods miss by, on average: so both are sums of squares."""
    task = Elman1990()
    data = task.data()
    found = task.baselines(data)
    likely = found["the likelihoods, told where each sentence begins"]
    assert found["Elman, 1990 (published)"] == PUBLISHED
    assert likely + 0.053 == pytest.approx(PUBLISHED, abs=0.02)
    assert np.sqrt(likely) > PUBLISHED + 0.02, "as a root it would beat the likelihoods"
    assert likely < found[LAST] < found[MEAN] < 1


# --- the network ----------------------------------------------------------------------------------


def by_hand(params, xs):
    """Hidden units and outputs of an Elman network, step by step in float64."""
    cell, readout = (jax.tree.map(lambda p: np.asarray(p, float), params[n]) for n in params)
    h, hidden, outputs = np.zeros(cell.w_h.shape[0]), [], []
    for x in xs:
        h = np.tanh(x @ cell.w_x + h @ cell.w_h + cell.b)
        hidden.append(h)
        outputs.append(1 / (1 + np.exp(-(h @ readout.w + readout.b))))
    return np.array(hidden), np.array(outputs)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small task, its data, its system, its parameters."""
    task = Elman1990.tiny(tmp_path_factory.mktemp("none"))
    data = task.data()
    system = task.system(data.facts)
    return task, data, system, system.init(jax.random.key(3))


def test_answers_are_those_of_a_loop(small):
    task, data, system, params = small
    assert [*params] == ["rnn", "readout"]
    some = data.test._replace(stream=Stream(*(leaf[:40] for leaf in data.test.stream)))
    for got, right in zip(
        system.answers(params, some), by_hand(params, task.reads.code[some.stream.ids]), strict=True
    ):
        np.testing.assert_allclose(got, right, atol=1e-5)


def test_errors_go_back_one_step_alone_as_in_the_paper(small):
    """The gradient is that of a network whose context is a given input."""
    task, data, system, params = small
    batch = task.source(data).batch(0)
    carried = system.carried(params, jax.random.key(0))
    grads = jax.jit(jax.grad(lambda p: system.loss(p, carried, batch, jax.random.key(0))[0]))
    found = grads(params)
    code, total = task.reads.code, 0
    for row in range(task.batch_size):
        xs, targets = code[batch.xs[:, row]], code[batch.targets[:, row]]
        hidden, outputs = by_hand(params, xs)
        before = np.concatenate([np.zeros_like(hidden[:1]), hidden[:-1]])
        inner = 2 * (outputs - targets) * outputs * (1 - outputs)
        inner = (inner @ np.asarray(params["readout"].w, float).T) * (1 - hidden**2)
        total = total + before.T @ inner
    np.testing.assert_allclose(found["rnn"].w_h, total / batch.xs.size, rtol=2e-4, atol=1e-7)
    whole = dataclasses.replace(task, truncate=0).system(data.facts)
    further = jax.jit(jax.grad(lambda p: whole.loss(p, carried, batch, jax.random.key(0))[0]))
    assert np.abs(further(params)["rnn"].w_h - found["rnn"].w_h).max() > 1e-5


def test_the_state_passes_on_but_into_a_new_pass(small):
    task, data, system, params = small
    source, key = task.source(data), jax.random.key(0)
    zeros = system.carried(params, key)
    loss = jax.jit(lambda carried, batch: system.loss(params, carried, batch, key))
    _, (state, _) = loss(zeros, source.batch(0))
    _, right = by_hand(params, task.reads.code[data.train.ids[: 2 * task.T]])
    second = source.batch(1)
    assert second.xs[0, 0] == data.train.ids[task.T]
    missed = squared_errors(right[task.T :], task.reads.code[second.targets[:, 0]]).mean()
    first = second._replace(xs=second.xs[:, :1], targets=second.targets[:, :1])
    value, _ = loss(jax.tree.map(lambda leaf: leaf[:1], state), first)
    assert float(value) == pytest.approx(missed, rel=1e-4)
    again = source.batch(source.steps_per_pass)
    assert again.fresh
    assert float(loss(state, again)[0]) == pytest.approx(float(loss(zeros, again)[0]))


def test_it_learns_which_vowels_follow():
    task = Elman1990(study="letters", steps=700, learning_rate=0.02)
    data = task.data()
    system, optimizer = task.system(data.facts), task.transformation()
    state = begin(system, optimizer, *jax.random.split(jax.random.key(0)))
    step, source = make_train_step(system.loss, optimizer), task.source(data)
    for n in range(task.steps):
        state, _ = step(state, source.batch(n))
    found = system.evaluate(state.params, data.test)
    assert found["of vowels"] < 0.05
    assert found[task.metric] < task.baselines(data)[LAST]
    # Which consonant comes, no one knows: their code has a variance of 2/9 in two bits.
    assert found["of consonants"] == pytest.approx(4 / 9, abs=0.06)


# --- pictures, and what users bring ---------------------------------------------------------------


def test_means_by_symbol():
    found = means_by_symbol(np.array([4, 2, 4]), np.array([[1.0], [5.0], [3.0]]))
    assert {n: mean.tolist() for n, mean in found.items()} == {2: [5.0], 4: [2.0]}


@pytest.mark.parametrize("study", STUDIES)
def test_pictures_of_a_file_however_short(study, tmp_path):
    task = Elman1990(study=study, hidden_size=2)
    text, units = {
        "sentences": ("man eat bread\n\ncar move\nman sleep\n", 3),
        "words": ("they  sang\n", 2),
        "letters": ("dii ba\nguuu", 3),
        "xor": ("011 101 110\n", 3),
    }[study]
    file = tmp_path / "units.txt"
    file.write_text(text, encoding="utf-8")
    data = task.data()
    system = task.system(data.facts)
    params = system.init(jax.random.key(0))
    part = task.read(file, data.facts)
    assert (part.stream.places == 0).sum() == units
    task.picture(system, params, data._replace(test=part), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    answer = "".join(system.predict(params, task.example(data)))
    symbols = stream(task.reads, read_units(task.reads, task.example(data))).ids
    assert answer.count("\n") == 1 + len(symbols)
    assert answer.count("; came ") == len(symbols) - 1


def test_one_word_has_no_tree(tmp_path):
    likely = np.ones((1, 2)) / 2
    draw_words_tree({"man": np.zeros(3)}, likely, likely, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").exists()


@pytest.mark.parametrize(
    ("study", "text", "said"),
    [
        ("sentences", "man eat bread\nman eat pie", "line 2 has 'pie': known are man, woman"),
        ("letters", "ba\n\nbab bx", "line 3 has 'x': known are bdgaiu"),
        ("xor", "012", "line 1 has '2': known are 01"),
        ("words", "a", "a text needs 2 of these or more: abc"),
        ("words", " \n", "is empty"),
    ],
)
def test_a_file_that_will_not_do(study, text, said, tmp_path):
    file = tmp_path / "units.txt"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(said)):
        Elman1990(study=study).read(file, {})


def test_settings_that_will_not_do():
    for changes in ({"T": 0}, {"truncate": -1}, {"hidden_size": -1}, {"study": "poems"}):
        with pytest.raises(ValueError, match=next(iter(changes))):
            dataclasses.replace(Elman1990(), **changes).check()
    for name, task in Elman1990.presets().items():
        task.check()
        assert (task.study, task.batch_size, task.optimizer) == (name, 1, "sgd")
