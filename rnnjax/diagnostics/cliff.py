"""The cliff: the loss of a recurrent network of one unit, where gradients explode."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import Cell, unroll
from rnnjax._cell import Array
from rnnjax._factory import natural
from rnnjax.diagnostics._draw import styled
from rnnjax.diagnostics.landscape import Descent, loss_slice

START, TARGET = 0.5, 0.7

# x' = w σ(x) + b, of no input, whose output is the unit's σ(x').
UNIT = Cell(
    name="one unit",
    init=lambda key, x_spec: {"w": jnp.array(1.0), "b": jnp.array(0.0)},
    initial_state=lambda params, batch_shape=(), *, key=None: jnp.full(
        batch_shape, START, params["w"].dtype
    ),
    step=lambda params, x, none: (
        (new := params["w"] * jax.nn.sigmoid(x) + params["b"]),
        jax.nn.sigmoid(new),
    ),
    output_of=jax.nn.sigmoid,
    recurrent=("w",),
)


class Cliff(NamedTuple):
    """The loss of a network of one unit over its two parameters.

    Attributes:
      w: the recurrent weight, [n].
      b: the bias, [m].
      loss: [n, m].
    """

    w: np.ndarray
    b: np.ndarray
    loss: np.ndarray


def cliff_loss(params: dict[str, Array], steps: int = 50) -> Array:
    """The loss of a recurrent network of one unit after so many steps.

        x_t = w σ(x_{t-1}) + b        x_0 = 0.5
        L = (σ(x_T) - 0.7)²

    Args:
      params: {"w": w, "b": b}, of shape [].
      steps: T.

    Returns:
      L, a scalar.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax.diagnostics import cliff_loss
      >>> round(float(cliff_loss({"w": jnp.array(5.0), "b": jnp.array(-2.4)})), 3)
      0.033

    Reference:
      Pascanu, Mikolov & Bengio, On the Difficulty of Training Recurrent Neural Networks, ICML 2013,
      arXiv:1211.5063, figure 6.
    """
    _, outputs = unroll(UNIT, params, None, None, length=natural("steps", steps, least=1))
    return jnp.square(outputs[-1] - TARGET)


def cliff(w: Any = None, b: Any = None, *, steps: int = 50) -> Cliff:
    """The loss of a recurrent network of one unit, over its recurrent weight and its bias.

    Where the unit changes from one fixed point to two, a small change of a parameter changes where
    it ends, more with every step: a wall, at whose foot the gradient is enormous. The path of an
    optimizer on it is `descent(cliff_loss, {"w": ..., "b": ...}, optimizer, n)`.

    Args:
      w: recurrent weights to look at, [n]; 4 to 6.5 by default.
      b: biases to look at, [m]; -3.2 to -1.6 by default.
      steps: T, of the network.

    Returns:
      A `Cliff`.

    Example:
      >>> from rnnjax.diagnostics import cliff
      >>> print(cliff([5.0], [-2.7, -2.4]).loss.round(2))
      [[0.36 0.03]]

    Reference:
      Pascanu, Mikolov & Bengio, On the Difficulty of Training Recurrent Neural Networks, ICML 2013,
      arXiv:1211.5063, figure 6; Goodfellow, Bengio & Courville, Deep Learning, 2016, figure 10.17.
    """
    w = np.linspace(4, 6.5, 201) if w is None else np.asarray(w, float)
    b = np.linspace(-3.2, -1.6, 201) if b is None else np.asarray(b, float)
    zero, one = jnp.array(0.0), jnp.array(1.0)
    directions = {"w": one, "b": zero}, {"w": zero, "b": one}
    found = loss_slice(
        _after(natural("steps", steps, least=1)), {"w": zero, "b": zero}, directions, (w, b)
    )
    return Cliff(w, b, np.asarray(found.values))


@functools.cache
def _after(steps: int) -> Callable[[dict[str, Array]], Array]:
    """The loss after so many steps: one function for each, so that it is compiled once."""
    return functools.partial(cliff_loss, steps=steps)


def plot_cliff(axes: Any, surface: Cliff, paths: Mapping[str, Descent]) -> None:
    """Draws the cliff, and the paths of optimizers on it.

    Args:
      axes: matplotlib's axes to draw on; the surface is drawn where they have `projection="3d"`,
        else its contours.
      surface: what `cliff` returned.
      paths: what `descent` returned, by names for the legend.
    """
    solid = axes.name == "3d"
    if solid:
        w, b = np.meshgrid(surface.w, surface.b, indexing="ij")
        axes.plot_surface(
            w, b, surface.loss, cmap="gray", alpha=0.6, rcount=120, ccount=120, linewidth=0
        )
        axes.set_zlabel("loss")
    else:
        levels = axes.contourf(surface.w, surface.b, surface.loss.T, 25, cmap="gray")
        axes.figure.colorbar(levels, ax=axes, label="loss")
    for name, path, line, mark in styled(paths):
        w, b = path.params["w"], path.params["b"]
        where = [w, b]
        if solid:  # which has no edges that cut what is thrown beyond them
            inside = (w >= surface.w.min()) & (w <= surface.w.max())
            inside &= (b >= surface.b.min()) & (b <= surface.b.max())
            where = [np.where(inside, a, np.nan) for a in (w, b, path.loss)]
        axes.plot(*where, line, marker=mark, markersize=4, linewidth=1.2, zorder=10, label=name)
    if not solid:
        axes.set_xlim(surface.w.min(), surface.w.max())
        axes.set_ylim(surface.b.min(), surface.b.max())
    axes.set_xlabel("recurrent weight w")
    axes.set_ylabel("bias b")
    if paths:
        axes.legend(loc="upper right")
