"""Whether JAX traces anything: seen by its own events, since a step that counts its calls in a list
of its own sees what changes, and is traced anew for that alone.
"""

import contextlib

import jax

_traced = []


def _listen(event, *_, **__):
    if event.endswith("jaxpr_trace_duration"):
        _traced.append(event)


jax.monitoring.register_event_duration_secs_listener(_listen)


@contextlib.contextmanager
def traces(anything: bool):
    """Asserts that what is called inside traces something, or nothing at all."""
    before = len(_traced)
    yield
    assert (len(_traced) > before) == anything
