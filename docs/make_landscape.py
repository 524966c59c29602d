"""Pictures of what recurrences do: python docs/make_landscape.py [fixed_points|memory|cliff ...].

Trains small networks of seconds each, and writes a page and its pictures into docs/results: the
fixed points of a network that remembers three bits, gates and memory, the cliff and slices.
"""

from __future__ import annotations

import pathlib
import sys
import sysconfig
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from make_results import RESULTS, facts

import rnnjax
from rnnjax import diagnostics as see
from rnnjax import train
from rnnjax.train.folder import versions
from rnnjax.train.plot import figure_type, tidy

HEAD = "Written by `python docs/make_landscape.py {page}` in {seconds:.0f} s.\n\n{facts}\n"


# --- three bits ----------------------------------------------------------------------------------

BITS, STEPS, ROWS = 3, 60, 64


def pulses(key: Any, size: int) -> tuple[Any, Any]:
    """Pulses of 1 and -1 on each of three wires [T, B, 3], and the last one on each."""
    k_when, k_sign = jax.random.split(key)
    shape = STEPS, size, BITS
    signs = jnp.where(jax.random.bernoulli(k_sign, 0.5, shape), 1.0, -1.0)
    xs = jnp.where(jax.random.bernoulli(k_when, 0.1, shape), signs, 0.0)
    steps = jnp.where(xs != 0, jnp.arange(STEPS)[:, None, None], -1)
    last = jax.lax.cummax(steps)
    return xs, jnp.where(last < 0, 0.0, jnp.take_along_axis(xs, jnp.maximum(last, 0), 0))


def trained(model: Any, params: Any, loss: Any, source: Any, steps: int, rate: float) -> Any:
    """The parameters after so many steps of the library's own training."""
    chain = train.optimizer("adam", train.schedule("cosine", rate, steps), clip_norm=1.0)
    state = train.init_train_state(params, chain, jax.random.key(1))
    return train.fit(train.make_train_step(loss, chain), state, source, steps=steps).params


def flip_flop(steps: int = 1000) -> tuple[Any, Any, Any]:
    """A network of 24 units that remembers three bits: model, params, and its loss."""
    model = rnnjax.stack(rnn=rnnjax.gru(24), readout=rnnjax.linear(BITS))

    def loss(params: Any, carried: Any, batch: Any, key: Any) -> Any:
        xs, targets = batch
        _, ys = rnnjax.unroll(model, params, None, xs)
        return train.mean_squared_error(ys, targets).mean, (carried, {})

    params = model.init(jax.random.key(0), BITS)
    return model, trained(model, params, loss, train.generated(pulses, ROWS), steps, 1e-2), loss


