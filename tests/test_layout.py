"""The floors: imports go down only, and the lower floors need nothing but jax."""

import ast
import pathlib
import sys

import mutation
import pytest

ROOT = pathlib.Path(__file__).parent.parent / "rnnjax"
FILES = sorted(ROOT.rglob("*.py"))
each = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))

FLOORS = {
    "_cell": 0,
    "_dtypes": 0,
    "_export": 0,
    "_factory": 0,
    "_fields": 0,
    "_held": 0,
    "_newest": 0,
    "host": 0,
    "_noise": 0,
    "initializers": 0,
    "_compile": 1,
    "cells": 2,
    "_check": 2,
    "_layer": 2,
    "_unroll": 2,
    "_combine": 3,
    "attention": 3,
    "ctc": 3,
    "decoding": 3,
    "layers": 3,
    "sequences": 3,
    "diagnostics": 4,
    "train": 4,
    "tasks": 5,
    "testing": 4,
    "interop": 4,
    "cli": 6,
    "__init__": 6,
    "__main__": 6,
}
# What floors 0-3 may import besides the standard library.
LOWER = {"jax", "jaxlib", "numpy", "chex"}


def part(path):
    """The floor's name of a file: its first folder, or its stem."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports(path):
    """The modules a file imports, wherever in the file; relative ones made absolute."""
    package = ["rnnjax", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


@each
def test_every_file_has_a_floor(path):
    assert part(path) in FLOORS, f"give {part(path)} a floor in FLOORS"


@each
def test_imports_go_down_only(path):
    here = part(path)
    for module in imports(path):
        names = module.split(".")
        if names[0] == "rnnjax" and len(names) > 1 and here != "__init__":
            there = names[1]
            if (ROOT / there).is_dir() or (ROOT / f"{there}.py").exists():
                assert FLOORS[there] <= FLOORS[here], f"{here} imports {module}, a floor above"
            else:  # a name of the package: `import rnnjax` at the top is floor 5
                assert FLOORS[here] >= 4, f"{here} imports {module} from the package's top"


@each
def test_floor_zero_to_three_need_jax_alone(path):
    if FLOORS[part(path)] > 3:
        return
    roots = {module.split(".")[0] for module in imports(path)}
    assert roots <= LOWER | {"rnnjax"} | set(sys.stdlib_module_names)


@each
def test_flax_is_imported_in_interop_only(path):
    if part(path) != "interop":
        assert "flax" not in {module.split(".")[0] for module in imports(path)}


CELLS = [path for path in FILES if path.parent.name == "cells" and not path.stem.startswith("_")]


@pytest.mark.parametrize("path", CELLS, ids=lambda path: path.stem)
def test_a_cell_is_one_short_file_that_imports_no_cell(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 150
    cells = {f"rnnjax.cells.{cell.stem}" for cell in CELLS} | {"rnnjax.cells"}
    for module in imports(path):  # `_common` and its like are shared
        assert module not in cells
        assert not any(module.startswith(f"{cell}.") for cell in cells - {"rnnjax.cells"})


TRANSFORMATIONS = [path for path in FILES if path.parent.name == "_combine"]


@pytest.mark.parametrize("path", TRANSFORMATIONS, ids=lambda path: path.stem)
def test_a_transformation_is_one_short_file_that_names_no_cell(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 150
    for cell in CELLS:
        assert f"rnnjax.cells.{cell.stem}" not in imports(path)


TASKS = [path for path in FILES if part(path) == "tasks" and path != ROOT / "tasks" / "__init__.py"]


def own(path):
    """The task's name of a file below tasks/: its folder, or its stem."""
    return path.relative_to(ROOT / "tasks").with_suffix("").parts[0]


@pytest.mark.parametrize("path", TASKS, ids=lambda path: str(path.relative_to(ROOT / "tasks")))
def test_a_task_imports_no_other_task(path):
    others = {own(other) for other in TASKS if own(other)[0] != "_"} - {own(path)}  # `_` is shared
    for module in imports(path):
        assert not any(f"{module}.".startswith(f"rnnjax.tasks.{other}.") for other in others)


def test_every_planted_fault_has_its_place():
    assert mutation.misplaced(mutation.every_fault()) == []
