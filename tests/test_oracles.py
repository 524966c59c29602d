"""Values and gradients of the recurrent cells against NumPy loops and five other libraries.

Weights are random and distinct for every gate, T > 1, the initial state is not zero, and lengths
hold 0 and T: constant weights hide swapped gates and transposed matrices.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from oracles import assert_close, pair

from rnnjax import LSTMState, elman, gru, interop, lstm, unroll

T, B, D, H = 4, 3, 2, 3
LENGTHS = np.array([T, 0, 2])
CELLS = {
    "elman-tanh": (elman(H), oracles.elman("tanh")),
    "elman-relu": (elman(H, activation="relu"), oracles.elman("relu")),
    "elman-identity": (elman(H, activation="identity"), oracles.elman("identity")),
    "lstm": (lstm(H), oracles.lstm),
    "gru-after": (gru(H, reset="after"), oracles.gru("after")),
    "gru-before": (gru(H, reset="before"), oracles.gru("before")),
}


def problem(cell, dtype=np.float64, batch=(B,)):
    """Random params, state, xs and cotangents (of the final state and ys)."""
    rng = np.random.default_rng(0)
    params = jax.eval_shape(lambda key: cell.init(key, D), jax.random.key(0))
    state = jax.eval_shape(lambda p: cell.initial_state(p, batch), params)

    def draw(tree):
        return jax.tree.map(lambda a: rng.normal(0, 0.7, a.shape).astype(dtype), tree)

    def shape(*sizes):
        return jax.ShapeDtypeStruct(sizes, dtype)

    xs, state_bar, ys_bar = shape(T, *batch, D), state, shape(T, *batch, H)
    return draw(params), draw(state), draw(xs), (draw(state_bar), draw(ys_bar))


def ours(cell, problem, **options):
    """((state, ys), gradients for params, state and xs)."""
    *inputs, bars = problem

    def loss(params, state, xs):
        result = unroll(cell, params, state, xs, **options)
        return pair(result, bars), result

    with jax.numpy_dtype_promotion("strict"):
        grad = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
        gradients, result = grad(*inputs)
    return result, gradients


# --- NumPy ---------------------------------------------------------------------------------------

RANDOM = np.random.default_rng(1)
MASK = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 1]], bool)
RESETS = np.array([[0, 1, 0], [1, 0, 0], [0, 1, 1], [1, 0, 1]], bool)
OPTIONS = {
    "plain": {},
    "lengths": {"lengths": LENGTHS},
    "all": {"lengths": np.array([4, 3, 4]), "mask": MASK, "resets": RESETS},
    "reverse-all": {"lengths": LENGTHS, "mask": MASK, "resets": RESETS, "reverse": True},
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", CELLS)
def test_numpy(name, options):
    cell, step = CELLS[name]
    params, state, xs, bars = problem(cell)
    fresh = jax.tree.map(lambda a: np.zeros(H), state)

    def loss(inputs):
        return pair(oracles.run(step, inputs[0], fresh, *inputs[1:], **OPTIONS[options]), bars)

    result, gradients = ours(cell, (params, state, xs, bars), **OPTIONS[options])
    assert_close(result, oracles.run(step, params, fresh, state, xs, **OPTIONS[options]))
    assert_close(gradients, oracles.gradient(loss, (params, state, xs)))


@pytest.mark.parametrize("name", CELLS)
def test_numpy_in_float32(name):
    cell, step = CELLS[name]
    params, state, xs, bars = problem(cell, np.float32)
    fresh = jax.tree.map(lambda a: np.zeros(H), state)
    wide = jax.tree.map(np.float64, (params, state, xs))
    (final, ys), gradients = ours(cell, (params, state, xs, bars), lengths=LENGTHS)
    assert ys.dtype == jnp.float32

    def run(p, s, x):
        return oracles.run(step, p, fresh, s, x, lengths=LENGTHS)

    assert_close((final, ys), run(*wide))
    assert_close(gradients, oracles.gradient(lambda inputs: pair(run(*inputs), bars), wide))


# --- PyTorch -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["elman-tanh", "elman-relu", "lstm", "gru-after"])
def test_torch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here (extra: torch)")
    cell, _ = CELLS[name]
    # Packed sequences refuse length 0: the rows here are of length T, 1 and 2.
    lengths = np.array([T, 1, 2])
    params, state, xs, bars = problem(cell)
    (final, ys), gradients = ours(cell, (params, state, xs, bars), lengths=lengths)

    weights, pull = jax.vjp(functools.partial(interop.to_torch, cell), params)

    def leaf(a):
        return torch.tensor(np.asarray(a), dtype=torch.float64, requires_grad=True)

    weights, s, x = jax.tree.map(leaf, (weights, state, xs))
    if name == "lstm":
        module, hidden = torch.nn.LSTM(D, H), (s.h[None], s.c[None])
    elif name == "gru-after":
        module, hidden = torch.nn.GRU(D, H), s[None]
    else:
        module, hidden = torch.nn.RNN(D, H, nonlinearity=name[6:]), s[None]
    pack = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    packed, last = torch.func.functional_call(module.double(), weights, (pack, hidden))
    want, _ = torch.nn.utils.rnn.pad_packed_sequence(packed, total_length=T)
    last = [a[0] for a in last] if name == "lstm" else [last[0]]

    assert_close(ys, want.detach().numpy())
    assert_close(jax.tree.leaves(final), [a.detach().numpy() for a in last])
    state_bar, ys_bar = jax.tree.map(torch.tensor, bars)
    loss = (want * ys_bar).sum()
    loss += sum((a * b).sum() for a, b in zip(last, jax.tree.leaves(state_bar), strict=True))
    inputs, structure = jax.tree.flatten((weights, s, x))
    grads = structure.unflatten([g.numpy() for g in torch.autograd.grad(loss, inputs)])
    assert_close(gradients, (*pull(jax.tree.map(jnp.asarray, grads[0])), *grads[1:]))


# --- JAX libraries: their cells in a lax.scan, our weights copied into their trees ---------------


def compare(
    cell, step, to_theirs=lambda state: state, from_theirs=lambda state: state, dtype=np.float64
):
    """Compares with `step(params, theirs, x) -> (theirs, y)`, values and gradients."""
    params, state, xs, bars = inputs = problem(cell, dtype)

    def loss(params, state, xs):
        with jax.numpy_dtype_promotion("standard"):
            final, ys = jax.lax.scan(lambda s, x: step(params, s, x), to_theirs(state), xs)
        result = from_theirs(final), ys
        return pair(result, bars), result

    result, gradients = ours(cell, inputs)
    grad = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
    want_gradients, want = grad(params, state, xs)
    assert_close(result, want)
    assert_close(gradients, want_gradients)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["elman-tanh", "lstm", "gru-after"])
def test_flax(name):
    linen = pytest.importorskip("flax.linen", reason="Flax is the oracle here")
    cell, _ = CELLS[name]

    kinds = {"lstm": linen.OptimizedLSTMCell, "gru-after": linen.GRUCell}
    module = kinds.get(name, linen.SimpleCell)(H, param_dtype=float)

    def step(p, s, x):
        return module.apply({"params": interop.to_flax(cell, p)}, s, x)

    if name == "lstm":  # Flax carries (c, h)
        compare(cell, step, lambda s: (s.c, s.h), lambda s: LSTMState(s[1], s[0]))
    else:
        compare(cell, step)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["elman-relu", "lstm", "gru-before"])
def test_haiku(name):
    hk = pytest.importorskip("haiku", reason="Haiku is the oracle here (extra: peers)")
    cell, _ = CELLS[name]
    kinds = {"elman-relu": hk.VanillaRNN, "lstm": hk.LSTM, "gru-before": hk.GRU}
    module = hk.without_apply_rng(hk.transform(lambda x, s: kinds[name](H)(x, s)))

    to = back = lambda s: s
    if name == "lstm":
        to, back = lambda s: hk.LSTMState(s.h, s.c), lambda s: LSTMState(s.hidden, s.cell)

    def step(p, s, x):
        y, s = module.apply(interop.to_haiku(cell, p), x, s)
        return s, y

    compare(cell, step, to, back)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["lstm", "gru-after"])
def test_equinox(name):
    eqx = pytest.importorskip("equinox", reason="Equinox is the oracle here (extra: peers)")
    cell, _ = CELLS[name]
    kind = eqx.nn.LSTMCell if name == "lstm" else eqx.nn.GRUCell
    skeleton = kind(D, H, key=jax.random.key(0))

    def step(p, s, x):
        module = interop.to_equinox(cell, p, skeleton)
        s = jax.vmap(module)(x, s)
        return s, s[0] if name == "lstm" else s

    if name == "lstm":
        compare(cell, step, tuple, lambda s: LSTMState(*s))
    else:
        compare(cell, step)


@pytest.mark.parametrize("name", ["elman-tanh", "lstm", "gru-after", "gru-before"])
def test_keras(name):
    keras = pytest.importorskip("keras", reason="Keras is the oracle here (extra: peers)")
    if keras.backend.backend() != "jax":
        pytest.skip("another test imported Keras with another backend")
    cell, _ = CELLS[name]
    kind = {"elman-tanh": keras.layers.SimpleRNNCell, "lstm": keras.layers.LSTMCell}
    options = {}
    if name.startswith("gru"):
        kind[name], options["reset_after"] = keras.layers.GRUCell, name == "gru-after"
    module = kind[name](H, **options)
    with jax.numpy_dtype_promotion("standard"):
        module.build((B, D))

    def step(p, s, x):
        fixed = [v.value for v in module.non_trainable_variables]
        y, s = module.stateless_call(interop.to_keras(cell, p), fixed, x, s)[0]
        return tuple(s), y

    if name == "lstm":
        compare(cell, step, tuple, lambda s: LSTMState(*s), np.float32)
    else:
        compare(cell, step, lambda s: (s,), lambda s: s[0], np.float32)
