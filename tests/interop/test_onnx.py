"""Models of ours in onnxruntime, and models of PyTorch's exporter here."""

import functools

import jax
import numpy as np
import pytest
from oracles import assert_bitwise, assert_close

import rnnjax
from rnnjax import interop
from rnnjax._layer import layer_of

from .common import (
    BEFORE,
    GRU,
    LENGTHS,
    LSTM,
    REAL,
    RELU,
    TANH,
    B,
    D,
    H,
    T,
    both,
    drawn,
    inputs,
    serial,
)

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")
helper = onnx.helper

PEEPHOLES, COUPLED = rnnjax.peephole_lstm(H), rnnjax.coupled_lstm(H)
AROUND = rnnjax.layer_norm(), rnnjax.linear(5), rnnjax.activation("relu")
MODELS = {
    **{cell.name: cell for cell in (TANH, RELU, LSTM, GRU, BEFORE, PEEPHOLES, COUPLED)},
    "both directions": serial(both(LSTM), both(GRU), both(BEFORE), both(PEEPHOLES)),
    "with all around": serial(rnnjax.embed(7, D), both(COUPLED), rnnjax.dropout(0.5), *AROUND),
}


def served(proto, **given):
    """What onnxruntime makes of it, by the names of the outputs."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, given), strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_computes_the_same(name):
    model = MODELS[name]
    params, xs = drawn(model, np.float32), inputs(model, np.float32)
    proto = interop.to_onnx(model, params)
    assert_bitwise(interop.from_onnx(model, proto), params)
    got = served(proto, xs=xs, lengths=LENGTHS.astype(np.int32))["ys"]
    _, want = layer_of(model).apply(params, xs, lengths=LENGTHS)
    if name == "with all around":  # pointwise parts have no lengths in ONNX
        got, want = np.where(REAL, got, 0), np.where(REAL, want, 0)
    assert_close(got, np.asarray(want))


def test_states_go_in_and_out():
    model = rnnjax.stack(LSTM, GRU)
    params, xs = drawn(model, np.float32), inputs(model, np.float32)
    state = jax.tree.map(np.float32, drawn_state(model, params))
    want_state, want = rnnjax.unroll(model, params, state, xs)
    proto = interop.to_onnx(model, params, lengths=False, states=True)
    (h0, c0), h1 = state
    got = served(proto, xs=xs, h0=h0[None], c0=c0[None], h1=h1[None])
    assert_close(got["ys"], np.asarray(want))
    last = rnnjax.LSTMState(got["h0_last"][0], got["c0_last"][0]), got["h1_last"][0]
    assert_close(last, jax.tree.map(np.asarray, want_state))


def test_states_of_both_directions_with_lengths():
    model = serial(both(LSTM), both(GRU))
    params, xs = drawn(model, np.float32), inputs(model, np.float32)
    rng, like = np.random.default_rng(5), jax.eval_shape(model.apply, params, xs)[0]
    state = jax.tree.map(lambda a: rng.normal(0, 1, a.shape).astype(np.float32), like)
    want_state, want = model.apply(params, xs, state=state, lengths=LENGTHS)
    proto = interop.to_onnx(model, params, states=True)

    def named(state):
        low, high = (np.stack([*ways]) for ways in (map(np.stack, state[0]), state[1]))
        return dict(zip(("h0", "c0", "h1"), (*np.swapaxes(low, 0, 1), high), strict=True))

    got = served(proto, xs=xs, lengths=LENGTHS.astype(np.int32), **named(state))
    last = {f"{name}_last": array for name, array in named(want_state).items()}
    assert_close(got, {"ys": np.asarray(want), **last})


def test_a_row_of_no_steps():
    """Its outputs are zeros; so is its last state in onnxruntime, which is ours as it was given."""
    params, xs = drawn(GRU, np.float32), inputs(GRU, np.float32)
    h = np.ones((B, H), np.float32)
    lengths = np.array([T, 0, 2], np.int32)
    proto = interop.to_onnx(GRU, params, states=True)
    got = served(proto, xs=xs, lengths=lengths, h0=h[None])
    last, ys = rnnjax.unroll(GRU, params, h, xs, lengths=lengths)
    assert_close(got["ys"], np.asarray(ys))
    assert_close(got["h0_last"][0], np.where(lengths[:, None] > 0, last, 0))
    np.testing.assert_array_equal(last[1], h[1])


def drawn_state(model, params):
    rng = np.random.default_rng(5)
    return jax.tree.map(lambda a: rng.normal(0, 1, a.shape), model.initial_state(params, (B,)))


@pytest.mark.parametrize("cell", [LSTM, GRU], ids=lambda cell: cell.name)
def test_a_cell_from_the_last_step_to_the_first(cell):
    model = rnnjax.stack(cell, rnnjax.linear(5))
    params, xs = drawn(model, np.float32), inputs(model, np.float32)
    proto = interop.to_onnx(model, params, reverse=True)
    assert_bitwise(interop.from_onnx(model, proto, reverse=True), params)
    got = served(proto, xs=xs, lengths=LENGTHS.astype(np.int32))["ys"]
    _, want = rnnjax.unroll(model, params, None, xs, lengths=LENGTHS, reverse=True)
    assert_close(np.where(REAL, got, 0), np.where(REAL, want, 0))
    with pytest.raises(ValueError, match="direction='reverse', but"):
        interop.from_onnx(model, proto)
    with pytest.raises(ValueError, match="a Layer, which runs as it says"):
        interop.to_onnx(serial(cell), (params[0],), reverse=True)


def test_batches_first():
    proto, xs = operator("LSTM", layout=1), inputs(LSTM, np.float32)
    params = interop.from_onnx(LSTM, proto)  # onnxruntime has no layout=1: onnx's own evaluator
    from onnx import reference

    (want,) = reference.ReferenceEvaluator(proto).run(None, {"xs": np.swapaxes(xs, 0, 1)})
    _, ys = rnnjax.unroll(LSTM, params, None, np.swapaxes(xs, 0, 1), time_axis=1)
    assert_close(np.asarray(ys), want.reshape(B, T, H))


def test_what_has_no_weights():
    xs = inputs(LSTM, np.float32)
    proto = interop.to_onnx(rnnjax.activation("relu"), ())
    np.testing.assert_array_equal(served(proto, xs=xs)["ys"], np.maximum(xs, 0))
    for model, message in [
        (rnnjax.dropout(0.5), "computes nothing"),
        (both(rnnjax.linear(2)), "of two directions"),
        (both(rnnjax.activation("relu")), "of two directions"),
    ]:
        with pytest.raises(ValueError, match=message):
            interop.to_onnx(model, drawn(model))
    with pytest.raises(ValueError, match="got 1 dicts"):
        interop.from_onnx(rnnjax.stack(LSTM, LSTM), [{}])


def graph_of(nodes, **arrays):
    """A model of nodes from "xs" to "ys"."""
    value = helper.make_tensor_value_info
    ends = [value(name, onnx.TensorProto.FLOAT, None) for name in ("xs", "ys")]
    constants = [onnx.numpy_helper.from_array(a, n) for n, a in arrays.items()]
    graph = helper.make_graph(nodes, "few", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_every_bias_of_a_product_counts():
    rng = np.random.default_rng(0)
    arrays = {"w": (D, 5), "b": (5,), "more": (5,)}
    arrays = {name: rng.normal(0, 1, shape).astype(np.float32) for name, shape in arrays.items()}
    nodes = [
        helper.make_node("Gemm", ["xs", "w", "b"], ["a"]),
        helper.make_node("Add", ["a", "more"], ["ys"]),
    ]
    proto, xs = graph_of(nodes, **arrays), inputs(LSTM, np.float32)[0]
    _, ys = rnnjax.linear(5).step(interop.from_onnx(rnnjax.linear(5), proto), (), xs)
    assert_close(np.asarray(ys), served(proto, xs=xs)["ys"])
    around = [
        helper.make_node("MatMul", ["xs", "w"], ["a"]),
        helper.make_node("Add", ["a", "xs"], ["ys"]),
    ]
    with pytest.raises(ValueError, match="operator Add"):
        interop.from_onnx(rnnjax.linear(5), graph_of(around, w=arrays["w"]))


def test_normalised_over_other_axes():
    scale = np.ones(D, np.float32)
    for axis in (-1, 1):
        node = helper.make_node("LayerNormalization", ["xs", "scale"], ["ys"], axis=axis)
        proto = graph_of([node], scale=scale)
        if axis == -1:
            model = rnnjax.layer_norm(epsilon=1e-5)
            params = interop.from_onnx(model, proto)
            xs = inputs(LSTM, np.float32)
            assert_close(np.asarray(model.step(params, (), xs)[1]), served(proto, xs=xs)["ys"])
        else:
            with pytest.raises(ValueError, match="axis=1, but layer_norm"):
                interop.from_onnx(rnnjax.layer_norm(epsilon=1e-5), proto)


def test_symbols_by_another_axis():
    table = np.zeros((7, D), np.float32)
    for axis in (0, 1):
        proto = graph_of([helper.make_node("Gather", ["w", "xs"], ["ys"], axis=axis)], w=table)
        if axis == 0:
            assert interop.from_onnx(rnnjax.embed(7, D), proto).table.shape == (7, D)
        else:
            with pytest.raises(ValueError, match="axis=1, but embed"):
                interop.from_onnx(rnnjax.embed(7, D), proto)


LINEAR = ("MatMul", "w", {})
INTEGERS, HALF = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT16
TO_ROWS = ("Transpose", None, {"perm": [1, 0, 2]})
MOVED = {  # between a recurrent operator and the next one or a product
    "axes": ([("Transpose", None, {"perm": [0, 2, 1]}), LINEAR], "before the MatMul .* features"),
    "steps and rows": ([TO_ROWS, "again"], "before the GRU of .* steps and rows have changed"),
    "there and back": ([TO_ROWS, LINEAR, TO_ROWS, "again"], None),
    "integers": ([("Cast", None, {"to": INTEGERS})], "a Cast .* makes integers of what was"),
    "half": ([("Cast", None, {"to": HALF}), LINEAR], None),
    "to one row": ([("Reshape", "one", {}), "again"], "before the GRU of .* steps and rows"),
    "scrambled": (
        [("Reshape", "mix", {}), ("Transpose", None, {"perm": [0, 2, 1]}), LINEAR],
        "features have",
    ),
    "of the same shape": ([("Reshape", "same", {}), LINEAR], None),
    "of no shape": ([("Reshape", "wrong", {}), LINEAR], "before the MatMul .* fits no data"),
    "in training": ([("Dropout", "ratio on", {}), LINEAR], "Dropout .* is in training"),
    "in evaluation": ([("Dropout", "ratio off", {}), LINEAR], None),
}


def moving(moves, sizes):
    """Operators with moves between them, and the model that they are."""
    rng = np.random.default_rng(0)
    arrays = {"W": (1, 3 * H, D), "V": (1, 3 * H, H), "R": (1, 3 * H, H), "w": (H, H)}
    arrays = {n: rng.normal(0, 1, shape).astype(np.float32) for n, shape in arrays.items()}
    shapes = {"one": [1, -1, H], "mix": [T, H, B], "same": [0, 0, -1], "traced": [T, -1, H]}
    arrays |= {n: np.array(s) for n, s in {**shapes, "wrong": [T, 2, H]}.items()}
    arrays |= {"ratio": np.float32(0.5), "on": np.array(True), "off": np.array(False)}
    gru = functools.partial(helper.make_node, "GRU", linear_before_reset=1, hidden_size=H)
    squeeze = functools.partial(helper.make_node, "Squeeze")
    arrays["axis"] = np.array([1])
    nodes = [gru(["xs", "W", "R"], ["y"]), squeeze(["y", "axis"], ["0"])]
    for k, move in enumerate(moves):
        here, there = str(k), str(k + 1) if k + 1 < len(moves) else "ys"
        if move == "again":
            nodes.append(gru([here, "V", "R"], [f"y{k}"]))
            nodes.append(squeeze([f"y{k}", "axis"], [there]))
        else:
            operator, others, attributes = move
            others = (others or "").split()
            nodes.append(helper.make_node(operator, [here, *others], [there], **attributes))
    parts = [GRU if m == "again" else rnnjax.linear(H) for m in moves if m in ("again", LINEAR)]
    proto = graph_of(nodes, **arrays)
    proto.graph.input[0].CopyFrom(
        helper.make_tensor_value_info("xs", onnx.TensorProto.FLOAT, sizes)
    )
    return proto, rnnjax.stack(GRU, *parts)


@pytest.mark.parametrize("name", MOVED)
def test_what_moves_numbers(name):
    moves, message = MOVED[name]
    proto, model = moving(moves, [T, B, D])
    if message is None:
        assert len(interop.from_onnx(model, proto)) == len(model.init(jax.random.key(0), D))
    else:
        with pytest.raises(ValueError, match=message):
            interop.from_onnx(model, proto)


def test_what_moves_as_many_steps_as_rows():
    proto, model = moving([TO_ROWS, "again"], [B, B, D])
    with pytest.raises(ValueError, match="steps and rows have changed their places"):
        interop.from_onnx(model, proto)


def test_a_size_that_was_traced():
    """PyTorch's exporter calls steps open and writes how many there were into a Reshape."""
    for sizes in (["t", "b", D], [None, None, D], ["t", "b", "d"]):
        proto, model = moving([("Reshape", "traced", {}), LINEAR], sizes)
        assert len(interop.from_onnx(model, proto)) == 2
        proto, model = moving([("Reshape", "one", {}), "again"], sizes)
        with pytest.raises(ValueError, match=r"before the GRU of .* steps and rows"):
            interop.from_onnx(model, proto)


