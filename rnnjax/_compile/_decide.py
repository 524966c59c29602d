"""The choice: how a traced step is run, from its options, its schedule and its sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rnnjax._compile._cost import CACHE, SHARED_CACHE, Estimate
from rnnjax._compile._draws import carried_draws
from rnnjax._compile._explain import short
from rnnjax._compile._flip import with_features_first
from rnnjax._compile._options import Options
from rnnjax._compile._primitives import (
    PRODUCTS,
    has_backward_rule,
    known,
    nbytes,
    on_cpu,
    worth_keeping,
)
from rnnjax._compile._rewrite import rewrite
from rnnjax._compile._schedule import Schedule, schedule
from rnnjax._compile._trace import Traced, type_of

# Rows of a product that fill it (benchmarks/NOTES.md has the measurements).
_ROWS = 512

# By default no more than this is kept for the gradient, in bytes.
_KEPT = 2 << 30


@dataclass(frozen=True)
class Decision:
    """How a traced step is run.

    Attributes:
      schedule: The stages, or None for plain `lax.scan`.
      defer: Whether weight gradients are taken out of the loops.
      save: `all` or `states`.
      block: Steps per block, or None.
      why: Why.
    """

    schedule: Schedule | None
    defer: bool
    save: str
    block: int | None
    why: str


def decide(traced: Traced, options: Options) -> Decision:
    """Chooses how to run a traced step."""
    defer = options.backward != "autodiff"

    def plain(why: str) -> Decision:
        return Decision(None, False, "all", None, why)

    if traced.effects:
        return plain("the step has side effects, whose order is kept")
    timed = known(traced.length)
    if timed and traced.length < 2:
        return plain("fewer than two steps")
    if traced.empty:
        return plain("arrays without elements")
    found = schedule(carried_draws(rewrite(traced.program)))
    fixed = [e for stage in found.stages if stage.kind == "invariant" for e in stage.eqns]
    if any(map(has_backward_rule, fixed)):
        # Done once, the rule would see the sum of what each step hands back, not each of them.
        return plain("a backward rule of its own on what is the same at every step")
    block, save, reasons = options.block, options.save, []
    if not (timed and _is_sized(traced)):
        # A program for any size: what needs none is right for all.
        save = "all" if save == "auto" else save
        block = block if timed and isinstance(block, int) else None
        reasons.append("sizes are unknown")
    if save == "auto":
        save, kept = _save(found, traced.length, options.mapped)
        reasons.append(kept)
    if isinstance(block, str):
        estimate = Estimate(found, traced.length, options.mapped, defer)
        block, size = _block(found, estimate, save)
        reasons.insert(0, size)
        if on_cpu() and options.chooses and save == "all" and estimate.better_plainly(block):
            return plain("stages would take longer")
    if block is not None and block >= traced.length:
        block = None
    if save == "all" and options.block in ("auto", None) and _nothing_gained(found, defer):
        return plain("nothing can leave the loop")
    if defer and options.mapped == 1:  # else the axis that is mapped would be turned at each step
        found = with_features_first(found, block or traced.length)
    return Decision(found, defer, save, block, ", ".join(filter(None, reasons)) or "as asked")


def _is_sized(traced: Traced) -> bool:
    """Whether all sizes of a step are known."""
    program = traced.program
    arrays = (*program.fixed, *program.carry, *program.xs)
    return all(known(size) for v in arrays for size in type_of(v).shape)


def _save(found: Schedule, length: int, rows: int) -> tuple[str, str]:
    """What is kept for the gradient by default, and why: all, while that is not enormous."""
    parts = [stage.eqns for stage in found.stages if stage.kind != "invariant"]
    made = [v for part in parts for e in part if worth_keeping(e.primitive) for v in e.outvars]
    kept = rows * length * sum(map(nbytes, (*found.program.carry, *made)))
    if kept <= _KEPT:
        return "all", ""
    return "states", f"all that the gradient needs would be {short(kept, 'B')}"


def _in_blocks(found: Schedule, estimate: Estimate) -> int:
    """Steps in a block: as many as stay in cache together, and fill a product."""
    moved = [e for stage in found.stages if stage.kind == "parallel" for e in stage.eqns]
    products = [e for e in moved if e.primitive.name in PRODUCTS]
    multiplied = estimate.rows * max(map(found.rows, products), default=_ROWS)
    return _near(max(CACHE // estimate.handed, _ROWS // multiplied, 1), estimate.length)


def _near(wanted: int, length: int) -> int:
    """Steps in a block, about as many as wanted: a divisor of T, if there is one near.

    A shorter last block is compiled as a second program.
    """
    near = range(max(1, wanted // 2), min(4 * wanted, length - 1) + 1)
    divisors = [size for size in near if length % size == 0]
    if divisors:
        return min(divisors, key=lambda size: abs(math.log(size / wanted)))
    return -(-length // max(1, round(length / wanted)))


def _block(found: Schedule, estimate: Estimate, save: str) -> tuple[int | None, str]:
    """Steps in a block by default, and why: None for all of them.

    On a CPU memory that is touched for the first time costs more than the arithmetic on it, so the
    arrays that stages hand to each other should be small and used again. Elsewhere memory is fast
    and launches are slow, so all steps go together.
    """
    length = estimate.length
    if save == "states":
        return _near(math.isqrt(length), length), "states and blocks take the same memory"
    # XLA runs a convolution of many steps many times slower inside of a loop than outside.
    convolves = any(e.primitive.name == "conv_general_dilated" for e in found.program.eqns)
    # Without a loop there is nothing that blocks keep company.
    small = estimate.handed * length <= (CACHE if found.loops else SHARED_CACHE)
    if convolves:
        return None, "convolutions run best outside of any loop"
    if not on_cpu() or small:
        return None, "what stages hand on is small" if on_cpu() else "fewest launches"
    block = estimate.best((_in_blocks(found, estimate), None))
    if block is None or block >= length:
        return None, "blocks would take longer"
    return block, f"blocks stay in cache{', the last one is shorter' if length % block else ''}"


def _nothing_gained(found: Schedule, defer: bool) -> bool:
    """All work is in one loop, and its derivative is left to autodiff."""
    (*others, last) = found.stages or [None]
    return (
        not others
        and last is not None
        and last.kind == "loop"
        and not (defer and found.products(last))
    )
