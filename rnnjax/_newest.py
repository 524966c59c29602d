"""Floor 0: the newest JAX that the tests run on."""

from __future__ import annotations

import re

import jax

NEWEST = (0, 12)


def is_new() -> bool:
    """Whether this JAX is newer than any that was tested."""
    return tuple(map(int, re.findall(r"\d+", jax.__version__)[:2])) > NEWEST
