"""The parts memory, ragged, scaling, streaming and training: their contenders compute the same."""

import importlib.util
import json
import sys

import bench_memory
import bench_ragged
import bench_scaling
import bench_streaming
import bench_training
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import suite
import worker
from matplotlib.figure import Figure
from peak import PAGE, peak
from timing import POOL

PARTS = [bench_memory, bench_ragged, bench_scaling, bench_streaming, bench_training]
each = pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)


@pytest.fixture(autouse=True)
def _as_other_libraries_have_it():
    with jax.numpy_dtype_promotion("standard"):
        yield


def contest(part, case, monkeypatch):
    """The jobs of a case, of which what is not installed is left out, its modes and their units."""
    asked = []
    monkeypatch.setattr(
        suite, "contest", lambda case, jobs, modes, **more: asked.append((jobs, modes, more)) or []
    )
    assert part.measure(case) == []
    ((jobs, modes, more),) = asked
    there = importlib.util.find_spec("torch") is not None
    jobs = {name: job for name, job in jobs.items() if there or not name.startswith("torch")}
    return jobs, modes, more.get("units") or {}


def made(job):
    """A contender in this process, which has one device."""
    module, _, function = job["make"].partition(":")
    return getattr(sys.modules[module], function)({**job, "devices": 1})


@each
def test_contenders_agree_and_their_rows_are_told(part, monkeypatch):
    case = part.cases("quick", suite.Options())[0]
    jobs, modes, units = contest(part, case, monkeypatch)
    contenders = {name: made(job) for name, job in jobs.items()}
    told = suite.disagreements({
        name: {what: np.asarray(array) for what, array in one.results.items()}
        for name, one in contenders.items()
    })  # fmt: skip
    assert len(told) == len(jobs)
    assert all(worst < 1e-5 and not reason for worst, reason in told.values()), told
    facts = {name: dict(one.facts) for name, one in contenders.items()}
    rows = []
    for mode in modes:
        figures = {n: worker.figures(one.calls[mode], 2) for n, one in contenders.items()}
        assert all(min(values) > 0 for values in figures.values())
        rows.append(suite.row(case, mode, figures, unit=units.get(mode, "s"), facts=facts))
    rows = json.loads(json.dumps(rows))
    longer = {**case, "length": 2 * case["length"]} if "length" in case else case
    rows += [{**row, "case": longer} for row in rows]
    assert all(name.partition(",")[0] in part.table(rows) for name in jobs)
    assert part.headlines(rows)
    axes = Figure().add_subplot()
    part.figure(rows, axes)
    assert axes.figure.axes
    if hasattr(part, "brief"):
        assert all(len(line) == 3 and "–" not in line for line in part.brief(rows))
    # A page can be written where contenders are missing, too.
    for row in rows:
        row["figures"] = {n: f for n, f in row["figures"].items() if n.startswith("rnnjax")}
    part.table(rows)
    part.headlines(rows)
    if hasattr(part, "brief"):
        assert all(line[1:] == ["–", "–"] for line in part.brief(rows))
    part.figure(rows, Figure().add_subplot())


@each
@pytest.mark.parametrize("size", suite.SIZES)
def test_a_case_names_all_that_defines_it(part, size):
    found = [json.dumps(case) for case in part.cases(size, suite.Options())]
    assert len(set(found)) == len(found) > 0
    asked = part.cases(size, suite.Options(peers=("torch",), sizes=((6, 2, 3, 4),)))
    assert {case["units"] for case in asked} == {4}
    assert all(case["peers"] == ["torch"] for case in asked)


@each
def test_what_is_asked_for_is_all_there_is_beside_rnnjax(part, monkeypatch):
    case = part.cases("quick", suite.Options(peers=("torch",)))[0]
    jobs, *_ = contest(part, case, monkeypatch)
    allowed = ("rnnjax", "torch", "lax.scan")
    assert all(name.startswith(allowed) for name in jobs)
    assert not any(name.startswith(("flax", "keras", "onnx")) for name in jobs)


TRAINING = bench_training.case((8, 4, 8, 16), steps=10)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (lambda loss: lambda p, s, xs, ys: (loss(p, s, xs, ys)[0], s), "losses"),
        (
            lambda loss: (
                lambda p, s, xs, ys: (
                    loss(p, s, xs, ys)[0] + 5e-5 * jnp.sum(p["readout"]["bias"]),
                    loss(p, s, xs, ys)[1],
                )
            ),
            "gradient of b",
        ),
    ],
    ids=["forgets its state", "has another gradient"],
)
def test_a_model_that_learns_something_else_is_refused(wrong, what, monkeypatch):
    def library(job):
        flax = bench_training.flax_library(job)
        return flax._replace(loss=wrong(flax.loss))

    monkeypatch.setitem(bench_training.LIBRARIES, "flax", library)
    found = {
        name: bench_training.jax_contender({**TRAINING, "library": name, "devices": 1}).results
        for name in ("rnnjax", "flax")
    }
    arrays = {n: {k: np.asarray(v) for k, v in one.items()} for n, one in found.items()}
    assert suite.disagreements(arrays)["flax"][1].startswith(f"its {what} differs from that of")


