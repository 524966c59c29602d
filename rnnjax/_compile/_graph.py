"""The dependency graph of a step, and its strongly connected components.

Nodes are equations and carries. An equation depends on what it reads; a carry depends on the
equation (or carry) whose value it takes over for the next step. A component with a cycle is a true
recurrence and must be a loop; a carry outside any cycle is a delay line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rnnjax._compile._trace import Equation, Program, Var, inputs, variables


@dataclass(frozen=True)
class Delay:
    """A carry as a node: its value is that of `source`, one step later."""

    index: int


Node = Equation | Delay


@dataclass(frozen=True)
class Graph:
    """Components of a program in topological order.

    Attributes:
      nodes: The equations in program order, then one `Delay` per carry that changes.
      producers: The node that makes each variable; inputs of the step have none.
      preds: The nodes each node depends on, as indices.
      components: Lists of node indices; each component depends on earlier ones alone.
      recurrent: For each node the number of its component if that is a cycle, else None.
    """

    nodes: tuple[Node, ...]
    producers: Mapping[Var, int]
    preds: tuple[tuple[int, ...], ...]
    components: tuple[tuple[int, ...], ...]
    recurrent: tuple[int | None, ...]

    def cycle_of(self, atom: object) -> int | None:
        """The recurrent component that computes a variable, if any."""
        node = self.producers.get(atom) if isinstance(atom, Var) else None
        return None if node is None else self.recurrent[node]


def condense(program: Program) -> Graph:
    """Builds the graph of a program and condenses it."""
    delays = [Delay(i) for i in range(len(program.carry)) if i not in program.held]
    nodes: tuple[Node, ...] = (*program.eqns, *delays)
    producers = {v: i for i, eqn in enumerate(program.eqns) for v in eqn.outvars}
    producers.update((program.carry[d.index], len(program.eqns) + i) for i, d in enumerate(delays))

    def reads(node: Node) -> list[Var]:
        if isinstance(node, Delay):
            return variables([program.next[node.index]])
        return inputs(node)

    preds = tuple(
        tuple(dict.fromkeys(producers[v] for v in reads(node) if v in producers)) for node in nodes
    )
    components = strongly_connected(preds)
    recurrent: list[int | None] = [None] * len(nodes)
    for number, component in enumerate(components):
        if len(component) > 1 or any(node in preds[node] for node in component):
            for node in component:
                recurrent[node] = number
    return Graph(nodes, producers, preds, components, tuple(recurrent))


def time_varying(program: Program) -> set[Var]:
    """The variables that change over time; all others are the same at every step."""
    varying = {*program.xs, *(v for i, v in enumerate(program.carry) if i not in program.held)}
    for eqn in program.eqns:
        if varying.intersection(inputs(eqn)):
            varying.update(eqn.outvars)
    return varying


def strongly_connected(preds: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Tarjan's algorithm without recursion, predecessors first.

    Args:
      preds: For each node the nodes it depends on.

    Returns:
      The components, each after every component it depends on.
    """
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    open_nodes: list[int] = []
    is_open: set[int] = set()
    components: list[tuple[int, ...]] = []
    for root in range(len(preds)):
        if root in order:
            continue
        path = [(root, iter(preds[root]))]
        order[root] = low[root] = len(order)
        open_nodes.append(root)
        is_open.add(root)
        while path:
            node, rest = path[-1]
            following = next(rest, None)
            if following is None:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[node])
                if low[node] == order[node]:
                    component = [open_nodes.pop()]
                    while component[-1] != node:
                        component.append(open_nodes.pop())
                    is_open.difference_update(component)
                    components.append(tuple(sorted(component)))
            elif following not in order:
                order[following] = low[following] = len(order)
                open_nodes.append(following)
                is_open.add(following)
                path.append((following, iter(preds[following])))
            elif following in is_open:
                low[node] = min(low[node], order[following])
    return tuple(components)
