"""A plan as data and as a table."""

from __future__ import annotations

from dataclasses import dataclass


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
                short(c.flops, ""),
                short(c.kept, "B"),
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
            f"save={self.save!r}; FLOPs in loops {short(self.flops_in_loops, '')}, "
            f"outside {short(self.flops_outside, '')}; {self.why}"
        )
        return "\n".join(lines)


def short(number: float, unit: str) -> str:
    """A number of three digits with a prefix: `2.1 MB`."""
    for prefix in ("", "k", "M", "G", "T"):
        if number < 1000:
            return f"{number:.3g} {prefix}{unit}".strip()
        number /= 1000
    return f"{number:.3g} P{unit}"
