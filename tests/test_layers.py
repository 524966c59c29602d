"""Layers: both directions, serial composition, pyramids; against single rows and PyTorch."""

import functools
import itertools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_bitwise, assert_close

import rnnjax

T, B, D = 6, 4, 3
LENGTHS = np.array([4, 0, 1, 4])
XS = np.random.default_rng(0).normal(size=(T, B, D))
pytestmark = pytest.mark.usefixtures("x64")

LAYERS = {
    "recurrent": rnnjax.recurrent(rnnjax.lstm(5)),
    "concat": rnnjax.bidirectional(rnnjax.lstm(5)),
    "sum": rnnjax.bidirectional(rnnjax.gru(5), rnnjax.elman(5), merge="sum"),
    "mean": rnnjax.bidirectional(rnnjax.gru(5, reset="before"), merge="mean"),
    "separate": rnnjax.bidirectional(rnnjax.gru(5), rnnjax.lstm(4), merge="separate"),
    "deep": rnnjax.serial(
        rnnjax.bidirectional(rnnjax.lstm(5)),
        rnnjax.layer_norm(),
        rnnjax.bidirectional(rnnjax.gru(4)),
        rnnjax.linear(2),
    ),
    "listener": rnnjax.serial(
        rnnjax.bidirectional(rnnjax.lstm(4)),
        rnnjax.pyramid(),
        rnnjax.bidirectional(rnnjax.lstm(3)),
        rnnjax.pyramid(3),
        rnnjax.gru(2),
    ),
}


@pytest.fixture(params=[
    # Two differ from others in their merge alone, which test_merges sees.
    pytest.param(name, marks=pytest.mark.slow if name in ("mean", "separate") else [])
    for name in LAYERS
])  # fmt: skip
def layer(request):
    return LAYERS[request.param]


def random_like(tree, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape), tree)


def params_of(layer):
    return random_like(jax.eval_shape(lambda key: layer.init(key, D), jax.random.key(0)), 1)


def row(tree, b, axis):
    return jax.tree.map(lambda a: np.asarray(a).take([b], axis), tree)


@functools.cache
def differentiated(layer):
    """(params, xs, **options) -> (state, ys), and gradients for params and xs; compiled once."""

    def loss(params, xs, options):
        result = layer.apply(params, xs, **options)
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(result)), result

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    return lambda params, xs, **options: gradient(params, xs, options)[::-1]


def test_rows_with_lengths_equal_rows_cut_to_their_length(layer):
    params, run = params_of(layer), differentiated(layer)
    (state, ys), _ = run(params, XS, lengths=LENGTHS)
    for b, n in enumerate(LENGTHS.tolist()):
        if n == 0:
            continue
        (alone, ys_alone), _ = run(params, row(XS, b, 1)[:n])
        m = int(layer.output_lengths(jnp.asarray(n)))
        assert_close(row(state, b, 0), alone)
        assert_close(jax.tree.map(lambda y, m=m: y[:m], row(ys, b, 1)), ys_alone)


def test_outputs_beyond_a_length_are_zero(layer):
    (_, ys), _ = differentiated(layer)(params_of(layer), XS, lengths=LENGTHS)
    for leaf in map(np.asarray, jax.tree.leaves(ys)):
        padding = np.arange(len(leaf))[:, None] >= np.asarray(layer.output_lengths(LENGTHS))
        assert not leaf[padding].any()


def test_gradients_equal_the_sum_over_rows_alone(layer):
    params, run = params_of(layer), differentiated(layer)
    _, got = run(params, XS, lengths=LENGTHS)
    real = [(b, n) for b, n in enumerate(LENGTHS.tolist()) if n]
    per_row = [run(params, row(XS, b, 1)[:n])[1] for b, n in real]
    assert_close(got[0], jax.tree.map(lambda *g: sum(map(np.asarray, g)), *(g for g, _ in per_row)))
    for (b, n), (_, g) in zip(real, per_row, strict=True):
        assert_close(np.asarray(got[1])[:n, b : b + 1], g)


