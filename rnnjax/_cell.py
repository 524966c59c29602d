"""Floor 0: the contract. Read this file first.

A cell is its equations: three pure functions and a few words about them.

    params   = cell.init(key, x_spec)               drawn once
    state    = cell.initial_state(params, (B,))     one leaf per quantity, each [*B, ...]
    state, y = cell.step(params, state, x)          the equations of one time step

`functools.partial(cell.step, params)` is the body of a `jax.lax.scan`. Everything that makes a cell
fast, safe or convenient is a function around it: `rnnjax.unroll` runs it over a sequence with
padding, resets and direction; `rnnjax.stack` and its kin take cells and return a cell.

Four rules hold for every cell, ours or yours.

* **Pure.** A step depends on its arguments alone. What is learned is in `params`, what is carried
  is in `state`, and the type of the state (tree, shapes, dtypes) never changes from step to step.
* **Any batch.** Every state leaf has leading shape [*B], counters and keys too, and every function
  works for any number of batch axes, none included.
* **Noise is keys.** A cell that draws random numbers keeps typed PRNG keys in its state, one leaf
  [*B, 1], made by `noise_keys`; masks are functions of the key. Evaluation is the same tree with
  the leaf [*B, 0]: no key, no noise, and no time spent on it. Because keys are recognised by
  their dtype, `rekey`, resets and batching need nothing more from a cell.
* **Held is held.** What stays the same during a sequence but differs by row stands in the state as
  `Held(value)`. Parameters have no batch axes, and a step closes over no arrays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._factory import Recipe, natural

Array = jax.Array
PyTree = Any
Params = PyTree
State = PyTree


class InitFn(Protocol):
    """Draws the parameters for inputs of one spec."""

    def __call__(self, key: Array, x_spec: PyTree, /) -> Params: ...


class StateFn(Protocol):
    """The state before the first step. `key=None` means evaluation: no noise."""

    def __call__(
        self, params: Params, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> State: ...


class StepFn(Protocol):
    """The equations of one time step, for any leading batch axes."""

    def __call__(self, params: Params, state: State, x: PyTree, /) -> tuple[State, PyTree]: ...


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False)
class Cell(Recipe):
    """A recurrent cell: its equations, and what others need to know about them.

    A Cell is static: it may be an argument of a jitted function, a leafless pytree, a dict key.
    Cells made by the same factory with the same arguments are equal, and pickle as that call. A
    cell made by hand, as below, is as good as ours; it equals another with the same fields.

    Attributes:
      name: how errors, profiles and benchmark rows call it, such as "lstm(256)".
      init: `(key, x_spec) -> params`. `x_spec` describes one unbatched step: a pytree of
        `jax.ShapeDtypeStruct` (arrays do); an int n means a float vector [n], `tokens()` a symbol.
      initial_state: `(params, batch_shape=(), *, key=None) -> state`. Every leaf is
        [*batch_shape, ...] and owns its buffer (a buffer used twice cannot be donated).
      step: `(params, state, x) -> (state, y)`. Plain equations, without the checks of `unroll`:
        a state of one row and an input of several broadcast, as they do everywhere in JAX.
      x_ndims: the number of axes of one unbatched input; a pytree prefix of ints when x is a
        tree. All axes before them are batch axes.
      output_of: `state -> y` when y is a function of the new state alone (lstm: h), else None.
      recurrent: the names of the parameter fields that multiply the hidden state; paths where
        parameters are nested, such as "0.w_h" for the first cell of a stack.
      fill: what stands in for the input of a row that has no real step; a pytree prefix of
        numbers when x is a tree. Gradients at padding are formed, then dropped, and 0 * inf is
        NaN, so set it when the step has no finite derivative at zero input.

    Example:
      A leaky counter, as a user would write it:

      >>> import jax, jax.numpy as jnp, rnnjax
      >>> counter = rnnjax.Cell(
      ...     name="counter",
      ...     init=lambda key, x_spec: {"keep": jnp.asarray(0.5)},
      ...     initial_state=lambda params, batch_shape=(), *, key=None: jnp.zeros(batch_shape),
      ...     step=lambda params, n, x: (params["keep"] * n + x,) * 2,
      ...     x_ndims=0,
      ... )
      >>> params = counter.init(jax.random.key(0), jax.ShapeDtypeStruct((), float))
      >>> state, ys = rnnjax.unroll(counter, params, None, jnp.ones(3))
      >>> print(ys)
      [1.   1.5  1.75]
    """

    name: str
    init: InitFn
    initial_state: StateFn
    step: StepFn
    x_ndims: PyTree = 1
    output_of: Callable[[State], PyTree] | None = None
    recurrent: tuple[str, ...] = ()
    fill: PyTree = 0.0


def tokens() -> jax.ShapeDtypeStruct:
    """The `x_spec` of symbols: one integer a step.

    Returns:
      A `jax.ShapeDtypeStruct` of shape [].

    Example:
      >>> import jax, rnnjax
      >>> params = rnnjax.embed(96, 8).init(jax.random.key(0), rnnjax.tokens())
      >>> params.table.shape
      (96, 8)
    """
    return jax.ShapeDtypeStruct((), jnp.result_type(int))


def step_spec(xs: PyTree) -> PyTree:
    """The spec of one unbatched step of inputs [T, B, ...]."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[2:], x.dtype), xs)


