"""Plain arrays there and back, bit for bit; what is refused, and what the refusal says; files."""

import functools
import json
import struct
from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_bitwise

import rnnjax
from rnnjax import interop
from rnnjax.interop._files import CONVENTION
from rnnjax.interop._gates import OURS

from .common import (
    BEFORE,
    CONV,
    GRU,
    LSTM,
    RELU,
    TANH,
    UGRNN,
    D,
    H,
    both,
    drawn,
    language_model,
    serial,
)

PEEPHOLES, COUPLED = rnnjax.peephole_lstm(H), rnnjax.coupled_lstm(H)
PROJECTED = rnnjax.projected_lstm(H, 2)
NNX_TO, NNX_FROM = (functools.partial(f, api="nnx") for f in (interop.to_flax, interop.from_flax))
PAIRS = {
    "torch": (interop.to_torch, interop.from_torch, (TANH, RELU, LSTM, GRU, PROJECTED)),
    "keras": (interop.to_keras, interop.from_keras, (TANH, LSTM, GRU, BEFORE, CONV)),
    "linen": (interop.to_flax, interop.from_flax, (TANH, RELU, UGRNN, LSTM, GRU)),
    "nnx": (NNX_TO, NNX_FROM, (TANH, RELU, LSTM)),
    "haiku": (interop.to_haiku, interop.from_haiku, (RELU, BEFORE)),
}
ROUND = [(name, cell) for name, (*_, cells) in PAIRS.items() for cell in cells]


def models(name, cell):
    """The cell alone, in both directions, and in a model with names."""
    yield cell
    if cell is not CONV:
        yield serial(both(cell), both(cell))
        yield language_model(cell, rnnjax.dropout(0.1), rnnjax.cast(cell, "float32"))


@pytest.mark.parametrize(("name", "cell"), ROUND, ids=lambda v: getattr(v, "name", v))
def test_there_and_back(name, cell):
    to, back, _ = PAIRS[name]
    for model in models(name, cell):
        params = drawn(model)
        theirs = to(model, params)
        assert_bitwise(back(model, theirs), params)
        assert_bitwise(to(model, back(model, theirs)), theirs)
        assert all(isinstance(a, np.ndarray) for a in jax.tree.leaves(theirs))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, jnp.bfloat16], ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_every_dtype(name, dtype):
    to, back, cells = PAIRS[name]
    params = drawn(cells[-1], dtype)
    theirs = to(cells[-1], params)
    assert {a.dtype for a in jax.tree.leaves(theirs)} == {np.dtype(dtype)}
    assert_bitwise(back(cells[-1], theirs), params)


@pytest.mark.parametrize("cell", [LSTM, CONV], ids=lambda cell: cell.name)
@pytest.mark.parametrize("name", ["haiku", "linen"])
def test_a_forget_bias_of_the_run_time_is_rounded_once(name, cell):
    if (name, cell) == ("linen", LSTM):
        pytest.skip("that is a plain one")
    to, back, _ = PAIRS[name]
    params, rng = drawn(cell, np.float32), np.random.default_rng(0)
    units = params.b.size // 4
    forget = slice(units, 2 * units)
    got = back(cell, to(cell, params))
    assert np.abs(got.b - params.b)[forget].max() <= np.finfo(np.float32).eps
    got.b[forget] = params.b[forget]
    assert_bitwise(got, params)
    params.b[forget] = rng.uniform(0.5, 2, units)  # and there not at all
    assert_bitwise(back(cell, to(cell, params)), params)


def test_two_biases_become_their_sum():
    weights = {k: np.full(v.shape, 2.0) for k, v in interop.to_torch(GRU, drawn(GRU)).items()}
    params = interop.from_torch(GRU, {**weights, "bias_hh_l0": np.arange(12.0)})
    np.testing.assert_array_equal(params.b, [2, 3, 4, 5, 6, 7, 8, 9, 2, 2, 2, 2])
    np.testing.assert_array_equal(params.b_n, [8, 9, 10, 11])


