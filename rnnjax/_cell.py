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
import functools
import inspect
import math
import numbers
import operator
import weakref
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, ParamSpec, Protocol, TypeVar, get_origin

import jax
import jax.numpy as jnp
import numpy as np

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


@dataclasses.dataclass(frozen=True, eq=False)
class Recipe:
    """Equality, hash and pickle by the call that made it; by fields for what is made by hand."""

    # (factory, arguments, keyword arguments), set by `cell_factory`. Not an argument, so that
    # `dataclasses.replace` gives a cell that no longer claims to be the factory's.
    _recipe: tuple | None = dataclasses.field(default=None, init=False, repr=False)

    def _identity(self) -> tuple:
        if self._recipe is not None:
            return self._recipe
        # What is made by hand: its fields, in a form that is hashable also where x is a dict.
        return tuple(
            (*jax.tree.leaves(value), jax.tree.structure(value))
            if isinstance(value, dict)
            else value
            for value in (getattr(self, field.name) for field in dataclasses.fields(self))
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return self is other or self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __reduce__(self) -> str | tuple[Any, ...]:
        return object.__reduce__(self) if self._recipe is None else (_call, self._recipe)


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
        `jax.ShapeDtypeStruct` (arrays do); an int n means a float vector [n].
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


# --- factories -----------------------------------------------------------------------------------

P = ParamSpec("P")
C = TypeVar("C", bound=Recipe)


def cell_factory(make: Callable[P, C]) -> Callable[P, C]:
    """Makes equal calls give one cell: equal, hashable and pickled by the call that made it.

    Arguments are bound to the signature, so `lstm(256)` is `lstm(hidden_size=256)`. Parameters
    annotated `Annotated[T, check]` are replaced by `check(what, value)`, which raises on a value
    that will not do and brings equal values to one form (`Size`, `Rate` below).

    Args:
      make: a function at module level whose arguments are hashable and which returns a cell.

    Returns:
      The same function, returning the same cell for the same arguments.

    Raises:
      TypeError: an argument is not hashable, such as a list or an array.

    Example:
      >>> import pickle, rnnjax
      >>> rnnjax.lstm(256) is rnnjax.lstm(hidden_size=256)
      True
      >>> pickle.loads(pickle.dumps(rnnjax.lstm(256))) == rnnjax.lstm(256)
      True
    """
    signature = inspect.signature(make, eval_str=True)
    checks = {
        name: parameter.annotation.__metadata__[0]
        for name, parameter in signature.parameters.items()
        if get_origin(parameter.annotation) is Annotated
    }
    # Weak: a program that makes many cells keeps only those it holds.
    made: weakref.WeakValueDictionary[tuple, C] = weakref.WeakValueDictionary()

    @functools.wraps(make)
    def factory(*args: P.args, **kwargs: P.kwargs) -> C:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{make.__name__}(): {error}") from None
        bound.apply_defaults()
        for name, check in checks.items():
            bound.arguments[name] = check(f"{make.__name__}: {name}", bound.arguments[name])
        for name, value in bound.arguments.items():
            _require_hashable(f"{make.__name__}: {name}", value)
        recipe = (factory, bound.args, tuple(sorted(bound.kwargs.items())))
        if (cell := made.get(recipe)) is None:
            cell = dataclasses.replace(make(*bound.args, **bound.kwargs))
            object.__setattr__(cell, "_recipe", recipe)
            cell = made.setdefault(recipe, cell)
        return cell

    return factory


def _call(factory: Callable[..., C], args: tuple, kwargs: tuple[tuple[str, Any], ...]) -> C:
    return factory(*args, **dict(kwargs))


def _require_hashable(what: str, value: object) -> None:
    try:
        hash(value)
    except TypeError:
        raise TypeError(
            f"{what} must be hashable, got {type(value).__name__}: "
            "pass a number, a string, a tuple or a function"
        ) from None


def natural(what: str, value: Any, *, least: int = 0) -> int:
    """`value` as an int of at least `least`; raises TypeError or ValueError naming `what`."""
    try:
        number = None if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = None
    wanted = "a positive int" if least == 1 else f"an int of at least {least}"
    if number is None:
        raise TypeError(f"{what} must be {wanted}, got {value!r}")
    if number < least:
        raise ValueError(f"{what} must be {wanted}, got {number}")
    return number


def real(what: str, value: Any, wanted: str, fits: Callable[[float], bool]) -> float:
    """`value` as a float that fits; raises TypeError or ValueError naming `what` and the wanted."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{what} must be {wanted}, got {value!r}")
    if not fits(float(value)):
        raise ValueError(f"{what} must be {wanted}, got {value}")
    return float(value)


def _rate(what: str, value: Any) -> float:
    return real(what, value, "a number in [0, 1)", lambda x: 0 <= x < 1)


def _positive(what: str, value: Any) -> float:
    return real(what, value, "a positive number", lambda x: 0 < x < math.inf)


def non_negative(what: str, value: Any) -> float:
    """`value` as a float; raises unless it is a finite number of at least 0."""
    return real(what, value, "a number, at least 0 and finite", lambda x: 0 <= x < math.inf)


def one_of(*choices: str) -> Callable[[str, Any], str]:
    """A check that a value is one of a few names."""

    def check(what: str, value: Any) -> str:
        if value not in choices:
            raise ValueError(f"{what} must be one of {', '.join(choices)}, got {value!r}")
        return value

    return check


Size = Annotated[int, functools.partial(natural, least=1)]
Positive = Annotated[float, _positive]
Rate = Annotated[float, _rate]


def require_cell(what: str, value: Any, hint: str = "call a factory, as in lstm(256)") -> Cell:
    """The cell; raises TypeError for anything else."""
    if not isinstance(value, Cell):
        name = getattr(value, "__name__", type(value).__name__)
        raise TypeError(f"{what} must be a Cell, got {name}: {hint}")
    return value


def as_spec(x_spec: PyTree) -> PyTree:
    """The spec of one unbatched step as `jax.ShapeDtypeStruct`s; an int n is a float vector [n]."""

    def spec(leaf: Any) -> jax.ShapeDtypeStruct:
        if hasattr(leaf, "shape") and hasattr(leaf, "dtype") and not isinstance(leaf, np.integer):
            # `ShapeDtypeStruct((), int)` says int64, which JAX warns of unless x64 is enabled.
            dtype = jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
            return jax.ShapeDtypeStruct(leaf.shape, dtype)
        return jax.ShapeDtypeStruct((natural("x_spec", leaf, least=1),), jnp.result_type(float))

    return jax.tree.map(spec, x_spec)


def at_least_float32(dtype: Any) -> Any:
    """float32 for the half precisions, else `dtype`: what norms and sums are taken in."""
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


# --- what is held ---------------------------------------------------------------------------------


class Held(NamedTuple):
    """What is the same during a sequence but differs by row: the word for it in a state.

    An encoder's outputs with their lengths, an image, a goal: they stand in the state as
    `Held(value)`. `unroll` hands the very same value to every step, and takes what depends on it
    alone out of the loop; what a step returns in its place is not looked at. Resets keep it, and so
    does `rekey`. Its sizes are the caller's: `initial_state` gives an empty one, such as a memory
    of no places, and the state that is passed to `unroll` need but agree on the axes of the batch.

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


def _is_held(node: Any) -> bool:
    return isinstance(node, Held)


def parted(state: State) -> tuple[State, list[Any]]:
    """A state without what it holds, and that, in order."""
    held = [node.value for node in jax.tree.leaves(state, is_leaf=_is_held) if _is_held(node)]
    return jax.tree.map(lambda n: Held(()) if _is_held(n) else n, state, is_leaf=_is_held), held


def joined(state: State, held: list[Any]) -> State:
    """The inverse of `parted`."""
    rest = iter(held)
    return jax.tree.map(
        lambda node: Held(next(rest)) if _is_held(node) else node, state, is_leaf=_is_held
    )


# --- noise ---------------------------------------------------------------------------------------


def is_key(x: Any) -> bool:
    """Whether x holds typed PRNG keys."""
    return jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key)


