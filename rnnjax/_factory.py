"""Floor 0: factories, whose equal calls give one cell, and the checks of their arguments."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import numbers
import operator
import weakref
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, TypeVar, get_origin

import jax
import numpy as np


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


# Options of other libraries, and where ours are: an option never changes the tree of parameters.
ELSEWHERE = {
    "forget_bias": 'it is an initialiser, init=PRESETS["rnnjax"]._replace(forget_bias=2.0)',
    "layer_norm": "cells with layer normalisation are cells of their own, layer_norm_lstm and "
    "layer_norm_gru",
    "peephole": "a cell with more parameters is a cell of its own, not an option: peephole_lstm",
    "projection_size": "a cell with more parameters is a cell of its own, not an option: "
    "projected_lstm(256, 128)",
    "learn": "use learned_leaky(cell, rate)",
    "forcing": "use teacher_forcing(cell, size) or scheduled_sampling(cell, size, rate=...), whose "
    "inputs are pairs (x_t, d_t)",
    "dropout": "wrap the cell, as in input_dropout(cell, 0.5) or recurrent_dropout(cell, 0.5)",
    "num_layers": "stack cells, as in stack(lstm(256), lstm(256))",
    "bidirectional": "use the layer bidirectional(cell)",
    "dtype": "parameters follow the dtype of the inputs; cast(cell, dtype) computes in another",
}

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
            unknown = [name for name in kwargs if name not in signature.parameters]
            hint = next((f": {ELSEWHERE[name]}" for name in unknown if name in ELSEWHERE), "")
            raise TypeError(f"{make.__name__}(): {error}{hint}") from None
        bound.apply_defaults()
        for name, check in checks.items():
            bound.arguments[name] = check(f"{make.__name__}: {name}", bound.arguments[name])
        for name, value in bound.arguments.items():
            keywords = signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
            for one in value.values() if keywords else (value,):
                _require_hashable(f"{make.__name__}: {name}", one)
        # In the order of the signature, `**keywords` in that of the call, which may mean something.
        recipe = (factory, bound.args, tuple(bound.kwargs.items()))
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
