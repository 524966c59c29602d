"""Loops, and their derivative with weight gradients taken out of them.

Differentiating `lax.scan` adds one outer product to each weight's gradient at every step. But the
gradient of a product `z_t = a_t @ W` inside a loop is a sum over time that nothing in the loop
waits for: dW = Σ_t a_tᵀ dz_t is one product once all dz_t are known.

The derivative rule below says so in forward form, which keeps every composition of `jvp`, `vjp`,
`vmap` and `checkpoint` working: the loop is linearised with its weights held constant, and what
the weights' tangents add, `a_t @ dW`, is computed for all of time at once. It enters the linear
loop through the tangent of an input that is added to `z_t` anyway, or else through a *tap*, a zero
added to `z_t`. Transposing that product is the deferred gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax.custom_derivatives import SymbolicZero

from rnnjax._compile._loop import Loop
from rnnjax._compile._run import Clock, LoopRunner
from rnnjax._compile._schedule import Schedule, Stage
from rnnjax._compile._trace import read

Values = Sequence[Any]


def plain(schedule: Schedule, stage: Stage, clock: Clock) -> LoopRunner:
    """A loop that is differentiated by autodiff."""
    loop = Loop(schedule, stage, clock)

    def runner(values: Values, carry: Values) -> tuple[Values, Values]:
        env = dict(zip(stage.reads, values, strict=True))
        return loop.run((), read(env, loop.consts), carry, read(env, loop.xs))[0]

    return runner


def deferred(schedule: Schedule, stage: Stage, clock: Clock) -> LoopRunner:
    """A loop whose weight gradients are computed after it."""
    products = schedule.products(stage)
    if not products:
        return plain(schedule, stage, clock)
    loop = Loop(schedule, stage, clock, products)

    @jax.custom_jvp
    def run(weights: Values, consts: Values, carry: Values, xs: Values) -> tuple[Values, Values]:
        return loop.run(weights, consts, carry, xs)[0]

    def rule(primals: tuple[Values, ...], tangents: tuple[Values, ...]) -> tuple[Any, Any]:
        weights, consts, carry, xs = primals
        d_weights, d_consts, d_carry, d_xs = map(_nonzero, tangents)
        sinks = {i: loop.sinks(i) for i in d_weights}
        taps = [s.var for i in sinks for s in sinks[i] if s.through is None]
        inlets = {loop.xs.index(s.through) for i in sinks for s in sinks[i] if s.through}

        def tapped(consts_: Any, carry_: Any, xs_: Any, taps_: Values) -> Any:
            return loop.run(
                weights,
                _updated(consts, consts_),
                _updated(carry, carry_),
                _updated(xs, xs_),
                dict(zip(taps, taps_, strict=True)),
                list(d_weights),
            )

        out, tangent, factors = jax.linearize(
            tapped,
            {i: consts[i] for i in d_consts},
            {i: carry[i] for i in d_carry},
            {i: xs[i] for i in {*d_xs, *inlets}},
            [loop.zero(var) for var in taps],
            has_aux=True,
        )
        d_taps = []
        for (i, d_weight), factor in zip(d_weights.items(), factors, strict=True):
            for sink, gain in zip(sinks[i], loop.gains(sinks[i], factor, d_weight), strict=True):
                if sink.through is None:
                    d_taps.append(gain)
                else:
                    x = loop.xs.index(sink.through)
                    d_xs[x] = d_xs[x] + gain if x in d_xs else gain
        return out, tangent(d_consts, d_carry, d_xs, d_taps)

    run.defjvp(rule, symbolic_zeros=True)

    def runner(values: Values, carry: Values) -> tuple[Values, Values]:
        env = dict(zip(stage.reads, values, strict=True))
        return run(read(env, loop.weights), read(env, loop.consts), carry, read(env, loop.xs))

    return runner


def _nonzero(tangents: Values) -> dict[int, Any]:
    """The tangents that are not known to be zero, by their place."""
    return {i: d for i, d in enumerate(tangents) if not isinstance(d, SymbolicZero)}


def _updated(values: Values, changes: dict[int, Any]) -> list[Any]:
    return [changes.get(i, value) for i, value in enumerate(values)]
