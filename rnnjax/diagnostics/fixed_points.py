"""Fixed points of a recurrence under one input: where they are, and what happens around them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Array, Cell, Params, PyTree, State
from rnnjax._factory import natural, non_negative
from rnnjax.diagnostics._draw import principal
from rnnjax.diagnostics._state import Select, Units, as_vector, settled
from rnnjax.diagnostics._steps import compiled
from rnnjax.diagnostics.jacobians import dense, forward, stepped
from rnnjax.diagnostics.states import Trajectory

# How far beyond 1 a magnitude has to be to count: float32 gives 1 as a little more or less.
MARGIN = 1e-4
# The damping of the first step, and that at which no step is short enough to gain anything.
FIRST, LAST = 1e-3, 1e4
# Numbers of the Jacobians that are held at a time.
ROOM = 2**23
# An outlier is so many times as far from the middle as the farthest start.
FAR = 2
# Points on a line have others within this share of the spread, in a direction of which this share
# is along it.
LOCAL, ALONG = 0.2, 0.9


class FixedPoints(NamedTuple):
    """M points at which a recurrence stands still or almost, what attracts first.

    Attributes:
      points: h, as vectors [M, N]; in the units of `as_vector`.
      states: the same as states of the cell, leaves [M, ...].
      q: ½ |F(h) - h|², [M].
      fixed: bool [M]: q is within `tolerance`; the others are slow points.
      jacobians: ∂F/∂h, [M, N, N].
      eigenvalues: complex [M, N], the largest magnitudes first.
      unstable: how many directions lead away, |λ| > 1, int [M]; 0 at an attractor.
      line: bool [M]: there are points beside it along eigenvalues near 1: it is one of a line, a
        ring or a plane that attracts as a whole.
      outlier: bool [M]: farther from the middle of the starts than twice the farthest of them: the
        equations have it, the network was perhaps never near.
      starts: how many starts led there, int [M].
      lost: how many starts led nowhere.
    """

    points: np.ndarray
    states: State
    q: np.ndarray
    fixed: np.ndarray
    jacobians: np.ndarray
    eigenvalues: np.ndarray
    unstable: np.ndarray
    line: np.ndarray
    outlier: np.ndarray
    starts: np.ndarray
    lost: int

    @property
    def stable(self) -> np.ndarray:
        """Bool [M]: fixed points that no direction leads away from."""
        return self.fixed & (self.unstable == 0)


def fixed_points(
    cell: Cell,
    params: Params,
    x: PyTree,
    starts: State,
    *,
    select: Select = None,
    tolerance: float = 1e-10,
    slow: float = 1e-5,
    distinct: float = 1e-2,
    near: float = 0.05,
    steps: int = 300,
) -> FixedPoints:
    """Finds the points that one step under an input leaves where they are, or moves least.

        F(h) = the state after cell.step(params, h, x)
        q(h) = ½ |F(h) - h|²                    0 at a fixed point, a small minimum at a slow point
        h <- h - (JᵀJ + μI)⁻¹ Jᵀ (F(h) - h)     J = ∂F/∂h - I

    q is brought down from all starts in one compiled program, by the steps of Levenberg and
    Marquardt: those of Newton where they help, short ones downhill where they do not. They come to
    saddles as well as to attractors. A step takes time N³ a start: it is for states of up to a few
    hundred numbers. What is chosen by `select` moves; all else of the state (keys, counters, what
    is held, leaves that are not chosen) is as the start has it, and is to be the same in all
    starts: points are told apart by what moves alone.

    Args:
      cell: the cell.
      params: its parameters.
      x: the input of one step, without batch axes, which stays the same.
      starts: states [*B, ...] to begin at, such as the network visits: those `emit_state` emits.
      select: the leaves of the state that move; `as_vector` says how they are chosen.
      tolerance: the largest q of a fixed point. Of float32 states, q is not known below 1e-12.
      slow: the largest q of a slow point.
      distinct: points closer than this are one; as a share of the spread of the starts, which is
        their root mean square distance from their mean.
      near: how far from 1 an eigenvalue may be along a line of points.
      steps: the most steps from a start.

    Returns:
      `FixedPoints`, in NumPy, attractors first; those with the most starts before others.

    Raises:
      TypeError: `cell` is no Cell or has no forward derivative, as `clip_gradient` has none.
      ValueError: x is no single step, the state has no real numbers or is of half precision, or a
        number will not do.

    Example:
      h' = tanh(2 h) has an unstable point at 0, and an attractor on each side of it:

      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.diagnostics import fixed_points
      >>> cell = rnnjax.elman(1)
      >>> params = cell.init(jax.random.key(0), 1)._replace(w_h=jnp.array([[2.0]]))
      >>> found = fixed_points(cell, params, jnp.zeros(1), jnp.linspace(-1, 1, 50)[:, None])
      >>> print(abs(found.points[:, 0]).round(3), found.unstable)
      [0.958 0.958 0.   ] [0 0 1]

    Reference:
      Sussillo & Barak, Opening the Black Box: Low-Dimensional Dynamics in High-Dimensional
      Recurrent Neural Networks, Neural Computation 25(3), 2013; the minimisation: Marquardt, An
      Algorithm for Least-Squares Estimation of Nonlinear Parameters, J. SIAM 11(2), 1963.
    """
    limits = {"tolerance": tolerance, "slow": slow, "distinct": distinct, "near": near}
    for name, value in limits.items():
        non_negative(name, value)
    starts = jax.tree.map(jnp.asarray, starts)
    vectors = as_vector(cell, params, starts, select)[0]
    if jnp.finfo(vectors.dtype).bits < 32:
        raise ValueError(
            f"starts are of {vectors.dtype}, too coarse to tell a fixed point by: pass starts, "
            "params and x of float32"
        )
    batch, size = vectors.shape[:-1], vectors.shape[-1]
    count = math.prod(batch)
    starts = jax.tree.map(lambda a: a.reshape(count, *a.shape[len(batch) :]), starts)
    begun = np.asarray(vectors, float).reshape(count, size)

    told = settled(select), natural("steps", steps, least=1), max(1, ROOM // size**2)
    with forward(cell):
        ends, q = compiled(_lowest, cell, params, told, starts, x)
    ends, q = np.asarray(ends), np.asarray(q)

    middle = begun.mean(axis=0)
    away = np.linalg.norm(begun - middle, axis=1)
    spread = np.sqrt(np.square(away).mean()) or 1.0
    kept, counts = _distinct(ends, q, slow, distinct * spread)
    points, q, count = ends[kept], q[kept], count - counts.sum()
    jacobians = compiled(_jacobians, cell, params, told, (_row(starts, kept), points), x)
    jacobians = np.asarray(jacobians)
    values, vectors = np.linalg.eig(jacobians.astype(float))
    by_size = np.argsort(-np.abs(values), axis=1)
    unstable = (np.abs(values) > 1 + MARGIN).sum(axis=1)
    found = FixedPoints(
        points=points,
        states=(),
        q=q,
        fixed=q <= tolerance,
        jacobians=jacobians,
        eigenvalues=np.take_along_axis(values, by_size, axis=1).astype(complex),
        unstable=unstable,
        line=_on_lines(points, np.abs(values - 1) <= near, vectors, LOCAL * spread),
        outlier=np.linalg.norm(points - middle, axis=1) > FAR * max(away.max(initial=0), spread),
        starts=counts,
        lost=int(count),
    )
    order = np.lexsort((q, -counts, unstable, ~found.fixed))
    ordered: list[Any] = [a[order] if isinstance(a, np.ndarray) else a for a in found]
    found = FixedPoints(*ordered)
    # What does not move is as the start has it.
    _, restore, _ = as_vector(cell, params, _row(starts, kept[order]), select)
    return found._replace(states=restore(jnp.asarray(found.points)))


def _row(tree: PyTree, which: int | np.ndarray) -> PyTree:
    return jax.tree.map(lambda a: a[which], tree)


def _after(
    cell: Cell, params: Params, select: Select, start: State, x: PyTree
) -> tuple[Array, Callable[[Array], Array]]:
    """The vector of a state, and F on vectors, all that is not selected as it is there."""
    units = Units.of(cell, params, start, select)
    v = units.read(start)

    def new() -> Array:
        return as_vector(cell, params, cell.step(params, start, x)[0], select)[0]

    if (shape := jax.eval_shape(new).shape) != v.shape:
        came = ", ".join(str(list(jnp.shape(leaf))) for leaf in jax.tree.leaves(x))
        raise ValueError(
            f"x has shape {came}, of which a state of {list(v.shape)} becomes one of "
            f"{list(shape)}: pass the input of one step, without batch axes"
        )
    return v, functools.partial(stepped, cell, params, units, start, x)


def _lowest(
    cell: Cell, params: Params, told: tuple, starts: State, x: PyTree
) -> tuple[Array, Array]:
    """Where q is least, downhill from each state, and how much it is there."""
    select, steps, rows = told

    def from_one(start: State) -> tuple[Array, Array]:
        v, after = _after(cell, params, select, start, x)

        def residual(v: Array) -> Array:
            return after(v) - v

        def going(at: tuple[Array, ...]) -> Array:
            _, r, damping, n = at
            return (n < steps) & (damping < LAST) & (r @ r > 0)

        def better(at: tuple[Array, ...]) -> tuple[Array, ...]:
            v, r, damping, n = at
            J = jax.jacfwd(residual)(v)
            damped = J.T @ J + damping * jnp.eye(v.size, dtype=v.dtype)
            there = v - jax.scipy.linalg.solve(damped, J.T @ r, assume_a="pos")
            r_there = residual(there)
            gains = r_there @ r_there < r @ r  # what is not finite gains nothing
            v, r = jnp.where(gains, there, v), jnp.where(gains, r_there, r)
            least = jnp.finfo(v.dtype).eps
            return v, r, jnp.where(gains, jnp.maximum(damping / 8, least), damping * 8), n + 1

        begin = v, residual(v), jnp.asarray(FIRST, v.dtype), jnp.asarray(0)
        v, r, *_ = jax.lax.while_loop(going, better, begin)
        return v, r @ r / 2

    return jax.lax.map(from_one, starts, batch_size=rows)


def _jacobians(
    cell: Cell, params: Params, told: tuple, ends: tuple[State, Array], x: PyTree
) -> Array:
    """∂F/∂h at vectors [M, N], all else as in as many states, [M, N, N]."""
    select, _, rows = told

    def at_one(end: tuple[State, Array]) -> Array:
        start, v = end
        return dense(cell, _after(cell, params, select, start, x)[1], v)

    return jax.lax.map(at_one, ends, batch_size=rows)


def _distinct(
    ends: np.ndarray, q: np.ndarray, slow: float, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which ends to keep, the lowest of those within a radius, and how many each stands for."""
    kept, counts = [], []
    for k in np.argsort(q):
        if not q[k] <= slow:  # nor what is not finite
            continue
        distances = np.linalg.norm(ends[kept] - ends[k], axis=1)
        if kept and distances.min() <= radius:
            counts[distances.argmin()] += 1
        else:
            kept.append(k)
            counts.append(1)
    return np.array(kept, int), np.array(counts, int)


