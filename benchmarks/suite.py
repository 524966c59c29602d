"""What the parts of the benchmark suite share: their face, their rows, tables and pictures.

A part is a module `bench_NAME.py` with the names of `Part`; `bench.py` finds it by its file. Its
rows are JSON: whatever a table or a picture says can be read again from the file of results. Of all
figures less is better.
"""

from __future__ import annotations

import importlib
import math
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from timing import POOL, accelerator, measure, paired_ratio

HERE = pathlib.Path(__file__).parent
SPINNING = ("torch", "onnxruntime")  # threads that keep their cores while they wait
SIZES = ("quick", "standard", "full")
TOLERANCE = 1e-4
AGAIN = ", again"  # a contender once more, in another process
ALLOCATOR = 2.0  # MB that malloc may have in hand, or not, where a call begins
Case = dict[str, Any]
Row = dict[str, Any]
Interval = tuple[float, float, float]


class Options(NamedTuple):
    """What the command line narrows a run to; None is all of it.

    Attributes:
      cells: names of cells.
      peers: names of contenders beside rnnjax.
      sizes: (T, B, D, H) each.
      user: a cell of the user's, "module:cell"; it may be a `Cell`, or a function that makes one
        from the number of units.
    """

    cells: tuple[str, ...] | None = None
    peers: tuple[str, ...] | None = None
    sizes: tuple[tuple[int, ...], ...] | None = None
    user: str | None = None


class Part(Protocol):
    """A part of the suite.

    Attributes:
      TITLE: of its section.
      ABOUT: what is measured, and how to read it.
      brief: rows -> lines of README's table, if the part has any: what was timed, the fastest JAX
        peer over rnnjax, PyTorch over it.
    """

    TITLE: str
    ABOUT: str

    def cases(self, size: str, options: Options) -> list[Case]:
        """What is measured, JSON that names all that defines it; `size` is one of `SIZES`."""
        ...

    def measure(self, case: Case) -> list[Row]:
        """The rows of a case, one for each mode; `row` says what is in them."""
        ...

    def table(self, rows: list[Row]) -> str:
        """Markdown."""
        ...

    def figure(self, rows: list[Row], axes: Any) -> None:
        """Draws on matplotlib's axes."""
        ...

    def headlines(self, rows: list[Row]) -> list[str]:
        """Sentences with ratio and interval: who is faster, and by how much."""
        ...


def narrowed(cases: Iterable[Case], options: Options) -> list[Case]:
    """Cases that name the contenders that are asked for, each case once."""
    peers = {"peers": list(options.peers)} if options.peers else {}
    return list({str(case): {**case, **peers} for case in cases}.values())


def asked(jobs: Mapping[str, Any], case: Case, always: Sequence[str] = ()) -> dict[str, Any]:
    """Of the contenders those that a case asks for, or all; and those that are always there."""
    beginnings = ("rnnjax", *always, *case["peers"]) if "peers" in case else ("",)
    return {name: job for name, job in jobs.items() if name.startswith(beginnings)}


def parts() -> dict[str, Part]:
    """All parts by name."""
    names = sorted(file.stem.removeprefix("bench_") for file in HERE.glob("bench_*.py"))
    return {name: importlib.import_module(f"bench_{name}") for name in names}


def row(
    case: Case,
    mode: str,
    figures: Mapping[str, Iterable[float]],
    *,
    unit: str = "s",
    facts: Mapping[str, Any] | None = None,
    absent: Mapping[str, str] | None = None,
) -> Row:
    """A row of results.

    Args:
      case: what was measured.
      mode: "train" or "forward", as a rule.
      figures: of each contender, one a round; entry r of all was measured in round r.
      unit: of the figures.
      facts: what else is known of each contender.
      absent: why a contender has no figures.
    """
    kept = {name: [float(f"{f:.5g}") for f in values] for name, values in figures.items()}
    return {
        "case": case, "mode": mode, "unit": unit, "figures": kept,
        "facts": dict(facts or {}), "absent": dict(absent or {}),
    }  # fmt: skip


