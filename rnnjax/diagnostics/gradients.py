"""How much of an error reaches the states before it: gradients against lag."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Array, Cell, Params, PyTree, State, parted
from rnnjax._combine import clip_gradient
from rnnjax._factory import one_of
from rnnjax._held import below
from rnnjax._unroll import times, unroll
from rnnjax.diagnostics._state import Select, Units, settled
from rnnjax.diagnostics._steps import (
    Steps,
    at_steps,
    compiled,
    entering,
    floating,
    norm,
    run,
    steps_of,
)

# Gradients of the floating leaves of the state after a run, and of its outputs.
Entered = tuple[list[Array], list[Array]]
# How many steps' errors go back side by side: more is faster and takes more memory.
BESIDE = 16
# Numbers of their gradients that are held at a time, at most; one error's, if those are more.
ROOM = 2**26


class GradientFlow(NamedTuple):
    """Norms of the gradients of errors with respect to states.

    Entry [k] is about the state h_k that k steps left behind, with which step k + 1 begins. Where
    the error of each step is seen apart, an axis [t] stands before it, for that of step t + 1.

    Attributes:
      norms: ‖∂E_t/∂h_k‖ by leaf of the state, [T, *B] or [T, T, *B].
      lags: t - k, how many steps lie between, integers of that shape: 1 for the state with which
        the error's own step begins; 0 where there is nothing to see, since the state comes later,
        a step is padding, or it has no error.
      cut: the share of the state's numbers at which the gradient is cut there: all at a reset, and
        those that `clip` holds back.
    """

    norms: dict[str, Array]
    lags: Array
    cut: Array

    def norm(self, at: str = "") -> Array:
        """The norm of the gradient of all that is below a path: of a layer, of the whole state."""
        parts = [value for path, value in self.norms.items() if below(path, at)]
        if not parts:
            raise ValueError(f"at must be above a leaf, one of {', '.join(self.norms)}, got {at!r}")
        return norm(jnp.stack(parts, -1))

    def by_lag(self, at: str = "") -> np.ndarray:
        """The mean norm at lags 1, 2, .., over rows and errors; NaN at one that no row has."""
        return mean_by_lag(self.lags, self.norm(at))


def mean_by_lag(lags: Array, values: Array) -> np.ndarray:
    """The mean of values at lags 1, 2, ..; those of lag 0 do not count."""
    places, weights = np.asarray(lags).ravel(), np.asarray(values, np.float64).ravel()
    with np.errstate(invalid="ignore"):
        return (np.bincount(places, weights) / np.bincount(places))[1:]


def gradient_flow(
    cell: Cell,
    params: Params,
    state: State | None,
    xs: PyTree,
    loss: Callable[[PyTree], Any],
    *,
    errors: Literal["last", "each", "all"] = "last",
    length: int | None = None,
    lengths: Array | None = None,
    resets: Array | None = None,
    clip: float | None = None,
    select: Select = None,
) -> GradientFlow:
    """How large the gradient of an error is at each state before it.

        E = Σ_t E_t        ∂E_t/∂h_k = ∂E_t/∂y_t · ∂y_t/∂h_{t-1} · Π_{k<i<t} ∂h_i/∂h_{i-1}

    What enters at step t is ∂E/∂y_t, the gradient of the whole loss with respect to the output of
    that step. So the loss may be any function of all outputs; where it is a sum over steps, E_t is
    the term of step t.

    Args:
      cell: the cell.
      params: its parameters.
      state: the state before the first step, leaves [*B, ...]; None for `cell.initial_state`.
      xs: the inputs [T, *B, ...].
      loss: from the outputs ys [T, *B, ...] to the loss: a scalar, or an array that is summed.
      errors: whose gradient is seen: of each row's "last" real step; of "each" step apart, which
        takes T backward passes and [T, T, *B] of memory; or of "all" together, as
        back-propagation sees them.
      length: T, needed where `xs` is None.
      lengths: integers [*B], as in `unroll`.
      resets: bool [T, *B], as in `unroll`.
      clip: clips the gradient at each step, element by element, as `clip_gradient` does. Since
        that is not linear, what errors bring one by one does not add up to what they bring
        together.
      select: which leaves of the state to look at, as in `as_vector`.

    Returns:
      A `GradientFlow`.

    Raises:
      TypeError: the loss is not real.
      ValueError: the state has no real or complex numbers to look at, or shapes do not fit.

    Example:
      The gradient of a linear network with one unit of weight 0.5 halves at each step:

      >>> import jax.numpy as jnp, rnnjax
      >>> from rnnjax.diagnostics import gradient_flow
      >>> cell = rnnjax.elman(1, activation="identity")
      >>> one = jnp.ones((1, 1))
      >>> params = rnnjax.ElmanParams(w_x=one, w_h=0.5 * one, b=jnp.zeros(1))
      >>> flow = gradient_flow(cell, params, None, jnp.ones((4, 1)), lambda ys: ys[-1].sum())
      >>> flow.by_lag()
      array([0.5   , 0.25  , 0.125 , 0.0625])

    Reference:
      Pascanu, Mikolov & Bengio, On the Difficulty of Training Recurrent Neural Networks, ICML 2013,
      arXiv:1211.5063; Hochreiter, Untersuchungen zu dynamischen neuronalen Netzen, 1991.
    """
    one_of("last", "each", "all")("errors", errors)
    steps = steps_of(cell, params, state, xs, length=length, lengths=lengths, resets=resets)
    # The loss is not compiled with the rest: it may read what has changed since the last call.
    _, ys = unroll(cell, params, state, xs, length=length, lengths=lengths, resets=resets)
    told = errors, clip, settled(select), steps.time, steps.batch
    rows = steps.xs, steps.valid, steps.resets
    return compiled(_flow, cell, params, told, state, entering(loss, ys), *rows)


def _flow(
    cell: Cell, params: Params, told: tuple, state: State | None, into: list[Array], *rows: Any
) -> GradientFlow:
    errors, clip, select, *sizes = told
    steps = Steps(*rows, *sizes)
    if clip is not None:
        cell = clip_gradient(cell, clip)
    if state is None:
        state = cell.initial_state(params, steps.batch)
    units = Units.of(cell, params, state, select)
    (after, _), back = pulled(cell, units, params, state, steps)
    entered = jax.tree.map(jnp.zeros_like, floating(after)[0]), into
    see = onto(steps, units, back, entered, clip)
    step = times(steps.time, steps.batch)
    if errors == "last":
        return see(steps.last)
    if errors == "all":
        return see(steps.real)
    each = jnp.arange(steps.time)
    many = beside(units, state, entered)
    return jax.lax.map(lambda t: see(steps.real & (step == t)), each, batch_size=many)


def beside(units: Units, state: State, entered: Entered) -> int:
    """How many errors' gradients of outputs and of states go back side by side."""
    outputs = entered[1]
    time = outputs[0].shape[0] if outputs else 1
    numbers = sum(g.size for g in outputs) + time * units.read(state).size
    return max(1, min(BESIDE, ROOM // max(1, numbers)))


def pulled(
    cell: Cell, units: Units, params: Params, state: State, steps: Steps
) -> tuple[tuple[State, PyTree], Callable[[Entered], Array]]:
    """What a run gives, and from gradients of it to those of the states before, [T, *B, N]."""

    def outputs(taps: Array) -> tuple[Entered, tuple[State, PyTree]]:
        after, ys = run(cell, params, state, steps, units=units, taps=taps)
        after, _ = parted(after)
        return (floating(after)[0], floating(ys)[0]), (after, ys)

    taps = jnp.zeros((steps.time, *jnp.shape(units.read(state))), units.dtype)
    _, pull, found = jax.vjp(outputs, taps, has_aux=True)
    return found, lambda entered: pull(entered)[0]


def onto(
    steps: Steps,
    units: Units,
    back: Callable[[Entered], Array],
    entered: Entered,
    clip: float | None = None,
) -> Callable[[Array], GradientFlow]:
    """From flags [T, *B] to the flow of what enters at these steps alone.

    What enters with the state after a row's last step counts for that step. Lags are those to the
    last of the flags.
    """
    place, rank = steps.real.cumsum(0), len(steps.batch)  # the first real step is at 1
    has_error = jnp.zeros(steps.real.shape, bool)
    for after, found in zip((True, False), entered, strict=True):
        for g in found:
            some = (g != 0).any(tuple(range(rank + (not after), g.ndim)))
            has_error |= steps.last & some if after else some

    def see(where: Array) -> GradientFlow:
        after = at_steps((where & steps.last).any(0), entered[0])
        gradient = back((after, at_steps(where, entered[1])))
        norms = {path: norm(gradient[..., place]) for path, place in units.places.items()}
        last = jnp.where(where & has_error, place, 0).max(0)
        lags = jnp.where(steps.real, jnp.maximum(last + 1 - place, 0), 0)
        held = jnp.zeros(lags.shape, norm(gradient).dtype)
        if clip is not None:
            held = (jnp.abs(gradient) >= clip).mean(-1, dtype=held.dtype)
        if steps.resets is not None:
            held = jnp.where(steps.resets, 1, held)
        return GradientFlow(norms, lags, jnp.where(lags > 0, held, 0))

    return see


def plot_gradient_flow(
    axes: Any, flow: GradientFlow, *, at: str = "", label: str | None = None, **style: Any
) -> None:
    """Draws the mean norm of the gradient against lag, on a logarithmic scale.

    Args:
      axes: matplotlib's axes to draw on.
      flow: what `gradient_flow` gives.
      at: of which part of the state, by its path; the whole by default.
      label: the line's name; `axes.legend` shows it.
      **style: of the line, as matplotlib has it.
    """
    found = flow.by_lag(at)
    axes.semilogy(np.arange(1, len(found) + 1), np.where(found > 0, found, np.nan), label=label,
                  **style)  # fmt: skip
    axes.set_xlabel("lag t - k, steps")
    axes.set_ylabel(r"$\|∂E_t/∂h_k\|$")
    axes.grid(alpha=0.3)


def plot_gradient_pairs(axes: Any, flow: GradientFlow, *, at: str = "") -> Any:
    """Draws the gradient of each error with respect to each state, as a map; cuts as crosses.

    Args:
      axes: matplotlib's axes to draw on.
      flow: what `gradient_flow` gives with the errors of "each" step.
      at: of which part of the state, by its path; the whole by default.

    Returns:
      matplotlib's image, for a colour bar.

    Raises:
      ValueError: the flow is not that of each step.
    """
    norms, lags, cut = (np.asarray(x) for x in (flow.norm(at), flow.lags, flow.cut))
    square = norms.ndim > 1 and norms.shape[0] == norms.shape[1]
    if not square or (np.triu(np.moveaxis(lags, (0, 1), (-2, -1)), 1) > 0).any():
        raise ValueError('flow must be of errors="each", whose norms are [T, T, *B]')
    rows = tuple(range(2, norms.ndim))
    with np.errstate(invalid="ignore", divide="ignore"):
        shown = np.log10((norms * (lags > 0)).sum(rows) / (lags > 0).sum(rows))
    image = axes.imshow(
        np.ma.masked_invalid(shown), origin="lower", cmap="viridis", interpolation="nearest",
        extent=(-0.5, len(norms) - 0.5, 0.5, len(norms) + 0.5),
    )  # fmt: skip
    t, k = np.nonzero(cut.mean(rows) > 0.5)
    axes.plot(k, t + 1, "x", color="tab:red", markersize=3)
    axes.set_xlabel("state h_k after k steps")
    axes.set_ylabel("error of step t")
    return image
