"""Two devices give what one gives: under meshes of both kinds, and inside shard_map."""

import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent


def test_two_devices_equal_one():
    # The number of devices is fixed when a process starts, so the checks have one of their own.
    environment = {
        **os.environ,
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
    }
    script = [sys.executable, str(HERE / "two_devices.py")]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert len(results) == 11
    failed = {check: trace for check, trace in results.items() if trace}
    assert not failed, "\n\n".join(f"{check}\n{trace}" for check, trace in failed.items())
