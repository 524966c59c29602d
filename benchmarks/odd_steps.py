"""Odd steps: `rnnjax.scan` against `lax.scan`, in time and memory, forward and gradient.

    python benchmarks/odd_steps.py [NAME ...]

What no layer of a library does, but users' steps do: convolutions, a matrix for each row, a prime
number of steps, a hundred thousand of them, steps under vmap and jacfwd, weights made by a network,
deep and broad stacks. Both contenders are the same step in one process, in turn; writes
results/odd_steps.md.
"""

from __future__ import annotations

import functools
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from rich.progress import Progress
from timing import heading, machine, paired_ratio

import rnnjax

ROUNDS, BURST = 15, 0.05  # seconds a burst
RANDOM = np.random.default_rng(0)


def normal(*shape: int, scale: float = 0.3) -> jax.Array:
    """Random numbers."""
    return jnp.asarray(RANDOM.normal(0, scale, shape), jnp.float32)


class Odd(NamedTuple):
    """A step and its arguments; `around` makes of a scan what is timed, by default itself."""

    step: Callable[..., Any]
    params: Any
    state: Any
    xs: Any
    around: Callable[[Callable], Callable] = lambda run: run
    gradient: bool = True


def elman(p, h, x):
    h = jnp.tanh(x @ p[0] + h @ p[1] + p[2])
    return h, h


def elman_params(d, h):
    return normal(d, h), normal(h, h, scale=h**-0.5), normal(h)


