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
from rnnjax.diagnostics._steps import Steps, run, steps_of


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
    return _step_jacobian((cell, settled(select)), params, state, x)


@functools.partial(jax.jit, static_argnums=0)
def _step_jacobian(told: tuple, params: Params, state: State, x: PyTree) -> Array:
    cell, select = told
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
    return _input_jacobian((cell, settled(select)), params, state, x)


@functools.partial(jax.jit, static_argnums=0)
def _input_jacobian(told: tuple, params: Params, state: State, x: PyTree) -> Array:
    cell, select = told
    units, inputs = Units.of(cell, params, state, select), Units.of_input(cell, x)

    def f(v: Array) -> Array:
        return units.read(cell.step(params, state, inputs.write(x, v))[0])

    return dense(cell, f, inputs.read(x))


class JacobianProducts(NamedTuple):
    """What n steps make of a small change, for n = 1, 2, .., T, up to the last step.

    Attributes:
      products: J_T J_{T-1} … J_{T-n+1} = ∂h_T/∂h_{T-n}, [T, *B, N, N].
      singular_values: theirs, the largest first, [T, *B, N]. Those below the largest times the
        precision of the numbers are made of rounding.
    """

    products: Array
    singular_values: Array


def jacobian_products(
    cell: Cell,
    params: Params,
    state: State | None,
    xs: PyTree,
    *,
    length: int | None = None,
    select: Select = None,
) -> JacobianProducts:
    """∂h_T/∂h_k for every k, and by how much it stretches: the products that vanish or explode.

    Args:
      cell: the cell.
      params: its parameters.
      state: the state before the first step, leaves [*B, ...]; None for `cell.initial_state`.
      xs: the inputs [T, *B, ...].
      length: T, needed where `xs` is None.
      select: which leaves of the state, as in `as_vector`; changes that pass through others are
        left out.

    Returns:
      `JacobianProducts`, entry n - 1 of lag n.

    Raises:
      TypeError: the cell has no forward derivative, as `clip_gradient` has none.
      ValueError: the state has no real or complex numbers to look at, or shapes do not fit.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> from rnnjax.diagnostics import jacobian_products
      >>> cell = rnnjax.elman(2, activation="identity")
      >>> w_h = jnp.diag(jnp.array([0.5, 2.0]))
      >>> params = rnnjax.ElmanParams(w_x=jnp.ones((1, 2)), w_h=w_h, b=jnp.zeros(2))
      >>> print(jacobian_products(cell, params, None, jnp.ones((3, 1))).singular_values)
      [[2.    0.5  ]
       [4.    0.25 ]
       [8.    0.125]]

    Reference:
      Pascanu, Mikolov & Bengio, On the Difficulty of Training Recurrent Neural Networks, ICML 2013,
      arXiv:1211.5063; Pennington, Schoenholz & Ganguli, Resurrecting the Sigmoid in Deep Learning
      through Dynamical Isometry, NeurIPS 2017, arXiv:1711.04735.
    """
    steps = steps_of(cell, params, state, xs, length=length)
    told = cell, settled(select), steps.time, steps.batch
    return _products(told, params, state, steps.xs)


@functools.partial(jax.jit, static_argnums=0)
def _products(told: tuple, params: Params, state: State | None, xs: PyTree) -> JacobianProducts:
    cell, select, *sizes = told
    if state is None:
        state = cell.initial_state(params, sizes[1])
    units = Units.of(cell, params, state, select)

    def seen(state: State, x: PyTree) -> tuple[State, Array]:
        f = functools.partial(stepped, cell, params, units, state, x)
        return run(cell, params, state, one_step(x, sizes[1]))[0], dense(cell, f, units.read(state))

    def times(product: Array, jacobian: Array) -> tuple[Array, Array]:
        product = product @ jacobian
        return product, product

    _, jacobians = jax.lax.scan(seen, state, xs, length=sizes[0])
    size = jacobians.shape[-1]
    one = jnp.broadcast_to(jnp.eye(size, dtype=jacobians.dtype), (*sizes[1], size, size))
    _, products = jax.lax.scan(times, one, jacobians[::-1])
    return JacobianProducts(products, jnp.linalg.svd(products, compute_uv=False))


def one_step(x: PyTree, batch: tuple[int, ...]) -> Steps:
    """A run of one step."""
    return Steps(jax.tree.map(lambda leaf: leaf[None], x), None, None, 1, batch)


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


def plot_jacobian_products(axes: Any, found: JacobianProducts, *, row: int = 0) -> None:
    """Draws the singular values of the products against lag, and below what they are rounding.

    Args:
      axes: matplotlib's axes to draw on.
      found: what `jacobian_products` gives.
      row: of which row of the batch.
    """
    values = np.asarray(found.singular_values)
    values = values.reshape(len(values), -1, values.shape[-1])[:, row]
    lags = np.arange(1, len(values) + 1)
    shown = np.where(values > 0, values, np.nan)
    axes.semilogy(lags, shown, color="0.8", linewidth=0.6)
    axes.semilogy(lags, shown[:, 0], color="black", label="largest")
    axes.semilogy(lags, np.median(values, -1), "--", color="tab:blue", label="median")
    axes.semilogy(lags, shown[:, -1], ":", color="tab:red", label="least")
    rounding = values[:, 0] * np.finfo(values.dtype).eps
    axes.semilogy(lags, rounding, "-.", color="0.5", linewidth=0.8, label="rounding")
    axes.set_xlabel("lag n, steps")
    axes.set_ylabel(r"singular values of $∂h_T/∂h_{T-n}$")
    axes.grid(alpha=0.3)
