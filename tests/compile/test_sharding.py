"""`scan` on meshes of 2 and 4 CPU devices: values, gradients, collectives of plain `lax.scan`.

The number of devices is fixed when JAX starts, so the checks (sharded.py) run together in one
process of their own, and each is a test here.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

import rnnjax

from . import sharded


@pytest.fixture(scope="module")
def failures() -> dict[str, str | None]:
    """name -> what went wrong, None where nothing did."""
    here, depth = pathlib.Path(__file__), len(__name__.split("."))
    roots = [here.parents[depth - 1], pathlib.Path(rnnjax.__file__).parents[1]]
    settings = {
        "PYTHONPATH": os.pathsep.join([*map(str, roots), os.environ.get("PYTHONPATH", "")]),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "4",
        "JAX_ENABLE_X64": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", sharded.__name__],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", sharded.checks())
def test_on_devices(failures, name):
    assert failures[name] is None, failures[name]
