"""Side-by-side timing: interleaved rounds, contenders in processes of their own, paired ratios.

Absolute times on a shared machine drift by a factor of two; what is compared here is always
measured within the same second or so. In each round every contender, in random order, makes a
short burst of calls; a round's figure is the median of its burst, and a ratio is that of two
figures of one round. Reported are the minimum, the median, and a bootstrap interval of the median
paired ratio.
"""

from __future__ import annotations

import collections
import datetime
import functools
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

HERE = pathlib.Path(__file__).parent
PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "dm-haiku",
    "equinox",
    "keras",
    "torch",
    "onnxruntime",
    "numpy",
)
# What would slow a contender down: how many threads it has and how they wait, which kernels its
# libraries choose, what its compiler leaves out or has from another day.
HANDICAPS = (
    "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "NVPL_", "ONEDNN_", "DNNL_", "TORCH_",
    "XLA_FLAGS", "JAX_DISABLE_", "JAX_COMPILATION_CACHE_", "JAX_PERSISTENT_CACHE_", "JAX_ENABLE_",
)  # fmt: skip


class Worker:
    """A process that holds contenders; see worker.py.

    Args:
      env: more of its environment; what would be a handicap is taken from ours.
    """

    def __init__(self, env: Mapping[str, str] | None = None):
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (as long as the process)
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**unhandicapped(os.environ), **(env or {})},
        )

    def load(self, name: str, job: Mapping[str, Any]) -> None:
        """Has it make a contender ready; `answer` says how that went, in the order of loads."""
        self._tell({"load": name, "job": job})

    def burst(self, name: str, mode: str, calls: int) -> list[float]:
        """Figures of each of some calls: seconds, if the contender says nothing else."""
        self._tell({"call": name, "mode": mode, "times": calls})
        return self.answer()

    def drop(self) -> None:
        """Has it forget its contenders."""
        self._tell({"drop": True})

    def answer(self) -> Any:
        """What it says next."""
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise RuntimeError(f"a process of contenders ended: {self.errors.read()[-2000:]}")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()

    def _tell(self, order: Mapping[str, Any]) -> None:
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()


def unhandicapped(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which every contender has its own defaults."""
    kept = {name: value for name, value in environment.items() if not name.startswith(HANDICAPS)}
    path = [str(HERE.parent), str(HERE), *filter(None, [environment.get("PYTHONPATH")])]
    # Processes that share a GPU each take what they need.
    return {**kept, "PYTHONPATH": os.pathsep.join(path), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


class Pool(dict):
    """Processes by name and environment, each begun when it is first asked for.

    They serve one case after the other, so that every library is imported once; `with` ends them.
    """

    def of(self, name: str, env: Mapping[str, str] | None = None) -> Worker:
        """The process of that name."""
        key = (name, *sorted((env or {}).items()))
        return self[key] if key in self else self.setdefault(key, Worker(env))

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes there are."""
        while self:
            self.popitem()[1].close()


POOL = Pool()
Burst = Callable[[int], list[float]]


def measure(
    bursts: Mapping[str, Burst], *, rounds: int, burst_seconds: float = 0.03, seed: int = 0
) -> dict[str, np.ndarray]:
    """Figures a call, [rounds] for each contender; entry r of all was measured in round r.

    A burst maps a number of calls to the figure of each.
    """
    rng, names = np.random.default_rng(seed), list(bursts)
    calls = {name: _calls(burst, burst_seconds) for name, burst in bursts.items()}
    figures = collections.defaultdict(lambda: np.empty(rounds))
    for r in range(rounds):
        for name in rng.permutation(names):
            figures[str(name)][r] = np.median(bursts[name](calls[name]))
    return {name: figures[name] for name in names}


def _calls(burst: Burst, seconds: float) -> int:
    """How many calls take so long, whatever their figures are."""
    calls, took = 1, 0.0
    while took < seconds / 2:
        calls, start = 4 * calls if took else 1, time.perf_counter()
        burst(calls)
        took = time.perf_counter() - start
    return max(1, round(calls * seconds / took))


def paired_ratio(theirs: np.ndarray, ours: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Median of their figures over ours, and its 95 % bootstrap interval over rounds."""
    ratios = theirs / ours
    rng = np.random.default_rng(seed)
    draws = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """What a figure depends on: machine, versions, date."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in _lines("/proc/cpuinfo")
            if line.startswith("model name")
        ),
        platform.processor() or platform.machine(),
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
        "cores": cores(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": versions,
    }


def source() -> str:
    """A short digest of the package's own files and of the benchmarks'."""
    files = sorted([*(HERE.parent / "rnnjax").rglob("*.py"), *HERE.glob("*.py")])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


@functools.cache
def accelerator() -> tuple[str, str]:
    """JAX's backend and the kind of its devices; asked in another process, as it holds them."""
    code = "import jax; print(jax.default_backend(), jax.devices()[0].device_kind, sep='\\n')"
    told = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split("\n")
    return told[0], told[1]


def _lines(path: str) -> list[str]:
    file = pathlib.Path(path)
    return file.read_text().splitlines() if file.exists() else []


def heading(title: str, about: Mapping[str, Any]) -> list[str]:
    """The first lines of a page of results: its title, and what `machine` said."""
    said = {**about, "load": f"{about['load']:.1f}"}
    said["versions"] = ", ".join(map(" ".join, about["versions"].items()))
    return [f"# {title}", "", *(f"- {key}: {value}" for key, value in said.items()), ""]
