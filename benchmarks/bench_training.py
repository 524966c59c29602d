"""The part `training`: a whole training step of a language model."""

from __future__ import annotations

import functools
import itertools
import os
import pathlib
import sysconfig
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import peers
import suite
from suite import Case, Options, Row
from timing import accelerator, cores
from worker import Contender

TITLE = "A training step of a language model"
ABOUT = """The language model of the page on training, by characters, and the larger one of `rnnjax
train`, in every library: vectors of symbols, LSTM, readout; truncated back-propagation through
windows of one text, the state carried; gradients clipped at a global norm of 1; Adam. All begin
with the same weights and read the same windows: the first losses and the gradients of the first
window are compared before anything is timed, and the picture shows all the losses, which lie on top
of each other. A step goes from a window in NumPy to its loss as a number. JAX libraries spread rows
over all cores, PyTorch has all cores. PyTorch's second bias is held at zero, since the others have
one; Adam's epsilon is 1e-12, since Keras adds it elsewhere."""

LEARNING_RATE, CLIP, EPSILON = 3e-3, 1.0, 1e-12
FIRST = 10  # losses that are compared; later ones drift apart by rounding
# (T, B, E, H): of docs/how_to/training.md, and of `rnnjax train`.
PAGE, TASK = (64, 32, 32, 128), (64, 32, 64, 256)
NAMES = {"rnnjax": "rnnjax", "flax": "flax + optax", "keras": "keras", "torch": "torch"}


def cases(size: str, options: Options) -> list[Case]:
    """See `Part`."""
    if options.cells and "lstm" not in options.cells:
        return []
    if options.sizes:
        found = [case(each) for each in options.sizes]
    elif size == "quick":
        found = [{**case((8, 4, 8, 16), rounds=3, steps=FIRST), "together": True}]
    else:
        found = [case(PAGE), case(TASK, steps=30)]
    if size == "full" and not options.sizes:
        found += [case((70, 64, 512, 1024), layers=2, steps=300)]
    return suite.narrowed(found, options)


def case(
    size: tuple[int, ...], layers: int = 1, rounds: int = 10, steps: int = 100
) -> dict[str, Any]:
    """A case of (T, B, E, H); the losses of its first steps are kept."""
    length, batch, inputs, units = size
    net = peers.Net("lstm", inputs, units, layers)._asdict()
    return {**net, "length": length, "batch": batch, "steps": steps, "rounds": rounds}


def measure(case: Case) -> list[Row]:
    """See `Part`."""
    return suite.contest(case, contenders(case), ["train"], rounds=case["rounds"])


def contenders(case: Case) -> dict[str, dict[str, Any]]:
    """What worker.py makes each contender from."""
    shared = accelerator()[0] == "cpu" and case["batch"] % cores() == 0
    jax = {**case, "make": "bench_training:jax_contender"}
    jax["devices"] = cores() if shared else 1
    found = {NAMES[name]: {**jax, "library": name} for name in LIBRARIES}
    found[NAMES["torch"]] = {**case, "make": "bench_training:torch_contender"}
    return suite.asked(found, case)


class Model(NamedTuple):
    """Canonical weights.

    Attributes:
      table: [V, E].
      layers: of the LSTM, as `peers.draw_weights` gives them.
      w: [H, V].
      b: [V].
    """

    table: Any
    layers: list[list[peers.Weights]]
    w: Any
    b: Any


class Library(NamedTuple):
    """The model and the optimiser in a JAX library.

    Attributes:
      pack: from a `Model` to the library's parameters; linear.
      state: the one before the first window.
      loss: (parameters, state, xs [T, B], targets [T, B]) -> (loss, the next state).
      begin: parameters -> the optimiser's state.
      apply: (gradients, optimiser's state, parameters) -> the next (parameters, optimiser's state).
    """

    pack: Callable[[Model], Any]
    state: Any
    loss: Callable[[Any, Any, Any, Any], tuple[Any, Any]]
    begin: Callable[[Any], Any]
    apply: Callable[[Any, Any, Any], tuple[Any, Any]]


@functools.cache
def text() -> tuple[np.ndarray, int]:
    """The text of that page as ids of characters, and how many different ones it has."""
    files = sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py"))[:20]
    letters = "".join(file.read_text(encoding="utf-8") for file in files).encode("utf-32-le")
    symbols, ids = np.unique(np.frombuffer(letters, "<u4"), return_inverse=True)
    return ids.astype(np.int32), len(symbols)


