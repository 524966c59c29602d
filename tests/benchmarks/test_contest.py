"""A contest refuses what is wrong, sees what is slow, and handicaps nobody."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import peers
import pytest
import suite
from timing import POOL, Worker, measure

TOY = {"make": "toys:toy", "process": "toys", "seconds": 0.001}


@pytest.fixture(autouse=True)
def _processes_end():
    with POOL:
        yield


def test_a_wrong_contender_is_refused_and_a_slow_one_is_seen():
    jobs = {
        "first": TOY,
        "slow": {**TOY, "seconds": 0.02},
        "wrong": {**TOY, "wrong": 0.01},
        "lacking": {**TOY, "library": "none"},
        "missing": {**TOY, "make": "no_such_library:toy"},
        "known": {"absent": "no flag"},
    }
    (row,) = suite.contest({"T": 3}, jobs, ["forward"], rounds=5)
    assert set(row["figures"]) == {"first", "slow"}
    _, low, _ = suite.against(row, "slow", "first")
    assert low > 2
    assert row["absent"]["wrong"] == (
        "refused: its gradient differs from that of first by 5.0e-03, of 1e-04"
    )
    assert row["absent"]["lacking"] == "has no such thing"
    assert "no_such_library" in row["absent"]["missing"]
    assert row["absent"]["known"] == "no flag"
    assert suite.refusals([row]) == [f"T 3: wrong {row['absent']['wrong']}"]


def test_a_process_is_shared_where_name_and_devices_are_the_same(monkeypatch):
    monkeypatch.setattr(suite, "accelerator", lambda: ("cpu", "cpu"))
    own = suite.process("keras", {})
    assert own == suite.process("keras, ragged", {"process": "keras", "devices": 1})
    assert len({own, suite.process("keras", {"devices": 2}), suite.process("torch", {})}) == 3
    smoke = {"together": True}
    assert suite.process("keras", smoke) == suite.process("floor", {**smoke, "process": "lax.scan"})
    assert suite.process("torch", smoke) == suite.process("torch", {})
    monkeypatch.setattr(suite, "accelerator", lambda: ("tpu", "a TPU"))
    assert suite.process("keras", {}) == suite.process("floor", {"devices": 2})


def test_a_contender_that_fails_is_refused_and_the_others_are_measured(capsys):
    jobs = {"first": TOY, "broken": {**TOY, "make": "toys:raising"}}
    (row,) = suite.contest({}, jobs, ["forward"], rounds=1)
    assert set(row["figures"]) == {"first"}
    assert row["absent"]["broken"].startswith("refused: ")
    assert "a fault of ours" in row["absent"]["broken"]
    assert "Traceback" in capsys.readouterr().err
    assert len(suite.refusals([row])) == 1


def test_a_process_that_dies_says_what_it_said():
    worker = Worker()
    worker._tell({"call": "nobody", "mode": "forward", "times": 1})
    with pytest.raises(RuntimeError, match=r"(?s)ended: .*KeyError: 'nobody'"):
        worker.answer()
    worker.close()


@pytest.mark.parametrize(
    ("arrays", "wrong"),
    [
        ({"y": np.ones(3), "g": np.full(3, 100.005)}, False),
        ({"y": np.ones(3), "g": np.full(3, 100.5)}, True),
        ({"y": np.array([1.0, 1.0, np.nan])}, True),
        ({"y": np.ones(4)}, True),
        ({"y": np.ones(3) + 1e-3}, True),
        ({"g": np.full(3, 100.0)}, False),
    ],
)
def test_a_difference_counts_by_the_largest_entry(arrays, wrong):
    reference = {"y": np.ones(3), "g": np.full(3, 100.0)}
    found = suite.disagreements({"first": reference, "second": arrays})
    assert bool(found["second"][1]) == wrong


def test_what_gives_nothing_to_compare_is_an_error():
    with pytest.raises(ValueError, match="second gives nothing to compare"):
        suite.disagreements({"first": {"y": np.ones(1)}, "second": {"z": np.ones(1)}})


HANDICAPS = {
    "GOMP_SPINCOUNT": "0",  # made PyTorch ten times slower, in a suite before this one
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "KMP_BLOCKTIME": "0",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_CORETYPE": "Prescott",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
}


def test_no_contender_has_a_handicap_from_our_environment(monkeypatch, tmp_path):
    for name, value in HANDICAPS.items():
        monkeypatch.setenv(name, value)
    own = {"XLA_FLAGS": "--its_own"}
    assert POOL.of("told", own) is POOL.of("told", own)
    assert POOL.of("told", own) is not POOL.of("told")
    found = []
    for env in ({}, own):
        facts = facts_of(POOL.of("told", env), {"make": "toys:environment"}, tmp_path)
        found.append({name: facts["environment"].get(name) for name in HANDICAPS})
    assert found == [dict.fromkeys(HANDICAPS), {**dict.fromkeys(HANDICAPS), **own}]


def facts_of(worker, job, folder):
    worker.load("it", {**job, "results": str(folder / "results.npz")})
    return worker.answer()["facts"]


@pytest.mark.slow  # two imports of PyTorch
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_pytorch_has_as_many_threads_as_it_would_have_alone(monkeypatch, tmp_path):
    code = "import torch; print(torch.get_num_threads())"
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("OMP_", "MKL_"))}
    alone = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    net = peers.Net("elman", 2, 2)._asdict()
    job = {**net, "length": 2, "batch": 2, "make": "peers:torch_contender"}
    assert facts_of(POOL.of("torch"), job, tmp_path)["threads"] == int(alone.stdout)


def test_rounds_are_interleaved_and_as_long_as_asked():
    order = []

    def burst(name, seconds):
        def call(times):
            order.append(name)
            return [seconds] * times

        return call

    found = measure({"a": burst("a", 0.01), "b": burst("b", 0.02)}, rounds=6, burst_seconds=0.04)
    rounds = [set(order[i : i + 2]) for i in range(len(order) - 12, len(order), 2)]
    assert rounds == [{"a", "b"}] * 6
    assert found["a"].tolist() == [0.01] * 6
    assert found["b"].tolist() == [0.02] * 6
