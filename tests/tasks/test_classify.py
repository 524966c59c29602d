"""Tasks that classify: what is in their data, what their baselines are worth, which files do."""

import dataclasses
import itertools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_bitwise

from rnnjax.tasks import _images
from rnnjax.tasks._classify import Labelled, attended, figures, held_out, majority
from rnnjax.tasks.classify_digits import ClassifyDigits
from rnnjax.tasks.classify_series import ClassifySeries, read_series, warped
from rnnjax.tasks.classify_text import ClassifyText, library_lines
from rnnjax.train import init_train_state, make_train_step

# --- what they share ------------------------------------------------------------------------------


def test_figures_by_hand():
    logits = np.log([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.2, 0.2, 0.6], [0.2, 0.6, 0.2]])
    found = figures(logits, np.array([0, 0, 0, 1]))
    assert found["% wrong"] == 25
    assert found["% wrong, mean of the classes"] == pytest.approx(100 / 6)  # 1/3 and 0
    assert found["nats"] == pytest.approx(-np.log([0.5, 0.5, 0.2, 0.6]).mean())
    logits[1, 2] = np.nan
    assert all(np.isnan(figure) for figure in figures(logits, np.array([0, 0, 0, 1])).values())


def test_the_largest_class_is_that_of_the_training_data():
    train, test = (Labelled([], np.array(k)) for k in ([1, 1, 2, 0], [2, 2, 1, 2]))
    assert majority(train, test) == 75


def test_every_class_is_held_out_alike():
    labels = np.repeat([0, 1, 2], [40, 10, 2])
    stay, out = held_out(labels, 0.2)
    assert np.bincount(labels[out]).tolist() == [8, 2, 1]
    assert sorted([*stay, *out]) == list(range(52))
    np.testing.assert_array_equal(held_out(labels, 0.2)[1], out)
    with pytest.raises(ValueError, match="a class has one training example alone"):
        held_out(np.array([0, 0, 1]), 0.5)


def test_attention_is_a_mean_of_real_steps():
    draw = np.random.default_rng(0)
    ys, weights = draw.normal(size=(4, 3, 2)), draw.normal(size=(4, 3))
    lengths = np.array([4, 2, 0])
    ys[2:, 1], weights[2:, 1] = 1e9, 50
    found = attended(*map(jnp.float32, (ys, weights)), jnp.array(lengths))
    for row, n in enumerate(lengths):
        shares = np.exp(weights[:n, row]) / np.exp(weights[:n, row]).sum()
        np.testing.assert_allclose(found[row], shares @ ys[:n, row], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("readout", ["last", "mean", "max", "attention"])
def test_an_answer_does_not_depend_on_the_batch(readout, tmp_path):
    task = dataclasses.replace(ClassifySeries.tiny(tmp_path), readout=readout, buckets=2)
    data = task.data()
    system = task.system(data.facts)
    params = system.init(jax.random.key(0))
    part = data.test
    found = system.answers(params, part)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-5)
    assert len({len(xs) for xs in part.xs}) > 1
    for row in (0, len(part.xs) - 1):
        alone = system.answers(params, part.some([row]))[0]
        np.testing.assert_allclose(found[row], alone, rtol=1e-5, atol=1e-6)


def test_what_padding_holds_changes_no_bit(tmp_path):
    """Training and answers, with NaN where zeros are."""
    task = dataclasses.replace(ClassifySeries.tiny(tmp_path), readout="mean", members=1)
    data = task.data()
    system, source = task.system(data.facts), task.source(data)
    step = make_train_step(system.loss, task.transformation(source))

    def trained(fill):
        params = system.init(jax.random.key(0))
        state = init_train_state(params, task.transformation(source), jax.random.key(1))
        for n in range(4):
            batch = source.batch(n)
            xs = batch.xs.copy()
            padding = np.arange(len(xs))[:, None] >= batch.lengths
            assert padding.any()
            xs[padding] = fill
            state, metrics = step(state, batch._replace(xs=xs))
            assert not metrics.skipped
        return state.params

    assert_bitwise(trained(0), trained(np.nan))