def contest(
    case: Case,
    jobs: Mapping[str, Mapping[str, Any]],
    modes: Sequence[str],
    *,
    rounds: int,
    shown: Sequence[str] = (),
    units: Mapping[str, str] | None = None,
) -> list[Row]:
    """All contenders of a case made ready, compared and timed in interleaved rounds.

    Args:
      case: goes into the rows.
      jobs: of each contender what worker.py makes it from. "process" is the name of its process,
        by default the contender's own; "devices" how many JAX has there, by default 1; "env" more
        of that process's environment; "absent" the reason why there is none.
      modes: of the calls, a row each.
      rounds: of each mode.
      shown: contenders that are timed but compute something else, as a floor does.
      units: of the modes whose figures are not seconds.
    """
    absent = {name: job["absent"] for name, job in jobs.items() if "absent" in job}
    jobs = {name: job for name, job in jobs.items() if name not in absent}
    facts, results, bursts = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        files = {name: f"{folder}/{i}.npz" for i, name in enumerate(jobs)}
        workers = {name: POOL.of(process(name, job), job.get("env")) for name, job in jobs.items()}
        answers = {}
        for spins in (False, True):  # what compiles is not held up by it
            now = [name for name in jobs if name.startswith(SPINNING) == spins]
            for name in now:
                workers[name].load(name, {**jobs[name], "results": files[name]})
            answers |= {name: workers[name].answer() for name in now}
        for name, told in answers.items():
            if "error" in told:  # the others are measured all the same
                print(f"{name} failed at {describe(case)}:\n{told['error']}", file=sys.stderr)
                told = {"absent": f"refused: {told['error'].splitlines()[-1]}"}
            if "absent" in told:
                absent[name] = told["absent"]
                continue
            facts[name], bursts[name] = told["facts"], workers[name].burst
            if name not in shown:
                with np.load(files[name]) as arrays:
                    results[name] = dict(arrays)
    for name, (worst, reason) in disagreements(results).items():
        facts[name]["disagreement"] = float(f"{worst:.2g}")
        if reason:
            absent[name] = f"refused: {reason}"
            del bursts[name]
    rows = []
    for mode in modes:
        ready = {n: _calling(burst, n, mode) for n, burst in bursts.items()}
        figures = measure(ready, rounds=rounds)
        unit = (units or {}).get(mode, "s")
        rows.append(row(case, mode, figures, unit=unit, facts=facts, absent=absent))
    for worker in {id(worker): worker for worker in workers.values()}.values():
        worker.drop()
    return rows


def process(name: str, job: Mapping[str, Any]) -> str:
    """The name of a contender's process: a TPU's is the same for all, a smoke test's for JAX's."""
    if accelerator()[0] == "tpu":
        return "all"
    together = job.get("together") and not name.startswith(SPINNING)
    found = "jax" if together else job.get("process", name)
    return f"{found} on {job.get('devices', 1)}"


def _calling(burst: Callable, name: str, mode: str) -> Callable[[int], list[float]]:
    return lambda calls: burst(name, mode, calls)


def disagreements(
    results: Mapping[str, Mapping[str, np.ndarray]], tolerance: float = TOLERANCE
) -> dict[str, tuple[float, str]]:
    """How far each contender's arrays are from those of the first, and why it is refused.

    The figure is the largest difference over the largest entry, or over 1; the reason is empty
    where it is within the tolerance. A contender may lack arrays, but not all of them.
    """
    found = {}
    for name, arrays in results.items():
        if not found:
            found[name], first, reference = (0.0, ""), name, arrays
            continue
        worst = {
            what: float(np.abs(arrays[what] - want).max() / max(1.0, np.abs(want).max()))
            if arrays[what].shape == want.shape
            else math.inf
            for what, want in reference.items()
            if what in arrays
        }
        if not worst:
            raise ValueError(f"{name} gives nothing to compare: {sorted(arrays)}")
        # What is not a number is the worst of all.
        what = max(worst, key=lambda what: math.inf if math.isnan(worst[what]) else worst[what])
        wrong = not worst[what] <= tolerance
        said = f"its {what} differs from that of {first} by {worst[what]:.1e}, of {tolerance:.0e}"
        found[name] = worst[what], said if wrong else ""
    return found


def refusals(rows: Iterable[Row]) -> list[str]:
    """Every contender that was refused, and why."""
    return [
        f"{describe(row['case'])}: {name} {reason}"
        for row in rows
        for name, reason in row["absent"].items()
        if reason.startswith("refused")
    ]


def describe(case: Case) -> str:
    """A case in a few words."""
    told = {key: value for key, value in case.items() if value and key != "rounds"}
    return ", ".join(f"{key} {value}" for key, value in told.items())


def against(row: Row, name: str, by: str) -> Interval:
    """One contender's figure over another's, with its interval.

    That over rounds is widened by what another process would change: see `told_apart`.
    """
    theirs, ours = (np.array(row["figures"][each]) for each in (name, by))
    return widened(paired_ratio(theirs, ours), unseen(row, name, by) if name != by else 0.0)


def unseen(row: Row, *names: str) -> float:
    """What no round sees of the figures of some contenders, as a logarithm."""
    if row["unit"] == "MB":
        medians = [max(1e-3, float(np.median(row["figures"][name]))) for name in names]
        return sum(math.log1p(ALLOCATOR / median) for median in medians)
    return row.get("blur", 0.0)


