"""`plan`: what `scan` would do, and why."""

from __future__ import annotations

from typing import Any

from rnnjax._compile import _plain
from rnnjax._compile._decide import decide
from rnnjax._compile._explain import Component, Plan
from rnnjax._compile._jax import understood
from rnnjax._compile._options import Options
from rnnjax._compile._primitives import PRODUCTS, counted, flops, nbytes
from rnnjax._compile._schedule import Schedule, Stage
from rnnjax._compile._static import Static, Step
from rnnjax._compile._trace import trace, type_of


def plan(step: Step, params: Any, state: Any, xs: Any, **options: Any) -> Plan:
    """Explains what `scan` would do with the same arguments, without doing it.

    Args:
      step: As for `scan`.
      params: As for `scan`; `jax.ShapeDtypeStruct` leaves will do, here and below.
      state: As for `scan`.
      xs: As for `scan`.
      **options: As for `scan`.

    Returns:
      A `Plan`, data; `str(plan)` is a table.

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
    if not understood():
        return _plain.plan(xs, chosen)
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
        if stage.features_first:
            why += "; features come first, as its weights are large"
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
