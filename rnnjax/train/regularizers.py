"""Penalties on activations and on gradients that vanish, and noise on weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Params, PyTree, State, joined, parted
from rnnjax._check import sequence_sizes
from rnnjax._combine._common import require_output_of
from rnnjax._combine._weights import change_recurrent, require_recurrent
from rnnjax._dtypes import at_least_float32, is_floating
from rnnjax._factory import non_negative
from rnnjax._fields import decays
from rnnjax._noise import folded
from rnnjax.train.losses import mean_squared_error


def activation_penalty(ys: Array, mask: Array | None = None) -> Array:
    """Activation regularisation (AR): the mean square of what a recurrent layer puts out.

    The mean is over real entries; multiply it by α and add it to the loss. In the authors' AWD-LSTM
    they are the outputs of the last layer after dropout, and α = 2.

    Args:
      ys: [T, *B, D], floating.
      mask: bool [T, *B], False at padding, whose content never matters; None when all is real.

    Returns:
      [].

    Raises:
      TypeError, ValueError: as `mean_squared_error`.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax.train import activation_penalty
      >>> float(activation_penalty(jnp.array([[1.0, -2.0], [0.0, 1.0]])))
      1.5

    Reference:
      Merity, McCann & Socher, Revisiting Activation Regularization for Language RNNs, 2017,
      arXiv:1708.01009.
    """
    return mean_squared_error(ys, jnp.zeros_like(ys), mask).mean


def temporal_activation_penalty(ys: Array, mask: Array | None = None) -> Array:
    """Temporal activation regularisation (TAR): the mean square of y_t - y_{t-1}.

    The mean is over the entries of pairs of real steps, 0 where there is no pair; multiply it by β
    and add it to the loss. In the authors' AWD-LSTM they are the outputs of the last layer before
    dropout, and β = 1.

    Args:
      ys: [T, *B, D], floating.
      mask: bool [T, *B], False at padding, whose content never matters; None when all is real.

    Returns:
      [].

    Raises:
      TypeError, ValueError: as `mean_squared_error`.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax.train import temporal_activation_penalty
      >>> float(temporal_activation_penalty(jnp.array([[1.0], [3.0], [3.0]])))
      2.0

    Reference:
      As `activation_penalty`.
    """
    if len(ys) < 2:
        return jnp.zeros_like(activation_penalty(ys, mask))
    pairs = None if mask is None else mask[1:] & mask[:-1]
    return mean_squared_error(ys[1:], ys[:-1], pairs).mean


def gradient_norm_regularizer(
    cell: Cell,
    params: Params,
    state: State | None,
    xs: PyTree,
    error: Callable[[PyTree], Array],
) -> Array:
    """A penalty on steps that change the norm of the gradient which flows back through them.

        Ω = Σ_k (‖∂E/∂s_{k+1} ∂s_{k+1}/∂s_k‖ / ‖∂E/∂s_{k+1}‖ - 1)²

    over the T steps, where s is all that is floating in the state and norms are those of a row;
    the mean over rows. Its gradient is the immediate one of the paper: the states and ∂E/∂s_{k+1}
    are constants, and only the recurrent weights (`cell.recurrent`) in ∂s_{k+1}/∂s_k are not. A
    step at which ∂E/∂s_{k+1} is exactly zero, such as one behind the last that E looks at, counts
    nothing.

    Equations (9) and (10) of the paper. (The authors' program differs from them: it takes the
    squares of the norms, and the mean over the steps that count.) It costs a pass forward and back
    through the sequence, and the derivative of one step, for all steps at once.

    Args:
      cell: a cell that declares `recurrent` and `output_of`; put a readout into `error`. Of a cell
        without `output_of`, such as a stack, take `emit_state(cell)`, whose ys are its states.
      params: its parameters.
      state: the state before the first step, leaves [*B, ...]; None for `cell.initial_state`.
      xs: [T, *B, ...].
      error: outputs ys [T, *B, ...] -> E, a scalar. How it weighs the rows does not matter, since
        the norms of a row are compared with each other.

    Returns:
      Ω, [], in float32 or better; multiply it by some α and add it to the loss.

    Raises:
      TypeError: the cell declares no `recurrent` or no `output_of`.
      ValueError: xs do not fit the cell, or have no step.

    Example:
      Steps that keep every norm cost nothing:

      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.train import gradient_norm_regularizer
      >>> cell = rnnjax.elman(2, activation="identity")
      >>> params = cell.init(jax.random.key(0), 3)
      >>> def omega(w_h):
      ...     kept = params._replace(w_h=w_h)
      ...     return gradient_norm_regularizer(cell, kept, None, jnp.ones((4, 1, 3)), jnp.sum)
      >>> print(f"{omega(jnp.eye(2)):.3f} {omega(2 * jnp.eye(2)):.3f}")  # Σ (2 - 1)², 4 steps
      0.000 4.000

    Reference:
      Pascanu, Mikolov & Bengio, On the Difficulty of Training Recurrent Neural Networks, ICML
      2013, arXiv:1211.5063.
    """
    what = "gradient_norm_regularizer"
    require_recurrent(what, cell)
    output_of = require_output_of(what, cell)
    steps, batch = sequence_sizes(cell, params, state, xs, None, None, 0)
    if not steps:
        raise ValueError("xs needs at least one step, got T = 0")
    state = cell.initial_state(params, batch) if state is None else state
    state, held = parted(jax.lax.stop_gradient(state))
    weights: dict[str, Any] = {}
    change_recurrent(cell, params, lambda name, w: weights.setdefault(name, w))
    constant = jax.lax.stop_gradient(params)
    learned = change_recurrent(cell, constant, lambda name, _: weights[name])

    leaves, tree = jax.tree.flatten(state)
    places = [place for place, leaf in enumerate(leaves) if is_floating(leaf)]

    def floats(state: State) -> list[Array]:
        found = jax.tree.leaves(state)
        return [found[place] for place in places]

    def with_floats(state: State, values: list[Array]) -> State:
        found = jax.tree.leaves(state)
        for place, value in zip(places, values, strict=True):
            found[place] = value
        return tree.unflatten(found)

    def step(params: Params, state: State, x: PyTree) -> State:
        return parted(cell.step(params, joined(state, held), x)[0])[0]

    def error_of(taps: list[Array]) -> tuple[Array, State]:
        """E with a tap added to every new state, whose gradient is that of the state."""

        def tapped(state: State, now: tuple[PyTree, list[Array]]) -> tuple[State, Any]:
            x, tap = now
            new = step(constant, state, x)
            new = with_floats(new, [a + b for a, b in zip(floats(new), tap, strict=True)])
            return new, (state, output_of(joined(new, held)))

        _, (before, ys) = jax.lax.scan(tapped, state, (xs, taps))
        return error(ys), before

    taps = [jnp.zeros((steps, *leaf.shape), leaf.dtype) for leaf in floats(state)]
    arriving, before = jax.lax.stop_gradient(jax.grad(error_of, has_aux=True)(taps))
    rows = 1 + len(batch)  # the axes of time and the batch
    # At any scale: the largest entry first, as it may be far beyond what can be squared.
    wide = [g.astype(at_least_float32(g.dtype)) for g in arriving]
    largest = _each_row(jnp.max, jnp.maximum, [jnp.abs(g) for g in wide], rows)
    counts = largest != 0
    wide = [g / _beside(jnp.where(counts, largest, 1), g) for g in wide]
    norm = _norm(wide, rows)
    unit = [
        (g / _beside(jnp.where(counts, norm, 1), g)).astype(leaf.dtype)
        for g, leaf in zip(wide, arriving, strict=True)
    ]

    def leaving(state: State, x: PyTree, unit: list[Array]) -> list[Array]:
        """What flows out of a step backwards where `unit` flows in."""
        _, back = jax.vjp(
            lambda values: floats(step(learned, with_floats(state, values), x)), floats(state)
        )
        return back(unit)[0]

    through = jax.vmap(leaving)(before, xs, unit)
    ratio = _norm([g.astype(at_least_float32(g.dtype)) for g in through], rows)
    penalties = jnp.where(counts, jnp.square(ratio - 1), jnp.zeros_like(ratio))
    return penalties.sum(axis=0).mean()


def _each_row(
    reduce: Callable[..., Array],
    combine: Callable[[Array, Array], Array],
    leaves: list[Array],
    rows: int,
) -> Array:
    """One number of each row, over all leaves: the rows are the first axes."""
    first, *others = [reduce(leaf, axis=tuple(range(rows, leaf.ndim))) for leaf in leaves]
    for other in others:
        first = combine(first, other)
    return first


def _norm(leaves: list[Array], rows: int) -> Array:
    """The norm of each row; its gradient where it is 0 is 0."""
    squares = _each_row(jnp.sum, jnp.add, [jnp.square(leaf) for leaf in leaves], rows)
    some = squares > 0
    return jnp.where(some, jnp.sqrt(jnp.where(some, squares, 1)), 0)


def _beside(each: Array, leaf: Array) -> Array:
    """A number of each row beside the rows of a leaf."""
    return each.reshape(*each.shape, *(1,) * (leaf.ndim - each.ndim))


def weight_noise(key: Array, params: Params, scale: float | Array) -> Params:
    """Adds noise to weights, for one step of training: w + scale ε, ε ~ N(0, 1).

    Take the gradient with respect to the parameters without noise, through this function, with
    another key each step; evaluation goes without. Weights are what weight decay shrinks
    (`rnnjax.decays`): biases, gains, vectors of symbols and initial states have no noise.

    Args:
      key: the key of the step.
      params: the parameters of a cell or a layer.
      scale: the standard deviation, at least 0; it may be traced, and be 0.

    Returns:
      Parameters of the same tree and dtypes.

    Raises:
      TypeError, ValueError: `scale` is no number, or negative.

    Example:
      >>> import jax, rnnjax
      >>> from rnnjax.train import weight_noise
      >>> params = rnnjax.lstm(4).init(jax.random.key(0), 3)
      >>> noisy = weight_noise(jax.random.key(1), params, 0.075)
      >>> bool((noisy.w_h != params.w_h).all()), bool((noisy.b == params.b).all())
      (True, True)

    Reference:
      Graves, Practical Variational Inference for Neural Networks, NeurIPS 2011; with 0.075 in
      Graves, Mohamed & Hinton, Speech Recognition with Deep Recurrent Neural Networks, 2013,
      arXiv:1303.5778.
    """
    if not isinstance(scale, jax.Array):
        scale = non_negative("scale", scale)

    def noisy(path: tuple, leaf: Array, weight: bool) -> Array:
        if not weight or not is_floating(leaf):
            return leaf
        noise = jax.random.normal(jax.random.fold_in(key, folded(path)), leaf.shape, leaf.dtype)
        return leaf + jnp.asarray(scale, leaf.dtype) * noise

    return jax.tree.map_with_path(noisy, params, decays(params))
