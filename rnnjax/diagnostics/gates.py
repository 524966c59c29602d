"""Gates: how far they are open, how often they are stuck, and how long they make a memory last."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnjax import cells, unroll
from rnnjax._cell import Array, Cell, Params, PyTree, State
from rnnjax._check import require_cell
from rnnjax.diagnostics._draw import styled

# The gates of cells by the names of their equations, in the order in which a step computes them.
_LSTMS = (
    "lstm", "peephole_lstm", "projected_lstm", "layer_norm_lstm", "conv_lstm", "phased_lstm",
    "multiplicative_lstm",
)  # fmt: skip
NAMES = {
    **dict.fromkeys(_LSTMS, "f i o"),
    **dict.fromkeys(("gru", "layer_norm_gru", "conv_gru", "gru_d"), "r z"),
    **dict.fromkeys(("coupled_lstm", "qrnn"), "f o"),
    **dict.fromkeys(("ran", "atr"), "i f"),
    **dict.fromkeys(("ligru", "fast_grnn", "gated_antisymmetric"), "z"),
    **dict.fromkeys(("slstm", "mlstm"), "o"),
    **dict.fromkeys(("brc", "nbrc"), "c"),
    "lstm_1997": "i o",
    "on_lstm": "i f o",
    "mgu": "f",
    "ugrnn": "g",
    "cfn": "θ η",
    "sru": "f r",
    "rg_lru": "r i",
}
# A gate is stuck below the one, and above the other.
LOW, HIGH = 0.1, 0.9


class GateStatistics(NamedTuple):
    """How far a gate of G units is open, over all real steps and rows.

    Attributes:
      low: the share of steps at which it is below 0.1, by unit, [G].
      high: the share of steps at which it is above 0.9, [G].
      mean: [G].
      counts: how often it is between two edges, of all units, [bins].
      edges: [bins + 1], from 0 to 1.
    """

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    counts: np.ndarray
    edges: np.ndarray


def gates(
    cell: Cell,
    params: Params,
    xs: PyTree,
    state: State | None = None,
    *,
    names: Sequence[str] | None = None,
    lengths: Array | None = None,
) -> dict[str, Array]:
    """What the gates of a cell are at each step of a sequence.

    A gate is where a step computes the logistic function, `jax.nn.sigmoid`, of something that
    changes: in any cell, ours or yours, and in any part of a stack. It is not looked for inside of
    loops of the step's own, and a gate that is written in another way (a softmax, a hard sigmoid)
    is not found.

    Args:
      cell: the cell.
      params: its parameters.
      xs: what it reads, [T, *B, ...].
      state: the state before the first step; None for `cell.initial_state`.
      names: of the gates, in the order in which a step computes them; by default those of the
        cell's equations, below the parts they are in, as in "rnn.f". Where one is of another cell,
        no name is guessed: all are numbered, "gate 0" and so on.
      lengths: integers [*B], as in `unroll`.

    Returns:
      By name, [T, *B, G]; 0 at padding.

    Raises:
      TypeError, ValueError: what `unroll` raises; no gate is found, or `names` are not as many as
        there are.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.diagnostics import gates
      >>> cell = rnnjax.stack(rnn=rnnjax.gru(4), readout=rnnjax.linear(2))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> found = gates(cell, params, jnp.ones((5, 2, 3)))
      >>> {name: gate.shape for name, gate in found.items()}
      {'rnn.r': (5, 2, 4), 'rnn.z': (5, 2, 4)}
    """
    known = _names(require_cell("cell", cell))

    def step(params: Params, state: State, x: PyTree) -> tuple[State, list[Array]]:
        from rnnjax.diagnostics._logistic import with_logistics

        (state, _), found = with_logistics(cell.step, params, state, x)
        return state, found

    emitting = dataclasses.replace(cell, name=f"gates({cell.name})", step=step, output_of=None)
    _, found = unroll(emitting, params, state, xs, lengths=lengths)
    if not found or (names is not None and len(names) != len(found)):
        shapes = ", ".join(str(list(gate.shape)) for gate in found) or "none"
        wanted = "as many names" if found else "a cell with a logistic function in its step"
        raise ValueError(f"{cell.name} has {len(found)} gates ({shapes}): pass {wanted}")
    numbers = [f"gate {n}" for n in range(len(found))]
    chosen = names or (known if len(known) == len(found) else numbers)
    return dict(zip(chosen, found, strict=True))


def _names(cell: Cell, at: str = "") -> list[str]:
    """The names of the gates that are known of the cells which a cell was made of."""
    if cell._recipe is None:
        return []
    factory, args, keywords = cell._recipe
    parts = [(key, part) for key, part in [*enumerate(args), *keywords] if isinstance(part, Cell)]
    inner = [_names(part, f"{at}{key}." if len(parts) > 1 else at) for key, part in parts]
    ours = factory is getattr(cells, factory.__name__, None)
    own = NAMES.get(factory.__name__, "").split() if ours else []
    return [*(at + name for name in own), *itertools.chain(*inner)]


def gate_statistics(
    found: Mapping[str, Array], mask: Array | None = None, *, bins: int = 50
) -> dict[str, GateStatistics]:
    """How often gates are stuck, low or high, and how often they are how far open.

    Args:
      found: gates by name [T, *B, G], as `gates` returns them.
      mask: bool [T, *B], False at padding; None when all is real.
      bins: of the histogram.

    Returns:
      `GateStatistics` by name.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax.diagnostics import gate_statistics
      >>> found = gate_statistics({"f": jnp.array([[0.95, 0.5], [0.99, 0.05]])})["f"]
      >>> print(found.low, found.high)
      [0.  0.5] [1. 0.]

    Reference:
      Karpathy, Johnson & Fei-Fei, Visualizing and Understanding Recurrent Networks, ICLR 2016
      workshop, arXiv:1506.02078.
    """

    def of(gate: Array) -> GateStatistics:
        values = _real(gate, mask)
        counts, edges = np.histogram(values, bins, (0, 1))
        low, high = (values < LOW).mean(axis=0), (values > HIGH).mean(axis=0)
        return GateStatistics(low, high, values.mean(axis=0), counts, edges)

    return {name: of(gate) for name, gate in found.items()}


def _real(gate: Array, mask: Array | None) -> np.ndarray:
    """The values of a gate at real steps, [n, G]."""
    values = np.asarray(gate, float)
    real = np.ones(values.shape[:-1], bool) if mask is None else np.asarray(mask)
    return values[real]


def plot_gate_statistics(axes: Any, statistics: Mapping[str, GateStatistics]) -> None:
    """Draws how often each unit's gates are stuck: a mark a unit, as in the paper.

    Args:
      axes: matplotlib's axes to draw on.
      statistics: what `gate_statistics` returned.
    """
    for name, gate, _, mark in styled(statistics):
        axes.scatter(gate.high, gate.low, s=25, marker=mark, alpha=0.6, label=name)
    axes.plot([0, 1], [1, 0], color="0.6", linewidth=0.8, zorder=0)
    axes.set_xlabel(f"share of steps above {HIGH}")
    axes.set_ylabel(f"share of steps below {LOW}")
    axes.set_aspect("equal")
    axes.legend()


def plot_gate_histogram(axes: Any, statistics: Mapping[str, GateStatistics]) -> None:
    """Draws how far gates are open, over all units and steps.

    Args:
      axes: matplotlib's axes to draw on.
      statistics: what `gate_statistics` returned.
    """
    for name, gate, line, _ in styled(statistics):
        shares = gate.counts / max(1, gate.counts.sum())
        axes.stairs(shares, gate.edges, linestyle=line, linewidth=1.5, label=name)
    axes.set_xlabel("value of the gate")
    axes.set_ylabel("share of steps and units")
    axes.legend()


def time_constants(gate: Array, mask: Array | None = None) -> np.ndarray:
    """How many steps a unit's memory lasts, from the gate that keeps it.

        τ = -1 / mean(log f)

    After τ steps 1/e of what was there is left, as the gate is on average. The gate is f of an LSTM
    and z of a GRU, which is what it keeps by here.

    Args:
      gate: [T, *B, G], in (0, 1).
      mask: bool [T, *B], False at padding; None when all is real.

    Returns:
      τ in steps, [G]; infinite where the gate is 1.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax.diagnostics import time_constants
      >>> print(time_constants(jnp.full((5, 2), jnp.exp(-0.1))).round(4))
      [10. 10.]

    Reference:
      Tallec & Ollivier, Can Recurrent Neural Networks Warp Time?, ICLR 2018, arXiv:1804.11188.
    """
    with np.errstate(divide="ignore"):
        return -1 / np.minimum(np.log(_real(gate, mask)).mean(axis=0), -0.0)


def plot_time_constants(axes: Any, constants: Mapping[str, np.ndarray]) -> None:
    """Draws the time constants of units, the shortest first.

    Args:
      axes: matplotlib's axes to draw on.
      constants: what `time_constants` returned, by name.
    """
    for name, values, line, mark in styled(constants):
        axes.semilogy(np.sort(values), line, marker=mark, markersize=4, linewidth=0.8, label=name)
    axes.set_xlabel("unit, in the order of its time constant")
    axes.set_ylabel("time constant, in steps")
    axes.legend()


def plot_gates(axes: Any, text: Sequence[str], values: Any) -> None:
    """Draws a gate over the text it reads: the darker, the more open.

    Args:
      axes: matplotlib's axes to draw on.
      text: what was read, a character or a word a step.
      values: of the gate, [T, G], or [T] for one unit or a mean.

    Raises:
      ValueError: text and values are not of one length.
    """
    values = np.asarray(values, float)
    if len(values) != len(text):
        raise ValueError(f"text has {len(text)} steps, values are {list(values.shape)}")
    values = values.reshape(len(values), -1)
    image = axes.imshow(values.T, cmap="gray_r", vmin=0, vmax=1, aspect="auto")
    axes.figure.colorbar(image, ax=axes, label="value of the gate")
    shown = [{" ": "␣", "\n": "⏎"}.get(word, word) for word in text]
    axes.set_xticks(range(len(text)), shown, rotation=90 if max(map(len, shown)) > 1 else 0)
    axes.set_xlabel("what is read")
    axes.set_ylabel("unit")
    axes.set_yticks([0, values.shape[1] - 1] if values.shape[1] > 1 else [])
