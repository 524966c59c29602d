"""Cells of a user's."""

import jax.numpy as jnp

import rnnjax


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
