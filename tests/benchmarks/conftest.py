"""The benchmarks are scripts in a folder of their own; their processes find what is here."""

import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path += [str(HERE), str(HERE.parents[1] / "benchmarks")]


@pytest.fixture(autouse=True)
def _contenders_here(monkeypatch):
    path = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
