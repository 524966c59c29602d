"""Gradients: those of plain autodiff, finite, the slopes of the values, and none that is dead."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import PyTree
from rnnjax._dtypes import is_floating
from rnnjax.testing._case import (
    INPUTS,
    Broken,
    Case,
    NotMeant,
    T,
    host,
    normal,
    pairs,
)
from rnnjax.testing._law import law


@law("gradients", cause="the derivative is infinite somewhere (sqrt, norm or log at 0).")
def gradients(case: Case) -> None:
    """Gradients are finite, and those of plain autodiff."""
    for what, tree in zip(INPUTS, case.reference[2], strict=True):
        finite(f"the gradient for {what}", tree)
    case.same_gradients(case.whole[2], case.reference[2])


def finite(what: str, tree: PyTree) -> None:
    for path, leaf in jax.tree.leaves_with_path(tree):
        if (bad := np.argwhere(~np.isfinite(np.asarray(leaf)))).size:
            where = f"{what}{jax.tree_util.keystr(path)} at index {bad[0].tolist()}"
            raise Broken(f"{where}: got {leaf[tuple(bad[0])]}, expected a finite number")


@law(
    "finite differences",
    cause=(
        "a custom derivative is wrong, or a stop_gradient, a rounding or a clipped gradient is "
        'meant: skip=["finite differences"].'
    ),
)
def finite_differences(case: Case) -> None:
    """Gradients are the slopes of the values: central differences, leaf by leaf, in float64."""
    if case.dtype != "float64":
        raise NotMeant("needs float64")
    inputs, rng, h = (case.params, case.state, case.xs), np.random.default_rng(case.seed), 1e-6
    gradients = case.whole[2]
    leaves, tree = jax.tree.flatten(host(inputs))
    places = {path: i for i, (path, _) in enumerate(jax.tree.leaves_with_path(inputs))}
    for path, gradient in jax.tree.leaves_with_path(host(gradients)):
        i = places[path]
        if not gradient.size or jnp.finfo(gradient.dtype).bits < 64:
            continue
        along = normal(rng, gradient.shape, gradient.dtype)

        values = []
        for move in (h, -h):
            moved = [leaf + move * along if j == i else leaf for j, leaf in enumerate(leaves)]
            values.append(float(case.run(*tree.unflatten(moved))[0]))
        slope, got = (values[0] - values[1]) / (2 * h), float((gradient * along).sum().real)
        if not abs(got - slope) <= 1e-6 * max(1.0, abs(slope)):
            where = INPUTS[path[0].idx] + jax.tree_util.keystr(path[1:])
            raise Broken(f"the gradient for {where}, in one direction: got {got}, expected {slope}")


@law(
    "no dead parameter",
    cause=(
        "init draws a parameter that step and initial_state do not use, or cut off with "
        "stop_gradient; constants belong outside the parameters."
    ),
)
def live(case: Case) -> None:
    """Every parameter has a part in what comes out: no gradient is all zero."""
    plain, restarted = case.whole[2][0], case.restarted[0][2][0]
    for where, a, b in pairs("params", plain, restarted):
        if a.size and not (np.asarray(a).any() or np.asarray(b).any()):
            raise Broken(
                f"the gradient for {where} is all zero over {T} steps with resets, expected some "
                "that is not"
            )


@law(
    "fill",
    cause=(
        "the step has no finite derivative there (sqrt, norm, division at 0): declare a Cell.fill "
        "where it has."
    ),
)
def fill(case: Case) -> None:
    """Gradients are finite where x is `cell.fill` (zero, unless declared) in the initial state."""
    fill = jax.tree.broadcast(case.cell.fill, case.xs)
    xs = jax.tree.map(lambda x, f: np.full_like(x, f) if is_floating(x) else x, case.xs, fill)
    gradients = case.run(case.params, case.fresh, xs)[2]
    for what, tree in zip(INPUTS, gradients, strict=True):
        finite(f"the gradient for {what}", tree)
