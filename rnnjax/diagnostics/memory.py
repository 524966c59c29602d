"""What a state remembers: how much of earlier inputs a linear readout finds in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnjax._factory import natural, non_negative
from rnnjax.diagnostics._draw import styled
from rnnjax.diagnostics.states import Trajectory


class Memory(NamedTuple):
    """How much of the input of so many steps before is in the state.

    Attributes:
      lags: how many steps before; 0 is the input of the step itself, [L].
      shares: the squared correlation of that input and the best linear readout of the state, on
        steps that the readout was not fitted on, [L, D].
      capacity: the sum of each input's shares, [D].
    """

    lags: np.ndarray
    shares: np.ndarray
    capacity: np.ndarray


def memory(
    path: Trajectory,
    inputs: Any,
    lags: int | Sequence[int] = 50,
    *,
    ridge: float = 1e-8,
) -> Memory:
    """How much of earlier inputs can be read from a state: the forgetting curve, and its sum.

        r²_k = corr²(u_{t-k}, wᵀ s_t + b)       w, b fitted by ridge regression
        capacity = Σ_k r²_k

    The inputs should be drawn independently at each step: then the capacity is at most the number
    of numbers in the state, which a delay line has. Jaeger's sum begins at lag 1, what is counted
    here is `lags`. The readout is fitted on the first half of the steps and judged on the second:
    chance gives a share of one by the steps of that half.

    Args:
      path: what `trajectory` returned, over many more steps than the state has numbers.
      inputs: u, what is to be remembered, [T, *B, D] or [T, *B]: the inputs that were read, or
        what there is to know of them, such as symbols one-hot.
      lags: k, how many steps before; an int n for 0 to n - 1.
      ridge: how much the readout is held back, as a share of the mean variance of the state.

    Returns:
      `Memory`.

    Raises:
      TypeError, ValueError: shapes disagree, or there are not enough steps.

    Example:
      A leaky sum remembers best what was last:

      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.diagnostics import memory, trajectory
      >>> cell = rnnjax.elman(1, activation="identity")
      >>> params = cell.init(jax.random.key(0), 1)._replace(w_h=jnp.full((1, 1), 0.5**0.5))
      >>> us = jax.random.normal(jax.random.key(1), (4000, 1))
      >>> print(memory(trajectory(cell, params, us), us, 4).shares[:, 0].round(1))
      [0.5 0.2 0.1 0.1]

    Reference:
      Jaeger, Short Term Memory in Echo State Networks, GMD report 152, 2001.
    """
    states, real = np.asarray(path.vectors, float), path.real
    wanted = np.asarray(inputs, float)
    if wanted.shape[: real.ndim] != real.shape or wanted.ndim > real.ndim + 1:
        raise ValueError(
            f"inputs has shape {list(wanted.shape)}, the path is of {list(real.shape)} steps and "
            "rows: expected these axes, and one of features"
        )
    wanted = wanted.reshape(*real.shape, -1)
    given: Any = lags if np.ndim(lags) else range(natural("lags", lags, least=1))
    those = np.array([natural("lags", lag) for lag in given])
    if not len(those):
        raise ValueError("lags must name at least one, got none: pass an int, or some ints")
    first = those.max()  # the same steps for every lag
    middle = first + (len(states) - first) // 2
    size = states.shape[-1]
    parts = slice(first, middle), slice(middle, None)
    if not all(real[part].sum() > size + 1 for part in parts):
        raise ValueError(
            f"path has {len(states)} steps: behind the longest lag, {first}, each half needs more "
            f"real ones than the {size} numbers of the state"
        )
    fitted, judged = (
        (
            states[part][real[part]],
            np.stack([np.roll(wanted, lag, axis=0)[part][real[part]] for lag in those], axis=1),
        )
        for part in parts
    )
    readout = _ridge(*fitted, non_negative("ridge", ridge))
    found = np.einsum("nh,hld->nld", judged[0], readout)
    shares = _correlation(found, judged[1]) ** 2
    return Memory(those, shares, shares.sum(axis=0))


def _ridge(states: np.ndarray, wanted: np.ndarray, ridge: float) -> np.ndarray:
    """The weights [N, L, D] of the readout of states [n, N]; a constant is left out."""
    states, wanted = states - states.mean(axis=0), wanted - wanted.mean(axis=0)
    squares = states.T @ states
    squares += ridge * np.trace(squares) / len(squares) * np.eye(len(squares))
    products = np.einsum("nh,nld->hld", states, wanted)
    solved = np.linalg.lstsq(squares, products.reshape(len(squares), -1), rcond=None)[0]
    return solved.reshape(products.shape)


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """That of each feature over the first axis; 0 where one does not change."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    sizes = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    return (a * b).sum(axis=0) / np.where(sizes > 0, sizes, np.inf)


def plot_memory(axes: Any, found: Mapping[str, Memory]) -> None:
    """Draws forgetting curves: how much of an input is left after so many steps.

    Args:
      axes: matplotlib's axes to draw on.
      found: what `memory` returned, by names for the legend; the mean over inputs is drawn.
    """
    for name, each, line, _ in styled(found):
        label = f"{name} (capacity {each.capacity.mean():.1f})"
        axes.plot(each.lags, each.shares.mean(axis=1), linestyle=line, label=label)
    axes.set_xlabel("steps since the input")
    axes.set_ylabel("squared correlation of its readout")
    axes.set_ylim(-0.02, 1.05)
    axes.legend()
