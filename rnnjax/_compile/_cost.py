"""What the ways to run a step take on a CPU: an estimate, to choose by.

    seconds = FLOPs / F + bytes of weights / W + bytes handed on / C + calls · K + activations · A

In a loop a product is called, and reads its weight, at every step; outside, once a block, but what
it makes there goes through memory, the slower the more there is of it. The gradient reads the
weights again and adds to theirs: at every step, or once a block. The figures are rough, of the
machines in benchmarks/NOTES.md; a choice depends on their ratios alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rnnjax._compile._primitives import (
    ELEMENTWISE,
    EXPANDING,
    PRODUCTS,
    flops,
    nbytes,
    size_of,
    worth_keeping,
)
from rnnjax._compile._schedule import Schedule, Stage
from rnnjax._compile._trace import Equation, inputs, variables

_FLOPS = 2e11
_WEIGHTS = 1e11
_ACTIVATION = 1e-9

# Calls of a product: in a loop, and outside, where its threads are woken.
_CALL, _START = 4e-7, 5e-6

# In a loop the operands of a weight's gradient are turned around first, and those of a kernel's
# make a convolution that XLA does not do well.
_TURNED = {"dot_general": 4, "conv_general_dilated": 50}

# Bytes that stay in a core's cache, or in that of all cores, and how many go through in a second.
CACHE, SHARED_CACHE = 1 << 21, 1 << 25
_BANDWIDTHS = ((CACHE, 5e10), (SHARED_CACHE, 3e10), (float("inf"), 3e9))

# Ways that differ by less count as equal; stages that take so much more than plain scan lose.
_EQUAL, WORSE = 1.15, 1.25


class Cost(NamedTuple):
    """Seconds of all steps together: forward, and for the gradient, forward and back."""

    forward: float
    gradient: float


class Work(NamedTuple):
    """A product at one step, or a lookup in a table.

    Attributes:
      kind: The primitive.
      flops: Floating point operations.
      calls: Whether it is a call of its own in a loop, 0 or 1.
      weight: Bytes of what is the same at every step.
      read: Bytes of it that are read.
      result: Bytes that it makes.
    """

    kind: str
    flops: int
    calls: int
    weight: int
    read: int
    result: int

    def in_loop(self, length: int) -> float:
        """Seconds of all steps."""
        return length * (self.calls * _CALL + self.flops / _FLOPS + self.read / _WEIGHTS)

    def summed_in_loop(self, length: int) -> float:
        """Those of the gradient of its weight, which is read and written at each step."""
        arithmetic = _TURNED.get(self.kind, 1) * self.flops / _FLOPS
        return length * (self.calls * _CALL + arithmetic + 2 * self.weight / _WEIGHTS)

    def outside(self, length: int, blocks: int) -> float:
        """Seconds where it is done for a block at once."""
        return length * self.flops / _FLOPS + blocks * (_START + self.weight / _WEIGHTS)


class Estimate:
    """Estimates for one schedule.

    Args:
      found: The schedule.
      length: T.
      rows: How many rows are mapped at once beside those that a step sees.
      defer: Whether weight gradients are taken out of the loops.
    """

    def __init__(self, found: Schedule, length: int, rows: int, defer: bool):
        self.length, self.rows, self.defer = length, rows, defer
        outside = [stage for stage in found.stages if stage.kind == "parallel"]
        varying = [e for stage in found.stages if stage.kind != "invariant" for e in stage.eqns]
        fixed = [e for stage in found.stages if stage.kind == "invariant" for e in stage.eqns]
        calls = int(not _is_one_kernel(varying, found, rows))

        def work(eqn: Equation) -> Work:
            weight = sum(nbytes(v) for v in inputs(eqn) if v not in found.varying)
            result = rows * sum(map(nbytes, eqn.outvars))
            read = result if eqn.primitive.name == "gather" else weight
            return Work(eqn.primitive.name, rows * flops(eqn), calls, weight, read, result)

        self.moved = [work(e) for stage in outside for e in _products(stage)]
        self.looped = [work(e) for stage in found.loops for e in _products(stage)]
        self.learned = [
            work(loop.eqns[product.position])
            for loop in found.loops
            for product in found.products(loop)
        ]
        written = [v for stage in outside for v in stage.writes]
        self.handed = rows * sum(map(nbytes, written))
        if not found.loops:  # then what goes through memory is between its products
            self.handed = sum(work.result for work in self.moved)
        # What is put out is written whichever way.
        ys = set(variables(found.program.ys))
        self.through = self.handed - rows * sum(nbytes(v) for v in written if v in ys)
        # The derivative keeps the state of each step and as much beside, which blocks copy to and
        # from where that of all steps is: not worth it where that is more than they keep in cache.
        self.state = rows * sum(map(nbytes, found.program.carry))
        self.ends = [rows * nbytes(v) for v in (*found.program.xs, *found.program.ys)]
        active = [e.outvars[0] for e in varying if _is_activation(e)]
        self.active = rows * length * sum(map(size_of, active)) * _ACTIVATION
        self.fixed = sum(map(flops, fixed)) / _FLOPS

    def plain(self) -> Cost:
        """Plain `lax.scan`: what is the same at every step is done once, but for its derivative."""
        products = (*self.looped, *self.moved)
        forward = self.active + sum(work.in_loop(self.length) for work in products)
        summed = sum(w.summed_in_loop(self.length) for w in (*self.moved, *self.learned))
        return Cost(forward, 2 * forward + summed + 2 * self.length * self.fixed)

    def stages(self, block: int | None) -> Cost:
        """Stages, in blocks of so many steps, or for all of them at once."""
        length = self.length
        block = min(block or length, length)
        blocks = -(-length // block)
        through = _passed(self.through, length, block)
        if length % block:  # the inputs are cut, and the outputs joined
            through += sum(_passed(end, length, length) for end in self.ends)
        moved = sum(work.outside(length, blocks) for work in self.moved)
        looped = self.active + sum(work.in_loop(length) for work in self.looped)
        summed = sum(
            work.outside(length, blocks) + _passed(work.result, length, block)
            if self.defer
            else work.summed_in_loop(length)
            for work in self.learned
        )
        if blocks > 1 and self.state > self.handed:
            summed += 4 * _passed(self.state, length, length)
        forward = looped + moved + through
        return Cost(forward, forward + looped + 2 * moved + through + summed)

    def best(self, blocks: Sequence[int | None]) -> int | None:
        """The first of some blocks that takes little more than the one that takes least.

        The estimate is rough, so the first one, which takes least memory, need not be the quickest.
        """
        seconds = {block: sum(self.stages(block)) for block in blocks}
        least = min(seconds.values())
        return next(block for block in blocks if seconds[block] <= _EQUAL * least)

    def better_plainly(self, block: int | None) -> bool:
        """Whether plain scan is better than stages, forward or with the gradient.

        Without a product there is nothing to go by.
        """
        pairs = zip(self.stages(block), self.plain(), strict=True)
        return bool(self.moved or self.looped) and any(a > WORSE * b for a, b in pairs)


def _passed(per_step: int, length: int, block: int) -> float:
    """What is written and read again, a block at a time."""
    bandwidth = next(rate for size, rate in _BANDWIDTHS if per_step * block <= size)
    return 2 * per_step * length / bandwidth


def _is_one_kernel(varying: Sequence[Equation], found: Schedule, rows: int) -> bool:
    """Whether XLA may make one kernel of a whole step: two products of a row, and sums of them."""
    products = [e for e in varying if e.primitive.name in PRODUCTS]
    return len(products) <= 2 and all(
        rows * found.rows(e) == 1
        if e.primitive.name in PRODUCTS
        else e.primitive.name in ELEMENTWISE | EXPANDING
        for e in varying
    )


def _is_activation(eqn: Equation) -> bool:
    return eqn.primitive.name in ELEMENTWISE and worth_keeping(eqn.primitive)


def _products(stage: Stage) -> list[Equation]:
    return [e for e in stage.eqns if e.primitive.name in PRODUCTS or e.primitive.name == "gather"]
