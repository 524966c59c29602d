"""The loop: steps, evaluations, records, checkpoints, and what interrupts it."""

import io
import json
import math
import re
import signal
import sys
import threading
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import assert_bitwise

import rnnjax
from rnnjax.tasks.language_model import next_symbol_loss
from rnnjax.train import (
    NonFiniteError,
    fit,
    init_train_state,
    iterated,
    make_train_step,
    optimizer,
    streams,
)
from rnnjax.train import folder as folder_module
from rnnjax.train import loop as loop_module
from rnnjax.train import run as run_module

pytestmark = pytest.mark.optimised  # runs are compared that share a fixture

V, B, T = 5, 2, 4
MODEL = rnnjax.stack(rnnjax.embed(V, 3), rnnjax.elman(4), rnnjax.linear(V))
TX = optimizer("adam", 0.05, 1.0)


LOSS = next_symbol_loss(MODEL)
STEP = make_train_step(LOSS, TX)


def begin(tx=TX):
    params = MODEL.init(jax.random.key(0), jax.ShapeDtypeStruct((), int))
    return init_train_state(params, tx, jax.random.key(1), MODEL.initial_state(params, (B,)))


def source(length=40):
    return streams(np.random.default_rng(0).integers(0, V, length, np.int32), B, T)


def test_fit_is_the_step_in_a_loop_that_starts_each_pass_afresh():
    text, records = source(), []
    assert text.steps_per_pass == 4
    step, state, losses = STEP, begin(), []
    for k in range(10):
        batch = text.batch(k)
        if batch.fresh:
            state = state._replace(carried=MODEL.initial_state(state.params, (B,)))
        state, metrics = step(state, batch._replace(fresh=np.bool_(False)))
        losses.append(float(metrics.loss))
    got = fit(STEP, begin(), text, steps=10, callbacks=[records.append])
    assert_bitwise(got, state)
    assert [r["loss"] for r in records] == losses


def test_fit_continues_where_a_state_stopped():
    text = source()
    whole = fit(STEP, begin(), text, steps=7)
    half = fit(STEP, begin(), text, steps=3)
    assert_bitwise(fit(STEP, half, text, steps=7), whole)


def test_a_second_fit_traces_nothing():
    traces = []

    def update(*args, **more):  # not the cell's step: jax remembers a scan's body anyway
        traces.append(None)
        return TX.update(*args, **more)

    tx = TX._replace(update=update)
    for _ in range(2):
        fit(make_train_step(next_symbol_loss(MODEL), tx), begin(), source(), steps=2)
    assert len(traces) == 1


def test_one_trace_for_the_whole_run():
    traces = []

    def loss(*arguments):
        traces.append(None)
        return LOSS(*arguments)

    counts = []
    count = [lambda _: counts.append(len(traces))]
    fit(make_train_step(loss, TX), begin(), source(), steps=9, callbacks=count)
    assert len(set(counts)) == 1  # the first record comes after the first step was compiled


def test_an_evaluation_sees_the_state_of_its_step():
    seen = []

    def evaluate(state):
        seen.append(int(state.step))
        return 1.0

    fit(STEP, begin(), source(), steps=7, evaluate=evaluate, evaluate_every=3)
    assert seen == [3, 6, 7]
    seen.clear()
    fit(STEP, begin(), source(), steps=7, evaluate=evaluate)
    assert seen == [7]


def test_steps_are_counted_where_no_batch_size_is_known(capsys):
    fit(STEP, begin(), (source().batch(step) for step in range(20)), steps=20)
    assert re.search(r" \d+ steps/s", capsys.readouterr().err.replace("\n", " "))
    batches = iterated(source().batch(step) for step in range(20))
    fit(STEP, begin(), batches, steps=20)
    assert re.search(r" \d+ steps/s", capsys.readouterr().err.replace("\n", " "))


def test_clipped_and_skipped_steps_are_shown(capsys):
    records = []
    fit(STEP, begin(), source(), steps=20, clip_norm=1e-3, callbacks=[records.append])
    assert all(r["clipped"] for r in records)
    shown = capsys.readouterr().err
    assert "100% clipped" in shown
    assert "skipped" not in shown
    assert re.search(r"bits per character .* examples/s · \d+ s left", shown.replace("\n", " "))

    poisoned = begin()
    poisoned = poisoned._replace(params=jax.tree.map(lambda x: x * jnp.nan, poisoned.params))
    records.clear()
    fit(STEP, poisoned, source(), steps=3, clip_norm=1e-3, callbacks=[records.append])
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
    fit(STEP, begin(), source(), steps=2)
    console.flush()
    assert b"loss" in console.buffer.getvalue()


