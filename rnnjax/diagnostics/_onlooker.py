"""Seeing the gradients in a loss from outside: an onlooker in the place of `unroll`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Array, Cell, Params, PyTree, State, parted
from rnnjax._unroll import onlooker, times, unroll
from rnnjax.diagnostics._state import Units
from rnnjax.diagnostics._steps import floating, steps_of
from rnnjax.diagnostics.gradients import BESIDE, beside, onto, pulled

# How many steps' errors are followed back; with the last one of a row, as many as go at a time.
MOST = BESIDE - 1


class Onlooker:
    """Takes the place of `unroll` while a loss is traced.

    First to see what there is, then with a probe for each run, or None for one that is let be. A
    probe adds nothing to the run, but its gradient is made to be what is looked for.

    Attributes:
      runs: names and lengths of what was run.
    """

    def __init__(self, probes: list[Array | None] | None):
        self.probes = probes
        self.runs: list[tuple[str, int]] = []

    def __call__(self, cell: Cell, params: Params, state: State | None, xs: Any, **options: Any):
        with onlooker(None):
            rows = {name: options.pop(name) for name in ("lengths", "mask", "resets")}
            steps = steps_of(cell, params, state, xs, **rows, **options)
            begin = cell.initial_state(params, steps.batch) if state is None else state
            try:
                Units.of(cell, params, begin)
            except ValueError:  # it keeps nothing
                return unroll(cell, params, state, xs, **rows, **options)
            self.runs.append((f"{cell.name}{' reversed' * options['reverse']}", steps.time))
            probe = None if self.probes is None else self.probes[len(self.runs) - 1]
            if probe is None:
                return unroll(cell, params, state, xs, **rows, **options)
            return _probed(cell, options)(probe, params, begin, xs, rows)


def _probed(cell: Cell, options: dict[str, Any]) -> Callable[..., tuple[State, PyTree]]:
    """`unroll` of a cell, with a probe before its arguments."""

    def plain(params: Params, state: State, xs: Any, rows: dict[str, Any]) -> Any:
        with onlooker(None):
            return unroll(cell, params, state, xs, **rows, **options)

    def forward(probe: Array, *given: Any) -> Any:
        found, pull = jax.vjp(plain, *given)
        return found, (pull, given)

    def backward(kept: Any, entered: Any) -> Any:
        pull, given = kept
        return _by_lag(cell, options, given, entered), *pull(entered)

    watched = jax.custom_vjp(lambda probe, *given: plain(*given))
    watched.defvjp(forward, backward)
    return watched


def _by_lag(cell: Cell, options: dict[str, Any], given: Any, entered: Any) -> Array:
    """Sums of ‖∂E_t/∂h_{t-n}‖ over rows and errors, and their numbers, [2, T], lag 1 first."""
    (params, state, xs, rows), (after, ys) = given, entered
    steps = steps_of(cell, params, state, xs, **rows, **options)
    ys = jax.tree.map(lambda g: jnp.moveaxis(g, options["time_axis"], 0), floating(ys)[0])
    ys = [g[::-1] for g in ys] if options["reverse"] else ys
    with onlooker(None):
        units = Units.of(cell, params, state)
        _, back = pulled(cell, units, params, state, steps)
    both = floating(parted(after)[0])[0], ys
    see = onto(steps, units, back, both)
    step, last = times(steps.time, steps.batch), steps.last

    def counted(t: Array) -> Array:
        """Those of the error of step t, and of each row's last step for -1."""
        flow = see(jnp.where(t < 0, last, steps.real & ~last & (step == t)))
        values = jnp.stack([flow.norm(), jnp.ones_like(flow.norm())]).astype(jnp.float32)
        sums = jnp.zeros((2, steps.time + 1), jnp.float32).at[:, flow.lags].add(values)
        return sums[:, 1:]

    some = np.unique(np.linspace(0, max(0, steps.time - 1), MOST).astype(int))
    some = jnp.asarray([-1, *some.tolist()])
    return jax.lax.map(counted, some, batch_size=beside(units, state, both)).sum(0)
