"""The job: from a small text of a user's to a run folder, and back to text."""

import dataclasses
import itertools
import json
import math
import os
import random
import re

import jax
import jax.numpy as jnp
import pytest
from oracles import assert_bitwise

from rnnjax.tasks.language_model import (
    LanguageModel,
    Vocabulary,
    evaluate,
    generate_from_run,
    next_symbol_loss,
    read_text,
)
from rnnjax.train import CheckpointError, load_run, run_task, save_checkpoint
from rnnjax.train import folder as folder_module
from rnnjax.train import run as run_module

WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "and",
    "runs",
    "into",
    "some",
    "deep",
    "wood",
]
STEPS = 12

pytestmark = pytest.mark.optimised  # runs are compared that share a fixture


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rng = random.Random(0)
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text(" ".join(rng.choice(WORDS) for _ in range(900)) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def config(corpus):
    return LanguageModel(
        text=corpus, hidden_size=8, embedding_size=4, window=5, batch_size=3,
        steps=STEPS, evaluate_every=5,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """(config, result) of one tiny run."""
    return config, run_task(config, tmp_path_factory.mktemp("runs") / "first")


def state_of(folder):
    return load_run(folder, LanguageModel.of).state


# --- the run's folder ----------------------------------------------------------------------------


def test_every_file_is_there(run):
    _, result = run
    files = {"config.json", "metrics.jsonl", "training.png", "picture.png", "result.json"}
    assert set(os.listdir(result.folder)) == {*files, "sample.txt", "checkpoints"}
    for name in ("training.png", "picture.png"):
        png = (result.folder / name).read_bytes()
        assert png.startswith(b"\x89PNG")
        assert len(png) > 10_000
    assert (result.folder / "sample.txt").read_text(encoding="utf-8") == result.sample
    assert len(result.sample) == 501


def test_metrics_have_one_record_a_step(run):
    config, result = run
    lines = (result.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    steps = [r for r in records if "loss" in r]
    assert [r["step"] for r in steps] == list(range(1, STEPS + 1))
    assert [r["step"] for r in records if "evaluation" in r] == [5, 10, STEPS]
    for r in steps:
        assert 0 < r["loss"] < 10
        assert r["clipped"] == (r["grad_norm"] > config.clip_norm)
        assert r["skipped"] is False
    assert all(a["seconds"] < b["seconds"] for a, b in itertools.pairwise(steps))


def test_the_config_round_trips(run):
    config, result = run
    stored = json.loads((result.folder / "config.json").read_text(encoding="utf-8"))
    assert LanguageModel.from_json(stored["config"]) == config
    assert stored["task"] == "language-model"
    assert stored["facts"]["vocabulary"] == "".join(sorted(set(read_text(config.text).train)))
    assert stored["versions"]["jax"] == jax.__version__


def test_the_result_is_that_of_the_last_checkpoint(run):
    config, result = run
    found = load_run(result.folder, LanguageModel.of)
    model, state, meta = found.system.cell, found.state, found.meta
    assert (meta["step"], int(state.step), int(state.skipped)) == (STEPS, STEPS, 0)
    text = read_text(config.text)
    vocabulary = Vocabulary(found.facts["vocabulary"])
    test = vocabulary.encode(text.test, unknown=True)
    assert result.scores["model"] == evaluate(model, state.params, test) / math.log(2)
    validation = vocabulary.encode(text.validation, unknown=True)
    assert meta["validation"] == evaluate(model, state.params, validation) / math.log(2)
    assert result.test == {
        "bits per character": result.scores["model"],
        "nats": evaluate(model, state.params, test),
    }
    names = {"model", "uniform", "unigram", "3-gram", "gzip", "xz", "xz given train"}
    assert set(result.scores) == names
    stored = json.loads((result.folder / "result.json").read_text(encoding="utf-8"))
    assert stored["scores"] == result.scores
    assert stored["per_second"] == result.per_second


def test_two_runs_are_bitwise_equal(run, tmp_path, monkeypatch):
    config, first = run
    monkeypatch.setattr(run_module, "plot_training", lambda *_, **__: None)
    second = run_task(config, tmp_path / "second")
    assert second.sample == first.sample
    assert second.scores == first.scores
    assert_bitwise(state_of(second.folder), state_of(first.folder))


def test_a_run_is_never_overwritten(run):
    config, result = run
    before = {f: f.read_bytes() for f in result.folder.rglob("*") if f.is_file()}
    with pytest.raises(
        ValueError, match=r"first already holds a run's config\.json: choose another"
    ):
        run_task(config, result.folder)
    assert {f: f.read_bytes() for f in result.folder.rglob("*") if f.is_file()} == before


def test_without_out_every_run_gets_a_folder_of_its_own(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Made, so that none is taken twice.
    folders = [folder_module.new_folder(None, config.name) for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(re.fullmatch(r"runs/\d{8}-\d{6}-language-model(-\d)?", str(f)) for f in folders)


# --- before training -----------------------------------------------------------------------------


@pytest.fixture
def no_training(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("training started")

    monkeypatch.setattr(run_module, "fit", fail)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be a positive int, got 0"),
        ({"layers": 0}, "layers must be a positive int, got 0"),
        ({"window": 0}, "window must be a positive int, got 0"),
        ({"batch_size": 0}, "batch_size must be a positive int, got 0"),
        ({"hidden_size": 0}, "hidden_size must be a positive int, got 0"),
        ({"embedding_size": -1}, "must be a positive int, got -1"),
        ({"evaluate_every": -1}, "evaluate_every must be an int of at least 0, got -1"),
        ({"clip_norm": -1.0}, r"clip_norm must be a number, at least 0 and finite, got -1\.0"),
        ({"restart_rate": 1.5}, r"restart_rate must be a number in \[0, 1\], got 1\.5"),
        ({"learning_rate": 0.0}, r"learning_rate must be positive and finite, got 0\.0"),
        ({"learning_rate": math.nan}, "learning_rate must be positive and finite, got nan"),
        ({"optimizer": "adman"}, r"one of sgd, momentum, .*got 'adman'"),
        ({"seed": 2**70}, "seed must fit into 64 bits"),
        (
            {"window": 2000},
            r"\d+ tokens, need at least B \* \(T \+ 1\) = 3 \* \(2000 \+ 1\) = 6003",
        ),
    ],
)
def test_a_configuration_that_will_not_do(config, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        run_task(dataclasses.replace(config, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()  # nor is a folder left behind


@pytest.mark.usefixtures("no_training")
def test_a_text_too_short_to_hold_anything_out(config, tmp_path):
    (tmp_path / "text").write_text("abcdefghijklmnopqrstuvwx")
    config = dataclasses.replace(config, text=tmp_path / "text")
    with pytest.raises(ValueError, match="the validation part has 1 tokens, need at least 2"):
        run_task(config, tmp_path / "run")
    (tmp_path / "text").write_text("a")
    with pytest.raises(ValueError, match="0 tokens, need at least"):
        run_task(config, tmp_path / "run")


@pytest.mark.usefixtures("no_training")
def test_an_output_folder_that_cannot_be_written(config, tmp_path):
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(OSError, match="run"):
        run_task(config, tmp_path / "run")


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("name", folder_module.FILES)
def test_an_output_folder_with_any_file_of_a_run_is_refused(config, tmp_path, name):
    (tmp_path / name).write_text("of mine")
    with pytest.raises(ValueError, match=f"already holds a run's {re.escape(name)}: ") as raised:
        run_task(config, tmp_path)
    assert "\n" not in str(raised.value)
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "of mine"


def test_parameters_and_noise_come_from_different_keys(config, tmp_path, monkeypatch):
    keys = []

    def begin(params, optimizer, key, carried):
        keys.append(key)
        model = config.system(config.data().facts).cell
        drawn = model.init(key, jax.ShapeDtypeStruct((), int))
        assert not (drawn["embed"].table == params["embed"].table).any()
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "init_train_state", begin)
    with pytest.raises(KeyboardInterrupt):
        run_task(config, tmp_path)
    assert keys[0] != jax.random.key(config.seed)


@pytest.mark.parametrize("rate", [1 / 32, 0.0])
def test_the_restart_rate_is_a_setting(config, rate):
    changed = config if rate else dataclasses.replace(config, restart_rate=rate)
    system = changed.system({"vocabulary": "abc"})
    assert system.loss is next_symbol_loss(system.cell, restart_rate=rate)


# --- generation ----------------------------------------------------------------------------------


def text_of(folder, prompt="the ", **options):
    defaults = {"length": 30, "temperature": 1.0, "seed": 0}
    return "".join(generate_from_run(folder, prompt, **{**defaults, **options}))


def test_generation_is_reproducible(run):
    folder = run[1].folder
    assert text_of(folder) == text_of(str(folder))
    assert text_of(folder) != text_of(folder, seed=1)
    assert text_of(folder, temperature=0.0) == text_of(folder, temperature=0.0, seed=1)
    assert len(text_of(folder)) == 30


def test_generation_names_what_will_not_do(run, tmp_path):
    with pytest.raises(ValueError, match=r"the character 'É' \(position 1\)"):
        text_of(run[1].folder, "tÉ")
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match="has no checkpoint: train first"):
            text_of(folder)
    save_checkpoint(tmp_path / "checkpoints", 1, {"w": jnp.zeros(2)}, {"note": "no model"})
    with pytest.raises(CheckpointError, match="step_00000001 is of no task known here"):
        text_of(tmp_path)
