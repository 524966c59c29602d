"""Side-by-side timing: interleaved rounds, one process per contender, paired ratios.

Absolute times on a shared machine drift by a factor of two; what is compared here is always
measured within the same second or so. In each round every contender, in random order, makes a
short burst of calls; a round's figure is the median of its burst, and a ratio is that of two
figures of one round. Reported are the minimum, the median, and a bootstrap interval of the median
paired ratio.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

HERE = pathlib.Path(__file__).parent
PACKAGES = ("jax", "jaxlib", "flax", "dm-haiku", "equinox", "keras", "torch", "numpy")


class Worker:
    """A contender in its own process; see worker.py."""

    def __init__(self, job: Mapping[str, Any]):
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)])},
        )
        self._facts = None

    @property
    def facts(self) -> dict[str, Any]:
        """What it said of itself; waits until it is ready to be timed."""
        if self._facts is None:
            self._facts = self._read()
        return self._facts

    def burst(self, mode: str, calls: int) -> list[float]:
        """Seconds of each of some calls."""
        self.process.stdin.write(f"{mode} {calls}\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended without an answer")
        return json.loads(line)


def measure(
    workers: Mapping[str, Worker],
    mode: str,
    *,
    rounds: int,
    burst_seconds: float = 0.08,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Seconds a call, [rounds] for each contender; entry r of all was measured in round r."""
    rng, names = np.random.default_rng(seed), list(workers)
    calls = {
        name: max(1, round(burst_seconds / min(worker.burst(mode, 2))))
        for name, worker in workers.items()
    }
    figures = {name: np.empty(rounds) for name in names}
    for r in range(rounds):
        for name in rng.permutation(names):
            figures[name][r] = np.median(workers[name].burst(mode, calls[name]))
    return figures


def paired_ratio(theirs: np.ndarray, ours: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Median of their time over ours, and its 95 % bootstrap interval over rounds."""
    ratios = theirs / ours
    rng = np.random.default_rng(seed)
    draws = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)


def machine() -> dict[str, Any]:
    """What a figure depends on: machine, versions, date."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "absent"
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": versions,
    }


def heading(title: str, about: Mapping[str, Any]) -> list[str]:
    """The first lines of a page of results: its title, and what `machine` said."""
    return [f"# {title}", "", *(f"- {key}: {value}" for key, value in about.items()), ""]
