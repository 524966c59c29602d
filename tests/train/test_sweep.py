"""Seeds side by side, and cells beside each other."""

import importlib
import json

import jax
import numpy as np
import pytest

from rnnjax.cli import main
from rnnjax.tasks import TASKS, task_of
from rnnjax.tasks.adding import Adding
from rnnjax.tasks.controlled import _base as base
from rnnjax.tasks.controlled.memory import Multiplication
from rnnjax.tasks.controlled.regular import Parity
from rnnjax.train import Sweep, load_run, run_task, sweep, train_seeds

module = importlib.import_module("rnnjax.train.sweep")
TINY = {"T": 4, "shortest": 4, "longest": 8, "hidden_size": 3, "batch_size": 4, "steps": 7}


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    monkeypatch.setattr(base, "HELD_OUT", 20)
    monkeypatch.setattr(base, "BEYOND", 10)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_seeds_side_by_side_are_runs_of_their_own(tmp_path, monkeypatch, backend):
    monkeypatch.setattr(module, "PIECE", 3)  # 3, 3 and 1
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    task = Multiplication(**TINY, cell="gru", learning_rate=0.1, evaluate_every=0)
    told = []
    found = train_seeds(task, [5, 2], report=lambda step, losses: told.append((step, losses)))
    alone = Multiplication(**TINY, cell="gru", learning_rate=0.1, evaluate_every=0, seed=2)
    result = run_task(alone, tmp_path / "run")
    state = load_run(tmp_path / "run", task_of).state
    mine = jax.tree.map(lambda leaf: leaf[1], found.state)
    assert int(mine.step) == int(state.step) == 7
    assert jax.random.key_data(mine.key).tolist() == jax.random.key_data(state.key).tolist()
    for one, other in zip(
        jax.tree.leaves((mine.params, mine.opt_state)),
        jax.tree.leaves((state.params, state.opt_state)),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert found.figures[1] == pytest.approx(result.test)
    records = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [r["loss"] for r in map(json.loads, records) if "loss" in r]
    pieces = [np.mean(losses[a:b]) for a, b in ((0, 3), (3, 6), (6, 7))]
    np.testing.assert_allclose(found.losses[:, 1], pieces, rtol=1e-4)
    assert [step for step, _ in told] == [3, 6, 7]
    np.testing.assert_array_equal(np.stack([losses for _, losses in told]), found.losses)
    first = jax.tree.leaves(jax.tree.map(lambda leaf: leaf[0], found.state.params))
    assert all((np.asarray(a) != b).any() for a, b in zip(first, jax.tree.leaves(mine.params),
                                                          strict=True))  # fmt: skip


@pytest.mark.optimised  # else vmapped products are summed in the same order, too
def test_on_a_cpu_a_seed_is_bit_for_bit_what_it_is_alone():
    task = Multiplication(**TINY, cell="lstm", learning_rate=0.1)
    both, alone = (train_seeds(task, seeds) for seeds in ([5, 2], [2]))
    jax.tree.map(
        lambda mine, its: np.testing.assert_array_equal(mine[1], its[0]),
        (both.state.params, both.state.opt_state, both.losses.T),
        (alone.state.params, alone.state.opt_state, alone.losses.T),
    )
    assert both.figures[1] == alone.figures[0]


def test_the_command_compares_cells(tmp_path, capsys):
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    words = ["sweep", "--task", "even-pairs", "--cells", "elman, gru_d", "--seeds", "2", *flags]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    stored = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert (stored["task"], stored["seeds"], stored["config"]["T"]) == ("even-pairs", 2, 4)
    assert list(stored["figures"]) == ["elman", "gru_d"]
    for cell, seeds in stored["figures"].items():
        assert len(seeds) == len(stored["losses"][cell]) == len(stored["skipped"][cell]) == 2
        for figures in seeds:
            assert {"% wrong", "% wrong at 2", "% wrong at 4", "% wrong at 8"} == set(figures)
    for word in ("elman", "gru_d", "at 8", "always the same answer", "median of 2 seeds"):
        assert word in shown.out
    assert "elman: step 7/7, loss" in shown.err
    assert (tmp_path / "out" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert "already holds" in capsys.readouterr().err


def test_a_task_without_lengths_is_compared_as_well(tmp_path):
    task = Adding(T=4, hidden_size=3, batch_size=4, steps=2)
    found = sweep(task, ["elman"], 1, tmp_path / "out")
    assert found.by_length("elman") == {}
    columns, ((cell, shown),) = found.rows()
    assert (columns, cell) == (["", "mean squared error"], "elman")
    (figures,) = found.figures["elman"]
    assert shown.startswith(f"{figures['mean squared error']:.3g} (")
    assert (tmp_path / "out" / "sweep.png").exists()


def test_the_table_has_the_median_and_the_worst(tmp_path):
    task = Parity(T=4, shortest=4, longest=4)
    seeds = [{"% wrong": x, "% wrong at 2": 1.0, "% wrong at 4": x} for x in (3, 50, float("nan"))]
    columns, rows = Sweep(tmp_path, task, {"lstm": seeds}, {}).rows()
    assert columns == ["", "at 2", "at 4"]
    assert rows == [["lstm", "1 (1)", "50 (inf)"]]


@pytest.mark.parametrize(
    ("name", "cells", "changes", "error", "match"),
    [
        ("parity", ["lstm", "lstm"], {}, ValueError, "each once, got lstm, lstm"),
        ("parity", [], {}, ValueError, "cells must be one or more, each once, got none"),
        ("parity", ["rwkv"], {}, ValueError, "cell must be one of"),
        ("parity", ["lstm"], {"patience": 1}, ValueError, "patience must be 0"),
        ("copy", ["gru_d"], {}, ValueError, "cell must be one of antisymmetric.*, got 'gru_d'"),
        ("reverse", ["lstm"], {}, TypeError, "reverse has no generated data"),
    ],
)
def test_what_cannot_be_compared(name, cells, changes, error, match, tmp_path):
    with pytest.raises(error, match=match):
        sweep(TASKS[name](**changes), cells, 2, tmp_path / "out")
    assert not (tmp_path / "out" / "sweep.json").exists()


def test_what_cannot_be_trained_side_by_side():
    with pytest.raises(TypeError, match="reverse has no generated data"):
        train_seeds(TASKS["reverse"](), [0])
    with pytest.raises(ValueError, match="seeds must be one or more, got none"):
        train_seeds(Parity(), [])


def test_the_command_refuses_in_one_line(capsys):
    for words, match in (
        (["--task", "flying"], "there is no task flying"),
        (["--task", "reverse"], "reverse is no task of generated data"),
        (["--cells", "lstm,wings"], "cell must be one of"),
    ):
        assert main(["sweep", *words]) == 2
        shown = capsys.readouterr().err
        assert match in shown
        assert shown.count("\n") == 1
