"""What `jax.export` needs to write and read programs whose arguments are our trees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jax.export import register_namedtuple_serialization


def register(names: Mapping[str, Any]) -> None:
    """Registers the NamedTuples among some public names, under those names."""
    for name, value in names.items():
        if isinstance(value, type) and issubclass(value, tuple):
            register_namedtuple_serialization(value, serialized_name=f"rnnjax.{name}")
