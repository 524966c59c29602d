"""What changed between two files of results, and whether it is more than noise.

    python benchmarks/compare.py A.json B.json

A change is B over A: of the figures where they are no times, else of the figures over those of
another contender in the same rounds, which a faster or slower day leaves alone. Its interval is the
95 % bootstrap interval over rounds, widened by what rounds cannot see in both runs
(`suite.unseen`). Two runs contradict each other where one contender beats another in A and
loses in B, both intervals without 1. Ends with 1 where there is a contradiction.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import suite
from suite import Interval, Row


class Change(NamedTuple):
    """A contender in both files.

    Attributes:
      where: part, case and mode.
      name: of the contender.
      by: what it was divided by, or "" for nothing.
      ratio: B over A.
    """

    where: str
    name: str
    by: str
    ratio: Interval

    @property
    def real(self) -> bool:
        """Whether it exceeds the noise."""
        _, low, high = self.ratio
        return low > 1 or high < 1


def keyed(parts: dict[str, list[Row]]) -> dict[str, Row]:
    """The rows of a file by what they are of."""
    return {
        f"{part}: {suite.describe(row['case'])}, {row['mode']}": row
        for part, rows in parts.items()
        for row in rows
    }


def told(a: dict[str, Any], b: dict[str, Any]) -> str:
    """In what two machines differ."""
    differing = [key for key in a if a[key] != b.get(key)]
    return "".join(f"- {key}: {a[key]}, then {b.get(key)}\n" for key in differing)


def changes(a: dict[str, Row], b: dict[str, Row]) -> list[Change]:
    """Every contender that both have, divided by the first of its row where that can be."""
    found = []
    for where, old, new in both(a, b):
        names = [name for name in old["figures"] if name in new["figures"]]
        by = "" if old["unit"] != "s" or len(names) < 2 else names[0]
        for name in names[1:] if by else names:
            ratio = over(rates(new, name, by), rates(old, name, by))
            more = math.hypot(*(suite.unseen(row, name) for row in (old, new)))
            ratio = suite.widened(ratio, more)
            found.append(Change(where, name, by, ratio))
    return found


def both(a: dict[str, Row], b: dict[str, Row]) -> Iterator[tuple[str, Row, Row]]:
    """The rows that both files have."""
    return ((where, a[where], b[where]) for where in a if where in b)


def rates(row: Row, name: str, by: str) -> np.ndarray:
    """A contender's figures, over those of another in the same rounds if there is one."""
    figures = np.array(row["figures"][name])
    return figures / np.array(row["figures"][by]) if by else figures


def over(new: np.ndarray, old: np.ndarray, seed: int = 0) -> Interval:
    """The ratio of two medians of different rounds, with its bootstrap interval."""
    rng = np.random.default_rng(seed)
    drawn = [np.median(rng.choice(a, (2000, len(a))), axis=1) for a in (new, old)]
    low, high = np.quantile(drawn[0] / drawn[1], [0.025, 0.975])
    return float(np.median(new) / np.median(old)), float(low), float(high)


def rankings(a: dict[str, Row], b: dict[str, Row]) -> tuple[int, list[str]]:
    """How many pairs of contenders are ranked by both files, and the contradictions."""
    ranked, found = 0, []
    for where, *rows in both(a, b):
        names = [name for name in rows[0]["figures"] if name in rows[1]["figures"]]
        for one, other in itertools.combinations(names, 2):
            ratios = [suite.against(row, one, other) for row in rows]
            if not all(low > 1 or high < 1 for _, low, high in ratios):
                continue
            ranked += 1
            if (ratios[0][0] > 1) != (ratios[1][0] > 1):
                said = " and ".join(suite.shown(ratio) for ratio in ratios)
                found.append(f"{where}: {one} over {other} is {said}")
    return ranked, found


def report(a: dict[str, Row], b: dict[str, Row]) -> tuple[str, int]:
    """What is printed, and how many contradictions there are."""
    found = changes(a, b)
    real = sorted((c for c in found if c.real), key=lambda c: -abs(np.log(c.ratio[0])))
    lines = [[c.where, c.name + (f" / {c.by}" if c.by else ""), suite.shown(c.ratio)] for c in real]
    ranked, contradictions = rankings(a, b)
    text = suite.markdown(["", "contender", "B over A"], lines, words=2) if lines else ""
    text += f"\n{len(real)} of {len(found)} figures changed by more than the noise.\n"
    alone = [len(set(one) - set(other)) for one, other in ((a, b), (b, a))]
    if any(alone):
        text += f"{alone[0]} rows are in A alone, {alone[1]} in B alone.\n"
    text += f"{ranked} rankings are beyond the noise in both, {len(contradictions)} contradict.\n"
    return text + "".join(f"- {line}\n" for line in contradictions), len(contradictions)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the report; 1 where the files contradict each other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs=2, type=pathlib.Path, metavar="FILE.json")
    args: Any = parser.parse_args(argv)
    found = [json.loads(file.read_text(encoding="utf-8")) for file in args.files]
    text, contradictions = report(*(keyed(suite.told_apart(each["rows"])) for each in found))
    print(f"{told(*(each['machine'] for each in found))}\n{text}", end="")
    return 1 if contradictions else 0


if __name__ == "__main__":
    sys.exit(main())
