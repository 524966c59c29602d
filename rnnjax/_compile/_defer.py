"""Loops, and their derivative with weight gradients taken out of them.

Differentiating `lax.scan` adds one outer product to each weight's gradient at every step. But the
gradient of a product `z_t = a_t @ W` inside a loop is a sum over time that nothing in the loop
waits for: dW = Σ_t a_tᵀ dz_t is one product once all dz_t are known.

The derivative rule below says so in forward form, which keeps every composition of `jvp`, `vjp`,
`vmap` and `checkpoint` working: the loop is linearised with its weights held constant, and what
the weights' tangents add, `a_t @ dW`, is computed for all of time at once. It enters the linear
loop through a *tap*, a zero added to `z_t`, together with the tangents of inputs that are added to
`z_t` anyway. Transposing that product is the deferred gradient.
"""

from __future__ import annotations

from typing import Any

import jax
from jax.custom_derivatives import SymbolicZero

from rnnjax._compile._loop import Inlet, Loop
from rnnjax._compile._run import Clock, LoopRunner
from rnnjax._compile._schedule import Schedule, Stage
from rnnjax._compile._trace import Values, read


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
        # What is added to a product arrives with what its weight adds: one array, not one a gate.
        arriving = {i: _arriving(loop, i, d_consts, d_xs) for i in d_weights}

        def tapped(consts_: Any, carry_: Any, xs_: Any, taps_: Values) -> Any:
            return loop.run(
                weights,
                _updated(consts, consts_),
                _updated(carry, carry_),
                _updated(xs, xs_),
                dict(zip(map(loop.out, d_weights), taps_, strict=True)),
                list(d_weights),
            )

        out, tangent, factors = jax.linearize(
            tapped,
            {i: consts[i] for i in d_consts},
            {i: carry[i] for i in d_carry},
            {i: xs[i] for i in d_xs},
            [loop.zero(loop.out(i)) for i in d_weights],
            has_aux=True,
        )
        d_taps = [
            loop.gain(i, factor, d_weight, arriving[i])
            for (i, d_weight), factor in zip(d_weights.items(), factors, strict=True)
        ]
        return out, tangent(d_consts, d_carry, d_xs, d_taps)

    run.defjvp(rule, symbolic_zeros=True)

    def runner(values: Values, carry: Values) -> tuple[Values, Values]:
        env = dict(zip(stage.reads, values, strict=True))
        return run(read(env, loop.weights), read(env, loop.consts), carry, read(env, loop.xs))

    return runner


def _arriving(
    loop: Loop, product: int, d_consts: dict[int, Any], d_xs: dict[int, Any]
) -> dict[Inlet, Any]:
    """Takes the tangents of what is added to a product out of those of all the loop reads."""
    found = {}
    for inlet in loop.inlets(product):
        variables, tangents = (loop.xs, d_xs) if inlet.var in loop.xs else (loop.consts, d_consts)
        if (i := variables.index(inlet.var)) in tangents:
            found[inlet] = tangents.pop(i)
    return found


def _nonzero(tangents: Values) -> dict[int, Any]:
    """The tangents that are not known to be zero, by their place."""
    return {i: d for i, d in enumerate(tangents) if not isinstance(d, SymbolicZero)}


def _updated(values: Values, changes: dict[int, Any]) -> list[Any]:
    return [changes.get(i, value) for i, value in enumerate(values)]
