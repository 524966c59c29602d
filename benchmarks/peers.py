"""The contenders: recurrent layers in each library, all with the same weights.

A peer is two functions. `pack` turns canonical weights (rnnjax's: input-major, gates i f g o or
r z n) into the library's own parameters; it is linear, so gradients can be compared in canonical
form. `run` maps (parameters, xs [T, B, D], padding) to ys [T, B, H], or [T, B, 2 H] of both
directions, from zero states, the way the library's documentation does it. Padding is {}, or what
`unroll` calls it: {"lengths": [B]} or {"mask": [T, B]}; what stands in padded places is not
compared, and no gradient comes from there.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from worker import Contender


class Weights(NamedTuple):
    """Canonical weights of one direction of one layer.

    Attributes:
      w_x: [D, G H].
      w_h: [H, G H].
      b: [G H].
      b_n: [H], the candidate's recurrent bias of a GRU, else None.
    """

    w_x: Any
    w_h: Any
    b: Any
    b_n: Any


class Net(NamedTuple):
    """What all contenders of a case are.

    Attributes:
      kind: "elman", "lstm" or "gru".
      inputs: D.
      units: H, of each direction.
      layers: above each other.
      directions: 1, or 2 side by side.
      padding: "", "lengths" or "mask".
    """

    kind: str
    inputs: int
    units: int
    layers: int = 1
    directions: int = 1
    padding: str = ""

    @property
    def each(self) -> list[Net]:
        """Its layers."""
        above = [self.units * self.directions] * (self.layers - 1)
        return [self._replace(inputs=size, layers=1) for size in (self.inputs, *above)]


class Peer(NamedTuple):
    """See the module; `pack` takes a list of layers, each a list of directions."""

    pack: Callable[[list[list[Weights]]], Any]
    run: Callable[[Any, Any, Mapping[str, Any]], Any]


Make = Callable[[Net], Peer]
GATES = {"elman": 1, "lstm": 4, "gru": 3}


def draw_weights(net: Net) -> list[list[Weights]]:
    """Random canonical weights, the same in every process."""
    rng, gates, units = np.random.default_rng(0), GATES[net.kind], net.units

    def draw(*shape: int) -> np.ndarray:
        return rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(np.sqrt(units))

    # One library has no candidate's recurrent bias (Flax nnx), so it is zero for all.
    b_n = np.zeros(units, np.float32) if net.kind == "gru" else None
    return [
        [
            Weights(
                draw(layer.inputs, gates * units),
                draw(units, gates * units),
                draw(gates * units),
                b_n,
            )
            for _ in range(net.directions)
        ]
        for layer in net.each
    ]


def layerwise(make: Callable[[Net], Peer]) -> Make:
    """A net of a library, layer by layer; its `pack` is of the directions of one."""

    def of(net: Net) -> Peer:
        layers = [make(layer) for layer in net.each]

        def pack(weights: list[list[Weights]]) -> Any:
            return [layer.pack(w) for layer, w in zip(layers, weights, strict=True)]

        def run(params: Any, xs: Any, padding: Mapping[str, Any]) -> Any:
            for layer, p in zip(layers, params, strict=True):
                xs = layer.run(p, xs, padding)
            return xs

        return Peer(pack, run)

    return of


def lacks(library: str, net: Net, *has: str) -> None:
    """Raises NotImplementedError where a net needs what a library does not have."""
    for needed, what in (
        (net.padding == "lengths", "lengths"),
        (net.padding == "mask", "masks"),
        (net.directions == 2, "bidirectional layer"),
    ):
        if needed and what not in has:
            raise NotImplementedError(f"{library} has no {what}")


@layerwise
def rnnjax_peer(net: Net) -> Peer:
    """`rnnjax.unroll`, and `bidirectional`."""
    import rnnjax

    cell = getattr(rnnjax, net.kind)(net.units)

    def run(params: Any, xs: Any, padding: Mapping[str, Any]) -> Any:
        if net.directions == 2:
            return rnnjax.bidirectional(cell).apply(params, xs, **padding)[1]
        return rnnjax.unroll(cell, params, None, xs, **padding)[1]

    def pack(weights: list[Weights]) -> Any:
        found = [rnnjax_params(net.kind, w) for w in weights]
        return rnnjax.BidirectionalParams(*found) if net.directions == 2 else found[0]

    return Peer(pack, run)


@layerwise
def scan_peer(net: Net) -> Peer:
    """The same step in a plain `jax.lax.scan`; padded steps keep the state."""
    import jax
    import jax.numpy as jnp

    import rnnjax

    cell = getattr(rnnjax, net.kind)(net.units)

    def direction(params: Any, xs: Any, padding: Mapping[str, Any], reverse: bool) -> Any:
        state = cell.initial_state(params, xs.shape[1:-1])
        if not padding:
            step = functools.partial(cell.step, params)
            return jax.lax.scan(step, state, xs, reverse=reverse)[1]

        def kept(old: Any, entry: Any) -> Any:
            x, real = entry
            new, y = cell.step(params, old, x)
            return jax.tree.map(lambda a, b: jnp.where(real[:, None], a, b), new, old), y

        return jax.lax.scan(kept, state, (xs, real_steps(padding, len(xs))), reverse=reverse)[1]

    def run(params: Any, xs: Any, padding: Mapping[str, Any]) -> Any:
        ys = [direction(p, xs, padding, reverse=i == 1) for i, p in enumerate(params)]
        return jnp.concatenate(ys, axis=-1) if len(ys) > 1 else ys[0]

    return Peer(lambda weights: [rnnjax_params(net.kind, w) for w in weights], run)


def real_steps(padding: Mapping[str, Any], length: int) -> Any:
    """Which steps are real, [T, B]."""
    if "mask" in padding:
        return padding["mask"]
    return np.arange(length)[:, None] < padding["lengths"]


def rnnjax_params(kind: str, weights: Weights) -> Any:
    import rnnjax

    if kind == "gru":
        return rnnjax.GRUParams(*weights)
    return (rnnjax.LSTMParams if kind == "lstm" else rnnjax.ElmanParams)(*weights[:3])


@layerwise
def flax_linen(net: Net) -> Peer:
    """`flax.linen.RNN` over the fastest cell of its kind, and `Bidirectional`."""
    import flax.linen as nn

    lacks("Flax", net, "lengths", "bidirectional layer")
    make = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell, "elman": nn.SimpleCell}[net.kind]
    one = lambda: nn.RNN(make(net.units), time_major=True)  # noqa: E731
    both = net.directions == 2
    module = nn.Bidirectional(one(), one(), time_major=True) if both else one()

    def pack(weights: list[Weights]) -> Any:
        cells = [{"cell": _linen_cell(net.kind, w)} for w in weights]
        if not both:
            return {"params": cells[0]}
        return {"params": dict(zip(("forward_rnn", "backward_rnn"), cells, strict=True))}

    def run(params: Any, xs: Any, padding: Mapping[str, Any]) -> Any:
        return module.apply(params, xs, seq_lengths=padding.get("lengths"))

    return Peer(pack, run)


def _linen_cell(kind: str, weights: Weights) -> Any:
    w_x, w_h, b = _split(weights)
    if kind == "elman":
        return {"i": {"kernel": w_x[0], "bias": b[0]}, "h": {"kernel": w_h[0]}}
    if kind == "lstm":
        layers = {f"i{g}": {"kernel": w} for g, w in zip("ifgo", w_x, strict=True)}
        for g, w, bias in zip("ifgo", w_h, b, strict=True):
            layers[f"h{g}"] = {"kernel": w, "bias": bias}
        return layers
    layers = {
        f"i{g}": {"kernel": w, "bias": bias} for g, w, bias in zip("rzn", w_x, b, strict=True)
    }
    layers |= {f"h{g}": {"kernel": w} for g, w in zip("rzn", w_h, strict=True)}
    layers["hn"]["bias"] = weights.b_n
    return layers


@layerwise
def flax_nnx(net: Net) -> Peer:
    """`flax.nnx.RNN` over the fastest cell of its kind, and `Bidirectional`."""
    import jax.numpy as jnp
    from flax import nnx

    lacks("Flax", net, "lengths", "bidirectional layer")
    kind, units, both = net.kind, net.units, net.directions == 2
    make = {"lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell, "elman": nnx.SimpleCell}[kind]
    rngs = nnx.Rngs(0)
    one = lambda: nnx.RNN(make(net.inputs, units, rngs=rngs), time_major=True, rngs=rngs)  # noqa: E731
    module = nnx.Bidirectional(one(), one(), time_major=True, rngs=rngs) if both else one()
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    biased = "dense_h" if kind == "lstm" else "dense_i"

    def pack(weights: list[Weights]) -> Any:
        values = {}
        for place, w in zip(("forward_rnn", "backward_rnn"), weights, strict=False):
            inside = (place, "cell") if both else ("cell",)
            values[*inside, "dense_i", "kernel"] = w.w_x
            values[*inside, "dense_h", "kernel"] = w.w_h
            values[*inside, biased, "bias"] = w.b
        flat = {path: leaf.replace(values[path]) for path, leaf in nnx.to_flat_state(params)}
        return nnx.from_flat_state(flat)

    def run(params: Any, xs: Any, padding: Mapping[str, Any]) -> Any:
        zero = jnp.zeros((xs.shape[1], units), xs.dtype)
        carry = (zero, zero) if kind == "lstm" else zero
        return nnx.merge(graph, params, rest)(
            xs,
            initial_carry=(carry, carry) if both else carry,
            seq_lengths=padding.get("lengths"),
        )

    return Peer(pack, run)


@layerwise
def haiku(net: Net) -> Peer:
    """`haiku.dynamic_unroll`; its GRU and its vanilla RNN are other functions than ours."""
    import haiku as hk
    import jax.numpy as jnp

    lacks("Haiku", net)
    if net.kind != "lstm":
        raise NotImplementedError("Haiku's GRU resets before the product, its VanillaRNN is ReLU")

    def forward(xs: Any) -> Any:
        core = hk.LSTM(net.units)
        return hk.dynamic_unroll(core, xs, core.initial_state(xs.shape[1]))[0]

    transformed = hk.without_apply_rng(hk.transform(forward))

    def pack(weights: list[Weights]) -> Any:
        (x_i, x_f, x_g, x_o), (h_i, h_f, h_g, h_o), (b_i, b_f, b_g, b_o) = _split(weights[0])
        w_x = jnp.concatenate([x_i, x_g, x_f, x_o], axis=1)
        w_h = jnp.concatenate([h_i, h_g, h_f, h_o], axis=1)
        # Haiku adds 1 to the forget bias at run time.
        b = jnp.concatenate([b_i, b_g, b_f - 1, b_o])
        return {"lstm/linear": {"w": jnp.concatenate([w_x, w_h]), "b": b}}

    return Peer(pack, lambda params, xs, padding: transformed.apply(params, xs))


@layerwise
def equinox(net: Net) -> Peer:
    """An Equinox cell under `vmap` in `lax.scan`, as in its documentation."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    kind, units = net.kind, net.units
    lacks("Equinox", net)
    if kind == "elman":
        raise NotImplementedError("Equinox has no Elman cell")
    make = eqx.nn.LSTMCell if kind == "lstm" else eqx.nn.GRUCell
    cell = make(net.inputs, units, key=jax.random.key(0))

    def pack(weights: list[Weights]) -> Any:
        (w,) = weights
        names = ("weight_ih", "weight_hh", "bias", *(["bias_n"] if kind == "gru" else []))
        values = (w.w_x.T, w.w_h.T, w.b, w.b_n)[: len(names)]
        return eqx.tree_at(lambda c: [getattr(c, n) for n in names], cell, list(values))

    def run(params: Any, xs: Any, padding: Mapping[str, Any]) -> Any:
        zero = jnp.zeros((xs.shape[1], units), xs.dtype)

        def step(state: Any, x: Any) -> tuple[Any, Any]:
            state = jax.vmap(params)(x, state)
            return state, state[0] if kind == "lstm" else state

        return jax.lax.scan(step, (zero, zero) if kind == "lstm" else zero, xs)[1]

    return Peer(pack, run)


