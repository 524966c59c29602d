"""What the ways to run a step take on a CPU: an estimate, to choose by.

    seconds = FLOPs / F + bytes of weights / W + bytes handed on / C + calls · S + activations · A

In a loop a product reads its weight at every step; outside, once a block, but what it makes there
goes through memory, the slower the more there is of it. The gradient reads the weights again and
adds to theirs: at every step, or once a block. The figures are rough, of the machines in
benchmarks/NOTES.md; a choice depends on their ratios alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rnnjax._compile._primitives import ELEMENTWISE, PRODUCTS, flops, nbytes, size_of, worth_keeping
from rnnjax._compile._schedule import Schedule, Stage
from rnnjax._compile._trace import Equation, inputs

_FLOPS = 2e11
_WEIGHTS = 1e11
_ACTIVATION = 1e-9

# Of a product: in a loop, where one of a single row is done in place, and outside.
_CALL, _START = 4e-7, 5e-6

# A weight's gradient in a loop has its operands turned around first.
_TURNED = 4

# Up to this the way that takes less memory is preferred; that is too much.
_EQUAL, WORSE = 1.15, 1.25

# Bytes that stay in a core's cache, or in that of all cores, and how many go through in a second.
CACHE = 1 << 21
_BANDWIDTHS = ((CACHE, 5e10), (1 << 25, 3e10), (float("inf"), 3e9))


class Way(NamedTuple):
    """A way to run a step.

    Attributes:
      staged: Whether in stages, or by plain `lax.scan`.
      block: Steps that go through all stages together; None for all of them.
    """

    staged: bool
    block: int | None = None


PLAIN = Way(staged=False)


class Cost(NamedTuple):
    """Seconds of all steps together: forward, and for the gradient, forward and back."""

    forward: float
    gradient: float


class _Work(NamedTuple):
    """A product at one step: its FLOPs and rows, the bytes of its weight, and of its result."""

    flops: int
    rows: int
    weight: int
    result: int

    def in_loop(self, length: int) -> float:
        call = _CALL if self.rows > 1 else 0.0
        return length * (call + self.flops / _FLOPS + self.weight / _WEIGHTS)

    def summed_in_loop(self, length: int) -> float:
        """The gradient of its weight, which is read and written at each step."""
        more = (_TURNED - 1) * self.flops / _FLOPS + self.weight / _WEIGHTS
        return self.in_loop(length) + length * more

    def outside(self, length: int, blocks: int) -> float:
        return length * self.flops / _FLOPS + blocks * (_START + self.weight / _WEIGHTS)


def _passed(per_step: int, length: int, block: int) -> float:
    """What is written and read again, a block at a time."""
    bandwidth = next(rate for size, rate in _BANDWIDTHS if per_step * block <= size)
    return 2 * per_step * length / bandwidth


def handed(found: Schedule, rows: int) -> int:
    """Bytes that stages hand to each other at each step, of so many mapped rows."""
    return rows * sum(nbytes(v) for stage in outside(found) for v in stage.writes)


def outside(found: Schedule) -> list[Stage]:
    """The stages that are done for all of time at once."""
    return [stage for stage in found.stages if stage.kind == "parallel"]


def cost(found: Schedule, way: Way, length: int, rows: int, defer: bool) -> Cost:
    """What a way takes.

    Args:
      found: The schedule.
      way: The way.
      length: T.
      rows: How many rows are mapped at once beside those that the step sees.
      defer: Whether the stages take weight gradients out of their loops.
    """
    moved = [_work(found, eqn, rows) for stage in outside(found) for eqn in _products(stage.eqns)]
    looped = [_work(found, e, rows) for stage in found.loops for e in _products(stage.eqns)]
    learned = [
        _work(found, stage.eqns[product.position], rows)
        for stage in found.loops
        for product in found.products(stage)
    ]
    varying = [e for stage in found.stages if stage.kind != "invariant" for e in stage.eqns]
    active = [e.outvars[0] for e in varying if _is_activation(e)]
    forward = rows * length * sum(map(size_of, active)) * _ACTIVATION
    forward += sum(work.in_loop(length) for work in looped)
    backward = forward
    if not way.staged:
        forward += sum(work.in_loop(length) for work in moved)
        backward += sum(work.in_loop(length) for work in moved)
        backward += sum(work.summed_in_loop(length) for work in (*moved, *learned))
        # XLA does once what is the same at every step, but not its derivative.
        fixed = [e for stage in found.stages if stage.kind == "invariant" for e in stage.eqns]
        backward += 2 * length * sum(map(flops, fixed)) / _FLOPS
        return Cost(forward, forward + backward)
    block = min(way.block or length, length)
    blocks = -(-length // block)
    through = _passed(handed(found, rows), length, block)
    if length % block:  # the inputs are cut, and the outputs joined
        for end in (*found.program.xs, *found.program.ys):
            through += _passed(rows * nbytes(end), length, length)
    forward += sum(work.outside(length, blocks) for work in moved) + through
    backward += 2 * sum(work.outside(length, blocks) for work in moved) + through
    for work in learned:
        if defer:
            backward += work.outside(length, blocks) + _passed(work.result, length, block)
        else:
            backward += work.summed_in_loop(length)
    return Cost(forward, forward + backward)


def cheapest(found: Schedule, ways: Iterable[Way], length: int, rows: int, defer: bool) -> Way:
    """A way in stages that takes least, forward and gradient together; or plain scan.

    The estimate is rough. So the first of the ways, which takes least memory, need not take least
    time; and plain scan, whose gradient has more copies and kernels than are counted here, has to
    be better by a quarter, forward or in the gradient.
    """
    plain = cost(found, PLAIN, length, rows, defer)
    seconds = {way: cost(found, way, length, rows, defer) for way in ways}
    least = min(map(sum, seconds.values()))
    best = next(way for way in seconds if sum(seconds[way]) <= _EQUAL * least)
    worse = any(a > WORSE * b for a, b in zip(seconds[best], plain, strict=True))
    return PLAIN if worse else best


def _is_activation(eqn: Equation) -> bool:
    return eqn.primitive.name in ELEMENTWISE and worth_keeping(eqn.primitive)


def _products(eqns: list[Equation]) -> list[Equation]:
    """Products, and lookups in a table, whose gradient is as large as the table."""
    return [e for e in eqns if e.primitive.name in PRODUCTS or e.primitive.name == "gather"]


def _work(found: Schedule, eqn: Equation, rows: int) -> _Work:
    weight = sum(nbytes(v) for v in inputs(eqn) if v not in found.varying)
    result = rows * sum(map(nbytes, eqn.outvars))
    return _Work(rows * flops(eqn), rows * found.rows(eqn), weight, result)
