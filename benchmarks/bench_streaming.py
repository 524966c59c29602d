"""The part `streaming`: how long one step takes that waits for its input."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import peers
import suite
from suite import Case, Options, Row
from worker import Contender

TITLE = "Latency of one step"
ABOUT = """One row, one step at a time, as a stream of sensor values or an agent's observations
needs it: x comes as a NumPy array and y is read as one, the state stays where it is. p50 and p99
are quantiles over 500 steps; the least of the rounds is shown. In JAX it is the jitted step
with a donated state, its parameters an argument, or fixed in the program as onnxruntime has them.
PyTorch runs without gradients, a cell a layer or its module with T = 1. onnxruntime runs what
`interop.to_onnx` writes, on the CPU. The outputs of a few steps are compared before anything is
timed; gradients there are none."""

MODES = {"p50": 0.5, "p99": 0.99}
STEPS, COMPARED = 500, 8
# (D, H, layers)
SIZES = [(64, 64, 1), (128, 256, 2)]
TORCH = {
    "torch, cells": {"way": "cells"},
    "torch, cells, one thread": {"way": "cells", "threads": 1},
    "torch, module": {"way": "module"},
    "torch, compiled": {"way": "compiled"},
}
ONNX = {"onnxruntime": {}, "onnxruntime, one thread": {"threads": 1}}


def cases(size: str, options: Options) -> list[Case]:
    """See `Part`."""
    kinds = [kind for kind in ("lstm", "gru") if kind in (options.cells or ("lstm",))]
    sizes = [(inputs, units, 1) for *_, inputs, units in options.sizes or ()] or list(SIZES)
    if not options.sizes:
        if size == "quick":
            sizes = [(8, 8, 2)]
        elif size == "full":
            sizes += [(16, 16, 1), (512, 512, 1), (1024, 1024, 2)]
            kinds = kinds if options.cells else ["lstm", "gru"]
    each = {"steps": 50, "rounds": 3} if size == "quick" else {"steps": STEPS, "rounds": 8}
    found = [{**peers.Net(kind, *net)._asdict(), **each} for kind in kinds for net in sizes]
    if size == "full":
        found = [{**case, "compiled": True} for case in found]  # takes half a minute each
    return suite.narrowed(found, options)


def measure(case: Case) -> list[Row]:
    """See `Part`."""
    jax = {**case, "make": "bench_streaming:jax_contender", "process": "rnnjax"}
    found = {
        "rnnjax": {**jax, "library": "rnnjax"},
        "rnnjax, fixed parameters": {**jax, "library": "rnnjax", "fixed": True},
        "flax.linen": {**jax, "library": "flax.linen", "process": "flax.linen"},
    }
    for name, job in {**TORCH, **ONNX}.items():
        make = "torch_contender" if name in TORCH else "onnx_contender"
        process = f"{name.partition(',')[0]}{', one thread' * ('threads' in job)}"
        found[name] = {**case, **job, "make": f"bench_streaming:{make}", "process": process}
    if not case.get("compiled"):
        del found["torch, compiled"]
    units = dict.fromkeys(MODES, "µs")
    return suite.contest(
        case, suite.asked(found, case), tuple(MODES), rounds=case["rounds"], units=units
    )


def contender(
    job: Mapping[str, Any], step: Callable[[np.ndarray], np.ndarray], facts: Mapping[str, Any]
) -> Contender:
    """A stream, [1, D] -> [1, H] a step, from the zero state: its outputs, then its latency."""
    xs = np.random.default_rng(3).standard_normal((job["steps"], 1, job["inputs"]), np.float32)
    ys = np.stack([np.array(step(x)) for x in xs[:COMPARED]])

    def quantile(share: float) -> float:
        seconds = []
        for x in xs:
            start = time.perf_counter()
            step(x)
            seconds.append(time.perf_counter() - start)
        return float(1e6 * np.quantile(seconds, share))

    calls = {mode: lambda share=share: quantile(share) for mode, share in MODES.items()}
    return Contender(calls, facts, {"ys": ys})


def jax_contender(job: Mapping[str, Any]) -> Contender:
    """A jitted step, which donates its state."""
    import jax
    import jax.numpy as jnp

    import rnnjax

    rnnjax.host.use_cpu_devices(1)
    net = peers.net_of(job)
    weights = jax.tree.map(jnp.asarray, peers.draw_weights(net))
    if job["library"] == "rnnjax":
        model = rnnjax.stack(*[getattr(rnnjax, net.kind)(net.units)] * net.layers)
        params = tuple(peers.rnnjax_peer(net).pack(weights))
        state, advance = model.initial_state(params, (1,)), model.step
    else:
        params, state, advance = flax_step(net, weights)
    state = jax.tree.map(jnp.copy, state)  # what is donated is nobody else's
    if job.get("fixed"):
        run = jax.jit(lambda state, x: advance(params, state, x), donate_argnums=0)
    else:
        jitted = jax.jit(advance, donate_argnums=1)
        run = lambda state, x: jitted(params, state, x)  # noqa: E731

    def step(x: np.ndarray) -> np.ndarray:
        nonlocal state
        state, y = run(state, x)
        return np.asarray(y)

    return contender(job, step, {})


def flax_step(net: peers.Net, weights: list[list[peers.Weights]]) -> tuple[Any, Any, Callable]:
    """Parameters, first state and step of Flax's cells, one above the other."""
    import flax.linen as nn
    import jax.numpy as jnp

    make = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell}[net.kind]
    cell, zero = make(net.units), jnp.zeros((1, net.units))
    params = [layer["params"]["cell"] for layer in peers.flax_linen(net).pack(weights)]

    def advance(params: Any, state: Any, x: Any) -> tuple[Any, Any]:
        after = []
        for p, carry in zip(params, state, strict=True):
            carry, x = cell.apply({"params": p}, carry, x)
            after.append(carry)
        return after, x

    return params, [(zero, zero) if net.kind == "lstm" else zero] * net.layers, advance


