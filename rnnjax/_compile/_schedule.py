"""Which equation runs when: once, for all of time at once, or in which loop.

Time-varying work is laid out in phases. Odd phases are loops, even phases are computed for all of
time at once. A recurrence goes to the first loop after what it needs; a product by a fixed weight
outside any recurrence goes to the first even phase. So loops are split exactly where a product
lies between them, and merged everywhere else.

Being movable is permission, not a reason. Everything that is neither recurrent nor such a product
stays beside its consumers, unless it feeds a product (it must be there in time) or only reworks a
product's result without enlarging it (it replaces that array instead of adding one).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from rnnjax._compile._graph import Delay, Graph, Node, condense, time_varying
from rnnjax._compile._primitives import (
    EXPANDING,
    PRODUCTS,
    SHORTEST_CONTRACTION,
    SHORTEST_WIDE_CONTRACTION,
    WIDE,
    contraction,
    mappable,
    nbytes,
    size_of,
)
from rnnjax._compile._trace import Atom, Equation, Program, Var, among, inputs, variables


@dataclass(frozen=True)
class Stage:
    """Work that is done together.

    Attributes:
      kind: `invariant` (once), `parallel` (all of time at once) or `loop`.
      nodes: Equations and delays, in an order in which they can be evaluated.
      carries: Loop only: indices of the carries that it runs.
      reads: Variables that it takes from earlier stages or from the inputs.
      writes: Variables that later stages or the outputs take from it.
      features_first: Loop only: whether matrices are held as [F, B] while it runs.
    """

    kind: str
    nodes: tuple[Node, ...]
    carries: tuple[int, ...]
    reads: tuple[Var, ...]
    writes: tuple[Var, ...]
    features_first: bool = False

    @property
    def eqns(self) -> list[Equation]:
        return [node for node in self.nodes if not isinstance(node, Delay)]


class Product(NamedTuple):
    """A product inside a loop by a fixed weight.

    Attributes:
      position: Its place in the equations of the loop.
      factor: What changes over time.
      weight: What does not.
    """

    position: int
    factor: Var
    weight: Var


@dataclass(frozen=True)
class Schedule:
    """A program and the stages that run it.

    Attributes:
      program: The program, after rewriting.
      stages: In the order in which they run.
      varying: The variables that change over time; all others are computed once.
    """

    program: Program
    stages: tuple[Stage, ...]
    varying: frozenset[Var]

    @property
    def loops(self) -> list[Stage]:
        return [stage for stage in self.stages if stage.kind == "loop"]

    def products(self, loop: Stage) -> list[Product]:
        """The products of a loop by a fixed weight, whose gradient can be deferred."""
        found = []
        weights = {v for v in loop.reads if v not in self.varying}
        for position, eqn in enumerate(loop.eqns):
            if eqn.primitive.name not in PRODUCTS or _is_wide(eqn, self.program):
                continue
            lhs, rhs = eqn.invars
            if among(lhs, self.varying) and among(rhs, weights):
                found.append(Product(position, factor=lhs, weight=rhs))
            elif eqn.primitive.name == "conv_general_dilated":
                continue
            elif among(rhs, self.varying) and among(lhs, weights):
                found.append(Product(position, factor=rhs, weight=lhs))
        return found

    def rows(self, eqn: Equation) -> int:
        """How many rows of one step a product multiplies with its weight."""
        if eqn.primitive.name not in PRODUCTS:
            return 1
        factor = max(eqn.invars, key=lambda operand: among(operand, self.varying))
        return max(1, size_of(factor) // max(1, contraction(eqn)))


def schedule(program: Program) -> Schedule:
    """Condenses a program and lays its components out in phases."""
    return _Layout(program, condense(program)).schedule()


class _Layout:
    """The state of laying out one program."""

    def __init__(self, program: Program, graph: Graph):
        self.program = program
        self.graph = graph
        self.order = [node for component in graph.components for node in component]
        self.varying = time_varying(program)
        self.kept = {
            graph.producers[v]
            for v in variables((*program.next, *program.ys))
            if v in graph.producers
        }
        products = [eqn for eqn in program.eqns if eqn.primitive.name in PRODUCTS]
        self.multiplied = {v for eqn in products for v in inputs(eqn)}
        self.repeated = {n for n in self.order if self._is_repeated(n)}
        self.consumers = self._consumers()

    def schedule(self) -> Schedule:
        phases = self._sink(self._phases())
        once = [n for n in self.order if n not in self.repeated and not self._varies(n)]
        groups = [("invariant", once)]
        for phase in sorted(set(phases.values())):
            members = [n for n in self.order if phases.get(n) == phase]
            groups.append(("loop" if phase % 2 else "parallel", members))
        stages = self._stages([(kind, members) for kind, members in groups if members])
        return Schedule(self.program, stages, frozenset(self.varying))

    # What the nodes are.

    def _varies(self, node: int) -> bool:
        equation = self.graph.nodes[node]
        return isinstance(equation, Delay) or equation.outvars[0] in self.varying

    def _is_repeated(self, node: int) -> bool:
        """Cheap and larger than what it reads: repeated by each consumer, never stored."""
        eqn = self.graph.nodes[node]
        if isinstance(eqn, Delay) or eqn.primitive.name not in EXPANDING:
            return False
        weight = not self._varies(node) and self.multiplied.intersection(eqn.outvars)
        return (
            not weight
            and node not in self.kept
            and self.graph.recurrent[node] is None
            and _size(eqn.outvars) > _size(eqn.invars)
        )

    def _is_product(self, node: int) -> bool:
        """A product (or table lookup) by a fixed operand that pays when done for all of time."""
        eqn = self.graph.nodes[node]
        if isinstance(eqn, Delay) or self.graph.recurrent[node] is not None:
            return False
        varies = [bool(among(operand, self.varying)) for operand in eqn.invars]
        if eqn.primitive.name == "gather":
            return varies == [False, True] and not _is_wide(eqn, self.program)
        return (
            eqn.primitive.name in PRODUCTS
            and varies.count(True) == 1
            and contraction(eqn) >= SHORTEST_CONTRACTION
            and not _is_wide(eqn, self.program)
        )

    def _consumers(self) -> dict[int, set[int]]:
        """Who uses a node, looking through repeated nodes."""
        consumers: dict[int, set[int]] = {n: set() for n in self.order}
        for node in reversed(self.order):
            if node not in self.repeated:
                for source in self._sources(node):
                    consumers[source].add(node)
        return consumers

    def _sources(self, node: int) -> Iterable[int]:
        """What a node uses, looking through repeated nodes."""
        for source in self.graph.preds[node]:
            if source in self.repeated:
                yield from self._sources(source)
            else:
                yield source

    # When they run.

    def _phases(self) -> dict[int, int]:
        """The earliest phase of every time-varying node."""
        phases: dict[int, int] = {}
        for component in self.graph.components:
            nodes = [n for n in component if n not in self.repeated and self._varies(n)]
            sources = {p for n in nodes for p in self._sources(n)}
            phase = max((phases[p] for p in sources if p in phases), default=0)
            for node in nodes:
                equation = self.graph.nodes[node]
                if self.graph.recurrent[node] is not None or not self._is_movable(equation):
                    phase += (phase + 1) % 2  # the next loop
                elif self._is_product(node):
                    phase += phase % 2  # the next even phase
            phases.update(dict.fromkeys(nodes, phase))
        return phases

    def _is_movable(self, node: Node) -> bool:
        return isinstance(node, Delay) or mappable(node)

    def _sink(self, phases: dict[int, int]) -> dict[int, int]:
        """Moves what has no reason to be outside of loops to its first consumer."""
        reworks: set[int] = set()
        for node in self.order:
            if node in phases and phases[node] % 2 == 0:
                beside = [p for p in self._sources(node) if phases.get(p) == phases[node]]
                if self._is_product(node) or (
                    reworks.intersection(beside) and not self._enlarges(node)
                ):
                    reworks.add(node)
        outside = set(reworks)
        for node in reversed(self.order):
            if node not in phases or phases[node] % 2 or node in outside:
                continue
            following = [phases[c] for c in self.consumers[node]]
            if any(c in outside and phases[c] == phases[node] for c in self.consumers[node]):
                outside.add(node)
            elif following:
                phases[node] = min(following)
        return phases

    def _enlarges(self, node: int) -> bool:
        eqn = self.graph.nodes[node]
        if isinstance(eqn, Delay):
            return False
        return _size(eqn.outvars) > _size(v for v in inputs(eqn) if v in self.varying)

    # What they exchange.

    def _stages(self, groups: list[tuple[str, list[int]]]) -> tuple[Stage, ...]:
        stages = []
        needed = set(variables(self.program.ys))
        for kind, members in reversed(groups):
            members = self._with_repeated(members, ordered=kind == "loop")
            nodes = tuple(self.graph.nodes[n] for n in members)
            delays = [node.index for node in nodes if isinstance(node, Delay)]
            eqns = [node for node in nodes if not isinstance(node, Delay)]
            # In order: that of a set changes from process to process, and the program with it.
            made = dict.fromkeys(v for eqn in eqns for v in eqn.outvars)
            made.update(dict.fromkeys(self.program.carry[i] for i in delays))
            reads = [v for eqn in eqns for v in inputs(eqn)]
            reads += variables([self.program.next[i] for i in delays])
            reads = list(dict.fromkeys(v for v in reads if v not in made))
            writes = [v for v in made if v in needed]
            carries = tuple(delays) if kind == "loop" else ()
            stages.append(Stage(kind, nodes, carries, tuple(reads), tuple(writes)))
            needed.update(reads)
        return tuple(reversed(stages))

    def _with_repeated(self, members: list[int], ordered: bool) -> list[int]:
        """Adds the repeated equations that members need; loops are in program order."""
        chosen: dict[int, None] = {}

        def add(node: int) -> None:
            for source in self.graph.preds[node]:
                if source in self.repeated and source not in chosen:
                    add(source)
            chosen[node] = None

        for node in members:
            add(node)
        return sorted(chosen) if ordered else list(chosen)


def _is_wide(eqn: Equation, program: Program) -> bool:
    """Whether a result is so much larger than the state that to store it takes longer than it."""
    if eqn.primitive.name in PRODUCTS and contraction(eqn) >= SHORTEST_WIDE_CONTRACTION:
        return False
    state = _size(v for i, v in enumerate(program.carry) if i not in program.held)
    return _size(eqn.outvars) > WIDE * state > 0


def _size(atoms: Iterable[Atom]) -> int:
    return sum(nbytes(atom) for atom in atoms)
