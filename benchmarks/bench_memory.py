"""The part `memory`: what back-propagation through a long sequence needs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import peers
import suite
from peak import ONE_HEAP, peak, planned
from suite import Case, Options, Row
from worker import Contender

TITLE = "Memory of back-propagation through time"
ABOUT = """Gradients of an LSTM's parameters, for a loss on its last state: what is kept on the way
is all that takes memory. Each way of `unroll` to keep less, plain autodiff of `lax.scan`, the same
with `jax.checkpoint` around blocks of a hundred steps, as one would write it by hand, and PyTorch.
Memory is what the process needs at its peak beyond what it had before, as the kernel counts it; on
a GPU what the allocator counts, for JAX what XLA plans. Time is beside it: keeping less costs a
second forward pass. All have one heap for all threads, which makes freed memory free."""

BLOCK = 100
WAYS: dict[str, dict[str, Any]] = {
    "rnnjax": {},
    "rnnjax, save='all', block=None": {"save": "all", "block": None},
    "rnnjax, save='all', block=100": {"save": "all", "block": BLOCK},
    "rnnjax, save='states', block=100": {"save": "states", "block": BLOCK},
}
PLAIN, BY_HAND = "lax.scan", "lax.scan, checkpointed blocks"
LEAST = "rnnjax, save='states', block=100"
# (T, B, D, H)
SIZES = [(2_000, 8, 128, 128)]
LONG = [
    (2_000, 16, 128, 128), (10_000, 4, 64, 64), (10_000, 16, 256, 256), (100_000, 4, 64, 64)
]  # fmt: skip


def cases(size: str, options: Options) -> list[Case]:
    """See `Part`."""
    kinds = [kind for kind in ("lstm", "gru") if kind in (options.cells or ("lstm",))]
    sizes = options.sizes or ([(200, 2, 8, 8)] if size == "quick" else SIZES)
    if size == "full" and not options.sizes:
        sizes = [*SIZES, *LONG]
    rounds = 2 if size == "quick" else 3
    return suite.narrowed((case(kind, each, rounds) for kind in kinds for each in sizes), options)


def case(kind: str, size: tuple[int, ...], rounds: int) -> Case:
    """A case of (T, B, D, H)."""
    length, batch, inputs, units = size
    net = peers.Net(kind, inputs, units)._asdict()
    return {**net, "length": length, "batch": batch, "rounds": rounds}


def measure(case: Case) -> list[Row]:
    """See `Part`."""
    own = {**case, "env": ONE_HEAP}
    jax = {**own, "make": "bench_memory:jax_contender", "process": "jax"}
    jobs = {name: {**jax, "way": name} for name in (*WAYS, PLAIN, BY_HAND)}
    jobs["torch"] = {**own, "make": "bench_memory:torch_contender"}
    jobs, units = suite.asked(jobs, case, [PLAIN]), {"peak": "MB"}
    return suite.contest(case, jobs, ("peak", "train"), rounds=case["rounds"], units=units)


def jax_contender(job: Mapping[str, Any]) -> Contender:
    """A way of `unroll`, or a plain scan."""
    import jax
    import jax.numpy as jnp

    import rnnjax

    rnnjax.host.use_cpu_devices(1)
    net, batch = peers.drawn(job)
    ((weights,),) = peers.draw_weights(net)
    params = peers.rnnjax_params(net.kind, jax.tree.map(jnp.asarray, weights))
    cell = getattr(rnnjax, net.kind)(net.units)

    def last(params: Any, xs: Any) -> Any:
        if job["way"] in WAYS:
            return rnnjax.unroll(cell, params, None, xs, **WAYS[job["way"]])[0]
        state, step = (
            cell.initial_state(params, xs.shape[1:-1]),
            functools.partial(cell.step, params),
        )
        if job["way"] == BY_HAND:
            return in_blocks(step, state, xs)
        return jax.lax.scan(step, state, xs)[0]

    def loss(params: Any, xs: Any, weight: Any) -> Any:
        return (jax.tree.leaves(last(params, xs))[0] * weight).sum()

    args = (params, jnp.asarray(batch.xs), jnp.asarray(batch.weight[-1]))
    train, gradients, facts = peers.compiled(jax.grad(loss), *args)
    calls = {"train": train, "peak": peak(train, planned(facts))}
    return Contender(calls, facts, {"w_x": gradients.w_x, "w_h": gradients.w_h, "b": gradients.b})


def in_blocks(step: Callable, state: Any, xs: Any) -> Any:
    """The last state, of which the states between blocks are kept and all else is made again."""
    import jax

    length = min(BLOCK, len(xs))
    if len(xs) % length:
        raise NotImplementedError(f"by hand, T is a multiple of {BLOCK}")

    @jax.checkpoint
    def block(state: Any, xs: Any) -> Any:
        return jax.lax.scan(step, state, xs)[0], None

    return jax.lax.scan(block, state, xs.reshape(-1, length, *xs.shape[1:]))[0]


def torch_contender(job: Mapping[str, Any]) -> Contender:
    """PyTorch, which keeps all."""
    import torch

    net, batch = peers.drawn(job)
    device = peers.torch_device()
    module = peers.torch_module(net, peers.draw_weights(net)).to(device)
    xs, weight = (torch.from_numpy(a).to(device) for a in (batch.xs, batch.weight[-1]))

    def train() -> None:
        module.zero_grad(set_to_none=True)
        last = module(xs)[1]
        ((last[0] if net.kind == "lstm" else last)[-1] * weight).sum().backward()
        if device == "cuda":
            torch.cuda.synchronize()

    train()
    (((w_x, w_h, b, _),),) = peers.torch_gradients(net, module)
    facts = {"threads": torch.get_num_threads()}
    return Contender({"train": train, "peak": peak(train)}, facts, {"w_x": w_x, "w_h": w_h, "b": b})


def where(case: Case) -> str:
    """A case in a table."""
    return ", ".join(f"{case[key]:,}".replace(",", " ") for key in ("length", "batch", "units"))


def together(rows: list[Row]) -> list[tuple[Row, Row]]:
    """(memory, time) of each case."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(str(row["case"]), {})[row["mode"]] = row
    return [(pair["peak"], pair["train"]) for pair in found.values()]


