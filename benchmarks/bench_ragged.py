"""The part `ragged`: what it costs that sequences end at different steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import peers
import suite
from suite import Case, Options, Row
from worker import Contender

TITLE = "The cost of lengths"
ABOUT = """A batch of L steps, and the same batch whose rows end between a quarter of L and all of
it: a ratio of 1 says that lengths cost nothing, and one below it that steps beyond a row's end are
left out. PyTorch packs the sequences (`pack_padded_sequence`, in any order) and unpacks them, which
is part of the time. rnnjax gives zeros beyond a row's end, Flax whatever its cell makes of the
padding. A contender is compared with itself; who is faster is the business of the part on
peers."""

MODES = ("forward", "train")
LIBRARIES = {
    "rnnjax": {"of": "jax_contender", "peer": "rnnjax"},
    "flax.linen": {"of": "jax_contender", "peer": "flax.linen"},
    "keras": {"of": "jax_contender", "peer": "keras"},
    "torch": {"of": "torch_contender"},
}
PADDED, RAGGED = "padded", "ragged"
AIM = 1.1
STEPS = (10, 100, 500)
LONG = (1_000, 4_000)  # training on PyTorch's packed sequences takes up to a quarter of a minute


def cases(size: str, options: Options) -> list[Case]:
    """See `Part`."""
    kinds = [kind for kind in ("lstm", "gru", "elman") if kind in (options.cells or ("lstm",))]
    sizes = options.sizes or [(steps, 8, 128, 128) for steps in STEPS]
    if not options.sizes:
        if size == "quick":
            sizes = [(8, 4, 8, 8)]
        elif size == "full":
            sizes += [(steps, 8, 128, 128) for steps in LONG]
            sizes += [(t, b, 256, 256) for t in (*STEPS, *LONG) for b in (32, 128)]
    return suite.narrowed((case(kind, each) for kind in kinds for each in sizes), options)


def case(kind: str, size: tuple[int, ...]) -> Case:
    """A case of (T, B, D, H)."""
    length, batch, inputs, units = size
    net = peers.Net(kind, inputs, units, padding="lengths")._asdict()
    return {**net, "length": length, "batch": batch, "rounds": 8 if length < 500 else 4}


def measure(case: Case) -> list[Row]:
    """See `Part`."""
    jobs = {}
    for library, job in suite.asked(LIBRARIES, case).items():
        own = {**case, **job, "make": "bench_ragged:contender", "process": library}
        # The first is what the others are compared with, so it has the results of both.
        jobs[f"{library}, {RAGGED}"] = {**own, "both": not jobs}
        jobs[f"{library}, {PADDED}"] = {**own, "padding": ""}
    return suite.contest(case, jobs, MODES, rounds=case["rounds"])


def contender(job: Mapping[str, Any]) -> Contender:
    """One of `peers`, whose results say which way they were computed."""
    make = getattr(peers, job["of"])
    made, results = make(job), {}
    others = [make({**job, "padding": ""})] if job.get("both") else []
    for padding, one in zip((job["padding"], ""), (made, *others), strict=False):
        results |= {f"{name}, {padding or PADDED}": array for name, array in one.results.items()}
    return made._replace(results=results)


def cost(row: Row, library: str) -> suite.Interval:
    """Time with lengths over time without."""
    return suite.against(row, f"{library}, {RAGGED}", f"{library}, {PADDED}")


def libraries(row: Row) -> list[str]:
    """Those that have both figures."""
    ways = (PADDED, RAGGED)
    return [n for n in LIBRARIES if all(f"{n}, {way}" in row["figures"] for way in ways)]


def table(rows: list[Row]) -> str:
    """See `Part`."""
    lines = []
    for row in rows:
        case = row["case"]
        for name in libraries(row):
            times = [min(row["figures"][f"{name}, {way}"]) for way in (PADDED, RAGGED)]
            size = ", ".join(str(case[key]) for key in ("length", "batch", "units"))
            figures = [*map(suite.duration, times), suite.shown(cost(row, name))]
            lines.append([f"{case['kind']} {size}", row["mode"], name, *figures])
    head = ["L, B, H", "", "library", PADDED, RAGGED, "ragged / padded"]
    return suite.markdown(head, lines, words=3)


def figure(rows: list[Row], axes: Any) -> None:
    """The cost against L: solid in training, dashed forward."""
    first = {key: rows[0]["case"][key] for key in ("kind", "batch", "units")}
    alike = [row for row in rows if first.items() <= row["case"].items()]
    for i, name in enumerate(LIBRARIES):
        for mode, style in (("train", "-"), ("forward", "--")):
            there = [r for r in alike if r["mode"] == mode and name in libraries(r)]
            points = sorted((r["case"]["length"], cost(r, name)[0]) for r in there)
            if points:
                label = name if mode == "train" else None
                axes.loglog(*zip(*points, strict=True), f"C{i}{style}", marker=".", label=label)
    axes.axhline(AIM, color="black", linewidth=0.8)
    axes.set(xlabel="L", ylabel="time with lengths over time without (dashed: forward)")
    axes.legend()


def headlines(rows: list[Row]) -> list[str]:
    """See `Part`."""
    found = []
    for mode in MODES:
        some, said = [row for row in rows if row["mode"] == mode], []
        for name in LIBRARIES:
            costs = [(cost(r, name), r["case"]["length"]) for r in some if name in libraries(r)]
            if costs:
                ends = (of(costs, key=lambda entry: entry[0][0]) for of in (min, max))
                said.append(
                    name + " " + " to ".join(f"{suite.shown(c)} (L = {n})" for c, n in ends)
                )
        if said:
            found.append(f"{mode}: time with lengths over time without is {'; '.join(said)}")
    return found
