"""Contenders that compute next to nothing, and cells of a user's."""

import os
import time

import jax.numpy as jnp
import numpy as np
from worker import Contender

import rnnjax


def toy(job):
    """Takes `seconds`, and is `wrong` by so much in its gradient; one library is not there."""
    if job.get("library") == "none":
        raise NotImplementedError("has no such thing")
    gradient = np.linspace(-2, 2, 5) + job.get("wrong", 0) * np.eye(5)[2]
    results = {"outputs": np.arange(3.0), "gradient": gradient}
    print("what a library prints is no answer")
    return Contender({"forward": lambda: time.sleep(job["seconds"])}, {}, results)


def environment(job):
    """Says what it finds in its environment."""
    return Contender({}, {"environment": dict(os.environ)}, {"nothing": np.zeros(1)})


def raising(job):
    raise KeyError("a fault of ours")


def decay(units):
    """h_t = a ⊙ h_{t-1} + x_t W, of x and a number beside it."""

    def step(params, h, x):
        x, dt = x
        h = params[0] * h + (x * dt[..., None]) @ params[1]
        return h, h

    return rnnjax.Cell(
        name="decay",
        init=lambda key, x_spec: (jnp.full(units, 0.9), jnp.ones((x_spec[0].shape[0], units))),
        initial_state=lambda params, batch=(), *, key=None: jnp.zeros((*batch, units)),
        step=step,
        x_ndims=(1, 0),
    )


ready = decay(4)
number = 3