@layerwise
def keras(net: Net) -> Peer:
    """A Keras layer on its JAX backend, called without state; lengths are a mask there."""
    import os

    os.environ["KERAS_BACKEND"] = "jax"
    import keras as k

    make = {"lstm": k.layers.LSTM, "gru": k.layers.GRU, "elman": k.layers.SimpleRNN}[net.kind]
    layer = make(net.units, return_sequences=True)
    if net.directions == 2:
        layer = k.layers.Bidirectional(layer)
    layer.build((None, None, net.inputs))

    def pack(weights: list[Weights]) -> Any:
        return [array for w in weights for array in _keras_arrays(net.kind, w)]

    def run(params: Any, xs: Any, padding: Mapping[str, Any]) -> Any:
        rest = [v.value for v in layer.non_trainable_variables]
        mask = {"mask": real_steps(padding, len(xs)).T} if padding else {}
        ys, _ = layer.stateless_call(params, rest, xs.swapaxes(0, 1), **mask)
        return ys.swapaxes(0, 1)

    return Peer(pack, run)


def _keras_arrays(kind: str, weights: Weights) -> list[Any]:
    import jax.numpy as jnp

    if kind != "gru":
        return list(weights[:3])
    (x_r, x_z, x_n), (h_r, h_z, h_n), (b_r, b_z, b_n) = _split(weights)
    recurrent = jnp.concatenate([jnp.zeros(2 * b_n.size, b_n.dtype), weights.b_n])
    return [
        jnp.concatenate([x_z, x_r, x_n], axis=1),
        jnp.concatenate([h_z, h_r, h_n], axis=1),
        jnp.stack([jnp.concatenate([b_z, b_r, b_n]), recurrent]),
    ]


