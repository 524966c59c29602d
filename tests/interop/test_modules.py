"""Modules of the libraries: cells, and what computes something else than the model."""

import functools

import jax
import numpy as np
import pytest
from oracles import assert_close

import rnnjax
from rnnjax import interop

from .common import LSTM, TANH, B, D, H, both, inputs, keras_module, serial

pytestmark = pytest.mark.usefixtures("x64")


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
        (norm, torch.nn.ModuleDict({"head": torch.nn.LayerNorm(D)}), "the module has no norm"),
        (norm, torch.nn.ModuleDict({"norm": plain}), "lack norm.weight"),
        (rnnjax.embed(7, D), torch.nn.Embedding(7, D, max_norm=1.0), "max_norm=1.0, but embed"),
        (TANH, torch.nn.RNNCell(D, H, nonlinearity="relu"), "activation='relu', but elman"),
    ]:
        with pytest.raises(ValueError, match=message):
            interop.from_torch(model, module)


def test_keras_layers_that_compute_something_else():
    layers = keras_module().layers
    both_ways = functools.partial(layers.Bidirectional, layers.LSTM(H, return_sequences=True))
    last, above = (
        rnnjax.stack(LSTM, rnnjax.linear(5)),
        rnnjax.stack(LSTM, rnnjax.activation("relu")),
    )
    cases = [
        (LSTM, [layers.LSTM(H, go_backwards=True)], "go_backwards=True, and what it gives stands"),
        (LSTM, [layers.LSTM(H, use_bias=False)], r"use_bias=False, but lstm\(4\)"),
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


def test_equinox_epsilons():
    eqx = pytest.importorskip("equinox", reason="Equinox is not installed")
    modules = {"norm": eqx.nn.LayerNorm(D), "out": eqx.nn.Linear(D, 5, key=jax.random.key(0))}
    fits = rnnjax.stack(norm=rnnjax.layer_norm(epsilon=1e-5), out=rnnjax.linear(5))
    assert interop.from_equinox(fits, modules)["out"].w.shape == (D, 5)
    differs = rnnjax.stack(norm=rnnjax.layer_norm(), out=rnnjax.linear(5))
    with pytest.raises(ValueError, match="epsilon=1e-05, but layer_norm computes as with 1e-06"):
        interop.from_equinox(differs, modules)