def test_a_last_state_goes_on():
    proto = operator("LSTM")
    node, value = proto.graph.node[0], helper.make_tensor_value_info
    node.output.extend(["h", "c"])
    for name, model in [("h", LSTM), ("c", None)]:
        del proto.graph.output[:]
        proto.graph.output.append(value(name, onnx.TensorProto.FLOAT, None))
        if model:
            assert interop.from_onnx(model, proto).w_x.shape == (D, 4 * H)
        else:
            with pytest.raises(ValueError, match="goes on with the c of an LSTM"):
                interop.from_onnx(LSTM, proto)


def test_lengths_of_its_own():
    proto = operator("LSTM")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.full(B, T, np.int32), "n"))
    proto.graph.node[0].input.append("n")
    with pytest.raises(ValueError, match="the LSTM of the ONNX model has lengths of its own"):
        interop.from_onnx(LSTM, proto)


@pytest.mark.parametrize("repeated", [False, True])
def test_a_state_of_its_own(repeated):
    proto = operator("LSTM")
    node, add = proto.graph.node[0], proto.graph.initializer.append
    add(onnx.numpy_helper.from_array(np.zeros((1, 1, H), np.float32), "zeros"))
    add(onnx.numpy_helper.from_array(np.ones((1, 1, H), np.float32), "ones"))
    shape = helper.make_node("Shape", ["xs"], ["shape"])  # of which the rows would be taken
    given = {name: name for name in ("zeros", "ones")}
    if repeated:
        given = {name: f"every {name}" for name in given}
        makers = [helper.make_node("Expand", [n, "shape"], [each]) for n, each in given.items()]
        for maker in (shape, *makers):
            proto.graph.node.append(maker)
    node.input.extend(["", given["zeros"], given["zeros"]])
    interop.from_onnx(LSTM, proto)
    node.input[6] = given["ones"]
    with pytest.raises(ValueError, match="a state of its own that is not zeros"):
        interop.from_onnx(LSTM, proto)


