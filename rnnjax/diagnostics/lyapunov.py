"""Lyapunov exponents: how fast neighbouring states of a recurrence part or meet."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Array, Cell, Params, PyTree, State
from rnnjax._dtypes import at_least_float32
from rnnjax._factory import natural
from rnnjax._factory import real as real_number
from rnnjax.diagnostics._state import Select, Units, settled
from rnnjax.diagnostics._steps import compiled, one_step, run, steps_of
from rnnjax.diagnostics.jacobians import forward, stepped


def lyapunov_exponents(
    cell: Cell,
    params: Params,
    state: State | None,
    xs: PyTree,
    k: int | None = None,
    *,
    length: int | None = None,
    skip: int = 0,
    dt: float = 1.0,
    select: Select = None,
) -> Array:
    """The finite-time Lyapunov exponents of the states along a run.

        J_t = ∂h_t/∂h_{t-1}        Q_t R_t = J_t Q_{t-1}        λ_i = Σ_t log |R_t[i, i]| / (T dt)

    Above 0, two states which differ by a little part by e^λ in a unit of time, and the gradient
    explodes; below, they meet, and it vanishes. The directions Q_0 are drawn, the same in each
    call, and made orthonormal again at each step.

    Args:
      cell: the cell.
      params: its parameters.
      state: the state before the first step, leaves [*B, ...]; None for `cell.initial_state`.
      xs: the inputs [T, *B, ...].
      k: how many exponents, the leading ones; None for all N.
      length: T, needed where `xs` is None.
      skip: how many steps are run first and not counted, so that the state comes to its attractor
        and the directions to theirs.
      dt: how much time a step is.
      select: which leaves of the state, as in `as_vector`; changes that pass through others are
        left out.

    Returns:
      [*B, k], the largest first, in nats per unit of time. -inf where a step takes a direction to
      nothing, as a singular Jacobian does, or to less than its rounding, √N eps of what it makes
      of the others: in float64 that is farther off.

    Raises:
      TypeError: the cell has no forward derivative, as `clip_gradient` has none.
      ValueError: k is above N, no step is left to count, or the state has no numbers to look at.

    Example:
      Of a linear network they are the logarithms of its eigenvalues:

      >>> import jax.numpy as jnp, rnnjax
      >>> from rnnjax.diagnostics import lyapunov_exponents
      >>> cell = rnnjax.elman(2, activation="identity")
      >>> w_h = jnp.array([[0.5, 1.0], [0.0, 2.0]])
      >>> params = rnnjax.ElmanParams(w_x=jnp.ones((1, 2)), w_h=w_h, b=jnp.zeros(2))
      >>> found = lyapunov_exponents(cell, params, None, jnp.zeros((80, 1)), skip=20)
      >>> print(found.round(3), jnp.log(jnp.array([2.0, 0.5])).round(3))
      [ 0.693 -0.693] [ 0.693 -0.693]

    Reference:
      Benettin, Galgani, Giorgilli & Strelcyn, Lyapunov Characteristic Exponents for Smooth
      Dynamical Systems, Meccanica 15, 1980; Vogt, Puelma Touzel, Shlizerman & Lajoie, On Lyapunov
      Exponents for RNNs, 2020, arXiv:2006.14123.
    """
    steps = steps_of(cell, params, state, xs, length=length)
    natural("skip", skip)
    real_number("dt", dt, "a positive number", lambda x: 0 < x < float("inf"))
    if skip >= steps.time:
        raise ValueError(f"skip must leave steps to count, got {skip} of {steps.time}")
    told = settled(select), k, skip, steps.time, steps.batch
    return compiled(_exponents, cell, params, told, state, steps.xs) / dt


def _exponents(cell: Cell, params: Params, told: tuple, state: State | None, xs: PyTree) -> Array:
    select, k, skip, time, batch = told
    if state is None:
        state = cell.initial_state(params, batch)
    units = Units.of(cell, params, state, select)
    at = units.read(state)
    size, wide = at.shape[-1], at_least_float32(at.dtype)  # as LAPACK needs
    k = size if k is None else natural("k", k, least=1)
    if k > size:
        raise ValueError(f"k must be at most the {size} numbers of the state, got {k}")

    def step(carry: Any, inputs: Any) -> tuple[Any, None]:
        state, directions, total = carry
        x, counts = inputs
        f = functools.partial(stepped, cell, params, units, state, x)
        with forward(cell):
            _, jvp = jax.linearize(f, units.read(state))
        grown = jax.vmap(jvp, in_axes=-1, out_axes=-1)(directions.astype(at.dtype))
        directions, r = jnp.linalg.qr(grown.astype(wide))
        growth = jnp.abs(jnp.diagonal(r, axis1=-2, axis2=-1))
        rounding = tiny * jnp.linalg.norm(r, axis=-2).max(-1, keepdims=True)
        growth = jnp.log(jnp.where(growth > rounding, growth, 0))
        state, _ = run(cell, params, state, one_step(x, batch))
        return (state, directions, total + jnp.where(counts, growth, 0)), None

    tiny = size**0.5 * float(jnp.finfo(at.dtype).eps)
    directions = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (size, k), wide))[0]
    directions = jnp.broadcast_to(directions, (*batch, size, k))
    begin = (state, directions, jnp.zeros((*batch, k), wide))
    (_, _, total), _ = jax.lax.scan(step, begin, (xs, jnp.arange(time) >= skip), length=time)
    return -jnp.sort(-total, -1) / (time - skip)


def plot_lyapunov(axes: Any, exponents: Any, *, label: str | None = None, **style: Any) -> None:
    """Draws a spectrum of Lyapunov exponents, the mean over the rows, in their order.

    Args:
      axes: matplotlib's axes to draw on.
      exponents: [*B, k], as `lyapunov_exponents` gives them.
      label: the line's name; `axes.legend` shows it.
      **style: of the line, as matplotlib has it.
    """
    found = np.asarray(exponents)
    found = found.reshape(-1, found.shape[-1]).mean(0)
    axes.axhline(0, color="black", linewidth=0.8)
    style = {"marker": "o", "markersize": 3, **style}
    axes.plot(np.arange(1, len(found) + 1), found, label=label, **style)
    axes.set_xlabel("i")
    axes.set_ylabel("Lyapunov exponent λ_i, nats a unit of time")
    axes.grid(alpha=0.3)