def cudnn(net: Net) -> Peer:
    """`jax.experimental.rnn.lstm`, all layers in one call."""
    import jax
    import jax.numpy as jnp
    from jax.experimental import rnn

    lacks("jax.experimental.rnn", net, "lengths", "bidirectional layer")
    if net.kind != "lstm":
        raise NotImplementedError("jax.experimental.rnn has an LSTM alone")
    if jax.default_backend() != "gpu":
        raise NotImplementedError("jax.experimental.rnn is cuDNN's, which needs an NVIDIA GPU")

    def run(params: Any, xs: Any, padding: Mapping[str, Any]) -> Any:
        batch = xs.shape[1]
        zero = jnp.zeros((net.layers * net.directions, batch, net.units), xs.dtype)
        lengths = padding.get("lengths", jnp.full(batch, len(xs), jnp.int32))
        ys, *_ = rnn.lstm(
            xs.swapaxes(0, 1), zero, zero, params, lengths, net.inputs, net.units, net.layers,
            0.0, net.directions == 2, jax.lax.Precision.HIGHEST,
        )  # fmt: skip
        return ys.swapaxes(0, 1)

    return Peer(cudnn_weights, run)


def cudnn_weights(weights: list[list[Weights]]) -> Any:
    """One array: both matrices of each direction of each layer, then the two biases of each."""
    import jax.numpy as jnp

    flat = [w for layer in weights for w in layer]
    matrices = [m.T.ravel() for w in flat for m in (w.w_x, w.w_h)]
    biases = [b for w in flat for b in (w.b, jnp.zeros_like(w.b))]
    return jnp.concatenate([*matrices, *biases])