def test_reading_in_part_is_reading_what_is_there(tmp_path):
    task = ClassifySeries.tiny(tmp_path)
    data = task.data()
    system = task.system(data.facts)
    params = system.init(jax.random.key(0))
    half = data.test._replace(xs=[xs[: -(-len(xs) // 2)] for xs in data.test.xs])
    found = system.answers(params, data.test, 0.5), system.answers(params, half)
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)


# --- series ---------------------------------------------------------------------------------------


def test_japanese_vowels_are_as_published():
    data = ClassifySeries().data()
    assert (len(data.train.xs) + len(data.validation.xs), len(data.test.xs)) == (270, 370)
    assert np.bincount(data.validation.labels).tolist() == [2] * 9
    assert np.bincount(data.train.labels).tolist() == [28] * 9
    assert np.bincount(data.test.labels).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    every = data.train.xs + data.validation.xs + data.test.xs
    lengths = {len(xs) for xs in every}
    assert (min(lengths), max(lengths)) == (7, 29)
    assert {xs.shape[1] for xs in every} == {12}
    steps = np.concatenate(data.train.xs)
    np.testing.assert_allclose(data.facts["mean"], steps.mean(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(data.facts["std"], steps.std(axis=0), rtol=1e-4)


def test_warping_is_the_cheapest_of_all_walks():
    draw = np.random.default_rng(1)
    one, others = draw.normal(size=(4, 2)), [draw.normal(size=(n, 2)) for n in (2, 5, 3)]

    def cheapest(a, b):
        cost = np.square(a[0] - b[0]).sum()
        left = [(a[i:], b[j:]) for i, j in ((0, 1), (1, 0), (1, 1)) if len(a) > i and len(b) > j]
        return cost + min((cheapest(*ends) for ends in left), default=0)

    np.testing.assert_allclose(warped(one, others), [cheapest(one, b) for b in others])


def test_the_baselines_of_series_on_what_is_plain(tmp_path):
    lines = [f"{n}.0,{n}.5,{n}.0:{'low' if n < 10 else 'high'}" for n in range(20)]
    file = tmp_path / "plain.ts"
    file.write_text("\n".join(["@classLabel true low high", "@data", *lines]))
    task = ClassifySeries(train_file=file)
    scores = task.baselines(task.data())
    assert scores["the largest class"] == 50
    assert scores["1 nearest neighbour, time warping"] == 0
    assert scores["logistic regression, padded and flattened"] == 0


def test_both_kinds_of_file_are_read_alike(tmp_path):
    ts, npz = tmp_path / "a.ts", tmp_path / "a.npz"
    ts.write_text("# a comment\n@problemName a\n@classLabel true x y\n@data\n1,2:3,4:x\n5:6:y\n")
    xs = np.array([[[1, 3], [2, 4]], [[5, 6], [np.nan, np.nan]]])
    np.savez(npz, x=xs, y=["x", "y"], lengths=[2, 1])
    assert_bitwise(*(read_series(file).xs for file in (ts, npz)))
    assert read_series(ts).names == read_series(npz).names == ["x", "y"]


HEAD = "@classLabel true x y\n@data\n"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "1,2", "must be a .ts or an .npz file"),
        ("a.ts", "1,2:x\n", "no line @data"),
        ("a.ts", HEAD, "has no series in it"),
        ("a.ts", HEAD + "1,two:x\n", "line 3: a series is numbers with commas between"),
        ("a.ts", HEAD + "1,2:3:x\n", "line 3: the features have 1 to 2 steps"),
        ("a.ts", HEAD + "1,2:x\n1:2:y\n", "line 4 has 2 features, the series before 1"),
        ("a.ts", HEAD + "1,2:x\n1,?:y\n", "series 2 has missing or infinite values: fill them in"),
        ("a.ts", "@timeStamps true\n" + HEAD + "1:x\n", "has time stamps"),
        ("a.npz", "no archive", "is no .npz file of plain arrays"),
        ("nowhere.ts", None, "cannot be read"),
    ],
)
def test_a_bad_file_of_series_is_one_error(name, text, said, tmp_path):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=said):
        read_series(tmp_path / name)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"y": [1]}, r"has no array x \[N, T, D\] in it, but y"),
        ({"x": np.zeros((2, 3)), "y": [1]}, r"y must be \[2\]"),
        ({"x": np.zeros(3)}, "x must be numbers"),
        ({"x": np.full((2, 3), np.nan)}, "series 1 has missing or infinite values"),
        ({"x": np.zeros((2, 3)), "lengths": [1, 4]}, r"lengths must be in \[1, 3\]"),
        ({"x": np.zeros((2, 3)), "lengths": [0.5, 1]}, r"lengths must be integers \[2\]"),
    ],
)
def test_bad_arrays_are_one_error(arrays, said, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=said):
        read_series(tmp_path / "a.npz")


