"""docs/api.md is what `make docs` writes, and README's plan what `rnnjax plan` prints."""

import importlib.util
import pathlib

from rnnjax import cli

DOCS = pathlib.Path(__file__).parent.parent / "docs"


def test_api_page_is_current():
    spec = importlib.util.spec_from_file_location("make_api", DOCS / "make_api.py")
    make_api = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_api)
    assert (DOCS / "api.md").read_text(encoding="utf-8") == make_api.render(), "run `make docs`"


def test_readme_shows_the_plan(capsys):
    cli.main(["plan", "--cell", "lstm", "--hidden-size", "256", "--layers", "2"])
    assert capsys.readouterr().out in (DOCS.parent / "README.md").read_text(encoding="utf-8")
