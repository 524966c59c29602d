"""Short programs: what they print, what is held out, the four curricula, and what users bring."""

import contextlib
import dataclasses
import io
import re
from collections import Counter

import jax
import numpy as np
import pytest

from rnnjax.tasks._writing.pairs import TRAIN, place
from rnnjax.tasks._writing.task import TOLD, WRONG
from rnnjax.tasks.program import (
    Program,
    difficulty,
    draw_program,
    executed,
    read_programs,
    renamed,
)
from rnnjax.tasks.program.picture import plot_grid
from rnnjax.tasks.program.programs import SYMBOLS, longest
from rnnjax.tasks.program.task import cell_name
from rnnjax.train.plot import figure_type


def printed(program):
    """What Python itself prints."""
    found = io.StringIO()
    with contextlib.redirect_stdout(found):
        exec(program, {})
    return found.getvalue()


@pytest.fixture(scope="module")
def drawn():
    """Programs by their length and nesting."""
    rng = np.random.default_rng(5)
    sizes = [(1, 1), (1, 3), (2, 2), (4, 1), (4, 3), (6, 5)]
    return {size: [draw_program(rng, *size) for _ in range(150)] for size in sizes}


# --- programs -------------------------------------------------------------------------------------


def test_every_program_prints_what_python_prints(drawn):
    for programs in drawn.values():
        for program in programs:
            assert f"{executed(program)}\n" == printed(program)


def test_programs_are_of_the_length_and_nesting_asked_for(drawn):
    for (length, nesting), programs in drawn.items():
        found = [difficulty(program) for program in programs]
        assert {nest for _, nest in found} == {nesting}
        assert max(digits for digits, _ in found) == length
        most = longest(length, nesting)
        assert max(map(len, programs)) <= most[0]
        assert max(len(str(executed(program))) for program in programs) <= most[1]
        assert set("".join(programs)) <= set(SYMBOLS)


def test_one_factor_and_the_turns_of_a_loop_are_small(drawn):
    for (length, _), programs in drawn.items():
        text = "\n".join(programs)
        turns = [int(n) for n in re.findall(r"range\((\d+)\)", text)]
        factors = [min(int(n) for n in pair if n) for pair in re.findall(r"\((\d*)\*(\d*)\)", text)]
        # A factor beside a long expression is not among these.
        for some in (turns, factors):
            assert some
            assert 1 <= min(some) <= max(some) <= 4 * length


def test_all_six_operations_are_as_likely():
    rng, kinds = np.random.default_rng(0), Counter()
    for _ in range(3000):
        program = draw_program(rng, 3, 1)
        kinds[re.sub(r"\w*\d", "", renamed(program)).replace(">", "<")] += 1
    assert len(kinds) == 6
    assert min(kinds.values()) > 500 - 4 * 20.4  # sqrt(3000 / 6 * 5 / 6)


def test_the_longest_program_and_answer_by_hand():
    loops = "a=99\nfor x in range(8):a+=99\nb=a\nfor x in range(8):b+=99\nprint(b)"
    assert longest(2, 2)[0] == len(loops)
    choices = "(" * 2 + "9" * 18 + " if " + "9" * 18 + "<" + "9" * 18 + " else " + "9" * 18
    assert longest(18, 1)[0] == len(f"print({choices[1:]}))")
    assert executed("print((0-(8*(8*99))))") == -6336
    assert longest(2, 2)[1] >= len("-8910")  # 99 + 9 times 891 once
    assert longest(1, 1)[1] == len("-50")


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("print(7)", (1, 0)),
        ("a=5\nprint(a)", (1, 1)),
        ("a=5\nfor x in range(12):a+=(3-1)\nprint(a)", (2, 2)),
        ("print((1 if 22>(3*4) else 555))", (3, 2)),
    ],
)
def test_difficulty_by_hand(program, found):
    assert difficulty(program) == found


