"""The code blocks of the pages run, each page from top to bottom."""

import contextlib
import importlib.util
import io
import pathlib
import re
import sys
import types

import jax
import pytest
from scripts import ROOT

PAGES = ["README.md", "CONTRIBUTING.md", "docs/compiler.md"]
PAGES += sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/how_to/*.md"))


@pytest.mark.parametrize("page", PAGES)
def test_code_blocks_run(page, monkeypatch):
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    assert blocks or page == "docs/how_to/commands.md"
    module = types.ModuleType(pathlib.Path(page).stem)
    monkeypatch.setitem(sys.modules, module.__name__, module)  # where pickle looks functions up
    for block in blocks:
        if "torch" in block[1] and importlib.util.find_spec("torch") is None:
            continue  # PyTorch is installed on the oldest Python alone
        # Padded with the lines before it, so that a traceback shows the page's own line.
        source = "\n" * text[: block.start(1)].count("\n") + block[1]
        output = contextlib.redirect_stdout(io.StringIO())
        with output, jax.numpy_dtype_promotion("standard"):  # as a reader has it
            exec(compile(source, str(ROOT / page), "exec"), vars(module))
