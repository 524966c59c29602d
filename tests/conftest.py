"""What every test runs under: strict dtype promotion, fixed examples for hypothesis, quick compiles
(environment.py) and an account of what all of it costs (ledger.py)."""

from environment import LONG  # first, before anything imports jax

# isort: split
import math
import signal

import hypothesis
import jax
import pytest
from ledger import Ledger

from rnnjax._compile import _cost

hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("fixed")


WORSE = _cost.WORSE


def pytest_addoption(parser):
    parser.addoption(
        "--budget", action="store_true", help="fail where a file takes twice its budget, or more"
    )


def pytest_configure(config):
    # A shell's & ignores it, and so would what the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(Ledger(config), "ledger")


def pytest_collection_modifyitems(config, items):
    """The long versions run by RNNJAX_SLOW=1 alone, as `make slow` does."""
    if not LONG:
        long = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if item not in set(long)]
        config.hook.pytest_deselected(items=long)


def pytest_runtest_setup(item):
    """Programs are optimised as a user's are where a mark says so (pyproject.toml)."""
    quick = item.get_closest_marker("optimised") is None
    if jax.config.read("jax_disable_most_optimizations") != quick:
        jax.config.update("jax_disable_most_optimizations", quick)
        jax.clear_caches()  # they do not go by this switch
    # Arrays of tests are small, and plain scan would be chosen for most; examples show what is.
    chosen = item.get_closest_marker("as_chosen") or isinstance(item, pytest.DoctestItem)
    _cost.WORSE = WORSE if chosen else math.inf


@pytest.fixture(autouse=True)
def _strict_dtype_promotion():
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def x64():
    """Runs the test with float64 as the default."""
    with jax.enable_x64(True):
        yield
