"""Modules of the libraries: cells, and what computes something else than the model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_bitwise, assert_close

import rnnjax
from rnnjax import interop

from .common import CONV, GRU, LSTM, TANH, B, D, H, both, inputs, keras_module, serial


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("bias", [True, False])
def test_torch_cells(bias):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    module = torch.nn.LSTMCell(D, H, bias=bias).double()
    params, xs = interop.from_torch(LSTM, module), inputs(LSTM)
    state = np.random.default_rng(0).normal(0, 1, (2, B, H))
    h, c = module(torch.tensor(xs[0]), tuple(torch.tensor(state)))
    got, _ = LSTM.step(params, rnnjax.LSTMState(*state), xs[0])
    assert_close(got, rnnjax.LSTMState(h.detach().numpy(), c.detach().numpy()))


def test_torch_modules_that_do_not_fit():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    norm = rnnjax.stack(norm=rnnjax.layer_norm(epsilon=1e-5))
    plain = torch.nn.LayerNorm(D, elementwise_affine=False)
    for model, module, message in [
        (rnnjax.gru(H), torch.nn.LSTM(D, H), r"PyTorch has LSTM where gru\(4\) would be GRU or"),
        (rnnjax.linear(7), torch.nn.Embedding(7, D), "has Embedding where linear"),
        (norm, torch.nn.ModuleDict({"norm": torch.nn.RMSNorm(D, 1e-5)}), "has RMSNorm where"),
        (LSTM, torch.nn.DataParallel(torch.nn.LSTM(D, H)), "has DataParallel where lstm"),
        (norm, torch.nn.ModuleDict({"head": torch.nn.LayerNorm(D)}), "the module has no norm"),
        (norm, torch.nn.ModuleDict({"norm": plain}), "lack norm.weight"),
        (rnnjax.embed(7, D), torch.nn.Embedding(7, D, max_norm=1.0), "max_norm=1.0, but embed"),
        (TANH, torch.nn.RNNCell(D, H, nonlinearity="relu"), "activation='relu', but elman"),
    ]:
        with pytest.raises(ValueError, match=message):
            interop.from_torch(model, module)


@pytest.mark.filterwarnings("ignore:You passed `rms_scaling=True`")  # Keras advises against it
def test_keras_layers_that_compute_something_else():
    layers = keras_module().layers
    both_ways = functools.partial(layers.Bidirectional, layers.LSTM(H, return_sequences=True))
    norm = rnnjax.layer_norm(epsilon=1e-3)
    like_ours = {"padding": "same", "recurrent_activation": "sigmoid"}
    strided = layers.ConvLSTM2D(2, (3, 2), strides=2, **like_ours)
    last, above = (
        rnnjax.stack(LSTM, rnnjax.linear(5)),
        rnnjax.stack(LSTM, rnnjax.activation("relu")),
    )
    cases = [
        (LSTM, [layers.LSTM(H, go_backwards=True)], "go_backwards=True, and what it gives stands"),
        (LSTM, [layers.GRU(H)], r"Keras has GRUCell where lstm\(4\) would be LSTMCell"),
        (CONV, [strided], r"strides=\(2, 2\), but conv_lstm"),
        (norm, [layers.LayerNormalization(rms_scaling=True)], "rms_scaling=True, but layer_norm"),
        (norm, [layers.LayerNormalization(axis=1)], r"axis=\[1\], but layer_norm"),
        (norm, [layers.RMSNormalization()], "has RMSNormalization where layer_norm"),
        (last, [layers.LSTM(H), layers.TimeDistributed(layers.Dense(5, "relu"))], "'relu', but"),
        (last, [layers.LSTM(H), layers.Activation("relu"), layers.Dense(5)], "LSTMCell, Act"),
        (above, [layers.LSTM(H), layers.Activation("tanh")], "'tanh'"),
        (above, [layers.LSTM(H), layers.ReLU()], "Keras has ReLU"),
        (rnnjax.elman(H, activation="gelu"), [layers.SimpleRNN(H, "gelu")], "approximate=True"),
        (
            serial(both(LSTM, merge="sum"), both(LSTM, merge="mean")),
            [both_ways(merge_mode="ave"), both_ways(merge_mode="sum")],
            r"\['mean', 'sum'\], .* by \['sum', 'mean'\]",
        ),
    ]  # fmt: skip
    for model, parts, message in cases:
        layer = keras_module().Sequential(parts)
        with pytest.raises(ValueError, match=message):
            interop.from_keras(model, layer)


@pytest.mark.parametrize("cell", [LSTM, GRU], ids=lambda cell: cell.name)
def test_keras_without_bias(cell):
    layers = keras_module().layers
    kind = {LSTM: layers.LSTM, GRU: layers.GRU}[cell]
    above = layers.LayerNormalization(center=False, epsilon=1e-3), layers.Dense(5, use_bias=False)
    layer = keras_module().Sequential(
        [kind(H, use_bias=False, return_sequences=True), *above], name="unbiased"
    )
    model = rnnjax.stack(cell, rnnjax.layer_norm(epsilon=1e-3), rnnjax.linear(5))
    xs = inputs(model, np.float32)
    with jax.numpy_dtype_promotion("standard"):
        want = layer(np.swapaxes(xs, 0, 1))
    _, ys = rnnjax.unroll(model, interop.from_keras(model, layer), None, xs)
    assert_close(np.asarray(ys), np.swapaxes(want, 0, 1))
    with pytest.raises(ValueError, match="has 7 arrays in Keras"):
        interop.from_keras(model, [variable.value for variable in layer.weights])


def nnx_modules():
    """Modules of nnx with an option that changes what they compute, and what is said of it."""
    nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed")
    rngs, relu = nnx.Rngs(0), jax.nn.relu
    cell, sizes = functools.partial(nnx.OptimizedLSTMCell, D, H, rngs=rngs), {"rngs": rngs}
    layer, norm = rnnjax.recurrent(LSTM), rnnjax.layer_norm()
    yield LSTM, cell(activation_fn=relu), "activation_fn='relu', but lstm"
    yield LSTM, cell(gate_fn=jax.nn.hard_sigmoid), "gate_fn='hard_sigmoid', but lstm"
    yield TANH, nnx.SimpleCell(D, H, residual=True, **sizes), "residual=True, but elman"
    yield TANH, nnx.SimpleCell(D, H, activation_fn=relu, **sizes), "activation_fn='relu', but elman"
    yield layer, nnx.RNN(cell(), reverse=True), "reverse=True around lstm"
    added = nnx.Bidirectional(nnx.RNN(cell()), nnx.RNN(cell()), merge_fn=jnp.add)
    yield both(LSTM), added, "merge_fn=add, .* 'concat'"
    plain = nnx.Bidirectional(nnx.RNN(cell()), nnx.RNN(cell()))
    yield both(LSTM, merge="sum"), plain, "merge_fn=_concatenate, .* 'sum'"
    yield norm, nnx.RMSNorm(D, **sizes), "has RMSNorm where layer_norm"
    yield norm, nnx.LayerNorm(D, epsilon=1e-3, **sizes), "epsilon=0.001, but layer_norm"
    yield norm, nnx.LayerNorm(D, reduction_axes=0, **sizes), "reduction_axes=0, but layer_norm"


def test_nnx_modules_that_compute_something_else():
    for model, module, message in nnx_modules():
        with pytest.raises(ValueError, match=message):
            interop.from_flax(model, module, api="nnx")


def test_nnx_modules_that_fit():
    nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed")
    rngs = nnx.Rngs(0)
    lone = functools.partial(nnx.RNN, reverse=True)  # which a Bidirectional says itself
    ways = (lone(nnx.GRUCell(D, H, rngs=rngs)) for _ in range(2))
    parts = nnx.Bidirectional(*ways), nnx.Linear(2 * H, 5, use_bias=False, rngs=rngs)
    model = serial(both(GRU), rnnjax.linear(5))
    params, xs = (
        interop.from_flax(model, nnx.Sequential(*parts), api="nnx"),
        inputs(model, np.float32),
    )
    with jax.numpy_dtype_promotion("standard"):
        want = parts[1](parts[0](np.swapaxes(xs, 0, 1)))
    _, ys = model.apply(params, xs)
    np.testing.assert_allclose(ys, np.swapaxes(want, 0, 1), atol=1e-5)


def test_equinox_without_bias():
    eqx = pytest.importorskip("equinox", reason="Equinox is not installed")
    from rnnjax.interop import equinox

    module = eqx.nn.GRUCell(D, H, use_bias=False, dtype=np.float16, key=jax.random.key(0))
    params = interop.from_equinox(GRU, module)
    cell, theirs = equinox.cell(module)
    xs = inputs(GRU, np.float16)
    want = rnnjax.unroll(cell, theirs, None, xs)[1]
    np.testing.assert_allclose(rnnjax.unroll(GRU, params, None, xs)[1], want, atol=2e-3)
    drawn = cell.init(jax.random.key(0), D)
    assert jax.tree.map(jax.typeof, drawn) == jax.tree.map(jax.typeof, theirs)
    assert_bitwise(interop.to_equinox(GRU, params, module), module)
    with pytest.raises(ValueError, match="Equinox has no place for bias: convert"):
        interop.to_equinox(GRU, params._replace(b=np.ones(12, np.float16)), module)
    square = eqx.nn.GRUCell(H, H, use_bias=False, key=jax.random.key(0))
    modules = dict.fromkeys("abcdefgh", square)
    model = rnnjax.stack(**dict.fromkeys(modules, GRU))
    params = {n: p._replace(b=p.b + 1) for n, p in interop.from_equinox(model, modules).items()}
    with pytest.raises(ValueError, match="Equinox has no place for a/bias: convert"):  # the first
        interop.to_equinox(model, params, modules)
    normal = eqx.nn.RMSNorm(D, eps=1e-6)
    with pytest.raises(ValueError, match="Equinox has RMSNorm where layer_norm"):
        interop.from_equinox(rnnjax.layer_norm(), normal)


def test_equinox_epsilons():
    eqx = pytest.importorskip("equinox", reason="Equinox is not installed")
    modules = {"norm": eqx.nn.LayerNorm(D), "out": eqx.nn.Linear(D, 5, key=jax.random.key(0))}
    fits = rnnjax.stack(norm=rnnjax.layer_norm(epsilon=1e-5), out=rnnjax.linear(5))
    assert interop.from_equinox(fits, modules)["out"].w.shape == (D, 5)
    differs = rnnjax.stack(norm=rnnjax.layer_norm(), out=rnnjax.linear(5))
    with pytest.raises(ValueError, match="epsilon=1e-05, but layer_norm computes as with 1e-06"):
        interop.from_equinox(differs, modules)
