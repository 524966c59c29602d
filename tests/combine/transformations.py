"""Every transformation once: adding one is one line here."""

import jax
import jax.numpy as jnp
import numpy as np
from oracles import numpy

import rnnjax

D = H = 3  # equal, so that shortcuts fit

TRANSFORMATIONS = {
    "stack": lambda cell: rnnjax.stack(cell, rnnjax.elman(H)),
    "residual": rnnjax.residual,
    "highway": rnnjax.highway,
    "parallel": lambda cell: rnnjax.parallel(cell, rnnjax.elman(2)),
    "parallel-mean": lambda cell: rnnjax.parallel(cell, rnnjax.elman(H), merge="mean"),
    "learned_state": rnnjax.learned_state,
    "emit_state": rnnjax.emit_state,
    "input_dropout": lambda cell: rnnjax.input_dropout(cell, 0.4),
    "input_dropout-variational": lambda cell: rnnjax.input_dropout(cell, 0.4, variational=True),
    "recurrent_dropout": lambda cell: rnnjax.recurrent_dropout(cell, 0.4),
    "recurrent_dropout-variational": lambda cell: rnnjax.recurrent_dropout(
        cell, 0.4, variational=True
    ),
    "zoneout": lambda cell: rnnjax.zoneout(cell, 0.4),
    "weight_drop": lambda cell: rnnjax.weight_drop(cell, 0.4),
    "clip_gradient": lambda cell: rnnjax.clip_gradient(cell, 0.01),
    "clip_state": lambda cell: rnnjax.clip_state(cell, 0.5),
    "cast": lambda cell: rnnjax.cast(cell, "float64"),
    "leaky": lambda cell: rnnjax.leaky(cell, 0.3),
    "learned_leaky-leaf": lambda cell: rnnjax.learned_leaky(cell, 0.3, per="leaf"),
    "learned_leaky": lambda cell: rnnjax.learned_leaky(cell, 0.3),
    "feedback": lambda cell: rnnjax.feedback(cell, H),
    "spectral": lambda cell: rnnjax.spectral(cell, 0.9),
    "orthogonal": rnnjax.orthogonal,
}


def parameters(cell, seed=0):
    """What `init` draws, moved off the zeros and ones it may hold."""
    params = jax.jit(lambda key: cell.init(key, D))(jax.random.key(seed))
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda a: jnp.asarray(a + rng.normal(0, 0.3, a.shape), a.dtype), numpy(params)
    )


def moved(state, seed=0):
    """The state, its numbers away from the initial ones, but for those that it holds: rates."""
    rng = np.random.default_rng(seed)

    def is_held(part):
        return isinstance(part, rnnjax.Held)

    def away(a):
        if is_held(a) or not jnp.issubdtype(a.dtype, jnp.floating):
            return a
        return jnp.asarray(a + rng.normal(0, 0.5, a.shape), a.dtype)

    return jax.tree.map(away, numpy(state), is_leaf=is_held)


def floats(tree):
    """The floating leaves of a tree."""
    return [a for a in jax.tree.leaves(tree) if jnp.issubdtype(a.dtype, jnp.floating)]


def with_floats(tree, values):
    """The tree with its floating leaves replaced."""
    values = iter(values)
    return jax.tree.map(
        lambda a: next(values) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree
    )
