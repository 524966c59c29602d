"""Executes notebooks and writes them with what they showed: 05_language_model.py to .ipynb."""

from __future__ import annotations

import pathlib
import sys

import jupytext
from nbclient import NotebookClient
from nbformat import NotebookNode, write

HERE = pathlib.Path(__file__).parent
PAGES = sorted(HERE.glob("[0-9]*.py"))


def executed(path: pathlib.Path) -> NotebookNode:
    """The notebook of a text file after all its cells ran, in a process of its own.

    Raises:
      CellExecutionError: a cell failed.
      ValueError: a cell wrote to stderr, as warnings do.
    """
    notebook = jupytext.read(path)
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    for k, cell in enumerate(notebook.cells):
        cell.id = f"cell-{k}"  # the same in every run, so that a change shows what changed
    NotebookClient(
        notebook,
        resources={"metadata": {"path": str(path.parent)}},
        coalesce_streams=True,
        record_timing=False,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    ).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":
                raise ValueError(f"{path.name} warns:\n{output.text}\nin the cell\n{cell.source}")
    return notebook


if __name__ == "__main__":
    for page in [pathlib.Path(name) for name in sys.argv[1:]] or PAGES:
        print(page.name, flush=True)
        write(executed(page), page.with_suffix(".ipynb"))
