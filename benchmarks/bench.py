"""The benchmark suite: cells, peers and what else there is in bench_*.py, on this machine.

    python benchmarks/bench.py quick|standard|full
    python benchmarks/bench.py --cells lstm,gru --peers torch,flax --sizes 128x32x128x128
    python benchmarks/bench.py --user my_module:my_cell

Writes bench_SIZE_MACHINE.json after every case, so that a run goes on where it was interrupted:
what was measured with the same source and versions, on the same machine, is not measured again.
Then the page and the pictures beside it, and the headlines in README between its two marks.
A run of the whole goes to benchmarks/results/, one that is narrowed to runs/bench/.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import re
import sys
import textwrap
import time
from collections.abc import Sequence
from typing import Any

import suite
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from timing import HERE, POOL, accelerator, heading, machine, source

MARKS = ("<!-- benchmarks: by `make bench` -->", "<!-- benchmarks end -->")
INTERVALS = """In brackets: 95 % bootstrap intervals of the median over rounds, those of memory
widened by what malloc may have in hand"""
BLUR = """, those of times by what a fresh process alone changes, {:.0%} here, learned from
contenders that are there twice"""


def bench(args: argparse.Namespace) -> list[str]:
    """Runs what is asked for; says which contenders were refused."""
    about = {**machine(), "source": source()}
    about["backend"], about["device"] = accelerator()
    options = suite.Options(args.cells, args.peers, args.sizes, args.user)
    narrowed = options != suite.Options()
    out = args.out or (HERE.parent / "runs" / "bench" if narrowed else HERE / "results")
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"bench_{args.size}_{slug(about)}.json"
    if not args.page:
        asked = args.parts or (("cells",) if args.user else tuple(suite.parts()))
        run(file, about, {n: (p, p.cases(args.size, options)) for n, p in chosen(asked).items()})
    write_page(file)
    if not narrowed and args.size == "standard" and out == HERE / "results":
        mark_readme(HERE.parent / "README.md", file)
    return suite.refusals(all_rows(file))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""

    def names(text: str) -> tuple[str, ...]:
        return tuple(filter(None, text.split(",")))

    def sizes(text: str) -> tuple[tuple[int, ...], ...]:
        found = tuple(tuple(map(int, size.split("x"))) for size in names(text))
        if any(len(size) != 4 for size in found):
            raise argparse.ArgumentTypeError(f"{text}: expected TxBxDxH, as 128x32x128x128")
        return found

    parser = argparse.ArgumentParser(
        prog="rnnjax bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("size", nargs="?", choices=suite.SIZES, default="standard", help="how much is measured")
    add("--parts", type=names, help="some parts alone, by commas")
    add("--cells", type=names, help="some cells alone")
    add("--peers", type=names, help="some contenders alone, beside rnnjax; flax stands for both")
    add("--sizes", type=sizes, help="TxBxDxH instead of those of the set")
    add("--user", help="module:cell, a cell of yours, or a function from units to one")
    add("--out", type=pathlib.Path, help="folder of the results")
    add("--page", action="store_true", help="only write the page anew")
    return parser.parse_args(argv)


def chosen(names: Sequence[str]) -> dict[str, suite.Part]:
    """The parts of some names."""
    found = suite.parts()
    if unknown := set(names) - set(found):
        raise ValueError(f"no part is called {', '.join(sorted(unknown))}; there are {list(found)}")
    return {name: found[name] for name in names}


def slug(about: dict[str, Any]) -> str:
    """A short name of a machine: its accelerator, or its processor and cores."""
    name = f"{about['cpu']} {about['cores']}" if about["backend"] == "cpu" else about["device"]
    noise = r"\(r\)|\(tm\)|processor|cpu|@.*?hz|\d+-core|with.*?graphics"
    return re.sub(r"[^a-z0-9]+", "_", re.sub(noise, "", name.lower())).strip("_")


def run(file: pathlib.Path, about: dict[str, Any], asked: dict[str, tuple]) -> None:
    """Measures each case that the file has not, and writes the file after it."""
    kept = earlier(file, about)
    console = Console(stderr=True)
    with Progress(console=console) as progress, POOL:
        for name, (part, cases) in asked.items():
            kept[name] = [row for row in kept.get(name, []) if row["case"] in cases]
            done, start = [row["case"] for row in kept[name]], time.perf_counter()
            for case in progress.track(cases, description=name):
                if case not in done:
                    kept[name] += part.measure(case)
                write(file, {"machine": about, "rows": kept})
            if about["backend"] != "cpu":  # what processes keep of its memory, the next part lacks
                POOL.close()
            minutes = (time.perf_counter() - start) / 60
            progress.console.print(f"{name}: {len(cases)} cases, {minutes:.1f} minutes")


def earlier(file: pathlib.Path, about: dict[str, Any]) -> dict[str, list]:
    """The rows of an earlier run on this machine with the same source and versions."""
    if not file.exists():
        return {}
    found = read(file)
    varying = {"date", "load"}
    same = all(found["machine"].get(key) == about[key] for key in about.keys() - varying)
    return found["rows"] if same else {}


def read(file: pathlib.Path) -> dict[str, Any]:
    """The results of a file: its machine, and rows by part."""
    return json.loads(file.read_text(encoding="utf-8"))


def write(file: pathlib.Path, found: dict[str, Any]) -> None:
    """Writes the results, whole or not at all."""
    lines = {
        name: "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]"
        for name, rows in sorted(found["rows"].items())
    }
    body = ",\n".join(f"{json.dumps(name)}: {text}" for name, text in lines.items())
    fresh = file.with_suffix(".tmp")
    text = f'{{"machine": {json.dumps(found["machine"])},\n"rows": {{\n{body}\n}}}}\n'
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(file)


def all_rows(file: pathlib.Path) -> list[dict]:
    """The rows of all parts."""
    return [row for rows in read(file)["rows"].values() for row in rows]


def measured(file: pathlib.Path) -> dict[str, tuple[suite.Part, list[dict]]]:
    """The parts that a file has rows of."""
    found, known = suite.told_apart(read(file)["rows"]), suite.parts()
    return {name: (known[name], rows) for name, rows in found.items() if name in known and rows}


def write_page(file: pathlib.Path) -> None:
    """Writes the page and the pictures of a file of results."""
    found = measured(file)
    blur = next((row["blur"] for _, rows in found.values() for row in rows), 0.0)
    lines = heading("Benchmarks", read(file)["machine"])
    said = INTERVALS + BLUR.format(math.expm1(blur)) * bool(blur)
    lines += [*textwrap.wrap(f"{said}.", 100), ""]
    for name, (part, rows) in found.items():
        picture = file.with_name(f"{file.stem}_{name}.png")
        draw(part, rows, picture)
        lines += [f"## {part.TITLE}", "", *textwrap.wrap(part.ABOUT, 100), ""]
        lines += [f"- {sentence}" for sentence in part.headlines(rows)]
        lines += ["", f"![{part.TITLE}]({picture.name})", "", part.table(rows), *missing(rows)]
    file.with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")


def missing(rows: list[dict]) -> list[str]:
    """Lines on the contenders that lack something, each with its reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for name, reason in row["absent"].items():
            where = suite.describe(row["case"])
            if where not in reasons.setdefault((name, reason), []):
                reasons[name, reason].append(where)
    if not reasons:
        return []
    lines = [
        f"- {name}: {reason} ({where[0] if len(where) == 1 else f'{len(where)} cases'})"
        for (name, reason), where in reasons.items()
    ]
    return ["Not there:", "", *lines, ""]