def noise_keys(key: Array | None, batch_shape: tuple[int, ...]) -> Array:
    """The key leaf of a noisy cell's state: one key a row, or none in evaluation.

    Row b's key depends on `key` and b alone, not on the size of the batch.

    Args:
      key: one key for the batch, one key a row [*B], or None for evaluation. Keys of any kind,
        old-style uint32 keys included; the leaf holds threefry keys.
      batch_shape: *B.

    Returns:
      Typed keys [*B, 1], or [*B, 0] when `key` is None.

    Raises:
      ValueError: the shape of `key` is neither [] nor [*B].

    Example:
      >>> import jax, rnnjax
      >>> rnnjax.noise_keys(jax.random.key(0), (3,)).shape, rnnjax.noise_keys(None, (3,)).shape
      ((3, 1), (3, 0))
    """
    if key is None:
        return jnp.broadcast_to(_threefry(jax.random.key(0)), (*batch_shape, 0))
    key = _threefry(key)
    if key.shape not in ((), batch_shape):
        raise ValueError(f"key has shape {list(key.shape)}, expected [] or {list(batch_shape)}")
    if key.shape != batch_shape:
        key = fold_in(key, jnp.arange(math.prod(batch_shape)).reshape(batch_shape))
    return key[..., None]


def fold_in(key: Array, data: jax.typing.ArrayLike) -> Array:
    """`jax.random.fold_in` for any batch of keys; the result is of threefry keys."""
    return jnp.vectorize(jax.random.fold_in)(_threefry(key), data)


def draw(key: Array, probability: float, shape: tuple[int, ...]) -> Array:
    """True with a probability: bool [*B, *shape] from keys [*B], each row from its own."""
    one = jnp.vectorize(
        lambda key: jax.random.bernoulli(key, probability, shape),
        signature=f"()->({','.join(f'f{i}' for i in range(len(shape)))})",
    )
    return one(key)


def _threefry(key: Array) -> Array:
    """The key as a threefry key: only threefry draws for a row in a batch what it draws alone."""
    data = jax.random.key_data(key) if is_key(key) else key
    return jax.random.wrap_key_data(data[..., :2], impl="threefry2x32")  # rbg has two of them


def rekey(cell: Cell, state: State, key: Array) -> State:
    """Draws a state's noise anew from `key`, and leaves everything else as it is.

    Truncated back-propagation calls it once a window, so that masks which are fixed within a
    sequence are fresh in each window. A state without noise comes back unchanged.

    Args:
      cell: the cell whose state it is.
      state: its state.
      key: one key for the batch.

    Returns:
      The state, its key leaves replaced by keys folded from `key`, the leaf's place and the row.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.dropout(0.5)
      >>> state = cell.initial_state((), (2,), key=jax.random.key(0))
      >>> bool((rnnjax.rekey(cell, state, jax.random.key(1)).key == state.key).any())
      False
    """
    del cell  # every cell keeps its noise as keys, so the state says it all
    state, held = parted(state)
    leaves, tree = jax.tree.flatten(state)
    redrawn = tree.unflatten(
        noise_keys(fold_in(key, i), leaf.shape[:-1])
        if is_key(leaf) and leaf.shape[-1:] == (1,)
        else leaf
        for i, leaf in enumerate(leaves)
    )
    return joined(redrawn, held)
