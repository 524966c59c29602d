"""A run that is stopped, at any moment and in any way, ends where it would have ended."""

import dataclasses
import json
import pathlib
import random
import shutil
import signal
import time

import jax
import pytest
from kill_and_resume import kill_and_resume
from oracles import assert_bitwise

from rnnjax.tasks import task_of
from rnnjax.tasks.language_model import LanguageModel
from rnnjax.train import (
    CheckpointError,
    checkpoints,
    load_meta,
    load_run,
    run_task,
    save_checkpoint,
)
from rnnjax.train import run as run_module
from rnnjax.train.folder import read_config, read_records

LOG = pathlib.Path(__file__).parent.parent / "logs" / "kill_and_resume.log"
STEPS = 11


class Killed(BaseException):
    """What no `except Exception` catches, like a signal."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """No baselines, no pictures: they are not what is tested here."""
    quick(monkeypatch)


def quick(patch):
    patch.setattr(run_module, "plot_training", lambda *_, **__: None)
    patch.setattr(LanguageModel, "picture", lambda *_: None)
    patch.setattr(LanguageModel, "baselines", lambda *_: {})


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    draw = random.Random(0)
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text(" ".join(draw.choice("to be or not that is".split()) for _ in range(300)))
    return LanguageModel(
        text=file, hidden_size=6, embedding_size=4, window=5, batch_size=3, optimizer="momentum",
        learning_rate=0.1, restart_rate=0.5, steps=STEPS, evaluate_every=4, checkpoint_every=3,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """A run that nothing stopped."""
    with pytest.MonkeyPatch.context() as patch:
        quick(patch)
        return config, run_task(config, tmp_path_factory.mktemp("runs") / "whole")


def stop(config, out, step, monkeypatch):
    """Begins a run and stops it when step `step` is recorded."""
    evaluate = run_module.as_json

    def kill(entry, **options):
        if entry.get("step") == step:
            raise Killed
        return evaluate(entry, **options)

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "as_json", kill)
        with pytest.raises(Killed):
            run_task(config, out)


def losses(folder):
    return [(r["step"], r["loss"]) for r in read_records(folder) if "loss" in r]


def assert_same_end(run, want):
    """The same last checkpoint bit for bit, the same losses, figures and sample."""
    _, result = want
    assert_bitwise(load_run(run.folder, task_of).state, load_run(result.folder, task_of).state)
    assert losses(run.folder) == losses(result.folder)
    assert (run.scores, run.sample) == (result.scores, result.sample)


@pytest.mark.parametrize("step", [
    # Before a first checkpoint, between two, after the last.
    2, 5, STEPS, pytest.param(4, marks=pytest.mark.slow), pytest.param(10, marks=pytest.mark.slow),
])  # fmt: skip
def test_a_run_stopped_anywhere_ends_bit_for_bit(whole, tmp_path, monkeypatch, step):
    config, out = whole[0], tmp_path / "run"
    stop(config, out, step, monkeypatch)
    with (tmp_path / "run" / "metrics.jsonl").open("a") as log:
        log.write('{"step": 11, "los')  # what a kill leaves of a line
    assert_same_end(run_task(config, out, resume=True), whole)


@pytest.mark.parametrize(("step", "last"), [(2, 3), (STEPS, STEPS)])
def test_an_interrupted_run_loses_no_step_and_says_how_to_go_on(
    whole, tmp_path, monkeypatch, step, last
):
    config, out = whole[0], tmp_path / "a run"
    as_json, signals = run_module.as_json, [signal.SIGTERM]

    def interrupt(entry, **options):
        if entry.get("step") == step and signals:
            signal.raise_signal(signals.pop())
        return as_json(entry, **options)

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "as_json", interrupt)
        with pytest.raises(
            KeyboardInterrupt, match=f"stopped by SIGTERM after step {last}"
        ) as stop:
            run_task(config, out)
    assert stop.value.__notes__ == [f"to go on: rnnjax train --resume '{out}'"]
    assert checkpoints(out / "checkpoints")[-1].name == f"step_{last:08d}"
    assert_same_end(run_task(config, out, resume=True), whole)


@pytest.mark.slow
def test_words_windows_and_dropout_resume_as_well(config, tmp_path, monkeypatch):
    config = dataclasses.replace(
        config, level="word", cut="sliding", dropout=0.5, tied=True, hidden_size=4, layers=2,
        optimizer="adam", schedule="halving", halve_after=1, epochs=2, batch_size=40, steps=1,
    )  # fmt: skip
    whole = config, run_task(config, tmp_path / "whole")
    found = load_run(tmp_path / "whole", task_of)
    assert int(found.state.step) == 2 * 6  # two passes of 266 windows, 6 batches each
    assert found.facts["vocabulary"][0] == "<eos>"
    stop(config, tmp_path / "run", 8, monkeypatch)
    assert_same_end(run_task(config, tmp_path / "run", resume=True), whole)


def test_a_run_that_ended_is_left_as_it_is(whole, tmp_path):
    folder = shutil.copytree(whole[1].folder, tmp_path / "run")
    assert_same_end(run_task(whole[0], folder, resume=True), whole)


def test_seconds_go_on(whole, tmp_path, monkeypatch):
    config, out = whole[0], tmp_path / "run"
    stop(config, out, 8, monkeypatch)
    run_task(config, out, resume=True)
    records = [r for r in read_records(out) if "seconds" in r]
    seconds = [r["seconds"] for r in records]
    assert seconds == sorted(seconds)
    assert [r["step"] for r in records if r["compiled"]] == [1, 7]  # the last checkpoint is of 6


def test_the_latest_and_the_best_are_kept(whole, tmp_path):
    out = whole[1].folder
    steps = [int(p.name.removeprefix("step_")) for p in checkpoints(out / "checkpoints")]
    validations = {r["step"]: r["evaluation"]["bits per character"] for r in read_records(out)
                   if "evaluation" in r}  # fmt: skip
    assert set(validations) == {4, 8, 11}
    best = min(validations, key=validations.get)
    assert steps == sorted({9, 11, best})
    assert int(load_run(out, task_of, best=True).state.step) == best
    # One that is neither late nor best goes, the best stays, however early it was.
    meta = json.loads((out / "checkpoints" / "step_00000011" / "meta.json").read_text())
    for step, validation in ((1, 0.5), (2, 0.7), (3, None), (4, 0.6)):
        run_module.save_checkpoint(
            tmp_path, step, jax.numpy.zeros(2), {**meta["meta"], "validation": validation},
            keep=2, best="validation",
        )  # fmt: skip
    assert [p.name[-1] for p in checkpoints(tmp_path)] == ["1", "3", "4"]


def damage(checkpoint, how):
    file = max((f for f in checkpoint.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    content = bytearray(file.read_bytes())
    if how == "truncated":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return file.name


@pytest.mark.parametrize("how", ["truncated", "flipped"])
def test_a_damaged_checkpoint_is_passed_over(whole, tmp_path, how):
    folder = shutil.copytree(whole[1].folder, tmp_path / "run")
    *_, before, last = checkpoints(folder / "checkpoints")
    name = damage(last, how)
    message = rf"{last} is damaged: .*{name} is not what was written .*; using {before.name}"
    with pytest.warns(UserWarning, match=message):
        assert int(load_run(folder, task_of).state.step) == int(before.name[-8:])
    with pytest.warns(UserWarning, match=message):
        assert_same_end(run_task(whole[0], folder, resume=True), whole)
    for path in checkpoints(folder / "checkpoints"):
        damage(path, how)
    with pytest.raises(CheckpointError, match=f"{last} is damaged") as raised:
        run_task(whole[0], folder, resume=True)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["jax", "devices"])
def test_other_versions_and_devices_are_warned_of(whole, tmp_path, monkeypatch, name):
    folder = shutil.copytree(whole[1].folder, tmp_path / "run")
    here = {**run_module.versions(), name: "another"}
    monkeypatch.setattr(run_module, "versions", lambda: here)
    with pytest.warns(UserWarning, match=f"{name} is another now and was .*not end bit for bit"):
        run_task(whole[0], folder, resume=True)


def test_other_settings_are_warned_of(whole, tmp_path):
    folder = shutil.copytree(whole[1].folder, tmp_path / "run")
    config = dataclasses.replace(whole[0], steps=STEPS + 2, keep=1)
    with pytest.warns(UserWarning, match=r"^steps is 13 now and was 11: ") as warned:
        run_task(config, folder, resume=True)
    assert len(warned) == 1  # how many checkpoints stay changes no parameter
    assert int(load_run(folder, task_of).state.step) == STEPS + 2
    assert read_config(folder)["config"]["steps"] == STEPS + 2
    config = dataclasses.replace(config, hidden_size=7)
    with (
        pytest.warns(UserWarning, match=r"hidden_size is 7 now and was 6"),
        pytest.raises(CheckpointError, match="is of another architecture: "),
    ):
        run_task(config, folder, resume=True)


def test_what_cannot_be_resumed(whole, tmp_path):
    config, result = whole
    with pytest.raises(ValueError, match="out must name the folder of the run to continue"):
        run_task(config, resume=True)
    with pytest.raises(ValueError, match=r"holds no run: its config\.json is missing"):
        run_task(config, tmp_path, resume=True)
    stored = read_config(result.folder)
    for changed, message in (
        ({"wings": 2}, r"config\.json is of no run known here: 'config'"),
        ({**stored, "task": "adding"}, "is a run of the task adding, not of language-model"),
        (
            {"config": {}, "versions": {"rnnjax": "0.1.9"}},
            "was begun by rnnjax 0.1.9, before there were tasks: .* cannot be continued",
        ),
    ):
        (tmp_path / "config.json").write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=message):
            run_task(config, tmp_path, resume=True)
    text = tmp_path / "text"
    text.write_text(config.text.read_text() + ".")
    with pytest.raises(ValueError, match=r"not those that .* was trained on \(other .*sha256"):
        run_task(dataclasses.replace(config, text=text), result.folder, resume=True)


def test_a_run_from_before_there_were_tasks_can_be_used(whole, tmp_path):
    config, result = whole
    last = checkpoints(result.folder / "checkpoints")[-1]
    state, meta = load_run(result.folder, task_of).state, load_meta(last)
    old = {**meta["config"], "out": None, "validate_every": 4}
    for name in ("evaluate_every", "patience"):
        del old[name]
    facts = meta["facts"]
    save_checkpoint(
        tmp_path / "checkpoints", STEPS, state,
        {"config": old, "versions": meta["versions"], "validation": 1.0, **facts},
    )  # fmt: skip
    found = load_run(tmp_path, task_of)
    assert_bitwise(found.state, state)
    assert found.task == config
    before = load_run(result.folder, task_of).system.predict(state.params, "to", length=9)
    assert [*found.system.predict(found.state.params, "to", length=9)] == [*before]


def test_killed(tmp_path):
    with (tmp_path / "log").open("w") as log:
        assert kill_and_resume(1, 0, 24, tmp_path, log) >= 1  # a run may end before its moment


@pytest.mark.slow
def test_killed_twenty_times(tmp_path):
    start = time.perf_counter()
    lines = tmp_path / "log"
    with lines.open("w") as log:
        kill_and_resume(20, 0, 900, tmp_path, log)
    with LOG.open("w") as log:
        log.write(f"20 kills at random moments, seed 0, jax {jax.__version__}\n")
        log.write(lines.read_text())
        log.write(f"time: {time.perf_counter() - start:.0f} s\n")
