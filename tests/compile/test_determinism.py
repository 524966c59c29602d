"""Every process makes the same program of the same step, so that a compilation cache holds it."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import rnnjax

from . import program_text


def test_the_same_program_in_every_process():
    here, depth = pathlib.Path(__file__), len(__name__.split("."))
    roots = [here.parents[depth - 1], pathlib.Path(rnnjax.__file__).parents[1]]
    settings = {
        "PYTHONPATH": os.pathsep.join([*map(str, roots), os.environ.get("PYTHONPATH", "")]),
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", program_text.__name__],
            env=os.environ | settings | {"PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    one, another = (json.loads(process.communicate(timeout=600)[0]) for process in processes)
    assert one == another