@pytest.mark.optimised
@pytest.mark.parametrize("garbage", [0.0, 1e30, np.inf, np.nan])
def test_padding_content_never_matters(layer, garbage):
    run = functools.partial(differentiated(layer), params_of(layer), lengths=LENGTHS)
    padding = (np.arange(T)[:, None] >= LENGTHS)[..., None]
    assert_bitwise(*(run(np.where(padding, content, XS)) for content in (garbage, 0.5)))


def test_lengths_equal_the_mask_they_stand_for(layer):
    params = params_of(layer)
    got = jax.jit(layer.apply)(params, XS, mask=np.arange(T)[:, None] < LENGTHS)
    assert_close(got, differentiated(layer)(params, XS, lengths=LENGTHS)[0])


@pytest.mark.parametrize("name", ["recurrent", "concat", "sum", "deep"])
def test_a_reset_separates_sequences_in_both_directions(name):
    layer, cut = LAYERS[name], 2
    params = params_of(layer)
    resets, run = np.zeros((T, B), bool), jax.jit(layer.apply)
    resets[cut] = True
    _, ys = run(params, XS, resets=resets)
    _, first = run(params, XS[:cut])
    _, second = run(params, XS[cut:])
    assert_close(ys, np.concatenate([first, second]))


def test_bidirectional_is_two_unrolls():
    forward, backward = rnnjax.gru(5), rnnjax.lstm(4)
    layer = LAYERS["separate"]
    params = params_of(layer)
    state, (y_f, y_b) = layer.apply(params, XS, lengths=LENGTHS)
    assert_close(
        (state.forward, y_f), rnnjax.unroll(forward, params.forward, None, XS, lengths=LENGTHS)
    )
    flipped = rnnjax.reverse_sequences(XS, LENGTHS)
    s, y = rnnjax.unroll(backward, params.backward, None, flipped, lengths=LENGTHS)
    assert_close((state.backward, y_b), (s, rnnjax.reverse_sequences(y, LENGTHS)))


def test_merges():
    def apply(merge):
        layer = rnnjax.bidirectional(rnnjax.gru(5), merge=merge)
        return jax.tree.map(np.asarray, jax.jit(layer.apply)(params_of(layer), XS)[1])

    forward, backward = apply("separate")
    assert_close(apply("concat"), np.concatenate([forward, backward], axis=-1))
    assert_close(apply("sum"), forward + backward)
    assert_close(apply("mean"), (forward + backward) / 2)


def test_carried_state_goes_to_its_own_direction(layer):
    params, run = params_of(layer), jax.jit(layer.apply)
    state, ys = run(params, XS)
    again, _ = run(params, XS, state=state)
    assert jax.tree.structure(state) == jax.tree.structure(again)
    zeros = jax.tree.map(np.zeros_like, state)
    assert_close(run(params, XS, state=zeros), (state, ys))


def test_noise_comes_from_the_key_and_differs_between_layers_and_directions():
    noisy = rnnjax.stack(rnnjax.dropout(0.5), rnnjax.gru(5))
    layer = rnnjax.serial(rnnjax.bidirectional(noisy), rnnjax.dropout(0.5))
    params = params_of(layer)
    key = jax.random.key(3)
    state, ys = layer.apply(params, XS, key=key)
    assert_bitwise((state, ys), layer.apply(params, XS, key=key))
    assert not np.allclose(ys, layer.apply(params, XS, key=jax.random.key(4))[1])
    keys = [k for k in jax.tree.leaves(state) if rnnjax.noise_keys(None, ()).dtype == k.dtype]
    data = [np.asarray(jax.random.key_data(k)) for k in keys]
    assert len(data) == 3
    assert all(not np.array_equal(a, b) for a, b in itertools.combinations(data, 2))
    again, _ = layer.apply(params, XS, state=state, key=jax.random.key(5))
    assert jax.tree.structure(again) == jax.tree.structure(state)
    evaluation = layer.apply(params, XS)
    assert_bitwise(evaluation, layer.apply(params, XS))


