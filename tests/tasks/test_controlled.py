"""Tasks that tell cells apart: what they ask, by recognisers and simulators of another kind."""

import collections
import dataclasses
import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax._cell import step_spec
from rnnjax.tasks import TASKS
from rnnjax.tasks._cells import NAMES, inputs_of, model_of
from rnnjax.tasks.controlled import _base as base
from rnnjax.tasks.controlled import chaos
from rnnjax.tasks.controlled._base import KINDS, Batch, Controlled, Symbolic
from rnnjax.train import Data, train_seeds

KINDS_OF = {name: kind for name, kind in TASKS.items() if issubclass(kind, Controlled)}
SYMBOLIC = [name for name, kind in KINDS_OF.items() if issubclass(kind, Symbolic)]
B = 24


@pytest.fixture(scope="module")
def drawn():
    """name -> (task, batch) of mixed lengths, the first and the last row of the longest."""
    found = {}

    def of(name):
        if name not in found:
            kind = KINDS_OF[name]
            T = 4 * kind.least + 7
            task = kind(T=T, shortest=max(kind.least, getattr(kind, "count", 0)))
            sizes = np.linspace(task.shortest, T, B).astype(int)
            sizes[0] = T
            make = jax.jit(lambda key: task.sequences(key, jnp.asarray(sizes), T))
            found[name] = task, sizes, jax.device_get(make(jax.random.key(3)))
        return found[name]

    return of


def asked_of(task, batch, row):
    """The letters of a row, and what is asked behind which of them: {place: answer}."""
    n = batch.lengths[row]
    assert not batch.asked[n:, row].any()
    letters = "".join(task.reads[k] for k in batch.xs[:n, row].argmax(axis=-1))
    asked = {}
    for place in np.flatnonzero(batch.asked[:, row]):
        target = batch.targets[place, row]
        if task.kind == "set":
            asked[place] = {task.outputs[k] for k in np.flatnonzero(target)}
        else:
            asked[place] = task.outputs[target]
    return letters, asked


# --- what is right, by other means ---------------------------------------------------------------


def parity(word):
    return {len(word) - 1: "odd" if word.count("1") % 2 else "even"}


def even_pairs(word):
    pairs = sum(a + b in ("ab", "ba") for a, b in itertools.pairwise(word))
    return {len(word) - 1: "odd" if pairs % 2 else "even"}


def cycle(word):
    place = 0
    for letter in word:
        if letter != "0":
            place = place + 1 if letter == "+" else place - 1
            place = {5: 0, -1: 4}.get(place, place)
    return {len(word) - 1: str(place)}


def arithmetic(word):
    return {len(word) - 1: str(eval(word) % 5)}


def brackets(pairs):
    def behind(word):
        stack, asked = [], {0: {"$", *pairs}}
        for place, letter in enumerate(word[1:], 1):
            if letter in pairs:
                stack.append(pairs[letter])
            else:
                assert stack.pop() == letter
            asked[place] = {*pairs, stack[-1] if stack else "$"}
        assert not stack, "a whole word"
        return asked

    return behind


def enumerated(letters):
    language = ["".join(letter * n for letter in letters) + "$" for n in range(1, 40)]

    def behind(word):
        assert word[1:] + "$" in language
        return {
            place: {w[place] for w in language if w.startswith(word[1 : place + 1])}
            for place in range(len(word))
        }

    return behind


# The grammar as a picture has it: an arrow a letter.
ARROWS = """0B1 1T2 1P3 2S2 2X4 3T3 3V5 4X3 4S6 5P4 5V6 6E7"""
GRAMMAR = {n: {} for n in range(8)}
for arrow in ARROWS.split():
    GRAMMAR[int(arrow[0])][arrow[1]] = int(arrow[2])
FROM_4 = "(?:XT*VP)*(?:S|XT*VV)"
REBER = re.compile(f"B([TP])B(?:TS*X{FROM_4}|PT*V(?:V|P{FROM_4}))E\\1")


