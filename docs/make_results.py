"""Writes a page of docs/results from a run: python docs/make_results.py runs/<name> [page].

The page is "train", the result of `make train`, where none is named.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import pathlib
import platform
import shutil
import sys

from rnnjax.train import LanguageModelConfig

RESULTS = pathlib.Path(__file__).with_name("results")


def cpu() -> str:
    """The processor's name."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


PICTURES = {"train": "training.png", "words": "words.png"}
CHARACTERS = (
    "Bits per character of held-out files, over the same symbols for all; gzip and xz",
    "compress the held-out text alone, or with the training text before it.",
)
WORDS = (
    "Perplexity per word of held-out files, over the same vocabulary and the same split for all;",
    "the n-grams are interpolated, with weights fitted on the validation text.",
)
TITLES = {"train": "The result of `make train`", "words": "Words: a model of documentation strings"}


def render(run: pathlib.Path, page: str) -> str:
    """The page for one run."""
    result = json.loads((run / "result.json").read_text())
    meta = json.loads((run / "config.json").read_text())
    versions = ", ".join(f"{name} {version}" for name, version in meta["versions"].items())
    config = LanguageModelConfig.from_json(meta["config"])
    fields = [field for field in dataclasses.fields(config) if field.name not in ("text", "out")]
    values = {field.name: getattr(config, field.name) for field in fields}
    settings = ", ".join(f"{name} {value}" for name, value in values.items())
    flags = " ".join(
        f"--{field.name.replace('_', '-')}" + (f" {value}" if value is not True else "")
        for field in fields
        for value in [values[field.name]]
        if value != field.default
    )
    words = result["unit"] == "word"
    rows = [
        f"| {'**model**' if name == 'model' else name} | {2**bits if words else bits:.3f} |"
        for name, bits in sorted(result["bits"].items(), key=lambda item: -item[1])
    ]
    return "\n".join(
        [
            f"# {TITLES[page]}",
            "",
            f"- date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
            f"- machine: {cpu()}",
            f"- versions: {versions}",
            f"- command: `{f'rnnjax train {flags}'.strip()}`",
            f"- settings: {settings}",
            f"- time: {result['seconds']:.0f} s from the first step to the last figure, "
            f"{result['tokens_per_second']:,.0f} {result['unit']}s/s in training",
            "",
            *(WORDS if words else CHARACTERS),
            "",
            f"| model | {'perplexity' if words else 'bits per character'} |",
            "| --- | ---: |",
            *rows,
            "",
            f"![loss and gradient norm]({PICTURES[page]})",
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
    folder, page = pathlib.Path(sys.argv[1]), (*sys.argv[2:], "train")[0]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{page}.md").write_text(render(folder, page), encoding="utf-8")
    shutil.copy(folder / "training.png", RESULTS / PICTURES[page])