@pytest.mark.parametrize("time", [0, 1, 5, 6])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_pyramid_joins_consecutive_steps(time, factor):
    layer = rnnjax.pyramid(factor)
    xs = random_like(np.zeros((time, B, D)), 5)
    _, ys = layer.apply((), xs)
    whole = np.concatenate([np.asarray(xs), np.zeros((-time % factor, B, D))])
    want = [np.concatenate(whole[t : t + factor], axis=-1) for t in range(0, len(whole), factor)]
    assert ys.shape == (len(want), B, factor * D)
    assert_close(ys, jnp.asarray(want).reshape(ys.shape))


@pytest.mark.parametrize(
    ("time", "batch"),
    [
        pytest.param(
            time, batch,
            marks=[] if (time, len(batch)) in {(0, 1), (1, 0), (5, 2)} else pytest.mark.slow,
        )
        for time in (0, 1, 5) for batch in ((), (0,), (2, 3))
    ],
)  # fmt: skip
def test_any_batch_shape_and_no_steps(time, batch):
    layer = LAYERS["listener"]
    params, xs = params_of(layer), random_like(np.zeros((time, *batch, D)), 6)
    lengths = np.random.default_rng(2).integers(0, time + 1, batch)

    @jax.jit
    def run(params, xs, lengths):
        def loss(params, xs):
            result = layer.apply(params, xs, lengths=lengths)
            return sum((leaf**2).sum() for leaf in jax.tree.leaves(result)), result[1]

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, xs)

    (g_params, g_xs), ys = run(params, xs, lengths)
    rows = int(np.prod(batch))
    flat = run(params, xs.reshape(time, rows, D), lengths.reshape(rows))
    assert ys.shape == (-(-time // 6), *batch, 2)
    assert_close(((g_params, g_xs.reshape(flat[0][1].shape)), ys.reshape(flat[1].shape)), flat)


def test_lists_will_do_as_lengths_and_mask():
    layer = LAYERS["listener"]
    params = params_of(layer)
    want = layer.apply(params, XS, lengths=jnp.asarray(LENGTHS))
    assert_close(layer.apply(params, XS, lengths=LENGTHS.tolist()), want)
    mask = (np.arange(T)[:, None] < LENGTHS).tolist()
    assert_close(layer.apply(params, XS, mask=mask), want)


def test_a_pyramid_keeps_a_step_whose_partner_is_masked():
    layer = rnnjax.serial(rnnjax.pyramid(), rnnjax.gru(3))
    mask = jnp.array([True, False, False, False, True, True])[:, None]
    params = params_of(layer)
    _, ys = layer.apply(params, XS[:, :1], mask=mask)
    assert ys[0].any()
    assert not ys[1].any()
    assert ys[2].any()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32"])
def test_output_lengths_of_any_integer_dtype(dtype):
    """-n has no unsigned value; n + 1 and a factor of 300 are beyond what int8 holds."""
    lengths = np.array([0, 1, 2, 5, 127], dtype)
    for got in (rnnjax.pyramid().output_lengths(n) for n in (lengths, jnp.asarray(lengths))):
        assert (got.tolist(), got.dtype) == ([0, 1, 1, 3, 64], dtype)
    assert rnnjax.pyramid(300).output_lengths(lengths).tolist() == [0, 1, 1, 1, 1]


def test_output_lengths_follow_through_pyramids():
    layer = LAYERS["listener"]
    assert layer.time_factor == 6
    assert layer.output_lengths(jnp.arange(8)).tolist() == [0, 1, 1, 1, 1, 1, 1, 2]


def test_layers_are_static_equal_and_pickle(layer):
    assert pickle.loads(pickle.dumps(layer)) is layer
    assert jax.tree.leaves(layer) == []
    assert jax.jit(lambda layer, x: x)(layer, 1) == 1
    assert rnnjax.recurrent(rnnjax.lstm(5)) is LAYERS["recurrent"]
    assert LAYERS["concat"] != LAYERS["recurrent"]


def test_deep_bidirectional_lstm_equals_pytorch_on_packed_sequences():
    torch = pytest.importorskip("torch")
    units, layers, lengths = 5, 2, [6, 1, 3, 4]
    layer = rnnjax.serial(*[rnnjax.bidirectional(rnnjax.lstm(units))] * layers)
    params = params_of(layer)
    state0 = random_like(layer.apply(params, XS)[0], 7)
    module = torch.nn.LSTM(D, units, layers, bidirectional=True).double()

    def tensor(a):
        return torch.from_numpy(np.array(a))

    with torch.no_grad():
        for k, one in enumerate(params):
            for suffix, p in (("", one.forward), ("_reverse", one.backward)):
                getattr(module, f"weight_ih_l{k}{suffix}").copy_(tensor(p.w_x.T))
                getattr(module, f"weight_hh_l{k}{suffix}").copy_(tensor(p.w_h.T))
                getattr(module, f"bias_ih_l{k}{suffix}").copy_(tensor(p.b))
                getattr(module, f"bias_hh_l{k}{suffix}").zero_()
    xs = tensor(XS).requires_grad_()
    directions = [s for one in state0 for s in one]
    h0 = torch.stack([tensor(s.h) for s in directions]).requires_grad_()
    c0 = torch.stack([tensor(s.c) for s in directions]).requires_grad_()
    packed = torch.nn.utils.rnn.pack_padded_sequence(xs, lengths, enforce_sorted=False)
    out, (h, c) = module(packed, (h0, c0))
    out, _ = torch.nn.utils.rnn.pad_packed_sequence(out)
    ((out**2).sum() + (h**3).sum() + (c**2).sum()).backward()

    def loss(params, xs, state0):
        state, ys = layer.apply(params, xs, state=state0, lengths=jnp.array(lengths))
        cells = [s for one in state for s in one]
        return (
            (ys**2).sum() + sum((s.h**3).sum() + (s.c**2).sum() for s in cells),
            (state, ys),
        )

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
    (g_params, g_xs, g_state), (state, ys) = gradient(params, XS, state0)
    assert_close(ys, jnp.asarray(out.detach().numpy()))
    assert_close(jnp.stack([s.h for one in state for s in one]), jnp.asarray(h.detach().numpy()))
    assert_close(jnp.stack([s.c for one in state for s in one]), jnp.asarray(c.detach().numpy()))
    assert_close(g_xs, jnp.asarray(xs.grad.numpy()))
    assert_close(jnp.stack([s.c for one in g_state for s in one]), jnp.asarray(c0.grad.numpy()))
    for k, one in enumerate(g_params):
        for suffix, p in (("", one.forward), ("_reverse", one.backward)):
            for name, g in (("weight_ih", p.w_x.T), ("weight_hh", p.w_h.T), ("bias_ih", p.b)):
                theirs = getattr(module, f"{name}_l{k}{suffix}").grad.numpy()
                assert_close(g, jnp.asarray(theirs))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rnnjax.serial(), ValueError, "at least one part"),
        (lambda: rnnjax.serial(jnp.tanh), TypeError, r"layers\[0\] must be a Layer or a Cell"),
        (lambda: rnnjax.recurrent(3), TypeError, "cell must be a Cell, got int"),
        (lambda: rnnjax.bidirectional(rnnjax.gru), TypeError, "forward must be a Cell"),
        (lambda: rnnjax.bidirectional(rnnjax.gru(2), 3), TypeError, "backward must be a Cell"),
        (lambda: rnnjax.bidirectional(rnnjax.gru(2), merge="max"), ValueError, "concat, sum, mean"),
        (lambda: rnnjax.pyramid(0), ValueError, "factor must be a positive int"),
        (
            lambda: rnnjax.pyramid().apply((), XS, resets=jnp.zeros((T, B), bool)),
            ValueError,
            "a row of its own",
        ),
        (lambda: rnnjax.pyramid().apply((), XS, lengths=[6, 1]), ValueError, "lengths has shape"),
        (
            lambda: rnnjax.pyramid().apply((), XS, lengths=[6, 1, 7, 1]),
            ValueError,
            "= 7 is outside",
        ),
        (lambda: rnnjax.pyramid().apply((), XS, mask=XS[..., 0]), TypeError, "mask must be bool"),
        (lambda: rnnjax.pyramid().apply((), (XS, XS)), ValueError, "one array .* got tuple"),
        (lambda: rnnjax.pyramid().apply((), XS[:, 0, 0]), ValueError, r"got \[6\]"),
        (
            lambda: LAYERS["deep"].apply(params_of(LAYERS["deep"]), XS, state=(None,)),
            TypeError,
            "state of serial.* must be a tuple of 4 entries, got 1 entries",
        ),
        (
            lambda: LAYERS["concat"].apply(params_of(LAYERS["recurrent"]), XS),
            TypeError,
            "params of bidirectional.* must be a BidirectionalParams, got 3 of them",
        ),
        (
            lambda: LAYERS["mean"].apply(params_of(LAYERS["mean"]), XS, state=jnp.zeros((2, 5))),
            TypeError,
            "state of bidirectional.* must be a BidirectionalParams, got ArrayImpl",
        ),
        (
            lambda: rnnjax.bidirectional(rnnjax.gru(4), rnnjax.gru(1), merge="sum").apply(
                params_of(rnnjax.bidirectional(rnnjax.gru(4), rnnjax.gru(1))), XS
            ),
            ValueError,
            "4 and 1 features",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --- layers compose ------------------------------------------------------------------------------

OPTIONS = {
    "plain": {},
    "lengths": {"lengths": LENGTHS},
    "everything": {
        "lengths": LENGTHS,
        "mask": np.random.default_rng(1).random((T, B)) < 0.8,
        "resets": np.random.default_rng(2).random((T, B)) < 0.3,
    },
}
options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


@options
def test_a_layer_backwards_is_its_cell_backwards(options):
    """`serial` of one cell is a layer, so it goes the way of layers; the cell goes its own."""
    cell = rnnjax.lstm(4)
    by_cell, by_layer = rnnjax.bidirectional(cell), rnnjax.bidirectional(rnnjax.serial(rnn=cell))
    params = params_of(by_cell)
    named = rnnjax.BidirectionalParams(*({"rnn": one} for one in params))
    (state, ys), grads = differentiated(by_cell)(params, XS, **options)
    (got, ys_got), grads_got = differentiated(by_layer)(named, XS, **options)
    assert_close((ys_got, grads_got[1]), (ys, grads[1]))
    assert_close([one["rnn"] for one in (*got, *grads_got[0])], [*state, *grads[0]])


@options
def test_both_ways_through_several_layers(options):
    layer = rnnjax.bidirectional(rnnjax.serial(rnnjax.gru(4), rnnjax.elman(3)), rnnjax.gru(2))
    params = params_of(layer)
    _, ys = layer.apply(params, XS, **options)
    deep = rnnjax.stack(rnnjax.gru(4), rnnjax.elman(3))
    _, forward = rnnjax.unroll(deep, params.forward, None, XS, **options)
    _, backward = rnnjax.unroll(rnnjax.gru(2), params.backward, None, XS, reverse=True, **options)
    assert_close(ys, jnp.concatenate([forward, backward], -1))


@options
def test_a_shortcut_around_a_layer(options):
    inner = rnnjax.bidirectional(rnnjax.gru(D), merge="sum")
    layer = rnnjax.residual(inner)
    assert isinstance(layer, rnnjax.Layer)
    assert layer.name == f"residual({inner.name})"
    params = params_of(layer)
    dirty = XS.copy()
    real = np.ones((T, B), bool) & options.get("mask", True)
    real &= np.arange(T)[:, None] < options.get("lengths", T)
    dirty[~real] = np.nan
    state, ys = layer.apply(params, dirty, **options)
    want_state, want = inner.apply(params, XS, **options)
    assert_close((state, ys), (want_state, jnp.where(real[..., None], want + XS, 0)))


@options
def test_batch_major_data(layer, options):
    if "pyramid" in layer.name and "resets" in options:
        pytest.skip("a pyramid keeps no resets")
    params = params_of(layer)
    state, ys = layer.apply(params, XS, **options)
    turned = {k: v if k == "lengths" else v.T for k, v in options.items()}
    got = layer.apply(params, XS.swapaxes(0, 1), time_axis=1, **turned)
    assert_close(got, (state, jax.tree.map(lambda y: y.swapaxes(0, 1), ys)))


def test_what_is_saved_is_said_to_every_cell():
    """Values and gradients are the same; the plans are not: states are kept, and blocks."""
    layer = LAYERS["deep"]
    params = params_of(layer)

    def loss(params, **options):
        return (layer.apply(params, XS, **options)[1] ** 2).sum()

    want = jax.value_and_grad(loss)(params)
    assert_close(jax.value_and_grad(lambda p: loss(p, save="states", block=2))(params), want)
    everything, states = (
        str(jax.make_jaxpr(jax.grad(lambda p, o=o: loss(p, **o)))(params)).count("scan[")
        for o in ({"save": "all", "block": None}, {"save": "states", "block": 2})
    )
    assert everything == 4 * 2  # four loops, forward and backward
    assert states > everything


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: rnnjax.bidirectional(rnnjax.serial(rnnjax.gru(2), rnnjax.pyramid())),
            ValueError,
            "makes one step of 2, so the directions would not meet",
        ),
        (lambda: rnnjax.residual(3), TypeError, "cell must be a Cell, got int"),
        (
            lambda: rnnjax.residual(rnnjax.serial(rnnjax.pyramid(), rnnjax.linear(3))),
            ValueError,
            "makes one step of 2, so no input belongs to an output",
        ),
        (
            lambda: rnnjax.residual(rnnjax.bidirectional(rnnjax.gru(3), merge="separate")).apply(
                params_of(rnnjax.bidirectional(rnnjax.gru(3))), XS
            ),
            TypeError,
            "they cannot be added",
        ),
        (lambda: LAYERS["recurrent"].apply((), XS, time_axis=3), ValueError, "time_axis is 3"),
        (lambda: LAYERS["recurrent"].apply((), XS, time_axis=True), TypeError, "time_axis must be"),
        (
            lambda: rnnjax.residual(rnnjax.bidirectional(rnnjax.gru(2))).apply(
                params_of(rnnjax.bidirectional(rnnjax.gru(2))), XS
            ),
            ValueError,
            "the input has shape",
        ),
    ],
)
def test_layers_that_do_not_compose(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_through_a_pyramid_a_step_is_real_when_mask_and_lengths_both_allow_one():
    layer = rnnjax.serial(rnnjax.pyramid(2), rnnjax.gru(4))
    params = params_of(layer)
    mask = np.ones((8, 1), bool)
    mask[4] = False
    xs = np.random.default_rng(3).normal(size=(8, 1, D))
    both = layer.apply(params, xs, mask=mask, lengths=[5])
    assert_close(both, layer.apply(params, xs, mask=mask & (np.arange(8)[:, None] < 5)))


def test_a_key_needs_a_state_with_room_for_it():
    layer = rnnjax.recurrent(rnnjax.stack(rnnjax.dropout(0.5), rnnjax.gru(3)))
    params = params_of(layer)
    state, _ = layer.apply(params, XS)
    with pytest.raises(ValueError, match="its state is one of evaluation, without keys"):
        layer.apply(params, XS, state=state, key=jax.random.key(0))
    state, _ = layer.apply(params, XS, key=jax.random.key(0))
    again, _ = layer.apply(params, XS, state=state, key=jax.random.key(1))
    assert (again[0].key != state[0].key).all()