def reber(word):
    assert REBER.fullmatch(word), word
    asked, state = {0: {"T", "P"}, 1: {"B"}}, 0
    for place, letter in enumerate(word[2:-1], 2):
        state = GRAMMAR[state][letter]
        asked[place] = set(GRAMMAR[state]) or {word[1]}
    return asked | {len(word) - 1: {"E"}}


def order(word):
    return {len(word) - 1: re.sub("[a-d]", "", word)}


def selected(word):
    read, _, answer = word.partition(">")
    kept = [letter for letter in read if letter != "."]
    assert answer == "." * (len(kept) - 1)
    return {len(read) + n: letter for n, letter in enumerate(kept)}


def recalled(word):
    pairs, asked = word.split("??")
    known = dict(re.findall("(.)(.)", pairs))
    assert len(known) == len(pairs) / 2, "no letter twice"
    return {len(word) - 1: known[asked]}


def alphabet(word):
    assert set(word[1:]) <= {"."}
    return {n: chr((ord(word[0]) - 64 + n) % 26 + 65) for n in range(len(word))}


RIGHT = {
    "parity": parity,
    "even-pairs": even_pairs,
    "cycle-navigation": cycle,
    "modular-arithmetic": arithmetic,
    "dyck-1": brackets({"(": ")"}),
    "dyck-2": brackets({"(": ")", "[": "]"}),
    "anbn": enumerated("ab"),
    "anbncn": enumerated("abc"),
    "embedded-reber": reber,
    "temporal-order": order,
    "temporal-order-3": order,
    "selective-copy": selected,
    "recall": recalled,
    "alphabet": alphabet,
}
# How many steps a sequence of each size has.
STEPS = {
    "modular-arithmetic": lambda n: n - (n % 2 == 0),
    "dyck-1": lambda n: n // 2 * 2 + 1,
    "dyck-2": lambda n: n // 2 * 2 + 1,
    "anbn": lambda n: 2 * n + 1,
    "anbncn": lambda n: 3 * n + 1,
    "embedded-reber": lambda n: n + 3,
    "selective-copy": lambda n: n + 4,
    "recall": lambda n: 2 * n + 3,
}


@pytest.mark.parametrize("name", SYMBOLIC)
def test_what_is_right_is_what_a_simulation_says(name, drawn):
    task, sizes, batch = drawn(name)
    steps = STEPS.get(name, lambda n: n)
    seen = set()
    for row in range(B):
        letters, asked = asked_of(task, batch, row)
        assert len(letters) == steps(sizes[row])
        assert asked == RIGHT[name](letters), letters
        seen |= {str(answer) for answer in asked.values()}
    assert len(seen) > 1
    assert (batch.xs.sum(axis=-1) == 1).all()


@pytest.mark.parametrize("name", SYMBOLIC)
def test_a_request_is_a_sequence_as_text(name, drawn):
    task, _, batch = drawn(name)
    text = task.example(Data(None, None, {task.T: batch}, {}))
    found, said = task.asked_for(text)
    assert said == text.replace(" ", "")
    n = batch.lengths[0]
    for mine, theirs in zip(found, batch, strict=True):
        theirs = theirs[:1] if theirs.ndim == 1 else theirs[:n, :1]
        if mine.ndim == 2 and mine.dtype != bool:  # targets matter where they are asked
            mine, theirs = (np.where(batch.asked[:n, :1], x, 0) for x in (mine, theirs))
        np.testing.assert_array_equal(mine, theirs)
    right = np.asarray(found.targets[:, 0])
    outputs = 2.0 * right - 1 if task.kind == "set" else np.eye(len(task.outputs))[right]
    answer, _, truth = task.said(outputs, found).partition(", right: ")
    assert answer == truth != ""
    for request in ("", "\x00", "?", "0 1 x"):
        with pytest.raises(ValueError, match="a request is"):
            task.asked_for(request)


