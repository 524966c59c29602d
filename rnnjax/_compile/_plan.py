"""What to do with a step, decided from its schedule and its sizes; and the answer as a table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
from jax.core import Tracer
from jax.custom_batching import custom_vmap

from rnnjax._compile._primitives import (
    PRODUCTS,
    counted,
    flops,
    known,
    nbytes,
    on_cpu,
    worth_keeping,
)
from rnnjax._compile._rewrite import rewrite
from rnnjax._compile._schedule import Schedule, Stage, schedule
from rnnjax._compile._static import Static
from rnnjax._compile._trace import Step, Traced, trace, type_of

# The default block on a CPU, in bytes of arrays between stages and in rows of products
# (benchmarks/NOTES.md has the measurements).
_CACHE = 1 << 21
_ROWS = 512

# By default no more than this is kept for the gradient, in bytes.
_KEPT = 2 << 30


@dataclass(frozen=True)
class Options:
    """The options of `scan`, checked."""

    length: int | None = None
    reverse: bool = False
    loop_unroll: int = 1
    save: str = "auto"
    block: int | str | None = "auto"
    backward: str = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.loop_unroll, int) or self.loop_unroll < 0:
            raise ValueError(f"loop_unroll must be a bool or an int >= 0, got {self.loop_unroll!r}")
        _one_of("save", self.save, ("auto", "all", "states"))
        _one_of("backward", self.backward, ("auto", "deferred", "autodiff"))
        if isinstance(self.block, bool) or not isinstance(self.block, int | str | None):
            raise TypeError(f"block must be 'auto', None or an int, got {self.block!r}")
        if isinstance(self.block, str) and self.block != "auto":
            raise ValueError(f"block must be 'auto', None or an int, got {self.block!r}")
        if isinstance(self.block, int) and self.block < 1:
            raise ValueError(f"block must be at least 1 step, got {self.block}")


@dataclass(frozen=True)
class Component:
    """One stage of a plan.

    Attributes:
      kind: `invariant`, `parallel`, `loop` or `plain`.
      equations: Number of equations.
      products: Number of products (`dot_general`, convolution) among them.
      flops: Floating point operations for all steps together.
      kept: Bytes that it leaves behind for later stages and the outputs.
      deferred: Shapes of the weights whose gradient is computed after this loop, once per use.
      why: Why it is done this way.
    """

    kind: str
    equations: int
    products: int
    flops: int
    kept: int
    deferred: tuple[tuple[int, ...], ...]
    why: str


@dataclass(frozen=True)
class Plan:
    """What `scan` does with a step; `str(plan)` is a table.

    Attributes:
      components: In the order in which they run.
      length: Number of steps.
      save: `all`, or `states`: keep the state between blocks, recompute the rest.
      block: Steps that go through all components together, or None for all.
      why: Why this plan.
    """

    components: tuple[Component, ...]
    length: int
    save: str
    block: int | None
    why: str

    @property
    def flops_in_loops(self) -> int:
        return sum(c.flops for c in self.components if c.kind in ("loop", "plain"))

    @property
    def flops_outside(self) -> int:
        return sum(c.flops for c in self.components if c.kind not in ("loop", "plain"))

    def __str__(self) -> str:
        head = ("", "kind", "equations", "products", "FLOPs", "kept", "deferred weights", "why")
        rows = [
            (
                str(number),
                c.kind,
                str(c.equations),
                str(c.products),
                _short(c.flops, ""),
                _short(c.kept, "B"),
                " ".join("x".join(map(str, shape)) for shape in c.deferred) or "-",
                c.why,
            )
            for number, c in enumerate(self.components)
        ]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (head, *rows)
        ]
        lines.append(
            f"{self.length} steps, {f'blocks of {self.block}' if self.block else 'one block'}, "
            f"save={self.save!r}; FLOPs in loops {_short(self.flops_in_loops, '')}, "
            f"outside {_short(self.flops_outside, '')}; {self.why}"
        )
        return "\n".join(lines)


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


def mapped_rows(tree: Any) -> int:
    """How many rows `jax.vmap` maps at once: a step that is mapped is traced for one of them.

    Those that are mapped outside of a `jit` around the call cannot be seen from within.
    """

    def rows_of(leaf: Any) -> int:
        found = 1
        # What `jit` traces is not mapped as far as anyone can know, and would keep what is done.
        if not isinstance(leaf, Tracer) or type(leaf).__name__ == "DynamicJaxprTracer":
            return found

        @custom_vmap
        def look(value: Any) -> Any:
            return value

        @look.def_vmap
        def _(size: int, batched: list[bool], value: Any) -> tuple[Any, bool]:
            nonlocal found
            found = size * rows_of(value)
            return value, batched[0]

        look(jax.lax.stop_gradient(leaf))
        return found

    return max(map(rows_of, jax.tree.leaves(tree)), default=1)


def decide(traced: Traced, options: Options, rows: int = 1) -> Decision:
    """Chooses how to run a traced step, `rows` of it at once."""
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
    found = schedule(rewrite(traced.program))
    block, save, reasons = options.block, options.save, []
    if not (timed and _is_sized(traced)):
        # A program for any size: what needs none is right for all.
        save = "all" if save == "auto" else save
        block = block if timed and isinstance(block, int) else None
        reasons.append("sizes are unknown")
    if save == "auto":
        save, kept = _save(found, traced.length, rows)
        reasons.append(kept)
    if isinstance(block, str):
        block, size = _block(found, traced.length, save, rows)
        reasons.insert(0, size)
    if block is not None and block >= traced.length:
        block = None
    if save == "all" and options.block in ("auto", None) and _nothing_gained(found, defer):
        return plain("nothing can leave the loop")
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
    return "states", f"all that the gradient needs would be {_short(kept, 'B')}"


def _block(found: Schedule, length: int, save: str, rows: int) -> tuple[int | None, str]:
    """Steps per block by default, and why: on a CPU, as many as stay in cache together.

    There, memory that is touched for the first time costs more than the arithmetic on it, so the
    arrays that stages hand to each other should be small and used again. A block still has enough
    rows for its products to run at full speed. Elsewhere memory is fast and launches are slow, so
    all steps go together.
    """
    outside = [stage for stage in found.stages if stage.kind == "parallel"]
    per_step = rows * sum(nbytes(v) for stage in outside for v in stage.writes)
    # XLA runs a convolution of many steps many times slower inside of a loop than outside.
    convolves = any(e.primitive.name == "conv_general_dilated" for e in found.program.eqns)
    if not on_cpu() or not found.loops or convolves or per_step * length <= _CACHE:
        if save == "states":
            return math.isqrt(length), "states and blocks take the same memory"
        if convolves:
            return None, "convolutions run best outside of any loop"
        return None, "what stages hand on is small" if on_cpu() else "fewest launches"
    products = [e for stage in outside for e in stage.eqns if e.primitive.name in PRODUCTS]
    multiplied = max(map(found.rows, products), default=_ROWS)
    wanted = max(_CACHE // per_step, _ROWS // (rows * multiplied), 1)
    # A shorter last block is compiled as a second program: a divisor of T, if there is one near.
    near = range(max(1, wanted // 2), min(4 * wanted, length - 1) + 1)
    divisors = [size for size in near if length % size == 0]
    if divisors:
        return min(divisors, key=lambda size: abs(math.log(size / wanted))), "blocks stay in cache"
    count = max(1, round(length / wanted))
    return -(-length // count), "blocks stay in cache, the last one is shorter"


def _nothing_gained(found: Schedule, defer: bool) -> bool:
    """All work is in one loop, and its derivative is left to autodiff."""
    (*others, last) = found.stages or [None]
    return (
        not others
        and last is not None
        and last.kind == "loop"
        and not (defer and found.products(last))
    )


def plan(step: Step, params: Any, state: Any, xs: Any, **options: Any) -> Plan:
    """Explains what `scan` would do with the same arguments, without doing it.

    Args:
      step: As for `scan`.
      params: As for `scan`; `jax.ShapeDtypeStruct` leaves will do, here and below.
      state: As for `scan`.
      xs: As for `scan`.
      **options: As for `scan`.

    Returns:
      The plan as data; `str(plan)` is a table.

    Raises:
      ValueError, TypeError: As for `scan`.

    Example:
      >>> import jax.numpy as jnp
      >>> import rnnjax
      >>> def rnn(w, h, x):
      ...     h = jnp.tanh(x @ w["x"] + h @ w["h"])
      ...     return h, h
      >>> w = {"x": jnp.ones((16, 32)), "h": jnp.ones((32, 32))}
      >>> found = rnnjax.plan(rnn, w, jnp.zeros((4, 32)), jnp.ones((9, 4, 16)))
      >>> [component.kind for component in found.components]
      ['parallel', 'loop']
    """
    chosen = Options(**options)
    params, static = Static.of(params)
    step = static.bound(step)
    traced = trace(step, params, state, xs, chosen.length, chosen.reverse, chosen.loop_unroll)
    decision = decide(traced, chosen)
    length = counted(traced.length)
    if decision.schedule is None:
        components = (_component("plain", traced.program.eqns, length, 0, (), decision.why),)
    else:
        found = decision.schedule
        components = tuple(
            _explained(found, stage, length, decision.defer) for stage in found.stages
        )
    return Plan(components, traced.length, decision.save, decision.block, decision.why)


def _explained(found: Schedule, stage: Stage, length: int, defer: bool) -> Component:
    deferred = ()
    if stage.kind == "loop":
        why = "each step needs the last"
        if defer:
            deferred = tuple(type_of(p.weight).shape for p in found.products(stage))
    elif stage.kind == "parallel":
        why = "no step needs another"
    else:
        why, length = "the same at every step", 1
    kept = length * sum(map(nbytes, stage.writes))
    return _component(stage.kind, stage.eqns, length, kept, deferred, why)


def _component(kind: str, eqns: Any, length: int, kept: int, deferred: Any, why: str) -> Component:
    products = sum(eqn.primitive.name in PRODUCTS for eqn in eqns)
    total = length * sum(map(flops, eqns))
    return Component(kind, len(eqns), products, total, kept, deferred, why)


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def _short(number: float, unit: str) -> str:
    for prefix in ("", "k", "M", "G", "T"):
        if number < 1000:
            return f"{number:.3g} {prefix}{unit}".strip()
        number /= 1000
    return f"{number:.3g} P{unit}"
