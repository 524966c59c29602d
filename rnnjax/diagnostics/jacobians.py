"""What one step, or several, make of a small change: Jacobians of states and of inputs."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Array, Cell, Params, PyTree, State
from rnnjax._check import require_cell
from rnnjax.diagnostics._state import Select, Units, settled
from rnnjax.diagnostics._steps import compiled


class Operator(NamedTuple):
    """A Jacobian J [*B, N, N] that is not written out: what it makes of vectors.

    Attributes:
      jvp: v [*B, N] -> J v: what a change of the state becomes in a step.
      vjp: u [*B, N] -> Jᵀ u: what a gradient becomes on its way back.
    """

    jvp: Callable[[Array], Array]
    vjp: Callable[[Array], Array]


def jacobian_operator(
    cell: Cell, params: Params, state: State, x: PyTree, *, select: Select = None
) -> Operator:
    """∂h_t/∂h_{t-1} as a linear operator: products with vectors, for states of any size.

    Args:
      cell: the cell.
      params: its parameters.
      state: h_{t-1}, leaves [*B, ...].
      x: the input of the step, [*B, ...].
      select: which leaves of the state, as in `as_vector`; the others are fixed.

    Returns:
      An `Operator`.

    Raises:
      TypeError: the cell has no forward derivative, as `clip_gradient` has none.
      ValueError: the state has no real or complex numbers to look at.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.diagnostics import jacobian_operator
      >>> cell = rnnjax.elman(3)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> J = jacobian_operator(cell, params, jnp.zeros((5, 3)), jnp.zeros((5, 2)))
      >>> u, v = jax.random.normal(jax.random.key(1), (2, 5, 3))
      >>> bool(jnp.allclose((u * J.jvp(v)).sum(-1), (J.vjp(u) * v).sum(-1), atol=1e-6))
      True
    """
    units = Units.of(cell, params, state, select)
    f, at = functools.partial(stepped, cell, params, units, state, x), units.read(state)
    with forward(cell):
        _, jvp = jax.linearize(f, at)
    transposed = jax.linear_transpose(jvp, at)
    return Operator(jvp, lambda u: transposed(u)[0])


def step_jacobian(
    cell: Cell, params: Params, state: State, x: PyTree, *, select: Select = None
) -> Array:
    """∂h_t/∂h_{t-1} as a matrix for each row.

    Args:
      cell: the cell.
      params: its parameters.
      state: h_{t-1}, leaves [*B, ...].
      x: the input of the step, [*B, ...].
      select: which leaves of the state, as in `as_vector`; the others are fixed.

    Returns:
      [*B, N, N], in the order of `as_vector`: entry [i, j] is ∂h_t[i] / ∂h_{t-1}[j]. It takes N
      products: for large N, `jacobian_operator` has it without writing it out.

    Raises:
      TypeError: the cell has no forward derivative, as `clip_gradient` has none.
      ValueError: the state has no real or complex numbers to look at.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> from rnnjax.diagnostics import step_jacobian
      >>> cell = rnnjax.elman(2, activation="identity")
      >>> w_h = jnp.array([[1.0, 2.0], [3.0, 4.0]])
      >>> params = rnnjax.ElmanParams(w_x=jnp.ones((1, 2)), w_h=w_h, b=jnp.zeros(2))
      >>> print(step_jacobian(cell, params, jnp.zeros(2), jnp.zeros(1)))  # h = h_{t-1} U: Uᵀ
      [[1. 3.]
       [2. 4.]]
    """
    return compiled(_step_jacobian, cell, params, (settled(select),), state, x)


def _step_jacobian(cell: Cell, params: Params, told: tuple, state: State, x: PyTree) -> Array:
    (select,) = told
    units = Units.of(cell, params, state, select)
    return dense(cell, functools.partial(stepped, cell, params, units, state, x), units.read(state))


def input_jacobian(
    cell: Cell, params: Params, state: State, x: PyTree, *, select: Select = None
) -> Array:
    """∂h_t/∂x_t as a matrix for each row: what a step takes in of its input.

    Args:
      cell: the cell.
      params: its parameters.
      state: h_{t-1}, leaves [*B, ...].
      x: the input of the step, [*B, ...], with real or complex numbers in it.
      select: which leaves of the state, as in `as_vector`.

    Returns:
      [*B, N, M]: entry [i, j] is ∂h_t[i] / ∂x_t[j].

    Raises:
      TypeError: the cell has no forward derivative.
      ValueError: the state or x has no real or complex numbers: of symbols, take the cell behind
        their embedding.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.diagnostics import input_jacobian
      >>> cell = rnnjax.gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> input_jacobian(cell, params, jnp.zeros((2, 4)), jnp.ones((2, 3))).shape
      (2, 4, 3)
    """
    return compiled(_input_jacobian, cell, params, (settled(select),), state, x)


def _input_jacobian(cell: Cell, params: Params, told: tuple, state: State, x: PyTree) -> Array:
    (select,) = told
    units, inputs = Units.of(cell, params, state, select), Units.of_input(cell, x)

    def f(v: Array) -> Array:
        return units.read(cell.step(params, state, inputs.write(x, v))[0])

    return dense(cell, f, inputs.read(x))


def stepped(cell: Cell, params: Params, units: Units, state: State, x: PyTree, v: Array) -> Array:
    """The numbers of the state that a step makes of one with the numbers v [*B, N]."""
    return units.read(cell.step(params, units.write(state, v), x)[0])


def dense(cell: Cell, f: Callable[[Array], Array], at: Array) -> Array:
    """The Jacobian [*B, M, N] of a function [*B, N] -> [*B, M] that does not mix rows."""

    def column(n: Array) -> Array:
        tangent = jnp.broadcast_to(jax.nn.one_hot(n, at.shape[-1], dtype=at.dtype), at.shape)
        return jax.jvp(f, (at,), (tangent,))[1]

    with forward(cell):
        return jax.vmap(column, out_axes=-1)(jnp.arange(at.shape[-1]))


@contextlib.contextmanager
def forward(cell: Cell) -> Iterator[None]:
    """Says what to do about a cell that has no forward derivative."""
    require_cell("cell", cell)
    try:
        yield
    except TypeError as error:
        if "custom_vjp" not in str(error):
            raise
        raise TypeError(
            f"{cell.name} has a derivative for reverse mode alone, and a Jacobian needs the other: "
            "pass the cell without clip_gradient or what else has its own rule"
        ) from error


def plot_step_jacobian(axes: Any, jacobian: Any, *, label: str | None = None) -> None:
    """Draws the eigenvalues of Jacobians beside the unit circle: what lies outside it grows.

    Args:
      axes: matplotlib's axes to draw on.
      jacobian: [*B, N, N], as `step_jacobian` gives it; all rows together.
      label: the points' name; `axes.legend` shows it.
    """
    found = np.linalg.eigvals(np.asarray(jacobian, float)).ravel()
    turn = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(turn), np.sin(turn), color="black", linewidth=0.8)
    axes.plot(found.real, found.imag, ".", label=label)
    axes.set_aspect("equal")
    axes.set_xlabel("real part of an eigenvalue")
    axes.set_ylabel("imaginary part")
    axes.grid(alpha=0.3)


def plot_input_jacobian(axes: Any, jacobian: Any) -> None:
    """Draws how much each number of the input moves the state, the mean over the rows, as bars.

    Args:
      axes: matplotlib's axes to draw on.
      jacobian: [*B, N, M], as `input_jacobian` gives it.
    """
    found = np.linalg.norm(np.asarray(jacobian), axis=-2)
    found = found.reshape(-1, found.shape[-1]).mean(0)
    axes.bar(np.arange(len(found)), found)
    axes.set_xlabel("number j of the input")
    axes.set_ylabel(r"$\|∂h_t/∂x_t[j]\|$")
    axes.grid(alpha=0.3, axis="y")