def test_names_of_variables_make_no_difference():
    one, other = (
        f"{n}=3\nfor x in range(2):{n}+=5\n{m}={n}\nprint(({m}-{n}))" for n, m in ("ab", "re")
    )
    assert renamed(one) == renamed(other)
    assert renamed(one) != renamed(one.replace("(b-a)", "(a-b)"))
    for word in ("print", "for x in range"):
        assert word in renamed(one)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("print(1", "is no program"),
        ("a=3", "ends with one print"),
        ("print(3)\nprint(4)", r"line 1 of a program has 'print\(3\)'"),
        ("print(3 4)", "is no program"),
        ("print((1,2))", "line 1"),
        ("print(c)", "line 1 of a program has 'c'"),
        ("a=2\nprint(a/2)", "line 2 of a program has 'a / 2'"),
        ("print(2**9)", r"'2 \*\* 9'"),
        ("x=3\nprint(x)", "has 'x = 3'"),
        ("for x in range(3):a+=1\nprint(a)", "has 'a'"),
        ("a=1\nfor x in range(9999):a+=1\nprint(a)", "N up to 1000"),
        ("a=1\nfor a in range(3):a+=1\nprint(a)", "for x in range"),
        ("print((1 if 2==3 else 4))", "2 == 3"),
        ("print(open(3))", r"open\(3\)"),
        ("print(3,sep=4)", "ends with one print"),
    ],
)
def test_what_is_no_such_program_is_refused_and_never_run(program, said):
    with pytest.raises(ValueError, match=said):
        executed(program)


# --- what is trained on, and what is held out -----------------------------------------------------


def test_no_held_out_program_is_trained_on_by_whatever_names():
    task = Program(length=1, nesting=1, batch_size=256, curriculum="mixed")
    assert task.counts() == {"validation": 100, "test": 300}
    data = task.data()
    held = [{renamed(task.shown(s)) for s in part.sources} for part in (data.validation, data.test)]
    assert not held[0] & held[1]
    source, trained = task.source(data), set()
    for step in range(4):
        batch = source.batch(step)
        for xs, length in zip(batch.xs.T, batch.lengths, strict=True):
            trained.add(renamed("".join(SYMBOLS[n - 1] for n in xs[:length])))
    assert len(trained) > 400
    assert not trained & (held[0] | held[1])
    assert {place(program) for program in trained} == {TRAIN}


def test_held_out_programs_are_of_all_lengths_and_nestings_alike():
    counts = [Counter(), Counter()]
    for curriculum, count in zip(("none", "combined"), counts, strict=True):
        test = Program(length=2, curriculum=curriculum).data().test
        count.update(difficulty("".join(source)) for source in test.sources)
        assert [list(map("".join, some)) for some in test.answers] == [
            [printed("".join(source)).strip()] for source in test.sources
        ]
    assert counts[0] == counts[1]
    assert sum(counts[0].values()) == 1200
    assert set(counts[0]) == {(1, 1), (1, 2), (2, 1), (2, 2)}
    del counts[0][1, 1]  # of which there are few
    assert max(counts[0].values()) < 1.25 * min(counts[0].values())


