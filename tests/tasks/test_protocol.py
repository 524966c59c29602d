"""What every task answers; one is covered by being registered."""

import dataclasses
import io
import json
import math
import pathlib
import shutil

import jax
import numpy as np
import pytest
from environment import LONG
from oracles import assert_bitwise

from rnnjax.cli import main
from rnnjax.tasks import TASKS, task_of
from rnnjax.tasks.controlled._base import Controlled
from rnnjax.train import NonFiniteError, checkpoints, load_run, run_task

# Of tasks that differ in their data alone (test_controlled.py, test_writing.py, test_classify.py)
# some of each kind of answers; the others when there is time.
ALIKE = {name for name, kind in TASKS.items() if issubclass(kind, Controlled)}
ALIKE -= {"parity", "anbn", "multiplication"}
ALIKE |= {"dates", "reverse", "pronounce", "program", "translate", "dialogue", "summarise"}
ALIKE |= {"classify-digits"}
WHOLE = [pytest.param(n, marks=pytest.mark.slow) if n in ALIKE else n for n in TASKS]
# Whose gradients are drawn, and whose runs are resumed, at each run of the tests: a cell alone, one
# inside a layer, a decoder, a state that is carried on.
SEEN = {"adding", "tag", "add", "language-model"}
pytestmark = [pytest.mark.optimised] if LONG else []  # as a user's runs are
PNG = b"\x89PNG"


@pytest.fixture(scope="module", params=WHOLE)
def ran(request, tmp_path_factory):
    """(task, result) of a tiny run."""
    folder = tmp_path_factory.mktemp("run")
    task = TASKS[request.param].tiny(folder)
    return task, run_task(task, folder / "whole")


def test_it_says_what_it_is(ran):
    task, _ = ran
    assert TASKS[task.name] is type(task)
    for line in (task.about, task.data_about):
        assert line
        assert "\n" not in line
    assert task.data_about.split(";")[0].split()[0] in ("real", "generated")
    described = {f.name for f in dataclasses.fields(task)} - set(_described(type(task)))
    assert not described, "a setting without a word of help"


def _described(kind):
    from docstring_parser import parse_from_object

    return [p.arg_name for part in kind.__mro__[:-1] for p in parse_from_object(part).params]


def test_its_run_has_everything(ran):
    task, result = ran
    assert result.metric == task.metric
    assert result.scores["model"] == result.test[task.metric] == next(iter(result.test.values()))
    assert len(result.scores) > 1, "a baseline"
    assert all(math.isfinite(score) for score in result.scores.values())
    for name in ("training.png", "picture.png"):
        assert (result.folder / name).read_bytes().startswith(PNG)
    stored = json.loads((result.folder / "result.json").read_text())
    assert stored["scores"] == result.scores
    assert (result.folder / "sample.txt").read_text() == result.sample != ""


def test_it_is_stored_and_read_back_without_its_data(ran, tmp_path):
    task, result = ran
    found = load_run(result.folder, task_of)
    assert (found.task, found.task.from_json(found.task.as_json())) == (task, task)
    assert json.loads(json.dumps(task.data().facts)) == found.facts
    answer = "".join(found.system.predict(found.state.params, result.example))
    assert answer == result.sample


def test_a_run_that_is_resumed_after_three_steps_ends_bit_for_bit(ran, tmp_path):
    task, result = ran
    if task.name not in SEEN and not LONG:
        pytest.skip("resumed in the slow tests")
    folder = shutil.copytree(result.folder, tmp_path / "run")
    kept = checkpoints(folder / "checkpoints")
    assert [path.name[-1] for path in kept] == ["3", "6"]
    shutil.rmtree(kept[-1])  # as if it had been killed between the two
    resumed = run_task(task, folder, resume=True)
    assert (resumed.scores, resumed.sample) == (result.scores, result.sample)
    states = (load_run(path, task_of).state for path in (folder, result.folder))
    assert_bitwise(*states)


def test_batches_follow_from_their_steps_alone(ran):
    task, _ = ran
    first, second = (task.source(task.data()) for _ in range(2))
    second.batch(3)
    batch = first.batch(1)
    assert_bitwise(batch, second.batch(1))
    leaves = jax.tree.leaves(
        jax.tree.map(
            lambda axis, part: [axis is None or np.shape(x)[axis] for x in jax.tree.leaves(part)],
            first.axes,
            batch,
            is_leaf=lambda axis: axis is None,
        )
    )
    assert all(size in (True, task.batch_size) for size in leaves)
    assert task.batch_size in leaves


def test_the_command_line_trains_evaluates_asks_and_inspects(ran, tmp_path, capsys):
    task, result = ran
    run = ["--run", str(result.folder)]
    assert main(["evaluate", *run, "--plot", str(tmp_path / "picture.png")]) == 0
    assert (tmp_path / "picture.png").read_bytes().startswith(PNG)
    assert main(["predict", result.example, *run]) == 0
    assert capsys.readouterr().out.endswith(f"{result.sample}\n")
    drawn = ["--gradients"] if task.name in SEEN or LONG else []
    assert main(["inspect", *run, *drawn]) == 0
    assert task.name in capsys.readouterr().out
    if drawn:
        assert (result.folder / "gradients.png").read_bytes().startswith(PNG)


def test_bad_input_is_an_error_of_one_line(ran, tmp_path, capsys, monkeypatch):
    task, result = ran
    for changes in ({"steps": 0}, {"learning_rate": math.nan}, {"cell": "rwkv"}, {"patience": -1}):
        with pytest.raises(ValueError, match=next(iter(changes))):
            run_task(dataclasses.replace(task, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    for request in ("", "\x00 ?" * 3):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(request.encode())))
        if main(["predict", "-", "--run", str(result.folder)]):
            shown = capsys.readouterr()
            assert shown.err.startswith("rnnjax: ")
            assert shown.err.count("\n") == 1
        else:  # there are tasks that take any text but none
            assert request
    nowhere = ["--data", str(tmp_path / "nowhere")]
    assert main(["evaluate", "--run", str(result.folder), *nowhere]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_parameters_that_are_not_finite_are_seen(ran):
    task, result = ran
    found = load_run(result.folder, task_of)
    broken = jax.tree.map(lambda x: x * np.nan, found.state.params)
    try:
        scores = found.system.evaluate(broken, task.data().validation)
    except NonFiniteError:
        return
    assert math.isnan(scores[task.metric])


def test_an_unknown_task_is_refused(tmp_path):
    with pytest.raises(KeyError):
        task_of({"task": "flying", "config": {}, "facts": {}})
    for name in TASKS:
        with pytest.raises((TypeError, ValueError)):
            TASKS[name].of({"task": name, "config": {"wings": 2}, "facts": {}})
        other = next(n for n in TASKS if n != name)
        with pytest.raises(ValueError, match=f"a run of the task {other}, not of {name}"):
            TASKS[name].of({"task": other, "config": {}, "facts": {}})
        assert isinstance(TASKS[name].tiny(pathlib.Path(tmp_path)), TASKS[name])