def fixed_points() -> list[str]:
    """The fixed points of the network of three bits, drawn as in the paper."""
    model, params, _ = flip_flop()
    cell, own = rnnjax.gru(24), params["rnn"]  # the readout has no state
    xs, targets = pulses(jax.random.key(2), ROWS)
    path = see.trajectory(cell, own, xs)
    _, ys = rnnjax.unroll(model, params, None, xs)
    right = float(((ys > 0) == (targets > 0))[np.asarray(targets) != 0].mean())
    starts = path.vectors.reshape(-1, path.vectors.shape[-1])
    starts = starts[np.random.default_rng(0).choice(len(starts), 1024, replace=False)]
    begun = time.perf_counter()
    found = see.fixed_points(cell, own, jnp.zeros(BITS), starts)
    seconds = time.perf_counter() - begun
    figure = figure_type()(figsize=(12, 5.5), layout="constrained")
    axes = figure.add_subplot(1, 2, 1, projection="3d")
    see.plot_fixed_points(axes, found, path.vectors[:, :24])
    axes = figure.add_subplot(1, 2, 2)
    angle = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(angle), np.sin(angle), color="0.6", label="where |λ| = 1")
    for name, which, style in (
        ("attractors", found.stable, {"marker": "o", "color": "black"}),
        ("saddles", found.unstable > 0, {"marker": "^", "color": "tab:red"}),
    ):
        values = found.eigenvalues[which].ravel()
        axes.scatter(values.real, values.imag, s=14, alpha=0.6, label=f"of {name}", **style)
    axes.set_xlabel("real part of λ")
    axes.set_ylabel("imaginary part of λ")
    axes.set_aspect("equal")
    axes.legend(loc="upper left")
    tidy(axes)
    figure.savefig(RESULTS / "fixed_points.png", dpi=120)
    bits = np.asarray(rnnjax.linear(BITS).step(params["readout"], (), found.points)[1])
    corners = bits[found.stable]
    lines = [
        "# The fixed points of a network that remembers three bits",
        "",
        "A GRU of 24 units reads pulses of 1 and -1 on three wires and has to say, at each step,",
        f"which came last on each. After 1,000 steps of training {right:.2%} of its answers have",
        "the right sign. Without a pulse, x = 0, `rnnjax.diagnostics.fixed_points` went down from",
        f"1,024 of the states it visits, in {seconds:.1f} s with compilation.",
        "",
        "| points | ways out | how many | of the starts | the readout there |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for ways in sorted(set(found.unstable.tolist())):
        which = found.fixed & (found.unstable == ways) & ~found.outlier
        kind = "saddle" if ways else "attractor"
        near = np.abs(bits[which])
        lines.append(
            f"| {kind} | {ways} | {which.sum()} | {found.starts[which].sum()} | "
            f"{(near > 0.5).sum(axis=1).mean():.1f} of 3 bits beyond ±0.5 |"
        )
    slow, outliers = (~found.fixed).sum(), found.outlier.sum()
    far = np.abs(np.abs(corners) - 1).max() if len(corners) else np.nan
    lines += [
        "",
        f"{len(set(map(tuple, np.sign(corners).tolist())))} of the 8 corners have an attractor of",
        f"their own; no coordinate is more than {far:.2f} from 1 or -1 there. Besides: {slow} slow",
        f"points, {outliers} outliers, {found.lost} starts that led nowhere.",
        "",
        "![fixed points](fixed_points.png)",
        "",
        "Left: states over time (grey) in the three directions of most variance, with the points",
        "found; a saddle has as many corners more than two as it has ways out. Right: the",
        "eigenvalues of the step at each. After Sussillo & Barak, 2013, figure 2.",
        "",
    ]
    return lines


# --- gates and memory ----------------------------------------------------------------------------


def reader(steps: int = 800) -> tuple[Any, Any, Any, np.ndarray]:
    """A GRU of 64 units that reads Python source: cell, params, symbols, and held-out text."""
    sources = sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py"))[:21]
    texts = [path.read_text(encoding="utf-8") for path in sources]
    symbols, ids = np.unique(list("".join(texts)), return_inverse=True)
    held_out = ids[-len(texts[-1]) :]
    model = rnnjax.stack(
        embed=rnnjax.embed(len(symbols), 16),
        rnn=rnnjax.gru(64),
        readout=rnnjax.linear(len(symbols)),
    )

    def loss(params: Any, carried: Any, window: Any, key: Any) -> Any:
        _, logits = rnnjax.unroll(model, params, None, window.xs)
        return train.cross_entropy(logits, window.targets).mean, (carried, {})

    source = train.streams(ids[: -len(held_out)], 32, 64)
    params = model.init(jax.random.key(0), rnnjax.tokens())
    return model, trained(model, params, loss, source, steps, 5e-3), symbols, held_out


def memory() -> list[str]:
    """Gates of a network that reads text, and what networks remember before they are trained."""
    model, params, symbols, ids = reader()
    rows = ids[: 16 * 200].reshape(16, 200).T
    gates = see.gates(model, params, rows)
    statistics = see.gate_statistics(gates)
    constants = see.time_constants(gates["rnn.z"])

    figure = figure_type()(figsize=(13, 4.2), layout="constrained")
    panels = figure.subplots(1, 3)
    see.plot_gate_statistics(panels[0], statistics)
    see.plot_gate_histogram(panels[1], statistics)
    see.plot_time_constants(panels[2], {"rnn.z": constants})
    for axes in panels:
        tidy(axes)
    figure.savefig(RESULTS / "gates.png", dpi=120)

    text = "".join(symbols[ids])
    place = text.index("    def ")
    shown = text[place : place + 90]
    read = np.array([symbols.tolist().index(letter) for letter in shown])
    over = see.gates(model, params, read)
    figure = figure_type()(figsize=(15, 6), layout="constrained")
    for axes, gate, name in zip(
        figure.subplots(2, 1), ("rnn.r", "rnn.z"), ("reset", "update"), strict=True
    ):
        values = np.asarray(over[gate])
        busy = np.argsort(-values.std(axis=0))[:12]
        see.plot_gates(axes, shown, values[:, busy])
        axes.set_title(f"{name} gates of the 12 units that vary most")
        axes.set_yticks(range(len(busy)), busy)
    figure.savefig(RESULTS / "gates_text.png", dpi=120)

    us = jax.random.uniform(jax.random.key(3), (6000, 1), minval=-1)
    curves = {}
    for name, cell in {
        "elman(50)": rnnjax.elman(50),
        "gru(50)": rnnjax.gru(50),
        "lstm(50)": rnnjax.lstm(50),
    }.items():
        path = see.trajectory(cell, cell.init(jax.random.key(0), 1), us)
        curves[name] = see.memory(path, us, 60)
    path = see.trajectory(model, params, rows)
    norms, units = see.state_norms(path), see.unit_statistics(path)
    figure = figure_type()(figsize=(14, 4.2), layout="constrained")
    panels = figure.subplots(1, 3)
    see.plot_memory(panels[0], curves)
    see.plot_state_norms(panels[1], norms)
    see.plot_unit_statistics(panels[2], units)
    for axes in panels[:2]:
        tidy(axes)
    figure.savefig(RESULTS / "memory.png", dpi=120)

    one_hot = np.eye(len(symbols))[rows]
    left = see.memory(path, one_hot[..., one_hot.mean((0, 1)) > 0.005], 12)
    lines = [
        "# Gates and memory",
        "",
        "A GRU of 64 units, trained for 800 steps to write on twenty files of Python's standard",
        "library, reads one that it was not trained on: 16 rows of 200 characters.",
        "",
        "| gate | mean | below 0.1 | above 0.9 |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, gate in statistics.items():
        lines.append(
            f"| {name} | {gate.mean.mean():.2f} | {gate.low.mean():.0%} | {gate.high.mean():.0%} |"
        )
    lines += [
        "",
        f"The time constants of z are {constants.min():.1f} to {constants.max():.1f} steps, half",
        f"of them above {np.median(constants):.1f}. Of the 64 units {units.dead.sum()} are dead,",
        f"and {(units.twin >= 0).sum()} do what another does.",
        "",
        "![gates](gates.png)",
        "",
        "Left: each unit's gates, by how often they are stuck (Karpathy et al., 2016). Middle: how",
        "far they are open. Right: how long a unit keeps what it has.",
        "",
        "![gates over text](gates_text.png)",
        "",
        "The darker, the more open. Where z is 1 the unit keeps what it has.",
        "",
        "| characters before | squared correlation, mean over symbols |",
        "| ---: | ---: |",
        *(
            f"| {lag} | {share:.2f} |"
            for lag, share in zip(left.lags, left.shares.mean(1), strict=True)
        ),
        "",
        "How well a linear readout of the state says which character was read so many steps",
        "before, for those that make up more than one in two hundred.",
        "",
        "![memory](memory.png)",
        "",
        "Left: networks that were not trained read uniform noise (Jaeger, 2001): how much of the",
        "input so many steps before is in 50 units; an LSTM has twice as many numbers. Middle: the",
        "norm of the state as the text is read, its median over rows and the range of nine in ten.",
        "Right: how alike the units are.",
        "",
    ]
    return lines


# --- the cliff and slices ------------------------------------------------------------------------

BEGIN = {"w": jnp.array(5.0), "b": jnp.array(-2.2)}
RATE, CLIP, TAKEN = 0.2, 0.1, 60


def cliff() -> list[str]:
    """The textbook's figure, and slices of the loss of the network of three bits."""
    surface = see.cliff()
    paths = {
        "without clipping": see.descent(see.cliff_loss, BEGIN, optax.sgd(RATE), TAKEN),
        f"clipped at {CLIP}": see.descent(
            see.cliff_loss, BEGIN, train.optimizer("sgd", RATE, clip_norm=CLIP), TAKEN
        ),
    }
    figure = figure_type()(figsize=(12, 10), layout="constrained")
    for n, (name, path) in enumerate(paths.items()):
        axes = figure.add_subplot(2, 2, n + 1, projection="3d")
        see.plot_cliff(axes, surface, {name: path})
        axes.view_init(elev=30, azim=35)
        axes = figure.add_subplot(2, 2, n + 3)
        see.plot_cliff(axes, surface, {name: path})
    figure.savefig(RESULTS / "cliff.png", dpi=110)

    _, params, loss = flip_flop(300)
    batch = pulses(jax.random.key(2), ROWS)
    along = [see.random_direction(jax.random.key(k), params) for k in (0, 1)]

    def of(params: Any) -> Any:
        return loss(params, (), batch, None)[0]

    figure = figure_type()(figsize=(12, 4.6), layout="constrained")
    panels = figure.subplots(1, 2)
    see.plot_loss_slice(panels[0], see.loss_slice(of, params, along[:1]))
    see.plot_loss_slice(panels[1], see.loss_slice(of, params, along, np.linspace(-1, 1, 31)))
    for axes in panels:
        tidy(axes)
    figure.savefig(RESULTS / "loss_slice.png", dpi=120)
    lines = [
        "# The cliff",
        "",
        "One unit, x' = w σ(x) + b, and its loss (σ(x) - 0.7)² after 50 steps (Pascanu, Mikolov &",
        "Bengio, 2013, figure 6; Goodfellow, Bengio & Courville, 2016, figure 10.17). Gradient",
        f"descent at rate {RATE} from w = {float(BEGIN['w']):g}, b = {float(BEGIN['b']):g}:",
        "",
        "| | largest gradient | longest step | ends at w, b | loss of the last 20, median |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, path in paths.items():
        moves = np.hypot(np.diff(path.params["w"]), np.diff(path.params["b"]))
        w, b = path.params["w"][-1], path.params["b"][-1]
        lines.append(
            f"| {name} | {path.norm[:-1].max():.3g} | {moves.max():.3g} | {w:.2f}, {b:.2f} | "
            f"{np.median(path.loss[-20:]):.3g} |"
        )
    lines += [
        "",
        "![the cliff](cliff.png)",
        "",
        "Above the surface, below its contours. Without clipping, one step at the foot of the wall",
        "throws the unit out of the picture; the clipped path stays there.",
        "",
        "## Slices of a loss",
        "",
        "The loss of the GRU of [three bits](fixed_points.md), here after 300 steps, on one batch",
        "along random directions that are normalised filter by filter (Li et al., 2018).",
        "",
        "![slices](loss_slice.png)",
        "",
    ]
    return lines


PAGES = {"fixed_points": fixed_points, "memory": memory, "cliff": cliff}

if __name__ == "__main__":
    for page in sys.argv[1:] or PAGES:
        begun = time.perf_counter()
        title, *rest = PAGES[page]()
        said = {"page": page, "facts": "\n".join(facts(versions()))}
        head = HEAD.format(seconds=time.perf_counter() - begun, **said)
        (RESULTS / f"{page}.md").write_text("\n".join([title, "", head, *rest[1:]]), "utf-8")