def convolutional(p, state, x):
    def conv(x, w):
        return lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    h, c = state
    i, f, g, o = jnp.split(conv(x, p[0]) + conv(h, p[1]), 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def switching(p, h, x):
    x, k = x
    mixed = jnp.einsum("bk,kij->bij", k, p[0])
    h = jnp.tanh(jnp.einsum("bi,bij->bj", h, mixed) + x)
    return h, h


def looked_up(p, h, x):
    x, k = x
    h = jnp.tanh(jnp.einsum("bi,bij->bj", h, p[0][k]) + x)
    return h, h


def hypernetwork(p, state, x):
    h, z = state
    z = jnp.tanh(jnp.concatenate([x, h, z], -1) @ p[0])
    h = jnp.tanh((z @ p[1]) * (x @ p[2]) + (z @ p[3]) * (h @ p[4]))
    return (h, z), h


def deep(p, hs, x):
    new = []
    for layer, h in zip(p, hs, strict=True):
        h, x = elman(layer, h, x)
        new.append(h)
    return tuple(new), x


def broad(p, hs, x):
    return tuple(elman(each, h, x)[0] for each, h in zip(p, hs, strict=True)), ()


def attending(p, state, x):
    h, memory = state
    scores = jnp.einsum("bd,bsd->bs", h @ p[0], memory @ p[1])
    read = jnp.einsum("bs,bsd->bd", jax.nn.softmax(scores), memory)
    h = jnp.tanh(jnp.concatenate([x, read], -1) @ p[2])
    return (h, memory), h


def unitary(p, h, x):
    h = jnp.exp(1j * p[0]) * h + (x @ p[1])
    return h, h.real


def inner_scan(p, h, x):
    h, _ = lax.scan(lambda h, _: (jnp.tanh(x @ p[0] + h @ p[1]), None), h, None, 3)
    return h, h


def branching(p, h, x):
    h = lax.cond(x[0, 0] > 0, lambda: elman(p, h, x)[0], lambda: h)
    return h, h


def noisy(p, state, x):
    h, key = state
    key, use = jax.random.split(key)
    h = elman(p, h, x)[0] * jax.random.bernoulli(use, 0.9, h.shape)
    return (h, key), h


def normalised(p, h, x):
    a = x @ p[0] + h @ p[1]
    a = (a - a.mean(-1, keepdims=True)) * lax.rsqrt(a.var(-1, keepdims=True) + 1e-6)
    return jnp.tanh(a), a


def pair_input(p, h, x):
    """Haiku's way."""
    h = jnp.tanh(jnp.concatenate([x, h], -1) @ p[0])
    return h, h


def delayed(p, state, x):
    a, b = state
    return (x, a), x @ p[0] + a @ p[1] + b @ p[2]


def by_cell(cell: Any, t: int, b: int, d: int, *, key: bool = False) -> Odd:
    """The step of a cell of rnnjax."""
    params = cell.init(jax.random.key(0), d)
    state = cell.initial_state(params, (b,), key=jax.random.key(1) if key else None)
    return Odd(cell.step, params, state, normal(t, b, d))


def forward_jacobian(run: Callable) -> Callable:
    """The final state by four numbers which shift the biases, in forward mode."""

    def jacobian(p, s, x):
        def shifted(a):
            return run((p[0], p[1], p[2] + jnp.repeat(a, 16)), s, x)[0]

        return jax.jacfwd(shifted)(jnp.zeros(4))

    return jacobian


def odd_steps() -> dict[str, Odd]:
    """All of them by name."""
    e = elman_params(64, 64)
    h, xs = normal(32, 64), normal(100, 32, 64)
    image = normal(8, 16, 16, 8)
    return {
        "convolutional LSTM": Odd(
            convolutional,
            (normal(3, 3, 4, 32), normal(3, 3, 8, 32)),
            (image, image),
            normal(20, 8, 16, 16, 4),
        ),
        "matrices mixed per row, K = 4": Odd(
            switching,
            (normal(4, 32, 32),),
            normal(32, 32),
            (normal(100, 32, 32), normal(100, 32, 4)),
        ),
        "matrices mixed per row, K = 32": Odd(
            switching,
            (normal(32, 32, 32, scale=0.05),),
            normal(32, 32),
            (normal(100, 32, 32), normal(100, 32, 32)),
        ),
        "matrices looked up per row": Odd(
            looked_up,
            (normal(50, 32, 32),),
            normal(32, 32),
            (normal(100, 32, 32), jnp.asarray(RANDOM.integers(0, 50, (100, 32)))),
        ),
        "T = 1021, a prime": Odd(elman, e, h, normal(1021, 32, 64)),
        "T = 100,003": Odd(elman, elman_params(8, 16), normal(4, 16), normal(100_003, 4, 8)),
        "vmapped over 16": Odd(
            elman,
            e,
            normal(16, 4, 64),
            normal(16, 100, 4, 64),
            lambda run: jax.vmap(run, (None, 0, 0)),
        ),
        "jacfwd for four numbers": Odd(elman, e, h, xs, forward_jacobian, gradient=False),
        "hypernetwork": Odd(
            hypernetwork,
            (
                normal(64 + 64 + 16, 16),
                normal(16, 64),
                normal(64, 64),
                normal(16, 64),
                normal(64, 64),
            ),
            (h, normal(32, 16)),
            xs,
        ),
        "eight layers": Odd(deep, tuple(elman_params(64, 64) for _ in range(8)), (h,) * 8, xs),
        "forty side by side": Odd(
            broad,
            tuple(elman_params(16, 16) for _ in range(40)),
            (normal(8, 16),) * 40,
            normal(100, 8, 16),
        ),
        "attention over 50 places": Odd(
            attending,
            (normal(64, 64), normal(64, 64), normal(128, 64)),
            (h, normal(32, 50, 64)),
            xs,
        ),
        "complex diagonal": Odd(
            unitary, (normal(64), normal(64, 64)), normal(32, 64).astype(jnp.complex64), xs
        ),
        "a loop inside": Odd(inner_scan, e, h, xs),
        "a branch": Odd(branching, e, h, xs),
        "noise at each step": Odd(noisy, e, (h, jax.random.key(0)), xs),
        "normalised over features": Odd(normalised, e, h, xs),
        "one product of [x, h]": Odd(pair_input, (normal(128, 64, scale=0.1),), h, xs),
        "a delay line": Odd(delayed, (normal(64, 64),) * 3, (h, h), xs),
        "bfloat16": Odd(
            elman,
            jax.tree.map(lambda a: a.astype(jnp.bfloat16), e),
            h.astype(jnp.bfloat16),
            xs.astype(jnp.bfloat16),
        ),
        "one row, four units": Odd(elman, elman_params(4, 4), normal(1, 4), normal(200, 1, 4)),
        "one row, 1024 units": Odd(
            elman, elman_params(64, 1024), normal(1, 1024), normal(50, 1, 64)
        ),
        "weight drop": by_cell(rnnjax.weight_drop(rnnjax.lstm(32), 0.3), 50, 16, 32, key=True),
        "zoneout": by_cell(rnnjax.zoneout(rnnjax.lstm(64), 0.1), 100, 32, 64, key=True),
    }


def probe(tree: Any) -> jax.Array:
    """A number that depends on every number."""
    leaves = [a for a in jax.tree.leaves(tree) if jnp.issubdtype(a.dtype, jnp.inexact)]
    return sum(jnp.square(jnp.abs(a)).sum().astype(jnp.float32) for a in leaves)


def contender(scan: Callable[..., Any], odd: Odd, gradient: bool) -> Any:
    """The compiled function that is timed."""
    run = odd.around(functools.partial(scan, odd.step))
    if not gradient:
        return jax.jit(run).lower(odd.params, odd.state, odd.xs).compile()

    def loss(params, state, xs):
        return probe(run(params, state, xs))

    return jax.jit(jax.grad(loss)).lower(odd.params, odd.state, odd.xs).compile()


def plain(step: Any, params: Any, state: Any, xs: Any) -> Any:
    """`lax.scan`."""
    return lax.scan(functools.partial(step, params), state, xs)


def burst(run: Any, odd: Odd, calls: int) -> float:
    """Median seconds of some calls."""
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        jax.block_until_ready(run(odd.params, odd.state, odd.xs))
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def row(name: str, odd: Odd, gradient: bool) -> str:
    """One line of the table."""
    runs = [contender(scan, odd, gradient) for scan in (rnnjax.scan, plain)]
    figures = np.empty((2, ROUNDS))
    calls = [max(1, int(BURST / burst(run, odd, 2))) for run in runs]
    for r in range(ROUNDS):
        for i in RANDOM.permutation(2):
            figures[i, r] = burst(runs[i], odd, calls[i])
    ratio, low, high = paired_ratio(figures[0], figures[1])
    memory = [run.memory_analysis().temp_size_in_bytes for run in runs]
    kb = [f"{each / 1e3:,.0f}" for each in memory]
    return (
        f"| {name} | {'gradient' if gradient else 'forward'} | {ratio:.2f} [{low:.2f}, {high:.2f}] "
        f"| {1e3 * figures[0].min():.2f} | {1e3 * figures[1].min():.2f} | {kb[0]} | {kb[1]} |"
    )


def main() -> None:
    """Measures, prints and writes the table."""
    chosen = {k: v for k, v in odd_steps().items() if not sys.argv[1:] or k in sys.argv[1:]}
    lines = heading("Odd steps", machine())
    lines += [
        "Time of `rnnjax.scan` over that of `lax.scan` (below 1 is faster): median of",
        f"{ROUNDS} paired ratios, its 95 % interval; least milliseconds of each; temporary memory",
        "of the compiled program in kB.",
        "",
        "| step | | ratio | ms | lax.scan, ms | kB | lax.scan, kB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    with Progress() as progress:
        for name, odd in progress.track(chosen.items(), description="odd steps"):
            for gradient in (False, True) if odd.gradient else (False,):
                lines.append(row(name, odd, gradient))
                progress.console.print(lines[-1], markup=False, soft_wrap=True)
    if len(chosen) == len(odd_steps()):
        text = "\n".join([*lines, ""])
        (pathlib.Path(__file__).parent / "results" / "odd_steps.md").write_text(text)


if __name__ == "__main__":
    main()