@pytest.mark.parametrize(
    ("package", "make", "case"),
    [
        ("keras", "bench_training:jax_contender", {**TRAINING, "library": "keras", "devices": 1}),
        ("torch", "bench_training:torch_contender", TRAINING),
        (
            "onnxruntime",
            "bench_streaming:onnx_contender",
            bench_streaming.cases("quick", suite.Options())[0],
        ),
    ],
)
def test_a_package_that_is_absent_is_named(package, make, case, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    contender, told = worker.load({**case, "make": make})
    assert contender is None
    assert package in told["absent"]


def test_windows_follow_each_other_in_every_stream():
    window, length = bench_training.windows(TRAINING), TRAINING["length"]
    (xs, targets), (following, _) = window(0), window(1)
    np.testing.assert_array_equal(targets[:-1], xs[1:])
    np.testing.assert_array_equal(targets[-1], following[0])
    streams = bench_training.text()[0].size // TRAINING["batch"]
    again = (streams - 1) // length
    np.testing.assert_array_equal(window(again)[0], xs)
    assert window(again - 1)[1].shape == (length, TRAINING["batch"])


def test_blocks_by_hand_are_whole():
    job = {**bench_memory.case("lstm", (bench_memory.BLOCK + 1, 2, 3, 4), 1)}
    with pytest.raises(NotImplementedError, match="T is a multiple of 100"):
        bench_memory.jax_contender({**job, "way": bench_memory.BY_HAND})


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux counts it")
def test_the_peak_is_what_a_call_needs_while_it_runs():
    size, kept = 50_000_000, []

    def call():
        taken = np.ones(size, np.uint8)
        kept[:] = [taken[:10].copy()]

    found = [peak(call)() for _ in range(2)]
    # The kernel counts the pages of each thread, and adds them up now and then.
    assert all(49 < megabytes < 60 for megabytes in found), found
    assert PAGE <= peak(lambda: None)() < 5
    assert peak(call, 7.0)() == 7.0


def test_a_size_that_lies_on_several_axes_is_measured_once():
    cases = bench_scaling.cases("standard", suite.Options())
    on_axes = [case for case in cases if case["axis"] in bench_scaling.AXES]
    sizes = [tuple(case[axis] for axis in bench_scaling.AXES) for case in on_axes]
    assert len(set(sizes)) == len(sizes)
    rows = [suite.row(case, "train", {"rnnjax": [1.0]}) for case in cases]
    for axis, values in bench_scaling.STANDARD.items():
        points = bench_scaling.lines(rows, axis, "train")["rnnjax"]
        assert [size for size, _ in points] == list(values)


def test_exponents_are_of_the_last_sizes():
    points = [(1, 100.0), (2, 100.0), *((n, 3 * n**1.5) for n in (4, 8, 16))]
    assert bench_scaling.exponent(points) == pytest.approx(1.5)
    assert bench_scaling.exponent(points[:1]) is None


@pytest.mark.parametrize(
    ("axis", "seconds", "share"), [("strong", 0.5, 1.0), ("strong", 1.0, 0.5), ("weak", 1.0, 1.0)]
)
def test_efficiency_is_one_where_devices_do_what_they_could(axis, seconds, share):
    figures = {"rnnjax, 1 device": [1.0] * 3, "rnnjax, 2 devices": [seconds] * 3}
    facts = {name: {"devices": n} for name, n in zip(figures, (1, 2), strict=True)}
    row = suite.row(bench_scaling.point(axis, 8, 4, 8), "train", figures, facts=facts)
    found = bench_scaling.efficiency(row)
    assert found["rnnjax, 1 device"] == pytest.approx((1, 1, 1))
    assert found["rnnjax, 2 devices"] == pytest.approx((share,) * 3)
    assert f"{share:.2f}" in bench_scaling.table([row])


@pytest.mark.slow
@pytest.mark.parametrize("axis", ["strong", "weak"])
def test_devices_share_a_batch(axis):
    with POOL:
        rows = bench_scaling.measure({**bench_scaling.point(axis, 8, 4, 8), "rounds": 2})
    assert [row["mode"] for row in rows] == ["forward", "train"]
    for row in rows:
        assert not row["absent"]
        assert len(row["figures"]) == len(bench_scaling.contenders(row["case"])) >= 1
