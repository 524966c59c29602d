"""The part `scaling`: how time and memory grow with each size, and what a core more brings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import peers
import suite
from peak import ONE_HEAP, peak, planned
from suite import Case, Options, Row
from timing import cores
from worker import Contender

TITLE = "Scaling"
ABOUT = """An LSTM with one size changed at a time: forward, training, and the memory that training
needs at its peak (see the part on memory). An exponent is the slope of a straight line through the
last three points on logarithmic axes: 1 is linear growth, 0 is none. Below it a step costs the same
whatever its size; the smallest sizes say what that is. JAX has one device here, PyTorch all cores.
Compile time stands apart: tracing, lowering and compiling a training step, caches empty. Devices of
the CPU share a batch: strong scaling is the same batch on more of them, weak a batch that grows
with them; efficiency is the speed-up over the number of devices."""

MODES, UNITS = ("forward", "train", "peak"), {"peak": "MB"}
AXES = {"length": "T", "batch": "B", "units": "H", "layers": "layers"}
STRONG, WEAK, COMPILE = "strong", "weak", "compile"
LAST = 3  # points that an exponent is fitted to
# (T, B, H, layers) which the sizes of an axis replace one of.
BASES = {
    "length": (100, 1, 32, 1), "batch": (64, 8, 128, 1), "units": (64, 8, 128, 1),
    "layers": (64, 8, 128, 1), STRONG: (64, 64, 256, 1), WEAK: (64, 32, 256, 1),
}  # fmt: skip
COMPILED = [(128, 8, 128, 1), (2048, 8, 128, 4)]
STANDARD = {
    "length": (1_000, 10_000, 100_000),
    "batch": (8, 64, 256),
    "units": (32, 128, 512),
    "layers": (1, 2, 4),
}
FULL = {
    "length": (100, 1_000, 10_000, 100_000),
    "batch": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
    "units": (16, 32, 64, 128, 256, 512, 1024, 2048),
    "layers": (1, 2, 4, 8),
}
QUICK = {"length": (20, 40)}


def cases(size: str, options: Options) -> list[Case]:
    """See `Part`."""
    if options.cells and "lstm" not in options.cells:
        return []
    if options.sizes:  # one size asked for is one point of T, B and H
        found = [point("length", *each[:2], each[3]) for each in options.sizes]
        return suite.narrowed(found, options)
    points: dict[tuple[int, ...], Case] = {}  # one may lie on several axes
    for axis, each in {"quick": QUICK, "standard": STANDARD, "full": FULL}[size].items():
        base, place = BASES[axis], list(AXES).index(axis)
        for value in each:
            sizes = (*base[:place], value, *base[place + 1 :])
            points.setdefault(sizes, point(axis, *sizes))
    found = list(points.values())
    if size == "quick":
        found += [{**point(COMPILE, 20, 1, 8), "rounds": 1}]
    else:
        found += [point(way, *BASES[way]) for way in (STRONG, WEAK)]
        found += [{**point(COMPILE, *each), "rounds": 2} for each in COMPILED]
    return suite.narrowed(found, options)


def point(axis: str, length: int, batch: int, units: int, layers: int = 1) -> Case:
    """A case: a point on an axis."""
    net = peers.Net("lstm", units, units, layers)._asdict()
    return {"axis": axis, **net, "length": length, "batch": batch, "rounds": rounds(length)}


def rounds(length: int) -> int:
    """Fewer of what takes long."""
    return 5 if length <= 10_000 else 2


def measure(case: Case) -> list[Row]:
    """See `Part`."""
    jobs, axis = suite.asked(contenders(case), case, ["lax.scan"]), case["axis"]
    modes = {COMPILE: ("compile",), STRONG: MODES[:2], WEAK: MODES[:2]}.get(axis, MODES)
    # Each has a batch of its own size there.
    shown = list(jobs)[1:] if axis == WEAK else ()
    return suite.contest(case, jobs, modes, rounds=case["rounds"], shown=shown, units=UNITS)


def contenders(case: Case) -> dict[str, dict[str, Any]]:
    """What worker.py makes each contender from."""
    own = {**case, "env": ONE_HEAP}
    jax = {**own, "make": "bench_scaling:jax_contender", "process": "jax"}
    if case["axis"] in (STRONG, WEAK):
        found = {}
        for n in sorted({*(2**k for k in range(10) if 2**k < cores()), cores()}):
            name = f"rnnjax, {n} device{'s' * (n > 1)}"
            batch = case["batch"] * (n if case["axis"] == WEAK else 1)
            job = {"peer": "rnnjax", "devices": n, "batch": batch}
            found[name] = {**jax, **job}
        return found
    found = {name: {**jax, "peer": name} for name in ("rnnjax", "lax.scan")}
    if case["axis"] == COMPILE:
        return {name: {**job, "make": "bench_scaling:compiling"} for name, job in found.items()}
    return {**found, "torch": {**own, "make": "bench_scaling:torch_contender"}}


def jax_contender(job: Mapping[str, Any]) -> Contender:
    """One of `peers`, which knows its peak."""
    import jax

    import rnnjax

    rnnjax.host.use_cpu_devices(n := job.get("devices", 1))
    if jax.device_count() < n:
        raise NotImplementedError(f"there are {jax.device_count()} devices")
    made = peers.jax_contender(job)
    found = peak(made.calls["train"], planned(made.facts["train"]))
    return made._replace(calls={**made.calls, "peak": found})


def torch_contender(job: Mapping[str, Any]) -> Contender:
    """PyTorch, which knows its peak."""
    made = peers.torch_contender(job)
    return made._replace(calls={**made.calls, "peak": peak(made.calls["train"])})


def compiling(job: Mapping[str, Any]) -> Contender:
    """One of `peers`, whose call is to be made anew, and says what compiling took."""
    import jax

    def compile_() -> float:
        jax.clear_caches()
        return peers.jax_contender(job).facts["train"]["compile_seconds"]

    return peers.jax_contender(job)._replace(calls={"compile": compile_})


def lines(rows: Iterable[Row], axis: str, mode: str) -> dict[str, list[tuple[float, float]]]:
    """(size, least figure) of each contender along an axis."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if lies_on(row["case"], axis) and row["mode"] == mode:
            for name, figures in row["figures"].items():
                found.setdefault(name, []).append((row["case"][axis], min(figures)))
    return {name: sorted(points) for name, points in found.items()}


