"""What recurrent weights do by themselves: their radii, their norms, and those of their powers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Array, Cell, Params
from rnnjax._check import require_cell
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import natural
from rnnjax._fields import field
from rnnjax._held import path_name
from rnnjax.diagnostics._state import paths_of


class RecurrentNorms(NamedTuple):
    """How large a block of recurrent weights is.

    Attributes:
      radius: its spectral radius, max |eigenvalue|: what a power of it grows by in the long run;
        NaN where it is not square.
      norm: its 2-norm, the largest singular value: what one product grows by at most.
    """

    radius: float
    norm: float


def recurrent_norms(
    cell: Cell, params: Params, recurrent: str | Sequence[str] | None = None
) -> dict[str, RecurrentNorms]:
    """The spectral radius and the norm of each block of a cell's recurrent weights.

    Args:
      cell: the cell.
      params: its parameters.
      recurrent: the paths of those that multiply the state; by default what the cell says of the
        hidden one, `cell.recurrent`.

    Returns:
      `RecurrentNorms` by path, with the gate's place where several lie beside each other: "w_h[0]"
      for the first gate of an LSTM, i. Weights of units on themselves alone are diagonal matrices.

    Raises:
      ValueError: no fields are named, or one that the parameters lack.

    Example:
      >>> import jax, rnnjax
      >>> from rnnjax.diagnostics import recurrent_norms
      >>> cell = rnnjax.lstm(8)
      >>> found = recurrent_norms(cell, cell.init(jax.random.key(0), 3))
      >>> {name: round(block.norm, 3) for name, block in found.items()}  # orthogonal at first
      {'w_h[0]': 1.0, 'w_h[1]': 1.0, 'w_h[2]': 1.0, 'w_h[3]': 1.0}

    Reference:
      Pascanu, Mikolov & Bengio, On the Difficulty of Training Recurrent Neural Networks, ICML 2013,
      arXiv:1211.5063, section 2.
    """
    require_cell("cell", cell)
    leaves = {path_name(path): leaf for path, leaf in jax.tree.leaves_with_path(params)}
    chosen = paths_of(cell.recurrent if recurrent is None else recurrent)
    missing = [path for path in chosen if path not in leaves]
    if missing or not chosen:
        raise ValueError(
            f"{cell.name} has {', '.join(missing) or 'no fields named'} as recurrent, its "
            f"parameters are {', '.join(leaves) or 'none'}: pass recurrent=(...), the paths of "
            "those that multiply the state; where none does, step_jacobian has what a step does"
        )
    found = {}
    for path in chosen:
        blocks = _blocks(path, np.asarray(leaves[path]))
        for n, block in enumerate(blocks):
            name = path if len(blocks) == 1 else f"{path}[{n}]"
            square = block.ndim == 2 and block.shape[0] == block.shape[1]
            radius = np.abs(np.linalg.eigvals(block)).max() if square else np.nan
            found[name] = RecurrentNorms(float(radius), float(np.linalg.norm(block, 2)))
    return found


def _blocks(path: str, weights: np.ndarray) -> list[np.ndarray]:
    """A field as one matrix for each gate."""
    known = field(path.rsplit(".", 1)[-1])
    if weights.ndim == 1 or (known is not None and known.axes == "[G H]"):
        return [np.diag(weights.ravel())]
    weights = weights.astype(np.result_type(weights.dtype, np.float32))
    weights = weights.reshape(-1, weights.shape[-1])  # of a kernel: all that one output reads
    gates, rest = divmod(weights.shape[1], max(1, weights.shape[0]))
    return np.split(weights, gates, 1) if gates and not rest else [weights]


def power_norms(w: Any, n: int) -> Array:
    """‖Wⁿ‖ for n = 0 .. N: what n steps of a linear recurrence make of a state, at most.

    It goes to 0 where the spectral radius is below 1 and grows without bound where it is above; but
    a matrix that is not normal may grow at first and vanish later.

    Args:
      w: square, [*B, H, H].
      n: N, the largest power.

    Returns:
      2-norms [N + 1, *B].

    Raises:
      ValueError: `w` is not square.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax.diagnostics import power_norms
      >>> print(power_norms(0.5 * jnp.eye(3), 3))
      [1.    0.5   0.25  0.125]

    Reference:
      Bengio, Simard & Frasconi, Learning Long-Term Dependencies with Gradient Descent is Difficult,
      IEEE Transactions on Neural Networks 5(2), 1994.
    """
    natural("n", n)
    w = jnp.asarray(w)
    if w.ndim < 2 or w.shape[-1] != w.shape[-2]:
        raise ValueError(f"w must be square, [*B, H, H], got {list(w.shape)}")

    def times(power: Array, _: None) -> tuple[Array, Array]:
        return power @ w, jnp.linalg.norm(power, 2, axis=(-2, -1))

    real = jnp.issubdtype(w.dtype, jnp.inexact)
    w = w.astype(at_least_float32(w.dtype) if real else float)  # as LAPACK needs
    one = jnp.broadcast_to(jnp.eye(w.shape[-1], dtype=w.dtype), w.shape)
    return jax.lax.scan(times, one, None, length=n + 1)[1]


def plot_power_norms(axes: Any, norms: Any, *, label: str | None = None, **style: Any) -> None:
    """Draws the norm of Wⁿ against n, on a logarithmic scale.

    Args:
      axes: matplotlib's axes to draw on.
      norms: [N + 1], as `power_norms` gives them.
      label: the line's name; `axes.legend` shows it.
      **style: of the line, as matplotlib has it.
    """
    found = np.asarray(norms)
    axes.semilogy(np.where(found > 0, found, np.nan), label=label, **style)
    axes.set_xlabel("n, steps")
    axes.set_ylabel("‖Wⁿ‖")
    axes.grid(alpha=0.3)


def plot_recurrent_norms(axes: Any, found: Mapping[str, RecurrentNorms]) -> None:
    """Draws radii and norms of recurrent weights, block by block, beside the line of 1.

    Args:
      axes: matplotlib's axes to draw on.
      found: what `recurrent_norms` gives.
    """
    places = np.arange(len(found))
    axes.axhline(1, color="black", linewidth=0.8)
    axes.plot(places, [block.norm for block in found.values()], "^", label="2-norm")
    axes.plot(places, [block.radius for block in found.values()], "o", label="spectral radius")
    axes.set_xticks(places, list(found), rotation=45, ha="right")
    axes.set_ylim(0, None)
    axes.set_ylabel("size of recurrent weights")
    axes.grid(alpha=0.3)
