"""The loop and the job: from a small text of a user's to a run folder, and back to text."""

import dataclasses
import io
import itertools
import json
import math
import os
import random
import re
import signal
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import assert_bitwise

import rnnjax
from rnnjax.train import (
    CheckpointError,
    LanguageModelConfig,
    NonFiniteError,
    Vocabulary,
    evaluate,
    fit,
    generate_from_run,
    init_train_state,
    make_train_step,
    optimizer,
    read_text,
    save_checkpoint,
    streams,
    train_language_model,
)
from rnnjax.train import language_model as language_model_module
from rnnjax.train import loop as loop_module
from rnnjax.train import run as run_module
from rnnjax.train.run import load_run

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
    return LanguageModelConfig(
        text=corpus, hidden_size=8, embedding_size=4, window=5, batch_size=3,
        steps=STEPS, validate_every=5,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """(config, result) of one tiny run."""
    config = dataclasses.replace(config, out=tmp_path_factory.mktemp("runs") / "first")
    return config, train_language_model(config)


# --- the run's folder ----------------------------------------------------------------------------


def test_every_file_is_there(run):
    config, result = run
    assert result.folder == config.out
    files = {"config.json", "metrics.jsonl", "training.png", "result.json", "sample.txt"}
    assert set(os.listdir(config.out)) == {*files, "checkpoints"}
    png = (config.out / "training.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert len(png) > 10_000
    assert (config.out / "sample.txt").read_text(encoding="utf-8") == result.sample
    assert len(result.sample) == 501


def test_metrics_have_one_record_a_step(run):
    config, _ = run
    lines = (config.out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    steps = [r for r in records if "loss" in r]
    assert [r["step"] for r in steps] == list(range(1, STEPS + 1))
    assert [r["step"] for r in records if "validation_loss" in r] == [5, 10, STEPS]
    for r in steps:
        assert 0 < r["loss"] < 10
        assert r["clipped"] == (r["grad_norm"] > config.clip_norm)
        assert r["skipped"] is False
    assert all(a["seconds"] < b["seconds"] for a, b in itertools.pairwise(steps))


def test_the_config_round_trips(run):
    config, _ = run
    stored = json.loads((config.out / "config.json").read_text(encoding="utf-8"))
    assert LanguageModelConfig.from_json(stored["config"]) == config
    assert stored["vocabulary"] == "".join(sorted(set(read_text(config.text).train)))
    assert stored["versions"]["jax"] == jax.__version__


def test_the_result_is_that_of_the_last_checkpoint(run):
    config, result = run
    found = load_run(config.out)
    model, state, meta = found.model, found.state, found.meta
    assert (meta["step"], int(state.step), int(state.skipped)) == (STEPS, STEPS, 0)
    text = read_text(config.text)
    vocabulary = Vocabulary(meta["vocabulary"])
    test = vocabulary.encode(text.test, unknown=True)
    assert result.bits["model"] == evaluate(model, state.params, test) / math.log(2)
    assert meta["validation"] == evaluate(
        model, state.params, vocabulary.encode(text.validation, unknown=True)
    )
    names = {"model", "uniform", "unigram", "3-gram", "gzip", "xz", "xz given train"}
    assert set(result.bits) == names
    stored = json.loads((config.out / "result.json").read_text(encoding="utf-8"))
    assert stored["bits"] == result.bits
    assert stored["tokens_per_second"] == result.tokens_per_second


def test_two_runs_are_bitwise_equal(run, tmp_path, monkeypatch):
    config, first = run
    monkeypatch.setattr(language_model_module, "plot_training", lambda *_: None)
    second = train_language_model(dataclasses.replace(config, out=tmp_path / "second"))
    assert second.sample == first.sample
    assert second.bits == first.bits
    assert_bitwise(load_run(tmp_path / "second").state, load_run(config.out).state)


def test_a_run_is_never_overwritten(run):
    config, _ = run
    before = {f: f.read_bytes() for f in config.out.rglob("*") if f.is_file()}
    with pytest.raises(
        ValueError, match=r"first already holds a run's config\.json: choose another"
    ):
        train_language_model(config)
    assert {f: f.read_bytes() for f in config.out.rglob("*") if f.is_file()} == before


def test_without_out_every_run_gets_a_folder_of_its_own(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [run_module.new_folder(config) for _ in range(3)]  # made, so that none is taken twice
    assert len(set(folders)) == 3
    assert all(re.fullmatch(r"runs/\d{8}-\d{6}-lstm-8(-\d)?", str(f)) for f in folders)


# --- before training -----------------------------------------------------------------------------


@pytest.fixture
def no_training(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("training started")

    monkeypatch.setattr(language_model_module, "fit", fail)


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
        ({"validate_every": -1}, "validate_every must be an int of at least 0, got -1"),
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
    config = dataclasses.replace(config, out=tmp_path / "run", **changes)
    with pytest.raises(ValueError, match=message):
        train_language_model(config)
    assert not (tmp_path / "run").exists()  # nor is a folder left behind


@pytest.mark.usefixtures("no_training")
def test_a_text_too_short_to_hold_anything_out(config, tmp_path):
    (tmp_path / "text").write_text("abcdefghijklmnopqrstuvwx")
    config = dataclasses.replace(config, text=tmp_path / "text", out=tmp_path / "run")
    with pytest.raises(ValueError, match="the validation part has 1 tokens, need at least 2"):
        train_language_model(config)
    (tmp_path / "text").write_text("a")
    with pytest.raises(ValueError, match="0 tokens, need at least"):
        train_language_model(config)


@pytest.mark.usefixtures("no_training")
def test_an_output_folder_that_cannot_be_written(config, tmp_path):
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(OSError, match="run"):
        train_language_model(dataclasses.replace(config, out=tmp_path / "run"))


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("name", run_module.FILES)
def test_an_output_folder_with_any_file_of_a_run_is_refused(config, tmp_path, name):
    (tmp_path / name).write_text("of mine")
    with pytest.raises(ValueError, match=f"already holds a run's {re.escape(name)}: ") as raised:
        train_language_model(dataclasses.replace(config, out=tmp_path))
    assert "\n" not in str(raised.value)
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "of mine"


def test_parameters_and_noise_come_from_different_keys(config, tmp_path, monkeypatch):
    keys = []

    def begin(model, params, plan, batch_size, key):
        keys.append(key)
        drawn = model.init(key, jax.ShapeDtypeStruct((), int))
        assert not (drawn["embed"].table == params["embed"].table).any()
        raise KeyboardInterrupt

    monkeypatch.setattr(language_model_module, "init_train_state", begin)
    with pytest.raises(KeyboardInterrupt):
        train_language_model(dataclasses.replace(config, out=tmp_path))
    assert keys[0] != jax.random.key(config.seed)


def test_the_restart_rate_is_a_setting(config, tmp_path, monkeypatch):
    rates = []

    def fit(*_, restart_rate, **__):
        rates.append(restart_rate)
        raise KeyboardInterrupt

    monkeypatch.setattr(language_model_module, "fit", fit)
    for name, changes in (("default", {}), ("never", {"restart_rate": 0.0})):
        with pytest.raises(KeyboardInterrupt):
            train_language_model(dataclasses.replace(config, out=tmp_path / name, **changes))
    assert rates == [1 / 32, 0.0]


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
    with pytest.raises(CheckpointError, match="step_00000001 is of no language model"):
        text_of(tmp_path)


# --- the loop ------------------------------------------------------------------------------------

V, B, T = 5, 2, 4
MODEL = rnnjax.stack(rnnjax.embed(V, 3), rnnjax.elman(4), rnnjax.linear(V))
TX = optimizer("adam", 0.05, 1.0)


def begin(cell=MODEL, tx=TX):
    params = MODEL.init(jax.random.key(0), jax.ShapeDtypeStruct((), int))
    return init_train_state(cell, params, tx, B, jax.random.key(1))


def source(length=40):
    return streams(np.random.default_rng(0).integers(0, V, length, np.int32), B, T)


def test_fit_is_the_step_in_a_loop_that_starts_each_pass_afresh():
    text, records = source(), []
    assert text.steps_per_pass == 4
    step, state, losses = make_train_step(MODEL, TX), begin(), []
    for k in range(10):
        xs, targets, restart = text.batch(k)
        if restart:
            state = state._replace(carried=MODEL.initial_state(state.params, (B,)))
        state, metrics = step(state, xs, targets)
        losses.append(float(metrics.loss))
    got = fit(MODEL, TX, begin(), text, steps=10, record=records.append)
    assert_bitwise(got, state)
    assert [r["loss"] for r in records] == losses


def test_fit_continues_where_a_state_stopped():
    text = source()
    whole = fit(MODEL, TX, begin(), text, steps=7)
    half = fit(MODEL, TX, begin(), text, steps=3)
    assert_bitwise(fit(MODEL, TX, half, text, steps=7), whole)


def test_a_second_fit_traces_nothing():
    traces = []

    def update(*args, **more):  # not the cell's step: jax remembers a scan's body anyway
        traces.append(None)
        return TX.update(*args, **more)

    tx = TX._replace(update=update)
    for _ in range(2):
        fit(MODEL, tx, begin(), source(), steps=2)
    assert len(traces) == 1


def test_one_trace_for_the_whole_run():
    traces = []

    def step(params, state, x):
        traces.append(None)
        return MODEL.step(params, state, x)

    cell = dataclasses.replace(MODEL, step=step)
    counts = []
    fit(cell, TX, begin(cell), source(), steps=9, record=lambda _: counts.append(len(traces)))
    assert len(set(counts)) == 1  # the first record comes after the first step was compiled


def test_validation_sees_the_state_of_its_step():
    seen = []

    def validate(state):
        seen.append(int(state.step))
        return 1.0

    fit(MODEL, TX, begin(), source(), steps=7, validate=validate, validate_every=3)
    assert seen == [3, 6, 7]
    seen.clear()
    fit(MODEL, TX, begin(), source(), steps=7, validate=validate)
    assert seen == [7]


def test_clipped_and_skipped_steps_are_shown(capsys):
    records = []
    fit(MODEL, TX, begin(), source(), steps=20, clip_norm=1e-3, record=records.append)
    assert all(r["clipped"] for r in records)
    shown = capsys.readouterr().err
    assert "100% clipped" in shown
    assert "skipped" not in shown
    assert re.search(r"bits/char .* tokens/s · \d+ s left", shown.replace("\n", " "))

    poisoned = begin()
    poisoned = poisoned._replace(params=jax.tree.map(lambda x: x * jnp.nan, poisoned.params))
    records.clear()
    fit(MODEL, TX, poisoned, source(), steps=3, clip_norm=1e-3, record=records.append)
    assert [r["skipped"] for r in records] == [True] * 3
    assert not any(r["clipped"] for r in records)  # a step that changes nothing clips nothing
    assert "3 skipped" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("terminal", [False, True])
def test_a_console_of_any_encoding_shows_the_run(monkeypatch, terminal):
    class Console(io.TextIOWrapper):
        def isatty(self):
            return terminal

    console = Console(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stderr", console)
    monkeypatch.setenv("COLUMNS", "30")  # so that lines end in an ellipsis
    monkeypatch.setenv("TERM", "xterm")
    fit(MODEL, TX, begin(), source(), steps=2)
    console.flush()
    assert b"nats" in console.buffer.getvalue()


# --- interrupted ---------------------------------------------------------------------------------

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def interrupted(number, times=1, **options):
    """What is left of a run in which a signal comes with the record of step 5."""
    left = {"records": [], "saved": []}

    def record(entry):
        left["records"].append(entry)
        if entry["step"] == 5 and "loss" in entry:
            for _ in range(times):
                signal.raise_signal(number)

    with pytest.raises(KeyboardInterrupt) as stopped:
        fit(
            MODEL, TX, begin(), source(), steps=9, record=record,
            checkpoint=lambda *saved: left["saved"].append(saved), **options,
        )  # fmt: skip
    return stopped.value, left["records"], left["saved"]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_leaves_a_checkpoint_of_the_step_it_came_in(number, capsys):
    handlers = [signal.getsignal(n) for n in SIGNALS]
    error, records, [(state, nats)] = interrupted(number)
    assert [signal.getsignal(n) for n in SIGNALS] == handlers
    assert str(error) == f"stopped by {number.name} after step 6"  # shown one step behind
    assert "stopping behind this step; a second time stops at once" in capsys.readouterr().err
    assert (int(state.step), nats) == (6, None)
    assert [r["step"] for r in records if "loss" in r] == [1, 2, 3, 4, 5, 6]
    assert records[-1] == {"step": 6, "checkpoint": True}
    whole = fit(MODEL, TX, begin(), source(), steps=9)
    assert_bitwise(fit(MODEL, TX, state, source(), steps=9), whole)


def test_a_checkpoint_that_is_due_anyway_is_written_once():
    _, _, saved = interrupted(signal.SIGINT, validate=lambda state: 1.5, validate_every=5)
    assert [(int(state.step), nats) for state, nats in saved] == [(5, 1.5)]


def test_a_second_signal_ends_a_run_at_once():
    error, records, saved = interrupted(signal.SIGINT, times=2)
    assert (type(error), str(error)) == (KeyboardInterrupt, "")
    assert records[-1]["step"] == 5
    assert not saved


@pytest.mark.parametrize("callback", ["record", "validate"])
def test_a_callback_may_interrupt_as_well(callback):
    seen, saved = [], []

    def stop(entry):
        step = int(entry["step"] if callback == "record" else entry.step)
        if step >= 5:
            raise KeyboardInterrupt
        seen.append(step)
        return 1.0

    options = {callback: stop, "validate_every": 1}
    with pytest.raises(KeyboardInterrupt):
        fit(
            MODEL, TX, begin(), source(), steps=9, **options,
            checkpoint=lambda state, nats: saved.append((int(state.step), nats)),
        )  # fmt: skip
    assert saved[-1] == ((6, None) if callback == "record" else (5, None))
    assert set(seen) == {1, 2, 3, 4}


def test_signals_are_left_alone_where_they_cannot_be_had(monkeypatch):
    heard = []
    options = {
        "checkpoint": lambda state, nats: None,
        "record": lambda entry: heard.append([signal.getsignal(n) for n in SIGNALS]),
    }
    handlers = [signal.getsignal(n) for n in SIGNALS]
    thread = threading.Thread(
        target=fit, args=(MODEL, TX, begin(), source()), kwargs={"steps": 1, **options}
    )
    thread.start()
    thread.join()
    assert heard == [handlers] * 2  # of the step, of the checkpoint
    heard.clear()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as `nohup` and a shell's & have it
    try:
        fit(MODEL, TX, begin(), source(), steps=1, **options)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, handlers[0])
    assert heard[0][0] == signal.SIG_IGN
    assert heard[0][1] != handlers[1]


def test_a_run_that_cannot_recover_stops():
    def explode(updates, state, params=None):
        return jax.tree.map(lambda leaf: leaf * jnp.inf, updates), state

    tx = optax.chain(TX, optax.GradientTransformation(lambda params: optax.EmptyState(), explode))
    records = []
    with pytest.raises(
        NonFiniteError, match=r"the updated params\[0\].* at step 10, the last of 10 "
    ):
        fit(MODEL, tx, begin(tx=tx), source(), steps=100, record=records.append)
    assert len(records) < 25  # looked at every ten steps, not at the end of the run


def test_json_has_null_for_what_is_not_finite():
    value = {"step": 1, "loss": math.nan, "bits": {"model": -math.inf}, "seconds": 0.5}
    got = json.loads(run_module.as_json(value), parse_constant=pytest.fail)
    assert got == {"step": 1, "loss": None, "bits": {"model": None}, "seconds": 0.5}


def test_throughput_counts_slow_steps_but_no_compilation_and_no_validation(monkeypatch):
    """On a clock that moves while the loop waits: for the device, or for a validation."""
    clock, waits = [0.0], iter([102.0, 2.0, 2.0, 2.0, 2.0, 11.0, 2.0, 2.0, 2.0, 2.0])
    device_get = jax.device_get

    def wait(metrics):
        clock[0] += next(waits)
        return device_get(metrics)

    def validate(state):
        clock[0] += 100.0
        return 1.0

    monkeypatch.setattr(loop_module.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(loop_module.jax, "device_get", wait)
    records = []
    fit(
        MODEL, TX, begin(), source(), steps=10, validate=validate, validate_every=4,
        record=records.append,
    )  # fmt: skip
    # The gaps 2-3, 3-4, 5-6, 6-7, 7-8 and 9-10: what lies between the others is not training alone.
    got = language_model_module._throughput(records, B * T)
    assert got == pytest.approx(6 * B * T / (2 + 2 + 11 + 2 + 2 + 2))
    assert math.isnan(language_model_module._throughput(records[:2], B * T))
