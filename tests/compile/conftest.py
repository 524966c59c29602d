"""float64 for everything in this folder: the oracle is compared at 1e-10."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def _float64():
    with jax.enable_x64(True):
        yield
