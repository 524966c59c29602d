"""Writes docs/api.md: every public name with the first line of its docstring."""

from __future__ import annotations

import inspect
import pathlib
from types import ModuleType

import rnnjax
import rnnjax.diagnostics
import rnnjax.interop
import rnnjax.tasks.language_model
import rnnjax.testing
import rnnjax.train
from rnnjax._fields import FIELDS

# Values, which cannot have docstrings.
VALUES = {
    "Positive": "Annotation for `cell_factory`: a positive, finite number.",
    "Rate": "Annotation for `cell_factory`: a number in [0, 1).",
    "Size": "Annotation for `cell_factory`: a positive int.",
    "PRESETS": "The presets of `init=` by name: rnnjax, flax, torch, keras.",
    "Loss": "What trains: (params, carried, batch, key) -> (value, (carried, metrics)).",
    "CONFIGS": "Published settings by name, for `--preset`: zaremba-small.",
}

GROUPS = {
    "Contract": lambda name, value: (
        name in VALUES
        or value.__module__
        in ("rnnjax._cell", "rnnjax._factory", "rnnjax._noise", "rnnjax._fields", "rnnjax._held")
    ),
    "Running": lambda name, value: value.__module__.startswith(
        ("rnnjax._unroll", "rnnjax._compile")
    ),
    "Cells": lambda name, value: value.__module__.startswith("rnnjax.cells") and name.islower(),
    "Combinators": lambda name, value: (
        value.__module__.startswith(("rnnjax._combine", "rnnjax.attention")) and name.islower()
    ),
    "Layers": lambda name, value: value.__module__ in ("rnnjax.layers", "rnnjax._layer"),
    "Sequences": lambda name, value: value.__module__ == "rnnjax.sequences",
    "Parameters and states": lambda name, value: value.__module__.startswith(
        ("rnnjax.cells", "rnnjax._combine", "rnnjax.attention")
    ),
    "Initializers": lambda name, value: value.__module__ == "rnnjax.initializers",
}


def public(module: ModuleType) -> dict[str, object]:
    """The public names of a module that are not modules themselves."""
    return {
        name: value
        for name, value in sorted(vars(module).items(), key=lambda item: item[0].lower())
        if not name.startswith("_") and not inspect.ismodule(value)
    }


def defined(module: ModuleType) -> dict[str, object]:
    """The public classes and functions which a module of one file defines."""
    return {
        name: value
        for name, value in public(module).items()
        if getattr(value, "__module__", None) == module.__name__
    }


def table(names: dict[str, object]) -> list[str]:
    """A Markdown table of names and summaries."""
    rows = ["| name | what it is |", "| --- | --- |"]
    for name, value in names.items():
        summary = VALUES.get(name) or (inspect.getdoc(value) or "").splitlines()[0]
        rows.append(f"| `{name}` | {summary} |")
    return [*rows, ""]


def fields() -> list[str]:
    """A Markdown table of the vocabulary of parameter fields."""
    rows = [
        "A field has one of these names, or one with a suffix that says of what, such as `b_n`.",
        "",
        "| field | what it holds | axes | weight decay |",
        "| --- | --- | --- | --- |",
    ]
    for name, field in FIELDS.items():
        rows.append(
            f"| `{name}` | {field.holds} | `{field.axes}` | {'yes' if field.decays else 'no'} |"
        )
    return [*rows, ""]


def tasks() -> list[str]:
    """A Markdown table of the tasks."""
    rows = ["| name | what is learnt | data |", "| --- | --- | --- |"]
    rows += [f"| `{n}` | {t.about} | {t.data_about} |" for n, t in rnnjax.tasks.TASKS.items()]
    return [*rows, ""]


def render() -> str:
    """The whole page."""
    lines = [
        "# Public API",
        "",
        "Written by `make docs` from the docstrings, which hold the equations, shapes, errors and",
        "examples: `help(rnnjax.lstm)`. Units of losses are nats unless a name says bits.",
        "",
    ]
    left = public(rnnjax)
    for group, belongs in GROUPS.items():
        names = {name: value for name, value in left.items() if belongs(name, value)}
        left = {name: value for name, value in left.items() if name not in names}
        lines += [f"## {group}", "", *table(names)]
    if left:
        raise SystemExit(f"no group for {', '.join(left)}: add one to GROUPS")
    lines += ["## Parameter fields", "", *fields()]
    lines += ["## rnnjax.host", "", *table(defined(rnnjax.host))]
    read = {n: value for n, value in public(rnnjax.attention).items() if not hasattr(rnnjax, n)}
    lines += ["## rnnjax.attention", "", *table(read)]
    lines += ["## rnnjax.ctc", "", *table(defined(rnnjax.ctc))]
    lines += ["## rnnjax.decoding", "", *table(defined(rnnjax.decoding))]
    kit = {name: value for name, value in public(rnnjax.testing).items() if name != "LAWS"}
    lines += ["## rnnjax.testing", "", *table(kit)]
    lines += ["## rnnjax.diagnostics", "", *table(public(rnnjax.diagnostics))]
    lines += ["## rnnjax.interop", "", *table(public(rnnjax.interop))]
    lines += ["`rnnjax.interop.linen`, `nnx`, `haiku` and `equinox`: `RNN`, a model of ours as a"]
    lines += ["module there, and `cell`, a cell of theirs as one of ours.", ""]
    lines += ["## rnnjax.train", "", *table(public(rnnjax.train))]
    lines += [
        "## rnnjax.tasks",
        "",
        "`rnnjax train NAME`; how one is written is in the docstring of",
    ]
    lines += ["`rnnjax.tasks`.", "", *tasks()]
    text = public(rnnjax.tasks.language_model)
    lines += ["## rnnjax.tasks.language_model", "", *table(text)]
    return "\n".join(lines)


if __name__ == "__main__":
    pathlib.Path(__file__).with_name("api.md").write_text(render(), encoding="utf-8")
