"""What the compiler expects of JAX, and what becomes of a program on a JAX that differs."""

import subprocess
import sys
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import _newest
from rnnjax._compile import _jax


def elman(w, h, x):
    h = jnp.tanh(x @ w + h)
    return h, h


ARGS = jnp.eye(3), jnp.zeros((2, 3)), jnp.linspace(-1, 1, 24).reshape(4, 2, 3)


def test_jax_writes_its_programs_as_expected():
    """Fails by name when a release of JAX changes what the compiler reads."""
    assert _jax.unmet_expectations() == []


@pytest.fixture
def unknown_jax(monkeypatch):
    monkeypatch.setattr(_newest, "NEWEST", (0, 0))
    _jax._tried.cache_clear()
    yield monkeypatch
    _jax._tried.cache_clear()


def test_a_new_jax_that_is_as_expected_is_compiled_for(unknown_jax):
    with pytest.warns(UserWarning, match=r"tested up to JAX 0\.0, this is"):
        _jax.warn_if_new()
    assert [c.kind for c in rnnjax.plan(elman, *ARGS).components] == ["parallel", "loop"]


def test_a_new_jax_that_is_not_runs_plain_scan_and_says_so_once(unknown_jax):
    want = rnnjax.scan(elman, *ARGS)
    _jax._tried.cache_clear()
    unknown_jax.setattr(_jax, "unmet_expectations", lambda: ["an equation called scan"])
    with pytest.warns(UserWarning, match="expected of JAX .*: an equation called scan.*plain"):
        got = rnnjax.scan(elman, *ARGS)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rnnjax.scan(elman, *ARGS)
        found = rnnjax.plan(elman, *ARGS)
    assert found.length == 4
    assert "not understood" in found.why


LOST = """
import warnings, jax, jax.extend.core
jax.__version__ = "99.0.0"
del jax.extend.core.{name}
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    import rnnjax
assert any("tested up to" in str(w.message) for w in said), said
cell = rnnjax.lstm(4)
params = cell.init(jax.random.key(0), 3)
xs = jax.numpy.ones((5, 2, 3))
_, ys = rnnjax.unroll(cell, params, None, xs, lengths=jax.numpy.array([5, 2]))
_, want = jax.lax.scan(lambda s, x: cell.step(params, s, x), cell.initial_state(params, (2,)), xs)
assert abs(ys[:, 0] - want[:, 0]).max() < 1e-6
assert "not understood" in rnnjax.plan(cell.step, params, cell.initial_state(params, (2,)), xs).why
"""


def test_an_interface_that_is_gone_from_a_new_jax_does_not_break_a_program():
    subprocess.run([sys.executable, "-c", LOST.format(name="unmapped_aval")], check=True)