STATE = interop.to_torch(LSTM, drawn(LSTM))
LACKS = {k: v for k, v in STATE.items() if k != "bias_hh_l0"}
WIDE = {**STATE, "weight_hh_l0": np.zeros((16, 5))}
REFUSED = {
    "torch, reset before": (lambda: interop.to_torch(BEFORE, drawn(BEFORE)), "after the product"),
    "torch, from reset before": (lambda: interop.from_torch(BEFORE, {}), "after the product"),
    "torch, activation": (
        lambda: interop.to_torch(rnnjax.elman(H, activation="gelu"), drawn(TANH)),
        r"PyTorch has no elman\(4, gelu\): its activation is tanh or relu",
    ),
    "torch, another cell": (lambda: interop.to_torch(rnnjax.mgu(H), ()), r"has no mgu\(4\): what"),
    "torch, by hand": (
        lambda: interop.to_torch(rnnjax.Cell("mine", None, None, None), ()), "has no mine",
    ),
    "torch, sizes": (
        lambda: interop.from_torch(rnnjax.stack(LSTM, rnnjax.lstm(5)), {}), "are alike",
    ),
    "torch, some in both directions": (
        lambda: interop.from_torch(serial(LSTM, both(LSTM)), {}), "are alike",
    ),
    "torch, deep directions": (
        lambda: interop.from_torch(both(rnnjax.stack(LSTM, LSTM)), {}), "after every layer",
    ),
    "torch, no names": (
        lambda: interop.from_torch(rnnjax.stack(LSTM, rnnjax.linear(2)), {}), "needs the name",
    ),
    "torch, merge": (
        lambda: interop.from_torch(both(LSTM, merge="sum"), {}), 'no merge="sum"',
    ),
    "torch, pyramid": (
        lambda: interop.from_torch(serial(both(LSTM), rnnjax.pyramid(), both(LSTM)), {}),
        "makes several steps one",
    ),
    "torch, a name within none": (
        lambda: interop.from_torch(rnnjax.stack(rnnjax.stack(rnn=LSTM), LSTM), {}),
        r"lstm\(4\) has a name within a part that has none",
    ),
    "torch, a prefix": (
        lambda: interop.from_torch(LSTM, {f"module.rnn.{k}": a for k, a in STATE.items()}),
        r"weights of lstm\(4\) stand under 'module.rnn.'",
    ),
    "torch, other names": (
        lambda: interop.from_torch(LSTM, {**LACKS, "_orig_mod.bias_hh_l0": np.zeros(16)}),
        "lack bias_hh_l0, which .*; they have _orig_mod.bias_hh_l0, for which",
    ),
    "torch, two directions of what has none": (
        lambda: interop.to_torch(both(rnnjax.linear(2)), drawn(both(rnnjax.linear(2)))),
        "PyTorch has one place, ..*, for two cells of",
    ),
    "two of a name": (
        lambda: interop.from_torch(
            rnnjax.stack(a=rnnjax.embed(2, 3)),
            {"a.weight": np.zeros((2, 3)), "a": {"weight": np.ones((2, 3))}},
        ),
        "two arrays are called a.weight",
    ),
    "missing": (lambda: interop.from_torch(LSTM, LACKS), r"lack bias_hh_l0, which lstm\(4\)"),
    "unknown": (
        lambda: interop.from_torch(LSTM, {**STATE, "weight_hr_l0": np.zeros(2)}),
        "have weight_hr_l0, for which",
    ),
    "shape": (lambda: interop.from_torch(LSTM, WIDE), r"weight_hh_l0 is \[16, 5\], expected \[16"),
    "another cell": (lambda: interop.from_torch(GRU, STATE), r"is \[16, \d\], expected \[12, \d\]"),
    "a layer by hand": (
        lambda: interop.to_torch(rnnjax.Layer("mine", None, None), ()), "is a layer of its own",
    ),
    "keras, fewer": (lambda: interop.from_keras(LSTM, [np.zeros((3, 16))]), "has 3 arrays in"),
    "keras, the other form": (
        lambda: interop.from_keras(BEFORE, interop.to_keras(GRU, drawn(GRU))),
        r"bias is \[2, 12\], expected \[12\]",
    ),
    "keras, projection": (lambda: interop.to_keras(PROJECTED, ()), "no projection"),
    "flax, reset before": (lambda: interop.to_flax(BEFORE, ()), "after the product"),
    "flax, mgu": (lambda: interop.to_flax(rnnjax.mgu(H), ()), r"where mgu has U \(f h\) and h'"),
    "flax, mgu that resets": (
        lambda: interop.from_flax(
            UGRNN, {**interop.to_flax(UGRNN, drawn(UGRNN)), "hn": {"kernel": 0, "bias": 0}}
        ),
        "have hn/bias, for which ugrnn",
    ),
    "nnx, b_n": (lambda: NNX_TO(GRU, drawn(GRU)), "no place for the candidate's recurrent bias"),
    "flax, api": (lambda: interop.to_flax(LSTM, (), api="linnen"), "must be one of linen, nnx"),
    "haiku, reset after": (lambda: interop.to_haiku(GRU, drawn(GRU)), "before the product"),
    "haiku, tanh": (lambda: interop.to_haiku(TANH, drawn(TANH)), "its activation is relu"),
    "equinox, reset before": (lambda: interop.to_equinox(BEFORE, (), ()), "after the product"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_what_has_no_place_is_told_in_one_order():
    more = {name.replace("l0", "l1"): a for name, a in STATE.items()}
    weights = [*STATE.items(), *more.items()]
    for given in dict(weights), OrderedDict(weights), OrderedDict(weights[::-1]):
        with pytest.raises(ValueError, match=f"the weights have {', '.join(sorted(more))}, for"):
            interop.from_torch(LSTM, given)


def test_nnx_takes_a_gru_without_that_bias():
    params = drawn(GRU)._replace(b_n=np.zeros(H))
    assert_bitwise(NNX_FROM(GRU, NNX_TO(GRU, params)), params._replace(b_n=np.full(H, -0.0)))


def test_what_is_read_or_written_is_no_view():
    model = rnnjax.stack(a=rnnjax.embed(7, D), b=PROJECTED, c=rnnjax.linear(2))
    params = drawn(model)
    weights, kept = interop.to_torch(model, params), drawn(model)
    for array in weights.values():
        array += 1
    assert_bitwise(params, kept)
    weights = interop.to_torch(model, params)
    read = interop.from_torch(model, weights)
    for array in weights.values():  # as an optimiser of PyTorch does, in place
        array += 1
    assert_bitwise(read, kept)


def test_a_cell_of_torch_is_the_first_layer():
    params = drawn(model := rnnjax.stack(cell=GRU, out=rnnjax.linear(2)))
    weights = {k.removesuffix("_l0"): w for k, w in interop.to_torch(model, params).items()}
    assert next(iter(weights)) == "cell.weight_ih"
    assert_bitwise(interop.from_torch(model, weights), params)
    with pytest.raises(ValueError, match="have weight_ih, for which"):
        interop.from_torch(LSTM, {**STATE, "weight_ih": STATE["weight_ih_l0"]})
    with pytest.raises(ValueError, match="lack weight_ih_l1"):
        interop.from_torch(serial(LSTM, LSTM), {k[:-3]: w for k, w in STATE.items()})


def test_parameters_of_another_cell_are_not_written():
    for model, params, error, message in [
        (LSTM, drawn(GRU), TypeError, r"of lstm\(4\) must be LSTMParams, got GRUParams"),
        (LSTM, drawn(rnnjax.lstm(5)), ValueError, r"weight_ih_l0 is \[20, 3\], expected \[16"),
        (STATE, drawn(LSTM), TypeError, "model must be a Cell or a Layer, got dict"),
    ]:
        with pytest.raises(error, match=message):
            interop.to_torch(model, params)


def test_integers_are_refused():
    with pytest.raises(TypeError, match="bias_ih_l0 must be floating, got int64"):
        interop.from_torch(LSTM, {**STATE, "bias_ih_l0": np.zeros(16, int)})


# --- files ---------------------------------------------------------------------------------------


def test_files(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    model = rnnjax.stack(
        low=rnnjax.layer_norm_lstm(H), high=rnnjax.residual(BEFORE), out=rnnjax.linear(2)
    )
    path = tmp_path / "model.safetensors"
    for dtype in (np.float64, jnp.bfloat16):
        params = drawn(model, dtype)
        interop.save_params(path, model, params)
        assert_bitwise(interop.load_params(path, model, D), params)
    with pytest.raises(
        ValueError, match=r"the model of the file is 'stack\(.*expected 'lstm\(4\)'"
    ):
        interop.load_params(path, LSTM, D)
    with pytest.raises(ValueError, match=r"what differs is .*low/w_x.*\(3, 16\).*\(5, 16\)"):
        interop.load_params(path, model, 5)
    held = bytearray(path.read_bytes())
    held[-1] ^= 1
    path.write_bytes(held)
    with pytest.raises(ValueError, match="is damaged: "):
        interop.load_params(path, model, D)


def change_header(path, change):
    """Rewrites the JSON in front of the arrays of a file of safetensors."""
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size :])


def test_files_that_were_tampered_with(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    path, params = tmp_path / "file", drawn(LSTM, np.float32)
    changes = {
        "other numbers of the same bytes": lambda h: h["w_x"].update(dtype="I32"),
        "no checksums": lambda h: h["__metadata__"].pop("checksums"),
        "checksums of another form": lambda h: h["__metadata__"].update(checksums="[]"),
    }
    for change in changes.values():
        interop.save_params(path, LSTM, params)
        change_header(path, change)
        with pytest.raises(ValueError, match=r"is damaged: .*w_x"):
            interop.load_params(path, LSTM, D)
    interop.save_params(path, LSTM, params)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match="is damaged, or no file of safetensors"):
        interop.load_params(path, LSTM, D)


def test_files_say_the_options_that_no_name_has(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    path = tmp_path / "file"
    pairs = [
        (both(LSTM), both(LSTM, merge="sum"), "merge='sum'"),
        (both(rnnjax.lstm(H, init="torch")), both(LSTM, merge="mean"), "merge='mean'"),
        (CONV, rnnjax.conv_lstm((3, 2), 2, kernel=(2, 3)), r"kernel=\[2, 3\]"),
    ]
    for model, other, message in pairs:
        interop.save_params(path, model, drawn(model))
        with pytest.raises(ValueError, match=f"the options of the file are .*expected .*{message}"):
            interop.load_params(path, other, jnp.ones((3, 2, D)) if model is CONV else D)
    model = both(rnnjax.lstm(H, init="torch"))  # which is drawn otherwise, and computes the same
    interop.save_params(path, model, drawn(model))
    assert_bitwise(interop.load_params(path, both(LSTM), D), drawn(model))


def test_a_number_in_a_file_stays_one(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    start = {"keep": np.float32(0.5)}
    cell = rnnjax.Cell("counter", lambda key, x_spec: jax.tree.map(jnp.asarray, start), None, None)
    interop.save_params(tmp_path / "file", cell, start)
    assert interop.load_params(tmp_path / "file", cell, D)["keep"].shape == ()
    with pytest.raises(ValueError, match="two arrays are called a/b"):
        interop.save_params(tmp_path / "file", cell, {"a": {"b": np.ones(2)}, "a/b": np.ones(2)})


def test_another_order_of_gates_would_be_another_convention():
    """Files that are there already hold this one."""
    assert CONVENTION == "rnnjax 1"
    written = {
        "lstm": "ifgo", "projected_lstm": "ifgo", "peephole_lstm": "ifgo", "coupled_lstm": "fgo",
        "conv_lstm": "ifgo", "gru": "rzn", "gru_before": "rzn",
    }  # fmt: skip
    assert written.items() <= {kind: gates for kind, (gates, _) in OURS.items()}.items()