def operator(kind, dtype=np.float32, ways=1, *, bias=True, **attributes):
    """A model of one recurrent operator, with random weights."""
    rng, gates = np.random.default_rng(0), {"RNN": 1, "LSTM": 4, "GRU": 3}[kind]
    sizes = {"W": (gates * H, D), "R": (gates * H, H), "B": (2 * gates * H,)}
    arrays = {n: rng.normal(0, 1, (ways, *s)).astype(dtype) for n, s in sizes.items()}
    names = ["W", "R", "B"][: 3 if bias else 2]
    node = helper.make_node(kind, ["xs", *names], ["ys"], hidden_size=H, **attributes)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "one",
        [value("xs", onnx.TensorProto.FLOAT, ["T", "B", D])],
        [value("ys", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(arrays[n], n) for n in names],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("cell", "kind", "attributes"),
    [
        (BEFORE, "GRU", {}),
        (GRU, "GRU", {"linear_before_reset": 1, "bias": False}),
        (LSTM, "LSTM", {"direction": "reverse"}),
        (COUPLED, "LSTM", {"input_forget": 1}),
        (RELU, "RNN", {"activations": ["Relu"], "bias": False}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_operators_of_others(cell, kind, attributes):
    proto, xs = operator(kind, **attributes), inputs(cell, np.float32)
    reverse = attributes.get("direction") == "reverse"
    params = interop.from_onnx(cell, proto, reverse=reverse)
    _, ys = rnnjax.unroll(cell, params, None, xs, reverse=reverse)
    assert_close(np.asarray(ys), served(proto, xs=xs)["ys"][:, 0])


@pytest.mark.parametrize(
    ("cell", "kind", "attributes", "message"),
    [
        (GRU, "GRU", {}, "linear_before_reset=0, but gru"),
        (LSTM, "LSTM", {"clip": 3.0}, "has clip"),
        (LSTM, "LSTM", {"input_forget": 1}, "input_forget=1, but lstm"),
        (LSTM, "LSTM", {"activations": ["HardSigmoid", "Tanh", "Tanh"]}, "HardSigmoid"),
        (LSTM, "LSTM", {"direction": "bidirectional", "ways": 2}, "direction='bidirectional'"),
        (PEEPHOLES, "LSTM", {}, "P=False, but peephole_lstm"),
        (LSTM, "GRU", {}, "is LSTM in ONNX, got GRU"),
        (TANH, "RNN", {"activations": ["Relu"]}, r"\['Relu'\], but elman"),
    ],
)
def test_refused(cell, kind, attributes, message):
    with pytest.raises(ValueError, match=message):
        interop.from_onnx(cell, operator(kind, **attributes))


def test_other_operators_are_refused():
    proto = interop.to_onnx(LSTM, drawn(LSTM, np.float32))
    proto.graph.node[-1].op_type = "Neg"
    with pytest.raises(ValueError, match="the operator Neg"):
        interop.from_onnx(LSTM, proto)
    with pytest.raises(ValueError, match="no projection"):
        interop.to_onnx(rnnjax.projected_lstm(H, 2), ())
    with pytest.raises(ValueError, match='no merge="sum"'):
        interop.to_onnx(both(LSTM, merge="sum"), ((), ()))


@pytest.mark.filterwarnings("ignore")  # it warns of itself
@pytest.mark.parametrize(
    "way", ["traced", "dynamo, of any size", pytest.param("dynamo", marks=pytest.mark.slow)]
)
def test_what_pytorch_exports(way, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if way != "traced":
        pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra: torch)")

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(7, D)
            self.low = torch.nn.LSTM(D, H, num_layers=2, bidirectional=True, batch_first=True)
            self.high = torch.nn.GRU(2 * H, H, batch_first=True)
            self.readout = torch.nn.Linear(H, 5)

        def forward(self, tokens):
            return self.readout(self.high(self.low(self.embed(tokens))[0])[0])

    module, model = Model().eval(), serial(
        rnnjax.embed(7, D), both(LSTM), both(LSTM), GRU, rnnjax.linear(5)
    )  # fmt: skip
    tokens, path = torch.tensor(inputs(model).T), tmp_path / "model.onnx"
    sizes = {0: torch.export.Dim("b"), 1: torch.export.Dim("t")} if "any" in way else None
    how = {"dynamic_shapes": {"tokens": sizes}} if sizes else {}
    torch.onnx.export(module, (tokens,), path, dynamo=way != "traced", verbose=False, **how)
    _, ys = model.apply(interop.from_onnx(model, path), np.asarray(tokens), time_axis=1)
    assert_close(np.asarray(ys), module(tokens).detach().numpy())
