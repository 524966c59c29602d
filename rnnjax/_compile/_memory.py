"""Remembers, for each step, what was made for it, as long as the step can only be what it was.

A function may read more than its arguments: what it closes over, global variables, attributes. So
what was made for a step is used again only if all of that is known and is what it was. A step that
sees what may change unseen, such as the attributes of an object or a NumPy array, is traced at
each call, as by `lax.scan`.

A step may also close over large arrays, or over tracers that must not outlive their trace. So what
is made for a step hangs on the step itself and is gone when it is.
"""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from rnnjax._cell import Cell
from rnnjax._compile._static import Static

# For each owner a reference to the very object that is the key; and, for its functions, what they
# saw when something was made for them, and what was made.
_made: weakref.WeakKeyDictionary[Any, tuple[Any, dict[Any, Any]]] = weakref.WeakKeyDictionary()

# What these modules hold is taken to be constant.
_LIBRARIES = frozenset({"builtins", "functools", "jax", "math", "numpy", "operator", "rnnjax"})

_CONSTANTS = (
    type(None), type(...), bool, int, float, complex, str, bytes, jax.Array, np.generic, np.dtype,
    types.CodeType,
)  # fmt: skip

# More than this in sight costs more to look through than it saves.
_MOST = 1000


def remembered(step: Any, static: Static, make: Callable[[Callable[[], Any]], Any]) -> Any:
    """`make(get)`, made once for a step that has not changed, where `get()` is the step.

    Args:
      step: A function, a bound method, a `Cell`. Equal ones share; one that has no hash or cannot
        be referenced weakly, or that sees what may change unseen, is made for at every call.
      static: What the step is given beside arrays; another is made for apart.
      make: Called with a function that returns the step. Its result must not hold the step.

    Returns:
      What `make` returned.
    """
    # A bound method is a new object at each access; what lasts is the object it is bound to.
    owner, function = step, None
    if isinstance(step, types.MethodType):
        owner, function = step.__self__, step.__func__
    sight = in_sight(step, *static.values())
    try:
        alive, owned = _made.setdefault(owner, (weakref.ref(owner), {}))
        seen, made = owned.get((function, static), ((), None))
    except TypeError:
        sight = None
    if sight is None:
        return make(lambda: step)

    def get() -> Any:
        return types.MethodType(function, alive()) if function else alive()

    if len(seen) != len(sight) or not all(_same(a(), b) for a, b in zip(seen, sight, strict=True)):
        made = make(get)
        owned[function, static] = [_reference(value) for value in sight], made
    return made


def _same(before: Any, now: Any) -> bool:
    """Whether a value is what it was: the same object, or an equal number or text.

    -0.0 is not 0.0, nor 1 True.
    """
    plain = type(before) is type(now) and isinstance(now, float | complex | int | str | bytes)
    return before is now or (plain and repr(before) == repr(now))


def _reference(value: Any) -> Callable[[], Any]:
    """Returns the value, without keeping it alive where that can be had: it may be the step."""
    try:
        return weakref.ref(value)
    except TypeError:
        return lambda: value


def in_sight(*roots: Any) -> list[Any] | None:
    """All that a step can see beside its arguments; None if any of it may change unseen.

    Args:
      *roots: Functions, methods, partials, cells, and what may be given to them.

    Returns:
      The objects, in the order in which they are met. Where each is what it was, nothing has
      changed: what may change in place (a list, a dict) is followed by all that it holds.
    """
    found: list[Any] = []
    todo, seen = list(roots), set()
    while todo:
        value = todo.pop()
        found.append(value)
        if isinstance(value, Tracer) or len(found) > _MOST:
            return None
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, types.FunctionType):
            todo += _around(value)
        elif isinstance(value, types.MethodType):
            todo += value.__self__, value.__func__
        elif isinstance(value, functools.partial):
            todo += value.func, *value.args, *value.keywords.values()
        elif isinstance(value, tuple | list):
            todo += len(value), *value
        elif isinstance(value, dict):
            todo += len(value), *value.keys(), *value.values()
        elif isinstance(value, Cell):
            todo += value.step, value.initial_state, value.fill, value.x_ndims
        elif isinstance(value, _CONSTANTS) or _of_a_library(value) or _is_named_tuple(value):
            pass
        elif hasattr(value, "__wrapped__"):  # under jit
            todo.append(value.__wrapped__)
        elif getattr(getattr(value, "__dataclass_params__", None), "frozen", False):
            # How a factory made it is no part of what it is.
            todo += (field for name, field in vars(value).items() if name != "_recipe")
        else:
            return None
    return found


def _around(function: types.FunctionType) -> list[Any]:
    """What a function closes over, its defaults, and the global variables that it names."""
    cells, defaults = function.__closure__ or (), function.__kwdefaults__ or {}
    try:
        held = [cell.cell_contents for cell in cells]
    except ValueError:  # a variable that has no value yet
        held = [NotImplemented]
    held += [function.__code__, *(function.__defaults__ or ()), *defaults.values()]
    if not _of_a_library(function):
        held += [function.__globals__[n] for n in _names(function) if n in function.__globals__]
    return held


def _names(function: types.FunctionType) -> set[str]:
    """The names in a function and in those defined in it."""
    names, codes = set(), [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [inner for inner in code.co_consts if isinstance(inner, types.CodeType)]
    return names


def _of_a_library(value: Any) -> bool:
    is_module = isinstance(value, types.ModuleType)
    name = value.__name__ if is_module else getattr(value, "__module__", None)
    return (is_module or callable(value)) and str(name).partition(".")[0] in _LIBRARIES


def _is_named_tuple(value: Any) -> bool:
    """A class whose instances are what they are called with."""
    return isinstance(value, type) and issubclass(value, tuple) and hasattr(value, "_fields")