def as_spec(x_spec: PyTree) -> PyTree:
    """The spec of one unbatched step as `jax.ShapeDtypeStruct`s.

    A leaf may be one, an array, an int n for a float vector [n], or a dtype for one number of it.
    """

    def spec(leaf: Any) -> jax.ShapeDtypeStruct:
        if isinstance(leaf, str | type | np.dtype):
            leaf = jax.ShapeDtypeStruct((), jax.dtypes.canonicalize_dtype(leaf))
        if hasattr(leaf, "shape") and hasattr(leaf, "dtype") and not isinstance(leaf, np.integer):
            # `ShapeDtypeStruct((), int)` says int64, which JAX warns of unless x64 is enabled.
            dtype = jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
            return jax.ShapeDtypeStruct(leaf.shape, dtype)
        return jax.ShapeDtypeStruct((natural("x_spec", leaf, least=1),), jnp.result_type(float))

    return jax.tree.map(spec, x_spec)


class Held(NamedTuple):
    """What is the same during a sequence but differs by row: the word for it in a state.

    An encoder's outputs with their lengths, an image, a goal: they stand in the state as
    `Held(value)`. `unroll` hands the very same value to every step, and takes what depends on it
    alone out of the loop; what a step returns in its place is not looked at. Resets keep it, and so
    does `rekey`. Its sizes are the caller's: `initial_state` gives an empty one, such as a memory
    of no places, and the state that is passed to `unroll` need but agree on the axes of the batch.
    `rnnjax.hold` puts it there, wherever the cell stands in another.

    Attributes:
      value: any pytree, every leaf [*B, ...].

    Example:
      A cell that reads the mean of a memory [*B, S, D] of any size S at each step:

      >>> import jax.numpy as jnp, rnnjax
      >>> def step(params, state, x):
      ...     h, memory = state
      ...     h = jnp.tanh(h + x + memory.value.mean(-2))
      ...     return (h, memory), h
      >>> reader = rnnjax.Cell(
      ...     name="reader",
      ...     init=lambda key, x_spec: (),
      ...     initial_state=lambda params, batch=(), *, key=None: (
      ...         jnp.zeros((*batch, 3)), rnnjax.Held(jnp.zeros((*batch, 1, 3)))
      ...     ),
      ...     step=step,
      ... )
      >>> state = (jnp.zeros((2, 3)), rnnjax.Held(jnp.ones((2, 7, 3))))
      >>> state, ys = rnnjax.unroll(reader, (), state, jnp.ones((5, 2, 3)))
      >>> state[1].value.shape
      (2, 7, 3)
    """

    value: Any


def is_held(node: Any) -> bool:
    """Whether a node of a state is what it holds."""
    return isinstance(node, Held)


def parted(state: State) -> tuple[State, list[Any]]:
    """A state without what it holds, and that, in order."""
    held = [node.value for node in jax.tree.leaves(state, is_leaf=is_held) if is_held(node)]
    return jax.tree.map(lambda n: Held(()) if is_held(n) else n, state, is_leaf=is_held), held


def joined(state: State, held: list[Any]) -> State:
    """The inverse of `parted`."""
    rest = iter(held)
    return jax.tree.map(
        lambda node: Held(next(rest)) if is_held(node) else node, state, is_leaf=is_held
    )