@pytest.mark.parametrize(
    ("name", "request_", "answer"),
    [
        ("dyck-2", "([", "([$ ()[ ([]"),
        ("anbn", "ab", "a ab $"),
        ("embedded-reber", "BTBT", "TP B TP SX"),
        ("selective-copy", "..B.A", "BA"),
        ("recall", "c9k8??k", "8"),
        ("alphabet", "Q 5", "RSTUV"),
        ("alphabet", "Y 3", "ZAB"),
        ("modular-arithmetic", "2+3*4-1", "3"),
    ],
)
def test_requests_by_hand(name, request_, answer):
    task = KINDS_OF[name]()
    batch, _ = task.asked_for(request_)
    outputs = np.zeros((len(batch.asked), len(task.outputs)))
    assert task.said(outputs, batch).partition(", right: ")[2] == answer


@pytest.mark.parametrize(
    ("name", "request_", "match"),
    [
        ("dyck-1", "())", r"behind '\(\)' comes \( or \$, not \)"),
        ("anbn", "abb", r"behind 'ab' comes \$, not b"),
        ("embedded-reber", "BTBX", "behind 'BTB' comes T or P, not X"),
        ("recall", "c9c8??c", "a request is pairs of different letters"),
        ("recall", "c9k8??x", "a request is pairs"),
        ("modular-arithmetic", "1++2", "a request is digits"),
        ("temporal-order", "aXb", "a request is letters"),
        ("memory", "0.5 0", "the first number of a request is 1 or -1"),
        ("memory", "1 inf", "a request is 1 or -1 and any numbers"),
        ("multiplication", "0.5* 0.1", "two of them with an asterisk"),
        ("multiplication", "0.5* 1.5*", "a request is numbers in"),
        ("lorenz", "a", "a request is values of the series"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(name, request_, match):
    with pytest.raises(ValueError, match=match):
        KINDS_OF[name]().asked_for(request_)


def test_every_answer_may_be_asked_for_after_every_symbol():
    task = KINDS_OF["parity"](every_step=True)
    batch, _ = task.asked_for("0110")
    assert task.said(np.zeros((4, 2)), batch).endswith("right: even odd even even")
    batch, _ = KINDS_OF["modular-arithmetic"](every_step=True).asked_for("2*4-1")
    assert np.asarray(batch.asked[:, 0]).tolist() == [True, False, True, False, True]
    assert np.asarray(batch.targets[:, 0])[::2].tolist() == [2, 3, 2]


# --- where things stand, and how often -----------------------------------------------------------


def test_symbols_that_matter_stand_in_their_tenths(drawn):
    for name, starts in (("temporal-order", (1 / 10, 1 / 2)),
                         ("temporal-order-3", (1 / 10, 1 / 3, 2 / 3))):  # fmt: skip
        task, sizes, batch = drawn(name)
        for row, n in enumerate(sizes):
            letters, _ = asked_of(task, batch, row)
            places = [place for place, letter in enumerate(letters) if letter in "XY"]
            for place, start in zip(places, starts, strict=True):
                assert math.floor(start * n) <= place < math.floor(start * n) + n // 10


def test_words_of_one_length_have_the_shares_of_the_grammar():
    n, size = 8, 3000
    dyck, embedded = KINDS_OF["dyck-1"](), KINDS_OF["embedded-reber"]()

    def words(task):
        make = jax.jit(lambda key: task.symbols(key, jnp.full(size, n), n)[0])
        columns = np.asarray(make(jax.random.key(1))).T
        return collections.Counter("".join(task.reads[k] for k in row) for row in columns)

    known = {"^" + "".join(w): 1 / 14 for w in itertools.product("()", repeat=n) if balanced(w)}
    assert len(known) == 14
    compare(words(dyck), known, size)
    inner = dict(walks(0, n))
    total = 2 * sum(inner.values())
    known = {f"B{w}{word}{w}": p / total for word, p in inner.items() for w in "TP"}
    compare(words(embedded), known, size)


def balanced(word):
    depths = list(itertools.accumulate(1 if letter == "(" else -1 for letter in word))
    return min(depths) >= 0 and depths[-1] == 0


def walks(state, left):
    """Words of the grammar of so many letters from a state on, and how likely they are."""
    if left == 0:
        return [("", 1.0)] if state == 7 else []
    return [
        (letter + word, p / len(GRAMMAR[state]))
        for letter, to in GRAMMAR[state].items()
        for word, p in walks(to, left - 1)
    ]


def compare(counts, known, size):
    assert set(counts) == set(known)
    for word, share in known.items():
        assert abs(counts[word] / size - share) < 5 * math.sqrt(share / size), word


def test_selective_copy_and_recall_use_all_places():
    task = KINDS_OF["selective-copy"](T=6)
    make = jax.jit(lambda key: task.symbols(key, jnp.full(400, 6), 6)[0][:6] < 8)
    there = np.asarray(make(jax.random.key(0)))
    assert (there.sum(axis=0) == 4).all()
    np.testing.assert_allclose(there.mean(axis=1), 4 / 6, atol=5 * math.sqrt(2 / 9 / 400))


def test_memory_keeps_the_first_number(drawn):
    for name, spread in (("memory", 0.0), ("noisy-memory", math.sqrt(0.2))):
        task, sizes, batch = drawn(name)
        assert set(batch.xs[0, :, 0]) == {-1.0, 1.0}
        for row, n in enumerate(sizes):
            assert np.flatnonzero(batch.asked[:, row]).tolist() == [n - 1]
            assert int(task.outputs[batch.targets[n - 1, row]]) == batch.xs[0, row, 0]
        assert abs(batch.xs[1:].std() - spread) <= 0.2 * spread
        batch, _ = task.asked_for("-1 0 0.5")
        assert task.said(np.eye(2)[[0, 0, 1]], batch) == "1, right: -1"


def test_multiplication_multiplies_a_number_of_each_half(drawn):
    task, sizes, batch = drawn("multiplication")
    for row, n in enumerate(sizes):
        (first, second) = np.flatnonzero(batch.xs[:, row, 1])
        assert first < n // 2 <= second < n
        product = batch.xs[first, row, 0] * batch.xs[second, row, 0]
        np.testing.assert_allclose(batch.targets[n - 1, row, 0], product, rtol=1e-6)
        assert np.flatnonzero(batch.asked[:, row]).tolist() == [n - 1]
    assert 0 <= batch.xs[..., 0].min() < 0.1 < 0.9 < batch.xs[..., 0].max() <= 1
    found, _ = task.asked_for("0.5* 0.25 0.5*")
    assert task.said(np.ones((3, 1)), found) == "1.000, right: 0.250"
    text = task.example(Data(None, None, {task.T: batch}, {}))
    np.testing.assert_allclose(task.asked_for(text)[0].xs[:, 0], batch.xs[:, 0], atol=5e-4)


# --- chaos ---------------------------------------------------------------------------------------


def test_mackey_glass_is_what_small_steps_of_another_rule_come_to():
    history, steps, h = np.array([0.4, 0.85]), 60, 1 / 50
    late = 17 * 50
    x = np.empty((late + steps * 50 + 1, 2))
    x[: late + 1] = history

    def slope(x, u):
        return 0.2 * u / (1 + u**10) - 0.1 * x

    for n in range(late, len(x) - 1):  # Heun's rule, whose past is on its grid
        before = slope(x[n], x[n - late])
        after = slope(x[n] + h * before, x[n - late + 1])
        x[n + 1] = x[n] + h * (before + after) / 2
    found = jax.jit(chaos.mackey_glass, static_argnums=1)(jnp.asarray(history, "float32"), steps)
    assert found.shape == (steps, 2)
    np.testing.assert_allclose(found, x[late + 50 :: 50], atol=2e-4)
    assert np.ptp(np.asarray(found)) > 0.5


def test_lorenz_is_what_a_series_in_time_comes_to():
    start, steps, h = np.array([1.0, 2.0, 20.0]), 20, 0.005
    point, seen = start, []
    for n in range(1, steps * 10 + 1):
        point = _taylor(point, h)
        if n % 10 == 0:
            seen.append(point)
    found = jax.jit(chaos.lorenz, static_argnums=1)(jnp.asarray(start[:, None], "float32"), steps)
    np.testing.assert_allclose(found[..., 0], seen, rtol=1e-3, atol=1e-3)


def _taylor(point, h, terms=8):
    """A step by the power series of the solution, whose products are Cauchy's."""
    x, y, z = ([value] for value in point)
    for k in range(terms):
        xz = sum(x[j] * z[k - j] for j in range(k + 1))
        xy = sum(x[j] * y[k - j] for j in range(k + 1))
        x.append(10 * (y[k] - x[k]) / (k + 1))
        y.append((28 * x[k] - xz - y[k]) / (k + 1))
        z.append((xy - 8 / 3 * z[k]) / (k + 1))
    return np.array([sum(c * h**k for k, c in enumerate(series)) for series in (x, y, z)])


@pytest.mark.parametrize("name", ["mackey-glass", "lorenz"])
def test_a_series_is_asked_for_its_next_value(name, drawn):
    task, sizes, batch = drawn(name)
    np.testing.assert_array_equal(batch.targets[:-1], batch.xs[1:])
    np.testing.assert_array_equal(batch.asked, np.arange(task.T)[:, None] < sizes)
    assert abs(batch.xs.mean()) < 0.6
    assert 0.6 < batch.xs.std() < 1.4
    found, _ = task.asked_for("0.5 0.7")
    mean, spread = task.units()
    np.testing.assert_allclose(found.xs[:, 0, 0] * spread + mean, [0.5, 0.7], rtol=1e-5)
    assert task.said(np.zeros((2, 1)), found) == f"{mean:.3f} comes next"
    values = task.example(Data(None, None, {task.T: batch}, {})).split()
    np.testing.assert_allclose([*map(float, values)], batch.xs[: len(values), 0, 0] * spread + mean,
                               atol=1e-3)  # fmt: skip


# --- what all have alike -------------------------------------------------------------------------


def test_lengths_double_up_to_the_longest():
    task = KINDS_OF["parity"]()
    assert task.lengths() == [20, 40, 80, 160, 320, 500]
    assert dataclasses.replace(task, T=1, longest=2).lengths() == [1, 2]
    assert KINDS_OF["embedded-reber"](T=8, longest=8).lengths() == [8]
    figures = {"% wrong": task.T / 10} | {f"% wrong at {n}": n / 10 for n in task.lengths()}
    assert task.by_length(figures)[500] == 50


@pytest.mark.parametrize(
    ("name", "changes", "match"),
    [
        ("parity", {"shortest": 41}, "T must be an int of at least 41"),
        ("parity", {"shortest": 0}, "shortest must be"),
        ("parity", {"longest": 39}, "longest must be an int of at least 40"),
        ("parity", {"hidden_size": 0}, "hidden_size"),
        ("temporal-order", {"shortest": 9}, "shortest must be an int of at least 10"),
        ("recall", {"longest": 27}, "longest must be at most 26"),
        ("selective-copy", {"count": 5}, "shortest must be an int of at least 5"),
        ("memory", {"noise": -1.0}, "noise"),
        ("parity", {"cell": "conv_lstm"}, "cell must be one of antisymmetric, atr"),
    ],
)
def test_settings_that_will_not_do(name, changes, match):
    with pytest.raises(ValueError, match=match):
        KINDS_OF[name](**changes).check()


def test_parts_are_of_one_length_and_fewer_rows_beyond_training(monkeypatch):
    monkeypatch.setattr(base, "HELD_OUT", 30)
    monkeypatch.setattr(base, "BEYOND", 10)
    task = KINDS_OF["even-pairs"](T=3, longest=4)
    data = task.data()
    shapes = {n: batch.asked.shape for n, batch in data.test.items()}
    assert shapes == {1: (1, 30), 3: (3, 30), 4: (4, 10)}
    assert all((batch.lengths == n).all() for n, batch in data.test.items())
    ((n, held),) = data.validation.items()
    assert n == 3
    assert (held.xs != data.test[3].xs).any()
    assert (held.xs != task.fitted().xs).any()
    assert (data.test[3].xs != task.fitted().xs).any()


def test_training_lengths_are_all_those_between():
    task = KINDS_OF["parity"](T=5, shortest=2)
    batch = jax.jit(task.draw, static_argnums=1)(jax.random.key(0), 60)
    assert set(np.asarray(batch.lengths)) == {2, 3, 4, 5}


def test_errors_by_hand():
    # Right, not a number, one too few, one too many.
    ys = [[2.0, 1.0, 0.0], [-1.0, 3.0, np.nan], [0.5, -1.0, 2.0], [1.0, 1.0, -1.0]]
    sets = [[True, True, False], [False, True, False], [True, True, True], [True, False, False]]
    ys, sets = jnp.asarray(ys, "float32")[:, None], jnp.asarray(sets)[:, None]
    find = {name: jax.jit(kind.error) for name, kind in KINDS.items()}
    classes = jnp.asarray([[0], [1], [1], [0]])
    np.testing.assert_array_equal(find["class"](ys, classes)[:, 0], [0, np.nan, 1, 0])
    np.testing.assert_array_equal(find["set"](ys, sets)[:, 0], [0, np.nan, 1, 1])
    error = find["numbers"](ys, jnp.zeros_like(ys))
    np.testing.assert_allclose(error[:, 0], [5 / 3, np.nan, 5.25 / 3, 1], rtol=1e-6)


def test_baselines_answer_what_is_most_often_right(monkeypatch):
    task = KINDS_OF["anbn"](T=3, longest=3, shortest=3)
    batch = task.of_length(jax.random.key(0), 3, 2)
    monkeypatch.setattr(type(task), "fitted", lambda self: batch)
    # ^aaabbb: {a} {ab} {ab} {ab} {b} {b} {$}: the last b alone is not known by its letter.
    found = task.baselines(Data(None, None, {3: batch}, {}))
    assert found == {"always the same answer": pytest.approx(400 / 7),
                     "by the last symbol": pytest.approx(100 / 7)}  # fmt: skip
    line = np.arange(6.0, dtype=np.float32)[:, None, None]
    straight = Batch(line[:-1], np.array([5]), line[1:], np.ones((5, 1), bool))
    task = KINDS_OF["lorenz"](T=5, shortest=5, longest=5)
    monkeypatch.setattr(type(task), "fitted", lambda self: straight)
    found = task.baselines(Data(None, None, {5: straight}, {}))
    assert found == {
        "always the mean": 2.0,
        "no change": 1.0,
        "a straight line": pytest.approx(1 / 5),
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_reads_what_it_needs(name):
    model = model_of(name, 4, 3)

    def outputs(key):
        xs = inputs_of(name, jnp.zeros((2, 5, 6)))
        spec = step_spec(xs)
        return rnnjax.unroll(model, model.init(key, spec), None, xs)[1]

    assert jax.eval_shape(outputs, jax.random.key(0)).shape == (2, 5, 3)


def test_an_lstm_that_has_learnt_short_parity_knows_long_ones(monkeypatch):
    monkeypatch.setattr(base, "HELD_OUT", 100)
    monkeypatch.setattr(base, "BEYOND", 100)
    task = KINDS_OF["parity"](
        T=6, longest=24, hidden_size=12, batch_size=32, steps=200, learning_rate=2e-2
    )
    found = train_seeds(task, [0, 1])
    for figures in found.figures:
        assert figures["% wrong"] == 0
        assert figures["% wrong at 24"] <= 5


def test_a_task_of_one_length_has_its_figure_and_picture(tmp_path):
    task = KINDS_OF["embedded-reber"].tiny(tmp_path)
    assert task.lengths() == [task.T]
    data, system = task.data(), task.system({})
    params = jax.jit(system.init)(jax.random.key(0))
    figures = system.evaluate(params, data.test)
    assert task.by_length(figures) == {task.T: figures[task.metric]}
    task.picture(system, params, data, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").exists()
