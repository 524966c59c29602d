"""Runs a function in one precision, and the products in it in another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._compile._primitives import PRODUCTS
from rnnjax._compile._trace import Equation, Var, apply, evaluate, inputs, read
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
        outs = narrowed(closed, jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shapes), outs)

    def narrowed(closed: Any, values: list[Any]) -> list[Any]:
        env = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
        env.update(zip(closed.jaxpr.invars, values, strict=True))
        evaluate(closed.jaxpr.eqns, env, by)
        outs = read(env, closed.jaxpr.outvars)
        return [typed(a, var.aval) for a, var in zip(outs, closed.jaxpr.outvars, strict=True)]

    def by(eqn: Equation, env: Mapping[Var, Any]) -> list[Any]:
        if eqn.primitive.name in ("jit", "pjit"):
            return narrowed(eqn.params["jaxpr"], read(env, eqn.invars))
        if eqn.primitive.name in PRODUCTS and is_floating(eqn.outvars[0].aval):
            operands = (jnp.asarray(a).astype(narrow) for a in read(env, eqn.invars))
            kind = {**eqn.params, "preferred_element_type": wide}
            return [eqn.primitive.bind(*operands, **kind)]
        return apply(eqn, *(typed(env[var], var.aval) for var in inputs(eqn)))

    def typed(a: Any, aval: Any) -> Any:
        return jnp.asarray(a).astype(aval.dtype) if is_floating(aval) else a

    return run
