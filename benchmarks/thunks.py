"""Where a training step spends its time: every kernel that XLA runs, and the page faults.

    python benchmarks/thunks.py

Writes results/thunks.md. The profiler lengthens each kernel by some 0.5 us.
"""

from __future__ import annotations

import collections
import pathlib
import resource
import tempfile

import jax
from timing import heading, machine

import rnnjax

RESULTS = pathlib.Path(__file__).parent / "results"
SIZES = [(256, 1, 64, 64), (128, 32, 256, 256), (100, 64, 512, 512)]
CALLS = 5
SHOWN = 16
# What holds other kernels, or only waits for them.
OUTER = ("ThunkExecutor", "while", "call", "end:", "SlinkyThreadPool", "Threadpool")


def kernels(folder: str) -> dict[str, tuple[float, float]]:
    """name -> (calls, milliseconds) of each kernel, per training step."""
    (file,) = pathlib.Path(folder).rglob("*.xplane.pb")
    found = collections.defaultdict(list)
    for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
        for line in plane.lines:
            for event in line.events if "XLA" in line.name else ():
                if not event.name.startswith(OUTER):
                    found[event.name].append(event.duration_ns)
    return {name: (len(ns) / CALLS, sum(ns) / CALLS / 1e6) for name, ns in found.items()}


def profile(size: tuple[int, int, int, int]) -> list[str]:
    """The lines on one size."""
    time, batch, inputs, units = size
    cell = rnnjax.lstm(units)
    params = cell.init(jax.random.key(0), inputs)
    xs = jax.random.normal(jax.random.key(1), (time, batch, inputs))

    def loss(params, xs):
        return (rnnjax.unroll(cell, params, None, xs)[1] ** 2).sum()

    step = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(params, xs).compile()
    for _ in range(3):
        jax.block_until_ready(step(params, xs))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(CALLS):
        jax.block_until_ready(step(params, xs))
    faults = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / CALLS
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(CALLS):
                jax.block_until_ready(step(params, xs))
        found = sorted(kernels(folder).items(), key=lambda item: -item[1][1])
    megabytes = step.memory_analysis().temp_size_in_bytes / 1e6
    lines = [
        f"## {', '.join(map(str, size))}",
        "",
        f"{megabytes:.0f} MB of temporaries, {faults:,.0f} page faults a step.",
        "",
        "| kernel | times a step | ms a step | us each |",
        "| --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {name} | {n:.0f} | {ms:.2f} | {1e3 * ms / n:.1f} |" for name, (n, ms) in found[:SHOWN]
    ]
    rest = sum(ms for _, (_, ms) in found[SHOWN:])
    return [*lines, f"| {len(found) - SHOWN} others | | {rest:.2f} | |", ""]


def main() -> None:
    """Profiles, prints and writes the page."""
    lines = heading("Kernels of a training step, LSTM (T, B, D, H)", machine())
    for size in SIZES:
        lines += profile(size)
    page = "\n".join(lines)
    print(page)
    (RESULTS / "thunks.md").write_text(page)


if __name__ == "__main__":
    main()
