"""Plain `lax.scan`, where nothing is to be restructured."""

from __future__ import annotations

import functools
from typing import Any

import jax

from rnnjax._compile._explain import Plan
from rnnjax._compile._options import Options, steps
from rnnjax._compile._static import Step


def scan(step: Step, params: Any, state: Any, xs: Any, options: Options) -> tuple[Any, Any]:
    """`jax.lax.scan(partial(step, params), state, xs)`."""
    body = functools.partial(step, params)
    how = options.length, options.reverse, options.loop_unroll
    # With jit disabled a scan of no steps does not know the types of its outputs.
    with jax.disable_jit(jax.config.jax_disable_jit and steps(xs, options.length) != 0):  # pyright: ignore
        return jax.lax.scan(body, state, xs, *how)


def plan(xs: Any, options: Options) -> Plan:
    """That nothing is restructured, on a JAX that the compiler does not understand."""
    why = f"JAX {jax.__version__} is not understood: plain lax.scan"
    return Plan((), steps(xs, options.length), "all", None, why)
