"""Throughput of every cell against every peer: forward pass and training step.

    python benchmarks/speed.py --help

Outputs and gradients of all contenders are compared before anything is timed. Writes one JSON file
a run, with every figure of every round, and the tables as Markdown beside it.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import tempfile

import numpy as np
import peers
from rich.console import Console
from rich.progress import Progress
from timing import Worker, machine, measure, paired_ratio

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


def contenders(size: tuple, devices: int) -> dict[str, int]:
    """The peers of one comparison, and how many CPU devices each gets."""
    if devices == 1:
        return dict.fromkeys(peers.JAX_PEERS, 1)
    return {"rnnjax": devices if size[1] >= 8 else 1, "torch": 1}


def compare(kind: str, size: tuple, mode: str, devices: int, rounds: int) -> dict:
    """One table row: all contenders at one size."""
    with tempfile.TemporaryDirectory() as folder:
        workers, absent, results = {}, {}, {}
        for name, count in contenders(size, devices).items():
            job = {
                "peer": name,
                "kind": kind,
                "shape": size[:4],
                "layers": size[4],
                "mode": mode,
                "devices": count,
                "results": f"{folder}/{name}.npz",
            }
            worker = Worker(job)
            if "absent" in worker.facts:
                absent[name] = worker.facts["absent"]
                worker.close()
                continue
            workers[name] = worker
            with np.load(job["results"]) as arrays:
                results[name] = [arrays[key] for key in arrays.files]
        agree(kind, size, results)
        figures = measure(workers, rounds=rounds)
        facts = {name: worker.facts for name, worker in workers.items()}
        for worker in workers.values():
            worker.close()
    ours = figures["rnnjax"]
    return {
        "kind": kind,
        "size": size,
        "mode": mode,
        "devices": devices,
        "absent": absent,
        "facts": facts,
        "seconds": {name: [round(float(s), 7) for s in values] for name, values in figures.items()},
        "ratio": {
            name: paired_ratio(values, ours) for name, values in figures.items() if name != "rnnjax"
        },
    }


def agree(kind: str, size: tuple, results: dict[str, list[np.ndarray]]) -> None:
    """Raises unless all contenders compute the same outputs and gradients."""
    reference = results["rnnjax"]
    for name, arrays in results.items():
        # PyTorch reports its output and the gradient of xs, which comes last in the others.
        pairs = zip(arrays, reference, strict=True)
        if name == "torch":
            pairs = [(arrays[0], reference[0]), (arrays[1], reference[-1])]
        for got, want in pairs:
            worst = np.abs(got - want).max() / max(1.0, np.abs(want).max())
            if worst > 1e-4:
                raise SystemExit(f"{name} disagrees at {kind} {size}: {worst:.1e}")


def table(rows: list[dict]) -> str:
    """Markdown: milliseconds (minimum) a contender, and the ratio to the fastest peer."""
    names = list(dict.fromkeys(name for row in rows for name in row["seconds"]))
    lines = [
        f"| T, B, D, H, layers | {' | '.join(names)} | fastest peer / rnnjax [95 %] |",
        f"| --- |{' ---: |' * (len(names) + 1)}",
    ]
    for row in rows:
        cells = [
            f"{1e3 * min(row['seconds'][name]):.2f}" if name in row["seconds"] else "–"
            for name in names
        ]
        fastest, (ratio, low, high) = min(row["ratio"].items(), key=lambda item: item[1][0])
        size = ", ".join(map(str, row["size"]))
        lines.append(
            f"| {size} | {' | '.join(cells)} | {ratio:.2f} [{low:.2f}, {high:.2f}] {fastest} |"
        )
    mean = np.exp(np.mean([np.log(min(r[0] for r in row["ratio"].values())) for row in rows]))
    return "\n".join([*lines, "", f"Geometric mean of fastest peer / rnnjax: {mean:.2f}", ""])


def main() -> None:
    """Runs the comparisons asked for, and writes their results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", default=["lstm", "gru", "elman"])
    parser.add_argument("--modes", nargs="+", default=["train", "forward"])
    parser.add_argument("--devices", type=int, default=1, help="2: all cores, against PyTorch")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--sizes", type=int, nargs="+", default=range(len(SIZES)))
    parser.add_argument("--name", default="cpu")
    args = parser.parse_args()
    jobs = [(k, m, SIZES[i]) for k in args.kinds for m in args.modes for i in args.sizes]
    rows = []
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"speed_{args.name}.json"
    with Progress(console=Console(stderr=True)) as progress:
        for kind, mode, size in progress.track(jobs, description="comparing"):
            rows.append(compare(kind, size, mode, args.devices, args.rounds))
            progress.console.print(table(rows[-1:]))
            file.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    page = [f"# Speed ({args.name})", "", "Milliseconds: the least of the rounds' medians.", ""]
    page += [f"- {key}: {value}" for key, value in machine().items()] + [""]
    for kind in args.kinds:
        for mode in args.modes:
            chosen = [r for r in rows if r["kind"] == kind and r["mode"] == mode]
            page += [f"## {kind}, {mode}, {args.devices} device(s)", "", table(chosen)]
    file.with_suffix(".md").write_text("\n".join(page))


if __name__ == "__main__":
    main()
