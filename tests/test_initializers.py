"""Presets draw what the libraries they are named after draw."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rnnjax import PRESETS, Initializers, elman, embed, gru, linear, lstm

D, H = 24, 64
KEY = jax.random.key(0)


def same_distribution(ours, theirs):
    """Two samples of one distribution, by Kolmogorov and Smirnov."""
    ours, theirs = (np.asarray(a, np.float64).ravel() for a in (ours, theirs))
    return stats.ks_2samp(ours, theirs).pvalue > 1e-3


def gates(array, count):
    return np.split(np.asarray(array), count, axis=-1)


def assert_orthogonal(matrix):
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    assert np.abs(gram - np.eye(len(gram))).max() < 1e-5


KINDS = [(elman(H), 1), (lstm(H), 4), (gru(H), 3), (gru(H, reset="before"), 3)]
kinds = pytest.mark.parametrize(("cell", "count"), KINDS, ids=[c.name for c, _ in KINDS])


@kinds
def test_default(cell, count):
    params = cell.init(KEY, D)
    for w_x, w_h in zip(gates(params.w_x, count), gates(params.w_h, count), strict=True):
        assert_orthogonal(w_h)
        assert abs(w_x.std() * D**0.5 - 1) < 0.1
    drawn = {gate.tobytes() for gate in gates(params.w_h, count)}
    assert len(drawn) == count  # each gate its own
    want = np.zeros((count, H))
    if cell is lstm(H):
        want[1] = 1.0  # the forget gate's, stored
    assert (np.asarray(params.b) == want.ravel()).all()
    if cell is gru(H):
        assert not params.b_n.any()


def test_fields_replace_one_draw():
    cell = lstm(H, init=PRESETS["rnnjax"]._replace(forget_bias=-2.0))
    assert np.asarray(cell.init(KEY, D).b).reshape(4, H)[:, 0].tolist() == [0, -2, 0, 0]

    def ones(key, shape, dtype):
        return jnp.ones(shape, dtype)

    params = gru(H, init=Initializers(w_x=ones, b=ones)).init(KEY, D)
    assert (params.w_x == 1).all()
    assert (params.b == 1).all()
    assert (params.b_n == 1).all()
    assert not (params.w_h == 1).any()


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_follow_the_dtype_of_the_inputs(preset, x64):
    for dtype in (jnp.float32, jnp.float64):
        params = gru(4, init=preset).init(KEY, jax.ShapeDtypeStruct((3,), dtype))
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}


# --- PyTorch -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kind", "count"), [(elman, "RNN", 1), (lstm, "LSTM", 4), (gru, "GRU", 3)]
)
def test_torch(make, kind, count):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here (extra: torch)")
    torch.manual_seed(0)
    params = make(H, init="torch").init(KEY, D)
    theirs = [getattr(torch.nn, kind)(D, H) for _ in range(8)]

    def get(name):
        return np.stack([getattr(m, name).detach().numpy() for m in theirs])

    bound = H**-0.5
    assert np.abs(params.w_x).max() <= bound
    assert np.abs(params.w_h).max() <= bound
    assert same_distribution(params.w_x, get("weight_ih_l0"))
    assert same_distribution(params.w_h, get("weight_hh_l0"))

    # PyTorch keeps two biases and ours is their sum: triangular, not uniform. The candidate of a
    # GRU keeps its two.
    b = np.concatenate(
        [np.asarray(make(H, init="torch").init(k, D).b) for k in jax.random.split(KEY, 8)]
    )
    b = b.reshape(8, count, H)
    b_x, b_h = (get(f"bias_{part}_l0").reshape(8, count, H) for part in ("ih", "hh"))
    summed = slice(0, 2) if make is gru else slice(None)
    assert np.abs(b[:, summed]).max() > bound
    assert same_distribution(b[:, summed], (b_x + b_h)[:, summed])
    if make is gru:
        assert same_distribution(b[:, 2], b_x[:, 2])
        assert same_distribution(params.b_n, b_h[:, 2])


def test_torch_linear_and_embed():
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here (extra: torch)")
    torch.manual_seed(0)
    ours = linear(500, init="torch").init(KEY, D)
    theirs = torch.nn.Linear(D, 500)
    assert np.abs(ours.w).max() <= D**-0.5
    assert same_distribution(ours.w, theirs.weight.detach())
    assert same_distribution(ours.b, theirs.bias.detach())
    table = embed(50, D, init="torch").init(KEY, jnp.array(0)).table
    assert same_distribution(table, torch.nn.Embedding(50, D).weight.detach())


# --- Flax ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kind", "names"),
    [(elman, "SimpleCell", [""]), (lstm, "LSTMCell", "ifgo"), (gru, "GRUCell", "rzn")],
)
def test_flax(make, kind, names):
    linen = pytest.importorskip("flax.linen", reason="Flax is the oracle here")
    params = make(H, init="flax").init(KEY, D)
    module = getattr(linen, kind)(H)
    carry = module.initialize_carry(KEY, (D,))
    theirs = module.init(KEY, carry, jnp.ones(D))["params"]
    split = zip(names, gates(params.w_x, len(names)), gates(params.w_h, len(names)), strict=True)
    for gate, w_x, w_h in split:
        assert same_distribution(w_x, theirs[f"i{gate}"]["kernel"])
        assert_orthogonal(w_h)
        assert_orthogonal(np.asarray(theirs[f"h{gate}"]["kernel"]))
    assert not params.b.any()
    assert not any(leaf.any() for leaf in jax.tree.leaves(theirs) if leaf.ndim == 1)


def test_flax_linear_and_embed():
    linen = pytest.importorskip("flax.linen", reason="Flax is the oracle here")
    ours = linear(200, init="flax").init(KEY, D)
    theirs = linen.Dense(200).init(KEY, jnp.ones(D))["params"]
    assert same_distribution(ours.w, theirs["kernel"])
    assert not ours.b.any()
    table = embed(200, D, init="flax").init(KEY, jnp.array(0)).table
    theirs = linen.Embed(200, D).init(KEY, jnp.array(0))["params"]["embedding"]
    assert same_distribution(table, theirs)


# --- Keras ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kind", "count"),
    [(elman, "SimpleRNNCell", 1), (lstm, "LSTMCell", 4), (gru, "GRUCell", 3)],
)
def test_keras(make, kind, count):
    keras = pytest.importorskip("keras", reason="Keras is the oracle here (extra: peers)")
    keras.utils.set_random_seed(0)
    params = make(H, init="keras").init(KEY, D)
    module = getattr(keras.layers, kind)(H)
    with jax.numpy_dtype_promotion("standard"):
        module.build((1, D))
    kernel, recurrent, bias = (np.asarray(v.value) for v in module.trainable_variables)
    limit = (6 / (D + count * H)) ** 0.5  # the gates are drawn as one matrix
    assert 0.95 * limit < np.abs(params.w_x).max() <= limit
    assert same_distribution(params.w_x, kernel)
    for matrix in (np.asarray(params.w_h), recurrent):
        assert_orthogonal(matrix)
    if make is lstm:
        assert np.asarray(params.b).tolist() == bias.tolist()
    else:
        assert not params.b.any()
        assert not bias.any()


def test_keras_linear_and_embed():
    keras = pytest.importorskip("keras", reason="Keras is the oracle here (extra: peers)")
    keras.utils.set_random_seed(0)
    dense, lookup = keras.layers.Dense(200), keras.layers.Embedding(200, D)
    with jax.numpy_dtype_promotion("standard"):
        dense.build((1, D))
        lookup.build((1,))
    ours = linear(200, init="keras").init(KEY, D)
    assert same_distribution(ours.w, dense.kernel.value)
    assert not ours.b.any()
    table = embed(200, D, init="keras").init(KEY, jnp.array(0)).table
    assert same_distribution(table, lookup.embeddings.value)


@pytest.mark.parametrize("name", ["rnnjax", "torch"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_that_of_float32_rounded(name, dtype):
    """JAX's own draws are of 128 values in bfloat16, biased, and of no orthogonal matrix at all."""
    narrow = jax.ShapeDtypeStruct((D,), dtype)
    for cell in (lstm(8, init=name), linear(8, init=name)):
        got, want = cell.init(KEY, narrow), cell.init(KEY, D)
        for a, b in zip(got, want, strict=True):
            assert a.dtype == dtype
            if a.ndim == 2:
                np.testing.assert_array_equal(a, b.astype(dtype))
            # A bias may be the sum of two.
            np.testing.assert_allclose(a.astype(float), b, atol=2.0**-7)


def test_cells_with_changed_presets_pickle_and_equal_presets_are_one():
    changed = PRESETS["keras"]._replace(forget_bias=0.0)
    cell = lstm(4, init=changed)
    assert pickle.loads(pickle.dumps(cell)) is cell
    assert lstm(4, init=PRESETS["torch"]) is lstm(4, init="torch")
