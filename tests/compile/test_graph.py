"""Components, their order, and which of them are recurrences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rnnjax._compile._graph import Delay, condense, strongly_connected
from rnnjax._compile._trace import trace

from .steps import STEPS


def program_of(step, params, state, xs):
    return trace(step, params, state, xs, None, False, 1).program


def reachable(preds) -> np.ndarray:
    reach = np.zeros((len(preds),) * 2, bool)
    for node, sources in enumerate(preds):
        reach[node, list(sources)] = True
    for middle in range(len(preds)):
        reach |= np.outer(reach[:, middle], reach[middle])
    return reach


@pytest.mark.parametrize("seed", range(30))
def test_strongly_connected(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 12))
    preds = [rng.choice(size, rng.integers(0, min(3, size)), replace=False) for _ in range(size)]
    components = strongly_connected([[int(p) for p in sources] for sources in preds])
    reach = reachable(preds)
    assert sorted(itertools.chain(*components)) == list(range(size))
    for number, component in enumerate(components):
        for a, b in itertools.permutations(component, 2):
            assert reach[a, b]
            assert reach[b, a]
        for later in itertools.chain(*components[number + 1 :]):
            assert not reach[component[0], later], "a component needs a later one"


def test_strongly_connected_does_not_recurse():
    chain = [[i - 1] if i else [4999] for i in range(5000)]
    assert strongly_connected(chain) == (tuple(range(5000)),)


def test_recurrences_of_a_stack():
    """Two layers are two cycles; what lies between and after them is in none."""
    graph = condense(program_of(*STEPS["masked_stack"][:4]))
    cycles = {c for c in graph.recurrent if c is not None}
    assert len(cycles) == 2
    products = [
        cycle
        for node, cycle in zip(graph.nodes, graph.recurrent, strict=True)
        if not isinstance(node, Delay) and node.primitive.name == "dot_general"
    ]
    assert sorted(products, key=str) == sorted([*cycles, None, None, None], key=str)


def test_delay_lines_are_no_recurrences():
    graph = condense(program_of(*STEPS["delayed"][:4]))
    delays = {
        node.index: cycle
        for node, cycle in zip(graph.nodes, graph.recurrent, strict=True)
        if isinstance(node, Delay)
    }
    assert [delays[i] is None for i in range(3)] == [False, True, True]


def test_order():
    for step, params, state, xs, *_ in STEPS.values():
        graph = condense(program_of(step, params, state, xs))
        place = {n: i for i, component in enumerate(graph.components) for n in component}
        for node, sources in enumerate(graph.preds):
            assert all(place[source] <= place[node] for source in sources)