def widened(interval: Interval, more: float) -> Interval:
    """An interval whose ends are further away by some of the ratio's logarithm."""
    ratio, low, high = interval
    return ratio, low * math.exp(-more), high * math.exp(more)


def told_apart(parts: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
    """Rows by part that know their "blur": what a process of its own changes, in logarithms.

    A program may be faster in one process than in the next in all rounds of a case: where its
    memory lies is drawn once. What that comes to is learned from contenders that are there twice,
    whose ratios should be 1: 1.96 times the root of their mean square. The second ones are then
    left out.
    """
    ratios = [
        np.log(np.median(np.divide(figures, row["figures"][name.removesuffix(AGAIN)])))
        for rows in parts.values()
        for row in rows
        for name, figures in row["figures"].items()
        if name.endswith(AGAIN) and name.removesuffix(AGAIN) in row["figures"]
    ]
    blur = 1.96 * float(np.sqrt(np.mean(np.square(ratios)))) if ratios else 0.0
    return {part: [_alone(row, blur) for row in rows] for part, rows in parts.items()}


def _alone(row: Row, blur: float) -> Row:
    kept = {
        key: {name: told for name, told in row[key].items() if not name.endswith(AGAIN)}
        for key in ("figures", "facts", "absent")
    }
    return {**row, **kept, "blur": blur}


def fastest(row: Row, rivals: Iterable[str], by: str) -> tuple[str, Interval] | None:
    """The best of the rivals and its figure over that of `by`, or None where there is none."""
    there = [name for name in rivals if name in row["figures"] and name != by]
    if by not in row["figures"] or not there:
        return None
    return min(((n, against(row, n, by)) for n in there), key=lambda item: item[1][0])


def mean_ratio(pairs: Iterable[tuple[Row, str, str]], seed: int = 0) -> Interval:
    """The geometric mean of the median ratios of (row, theirs, ours), with its interval.

    The memory of each case is drawn anew, so its blur is one of many.
    """
    rng, middle, draws, blurs = np.random.default_rng(seed), [], [], []
    for row, theirs, ours in pairs:
        ratios = np.log(np.divide(row["figures"][theirs], row["figures"][ours]))
        middle.append(np.median(ratios))
        draws.append(np.median(rng.choice(ratios, (2000, len(ratios))), axis=1))
        blurs.append(row.get("blur", 0.0))
    low, high = np.quantile(np.mean(draws, axis=0), [0.025, 0.975])
    interval = float(np.exp(np.mean(middle))), float(np.exp(low)), float(np.exp(high))
    return widened(interval, math.hypot(*blurs) / len(blurs))


def turned(interval: Interval) -> Interval:
    """The ratio the other way round."""
    ratio, low, high = interval
    return 1 / ratio, 1 / high, 1 / low


def shown(interval: Interval) -> str:
    """A ratio with its interval."""
    ratio, low, high = interval
    return f"{ratio:.2f} [{low:.2f}, {high:.2f}]"


def verdict(ours: str, theirs: str, interval: Interval) -> str:
    """Which of two is faster and by how much, from theirs over ours."""
    ratio, low, high = interval
    if low <= 1 <= high:
        return f"{ours} and {theirs} are equally fast within the noise, {shown(interval)}"
    if ratio > 1:
        return f"{ours} is {shown(interval)} times as fast as {theirs}"
    return f"{theirs} is {shown(turned(interval))} times as fast as {ours}"


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]], words: int = 1) -> str:
    """A table in Markdown; the first columns are words, the others numbers."""
    rule = ["---"] * words + ["---:"] * (len(head) - words)
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *lines]) + "\n"


def duration(seconds: float) -> str:
    """Seconds in a unit that suits them."""
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def count(number: float) -> str:
    """A count in thousands, millions or milliards."""
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= factor:
            return f"{number / factor:.3g}{unit}"
    return f"{number:.3g}"


def bars(axes: Any, values: Mapping[str, Mapping[str, float]], label: str) -> None:
    """Grouped horizontal bars on a logarithmic axis: {group: {series: value}}."""
    series = list(dict.fromkeys(name for group in values.values() for name in group))
    thick = 0.8 / max(1, len(series))
    for i, name in enumerate(series):
        there = [(g, group[name]) for g, group in enumerate(values.values()) if name in group]
        places = [g + (i + 0.5) * thick - 0.4 for g, _ in there]
        axes.barh(places, [value for _, value in there], thick, label=name)
    axes.set(yticks=range(len(values)), yticklabels=list(values), xscale="log", xlabel=label)
    axes.invert_yaxis()
    axes.legend(fontsize="small", loc="best")
