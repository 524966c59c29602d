"""States over time: their norms, and the units among them that do nothing or the same."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from rnnjax import emit_state, unroll
from rnnjax._cell import Array, Cell, Params, PyTree, State
from rnnjax._factory import non_negative
from rnnjax._unroll import valid_steps
from rnnjax.diagnostics._draw import principal, styled
from rnnjax.diagnostics._state import Select, Units


class Trajectory(NamedTuple):
    """The states of a sequence as vectors.

    Attributes:
      vectors: [T, *B, N], the state after each step; 0 at padding.
      real: bool [T, *B], False at padding.
      names: one a number, such as "rnn.h[3]".
      leaves: where each leaf of the state is among the numbers, by its path.
    """

    vectors: Array
    real: np.ndarray
    names: list[str]
    leaves: dict[str, slice]

    @property
    def drawn(self) -> np.ndarray:
        """The vectors in NumPy, NaN at padding, where a curve has a gap."""
        return np.where(self.real[..., None], np.asarray(self.vectors, float), np.nan)


class UnitStatistics(NamedTuple):
    """What each of N units does, and with whom.

    Attributes:
      names: of the units.
      deviations: the standard deviation of each over steps and rows, [N].
      correlations: of each with each, [N, N]; 0 with one that is dead.
      dead: bool [N]: it hardly changes, whatever comes in.
      twin: the first unit that does the same, or the opposite, int [N]; -1 for none.
    """

    names: list[str]
    deviations: np.ndarray
    correlations: np.ndarray
    dead: np.ndarray
    twin: np.ndarray


def trajectory(
    cell: Cell,
    params: Params,
    xs: PyTree,
    state: State | None = None,
    *,
    lengths: Array | None = None,
    select: Select = None,
) -> Trajectory:
    """The states that a cell goes through, as vectors.

    Args:
      cell: the cell.
      params: its parameters.
      xs: the inputs [T, *B, ...].
      state: the state before the first step; None for `cell.initial_state`.
      lengths: integers [*B], as in `unroll`.
      select: which leaves of the state; `as_vector` says how they are chosen.

    Returns:
      A `Trajectory`.

    Raises:
      TypeError, ValueError: what `unroll` and `as_vector` raise.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.diagnostics import trajectory
      >>> cell = rnnjax.lstm(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> path = trajectory(cell, params, jnp.ones((5, 2, 3)), select="c")
      >>> path.vectors.shape, path.names[0]
      ((5, 2, 4), 'c[0]')
    """
    _, states = unroll(emit_state(cell), params, state, xs, lengths=lengths)
    units = Units.of(cell, params, states, select)
    vectors = units.read(states)
    time, *batch = vectors.shape[:-1]
    lengths = None if lengths is None else jnp.asarray(lengths)
    real = valid_steps(time, lengths, None)
    real = np.ones((time, *batch), bool) if real is None else np.asarray(real)
    return Trajectory(vectors, real, units.names, units.places)


def state_norms(path: Trajectory) -> dict[str, np.ndarray]:
    """The Euclidean norm of each leaf of the state over time.

    Args:
      path: what `trajectory` returned.

    Returns:
      By the path of the leaf, [T, *B]; NaN at padding.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.diagnostics import state_norms, trajectory
      >>> cell = rnnjax.lstm(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> norms = state_norms(trajectory(cell, params, jnp.ones((5, 2, 3))))
      >>> list(norms), norms["c"].shape
      (['h', 'c'], (5, 2))
    """
    vectors = path.drawn
    return {
        leaf: np.linalg.norm(vectors[..., place], axis=-1) for leaf, place in path.leaves.items()
    }


def plot_trajectory(axes: Any, path: Trajectory) -> None:
    """Draws the paths of states, a line a row, in the two or three directions of most variance.

    A row begins at a hollow circle, after its first step, and ends at a square.

    Args:
      axes: matplotlib's axes to draw on; 3-D where they have `projection="3d"`.
      path: what `trajectory` returned.

    Raises:
      ValueError: there are fewer numbers or steps than directions.
    """
    vectors = path.drawn
    seen = principal(axes, vectors)
    rows = vectors.reshape(len(vectors), -1, vectors.shape[-1]).swapaxes(0, 1)
    rows = [row[~np.isnan(row).any(axis=1)] for row in rows]
    rows = [row for row in rows if len(row)]
    for row in rows:
        axes.plot(*seen(row), color="0.6", linewidth=0.8, zorder=1)
    ends = {"first step": (0, "o", "white"), "last step": (-1, "s", "black")}
    for name, (place, mark, colour) in ends.items():
        points = seen([row[place] for row in rows])
        axes.plot(*points, mark, color=colour, markeredgecolor="black", markersize=5, label=name)
    axes.legend()


def plot_state_norms(axes: Any, norms: dict[str, np.ndarray]) -> None:
    """Draws norms over time: their median over rows, and the range of nine in ten of them.

    Args:
      axes: matplotlib's axes to draw on.
      norms: what `state_norms` returned.
    """
    for leaf, values, line, _ in styled(norms):
        rows = values.reshape(len(values), -1)
        low, middle, high = np.nanquantile(rows, (0.05, 0.5, 0.95), axis=1)
        steps = np.arange(1, len(rows) + 1)
        (curve,) = axes.plot(steps, middle, line, label=leaf)
        axes.fill_between(steps, low, high, color=curve.get_color(), alpha=0.2, linewidth=0)
    axes.set_xlabel("step")
    axes.set_ylabel("norm of the state")
    axes.legend()


def unit_statistics(path: Trajectory, *, dead: float = 1e-3, same: float = 0.999) -> UnitStatistics:
    """Finds units that are dead, and units that do what another does.

    A unit is one number of the state. It is dead where its standard deviation, over the steps and
    rows of the inputs that were read, is as good as none beside that of the liveliest unit of its
    leaf: a unit of relu that is always 0, one of tanh that is saturated. Two are twins where their
    correlation is 1 or -1.

    Args:
      path: what `trajectory` returned, of inputs like those that the network is for.
      dead: the largest standard deviation of a dead unit, as a share of the largest of its leaf.
      same: the smallest magnitude of the correlation of twins.

    Returns:
      `UnitStatistics`.

    Raises:
      TypeError, ValueError: a threshold will not do, or there are no two real steps.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.diagnostics import trajectory, unit_statistics
      >>> cell = rnnjax.elman(3, activation="relu")
      >>> params = cell.init(jax.random.key(0), 2)
      >>> params = params._replace(b=jnp.array([0.0, -9.0, 0.0]))
      >>> xs = jax.random.normal(jax.random.key(1), (20, 4, 2))
      >>> print(unit_statistics(trajectory(cell, params, xs)).dead)
      [False  True False]
    """
    non_negative("dead", dead)
    non_negative("same", same)
    values = np.asarray(path.vectors, float)[path.real]
    if len(values) < 2:
        raise ValueError(f"path has {len(values)} real steps, at least 2 are needed")
    deviations = values.std(axis=0)
    still = np.zeros(len(deviations), bool)
    for place in path.leaves.values():
        still[place] = deviations[place] <= dead * deviations[place].max(initial=0)
    scaled = (values - values.mean(axis=0)) / np.where(still, np.inf, deviations)
    correlations = scaled.T @ scaled / len(values)
    alike = np.tril(np.abs(correlations) >= same, -1)
    twin = np.where(alike.any(axis=1), alike.argmax(axis=1), -1)
    return UnitStatistics(path.names, deviations, correlations, still, twin)


def plot_unit_statistics(axes: Any, units: UnitStatistics) -> None:
    """Draws how alike units are: the darker, the more; a cross at the dead, a ring at twins.

    Args:
      axes: matplotlib's axes to draw on.
      units: what `unit_statistics` returned.
    """
    image = axes.imshow(np.abs(units.correlations), cmap="gray_r", vmin=0, vmax=1)
    axes.figure.colorbar(image, ax=axes, label="magnitude of correlation")
    dead, twins = np.flatnonzero(units.dead), np.flatnonzero(units.twin >= 0)
    if len(dead):
        axes.plot(dead, dead, "x", color="tab:red", label=f"dead ({len(dead)})")
    if len(twins):
        axes.plot(
            units.twin[twins], twins, "o", markerfacecolor="none", color="tab:orange",
            label=f"does what another does ({len(twins)})",
        )  # fmt: skip
    axes.set_xlabel("unit")
    axes.set_ylabel("unit")
    if len(dead) or len(twins):
        axes.legend(loc="upper right")
