"""Products of Jacobians over several steps: what vanishes or explodes."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Array, Cell, Params, PyTree, State
from rnnjax._dtypes import at_least_float32
from rnnjax.diagnostics._state import Select, Units, settled
from rnnjax.diagnostics._steps import compiled, one_step, run, steps_of
from rnnjax.diagnostics.jacobians import dense, stepped


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
    told = settled(select), steps.time, steps.batch
    return compiled(_products, cell, params, told, state, steps.xs)


def _products(
    cell: Cell, params: Params, told: tuple, state: State | None, xs: PyTree
) -> JacobianProducts:
    select, *sizes = told
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
    jacobians = jacobians.astype(at_least_float32(jacobians.dtype))  # as LAPACK needs
    size = jacobians.shape[-1]
    one = jnp.broadcast_to(jnp.eye(size, dtype=jacobians.dtype), (*sizes[1], size, size))
    _, products = jax.lax.scan(times, one, jacobians[::-1])
    return JacobianProducts(products, jnp.linalg.svd(products, compute_uv=False))


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
