"""Every public name is documented: a docstring, an example, a line in docs/api.md."""

import importlib
import inspect
import re
import types

import pytest
from scripts import ROOT, script

import rnnjax

API = ROOT / "docs" / "api.md"
NAMES = sorted(
    name
    for name, value in vars(rnnjax).items()
    if not name.startswith("_") and not isinstance(value, types.ModuleType)
)
# Annotations and data: values that cannot carry a docstring of their own.
VALUES = {"Positive", "Rate", "Size", "PRESETS"}
each = pytest.mark.parametrize("name", NAMES)


def test_the_public_names_are_ours():
    for name in set(NAMES) - VALUES:
        assert getattr(rnnjax, name).__module__.startswith("rnnjax"), name
    assert set(NAMES) >= VALUES


@pytest.mark.parametrize("name", [name for name in NAMES if name not in VALUES])
def test_docstring(name):
    value = getattr(rnnjax, name)
    doc = value.__doc__
    assert doc
    first = doc.splitlines()[0]
    # NamedTuple and dataclass write one of their own: "Name(field, field)".
    assert not first.startswith(f"{name}("), "the docstring is the generated one"
    assert first.endswith((".", "?", "!", ":")), "the summary is one sentence on one line"
    if inspect.isroutine(value):
        assert re.search(r"^\s+>>> ", doc, re.MULTILINE), "an Example that runs"
        assert "Returns:" in doc
        for parameter in inspect.signature(value).parameters:
            assert re.search(rf"^\s+\*{{0,2}}{parameter}: ", doc, re.MULTILINE), (
                f"Args: {parameter}"
            )


@pytest.mark.parametrize(
    "name", [name for name in NAMES if hasattr(getattr(rnnjax, name), "_fields")]
)
def test_every_field_is_documented(name):
    value = getattr(rnnjax, name)
    for field in value._fields:
        assert re.search(rf"^\s+{field}: ", value.__doc__, re.MULTILINE), field


@each
def test_listed_in_the_api_page(name):
    assert f"`{name}`" in API.read_text(encoding="utf-8")


def running_code():
    """The words of all code that the tests run for readers: docstrings, pages, notebooks."""
    for path in (ROOT / "rnnjax").rglob("*.py"):
        yield from re.findall(r"^ *(?:>>>|\.\.\.) (.*)$", path.read_text("utf-8"), re.MULTILINE)
    for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        yield from re.findall(r"^```python\n(.*?)^```$", path.read_text("utf-8"), re.M | re.DOTALL)
    for path in ROOT.glob("notebooks/[0-9]*.py"):
        yield path.read_text("utf-8")


def test_every_public_name_has_a_running_example():
    areas = script("docs/make_api.py").areas().values()
    docs = [(n, v, inspect.getdoc(v) or "") for names in areas for n, v in names.items()]
    code = "\n".join(running_code())
    imports = re.findall(r"import \(([^)]*)\)|import ([\w, ]+)", code)
    used = set(re.findall(r"\w+", str(imports))) | set(re.findall(r"\.(\w+)", code))
    used |= {n for n, _, doc in docs if ">>> " in doc}
    # What a function makes or raises is seen where that function is.
    made = set(re.findall(r"\w+", "\n".join(doc for n, _, doc in docs if n in used)))
    lacking = [n for n, v, _ in docs if n not in used and (inspect.isroutine(v) or n not in made)]
    assert not lacking, f"no example runs {', '.join(lacking)}"


def test_what_moved_says_where_it_is():
    from rnnjax import train

    for name in train._MOVED:
        with pytest.raises(ImportError, match=f"rnnjax.train.{name} is in rnnjax.t") as raised:
            exec(f"from rnnjax.train import {name}", {})
        home = str(raised.value).split(" is in ")[1].split(" now")[0]
        if home == "rnnjax.tasks.language_model":
            assert hasattr(importlib.import_module(home), name)
    assert not hasattr(train, "no_such_name")
