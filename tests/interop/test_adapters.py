"""Models of ours as modules of other libraries, and their cells on our compiler."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close

import rnnjax
from rnnjax._layer import layer_of

from .common import GRU, LENGTHS, LSTM, B, D, H, T, both, inputs

MODELS = [rnnjax.input_dropout(rnnjax.stack(GRU, rnnjax.linear(2)), 0.5), both(LSTM)]
each = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
KEY = jax.random.key(0)
RESETS = np.arange(T)[:, None] == np.array([2, 0, 1])


def xs_of(cell=GRU):
    return inputs(cell, np.float32)


def expected(model, params):
    return layer_of(model).apply(params, xs_of(), lengths=LENGTHS, resets=RESETS)


@each
def test_linen_module(model):
    linen = pytest.importorskip("rnnjax.interop.linen", reason="Flax is not installed")
    module = linen.RNN(model)
    variables = module.init(KEY, xs_of())
    got = module.apply(variables, xs_of(), lengths=LENGTHS, resets=RESETS)
    assert_close(got, expected(model, variables["params"]["rnn"]))
    _, noisy = module.apply(
        variables, xs_of(), lengths=LENGTHS, resets=RESETS, rngs={"dropout": KEY}
    )
    assert (np.abs(noisy - got[1])[0].max() > 1e-3) == (model is MODELS[0])


@each
def test_nnx_module(model):
    nnx = pytest.importorskip("rnnjax.interop.nnx", reason="Flax is not installed")
    from flax import nnx as theirs

    module = nnx.RNN(model, D, rngs=theirs.Rngs(0))
    got = module(xs_of(), lengths=LENGTHS, resets=RESETS)
    assert_close(got, expected(model, module.params.get_value()))
    grads = theirs.grad(lambda module: module(xs_of())[1].sum())(module)
    assert len(jax.tree.leaves(grads)) == len(jax.tree.leaves(module.params.get_value()))


@each
def test_haiku_module(model):
    hk = pytest.importorskip("haiku", reason="Haiku is not installed")
    from rnnjax.interop import haiku

    network = hk.transform(lambda xs, **options: haiku.RNN(model)(xs, **options))
    params = network.init(KEY, xs_of())
    got = network.apply(params, None, xs_of(), lengths=LENGTHS, resets=RESETS)
    drawn = model.init(hk.PRNGSequence(KEY).next(), D)
    assert_close([*params["rnn"].values()], jax.tree.leaves(drawn))
    assert_close(got, expected(model, drawn))


@each
def test_equinox_module(model):
    pytest.importorskip("equinox", reason="Equinox is not installed")
    from rnnjax.interop import equinox

    module = equinox.RNN(model, D, key=KEY)
    got = module(xs_of(), lengths=LENGTHS, resets=RESETS)
    assert_close(got, expected(model, model.init(KEY, D)))


def adapted(library):
    """A cell of theirs as one of ours, its parameters, and their own loop over [T, B, D]."""
    adapter = pytest.importorskip(f"rnnjax.interop.{library}", reason=f"{library} is missing")
    if library == "linen":
        import flax.linen as nn

        cell, theirs = adapter.cell(nn.OptimizedLSTMCell(H)), nn.RNN(nn.OptimizedLSTMCell(H))
        params = cell.init(KEY, D)
        return (
            cell,
            params,
            lambda xs: theirs.apply({"params": {"cell": params}}, xs, time_major=True),
        )
    if library == "nnx":
        from flax import nnx

        module = nnx.GRUCell(D, H, rngs=nnx.Rngs(0))
        return *adapter.cell(module), lambda xs: nnx.RNN(module, rngs=nnx.Rngs(0))(
            xs, time_major=True
        )
    if library == "haiku":
        import haiku as hk

        cell = adapter.cell(lambda: hk.LSTM(H))
        params = cell.init(KEY, D)

        def run(xs):
            core = hk.LSTM(H)
            return hk.dynamic_unroll(core, xs, core.initial_state(xs.shape[1]))[0]

        return cell, params, lambda xs: hk.transform(run).apply(params, None, xs)
    import equinox as eqx

    module = eqx.nn.LSTMCell(D, H, key=KEY)

    def loop(xs):
        zero = jnp.zeros((xs.shape[1], H))
        step = lambda s, x: (lambda s: (s, s[0]))(jax.vmap(module)(x, s))  # noqa: E731
        return jax.lax.scan(step, (zero, zero), xs)[1]

    return *adapter.cell(module), loop


@pytest.mark.parametrize("library", ["linen", "nnx", "haiku", "equinox"])
def test_their_cells_run_here(library):
    cell, params, loop = adapted(library)
    xs = xs_of()
    with jax.numpy_dtype_promotion("standard"):
        want = np.asarray(loop(xs))
    _, ys = rnnjax.unroll(cell, params, None, xs)
    assert_close(np.asarray(ys), want)
    state, ys = rnnjax.unroll(cell, params, None, xs, lengths=LENGTHS)
    alone = [rnnjax.unroll(cell, params, None, xs[:n, b]) for b, n in enumerate(LENGTHS)]
    for b, (last, row) in enumerate(alone):
        assert_close(np.asarray(ys[: LENGTHS[b], b]), np.asarray(row))
        assert_close(
            jax.tree.map(lambda a, b=b: np.asarray(a[b]), state), jax.tree.map(np.asarray, last)
        )
    assert len(alone) == B
    plan = rnnjax.plan(cell.step, params, cell.initial_state(params, (B,)), xs)
    assert "loop" in [component.kind for component in plan.components]


def test_a_core_of_haiku_begins_as_it_says():
    hk = pytest.importorskip("haiku", reason="Haiku is not installed")
    from rnnjax.interop import haiku

    class Core(hk.VanillaRNN):
        def initial_state(self, batch_size):
            return 0.5 + super().initial_state(batch_size)

    cell = haiku.cell(lambda: Core(H))
    np.testing.assert_array_equal(cell.initial_state(cell.init(KEY, D), (B,)), np.full((B, H), 0.5))
