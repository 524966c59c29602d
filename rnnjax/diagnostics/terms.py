"""The gradient of the parameters as the sum that it is: over errors, and over the steps before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Array, Cell, Params, PyTree, State
from rnnjax._factory import one_of
from rnnjax._unroll import times, unroll
from rnnjax.diagnostics._steps import (
    Steps,
    at_steps,
    compiled,
    entering,
    floating,
    is_floating,
    norm,
    run,
    steps_of,
)


def gradient_terms(
    cell: Cell,
    params: Params,
    state: State | None,
    xs: PyTree,
    loss: Callable[[PyTree], Any],
    *,
    by: Literal["step", "lag", "pair"] = "step",
    length: int | None = None,
    lengths: Array | None = None,
    resets: Array | None = None,
) -> Params:
    """The terms that back-propagation through time sums to the gradient of the parameters.

        ∂E/∂θ = Σ_t Σ_{k<=t} ∂E_t/∂h_t · Π_{k<i<=t} ∂h_i/∂h_{i-1} · ∂⁺h_k/∂θ

    ∂⁺ is the immediate derivative: what step k makes of the parameters while h_{k-1} is fixed. An
    initial state that follows from the parameters counts for the first step, and for each step with
    a reset. The sum over the leading axes is the gradient; where a cell clips it, by="step" alone.

    Args:
      cell: the cell.
      params: its parameters.
      state: the state before the first step, leaves [*B, ...]; None for `cell.initial_state`.
      xs: the inputs [T, *B, ...].
      loss: from the outputs ys [T, *B, ...] to the loss, as in `gradient_flow`.
      by: what the terms are apart by: the "step" k in which the parameters are used, one backward
        pass; the "lag" t - k from there to the error, T passes; or the "pair" (t, k), which takes
        T² times the memory of the parameters.
      length: T, needed where `xs` is None.
      lengths: integers [*B], as in `unroll`.
      resets: bool [T, *B], as in `unroll`.

    Returns:
      A tree like the real and complex leaves of `params`: [T, ...] by k or by lag, [T, T, ...] by
      t and k, each from 0 up; other leaves are None.

    Raises:
      TypeError: the loss is not real, or no parameter is.
      ValueError: shapes do not fit.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.diagnostics import gradient_share, gradient_terms
      >>> cell = rnnjax.elman(1, activation="identity")
      >>> one = jnp.ones((1, 1))
      >>> params = rnnjax.ElmanParams(w_x=one, w_h=0.5 * one, b=jnp.zeros(1))
      >>> terms = gradient_terms(
      ...     cell, params, None, jnp.ones((4, 1)), lambda ys: ys[-1].sum(), by="lag"
      ... )
      >>> print(terms.b[:, 0])  # a bias of k steps ago is halved k times
      [1.    0.5   0.25  0.125]

    Reference:
      Pascanu, Mikolov & Bengio, On the Difficulty of Training Recurrent Neural Networks, ICML 2013,
      arXiv:1211.5063, equations 3 to 5.
    """
    one_of("step", "lag", "pair")("by", by)
    if not floating(params)[0]:
        raise TypeError(f"params: {cell.name} has no real or complex parameters to see terms of")
    steps = steps_of(cell, params, state, xs, length=length, lengths=lengths, resets=resets)
    _, ys = unroll(cell, params, state, xs, length=length, lengths=lengths, resets=resets)
    told = by, steps.time, steps.batch
    rows = steps.xs, steps.valid, steps.resets
    return compiled(_terms, cell, params, told, state, entering(loss, ys), *rows)


def _terms(
    cell: Cell, params: Params, told: tuple, state: State | None, entered: list[Array], *rows: Any
) -> Params:
    by, *sizes = told
    steps = Steps(*rows, *sizes)
    used, whole = floating(params)

    def outputs(copies: list[Array]) -> list[Array]:
        first = whole([copy[0] for copy in copies])
        begin = cell.initial_state(first, steps.batch) if state is None else state
        _, ys = run(cell, whole, begin, steps, copies=copies)
        return floating(ys)[0]

    copies = [jnp.broadcast_to(leaf, (steps.time, *leaf.shape)) for leaf in used]
    _, pull = jax.vjp(outputs, copies)
    step = jnp.arange(steps.time)
    at_row = times(steps.time, steps.batch)

    def of_error(t: Array) -> list[Array]:
        """What the error of step t brings, by k."""
        where = jnp.broadcast_to(at_row == t, (steps.time, *steps.batch))
        return pull(at_steps(where, entered))[0]

    def add_lags(sums: list[Array], t: Array) -> tuple[list[Array], None]:
        def shifted(terms: Array) -> Array:
            return at_steps(step <= t, terms[(t - step) % max(1, steps.time)])

        return [a + shifted(b) for a, b in zip(sums, of_error(t), strict=True)], None

    if by == "step":
        terms = pull(entered)[0]
    elif by == "lag":
        terms = jax.lax.scan(add_lags, [jnp.zeros_like(copy) for copy in copies], step)[0]
    else:
        terms = jax.lax.map(of_error, step)
    return _only(params, terms)


def _only(params: Params, terms: list[Array]) -> Params:
    """The terms in the tree of the parameters; None for what has no gradient."""
    rest = iter(terms)
    return jax.tree.map(lambda leaf: next(rest) if is_floating(leaf) else None, params)


def gradient_share(terms: PyTree) -> Array:
    """The share of the gradient that comes from further back than lag n.

        share_n = ⟨Σ_{m>n} g_m, g⟩ / ‖g‖²        g = Σ_m g_m

    Measured along the gradient itself, so that shares of parts add up to 1. One may be above 1, or
    negative, where later terms take back what earlier ones gave.

    Args:
      terms: what `gradient_terms` gives by="lag", or a part of it, such as `terms["rnn"].w_h`.

    Returns:
      [T]: entry n is the share from lags above n.

    Raises:
      ValueError: there is nothing in `terms`.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax.diagnostics import gradient_share
      >>> print(gradient_share({"w": jnp.array([[4.0], [2.0], [2.0]])}))
      [0.5  0.25 0.  ]
    """
    g = _rows(terms)
    whole = g.sum(0)
    along = g @ whole.conj()
    beyond = jnp.cumsum(along[::-1].real)[::-1] - along.real
    return beyond / along.real.sum()


def _rows(terms: PyTree) -> Array:
    """Terms [T, ...] as rows [T, n]."""
    leaves = jax.tree.leaves(terms)
    if not leaves:
        raise ValueError("terms must hold arrays, got none: pass what gradient_terms gives")
    return jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], 1)


def plot_gradient_share(
    axes: Any, terms: PyTree, *, label: str | None = None, **style: Any
) -> None:
    """Draws the share of the gradient that comes from further back than each lag.

    Args:
      axes: matplotlib's axes to draw on.
      terms: what `gradient_terms` gives by="lag", or a part of it.
      label: the line's name; `axes.legend` shows it.
      **style: of the line, as matplotlib has it.
    """
    axes.plot(np.asarray(gradient_share(terms)), label=label, **style)
    axes.set_xlabel("lag n, steps")
    axes.set_ylabel("share of the gradient\nfrom lags above n")
    axes.grid(alpha=0.3)


def plot_gradient_terms(
    axes: Any, terms: PyTree, *, label: str | None = None, **style: Any
) -> None:
    """Draws how large the terms of the gradient are, one by one, on a logarithmic scale.

    Args:
      axes: matplotlib's axes to draw on.
      terms: what `gradient_terms` gives by="lag", or a part of it.
      label: the line's name; `axes.legend` shows it.
      **style: of the line, as matplotlib has it.
    """
    found = np.asarray(norm(_rows(terms)))
    axes.semilogy(np.where(found > 0, found, np.nan), label=label, **style)
    axes.set_xlabel("lag t - k, steps")
    axes.set_ylabel("norm of the term of ∂E/∂θ")
    axes.grid(alpha=0.3)