def test_series_that_nothing_can_be_learnt_from(tmp_path):
    file = tmp_path / "a.ts"
    for text, said in (
        (HEAD + "1,2:x\n1:x\n", "2 examples of 1 class, x: a classifier needs at least two"),
        ("@classLabel false\n@data\n1,2\n", "does not say which class its series are of"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=said):
            ClassifySeries(train_file=file).data()
    with pytest.raises(ValueError, match="test_file is given without train_file"):
        ClassifySeries(test_file=file).check()


def test_series_of_a_user_must_be_like_those_that_were_learnt_from(tmp_path):
    task, facts = ClassifySeries(), {"classes": ["x", "y"], "features": 1}
    file = tmp_path / "a.ts"
    file.write_text("@classLabel true x z\n@data\n1,2:x\n3:z\n")
    with pytest.raises(ValueError, match="the class of number 2 is 'z', which the training data"):
        task.read(file, facts)
    with pytest.raises(ValueError, match="has 1 features a step, the training data have 2"):
        task.read(file, facts | {"features": 2})
    assert [xs.tolist() for xs in task.asked(str(file), facts).xs] == [[[1], [2]], [[3]]]


# --- digits ---------------------------------------------------------------------------------------


def test_digits_are_split_by_class_and_read_in_every_order():
    parts = {order: ClassifyDigits(order=order).data() for order in ("rows", "pixels", "permuted")}
    assert [len(part.xs) for part in parts["rows"][:3]] == [1211, 136, 450]
    shapes = {order: data.test.xs[0].shape for order, data in parts.items()}
    assert shapes == {"rows": (8, 8), "pixels": (64, 1), "permuted": (64, 1)}
    pictures = [ClassifyDigits(order=o)._pixels(data.test) for o, data in parts.items()]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[0], pictures[2])
    plain, permuted = parts["pixels"].test.xs[0], parts["permuted"].test.xs[0]
    assert (plain != permuted).any()
    assert sorted(plain[:, 0]) == sorted(permuted[:, 0])
    assert plain.max() <= 1
    both = ([xs.tobytes() for xs in part.xs] for part in parts["rows"][:3])
    for one, other in itertools.combinations(map(set, both), 2):
        assert not one & other


def test_a_moved_digit_is_moved_as_a_picture():
    found = []
    for order in ("rows", "permuted"):
        task = ClassifyDigits(order=order, noise=0.0)
        part = task._labelled(np.arange(64.0)[None].repeat(20, 0) % 16, np.zeros(20, np.int32))
        xs = jnp.asarray(np.stack(part.xs, axis=1))
        assert_bitwise(task.prepared({}, xs, None), xs)
        moved = np.asarray(task.prepared({}, xs, jax.random.key(0)))
        found.append(task._pixels(part._replace(xs=list(moved.swapaxes(0, 1)))))
    assert_bitwise(*found)
    picture, seen = np.arange(64.0).reshape(8, 8) % 16 / 16, set()
    for digit in found[0].reshape(-1, 8, 8):
        for down, right in itertools.product((-1, 0, 1), repeat=2):
            wide = np.pad(picture, 1)[1 - down : 9 - down, 1 - right : 9 - right]
            seen |= {(down, right)} if (digit == wide).all() else set()
    assert len(seen) > 5


