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
from rnnjax.interop import equinox, haiku, linen, nnx

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

MODULES = [
    rnnjax.host,
    rnnjax.attention,
    rnnjax.ctc,
    rnnjax.decoding,
    rnnjax.testing,
    rnnjax.diagnostics,
    rnnjax.interop,
    linen,
    nnx,
    haiku,
    equinox,
    rnnjax.train,
    rnnjax.tasks,
    rnnjax.tasks.language_model,
]


def public(module: ModuleType) -> dict[str, object]:
    """The public names that a module, or one below it, defines; a task's may be shared by tasks."""
    own = module.__name__, "rnnjax.tasks._"
    return {
        name: value
        for name, value in sorted(vars(module).items(), key=lambda item: item[0].lower())
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and (name in VALUES or getattr(value, "__module__", "").startswith(own))
    }


def summary(name: str, value: object) -> str:
    """The first line of what is said about a name."""
    return VALUES.get(name) or (inspect.getdoc(value) or "").splitlines()[0]


def table(names: dict[str, object]) -> list[str]:
    """A Markdown table of names and summaries."""
    rows = ["| name | what it is |", "| --- | --- |"]
    for name, value in names.items():
        rows.append(f"| `{name}` | {summary(name, value)} |")
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


def areas() -> dict[str, dict[str, object]]:
    """The public names: those of the package's top by what they are for, others by module."""
    found, left = {}, public(rnnjax)
    for group, belongs in GROUPS.items():
        found[group] = {name: value for name, value in left.items() if belongs(name, value)}
        left = {name: value for name, value in left.items() if name not in found[group]}
    if left:
        raise SystemExit(f"no group for {', '.join(left)}: add one to GROUPS")
    for module in MODULES:  # without what the top has, too
        found[module.__name__] = {
            name: value
            for name, value in public(module).items()
            if getattr(rnnjax, name, None) is not value
        }
    return found


def path_of(area: str, name: str) -> str:
    """What to import to have a name of an area."""
    return f"{area if area.startswith('rnnjax') else 'rnnjax'}.{name}"


def render() -> str:
    """The whole page."""
    lines = [
        "# Public API",
        "",
        "Written by `make docs` from the docstrings, which hold the equations, shapes, errors and",
        "examples: `help(rnnjax.lstm)`. Units of losses are nats unless a name says bits.",
        "",
    ]
    for area, names in areas().items():
        lines += [f"## {area}", "", *table(names)]
        if area == "Initializers":
            lines += ["## Parameter fields", "", *fields()]
        elif area == "rnnjax.tasks":
            lines += [
                "`rnnjax train NAME`; how one is written is in the docstring of the module.",
                "",
            ]
            lines += tasks()
    return "\n".join(lines)


if __name__ == "__main__":
    pathlib.Path(__file__).with_name("api.md").write_text(render(), encoding="utf-8")
