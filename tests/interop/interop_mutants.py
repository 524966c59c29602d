"""Faults of conversions, for `tests/mutation.py`: what, file, old text, new text, tests."""

_ARRAYS, _LIBRARIES, _ONNX = (f"tests/interop/test_{n}.py" for n in ("arrays", "libraries", "onnx"))

_FAULTS = [
    ("haiku's i, g, f, o are ours", "_gates.py", '"lstm": Convention("igfo", forget=1.0)',
     '"lstm": Convention("ifgo", forget=1.0)', _LIBRARIES, "haiku"),
    ("haiku's z is ours", "_gates.py", 'Convention("zrn", negated="z")', 'Convention("zrn")',
     _LIBRARIES, "haiku"),
    ("haiku's forget bias is in the file", "_gates.py", 'Convention("igfo", forget=1.0)',
     'Convention("igfo")', _LIBRARIES, "haiku"),
    ("keras' z, r, h are r, z, h", "_gates.py", '"gru_before": Convention("zrn"),',
     '"gru_before": Convention("rzn"),', _LIBRARIES, "keras"),
    ("the second bias is 0.0", "_gates.py", "np.full(size, -0.0, dtype)", "np.zeros(size, dtype)",
     _ARRAYS, "there_and_back"),
    ("two biases to one by forgetting one", "_gates.py", '"b": both}', '"b": b_x}',
     _LIBRARIES, "test_torch"),
    ("the candidate's biases are summed", "_gates.py", "joined(both[:-n], b_x[-n:])", "both",
     _ARRAYS, "their_sum"),
    ("matrices are not turned", "_gates.py", "[w.T if convention.transposed else w",
     "[w if convention.transposed else w", _LIBRARIES, "test_torch"),
    ("a projection is not turned", "_format.py", 'fields["w_p"] = _turned(convention, params.w_p)',
     'fields["w_p"] = params.w_p', _LIBRARIES, "test_torch"),
    ("unknown names pass", "_format.py", "name in given if name not in wanted]",
     "name in given if not name]", _ARRAYS, "refused"),
    ("shapes pass", "_format.py", "if given[name].shape != shape:",
     "if given[name].ndim != len(shape):", _ARRAYS, "refused"),
    ("nnx forgets b_n", "_format.py", "or np.any(np.asarray(b_n)):", "and np.any(np.asarray(b_n)):",
     _ARRAYS, "refused"),
    ("torch's options are not compared", "_torch.py",
     "compare(TORCH, cell, got, options(cell))", "del got", _LIBRARIES, "named_parts"),
    ("torch's layers may differ", "_torch.py", "if len(set(names)) > 1 or", "if", _ARRAYS,
     "refused"),
    ("the backward direction has the forward's name", "_torch.py", "Way.BACKWARD in rest",
     "Way.CELL not in rest", _ARRAYS, "there_and_back"),
    ("a damaged file passes", "_files.py", "if _checksum(array) != checksums.get(n)]",
     "if n not in checksums]", _ARRAYS, "files"),
    ("onnx's i, o, f, c are ours", "_gates.py", '"lstm": Convention("iofg", transposed=True)',
     '"lstm": Convention("ifgo", transposed=True)', _ONNX, "computes"),
    ("onnx resets before", "_onnx.py", '"linear_before_reset": 1', '"linear_before_reset": 0',
     _ONNX, "computes"),
    ("peepholes stand as ours", "_gates.py", "return diagonal.reshape(3, -1)[order].reshape(-1)",
     "return diagonal", _ONNX, "computes"),
    ("a clip passes", "_onnx_graph.py", "if clip or parameters:", "if parameters:", _ONNX,
     "refused"),
]  # fmt: skip

INTEROP = [
    (f"interop: {what}", f"rnnjax/interop/{file}", old, new, (tests, "-k", chosen))
    for what, file, old, new, tests, chosen in _FAULTS
]
