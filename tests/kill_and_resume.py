"""Kills a training run at random moments and resumes it, until it has ended; then compares.

python tests/kill_and_resume.py [kills [seed [steps]]] prints one line a kill, and exits with 1
unless every run that was killed ended with bit for bit the checkpoint, the figures and the sample
of a run that was not. The moments are drawn from the whole life of the process: imports,
compilation, training, the writing of checkpoints (of which there are many), the last figures.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from typing import TextIO

import jax
import numpy as np

from rnnjax._noise import is_key
from rnnjax.tasks import task_of
from rnnjax.train import load_run
from rnnjax.train.folder import read_records

ROOT = pathlib.Path(__file__).parent.parent
FLAGS = (
    "--hidden-size 12 --embedding-size 6 --window 6 --batch-size 4 --evaluate-every 40 "
    "--checkpoint-every 3 --learning-rate 0.02"
).split()


def start(*flags: str) -> subprocess.Popen:
    """`rnnjax train`, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "rnnjax.cli", "train", *flags],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> None:
    """Waits for a process that must succeed."""
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"the run failed:\n{errors}")


def outcome(run: pathlib.Path) -> dict[str, object]:
    """What a run came to: every byte of its last checkpoint's arrays, its losses, its result."""
    found, arrays = load_run(run, task_of), {}
    for path, leaf in jax.tree.leaves_with_path(found.state):
        data = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
        arrays[jax.tree_util.keystr(path)] = (str(data.dtype), data.shape, data.tobytes())
    records = [(r["step"], r["loss"]) for r in read_records(run) if "loss" in r]
    result = json.loads((run / "result.json").read_text())
    return {
        "checkpoint": arrays,
        "step": int(found.state.step),
        "losses": records,
        "scores": result["scores"],
        "sample": result["sample"],
    }


def stage(run: pathlib.Path) -> str:
    """Where in its life a run is that was just killed."""
    kept = run / "checkpoints"
    if not (run / "config.json").exists():
        return "before it began"
    if (run / "result.json").exists():
        return "with everything written"
    saving = any(path.name.startswith(".") for path in kept.glob("*"))
    steps = [p.name.removeprefix("step_").lstrip("0") for p in sorted(kept.glob("step_*"))]
    return f"checkpoints {', '.join(steps) or 'none'}{', writing one' if saving else ''}"


def kill_and_resume(
    kills: int, seed: int, steps: int, folder: pathlib.Path, out: TextIO = sys.stdout
) -> int:
    """Kills runs `kills` times in all; returns how many runs that took."""
    draw = random.Random(seed)
    text = folder / "text.txt"
    text.write_text(" ".join(draw.choice("to be or not that is".split()) for _ in range(2000)))
    flags = ("--text", str(text), "--steps", str(steps), *FLAGS)
    began = time.monotonic()
    finish(start(*flags, "--out", str(folder / "whole")))
    life = time.monotonic() - began
    want = outcome(folder / "whole")
    print(f"a run that is not killed takes {life:.1f} s to step {want['step']}", file=out)
    killed = runs = 0
    while killed < kills:
        run, alive = folder / f"killed_{runs}", True
        while alive:
            # Begun again with the first command while there is nothing to resume yet.
            begun = (run / "config.json").exists()
            process = start(*(("--resume", str(run)) if begun else (*flags, "--out", str(run))))
            moment = draw.uniform(0, life)
            try:
                if killed == kills:
                    finish(process)
                else:
                    process.wait(moment)
                    finish(process)
                alive = False
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                killed += 1
                print(f"kill {killed:2d} at {moment:5.2f} s: {stage(run)}", file=out, flush=True)
        got = outcome(run)
        for name, value in want.items():
            if got[name] != value:
                raise SystemExit(f"run {runs} differs from the one that was not killed in {name}")
        runs += 1
        print(f"run {runs} ended: bit for bit as if it had not been killed", file=out, flush=True)
    return runs


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    kills, seed, steps = (*given, *(20, 0, 900)[len(given) :])
    with tempfile.TemporaryDirectory() as temporary:
        kill_and_resume(kills, seed, steps, pathlib.Path(temporary))