def draw(job: Mapping[str, Any]) -> Model:
    """Random weights, the same in every process."""
    rng, symbols = np.random.default_rng(2), text()[1]

    def uniform(*shape: int) -> np.ndarray:
        return rng.uniform(-0.1, 0.1, shape).astype(np.float32)

    table, w, b = uniform(symbols, job["inputs"]), uniform(job["units"], symbols), uniform(symbols)
    return Model(table, peers.draw_weights(peers.net_of(job)), w, b)


def windows(job: Mapping[str, Any]) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Of a step's number: what is read, and what comes after it, [T, B] each."""
    length, batch, ids = job["length"], job["batch"], text()[0]
    streams = ids[: len(ids) // batch * batch].reshape(batch, -1).T

    def window(number: int) -> tuple[np.ndarray, np.ndarray]:
        start = number % ((len(streams) - 1) // length) * length
        return streams[start : start + length], streams[start + 1 : start + length + 1]

    return window


def jax_contender(job: Mapping[str, Any]) -> Contender:
    """A JAX library: its step jitted and donated, rows spread over the devices."""
    import jax
    import jax.numpy as jnp

    import rnnjax

    rnnjax.host.use_cpu_devices(job["devices"])
    place, window = peers.placing(job["devices"]), windows(job)
    library = LIBRARIES[job["library"]](job)
    params, pull = jax.vjp(library.pack, jax.tree.map(jnp.asarray, draw(job)))
    start = place(params), place(library.begin(params)), place(library.state, 0)
    kept = jax.tree.map(jnp.copy, start)  # what is donated is nobody else's

    gradient = jax.value_and_grad(library.loss, has_aux=True)

    @functools.partial(jax.jit, donate_argnums=0)
    def step(kept: Any, xs: Any, targets: Any) -> Any:
        params, moments, state = kept
        (loss, state), grads = gradient(params, state, xs, targets)
        return (*library.apply(grads, moments, params), state), loss

    def train(number: int) -> float:
        nonlocal kept
        kept, loss = step(kept, *place(window(number), 1))
        return float(loss)

    (gradients,) = pull(jax.jit(gradient)(params, library.state, *window(0))[1])
    return contender(job, train, gradients, {"devices": job["devices"]})


def torch_contender(job: Mapping[str, Any]) -> Contender:
    """PyTorch, its Adam fused."""
    import torch

    device, window, model, state = peers.torch_device(), windows(job), draw(job), None
    table = torch.nn.Embedding.from_pretrained(torch.from_numpy(model.table), freeze=False)
    readout = torch.nn.Linear(*model.w.shape)
    with torch.no_grad():
        readout.weight.copy_(torch.from_numpy(model.w.T.copy()))
        readout.bias.copy_(torch.from_numpy(model.b))
    lstm = peers.torch_module(peers.net_of(job), model.layers)
    for name, bias in lstm.named_parameters():
        bias.requires_grad_("bias_hh" not in name)
    modules = torch.nn.ModuleList([table, lstm, readout]).to(device)
    learned = [p for p in modules.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learned, LEARNING_RATE, eps=EPSILON, fused=True)

    def loss_of(number: int) -> Any:
        nonlocal state
        xs, targets = (torch.from_numpy(ids).to(device, torch.long) for ids in window(number))
        ys, state = lstm(table(xs), state)
        state = tuple(part.detach() for part in state)
        return torch.nn.functional.cross_entropy(readout(ys).flatten(0, 1), targets.flatten())

    def train(number: int) -> float:
        optimizer.zero_grad()
        loss = loss_of(number)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, CLIP)
        optimizer.step()
        return loss.item()

    loss_of(0).backward()
    ends = [array.cpu().numpy() for array in (table.weight.grad, readout.weight.grad.T)]
    layers, b = peers.torch_gradients(peers.net_of(job), lstm), readout.bias.grad.cpu().numpy()
    state = None
    gradients = Model(ends[0], layers, ends[1], b)
    return contender(job, train, gradients, {"threads": torch.get_num_threads()})


def contender(
    job: Mapping[str, Any], train: Callable[[int], float], gradients: Model, facts: dict[str, Any]
) -> Contender:
    """What is timed and compared; the first steps are taken, and their losses kept."""
    losses = [float(f"{train(number):.6g}") for number in range(job["steps"])]
    numbers = itertools.count(job["steps"])

    def call() -> None:
        train(next(numbers))

    ends = {f"gradient of {name}": getattr(gradients, name) for name in ("table", "w", "b")}
    # Those of a mean are so small that a wrong one would pass: here they are of the sum.
    found = {**ends, **peers.named(gradients.layers)}
    results = {name: job["length"] * job["batch"] * array for name, array in found.items()}
    return Contender(
        {"train": call}, {"losses": losses, **facts}, {"losses": losses[:FIRST], **results}
    )


def rnnjax_library(job: Mapping[str, Any]) -> Library:
    """The model and the step of docs/how_to/training.md."""
    import optax

    import rnnjax
    import rnnjax.train

    symbols, layer = text()[1], peers.rnnjax_peer(peers.net_of(job))
    names = [f"rnn_{i}" for i in range(job["layers"])]
    model = rnnjax.stack(
        embed=rnnjax.embed(symbols, job["inputs"]),
        **{name: rnnjax.lstm(job["units"]) for name in names},
        readout=rnnjax.linear(symbols),
    )

    def pack(weights: Model) -> Any:
        return {
            "embed": rnnjax.EmbedParams(weights.table),
            **dict(zip(names, layer.pack(weights.layers), strict=True)),
            "readout": rnnjax.LinearParams(weights.w, weights.b),
        }

    def loss(params: Any, state: Any, xs: Any, targets: Any) -> Any:
        state, logits = rnnjax.unroll(model, params, state, xs)
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean(), state

    state = model.initial_state(pack(draw(job)), (job["batch"],))
    return Library(pack, state, loss, *with_optax(rnnjax.train.clip_by_global_norm(CLIP)))


def flax_library(job: Mapping[str, Any]) -> Library:
    """Flax linen with optax."""
    import flax.linen as nn
    import jax.numpy as jnp
    import optax

    symbols, units, layer = text()[1], job["units"], peers.flax_linen(peers.net_of(job))

    class Network(nn.Module):
        @nn.compact
        def __call__(self, state: Any, xs: Any) -> Any:
            ys, carried = nn.Embed(symbols, job["inputs"], name="embed")(xs), []
            for i, carry in enumerate(state):
                cell = nn.OptimizedLSTMCell(units, name=f"rnn_{i}")
                run = nn.RNN(cell, time_major=True, return_carry=True)
                carry, ys = run(ys, initial_carry=carry)
                carried.append(carry)
            return carried, nn.Dense(symbols, name="readout")(ys)

    def pack(weights: Model) -> Any:
        cells = [params["params"]["cell"] for params in layer.pack(weights.layers)]
        return {
            "embed": {"embedding": weights.table},
            **{f"rnn_{i}": cell for i, cell in enumerate(cells)},
            "readout": {"kernel": weights.w, "bias": weights.b},
        }

    def loss(params: Any, state: Any, xs: Any, targets: Any) -> Any:
        state, logits = Network().apply({"params": params}, state, xs)
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean(), state

    zero = jnp.zeros((job["batch"], units))
    state = [(zero, zero)] * job["layers"]
    return Library(pack, state, loss, *with_optax(optax.clip_by_global_norm(CLIP)))


def with_optax(clip: Any) -> tuple[Callable[[Any], Any], Callable[[Any, Any, Any], Any]]:
    """`Library.begin` and `Library.apply` of optax."""
    import optax

    optimizer = optax.chain(clip, optax.adam(LEARNING_RATE, eps=EPSILON))

    def apply(grads: Any, moments: Any, params: Any) -> Any:
        updates, moments = optimizer.update(grads, moments, params)
        return optax.apply_updates(params, updates), moments

    return optimizer.init, apply


def keras_library(job: Mapping[str, Any]) -> Library:
    """Keras as its guide to training loops in JAX has it: everything stateless."""
    os.environ["KERAS_BACKEND"] = "jax"
    import jax.numpy as jnp
    import keras

    symbols, units, layer = text()[1], job["units"], peers.keras(peers.net_of(job))
    ids = keras.Input((None,), dtype="int32")
    # A stateful layer's state is no variable of its model, so here it goes in and comes out.
    before = [[keras.Input((units,)) for _ in "hc"] for _ in range(job["layers"])]
    ys, after = keras.layers.Embedding(symbols, job["inputs"])(ids), []
    for state in before:
        lstm = keras.layers.LSTM(units, return_sequences=True, return_state=True)
        ys, *state = lstm(ys, initial_state=state)
        after.append(state)
    model = keras.Model([ids, before], [keras.layers.Dense(symbols)(ys), after])
    optimizer = keras.optimizers.Adam(LEARNING_RATE, epsilon=EPSILON, global_clipnorm=CLIP)
    optimizer.build(model.trainable_variables)
    error = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rest, moments = (
        [variable.value for variable in variables]
        for variables in (model.non_trainable_variables, optimizer.variables)
    )

    def pack(weights: Model) -> Any:
        layers = [array for arrays in layer.pack(weights.layers) for array in arrays]
        return [weights.table, *layers, weights.w, weights.b]

    def loss(params: Any, state: Any, xs: Any, targets: Any) -> Any:
        (logits, state), _ = model.stateless_call(params, rest, [xs.T, state])
        return error(targets.T, logits), state

    def apply(grads: Any, moments: Any, params: Any) -> Any:
        return optimizer.stateless_apply(moments, grads, params)

    zero = jnp.zeros((job["batch"], units))
    return Library(pack, [[zero, zero]] * job["layers"], loss, lambda params: moments, apply)


LIBRARIES = {"rnnjax": rnnjax_library, "flax": flax_library, "keras": keras_library}


def symbols_a_second(row: Row, name: str) -> float:
    """Of the least round."""
    return row["case"]["length"] * row["case"]["batch"] / min(row["figures"][name])


def apart(row: Row) -> float:
    """How far any loss of any contender lies from ours, at most."""
    ours, *others = [np.array(row["facts"][name]["losses"]) for name in row["figures"]]
    return max((float(np.abs(losses - ours).max()) for losses in others), default=0.0)


def where(case: Case) -> str:
    """A case in a table."""
    size = ", ".join(str(case[key]) for key in ("length", "batch", "inputs", "units"))
    return f"{size}; {case['layers']} layers" if case["layers"] > 1 else size


def table(rows: list[Row]) -> str:
    """See `Part`."""
    lines = []
    for row in rows:
        for name, seconds in row["figures"].items():
            losses = row["facts"][name]["losses"]
            lines.append([
                where(row["case"]),
                name,
                f"{1e3 * min(seconds):.3g}",
                f"{1e3 * np.median(seconds):.3g}",
                suite.count(symbols_a_second(row, name)),
                suite.shown(suite.against(row, name, "rnnjax")),
                f"{losses[0]:.4f}",
                f"{losses[-1]:.4f}",
            ])  # fmt: skip
    head = ["T, B, E, H", "library", "ms a step", "median", "symbols/s", "time / rnnjax's"]
    return suite.markdown([*head, "first loss", "last"], lines, words=2)


def brief(rows: list[Row]) -> list[list[str]]:
    """See `Part`."""
    found = []
    for row in rows:
        jax = suite.fastest(row, [NAMES[library] for library in LIBRARIES], "rnnjax")
        torch = suite.fastest(row, ["torch"], "rnnjax")
        told = [suite.shown(fast[1]) if fast else "–" for fast in (jax, torch)]
        found.append([f"a step of a language model, T, B, E, H = {where(row['case'])}", *told])
    return found


def figure(rows: list[Row], axes: Any) -> None:
    """The losses of the first case, each line thinner than the one below it."""
    row = rows[0]
    for i, name in enumerate(row["figures"]):
        losses = row["facts"][name]["losses"]
        axes.plot(range(len(losses)), losses, linewidth=8 - 2 * i, label=name)
    axes.set(xlabel="step", ylabel="loss, nats a character", title=where(row["case"]))
    axes.legend()


def headlines(rows: list[Row]) -> list[str]:
    """See `Part`."""
    found = []
    for row in rows:
        others = [name for name in row["figures"] if name != "rnnjax"]
        said = [suite.verdict("rnnjax", n, suite.against(row, n, "rnnjax")) for n in others]
        rate = suite.count(symbols_a_second(row, "rnnjax"))
        found.append(
            f"{where(row['case'])}: rnnjax reads {rate} symbols a second; {'; '.join(said)}. Over "
            f"{row['case']['steps']} steps no loss lies further than {apart(row):.1g} from its own."
        )
    return found
