"""Every public name is documented: a docstring, an example, a line in docs/api.md."""

import importlib
import inspect
import pathlib
import re
import types

import pytest

import rnnjax

API = pathlib.Path(__file__).parent.parent / "docs" / "api.md"
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


def test_what_moved_says_where_it_is():
    from rnnjax import train

    for name in train._MOVED:
        with pytest.raises(ImportError, match=f"rnnjax.train.{name} is in rnnjax.t") as raised:
            exec(f"from rnnjax.train import {name}", {})
        home = str(raised.value).split(" is in ")[1].split(" now")[0]
        if home == "rnnjax.tasks.language_model":
            assert hasattr(importlib.import_module(home), name)
    assert not hasattr(train, "no_such_name")
