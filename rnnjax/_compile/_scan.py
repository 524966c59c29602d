"""`scan`: any pure step over a sequence, restructured."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._compile import _defer, _plain
from rnnjax._compile._decide import decide
from rnnjax._compile._jax import understood
from rnnjax._compile._mapped import mapped_rows
from rnnjax._compile._memory import remembered
from rnnjax._compile._options import Options
from rnnjax._compile._run import Clock, blocks, invariants, steps
from rnnjax._compile._static import Static, Step
from rnnjax._compile._trace import Values, trace


def scan(
    step: Step,
    params: Any,
    state: Any,
    xs: Any,
    *,
    length: int | None = None,
    reverse: bool = False,
    loop_unroll: int = 1,
    save: str = "auto",
    block: int | str | None = "auto",
    backward: str = "auto",
    mapped: int = 1,
) -> tuple[Any, Any]:
    """Runs a step over a sequence: `jax.lax.scan(partial(step, params), state, xs)`, but faster.

    Values and derivatives are those of `lax.scan`, up to rounding. What does not depend on the
    state leaves the loop and is done for all of time at once (the input projection, a readout, the
    next layer's input projection), what does not depend on time is done once, and the gradients of
    weights are computed after the loop, by one product each. `plan` shows what is done.

    Of a sum only the products that have left the loop are added to each other first; all else keeps
    its order, so that `(z + c) - c` rounds as it is meant to. A product of a concatenation,
    `[x, h] @ W`, becomes the sum of two, in float32 where its own type has fewer bits.

    A step is traced once for each type of its arguments, as by `jax.jit`, but only while all that
    it reads beside them (what it closes over, global variables) is seen to be what it was. A step
    that reads what may change unseen, such as the attributes of an object, is traced and compiled
    at each eager call, as by `lax.scan`: pass such things in `params`, or call under `jax.jit`.

    Args:
      step: `(params, state, x) -> (state, y)`, pure, for one step.
      params: What the step needs at every step: any pytree. Leaves that are no arrays (functions,
        strings, Python's own numbers) reach the step as they are, and scan is compiled anew when
        one of them changes.
      state: The state before the first step: any pytree.
      xs: The inputs `[T, ...]`: any pytree, or None.
      length: T, needed where `xs` has no leaves.
      reverse: Whether to run from the last step to the first. `ys[t]` stays aligned with `xs[t]`.
      loop_unroll: Steps per iteration of each loop, `unroll=` of `lax.scan`.
      save: What is kept for the gradient: `all`, or `states`, which keeps the state before each
        block and recomputes the rest. `auto` is `all` up to 2 GiB.
      block: How many steps go through all the stages together: less memory, and arrays that stay
        in cache. None means all of them; `auto` is all of them but for long sequences on a CPU, or
        with `states`; and there what gains nothing by stages is left to `lax.scan`. `plan` shows
        the choice, and why.
      backward: `deferred` weight gradients (`auto` takes them), or `autodiff` of the same loops.
      mapped: How many of this call `jax.vmap` runs at once, where it stands outside a `jax.jit` and
        cannot be seen from here; blocks and memory are chosen for all of them.

    Returns:
      The state after the last step, and the outputs `[T, ...]`.

    Raises:
      ValueError: An option is not one of the above, or lengths disagree.
      TypeError: The state does not keep its type over a step, or a leaf of `params` that is no
        array cannot be compared (has no hash).

    Example:
      >>> import jax.numpy as jnp
      >>> import rnnjax
      >>> def leaky_sum(decay, total, x):
      ...     total = decay * total + x
      ...     return total, total
      >>> rnnjax.scan(leaky_sum, 0.5, 0.0, jnp.ones(3))[1].tolist()
      [1.0, 1.5, 1.75]

    Reference:
      Appleyard et al. 2016, arXiv:1604.01946 (hoisted input products, deferred weight gradients).
      Tarjan 1972, SIAM J. Comput. 1(2) (strongly connected components).
    """
    mapped = mapped * mapped_rows((params, state, xs))
    options = Options(length, reverse, loop_unroll, save, block, backward, mapped)
    for path, leaf in jax.tree_util.tree_leaves_with_path(xs):
        if jnp.ndim(leaf) == 0:
            where = f"xs{jax.tree_util.keystr(path)}"
            raise ValueError(f"{where} is a scalar, expected an array with time as first axis")
    if jax.config.jax_disable_jit or not understood():  # pyright: ignore[reportAttributeAccessIssue]
        return _plain.scan(step, params, state, xs, options)
    arrays, static = Static.of(params)

    def make(get: Callable[[], Step]) -> Callable[..., Any]:
        return jax.jit(functools.partial(_scan, get, static), static_argnums=0)

    return remembered(step, static, make)(options, arrays, state, xs)


def _scan(
    get: Callable[[], Step], static: Static, options: Options, params: Any, state: Any, xs: Any
) -> tuple[Any, Any]:
    """Traces, decides and runs; under a jit, which remembers all of it by options and types."""
    step = static.bound(get())
    traced = trace(step, params, state, xs, options.length, options.reverse, options.loop_unroll)
    decision = decide(traced, options)
    schedule = decision.schedule
    if schedule is None:
        return traced.run(None, params, state, xs)
    loop_runner = _defer.deferred if decision.defer else _defer.plain

    def body(fixed: Values, init: Values, xs: Values) -> Values:
        init, state = schedule.program.first(init), len(init)
        env = invariants(schedule, fixed, init)

        def run(clock: Clock, init: Values, xs: Values) -> tuple[Values, Values]:
            return steps(schedule, clock, loop_runner, env, init, xs)

        if decision.save == "states":
            run = jax.checkpoint(run, static_argnums=0, prevent_cse=False)
        clock = Clock(traced.length, traced.reverse, traced.loop_unroll)
        carry, ys = blocks(run, clock, decision.block, init, xs)
        return [*carry[:state], *ys]

    return traced.run(body, params, state, xs)
