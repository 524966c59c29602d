"""Runs a function in one precision, and the products in it in another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._compile._primitives import PRODUCTS
from rnnjax._compile._trace import apply, inputs, read
from rnnjax._dtypes import is_floating


def in_precision(fn: Callable[..., Any], narrow: Any, wide: Any) -> Callable[..., Any]:
    """The function in `wide`, its products of operands in `narrow`, summed in `wide`.

    It is traced with all numbers in `wide` and evaluated equation by equation. A value is brought
    to `wide` only where it is used as such: a narrow weight goes into its product as it is.
    """

    def run(*args: Any) -> Any:
        traced = jax.make_jaxpr(fn, return_shape=True)
        # What is held, too: the step works on it as on all else.
        widened = jax.tree.map(lambda a: a.astype(wide) if is_floating(a) else a, args)
        closed, shapes = traced(*widened)
        return jax.tree.unflatten(
            jax.tree.structure(shapes), evaluate(closed, jax.tree.leaves(args))
        )

    def evaluate(closed: Any, values: list[Any]) -> list[Any]:
        env = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
        env.update(zip(closed.jaxpr.invars, values, strict=True))
        for eqn in closed.jaxpr.eqns:
            if eqn.primitive.name in ("jit", "pjit"):
                outs = evaluate(eqn.params["jaxpr"], read(env, eqn.invars))
            elif eqn.primitive.name in PRODUCTS and is_floating(eqn.outvars[0].aval):
                operands = (jnp.asarray(a).astype(narrow) for a in read(env, eqn.invars))
                kind = {**eqn.params, "preferred_element_type": wide}
                outs = [eqn.primitive.bind(*operands, **kind)]
            else:
                outs = apply(eqn, *(typed(env[var], var.aval) for var in inputs(eqn)))
            env.update(zip(eqn.outvars, outs, strict=True))
        outs = read(env, closed.jaxpr.outvars)
        return [typed(a, var.aval) for a, var in zip(outs, closed.jaxpr.outvars, strict=True)]

    def typed(a: Any, aval: Any) -> Any:
        return jnp.asarray(a).astype(aval.dtype) if is_floating(aval) else a

    return run
