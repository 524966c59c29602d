"""Floor 1: the recurrence compiler, `scan` and `plan`."""

from typing import Any

from rnnjax import _newest
from rnnjax._compile import _jax
from rnnjax._compile._explain import Plan as Plan

_jax.warn_if_new()
try:
    from rnnjax._compile._plan import plan as plan
    from rnnjax._compile._scan import scan as scan  # pyright: ignore[reportAssignmentType]
except (ImportError, AttributeError):
    if not _newest.is_new():
        raise
    from rnnjax._compile import _plain
    from rnnjax._compile._options import Options

    def scan(step: Any, params: Any, state: Any, xs: Any, **options: Any) -> Any:
        """`jax.lax.scan(partial(step, params), state, xs)`, on a JAX that is not understood."""
        return _plain.scan(step, params, state, xs, Options(**options))

    def plan(step: Any, params: Any, state: Any, xs: Any, **options: Any) -> Plan:
        """The plan of that `scan`."""
        return _plain.plan(xs, Options(**options))
