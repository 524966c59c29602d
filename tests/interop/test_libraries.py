"""Converted weights in the libraries: values and gradients, layers, directions, lengths."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_bitwise, assert_close

import rnnjax
from rnnjax import interop

from .common import (
    BEFORE,
    CONV,
    GRU,
    LENGTHS,
    LSTM,
    REAL,
    RELU,
    TANH,
    UGRNN,
    B,
    D,
    H,
    T,
    both,
    compare,
    drawn,
    inputs,
    keras_module,
    language_model,
    serial,
)

pytestmark = pytest.mark.usefixtures("x64")
PROJECTED = rnnjax.projected_lstm(H, 2)


def slow(*values):
    """A case that others nearly cover."""
    return pytest.param(*values, marks=pytest.mark.slow)


# --- PyTorch -------------------------------------------------------------------------------------

TORCH = {
    "RNN": (serial(TANH, TANH), {}),
    "RNN of relu": (serial(both(RELU), both(RELU)), {"nonlinearity": "relu"}),
    "LSTM": (serial(both(LSTM), rnnjax.dropout(0.5), both(LSTM)), {}),
    "LSTM with a projection": (serial(both(PROJECTED), both(PROJECTED)), {"proj_size": 2}),
    "GRU": (serial(both(GRU), both(GRU)), {"batch_first": True}),
}


@pytest.mark.parametrize(
    "name", ["RNN", slow("RNN of relu"), "LSTM", "LSTM with a projection", "GRU"]
)
def test_torch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    model, options = TORCH[name]
    options = {"bidirectional": name != "RNN", "num_layers": 2, **options}
    module = getattr(torch.nn, name.split()[0])(D, H, **options).double()
    xs, time = inputs(model), int(bool(options.get("batch_first")))
    bar = np.random.default_rng(2)

    def theirs():
        x = torch.tensor(np.swapaxes(xs, 0, time)).requires_grad_()
        pack, pad = torch.nn.utils.rnn.pack_padded_sequence, torch.nn.utils.rnn.pad_packed_sequence
        how = {"batch_first": bool(time)}
        packed, _ = module(pack(x, LENGTHS, enforce_sorted=False, **how))
        return pad(packed, total_length=T, **how)[0]

    @jax.jit
    def ours(params):
        data = jnp.swapaxes(xs, 0, time)
        return model.apply(params, data, lengths=LENGTHS, time_axis=time)[1]

    # Their own weights, with two biases.
    assert_close(ours(interop.from_torch(model, module)), theirs().detach().numpy())
    # Ours, and back.
    params = drawn(model)
    weights, pull = jax.vjp(functools.partial(interop.to_torch, model), params)
    module.load_state_dict({k: torch.tensor(np.asarray(w)) for k, w in weights.items()})
    assert_bitwise(interop.from_torch(model, module), params)
    want = theirs()
    bar = bar.normal(0, 1, want.shape)
    (want * torch.tensor(bar)).sum().backward()
    ys, back = jax.vjp(ours, params)
    assert_close(ys, want.detach().numpy())
    grads = {name: jnp.asarray(p.grad.numpy()) for name, p in module.named_parameters()}
    assert_close(back(jnp.asarray(bar)), pull(grads))


def test_torch_model_of_named_parts():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(7, D)
            self.rnn = torch.nn.LSTM(D, H, num_layers=2, dropout=0.5, bias=False)
            self.norm = torch.nn.LayerNorm(H, eps=1e-6)
            self.readout = torch.nn.Linear(H, 5)

        def forward(self, tokens):
            return self.readout(self.norm(self.rnn(self.embed(tokens))[0]))

    module = Model().double().eval()
    parts = {"rnn": rnnjax.stack(LSTM, LSTM), "norm": rnnjax.layer_norm()}
    model = rnnjax.stack(embed=rnnjax.embed(7, D), **parts, readout=rnnjax.linear(5))
    tokens = inputs(model)
    _, ys = rnnjax.unroll(model, interop.from_torch(model, module), None, tokens)
    assert_close(ys, module(torch.tensor(tokens)).detach().numpy())
    module.norm.eps = 1e-5
    with pytest.raises(ValueError, match="epsilon=1e-05, but layer_norm computes as with 1e-06"):
        interop.from_torch(model, module)
    module = torch.nn.RNN(D, H, nonlinearity="relu")
    with pytest.raises(ValueError, match="activation='relu', but elman"):
        interop.from_torch(TANH, module)


def test_torch_in_bfloat16():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    params = drawn(GRU, jnp.bfloat16)
    weights = interop.to_torch(GRU, params)
    assert weights["weight_hh_l0"].dtype == jnp.bfloat16
    tensors = {k: torch.tensor(w.astype(np.float32)).bfloat16() for k, w in weights.items()}
    assert_bitwise(interop.from_torch(GRU, tensors), params)


# --- Keras ---------------------------------------------------------------------------------------


def keras_compare(model, make, **options):
    """Compares with a layer of Keras, batch-major; sets its weights and reads them back."""
    keras = keras_module()
    layer = make(keras.layers)
    masked = {"mask": REAL[..., 0].T} if "lengths" in options else {}
    xs, params = inputs(model, np.float32), drawn(model, np.float32)
    with jax.numpy_dtype_promotion("standard"):
        layer.build((B, T, *xs.shape[2:]))
    layer.set_weights(interop.to_keras(model, params))
    assert_bitwise(interop.from_keras(model, layer), params)
    fixed = [v.value for v in layer.non_trainable_variables]

    def run(weights, xs):
        ys, _ = layer.stateless_call(weights, fixed, jnp.swapaxes(xs, 0, 1), **masked)
        return jnp.swapaxes(ys, 0, 1)

    compare(model, run, functools.partial(interop.to_keras, model), dtype=np.float32, **options)


@pytest.mark.parametrize(
    ("cell", "merge"),
    [(GRU, "mean"), (BEFORE, "concat"), slow(LSTM, "concat"), slow(TANH, "sum")],
    ids=lambda value: getattr(value, "name", value),
)
def test_keras_both_directions(cell, merge):
    def make(layers):
        kinds = {"gru": layers.GRU, "lstm": layers.LSTM, "elman": layers.SimpleRNN}
        options = {"reset_after": cell is GRU} if cell.name.startswith("gru") else {}
        layer = kinds[cell.name.partition("(")[0]](H, return_sequences=True, **options)
        return layers.Bidirectional(layer, merge_mode={"mean": "ave"}.get(merge, merge))

    keras_compare(both(cell, merge=merge), make, lengths=LENGTHS)


def test_keras_stack():
    def make(layers):
        parts = layers.GRU(H, return_sequences=True), layers.LSTM(H, return_sequences=True)
        return keras_module().Sequential([layers.Embedding(7, D), *parts, layers.Dense(5)])

    keras_compare(language_model(GRU, rnnjax.dropout(0.5), LSTM), make)


# --- Flax ----------------------------------------------------------------------------------------

FLAX = {
    "LSTM": serial(both(LSTM), both(LSTM)),
    "GRU": serial(both(GRU), both(GRU)),
    "Simple": serial(both(TANH), both(TANH)),
}


def flax_layers(call, tree, xs):
    """Both layers of a Sequential, each told the lengths."""
    xs = jnp.swapaxes(xs, 0, 1)
    for name in tree:
        xs = call(tree[name], xs)
    return jnp.swapaxes(xs, 0, 1)


@pytest.mark.parametrize("name", [slow("LSTM"), "GRU", slow("Simple")])
def test_linen(name):
    nn = pytest.importorskip("flax.linen", reason="Flax is not installed")
    kinds = {"LSTM": nn.OptimizedLSTMCell, "GRU": nn.GRUCell, "Simple": nn.SimpleCell}
    layer = nn.Bidirectional(*(nn.RNN(kinds[name](H, param_dtype=float)) for _ in range(2)))
    run = functools.partial(
        flax_layers, lambda tree, xs: layer.apply({"params": tree}, xs, seq_lengths=LENGTHS)
    )
    convert = functools.partial(interop.to_flax, FLAX[name])
    compare(FLAX[name], run, convert, lengths=LENGTHS)


def test_linen_sequential():
    nn = pytest.importorskip("flax.linen", reason="Flax is not installed")
    how = {"param_dtype": float}
    module = nn.Sequential(
        [
            nn.Embed(7, D, **how), nn.RNN(nn.GRUCell(H, **how)),
            nn.RNN(nn.LSTMCell(H, **how)), nn.LayerNorm(**how), nn.Dense(5, **how),
        ]
    )  # fmt: skip
    model = serial(rnnjax.embed(7, D), GRU, LSTM, rnnjax.layer_norm(), rnnjax.linear(5))

    def run(tree, xs):
        return jnp.swapaxes(module.apply({"params": tree}, jnp.swapaxes(xs, 0, 1)), 0, 1)

    compare(model, run, functools.partial(interop.to_flax, model))


def test_linen_conv_lstm_and_mgu():
    nn = pytest.importorskip("flax.linen", reason="Flax is not installed")
    unit = functools.partial(nn.MGUCell, H, reset_gate=False, param_dtype=float)
    over_space = nn.RNN(nn.ConvLSTMCell(2, (3, 2), param_dtype=float))
    for model, layer in [
        (rnnjax.recurrent(CONV), over_space),
        (both(UGRNN), nn.Bidirectional(nn.RNN(unit()), nn.RNN(unit()))),
    ]:

        def run(tree, xs, layer=layer):
            return jnp.swapaxes(layer.apply({"params": tree}, jnp.swapaxes(xs, 0, 1)), 0, 1)

        compare(model, run, functools.partial(interop.to_flax, model))


@pytest.mark.parametrize("name", ["LSTM", slow("Simple")])
def test_nnx(name):
    nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed")
    kind = {"LSTM": nnx.OptimizedLSTMCell, "Simple": nnx.SimpleCell}[name]
    rngs = nnx.Rngs(0)

    def layer(size):
        how = {"param_dtype": jnp.float64, "dtype": jnp.float64, "rngs": rngs}
        ways = (nnx.RNN(kind(size, H, **how)) for _ in range(2))
        return nnx.Bidirectional(*ways, rngs=rngs)

    model, module = FLAX[name], nnx.Sequential(layer(D), layer(2 * H))
    graph, state, rest = nnx.split(module, nnx.Param, ...)
    given = interop.to_flax(model, drawn(model), api="nnx")
    nnx.replace_by_pure_dict(state, given)
    assert_bitwise(interop.from_flax(model, nnx.merge(graph, state, rest), api="nnx"), drawn(model))

    def run(tree, xs):
        nnx.replace_by_pure_dict(state, tree)
        xs = jnp.swapaxes(xs, 0, 1)
        for each in nnx.merge(graph, state, rest).layers:
            xs = each(xs, seq_lengths=LENGTHS, rngs=nnx.Rngs(0))
        return jnp.swapaxes(xs, 0, 1)

    convert = functools.partial(interop.to_flax, model, api="nnx")
    compare(model, run, convert, lengths=LENGTHS)


def test_nnx_lstm_by_gate():
    nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed")
    module = nnx.LSTMCell(D, H, param_dtype=float, rngs=nnx.Rngs(0))
    params = interop.from_flax(LSTM, module, api="nnx")
    state, x = rnnjax.LSTMState(*np.random.default_rng(0).normal(0, 1, (2, B, H))), np.ones((B, D))
    with jax.numpy_dtype_promotion("standard"):
        (c, h), _ = module((state.c, state.h), x)
    assert_close(LSTM.step(params, state, x)[0], rnnjax.LSTMState(h, c))


# --- Haiku, Equinox ------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [LSTM, BEFORE, RELU], ids=lambda cell: cell.name)
def test_haiku(cell):
    hk = pytest.importorskip("haiku", reason="Haiku is not installed")
    kind = {LSTM: hk.LSTM, BEFORE: hk.GRU, RELU: hk.VanillaRNN}[cell]

    def network(xs):
        core = hk.DeepRNN([kind(H), kind(H)])
        embedded = hk.Embed(7, D, name="embed")(xs)
        ys, _ = hk.dynamic_unroll(core, embedded, core.initial_state(B))
        return hk.Linear(5, name="readout")(ys)

    model = rnnjax.serial(
        embed=rnnjax.embed(7, D), rnn=rnnjax.stack(cell, cell), readout=rnnjax.linear(5)
    )
    module = hk.without_apply_rng(hk.transform(network))

    def convert(params):  # the two cells have no module around them here
        tree = interop.to_haiku(model, params)
        return {name.removeprefix("rnn/"): arrays for name, arrays in tree.items()}

    compare(model, module.apply, convert, lengths=LENGTHS)


@pytest.mark.parametrize("cell", [LSTM, GRU], ids=lambda cell: cell.name)
def test_equinox(cell):
    eqx = pytest.importorskip("equinox", reason="Equinox is not installed")
    kind, key = {LSTM: eqx.nn.LSTMCell, GRU: eqx.nn.GRUCell}[cell], jax.random.key(0)
    model = rnnjax.stack(cell, cell, rnnjax.linear(5))
    modules = (kind(D, H, key=key), kind(H, H, key=key), eqx.nn.Linear(H, 5, key=key))
    assert_bitwise(
        interop.from_equinox(model, interop.to_equinox(model, drawn(model), modules)), drawn(model)
    )

    def run(modules, xs):
        *cells, readout = modules
        zero = jnp.zeros((B, H))

        def step(states, x):
            new = []
            for each, state in zip(cells, states, strict=True):
                new.append(jax.vmap(each)(x, state))
                x = jax.tree.leaves(new[-1])[0]
            return tuple(new), jax.vmap(readout)(x)

        state = (zero, zero) if cell is LSTM else zero
        return jax.lax.scan(step, (state, state), xs)[1]

    compare(model, run, lambda params: interop.to_equinox(model, params, modules))