def test_a_notebook_shows_one_line_that_changes(monkeypatch, capsys):
    lines = []

    class Output:
        def update(self, shown, raw):
            lines.append(shown["text/plain"])

    def display(shown, raw, display_id):
        lines.append("shown first")
        output = Output()
        output.update(shown, raw)
        return output

    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    fit(STEP, begin(), source(), steps=4)
    assert lines.count("shown first") == 1
    assert [line.split(" ")[1] for line in lines[1:]] == ["1/4", "2/4", "3/4", "4/4"]
    assert capsys.readouterr() == ("", "")


def test_patience_ends_a_run_and_survives_a_resume(capsys):
    figures = [3.0, math.nan, 2.0, 2.0, 2.5, 1.0]

    def evaluate(state):
        return {"other": 0.0, "watched": figures[int(state.step) - 1]}

    def run(state, history=(), watch="watched"):
        records = list(history)
        state = fit(
            STEP, state, source(), steps=6, evaluate=evaluate, evaluate_every=1, watch=watch,
            patience=2, callbacks=[records.append], history=history,
        )  # fmt: skip
        return state, [json.loads(folder_module.as_json(record)) for record in records]

    state, records = run(begin())
    assert int(state.step) == 5  # 2.0 was not beaten by 2.0 nor by 2.5
    assert "no better watched in 2 evaluations: the end" in capsys.readouterr().err
    before = [record for record in records if record["step"] <= 4]
    resumed, _ = run(fit(STEP, begin(), source(), steps=4), before)
    assert_bitwise(resumed, state)
    again, more = run(resumed, records)
    assert (int(again.step), more) == (5, records)  # it had ended
    state, _ = run(begin(), watch=None)  # the first figure, which never becomes less
    assert int(state.step) == 3
    with pytest.raises(ValueError, match=r"watch must be a figure of .* other, watched, got 'wit'"):
        run(begin(), watch="wit")


def test_an_iterator_will_do_and_says_what_a_resume_is_worth():
    text = source()
    batches = [text.batch(k) for k in range(5)]
    want = fit(STEP, begin(), text, steps=5)
    assert_bitwise(fit(STEP, begin(), batches, steps=5), want)
    half = fit(STEP, begin(), text, steps=2)
    with pytest.warns(UserWarning, match="goes on at step 2 with whatever the iterator gives"):
        got = fit(STEP, half, iter(batches[2:]), steps=5)
    assert_bitwise(got, want)


def test_a_loss_that_carries_nothing_and_shows_what_it_likes(capsys):
    def loss(w, carried, batch, key):
        return jnp.square(w - batch).mean(), ((), {"size of w": jnp.abs(w)})

    tx, records = optax.sgd(0.2), []
    state = init_train_state(jnp.zeros(()), tx, jax.random.key(0))
    state = fit(
        make_train_step(loss, tx), state, [np.ones(3, np.float32)] * 20, steps=20,
        evaluate=lambda state: float(state.params), per_step=3, unit="ones",
        callbacks=[records.append],
    )  # fmt: skip
    assert abs(float(state.params) - 1) < 1e-3
    assert records[-1] == {"step": 20, "evaluation": {"loss": float(state.params)}}
    assert records[1]["metrics"] == {"size of w": pytest.approx(0.4)}
    assert re.search(r"step 20/20 · loss .* · size of w .* ones/s", capsys.readouterr().err)


def test_records_go_to_tensorboard_where_something_writes_it(tmp_path, monkeypatch):
    written, flushed = [], []

    class SummaryWriter:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, *scalar):
            written.append(scalar)

        def flush(self):
            flushed.append(len(written))

    module = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    monkeypatch.setattr(folder_module.importlib.util, "find_spec", {}.get)
    assert folder_module.tensorboard(tmp_path) is None
    monkeypatch.setattr(folder_module.importlib.util, "find_spec", {"tensorboardX": module}.get)
    fit(
        STEP, begin(), source(), steps=2, evaluate=lambda state: 1.5,
        callbacks=[folder_module.tensorboard(tmp_path)],
    )  # fmt: skip
    assert [(name, step) for name, _, step in written] == [
        *(
            (name, k)
            for k in (1, 2)
            for name in ("metrics/bits per character", "loss", "grad_norm")
        ),
        ("evaluation/loss", 2),
    ]
    assert flushed == [7]


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
            STEP, begin(), source(), steps=9, callbacks=[record],
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
    whole = fit(STEP, begin(), source(), steps=9)
    assert_bitwise(fit(STEP, state, source(), steps=9), whole)


