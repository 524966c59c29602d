"""Time to trace and compile a training step: `rnnjax.unroll` against the same step in `lax.scan`.

    python benchmarks/compile_time.py

Interleaved in one process, caches cleared before each; writes results/compile_time.md.
"""

from __future__ import annotations

import functools
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from timing import heading, machine

import rnnjax

ROUNDS = 7
UNITS, BATCH = 128, 32


def seconds(loss, params, xs) -> float:
    """Seconds to trace, lower and compile value and gradients."""
    jax.clear_caches()
    start = time.perf_counter()
    jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(params, xs).compile()
    return time.perf_counter() - start


def main() -> None:
    """Measures, prints and writes the table."""
    lines = heading("Compile time of a training step", machine())
    lines += [
        f"LSTM, B = {BATCH}, D = H = {UNITS}; least and median of {ROUNDS} rounds, and the median",
        "ratio of the two in one round.",
        "",
        "| layers | T | lax.scan, s | rnnjax, s | ratio |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for layers in (1, 2):
        cell = rnnjax.stack(*[rnnjax.lstm(UNITS)] * layers)
        params = cell.init(jax.random.key(0), UNITS)

        def plain(params, xs, cell=cell):
            state = cell.initial_state(params, (BATCH,))
            return (jax.lax.scan(functools.partial(cell.step, params), state, xs)[1] ** 2).sum()

        def ours(params, xs, cell=cell):
            return (rnnjax.unroll(cell, params, None, xs)[1] ** 2).sum()

        for steps in (128, 2048):
            xs = jnp.zeros((steps, BATCH, UNITS))
            rounds = [
                (seconds(plain, params, xs), seconds(ours, params, xs)) for _ in range(ROUNDS)
            ]
            a, b = np.array(rounds).T
            lines.append(
                f"| {layers} | {steps} | {a.min():.2f}, {np.median(a):.2f} "
                f"| {b.min():.2f}, {np.median(b):.2f} | {np.median(b / a):.2f} |"
            )
            print(lines[-1], flush=True)
    results = pathlib.Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "compile_time.md").write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
