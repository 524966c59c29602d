"""The pages of docs/ are what `make docs` writes, and their plan what `rnnjax plan` prints."""

import pytest
from scripts import ROOT, script

from rnnjax import cli


@pytest.mark.parametrize("page", ["api", "cells"])
def test_page_is_current(page):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    assert text == script(f"docs/make_{page}.py").render(), "run `make docs`"


def test_the_compiler_shows_the_plan(capsys):
    cli.main(["plan", "--cell", "lstm", "--hidden-size", "256", "--layers", "2"])
    assert capsys.readouterr().out in (ROOT / "docs" / "compiler.md").read_text(encoding="utf-8")
