"""Steps of other libraries, as they stand: values and gradients of plain `lax.scan`, float64.

Each library's cell is turned into a pure step by the means it documents for that.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from rnnjax._compile import scan

from .common import assert_same, check_step, deferred, normal, plain, probe

T, B, D, H = 5, 2, 3, 4


def data():
    return normal(40, B, H), normal(41, B, H), normal(42, T, B, D)


def moved(params):
    """With random biases: the zeros they are drawn as hide a dropped one."""
    return jax.tree.map(
        lambda p: np.asarray(p) + 0.1 * np.asarray(normal(p.size, *p.shape)), params
    )


def products_in_loops(run, *args) -> int:
    """Products in the bodies of the loops of the jaxpr that is executed."""

    def count(jaxpr, inside) -> int:
        total = 0
        for equation in jaxpr.eqns:
            name = equation.primitive.name
            total += inside and name in ("dot_general", "conv_general_dilated")
            looping = inside or name in ("scan", "while")
            for inner in jaxprs_in_params(equation.params):
                total += count(getattr(inner, "jaxpr", inner), looping)
        return total

    return count(jax.make_jaxpr(run)(*args).jaxpr, False)


def check_input_product_leaves(step, params, state, xs, inside: int, plainly: int) -> None:
    """In the loops: `inside` products, where plain scan has `plainly`."""
    assert products_in_loops(lambda *a: plain(step, *a), params, state, xs) == plainly
    assert products_in_loops(lambda *a: scan(step, *a), params, state, xs) == inside


# --- Flax linen -----------------------------------------------------------------------------------


def linen_cell(name: str):
    nn = pytest.importorskip("flax.linen")
    cell = getattr(nn, name)(features=H, param_dtype=jnp.float64, dtype=jnp.float64)
    h, c, xs = data()
    state = (c, h) if name.endswith("LSTMCell") else h
    params = moved(jax.jit(cell.init)(jax.random.key(0), state, np.asarray(xs)[0]))
    return cell.apply, params, state, xs


LINEN = ("SimpleCell", "GRUCell", "MGUCell", "LSTMCell", "OptimizedLSTMCell")


@pytest.mark.parametrize("name", LINEN)
@deferred
def test_flax_linen(name, backward):
    check_step(scan, *linen_cell(name), backward=backward)


@pytest.mark.parametrize("reverse", [True, False])
def test_flax_linen_layers_and_readout(reverse):
    """A module of two cells and dense layers around them, with a layer norm between."""
    nn = pytest.importorskip("flax.linen")

    class Model(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            how = {"param_dtype": jnp.float64, "dtype": jnp.float64}
            x = nn.relu(nn.Dense(D, **how)(x) + 0.01234)
            low, y = nn.GRUCell(H, **how)(carry[0], x)
            high, y = nn.OptimizedLSTMCell(H, **how)(carry[1], nn.LayerNorm(**how)(y))
            return (low, high), nn.Dense(2, **how)(y)

    h, c, xs = data()
    state = (h, (c, h + c))
    model = Model()
    with jax.numpy_dtype_promotion("standard"):  # Flax's LayerNorm mixes dtypes
        params = jax.jit(model.init)(jax.random.key(0), state, np.asarray(xs)[0])
        check_step(scan, model.apply, params, state, xs, reverse=reverse)


def test_flax_linen_conv_lstm():
    nn = pytest.importorskip("flax.linen")
    cell = nn.ConvLSTMCell(2, (3, 3), param_dtype=jnp.float64, dtype=jnp.float64)
    xs, state = normal(43, T, B, 4, 4, 2), (normal(44, B, 4, 4, 2), normal(45, B, 4, 4, 2))
    params = jax.jit(cell.init)(jax.random.key(0), state, np.asarray(xs)[0])
    check_step(scan, cell.apply, params, state, xs)
    check_input_product_leaves(cell.apply, params, state, xs, inside=1, plainly=2)


@pytest.mark.parametrize(("name", "inside", "plainly"), [("SimpleCell", 1, 2)])
def test_flax_linen_input_product_leaves_the_loop(name, inside, plainly):
    check_input_product_leaves(*linen_cell(name), inside=inside, plainly=plainly)


# --- Flax nnx -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SimpleCell", "GRUCell", "LSTMCell", "OptimizedLSTMCell"])
@deferred
def test_flax_nnx(name, backward):
    nnx = pytest.importorskip("flax.nnx")
    how = {"param_dtype": jnp.float64, "dtype": jnp.float64, "rngs": nnx.Rngs(0)}
    cell = getattr(nnx, name)(in_features=D, hidden_features=H, **how)
    graph, params, rest = nnx.split(cell, nnx.Param, ...)
    h, c, xs = data()

    def step(params, state, x):
        return nnx.merge(graph, params, rest)(state, x)

    state = (c, h) if "LSTM" in name else h
    check_step(scan, step, params, state, xs, backward=backward)


# --- Haiku ----------------------------------------------------------------------------------------


@pytest.fixture(params=["VanillaRNN", "GRU", "LSTM"])
def haiku(request):
    hk = pytest.importorskip("haiku")
    h, c, xs = data()
    core = hk.without_apply_rng(hk.transform(lambda x, s: getattr(hk, request.param)(H)(x, s)))
    state = hk.LSTMState(h, c) if request.param == "LSTM" else h
    params = moved(jax.jit(core.init)(jax.random.key(0), np.asarray(xs)[0], state))

    def step(params, state, x):
        y, state = core.apply(params, x, state)
        return state, y

    return request.param, step, params, state, xs


@deferred
def test_haiku(haiku, backward):
    check_step(scan, *haiku[1:], backward=backward)


def test_haiku_lstm_input_product_leaves_the_loop(haiku):
    """concat([x, h]) @ W: one product in the loop, as before, but of h alone; W's rows for x
    multiply all of xs before."""
    name, *args = haiku
    if name != "LSTM":
        pytest.skip("GRU and VanillaRNN keep two weights")
    check_input_product_leaves(*args, inside=1, plainly=1)
    step, params, state, xs = args

    def contracted(jaxpr, inside):
        for equation in jaxpr.eqns:
            if inside and equation.primitive.name == "dot_general":
                (axes, _), _ = equation.params["dimension_numbers"]
                yield equation.invars[0].aval.shape[axes[0]]
            for inner in jaxprs_in_params(equation.params):
                yield from contracted(
                    getattr(inner, "jaxpr", inner), inside or equation.primitive.name == "scan"
                )

    jaxpr = jax.make_jaxpr(lambda *a: scan(step, *a))(params, state, xs).jaxpr
    assert list(contracted(jaxpr, False)) == [H], f"x is still multiplied in the loop:\n{jaxpr}"


# --- Equinox --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["GRUCell", "LSTMCell"])
@pytest.mark.parametrize("batched", [True, False])
@deferred
def test_equinox(name, batched, backward):
    eqx = pytest.importorskip("equinox")
    cell = getattr(eqx.nn, name)(D, H, dtype=jnp.float64, key=jax.random.key(0))
    params, static = eqx.partition(cell, eqx.is_array)
    h, c, xs = data()

    def step(params, state, x):
        cell = eqx.combine(params, static)
        run = jax.vmap(cell) if batched else cell
        state = run(x, state)
        return state, jax.tree.leaves(state)[0]

    state = (h, c) if name == "LSTMCell" else h
    if not batched:
        state, xs = jax.tree.map(lambda s: np.asarray(s)[0], state), np.asarray(xs)[:, 0]
    check_step(scan, step, params, state, xs, backward=backward)


def test_equinox_module_as_step():
    """The module's own bound method, its arrays closed over."""
    eqx = pytest.importorskip("equinox")
    cell = eqx.nn.GRUCell(D, H, dtype=jnp.float64, key=jax.random.key(0))
    h, _, xs = data()

    def loss(run, cell):
        return probe(run(lambda _, h, x: (jax.vmap(cell)(x, h),) * 2, (), h, xs))

    gradients = eqx.filter_jit(
        lambda cell: [eqx.filter_grad(lambda cell: loss(run, cell))(cell) for run in (scan, plain)]
    )
    assert_same(*gradients(cell))
