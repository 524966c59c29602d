"""`jax.export` of what this library makes: sizes that are not known, trees that are ours."""

import importlib
import os
import pkgutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import rnnjax
from rnnjax import cells

pytest.importorskip("flatbuffers", reason="jax.export writes with flatbuffers")


def named_tuples():
    """The NamedTuples of the floors below training that can stand in params or a state."""
    for info in pkgutil.walk_packages(rnnjax.__path__, "rnnjax."):
        part = info.name.split(".")[1]
        if part in ("_cell", "_combine", "attention", "cells", "layers"):
            for value in vars(importlib.import_module(info.name)).values():
                if isinstance(value, type) and hasattr(value, "_fields"):
                    yield value


@pytest.mark.parametrize("tree", sorted(set(named_tuples()), key=str), ids=lambda t: t.__name__)
def test_our_trees_can_be_written(tree):
    args = tree(*(jnp.ones(()) for _ in tree._fields))
    written = export.export(jax.jit(lambda a: a))(args)
    assert isinstance(export.deserialize(written.serialize()).call(args), tree)


def test_a_streaming_step_is_written_and_read():
    cell = rnnjax.lstm(4)
    params = cell.init(jax.random.key(0), 2)
    args = params, cell.initial_state(params, (3,)), jnp.ones((3, 2))
    read = export.deserialize(export.export(jax.jit(cell.step))(*args).serialize())
    state, y = read.call(*args)
    assert isinstance(state, cells.LSTMState)
    np.testing.assert_allclose(y, cell.step(*args)[1], rtol=1e-6)


@pytest.mark.parametrize("shape", ["5, b, 2", "t, 3, 2", "t, b, 2"])
def test_a_sequence_of_unknown_size(shape):
    cell = rnnjax.stack(rnnjax.lstm(4), rnnjax.linear(2))
    params = cell.init(jax.random.key(0), 2)

    def run(params, xs, lengths):
        return rnnjax.unroll(cell, params, None, xs, lengths=lengths)[1]

    sizes = export.symbolic_shape(shape)
    xs, lengths = jnp.linspace(-1, 1, 30).reshape(5, 3, 2), jnp.array([5, 2, 0])
    specs = jax.ShapeDtypeStruct(sizes, xs.dtype), jax.ShapeDtypeStruct(sizes[1:2], lengths.dtype)
    types = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), params)
    written = export.export(jax.jit(run))(types, *specs)
    np.testing.assert_allclose(
        written.call(params, xs, lengths), run(params, xs, lengths), atol=1e-6
    )


SERVER = """
import sys, numpy; from jax import export
step = export.deserialize(open(sys.argv[1], "rb").read())
h, xs, ys = numpy.load(sys.argv[2]).values()
for x, y in zip(xs, ys):
    h, got = step.call(h, x)
    numpy.testing.assert_allclose(got, y, atol=1e-6)
assert "rnnjax" not in sys.modules
"""


def test_a_streaming_step_is_served_without_this_library(tmp_path):
    """The weights are in the program, and its state is an array."""
    cell = rnnjax.stack(rnnjax.gru(4), rnnjax.linear(2))
    params, xs = cell.init(jax.random.key(0), 2), np.ones((3, 5, 2), np.float32)
    h = cell.initial_state(params, (5,))[0]

    def step(h, x):
        (h, _), y = cell.step(params, (h, ()), x)
        return h, y

    written = export.export(jax.jit(step))(h, xs[0]).serialize()
    (tmp_path / "step").write_bytes(written)
    _, ys = rnnjax.unroll(cell, params, (h, ()), xs)
    np.savez(tmp_path / "data.npz", h=h, xs=xs, ys=ys)
    command = [sys.executable, "-c", SERVER, tmp_path / "step", tmp_path / "data.npz"]
    subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, "JAX_PLATFORMS": "cpu"})
