"""Values and gradients of the recurrent cells against NumPy loops and five other libraries.

Weights are random and distinct for every gate, T > 1, the initial state is not zero, and lengths
hold 0 and T: constant weights hide swapped gates and transposed matrices.
"""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from oracles import assert_close, pair

from rnnjax import LSTMState, elman, gru, lstm, unroll

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

    def leaf(a):
        return torch.tensor(np.asarray(a), dtype=torch.float64, requires_grad=True)

    p, s, x = jax.tree.map(leaf, (params, state, xs))
    zero = torch.zeros_like(p.b)
    if name == "lstm":  # gates i, f, g, o in both
        module, hidden, b_h = torch.nn.LSTM(D, H), (s.h[None], s.c[None]), zero
    elif name == "gru-after":  # gates r, z, n in both; the candidate has two biases
        module, hidden, b_h = torch.nn.GRU(D, H), s[None], torch.cat([zero[: 2 * H], p.b_n])
    else:
        module, hidden, b_h = torch.nn.RNN(D, H, nonlinearity=name[6:]), s[None], zero
    weights = {"weight_ih_l0": p.w_x.T, "weight_hh_l0": p.w_h.T, "bias_ih_l0": p.b}
    pack = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    packed, last = torch.func.functional_call(
        module.double(), {**weights, "bias_hh_l0": b_h}, (pack, hidden)
    )
    want, _ = torch.nn.utils.rnn.pad_packed_sequence(packed, total_length=T)
    last = [a[0] for a in last] if name == "lstm" else [last[0]]

    assert_close(ys, want.detach().numpy())
    assert_close(jax.tree.leaves(final), [a.detach().numpy() for a in last])
    state_bar, ys_bar = jax.tree.map(torch.tensor, bars)
    loss = (want * ys_bar).sum()
    loss += sum((a * b).sum() for a, b in zip(last, jax.tree.leaves(state_bar), strict=True))
    inputs = jax.tree.leaves((p, s, x))
    grads = [g.numpy() for g in torch.autograd.grad(loss, inputs)]
    assert_close(jax.tree.leaves(gradients), grads)


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


def gates(params, count):
    """[(W, U, b) of each gate]."""
    w_x, w_h, b = (jnp.split(a, count, axis=-1) for a in params[:3])
    return list(zip(w_x, w_h, b, strict=True))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["elman-tanh", "lstm", "gru-after"])
def test_flax(name):
    linen = pytest.importorskip("flax.linen", reason="Flax is the oracle here")
    cell, _ = CELLS[name]

    if name == "lstm":
        module = linen.OptimizedLSTMCell(H, param_dtype=float)

        def weights(p):
            tree = {}
            for gate, (w, u, b) in zip("ifgo", gates(p, 4), strict=True):
                tree |= {f"i{gate}": {"kernel": w}, f"h{gate}": {"kernel": u, "bias": b}}
            return tree

    elif name == "gru-after":
        module = linen.GRUCell(H, param_dtype=float)

        def weights(p):
            tree = {}
            for gate, (w, u, b) in zip("rzn", gates(p, 3), strict=True):
                tree |= {f"i{gate}": {"kernel": w, "bias": b}, f"h{gate}": {"kernel": u}}
            tree["hn"]["bias"] = p.b_n
            return tree

    else:
        module = linen.SimpleCell(H, param_dtype=float)

        def weights(p):
            return {"i": {"kernel": p.w_x, "bias": p.b}, "h": {"kernel": p.w_h}}

    def step(p, s, x):
        return module.apply({"params": weights(p)}, s, x)

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

    if name == "lstm":  # one matrix for x and h, gates i, g, f, o, and f + 1 at run time

        def weights(p):
            i, f, g, o = gates(p, 4)
            w, u, b = (jnp.concatenate(parts, -1) for parts in zip(i, g, f, o, strict=True))
            b = b.at[2 * H : 3 * H].add(-1.0)
            return {"lstm/linear": {"w": jnp.concatenate([w, u]), "b": b}}

        to, back = lambda s: hk.LSTMState(s.h, s.c), lambda s: LSTMState(s.hidden, s.cell)
    elif name == "gru-before":  # h' = (1 - z) h + z n: its z is our 1 - z

        def weights(p):
            r, z, n = gates(p, 3)
            z = jax.tree.map(jnp.negative, z)
            w, u, b = (jnp.concatenate(parts, -1) for parts in zip(z, r, n, strict=True))
            return {"gru": {"w_i": w, "w_h": u, "b": b}}

        to = back = lambda s: s
    else:

        def weights(p):
            return {
                "vanilla_rnn/linear": {"w": p.w_x, "b": p.b},
                "vanilla_rnn/linear_1": {"w": p.w_h, "b": jnp.zeros_like(p.b)},
            }

        to = back = lambda s: s

    def step(p, s, x):
        y, s = module.apply(weights(p), x, s)
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
        fields = {"weight_ih": p.w_x.T, "weight_hh": p.w_h.T, "bias": p.b}
        if name != "lstm":
            fields["bias_n"] = p.b_n
        module = eqx.tree_at(
            lambda m: [getattr(m, f) for f in fields], skeleton, list(fields.values())
        )
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

    def weights(p):
        if name in ("elman-tanh", "lstm"):  # gates i, f, c, o: ours
            return [p.w_x, p.w_h, p.b]
        r, z, n = gates(p, 3)  # gates z, r, h
        w, u, b = (jnp.concatenate(parts, -1) for parts in zip(z, r, n, strict=True))
        if name == "gru-after":
            b = jnp.stack([b, jnp.concatenate([jnp.zeros(2 * H), p.b_n])])
        return [w, u, b]

    def step(p, s, x):
        fixed = [v.value for v in module.non_trainable_variables]
        y, s = module.stateless_call(weights(p), fixed, x, s)[0]
        return tuple(s), y

    if name == "lstm":
        compare(cell, step, tuple, lambda s: LSTMState(*s), np.float32)
    else:
        compare(cell, step, lambda s: (s,), lambda s: s[0], np.float32)