def test_digits_of_a_user(tmp_path):
    task, file = ClassifyDigits(order="permuted"), tmp_path / "digits.csv"
    pixels = [n % 17 for n in range(64)]
    file.write_text(",".join(map(str, [*pixels, 7])) + "\n")
    part = task.read(file, {})
    assert part.labels.tolist() == [7]
    np.testing.assert_allclose(16 * task._pixels(part)[0], pixels, rtol=1e-6)
    asked = task.asked(" ".join(map(str, pixels)), {})
    assert_bitwise(asked.xs, part.xs)
    for text, said in (
        ("", "has no digits in it"),
        ("1,2,3", "line 1 has 3 numbers, expected 64 pixels"),
        (",".join(["17"] * 64 + ["1"]), "line 1 must be 64 numbers from 0"),
        (",".join(["1"] * 64 + ["ten"]), "the class of number 1 is 'ten'"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=said):
            task.read(file, {})
    with pytest.raises(ValueError, match="cannot be read"):
        task.read(tmp_path / "nowhere.csv", {})


# --- texts ----------------------------------------------------------------------------------------


def test_lines_of_the_library_are_held_out_by_blocks():
    train, validation, test = library_lines()
    sizes = [len(part) / len(train) for part in (validation, test)]
    assert 0.02 < sizes[0] < 0.1 < sizes[1] < 0.2
    lines = [{line for line, _ in part} for part in (train, validation, test)]
    assert sum(map(len, lines)) == len(train) + len(validation) + len(test)
    assert not any(a & b for a, b in itertools.combinations(lines, 2))
    assert len({name for _, name in train}) == 8
    assert not any("raise NotImplementedError" in part for part in lines), (
        "several packages have it"
    )
    assert not any("\n" in line or len(line) < 15 for line in lines[2])


def test_a_table_and_folders_are_read_alike(tmp_path):
    table = tmp_path / "a.csv"
    table.write_text('\ufeffkind,text\nx,"one, two"\ny,é\n', encoding="utf-8")
    for name, text in (("x", "one, two"), ("y", "é")):
        (tmp_path / "texts" / name).mkdir(parents=True)
        (tmp_path / "texts" / name / "1.txt").write_text(text, encoding="utf-8")
    facts = {"classes": ["x", "y"], "symbols": ["o", "é"]}
    task = ClassifyText(label_column="kind", length=7, level="char")
    parts = [task.read(path, facts) for path in (table, tmp_path / "texts")]
    assert_bitwise(parts[0].xs, parts[1].xs)
    assert parts[0].texts == parts[1].texts == ["one, two", "é"]
    assert [xs.tolist() for xs in parts[0].xs] == [[1, 0, 0, 0, 0, 0, 0], [2]]
    assert parts[1].labels.tolist() == [0, 1]
    words = ClassifyText(label_column="kind", level="word")
    assert words._symbols("it's one_two.") == ["it", "'", "s", "one", "_", "two", "."]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "text,kind\na,x\n",
            "has no column 'label', but text, kind: name the right one with --lab",
        ),
        ("label\nx\n", "has no column 'text', but label: name the right one with --text-column"),
        ("", "has no column 'text', but none"),
        ("text,label\n", "0 examples of 0 classes"),
        ("text,label\na,x\nb,x\n", "2 examples of 1 class, x"),
        ("text,label\na,x\n ,y\n", "line 3: the column 'text' is empty"),
        ("text,label\na\n", "line 2: the column 'label' is empty"),
        (b"text,label\n\xff,x\n", "is not UTF-8: invalid start byte at byte 11"),
        ('text,label\n"a"b,x\n', "line 2 is no .csv"),
    ],
)
def test_a_bad_table_is_one_error(text, said, tmp_path):
    (tmp_path / "a.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=said):
        ClassifyText(text=tmp_path / "a.csv").data()


def test_bad_folders_are_one_error(tmp_path):
    task = ClassifyText(text=tmp_path)
    with pytest.raises(ValueError, match="has no folders in it"):
        task.data()
    (tmp_path / "x").mkdir()
    with pytest.raises(ValueError, match="has no texts in it"):
        task.data()
    (tmp_path / "x" / "1.txt").write_text(" \n")
    with pytest.raises(ValueError, match="is empty: leave it out"):
        task.data()
    with pytest.raises(ValueError, match="cannot be read"):
        ClassifyText(text=tmp_path / "nowhere.csv").data()


def test_symbols_are_those_of_the_training_part(tmp_path):
    file = tmp_path / "a.csv"
    rows = [f"{'ab' if n % 2 else 'cd'}{chr(200 + n)},{n % 2}" for n in range(20)]
    file.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    task = ClassifyText(text=file, level="char")
    data = task.data()
    assert data.facts == {"classes": ["0", "1"], "symbols": ["a", "b", "c", "d"]}
    assert {xs[2] for part in data[:3] for xs in part.xs} == {0}
    every = dataclasses.replace(task, min_count=1).data()
    assert len(every.facts["symbols"]) == 4 + len(every.train.xs)
    assert {xs[2] for part in every[1:3] for xs in part.xs} == {0}
    scores = task.baselines(data)
    assert scores["the largest class"] == 50
    assert scores["logistic regression, bag of characters, 1- to 4-grams"] == 0


def test_a_missing_package_is_an_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    _images.digits.cache_clear()  # another test of this process may have read them
    with pytest.raises(ImportError, match=r'pip install "rnnjax\[data\]"'):
        ClassifyDigits().data()