def table(rows: list[Row]) -> str:
    """See `Part`."""
    lines = []
    for memory, seconds in together(rows):
        for name, megabytes in memory["figures"].items():
            share, time = (
                suite.shown(suite.against(row, name, PLAIN)) if PLAIN in row["figures"] else "–"
                for row in (memory, seconds)
            )
            of_xla = memory["facts"][name].get("temporary_bytes")
            lines.append([
                f"{memory['case']['kind']} {where(memory['case'])}",
                name,
                f"{min(megabytes):.3g}",
                "–" if of_xla is None else f"{of_xla / 1e6:.3g}",
                share,
                suite.duration(min(seconds["figures"][name])),
                time,
            ])  # fmt: skip
    head = ["T, B, H", "way", "MB", "planned, MB", "of lax.scan", "time", "of lax.scan's"]
    return suite.markdown(head, lines, words=2)


def figure(rows: list[Row], axes: Any) -> None:
    """Memory of each way, by case."""
    values = {
        f"{row['case']['kind']} {where(row['case'])}": {
            name: min(megabytes) for name, megabytes in row["figures"].items()
        }
        for row, _ in together(rows)
    }
    suite.bars(axes, values, "MB at the peak")


def headlines(rows: list[Row]) -> list[str]:
    """See `Part`."""
    found = []
    for memory, seconds in together(rows):
        rivals = [name for name in (PLAIN, BY_HAND, "torch") if name in memory["figures"]]
        if LEAST not in memory["figures"]:
            continue
        said = "; ".join(
            f"{name} takes {suite.shown(suite.against(memory, name, LEAST))} times as much and "
            f"{suite.shown(suite.against(seconds, name, LEAST))} times as long"
            for name in rivals
        )
        found.append(
            f"{memory['case']['kind']} (T, B, H) {where(memory['case'])}: {LEAST} needs "
            f"{min(memory['figures'][LEAST]):.3g} MB; {said}"
        )
    return found