def test_the_four_curricula():
    def of(curriculum, step):
        task = Program(length=2, nesting=2, steps=12, curriculum=curriculum)
        rng = np.random.default_rng(step)
        return Counter(task.difficulties(rng, step) for _ in range(400))

    climb = [(1, 1), (2, 1), (1, 2), (2, 2)]
    for step in range(12):
        assert set(of("none", step)) == {(2, 2)}
        assert set(of("naive", step)) == {climb[min(step // 2, 3)]}
    for step in (0, 11):
        assert set(of("mixed", step)) == set(climb)
        assert min(of("mixed", step).values()) > 100 - 4 * 8.7  # sqrt(400 * 3 / 16)
        both = of("combined", step)
        assert set(both) == set(climb)
        assert both[climb[-1 if step else 0]] == pytest.approx(250, abs=4 * 9.7)


def test_a_program_that_is_read_twice():
    task = Program(length=1, nesting=1, batch_size=64)
    data = task.data()
    once, twice = (
        dataclasses.replace(task, doubled=doubled).source(data).batch(0)
        for doubled in (False, True)
    )
    for row, length in enumerate(once.lengths):
        xs = once.xs[:length, row]
        assert twice.xs[: 2 * length + 1, row].tolist() == [*xs, 0, *xs]
    np.testing.assert_array_equal(twice.lengths, 2 * once.lengths + 1)
    np.testing.assert_array_equal(twice.targets, once.targets)


# --- figures --------------------------------------------------------------------------------------


def part_of(*programs):
    return Program().part([(p, str(executed(p))) for p in programs])


def test_figures_of_lengths_and_nestings_by_hand():
    part = part_of("print((3+4))", "print((8+9))", "a=31\nprint((a-1))")  # 7, 17, 30
    written = [["7"], ["1"], ["3", "0"]]
    found = Program().figures(written, part, 0.0, np.array([1, 0, 3]))
    assert found[WRONG] == pytest.approx(100 / 3)
    assert found[cell_name(WRONG, 1, 1)] == 50
    assert found[cell_name(WRONG, 2, 2)] == 0
    assert found[TOLD] == 50  # of 2 + 3 + 3 with their ends
    assert found[cell_name(TOLD, 1, 1)] == 20
    assert found[cell_name(TOLD, 2, 2)] == 100
    broken = Program().figures(written, part, np.nan, np.array([1, 0, 3]))
    assert all(np.isnan(figure) for figure in broken.values())
    assert TOLD not in Program().figures(written, part)


def test_what_is_told_goes_with_its_program(tmp_path):
    """Figures of each cell are those of its programs alone, whatever order they were read in."""
    task = dataclasses.replace(Program.tiny(tmp_path), buckets=2)
    data = task.data()
    system = task.system(data.facts)
    params = system.init(jax.random.key(1))
    part = data.test.some(range(12))
    found = system.evaluate(params, part)
    places = [difficulty("".join(source)) for source in part.sources]
    alone = system.evaluate(params, part.some([n for n, p in enumerate(places) if p == (1, 1)]))
    assert len(set(places)) > 1
    assert found[cell_name(TOLD, 1, 1)] == pytest.approx(alone[TOLD])
    assert found[cell_name(TOLD, 1, 1)] != found[TOLD]
    # Until the first mistake, who writes freely has the right symbols before.
    assert found[WRONG] >= found[cell_name(WRONG, 1, 1)] * places.count((1, 1)) / 12


def test_baselines_by_hand():
    task = Program(length=1, nesting=1)
    data = task.data()._replace(test=part_of("a=5\nprint(a)", "print((2*31))"))
    assert task.baselines(data)["the last number of the program"] == 50


def test_a_heat_map_leaves_what_there_is_none_of():
    axes = figure_type()().subplots()
    plot_grid(axes, {(1, 1): 100.0, (2, 2): 0.4})
    assert sorted(text.get_text() for text in axes.texts) == ["0", "100"]


# --- what users bring -----------------------------------------------------------------------------


def test_empty_lines_part_programs():
    text = "\n\na=3\nprint(a)  \r\n \r\n\nprint((1+2))\n\n"
    assert read_programs(text) == ["a=3\nprint(a)", "print((1+2))"]
    assert read_programs(" \n\n") == []


def test_a_request_is_programs(tmp_path):
    task = Program.tiny(tmp_path)
    data = task.data()
    system = task.system(data.facts)
    params = system.init(jax.random.key(0))
    answer = "".join(system.predict(params, "a=3\nprint(a)\n\nprint((1+2))"))
    assert answer.count("\n") == 1
    for request, said in (
        ("", "a request is a program, such as"),
        ("print((6%2))", "has '%', which the training data have not"),
        ("print(((((((" + "1+" * 40 + "1", "of 93 symbols is too long: the longest ones"),
        ("a=3\nprint(b)", "line 2 of a program has 'b'"),
        ("print(999999999)", "prints 999999999: this model writes 4 symbols"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            [*system.predict(params, request)]


def test_a_file_of_programs(tmp_path):
    task, file = Program.tiny(tmp_path), tmp_path / "programs.txt"
    facts = task.data().facts
    file.write_text("a=3\nfor x in range(2):a+=4\nprint(a)\n\nprint((2-9))\n")
    part = task.read(file, facts)
    assert [*map("".join, part.sources)][1] == "print((2-9))"
    assert [["".join(a) for a in some] for some in part.answers] == [["11"], ["-7"]]
    for text, said in (
        ("print(1)\n\nprint((6/2))", "program 2: 'print((6/2))' has '/'"),
        ("print(1)\n\na=2", "program 2: a program ends with one print"),
        (" \n", "is empty"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=re.escape(said)):
            task.read(file, facts)


def test_settings_that_will_not_do():
    for changes in ({"length": 0}, {"length": 19}, {"nesting": 26}, {"curriculum": "steep"}):
        with pytest.raises(ValueError, match=next(iter(changes))):
            dataclasses.replace(Program(), **changes).check()