def draw(part: suite.Part, rows: list[dict], picture: pathlib.Path) -> None:
    """Draws a part's picture."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    part.figure(rows, figure.add_subplot())
    figure.savefig(picture, dpi=100)


def mark_readme(readme: pathlib.Path, file: pathlib.Path) -> None:
    """Writes the briefest of the headlines between the marks."""
    about = read(file)["machine"]
    found = [
        line
        for part, rows in measured(file).values()
        for line in (part.brief(rows) if hasattr(part, "brief") else [])
    ]
    head = ["time over that of rnnjax", "fastest JAX peer", "PyTorch"]
    place = file.with_suffix(".md").relative_to(readme.parent)
    where = about["cpu"] if about["backend"] == "cpu" else about["device"]
    said = f"""Above 1 rnnjax is faster; geometric means over sizes, with 95 % intervals, on {where}
with {about["cores"]} cores, JAX {about["versions"]["jax"]}, {about["date"]}. Where a peer is
faster, and by how much, every cell, memory, padding and latency: [{place.name}]({place})."""
    lines = ["", suite.markdown(head, found), *textwrap.wrap(" ".join(said.split()), 100), ""]
    before, rest = readme.read_text(encoding="utf-8").split(MARKS[0])
    _, after = rest.split(MARKS[1])
    page = "\n".join([before + MARKS[0], *lines, MARKS[1] + after])
    readme.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    # Refused contenders are printed, and the status is 1.
    sys.exit("\n".join(bench(parse(None))) or None)
