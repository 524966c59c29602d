"""Memory and time of back-propagation through long sequences.

    python benchmarks/memory.py

An LSTM, its loss on the final state alone, gradients for the parameters. Temporary memory is what
XLA plans for (`memory_analysis`); seconds are the least of a few calls, interleaved. Writes
results/memory.md.
"""

from __future__ import annotations

import functools
import pathlib
import time

import jax
from rich.console import Console
from rich.progress import track
from timing import heading, machine

import rnnjax

BATCH, UNITS = 16, 256
WAYS = {
    "lax.scan": None,
    "save='all', block=100": {"save": "all", "block": 100},
    "save='states', block=100": {"save": "states", "block": 100},
    "defaults": {},
}


def main() -> None:
    """Measures, prints and writes the table."""
    cell = rnnjax.lstm(UNITS)
    params = cell.init(jax.random.key(0), UNITS)

    def loss(way, params, xs):
        if way is None:
            state = cell.initial_state(params, (BATCH,))
            state = jax.lax.scan(functools.partial(cell.step, params), state, xs)[0]
        else:
            state = rnnjax.unroll(cell, params, None, xs, **way)[0]
        return (state.h**2).sum()

    lines = heading("Memory of back-propagation through time", machine())
    lines += [
        f"LSTM, B = {BATCH}, D = H = {UNITS}, float32; gradients for params of a loss on the final",
        "state.",
        "",
        "| T | way | temporary memory, MB | of lax.scan | seconds |",
        "| ---: | --- | ---: | ---: | ---: |",
    ]
    for steps, rounds, ways in (
        (10_000, 3, list(WAYS)),
        (100_000, 1, ["save='states', block=100", "defaults"]),
    ):
        xs = jax.random.normal(jax.random.key(1), (steps, BATCH, UNITS))
        compiled = {
            name: jax.jit(jax.grad(functools.partial(loss, WAYS[name]))).lower(params, xs).compile()
            for name in ways
        }
        least = dict.fromkeys(ways, float("inf"))
        for _ in track(range(rounds), f"T = {steps}", console=Console(stderr=True)):
            for name in ways:
                start = time.perf_counter()
                jax.block_until_ready(compiled[name](params, xs))
                least[name] = min(least[name], time.perf_counter() - start)
        bytes_ = {n: c.memory_analysis().temp_size_in_bytes for n, c in compiled.items()}
        for name in ways:
            share = f"1/{bytes_['lax.scan'] / bytes_[name]:.1f}" if "lax.scan" in bytes_ else "–"
            lines.append(
                f"| {steps:,} | {name} | {bytes_[name] / 1e6:.0f} | {share} | {least[name]:.2f} |"
            )
    page = "\n".join([*lines, ""])
    print(page)
    (pathlib.Path(__file__).parent / "results" / "memory.md").write_text(page)


if __name__ == "__main__":
    main()
