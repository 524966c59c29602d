"""The pages of docs/ are what `make docs` writes, and README's plan what `rnnjax plan` prints."""

import importlib.util
import pathlib

import pytest

from rnnjax import cli

DOCS = pathlib.Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("page", ["api", "cells"])
def test_page_is_current(page):
    spec = importlib.util.spec_from_file_location(f"make_{page}", DOCS / f"make_{page}.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    assert text == make.render(), "run `make docs`"


def test_readme_shows_the_plan(capsys):
    cli.main(["plan", "--cell", "lstm", "--hidden-size", "256", "--layers", "2"])
    assert capsys.readouterr().out in (DOCS.parent / "README.md").read_text(encoding="utf-8")
