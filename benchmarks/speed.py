"""Throughput of every cell against every peer: training step and forward pass.

    python benchmarks/speed.py one      one CPU device, against the JAX libraries
    python benchmarks/speed.py all      a device a core, against PyTorch on all cores
    python benchmarks/speed.py third    other libraries' cells, in their own loop and in rnnjax.scan

Outputs and gradients of all contenders are compared before anything is timed. Writes
results/speed_SUITE.json, with every figure of every round, and the tables as Markdown beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import tempfile

import numpy as np
import peers
from rich.console import Console
from rich.progress import Progress
from timing import Worker, heading, machine, measure, paired_ratio

RESULTS = pathlib.Path(__file__).parent / "results"

# (T, B, D, H, layers)
SIZES = [
    (256, 1, 64, 64, 1),
    (128, 1, 128, 128, 1),
    (128, 8, 128, 128, 1),
    (128, 32, 128, 128, 1),
    (128, 32, 256, 256, 1),
    (100, 64, 512, 512, 1),
    (128, 32, 256, 256, 2),
]
MODES = ("train", "forward")
# What a contender is compared by; these are shown beside it.
SHOWN = ("floor", "rnnjax, tuned memory")


def contenders(suite: str, size: tuple) -> dict[str, dict]:
    """The contenders of one comparison, and their part of the job; the first is rnnjax."""
    if suite == "one":
        found = {name: {"peer": name} for name in peers.JAX_PEERS}
        cores = 1
    elif suite == "third":
        return {name: {"peer": name} for name in peers.THIRD_PARTY}
    else:
        cores = os.cpu_count() if size[1] >= 8 else 1
        found = {"rnnjax": {"peer": "rnnjax"}, "torch": {"peer": "torch"}}
    found["floor"] = {"peer": "floor"}
    found["rnnjax, tuned memory"] = {"peer": "rnnjax", "tuned": True}
    return {name: {**job, "devices": cores} for name, job in found.items()}


def compare(suite: str, kind: str, size: tuple, rounds: int) -> list[dict]:
    """All contenders at one size: a row for each mode."""
    workers, absent, results = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, part in contenders(suite, size).items():
            job = {"kind": kind, "shape": size[:4], "layers": size[4], "devices": 1, **part}
            workers[name] = Worker({**job, "results": f"{folder}/{name}.npz"})
        for name, worker in [*workers.items()]:
            if "absent" in worker.facts:
                absent[name] = worker.facts["absent"]
                workers.pop(name).close()
            elif name != "floor":
                with np.load(f"{folder}/{name}.npz") as arrays:
                    results[name] = [arrays[key] for key in arrays.files]
    agree(kind, size, results)
    rows = []
    for mode in MODES:
        figures = measure(workers, mode, rounds=rounds)
        seconds = {n: [round(float(s), 7) for s in values] for n, values in figures.items()}
        rows.append({
            "kind": kind, "size": size, "mode": mode, "absent": absent, "seconds": seconds,
            "facts": {name: worker.facts for name, worker in workers.items()},
        })  # fmt: skip
    for worker in workers.values():
        worker.close()
    return rows


def agree(kind: str, size: tuple, results: dict[str, list[np.ndarray]]) -> None:
    """Raises unless all contenders compute the same outputs and gradients."""
    reference = next(iter(results.values()))
    for name, arrays in results.items():
        # PyTorch reports its output and the gradient of xs, which comes last in the others.
        pairs = zip(arrays, reference, strict=True)
        if name == "torch":
            pairs = [(arrays[0], reference[0]), (arrays[1], reference[-1])]
        for got, want in pairs:
            worst = np.abs(got - want).max() / max(1.0, np.abs(want).max())
            if worst > 1e-4:
                raise SystemExit(f"{name} disagrees at {kind} {size}: {worst:.1e}")


def ratios(row: dict, names: list[str], by: str = "rnnjax") -> dict[str, tuple]:
    """Time of each of `names` over that of rnnjax, or of another contender, with its interval."""
    seconds = {name: np.array(values) for name, values in row["seconds"].items()}
    return {n: paired_ratio(seconds[n], seconds[by]) for n in names if n in seconds}


def gain(row: dict, rivals: list[str], by: str = "rnnjax") -> tuple[str, tuple]:
    """The fastest rival, and its time over that of a contender."""
    return min(ratios(row, rivals, by).items(), key=lambda item: item[1][0])


def table(rows: list[dict]) -> str:
    """Markdown: milliseconds (least of the rounds' medians), and the ratio to the fastest peer.

    The floor's share is the time of the products alone over that of rnnjax.
    """
    names = list(dict.fromkeys(name for row in rows for name in row["seconds"]))
    rivals = [name for name in names if name not in ("rnnjax", *SHOWN)]
    head = ["T, B, D, H, layers", *names, "fastest peer / rnnjax [95 %]", "floor share"]
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    for row in rows:
        cells = [
            f"{1e3 * min(row['seconds'][name]):.2f}" if name in row["seconds"] else "–"
            for name in names
        ]
        fastest, (ratio, low, high) = gain(row, rivals)
        share = ratios(row, ["floor"])["floor"][0]
        lines.append(
            f"| {', '.join(map(str, row['size']))} | {' | '.join(cells)} | "
            f"{ratio:.2f} [{low:.2f}, {high:.2f}] {fastest} | {share:.0%} |"
        )
    lines += ["", "Geometric means of the time of the fastest peer over that of"]
    for name in ("rnnjax", *SHOWN[::-1]):
        mean = np.exp(np.mean([np.log(gain(row, rivals, name)[1][0]) for row in rows]))
        lines.append(f"{name}: {mean:.2f}{'.' if name == 'floor' else ','}")
    return "\n".join([*lines, ""])


def pairs(rows: list[dict]) -> str:
    """Markdown: each library's cell in its own loop and in `rnnjax.scan`."""
    lines = ["| T, B, D, H, layers | cell | own loop | rnnjax.scan | ratio [95 %] |"]
    lines.append("| --- | --- | ---: | ---: | ---: |")
    for row in rows:
        for name in [n for n in peers.THIRD_PARTY if n in row["seconds"] and "rnnjax" not in n]:
            own, ours = (np.array(row["seconds"][n]) for n in (name, f"rnnjax.scan, {name}"))
            ratio, low, high = paired_ratio(own, ours)
            lines.append(
                f"| {', '.join(map(str, row['size']))} | {name} | {1e3 * own.min():.2f} | "
                f"{1e3 * ours.min():.2f} | {ratio:.2f} [{low:.2f}, {high:.2f}] |"
            )
    return "\n".join([*lines, ""])


def main() -> None:
    """Runs the comparisons asked for, and writes their results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", choices=["one", "all", "third"])
    parser.add_argument("--kinds", nargs="+", help="lstm, gru, elman; third: lstm alone")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--sizes", type=int, nargs="+", default=range(len(SIZES)))
    parser.add_argument("--page", action="store_true", help="only write the page anew")
    args = parser.parse_args()
    if not args.page:
        run(args)
    write(args.suite)


def run(args: argparse.Namespace) -> None:
    """Runs the comparisons asked for, and keeps every figure."""
    args.kinds = args.kinds or (["lstm"] if args.suite == "third" else ["lstm", "gru", "elman"])
    about, file = machine(), RESULTS / f"speed_{args.suite}.json"
    rows = earlier(file, about, args.kinds)
    show = pairs if args.suite == "third" else table
    jobs = [(kind, SIZES[i]) for kind in args.kinds for i in args.sizes]
    with Progress(console=Console(stderr=True)) as progress:
        for kind, size in progress.track(jobs, description="comparing"):
            rows += compare(args.suite, kind, size, args.rounds)
            for row in rows[-len(MODES) :]:
                progress.console.print(f"{row['kind']}, {row['mode']}\n{show([row])}")
            file.write_text(json.dumps({"machine": about, "rows": rows}) + "\n")


def write(suite: str) -> None:
    """Writes the page of a suite from its figures."""
    file, show = RESULTS / f"speed_{suite}.json", pairs if suite == "third" else table
    about, rows = (json.loads(file.read_text())[key] for key in ("machine", "rows"))
    page = heading(f"Speed: {suite}", about)
    page += ["Milliseconds: the least of the rounds' medians.", ""]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        for mode in MODES:
            chosen = [r for r in rows if r["kind"] == kind and r["mode"] == mode]
            page += [f"## {kind}, {mode}", "", show(chosen)]
    file.with_suffix(".md").write_text("\n".join(page))


def earlier(file: pathlib.Path, about: dict, kinds: list[str]) -> list[dict]:
    """The rows of an earlier run of other kinds, the same day with the same versions."""
    if not file.exists():
        return []
    found, free = json.loads(file.read_text()), {"load"}
    if any(found["machine"][key] != about[key] for key in about.keys() - free):
        return []
    return [row for row in found["rows"] if row["kind"] not in kinds]


if __name__ == "__main__":
    main()
