"""What every test runs under: strict dtype promotion, and fixed examples for hypothesis."""

import os

import hypothesis
import jax
import pytest

# Before anything imports keras: it reads its backend once.
os.environ.setdefault("KERAS_BACKEND", "jax")

hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("fixed")


def pytest_collection_modifyitems(config, items):
    """The long versions run by RNNJAX_SLOW=1 alone, as `make slow` does."""
    if os.environ.get("RNNJAX_SLOW") != "1":
        long = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if item not in set(long)]
        config.hook.pytest_deselected(items=long)


@pytest.fixture(autouse=True)
def _strict_dtype_promotion():
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def x64():
    """Runs the test with float64 as the default."""
    with jax.enable_x64(True):
        yield
