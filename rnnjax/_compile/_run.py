"""Runs a schedule: invariants once, parallel stages mapped over time, loops as `lax.scan`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import lax

from rnnjax._compile._graph import Delay
from rnnjax._compile._product import by_weight, weight_is_second
from rnnjax._compile._schedule import Schedule, Stage
from rnnjax._compile._trace import (
    Equation,
    Values,
    Var,
    among,
    applied,
    apply,
    evaluate,
    inputs,
    read,
)

LoopRunner = Callable[..., tuple[Values, Values]]


class Clock:
    """The direction and number of steps, and how to go through them.

    Attributes:
      length: T.
      reverse: Whether time runs from the last index to the first.
      loop_unroll: `unroll=` of `lax.scan`.
    """

    def __init__(self, length: int, reverse: bool, loop_unroll: int):
        self.length = length
        self.reverse = reverse
        self.loop_unroll = loop_unroll

    def scan(self, body: Callable[..., Any], init: Any, xs: Any) -> tuple[Any, Any]:
        # An unknown length is taken from xs alone.
        length = None if jax.tree.leaves(xs) else self.length
        return lax.scan(body, init, xs, length, self.reverse, self.loop_unroll)

    def of_length(self, length: int) -> Clock:
        return Clock(length, self.reverse, self.loop_unroll)

    def delayed(self, first: Any, values: Any) -> Any:
        """What `values [T, ...]` were one step ago, with `first` before the first step."""
        if self.reverse:
            return lax.concatenate([lax.slice_in_dim(values, 1, None), first[None]], 0)
        return lax.concatenate([first[None], lax.slice_in_dim(values, 0, -1)], 0)

    def last(self, values: Any) -> Any:
        return lax.index_in_dim(values, 0 if self.reverse else -1, keepdims=False)

    def repeated(self, value: Any) -> Any:
        """`value` at every step."""
        return lax.broadcast(value, (self.length,))


def invariants(schedule: Schedule, fixed: Values, init: Values) -> dict[Var, Any]:
    """Computes everything that is the same at every step."""
    program = schedule.program
    env = {**program.constants, **dict(zip(program.fixed, fixed, strict=True))}
    env.update((program.carry[i], init[i]) for i in program.held)
    for stage in schedule.stages:
        if stage.kind == "invariant":
            evaluate(stage.eqns, env)
    return env


def steps(
    schedule: Schedule,
    clock: Clock,
    loop_runner: Callable[[Schedule, Stage, Clock], LoopRunner],
    env: Mapping[Var, Any],
    init: Values,
    xs: Values,
) -> tuple[list[Any], list[Any]]:
    """Runs everything that changes over time, for all steps of the clock.

    Args:
      schedule: What to run.
      clock: Number and direction of the steps.
      loop_runner: Makes the function that runs one loop: `_defer.plain` or `_defer.deferred`.
      env: What `invariants` returned.
      init: Values of `program.carry` before the first step.
      xs: Values of `program.xs`, with time as first axis.

    Returns:
      The carries after the last step, and the outputs stacked over time.
    """
    program = schedule.program
    env = {**env, **dict(zip(program.xs, xs, strict=True))}
    final = {i: init[i] for i in program.held}

    def over_time(eqn: Equation, env: Mapping[Var, Any]) -> Values:
        return _over_time(eqn, env, schedule.varying)

    def stacked(atom: Any) -> Any:
        """The value of an atom at every step."""
        (value,) = read(env, [atom])
        return value if among(atom, schedule.varying) else clock.repeated(value)

    for stage in schedule.stages:
        if stage.kind == "loop":
            run_loop = loop_runner(schedule, stage, clock)
            last, outs = run_loop(read(env, stage.reads), [init[i] for i in stage.carries])
            env.update(zip(stage.writes, outs, strict=True))
            final.update(zip(stage.carries, last, strict=True))
        elif stage.kind == "parallel":
            for node in stage.nodes:
                if isinstance(node, Delay):
                    values = stacked(program.next[node.index])
                    final[node.index] = clock.last(values)
                    env[program.carry[node.index]] = clock.delayed(init[node.index], values)
                else:
                    evaluate([node], env, over_time)
    return [final[i] for i in range(len(program.carry))], [stacked(y) for y in program.ys]


def blocks(
    run: Callable[[Clock, Values, Values], tuple[Values, Values]],
    clock: Clock,
    size: int | None,
    init: Values,
    xs: Values,
) -> tuple[Values, Values]:
    """Runs `size` steps at a time; a shorter block comes last where `size` does not divide T.

    Args:
      run: `(clock, init, xs) -> (carry, ys)` for the steps of a clock.
      clock: All steps.
      size: Steps in a block, or None for all of them.
      init: The carries before the first step.
      xs: The inputs over time.

    Returns:
      The carries after the last step, and the outputs stacked over time.
    """
    if size is None or size >= clock.length:
        return run(clock, init, xs)
    count, rest = divmod(clock.length, size)
    head = slice(rest, None) if clock.reverse else slice(0, count * size)
    tail = slice(0, rest) if clock.reverse else slice(count * size, None)

    def body(carry: Values, xs: Values) -> tuple[Values, Values]:
        return run(clock.of_length(size), carry, xs)

    cut = [x[head].reshape(count, size, *x.shape[1:]) for x in xs]
    carry, ys = clock.of_length(count).scan(body, list(init), cut)
    ys = [y.reshape(count * size, *y.shape[2:]) for y in ys]
    if rest:
        carry, last = run(clock.of_length(rest), carry, [x[tail] for x in xs])
        order = (lambda a, b: [b, a]) if clock.reverse else (lambda a, b: [a, b])
        ys = [lax.concatenate(order(y, z), 0) for y, z in zip(ys, last, strict=True)]
    return carry, ys


def _over_time(eqn: Equation, env: Mapping[Var, Any], varying: frozenset[Var]) -> Values:
    """One equation, mapped over time if anything it reads varies."""
    variables = inputs(eqn)
    axes = [0 if v in varying else None for v in variables]
    if 0 not in axes:
        return applied(eqn, env)
    values = read(env, variables)
    if axes == [0, None] and weight_is_second(eqn, variables[0]):
        return [jax.vmap(lambda factor: by_weight(eqn, factor, values[1]))(values[0])]
    return jax.vmap(lambda *values: apply(eqn, *values), in_axes=axes)(*values)
