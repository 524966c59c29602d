"""Run by test_determinism.py in processes of their own: prints a digest of each lowered program."""

from __future__ import annotations

import hashlib
import json
import sys

import jax
import jax.numpy as jnp

from rnnjax._compile import scan

from .steps import STEPS, XS


def units(p, state, x):
    """Six units, each handed on to a product after the loop."""
    state = [jnp.tanh(x * i + h * p[0, 0]) for i, h in enumerate(state)]
    return state, sum(jnp.sin(h @ p) for h in state)


def digest(step, params, state, xs) -> str:
    def loss(params):
        # As asked: arrays as small as these are left to plain scan, which has no stages.
        return jnp.sum(scan(step, params, state, xs, block=None)[1])

    text = jax.jit(jax.value_and_grad(loss)).lower(params).as_text()
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    cases = {"units": (units, STEPS["lstm"][1][0][:, :4], [XS[0]] * 6, XS)}
    cases |= {name: STEPS[name][:4] for name in ("masked_stack", "delayed")}
    json.dump({name: digest(*case) for name, case in cases.items()}, sys.stdout)