def _on_lines(
    points: np.ndarray, marginal: np.ndarray, vectors: np.ndarray, radius: float
) -> np.ndarray:
    """Which points have two others close by, along the eigenvectors of eigenvalues near 1."""
    found = []
    for point, which, columns in zip(points, marginal, vectors, strict=True):
        # A pair of complex ones is a plane.
        span, sizes, _ = np.linalg.svd(np.hstack([columns.real, columns.imag])[:, [*which, *which]])
        span = span[:, : (sizes > 1e-6).sum()]
        to = points - point
        far = np.linalg.norm(to, axis=1)
        along = np.linalg.norm(to @ span, axis=1) >= ALONG * far
        found.append((along & (far > 0) & (far <= radius)).sum() >= 2)
    return np.array(found, bool)


def plot_fixed_points(axes: Any, found: FixedPoints, states: Any = None) -> None:
    """Draws fixed points on the paths of states, in the two or three directions of most variance.

    Attractors are filled circles; saddles are hollow, with as many corners more than two as
    directions lead away; slow points are crosses, and points on a line are dots.

    Args:
      axes: matplotlib's axes to draw on; 3-D where they have `projection="3d"`.
      found: what `fixed_points` returned.
      states: what `trajectory` returned, or vectors [T, *B, N] of it, which say what the directions
        are; None for those of the points themselves.

    Raises:
      ValueError: there are fewer numbers or points than directions.
    """
    states = states.drawn if isinstance(states, Trajectory) else states
    seen = principal(axes, found.points[~found.outlier] if states is None else states)
    if states is not None:
        for path in np.reshape(states, (len(states), -1, found.points.shape[-1])).swapaxes(0, 1):
            axes.plot(*seen(path), color="0.7", linewidth=0.6, zorder=1)
    kinds = {
        "attractor": (found.stable & ~found.line, {"marker": "o", "color": "black"}),
        "on a line": (found.line, {"marker": ".", "color": "tab:blue"}),
        "slow point": (~found.fixed & ~found.line, {"marker": "x", "color": "tab:red"}),
    }
    saddle = found.fixed & ~found.line
    for n in sorted(set(found.unstable[saddle]) - {0}):
        marker = {"marker": (n + 2, 0, 0), "facecolor": "white", "edgecolor": "tab:red"}
        kinds[f"{n} way{'s' if n > 1 else ''} out"] = saddle & (found.unstable == n), marker
    more = {"depthshade": False} if axes.name == "3d" else {}
    for name, (which, style) in kinds.items():
        points = found.points[which & ~found.outlier]
        if len(points):
            label = f"{name} ({len(points)})"
            axes.scatter(*seen(points), s=60, zorder=3, label=label, **style, **more)
    axes.legend()
