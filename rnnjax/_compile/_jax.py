"""What the compiler reads of JAX beyond its documentation, and what if JAX writes it anew.

How `lax.scan` writes its equation changes between releases. As little as possible is read of it:
its body, and which of its results are carries; all else follows from the trees of the arguments,
which are ours. `understood` tries on small steps whether that still holds; where it does not, or
where an import of the compiler fails, `scan` is plain `lax.scan`: slower, and right.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnnjax import _newest


class ScanEquation(NamedTuple):
    """Where `lax.scan` stands in a traced call of it, and how its arguments are laid out.

    Attributes:
      position: Its place among the equations.
      body: One step, `(fixed, carry, xs) -> (carry, ys)`, as a closed jaxpr.
      fixed: How many of its arguments are the same at every step; carries that never change
        have been moved among them.
      carries: How many of its arguments are carried.
    """

    position: int
    body: Any
    fixed: int
    carries: int


def scan_equation(closed: Any, state: Any, xs: Any) -> ScanEquation:
    """Finds the equation of `lax.scan(..., state, xs)` in its traced call.

    Args:
      closed: What `jax.make_jaxpr` returned for a function that does nothing else.
      state: The state that was passed.
      xs: The inputs that were passed.
    """
    eqns = closed.jaxpr.eqns
    position = max(i for i, eqn in enumerate(eqns) if eqn.primitive.name == "scan")
    eqn, given = eqns[position], len(jax.tree.leaves(state))
    # The state comes first among the results. One that is no result of the loop never changes.
    carries = sum(any(out is v for v in eqn.outvars) for out in closed.jaxpr.outvars[:given])
    fixed = len(eqn.invars) - carries - len(jax.tree.leaves(xs))
    return ScanEquation(position, eqn.params["jaxpr"], fixed, carries)


def warn_if_new() -> None:
    """Says so, at import."""
    if _newest.is_new():
        tested = ".".join(map(str, _newest.NEWEST))
        _warn(f"rnnjax is tested up to JAX {tested}, this is {jax.__version__}")


def understood() -> bool:
    """Whether this JAX writes its programs as the compiler expects; tried once, where it is new."""
    return not _newest.is_new() or _tried()


@functools.cache
def _tried() -> bool:
    try:
        unmet = unmet_expectations()
    except Exception as error:  # what fails here would fail in a user's program
        unmet = [repr(error)]
    if unmet:
        _warn(
            f"rnnjax expected of JAX {jax.__version__}: {'; '.join(unmet)}. Recurrences run as "
            "plain lax.scan: slower, with the same results"
        )
    return not unmet


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)


def unmet_expectations() -> list[str]:
    """What the compiler expects of JAX and does not find, in words; nothing on a JAX it knows."""

    def call(params, state, xs):
        def step(state, x):
            total, held, weak = state
            total = total * params + x[0] * closed_over
            return (total, held, weak + 1), (x[1], total, jax.nn.relu(weak) * held)

        return lax.scan(step, state, xs)

    closed_over = jnp.arange(3.0)
    state, xs = (jnp.zeros(3), jnp.ones(()), 1.0), (jnp.ones((5, 3)), jnp.ones((5, 2)))
    closed = jax.make_jaxpr(call)(2.0, state, xs)
    try:
        from jax.extend.core import jaxpr_as_fun  # what is gone is an expectation that is not met

        found = scan_equation(closed, state, xs)
        eqn, body = closed.jaxpr.eqns[found.position], found.body.jaxpr
        ran = jaxpr_as_fun(found.body)
    except (AttributeError, ImportError, KeyError, TypeError, ValueError) as error:
        return [f"an equation of lax.scan with its body, a closed jaxpr, as 'jaxpr': {error!r}"]
    types = [v.aval for v in body.invars]
    shapes = [t.shape for t in types]
    checks = {
        "two carries that change": found.carries == 2,
        "three fixed: the weight, what is closed over, the held carry": found.fixed == 3,
        "then carry and xs, in this order": shapes[found.fixed :] == [(3,), (), (3,), (2,)],
        "carries that keep their type": [v.aval.shape for v in body.outvars[:2]] == [(3,), ()],
        "the arguments of the body to be those of the loop": len(types) == len(eqn.invars),
        "a body that runs": len(ran(*(jnp.ones(t.shape, t.dtype) for t in types)))
        == len(body.outvars),
    }
    return [what for what, met in checks.items() if not met]
