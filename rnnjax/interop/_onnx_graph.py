"""Graphs of ONNX: the operators of a model that was read, and a model of operators."""

from __future__ import annotations

import os
from operator import methodcaller
from typing import Any

import numpy as np

from rnnjax.interop._onnx_places import follow

RECURRENT = {
    "RNN": {"activations": ["Tanh"]},
    "LSTM": {"activations": ["Sigmoid", "Tanh", "Tanh"], "input_forget": 0},
    "GRU": {"activations": ["Sigmoid", "Tanh"], "linear_before_reset": 0},
}  # with their attributes where these are not given
ACTIVATIONS = ("Tanh", "Relu", "Sigmoid", "Softplus")
# What moves numbers and leaves them as they are, tried by `Places`.
MOVES = ("Transpose", "Squeeze", "Unsqueeze", "Reshape", "Identity")


def found(source: Any) -> list[tuple[str, dict[str, Any], dict[str, np.ndarray]]]:
    """The operators that compute something, in order, with their attributes and their arrays."""
    import onnx

    model = onnx.load(os.fspath(source)) if isinstance(source, str | os.PathLike) else source
    constants, operators, products = _Constants(model), [], {}
    floats = {getattr(onnx.TensorProto, n) for n in ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16")}
    (way, data), trail = constants.way(), []
    for node in way:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        arrays: list[Any] = [
            constants.value(name) if constants.known(name) else None for name in node.input
        ]
        product = next((products[name] for name in node.input if name in products), None)
        if node.op_type in RECURRENT:
            operators.append((node.op_type, *_recurrent(node.op_type, attributes, arrays)))
            w, r = arrays[1:3]
            sizes = w.shape[-1], len(r) * r.shape[-1]
            how = {"ways": len(r), "layout": attributes.get("layout", 0)}
            trail.append(methodcaller("through", node, node.input[0], sizes, **how))
            if any(constants.starts(name) for name in node.input[5:7]):
                raise ValueError(
                    f"the {node.op_type} of the ONNX model begins with a state of its own that is "
                    "not zeros: a model here is given its state, or learns it by learned_state"
                )
            if len(arrays) > 4 and arrays[4] is not None:
                raise ValueError(f"the {node.op_type} of the ONNX model has lengths of its own")
        elif node.op_type in ("MatMul", "Gemm") and all(a is not None for a in arrays[1:]):
            w = arrays[1].T if attributes.get("transB") else arrays[1]
            bias = arrays[2] if len(arrays) > 2 else np.full(w.shape[-1], -0.0, w.dtype)
            operators.append(("MatMul", attributes, {"w": w, "b": bias}))
            products[node.output[0]] = operators[-1][2]
            trail.append(methodcaller("through", node, node.input[0], (len(w), w.shape[-1])))
        elif node.op_type == "Add" and product is not None and any(a is not None for a in arrays):
            product["b"] = product["b"] + next(array for array in arrays if array is not None)
            trail.append(
                methodcaller("kept", node, next(name for name in node.input if name in products))
            )
        elif node.op_type == "LayerNormalization":
            own = {"scale": arrays[1], "offset": np.full_like(arrays[1], -0.0)}
            own |= {"offset": arrays[2]} if len(arrays) > 2 else {}
            attributes = {"epsilon": float(np.float32(1e-5)), "axis": -1, **attributes}
            operators.append((node.op_type, attributes, own))
            trail.append(
                methodcaller("through", node, node.input[0], (arrays[1].size, arrays[1].size))
            )
        elif node.op_type == "Gather" and arrays[0] is not None and arrays[0].dtype.kind == "f":
            operators.append(("Gather", attributes, {"table": arrays[0]}))
            trail.append(methodcaller("through", node, node.input[1], (0, arrays[0].shape[-1])))
        elif node.op_type in ACTIVATIONS:
            operators.append((node.op_type, {}, {}))
            trail.append(methodcaller("kept", node, node.input[0]))
        elif node.op_type == "Cast":
            trail.append(
                methodcaller("cast", node, node.input[0], floating=attributes["to"] in floats)
            )
        elif node.op_type == "Dropout":
            if any(a is not None and a.dtype == bool and a for a in arrays[2:]):
                raise ValueError("a Dropout of the ONNX model is in training: export it in eval()")
            trail.append(methodcaller("kept", node, node.input[0]))
        elif node.op_type not in MOVES:
            raise ValueError(f"the operator {node.op_type} of the ONNX model has no counterpart")
    shapes = [node.input[1] for node in way if node.op_type == "Reshape"]
    traced = [int(n) for name in shapes if constants.known(name) for n in constants.value(name)]
    follow(constants, data, trail, [n for n in traced if n > 1])
    return operators


def _recurrent(
    operator: str, given: dict[str, Any], arrays: list[Any]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The attributes of a recurrent operator, and its weights with zeros where it has no bias."""
    clip, parameters = given.get("clip", 0), [n for n in given if n.startswith("activation_")]
    if clip or parameters:
        raise ValueError(
            f"the {operator} of the ONNX model has {', '.join(parameters) or 'clip'}, with which "
            "no cell here computes"
        )
    w, r, b = arrays[1], arrays[2], arrays[3] if len(arrays) > 3 else None
    if w is None or r is None:
        raise ValueError(f"the weights of the {operator} of the ONNX model are no constants")
    peepholes = arrays[7] if len(arrays) > 7 else None
    b = np.full((len(w), 2 * w.shape[1]), -0.0, w.dtype) if b is None else b
    attributes = {**RECURRENT[operator], "direction": "forward", **given}
    named = [n.decode() if isinstance(n, bytes) else n for n in attributes["activations"]]
    own = named[: len(RECURRENT[operator]["activations"])]
    attributes["activations"] = own if named == own * (len(named) // len(own)) else named
    if isinstance(attributes["direction"], bytes):
        attributes["direction"] = attributes["direction"].decode()
    if operator == "LSTM":
        attributes["P"] = peepholes is not None
    return attributes, {"W": w, "R": r, "B": b} | ({} if peepholes is None else {"P": peepholes})


class _Constants:
    """What a graph computes from its initialisers alone."""

    def __init__(self, model: Any) -> None:
        import onnx

        self.onnx, self.model = onnx, model
        self.makers = {n: v for v in model.graph.node for n in v.output if n}
        self.arrays = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}

    def known(self, name: str) -> bool:
        """Whether it depends on no input of the graph."""
        if name in self.arrays:
            return True
        maker = self.makers.get(name)
        return maker is not None and all(map(self.known, maker.input))

    def starts(self, name: str) -> bool:
        """Whether a state is one of the graph's own that is not zeros, repeated for each row."""
        while name in self.makers and not self.known(name):
            maker = self.makers[name]
            if maker.op_type == "ConstantOfShape":
                values = [self.onnx.numpy_helper.to_array(a.t) for a in maker.attribute]
                return any(map(np.any, values))
            name = maker.input[0]
        return bool(name) and self.known(name) and bool(np.any(self.value(name)))

    def way(self) -> tuple[list[Any], Any]:
        """The nodes to the first output, without those that compute shapes, and their input."""
        nodes, name = [], self.model.graph.output[0].name
        while name in self.makers:
            nodes.append(self.makers[name])
            if nodes[-1].op_type == "LSTM" and name in nodes[-1].output[2:]:
                raise ValueError("the ONNX model goes on with the c of an LSTM, which is no output")
            name = next((n for n in nodes[-1].input if n and not self.known(n)), "")
        return nodes[::-1], next((i for i in self.model.graph.input if i.name == name), None)

    def value(self, name: str) -> np.ndarray:
        """The array, computed by onnx's own evaluator."""
        if name not in self.arrays:
            from onnx import helper, reference

            maker = self.makers[name]
            before = {n: self.value(n) for n in maker.input if n}
            inputs = [helper.make_empty_tensor_value_info(n) for n in before]
            outputs = [helper.make_empty_tensor_value_info(n) for n in maker.output]
            graph = helper.make_graph([maker], "constant", inputs, outputs)
            model = helper.make_model(graph, opset_imports=self.model.opset_import)
            values = reference.ReferenceEvaluator(model).run(None, before)
            self.arrays |= dict(zip(maker.output, values, strict=True))
        return self.arrays[name]


def written(
    stages: list[tuple[str, dict[str, Any], list[dict[str, np.ndarray]]]],
    *,
    lengths: bool,
    states: bool,
) -> Any:
    """A model of operators, one after another, each with the arrays of every direction."""
    return _Writer(lengths=lengths, states=states).model(stages)


class _Writer:
    """Nodes, initialisers, inputs and outputs of a graph while it is written."""

    def __init__(self, *, lengths: bool, states: bool) -> None:
        import onnx

        self.onnx, self.lengths, self.states = onnx, lengths, states
        self.nodes, self.constants, self.inputs, self.outputs = [], [], [], []
        self.count, self.layers = 0, 0

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Appends an operator of one output, whose name is given back."""
        self.count += 1
        name = f"{operator}_{self.count}"
        self.nodes.append(self.onnx.helper.make_node(operator, [*inputs], [name], **attributes))
        return name

    def constant(self, array: np.ndarray) -> str:
        """Adds an initialiser."""
        name = f"constant_{len(self.constants)}"
        array = np.ascontiguousarray(array)
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def value(self, name: str, dtype: Any, *shape: Any) -> Any:
        """The description of an input or an output."""
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.onnx.helper.make_tensor_value_info(name, kind, [*shape])

    def model(self, stages: list[tuple[str, dict[str, Any], list[dict[str, np.ndarray]]]]) -> Any:
        x = "xs"
        arrays = [a for _, _, own in stages for each in own for a in each.values()]
        dtype = arrays[0].dtype if arrays else np.dtype(np.float32)
        if self.lengths and any(operator in RECURRENT for operator, _, _ in stages):
            self.inputs.append(self.value("lengths", np.int32, "B"))
        for operator, attributes, own in stages:
            if operator in RECURRENT:
                x = self.recurrent(x, operator, attributes, own, dtype)
            elif operator == "Gather":
                x = self.node("Gather", self.constant(own[0]["table"]), x)
            elif operator == "MatMul":
                x = self.node("MatMul", x, self.constant(own[0]["w"]))
                x = self.node("Add", x, self.constant(own[0]["b"]))
            else:
                given = [self.constant(own[0][name]) for name in ("scale", "offset") if own[0]]
                x = self.node(operator, x, *given, **attributes)
        return self.finished(x, stages[0], dtype)

    def recurrent(
        self, x: str, operator: str, attributes: dict[str, Any], own: list[dict], dtype: Any
    ) -> str:
        """A layer, with its directions side by side."""
        units, ways, k = own[0]["R"].shape[-1], len(own), self.layers
        self.layers += 1
        every = {n: self.constant(np.stack([each[n] for each in own])) for n in own[0]}
        carried = ["h", "c"] if operator == "LSTM" else ["h"]
        given = [f"{name}{k}" for name in carried if self.states]
        self.inputs += [self.value(name, dtype, ways, "B", units) for name in given]
        inputs = [x, every["W"], every["R"], every["B"], "lengths" if self.lengths else "", *given]
        if "P" in every:
            inputs += [""] * (7 - len(inputs)) + [every["P"]]
        last = [f"{name}_last" for name in given]
        self.outputs += [self.value(name, dtype, ways, "B", units) for name in last]
        told = {n: v for n, v in attributes.items() if n != "P"}
        told["activations"] = told["activations"] * ways
        y = f"{operator}_{k}"
        self.nodes.append(
            self.onnx.helper.make_node(operator, inputs, [y, *last], hidden_size=units, **told)
        )
        y = self.node("Transpose", y, perm=[0, 2, 1, 3])  # [T, directions, B, H]
        return self.node("Reshape", y, self.constant(np.array([0, 0, -1])))

    def finished(self, x: str, first: tuple[str, dict, list], dtype: Any) -> Any:
        """The model, whose output is x."""
        operator, _, own = first
        if operator == "Gather":
            xs = self.value("xs", np.int64, "T", "B")
        else:
            axis = {"MatMul": 0, "LayerNormalization": 0}.get(operator, 1)
            features = next((a.shape[axis] for a in own[0].values()), "D")
            xs = self.value("xs", dtype, "T", "B", features)
        self.nodes.append(self.onnx.helper.make_node("Identity", [x], ["ys"]))
        outputs = [self.value("ys", dtype, "T", "B", "O"), *self.outputs]
        graph = self.onnx.helper.make_graph(
            self.nodes, "rnnjax", [xs, *self.inputs], outputs, self.constants
        )
        # What onnxruntime has known for years: LayerNormalization came with 17.
        opset = [self.onnx.helper.make_opsetid("", 17)]
        model = self.onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
        self.onnx.checker.check_model(model)
        return model