def lies_on(case: Case, axis: str) -> bool:
    """Whether a point was made for an axis, or has all other sizes of its base."""
    others = [(name, size) for name, size in zip(AXES, BASES[axis], strict=True) if name != axis]
    shares = case["axis"] in AXES and all(case[name] == size for name, size in others)
    return shares or case["axis"] == axis


def exponent(points: list[tuple[float, float]]) -> float | None:
    """The slope on logarithmic axes through the last points, or None for fewer than two."""
    if len(points) < 2:
        return None
    sizes, figures = np.log(points[-LAST:]).T
    return float(np.polyfit(sizes, figures, 1)[0])


def table(rows: list[Row]) -> str:
    """See `Part`."""
    found = []
    for axis, name in AXES.items():
        for mode in MODES:
            if some := lines(rows, axis, mode):
                found += [f"### {mode} against {name}", "", growth(some, mode), ""]
    for row in rows:
        if row["case"]["axis"] in (STRONG, WEAK):
            found += [f"### {row['case']['axis']} scaling, {row['mode']}", "", devices(row), ""]
    compiled = [row for row in rows if row["mode"] == COMPILE]
    return "\n".join([*found, *(["### Compile time", "", compiles(compiled)] if compiled else [])])


def growth(some: Mapping[str, list[tuple[float, float]]], mode: str) -> str:
    """The figures of each contender along an axis, and its exponent."""
    sizes = sorted({size for points in some.values() for size, _ in points})
    told = (lambda megabytes: f"{megabytes:.3g} MB") if mode == "peak" else suite.duration
    body = []
    for name, points in some.items():
        each, slope = dict(points), exponent(points)
        figures = [told(each[size]) if size in each else "–" for size in sizes]
        body.append([name, *figures, "–" if slope is None else f"{slope:.2f}"])
    return suite.markdown(["", *map(str, sizes), "exponent"], body)


def efficiency(row: Row) -> dict[str, suite.Interval]:
    """Of each number of devices the speed-up over one, over that number."""
    first = next(iter(row["figures"]))
    found = {}
    for name in row["figures"]:
        n = row["facts"][name]["devices"]
        share = 1 if row["case"]["axis"] == WEAK else n
        found[name] = tuple(ratio / share for ratio in suite.against(row, first, name))
    return found


def devices(row: Row) -> str:
    """Times and efficiencies."""
    body = [
        [name, suite.duration(min(row["figures"][name])), suite.shown(share)]
        for name, share in efficiency(row).items()
    ]
    return suite.markdown(["", "time", "efficiency"], body)


def compiles(rows: list[Row]) -> str:
    """Seconds that compiling takes."""
    body = [
        [
            ", ".join(str(row["case"][axis]) for axis in AXES),
            *(suite.duration(min(row["figures"][name])) for name in ("lax.scan", "rnnjax")),
            suite.shown(suite.against(row, "rnnjax", "lax.scan")),
        ]
        for row in rows
    ]
    return suite.markdown(["T, B, H, layers", "lax.scan", "rnnjax", "ratio"], body)


def figure(rows: list[Row], axes: Any) -> None:
    """Training time and peak memory against each size, in a panel each."""
    axes.set_axis_off()
    panels = axes.figure.subplots(2, len(AXES), squeeze=False)
    for line, (mode, label) in zip(panels, (("train", "s"), ("peak", "MB")), strict=True):
        for panel, (axis, name) in zip(line, AXES.items(), strict=True):
            some = lines(rows, axis, mode)
            for contender, points in some.items():
                panel.loglog(*zip(*points, strict=True), marker=".", label=contender)
            sizes = sorted({size for points in some.values() for size, _ in points})
            panel.set_xticks(sizes, map(suite.count, sizes))
            panel.minorticks_off()
            panel.set(xlabel=name, ylabel=f"{mode}, {label}")
    axes.figure.set_size_inches(13, 6)
    panels[0, 0].legend(fontsize="small")


def headlines(rows: list[Row]) -> list[str]:
    """See `Part`."""
    found = []
    for mode in MODES[1:]:
        slopes = {
            name: {c: exponent(points) for c, points in lines(rows, axis, mode).items()}
            for axis, name in AXES.items()
        }
        said = [
            f"with {name} " + ", ".join(f"{c} ^{slope:.2f}" for c, slope in each.items())
            for name, each in slopes.items()
            if each and None not in each.values()
        ]
        if said:
            found.append(
                f"{'Time' if mode == 'train' else 'Memory'} of training grows {'; '.join(said)}"
            )
    for row in rows:
        if row["case"]["axis"] in (STRONG, WEAK) and row["mode"] == "train":
            *_, (name, share) = efficiency(row).items()
            found.append(
                f"{row['case']['axis']} scaling of training: {suite.shown(share)} on {name}"
            )
    compiled = [row for row in rows if row["mode"] == COMPILE]
    if compiled:
        mean = suite.mean_ratio((row, "rnnjax", "lax.scan") for row in compiled)
        found.append(f"rnnjax takes {suite.shown(mean)} times as long to compile as lax.scan")
    return found