JAX_PEERS: dict[str, Make] = {
    "lax.scan": scan_peer,
    "rnnjax": rnnjax_peer,
    "flax.linen": flax_linen,
    "flax.nnx": flax_nnx,
    "haiku": haiku,
    "equinox": equinox,
    "keras": keras,
    "cudnn": cudnn,
}


def in_scan(make: Make) -> Make:
    """A library's own LSTM, its step run by `rnnjax.scan`."""

    @layerwise
    def of(net: Net) -> Peer:
        import jax.numpy as jnp

        import rnnjax

        lacks("rnnjax.scan of another library's step", net)
        step = {flax_linen: _linen_step, haiku: _haiku_step, equinox: _equinox_step}[make]
        advance = step(net.units)

        def run(params: Any, xs: Any, padding: Mapping[str, Any]) -> Any:
            zero = jnp.zeros((xs.shape[1], net.units), xs.dtype)
            return rnnjax.scan(advance, params, (zero, zero), xs)[1]

        return Peer(lambda weights: make(net).pack([weights])[0], run)

    return of


def _linen_step(units: int) -> Any:
    import flax.linen as nn

    cell = nn.OptimizedLSTMCell(units)
    return lambda params, state, x: cell.apply({"params": params["params"]["cell"]}, state, x)


def _haiku_step(units: int) -> Any:
    import haiku as hk

    def forward(state: Any, x: Any) -> Any:
        y, state = hk.LSTM(units)(x, hk.LSTMState(*state))
        return tuple(state), y

    return hk.without_apply_rng(hk.transform(forward)).apply