def test_a_checkpoint_that_is_due_anyway_is_written_once():
    _, _, saved = interrupted(signal.SIGINT, evaluate=lambda state: 1.5, evaluate_every=5)
    assert [(int(state.step), nats) for state, nats in saved] == [(5, {"loss": 1.5})]


def test_a_second_signal_ends_a_run_at_once():
    error, records, saved = interrupted(signal.SIGINT, times=2)
    assert (type(error), str(error)) == (KeyboardInterrupt, "")
    assert records[-1]["step"] == 5
    assert not saved


@pytest.mark.parametrize("callback", ["callbacks", "evaluate"])
def test_a_callback_may_interrupt_as_well(callback):
    seen, saved = [], []

    def stop(entry):
        step = int(entry["step"] if callback == "callbacks" else entry.step)
        if step >= 5:
            raise KeyboardInterrupt
        seen.append(step)
        return 1.0

    options = {callback: [stop] if callback == "callbacks" else stop, "evaluate_every": 1}
    with pytest.raises(KeyboardInterrupt):
        fit(
            STEP, begin(), source(), steps=9, **options,
            checkpoint=lambda state, nats: saved.append((int(state.step), nats)),
        )  # fmt: skip
    assert saved[-1] == ((6, None) if callback == "callbacks" else (5, None))
    assert set(seen) == {1, 2, 3, 4}


def test_signals_are_left_alone_where_they_cannot_be_had(monkeypatch):
    heard = []
    options = {
        "checkpoint": lambda state, nats: None,
        "callbacks": [lambda entry: heard.append([signal.getsignal(n) for n in SIGNALS])],
    }
    handlers = [signal.getsignal(n) for n in SIGNALS]
    thread = threading.Thread(
        target=fit, args=(STEP, begin(), source()), kwargs={"steps": 1, **options}
    )
    thread.start()
    thread.join()
    assert heard == [handlers] * 2  # of the step, of the checkpoint
    heard.clear()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as `nohup` and a shell's & have it
    try:
        fit(STEP, begin(), source(), steps=1, **options)
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
        fit(make_train_step(LOSS, tx), begin(tx), source(), steps=100, callbacks=[records.append])
    assert len(records) < 25  # looked at every ten steps, not at the end of the run


def test_json_has_null_for_what_is_not_finite():
    value = {"step": 1, "loss": math.nan, "bits": {"model": -math.inf}, "seconds": 0.5}
    got = json.loads(folder_module.as_json(value), parse_constant=pytest.fail)
    assert got == {"step": 1, "loss": None, "bits": {"model": None}, "seconds": 0.5}


def test_throughput_counts_slow_steps_but_no_compilation_and_no_validation(monkeypatch):
    """On a clock that moves while the loop waits: for the device, or for a validation."""
    clock, waits = [0.0], iter([102.0, 2.0, 2.0, 2.0, 2.0, 11.0, 2.0, 2.0, 2.0, 2.0])
    device_get = jax.device_get

    def wait(metrics):
        clock[0] += next(waits)
        return device_get(metrics)

    def evaluate(state):
        clock[0] += 100.0
        return 1.0

    monkeypatch.setattr(loop_module.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(loop_module.jax, "device_get", wait)
    records = []
    fit(
        STEP, begin(), source(), steps=10, evaluate=evaluate, evaluate_every=4,
        callbacks=[records.append],
    )  # fmt: skip
    # The gaps 2-3, 3-4, 5-6, 6-7, 7-8 and 9-10: what lies between the others is not training alone.
    got = run_module._throughput(records, B * T)
    assert got == pytest.approx(6 * B * T / (2 + 2 + 11 + 2 + 2 + 2))
    assert math.isnan(run_module._throughput(records[:2], B * T))