def torch_contender(job: Mapping[str, Any]) -> Contender:
    """Cells a layer, the same compiled, or the module with one step."""
    import torch

    if "threads" in job:
        torch.set_num_threads(job["threads"])
    net = peers.net_of(job)
    device = peers.torch_device()
    module = peers.torch_module(net, peers.draw_weights(net)).to(device)
    state = None
    if job["way"] == "module":

        def advance(state: Any, x: Any) -> tuple[Any, Any]:
            ys, state = module(x[None], state)
            return state, ys[0]

    else:
        advance, state = torch_cells(net, module)
        if job["way"] == "compiled":
            advance = torch.compile(advance)

    def step(x: np.ndarray) -> np.ndarray:
        nonlocal state
        with torch.inference_mode():
            state, y = advance(state, torch.from_numpy(x).to(device))
            return y.cpu().numpy()

    return contender(job, step, {"threads": torch.get_num_threads()})


def torch_cells(net: peers.Net, module: Any) -> tuple[Callable, Any]:
    """A step of PyTorch's cells with a module's weights, and its first state."""
    import torch

    make = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell}[net.kind]
    cells = [make(layer.inputs, net.units).to(module.weight_ih_l0.device) for layer in net.each]
    zero = torch.zeros(1, net.units, device=module.weight_ih_l0.device)
    for i, cell in enumerate(cells):
        cell.load_state_dict({
            name: getattr(module, f"{name}_l{i}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        })  # fmt: skip

    def advance(state: Any, x: Any) -> tuple[Any, Any]:
        after = []
        for cell, before in zip(cells, state, strict=True):
            after.append(cell(x, before))
            x = after[-1][0] if net.kind == "lstm" else after[-1]
        return after, x

    return advance, [(zero, zero) if net.kind == "lstm" else zero for _ in cells]


def onnx_contender(job: Mapping[str, Any]) -> Contender:
    """onnxruntime, on what `interop.to_onnx` makes of the model."""
    import onnxruntime

    import rnnjax
    from rnnjax import interop

    net = peers.net_of(job)
    model = rnnjax.stack(*[getattr(rnnjax, net.kind)(net.units)] * net.layers)
    params = tuple(peers.rnnjax_peer(net).pack(peers.draw_weights(net)))
    proto = interop.to_onnx(model, params, lengths=False, states=True).SerializeToString()
    options = onnxruntime.SessionOptions()
    if "threads" in job:
        options.intra_op_num_threads = job["threads"]
    session = onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()][1:]
    last = ["ys", *(f"{name}_last" for name in names)]
    state = dict.fromkeys(names, np.zeros((1, 1, net.units), np.float32))

    def step(x: np.ndarray) -> np.ndarray:
        nonlocal state
        ys, *arrays = session.run(last, {"xs": x[None], **state})
        state = dict(zip(names, arrays, strict=True))
        return ys[0]

    return contender(job, step, {"threads": job.get("threads", "default")})


def where(case: Case) -> str:
    """A case in a table."""
    return f"{case['kind']} {case['inputs']}, {case['units']}, {case['layers']}"


def table(rows: list[Row]) -> str:
    """See `Part`."""
    names = list(dict.fromkeys(name for row in rows for name in row["figures"]))
    lines = [
        [
            where(row["case"]),
            row["mode"],
            *(f"{min(row['figures'][n]):.3g}" if n in row["figures"] else "–" for n in names),
        ]
        for row in rows
    ]
    return suite.markdown(["D, H, layers", "µs", *names], lines, words=2)


def figure(rows: list[Row], axes: Any) -> None:
    """The median step of every contender, by case."""
    values = {
        where(row["case"]): {name: min(figures) for name, figures in row["figures"].items()}
        for row in rows
        if row["mode"] == "p50"
    }
    suite.bars(axes, values, "µs a step")


def headlines(rows: list[Row]) -> list[str]:
    """See `Part`."""
    found = []
    for row in rows:
        rivals = [name for name in row["figures"] if not name.startswith("rnnjax")]
        if best := suite.fastest(row, rivals, "rnnjax"):
            said = suite.verdict("rnnjax", best[0], best[1])
            least = min(row["figures"]["rnnjax"])
            start = f"{where(row['case'])}, {row['mode']}: {least:.3g} µs"
            found.append(f"{start}; of the others the fastest is {best[0]}: {said}")
    return found