def _equinox_step(units: int) -> Any:
    import jax

    def step(cell: Any, state: Any, x: Any) -> Any:
        state = jax.vmap(cell)(x, state)
        return state, state[0]

    return step


THIRD_PARTY: dict[str, Make] = {"flax.linen": flax_linen, "haiku": haiku, "equinox": equinox}
IN_SCAN = {f"rnnjax.scan, {name}": in_scan(make) for name, make in THIRD_PARTY.items()}


class Batch(NamedTuple):
    """What all contenders of a case read, as NumPy arrays.

    Attributes:
      xs: [T, B, D].
      padding: as `run` takes it.
      weight: of the outputs in the loss, [T, B, directions H]; zero where steps are not real.
    """

    xs: np.ndarray
    padding: dict[str, np.ndarray]
    weight: np.ndarray


def draw_batch(net: Net, length: int, batch: int) -> Batch:
    """A random batch, the same in every process."""
    rng = np.random.default_rng(1)
    xs = rng.standard_normal((length, batch, net.inputs), np.float32)
    weight = rng.standard_normal((length, batch, net.directions * net.units), np.float32)
    padding = {}
    if net.padding == "lengths":
        padding["lengths"] = rng.integers(-(-length // 4), length + 1, batch).astype(np.int32)
        padding["lengths"][0] = length
    elif net.padding == "mask":
        padding["mask"] = rng.random((length, batch)) < 0.8
    if padding:
        weight *= real_steps(padding, length)[..., None]
    return Batch(xs, padding, weight)


def net_of(job: Mapping[str, Any]) -> Net:
    """The net of a case."""
    return Net(**{name: job[name] for name in Net._fields})


def drawn(job: Mapping[str, Any]) -> tuple[Net, Batch]:
    """The net of a case, and what it reads."""
    net = net_of(job)
    return net, draw_batch(net, job["length"], job["batch"])


def jax_contender(job: Mapping[str, Any]) -> Contender:
    """A contender of `JAX_PEERS` or of those in `rnnjax.scan`."""
    import jax
    import jax.numpy as jnp

    import rnnjax

    rnnjax.host.use_cpu_devices(job.get("devices", 1))
    if job.get("tuned"):
        rnnjax.host.tune_host_memory()
    if jax.default_backend() != "cpu":  # where products are rounded, those of all are alike
        jax.config.update("jax_default_matmul_precision", "highest")
    net, batch = drawn(job)
    peer = {**JAX_PEERS, **IN_SCAN}[job["peer"]](net)

    def loss(params: Any, xs: Any, padding: Any, weight: Any) -> Any:
        return (peer.run(params, xs, padding) * weight).sum()

    canonical = jax.tree.map(jnp.asarray, draw_weights(net))
    params, pull = jax.vjp(peer.pack, canonical)
    args = (params, *jax.tree.map(jnp.asarray, batch))
    if job.get("devices", 1) > 1:
        args = spread(args, job["devices"])
    calls, facts, results = {}, {"devices": job.get("devices", 1)}, {}
    for mode, timed in {
        "train": jax.value_and_grad(loss, argnums=(0, 1)),
        "forward": lambda params, xs, padding, weight: peer.run(params, xs, padding),
    }.items():
        calls[mode], results[mode], facts[mode] = compiled(timed, *args)
    of_params, of_xs = results["train"][1]
    (found,) = pull(jax.tree.map(lambda g: jax.device_put(g, jax.devices()[0]), of_params))
    outputs = results["forward"] * (batch.weight != 0)
    return Contender(calls, facts, {"outputs": outputs, "gradient of xs": of_xs, **named(found)})


def compiled(function: Callable, *args: Any) -> tuple[Callable[[], Any], Any, dict[str, Any]]:
    """A compiled call that waits for its result, a result, and what compiling took."""
    import jax

    start = time.perf_counter()
    program = jax.jit(function).lower(*args).compile()
    seconds = time.perf_counter() - start

    def call() -> None:
        jax.block_until_ready(program(*args))

    facts = {"compile_seconds": round(seconds, 3)}
    facts["temporary_bytes"] = program.memory_analysis().temp_size_in_bytes
    return call, program(*args), facts


def placing(devices: int) -> Callable[..., Any]:
    """A function that puts arrays on all devices, whole, or cut along the axis of the batch."""
    import jax

    mesh = jax.make_mesh((devices,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))

    def place(arrays: Any, axis: int | None = None) -> Any:
        cut = jax.P() if axis is None else jax.P(*[None] * axis, "rows")
        return jax.device_put(arrays, jax.NamedSharding(mesh, cut))

    return place


def spread(args: Any, devices: int) -> Any:
    """Parameters on all devices, rows of the batch on one each."""
    place, (params, xs, padding, weight) = placing(devices), args
    padding = {name: place(array, array.ndim - 1) for name, array in padding.items()}
    return place(params), place(xs, 1), padding, place(weight, 1)


def named(gradients: list[list[Weights]]) -> dict[str, Any]:
    """Gradients by a name each; not every library has a candidate's recurrent bias."""
    return {
        f"gradient of {field}, layer {i}, direction {d}": getattr(w, field)
        for i, layer in enumerate(gradients)
        for d, w in enumerate(layer)
        for field in ("w_x", "w_h", "b")
    }


def torch_contender(job: Mapping[str, Any]) -> Contender:
    """PyTorch's layers with its defaults, on all cores or its GPU."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    net, batch = drawn(job)
    lacks("PyTorch", net, "lengths", "bidirectional layer")
    device = torch_device()
    torch.backends.cudnn.allow_tf32 = False
    module = torch_module(net, draw_weights(net)).to(device)
    weight = torch.from_numpy(batch.weight).to(device)
    xs = torch.from_numpy(batch.xs).to(device)
    learned = xs.clone().requires_grad_()
    lengths = torch.from_numpy(batch.padding["lengths"]) if batch.padding else None

    def run(xs: Any) -> Any:
        if lengths is None:
            return module(xs)[0]
        packed = module(pack_padded_sequence(xs, lengths, enforce_sorted=False))[0]
        return pad_packed_sequence(packed, total_length=job["length"])[0]

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def forward() -> Any:
        with torch.inference_mode():
            ys = run(xs)
        wait()
        return ys

    def train() -> None:
        module.zero_grad(set_to_none=True)
        learned.grad = None
        (run(learned) * weight).sum().backward()
        wait()

    train()
    results = {
        "outputs": forward().cpu().numpy() * (batch.weight != 0),
        "gradient of xs": learned.grad.cpu().numpy(),
        **named(torch_gradients(net, module)),
    }
    return Contender(
        {"train": train, "forward": forward}, {"threads": torch.get_num_threads()}, results
    )


def torch_module(net: Net, weights: list[list[Weights]]) -> Any:
    """`torch.nn.LSTM`, `GRU` or `RNN` with these weights."""
    import torch

    make = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "elman": torch.nn.RNN}[net.kind]
    module = make(net.inputs, net.units, net.layers, bidirectional=net.directions == 2)
    with torch.no_grad():
        for i, layer in enumerate(weights):
            for suffix, w in zip(("", "_reverse"), layer, strict=False):
                for name, value in (
                    ("weight_ih", w.w_x.T.copy()),
                    ("weight_hh", w.w_h.T.copy()),
                    ("bias_ih", w.b),
                ):
                    getattr(module, f"{name}_l{i}{suffix}").copy_(torch.from_numpy(value))
                recurrent = getattr(module, f"bias_hh_l{i}{suffix}")
                recurrent.zero_()
                if w.b_n is not None:
                    recurrent[2 * net.units :] = torch.from_numpy(w.b_n)
    return module


def torch_gradients(net: Net, module: Any) -> list[list[Weights]]:
    """The gradients of the weights of a PyTorch module, in canonical form."""

    def direction(place: str) -> Weights:
        fields = ("weight_ih", "weight_hh", "bias_ih")
        return Weights(
            *(getattr(module, f"{f}_{place}").grad.cpu().numpy().T for f in fields), None
        )

    suffixes = ("", "_reverse")[: net.directions]
    return [[direction(f"l{i}{suffix}") for suffix in suffixes] for i in range(net.layers)]


def torch_device() -> str:
    """Where PyTorch computes."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _split(weights: Weights) -> tuple[list[Any], list[Any], list[Any]]:
    """w_x, w_h and b, each as one array a gate."""
    import jax.numpy as jnp

    gates = weights.w_h.shape[1] // weights.w_h.shape[0]
    return tuple(jnp.split(a, gates, axis=-1) for a in weights[:3])
