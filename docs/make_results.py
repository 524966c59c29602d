"""Writes docs/results/train.md from a run: python docs/make_results.py runs/<name>."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import platform
import shutil
import sys

RESULTS = pathlib.Path(__file__).with_name("results")


def cpu() -> str:
    """The processor's name."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def render(run: pathlib.Path) -> str:
    """The page for one run."""
    result = json.loads((run / "result.json").read_text())
    meta = json.loads((run / "config.json").read_text())
    versions = ", ".join(f"{name} {version}" for name, version in meta["versions"].items())
    settings = ", ".join(f"{k} {v}" for k, v in meta["config"].items() if v is not None)
    rows = [
        f"| {'**model**' if name == 'model' else name} | {bits:.3f} |"
        for name, bits in sorted(result["bits"].items(), key=lambda item: -item[1])
    ]
    return "\n".join(
        [
            "# The result of `make train`",
            "",
            f"- date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
            f"- machine: {cpu()}",
            f"- versions: {versions}",
            f"- settings: {settings}",
            f"- time: {result['seconds']:.0f} s from the first step to the last figure, "
            f"{result['tokens_per_second']:,.0f} characters/s in training",
            "",
            "Bits per character of held-out files, over the same symbols for all; gzip and xz",
            "compress the held-out text alone, or with the training text before it.",
            "",
            "| model | bits per character |",
            "| --- | ---: |",
            *rows,
            "",
            "![loss and gradient norm](training.png)",
            "",
            "A sample at temperature 0.6:",
            "",
            "```text",
            *[line.rstrip() for line in result["sample"].splitlines()],
            "```",
            "",
        ]
    )


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "train.md").write_text(render(folder), encoding="utf-8")
    shutil.copy(folder / "training.png", RESULTS / "training.png")
