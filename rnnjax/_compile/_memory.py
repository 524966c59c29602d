"""Remembers, for each step, what was made for it, without keeping the step alive.

A step may close over large arrays, or over tracers that must not outlive their trace. So what is
made for a step hangs on the step itself and is gone when it is.
"""

from __future__ import annotations

import inspect
import types
import weakref
from collections.abc import Callable
from typing import Any

# For each owner a reference to the very object that is the key, and what was made for it.
_made: weakref.WeakKeyDictionary[Any, tuple[Any, dict[Any, Any]]] = weakref.WeakKeyDictionary()


def remembered(step: Callable[..., Any], make: Callable[[Callable[[], Any]], Any]) -> Any:
    """`make(get)`, made once for each step, where `get()` is the step.

    Args:
      step: Any callable. Equal steps share; one that has no hash (it holds arrays) or cannot be
        referenced weakly is made for at every call.
      make: Called with a function that returns the step. Its result must not hold the step.

    Returns:
      What `make` returned.
    """
    # A bound method is a new object at each access; what lasts is the object it is bound to.
    owner, function = step, None
    if inspect.ismethod(step):
        owner, function = step.__self__, step.__func__
    try:
        alive, owned = _made.setdefault(owner, (weakref.ref(owner), {}))
    except TypeError:
        return make(lambda: step)

    def get() -> Callable[..., Any]:
        return types.MethodType(function, alive()) if function else alive()

    if function not in owned:
        owned[function] = make(get)
    return owned[function]
