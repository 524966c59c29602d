"""Which cells learn what: adding, copy, parity and temporal order, over all cells.

    python benchmarks/learn.py [TASK ...] [--cells NAME,NAME] [--draw]

Every cell has the same width, batch, optimizer and number of steps; three seeds and two learning
rates are trained side by side in one vmapped program, and the better rate by the median of the
seeds is shown. Nothing is tuned for any cell. Results go to results/learn.json after each, and what
is there already is not run again; `--draw` writes results/learn.md and learn.png from it alone.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from rich.progress import Progress
from timing import heading, machine

import rnnjax
import rnnjax.train
from rnnjax._cell import step_spec
from rnnjax.tasks._cells import NAMES, inputs_of, model_of
from rnnjax.tasks.adding import Adding

RESULTS = pathlib.Path(__file__).parent / "results"
H, B, SEEDS, RATES = 32, 32, 3, (1e-2, 1e-3)
HELD_OUT = 500
LEARNED = 0.1  # the share of the error without memory below which a task counts as learned


class Problem(NamedTuple):
    """A task: `draw(key, B)` gives xs [T, B, D] and targets, `loss(ys, targets)` what is minimised.

    Attributes:
      draw: as above.
      outputs: the size of the readout.
      loss: (ys [T, B, outputs], targets) -> [].
      error: the same -> [], what the table shows; 0 is perfect.
      chance: the error of the best answer that remembers nothing.
      steps: of training.
      about: one line.
    """

    draw: Callable[[jax.Array, int], tuple[Any, Any]]
    outputs: int
    loss: Callable[[Any, Any], Any]
    error: Callable[[Any, Any], Any]
    chance: float
    steps: int
    about: str


def crossed(ys, targets):
    return optax.softmax_cross_entropy_with_integer_labels(ys, targets).mean()


def wrong(ys, targets):
    return (ys.argmax(-1) != targets).mean()


def at_the_end(f):
    return lambda ys, targets: f(ys[-1], targets)


def squared(y, target):
    return jnp.square(y[..., 0] - target).mean()


def draw_copy(key, size, symbols=8, length=10, delay=10):
    """Symbols, blanks, a mark; the symbols again are asked for behind the mark."""
    word = jax.random.randint(key, (length, size), 0, symbols)
    blank, mark = symbols, symbols + 1
    xs = jnp.full((2 * length + delay, size), blank).at[:length].set(word)
    xs = xs.at[length + delay - 1].set(mark)
    return jax.nn.one_hot(xs, symbols + 2), word


def draw_parity(key, size, steps=20):
    bits = jax.random.bernoulli(key, 0.5, (steps, size))
    return 2.0 * bits[..., None] - 1, bits.cumsum(0) % 2


def draw_order(key, size, steps=50):
    """X or Y at a place of the second tenth and at one of the sixth, among four other symbols."""
    noise, which, when = jax.random.split(key, 3)
    xs = jax.random.randint(noise, (steps, size), 0, 4)
    pair = jax.random.bernoulli(which, 0.5, (2, size)).astype(int)
    tenth = steps // 10
    places = jax.random.randint(when, (2, size), 0, tenth) + jnp.array([[tenth], [5 * tenth]])
    for symbol, place in zip(4 + pair, places, strict=True):
        xs = xs.at[place, jnp.arange(size)].set(symbol)
    return jax.nn.one_hot(xs, 6), 2 * pair[0] + pair[1]


PROBLEMS = {
    "adding": Problem(
        Adding(T=100).draw, 1, at_the_end(squared), at_the_end(squared), 1 / 6, 2000,
        "the sum of two marked numbers among 100, mean squared error "
        "(Hochreiter & Schmidhuber 1997, experiment 4)",
    ),
    "copy": Problem(
        draw_copy, 8,
        lambda ys, word: crossed(ys[-len(word) :], word),
        lambda ys, word: wrong(ys[-len(word) :], word),
        7 / 8, 2000, "ten symbols of eight, repeated after ten blanks, share of wrong symbols "
        "(Hochreiter & Schmidhuber 1997; Arjovsky et al. 2016)",
    ),
    "parity": Problem(
        draw_parity, 2, crossed, wrong, 1 / 2, 2000,
        "whether so many ones as came so far are odd, at each of 20 steps, share of wrong answers",
    ),
    "temporal order": Problem(
        draw_order, 4, at_the_end(crossed), at_the_end(wrong), 3 / 4, 2000,
        "which two symbols came, in which order, among 50, share of wrong answers "
        "(Hochreiter & Schmidhuber 1997, experiment 6a)",
    ),
}  # fmt: skip

# Whether more steps change the picture is asked of those alone that courses compare.
LONGER = "adding, thrice as long"
COMPARED = ["elman", "irnn", "exp_rnn", "lstm", "gru"]
PROBLEMS[LONGER] = PROBLEMS["adding"]._replace(steps=6000)


def train(name: str, problem: Problem) -> np.ndarray:
    """Errors on what is held out, [rates, seeds]."""
    model = model_of(name, H, problem.outputs)
    xs = jax.eval_shape(lambda: inputs_of(name, problem.draw(jax.random.key(0), 1)[0]))
    spec = step_spec(xs)
    tx = optax.chain(rnnjax.train.clip_by_global_norm(1.0), optax.scale_by_adam())

    def outputs(params, xs):
        return rnnjax.unroll(model, params, None, inputs_of(name, xs))[1]

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    @functools.partial(jax.vmap, in_axes=(None, 0))
    def run(rate, seed):
        key = jax.random.key(seed)
        params = model.init(jax.random.fold_in(key, 0), spec)

        def step(carry, index):
            params, state = carry
            xs, targets = problem.draw(jax.random.fold_in(key, index), B)
            grads = jax.grad(lambda p: problem.loss(outputs(p, xs), targets))(params)
            updates, state = tx.update(grads, state, params)
            decayed = rate * (1 + jnp.cos(jnp.pi * index / problem.steps)) / 2
            return (jax.tree.map(lambda p, u: p - decayed * u, params, updates), state), None

        (params, _), _ = jax.lax.scan(
            step, (params, tx.init(params)), jnp.arange(1, problem.steps + 1)
        )
        xs, targets = problem.draw(jax.random.key(2**31), HELD_OUT)
        return problem.error(outputs(params, xs), targets)

    return np.asarray(run(jnp.asarray(RATES), jnp.arange(SEEDS)))


def best(errors: list[list[float]]) -> tuple[float, list[float]]:
    """The better rate and the errors of its seeds; what is not a number is worst."""
    rows = [sorted(math.inf if math.isnan(e) else e for e in row) for row in errors]
    index = min(range(len(rows)), key=lambda i: rows[i][len(rows[i]) // 2])
    return RATES[index], rows[index]


def draw_results(found: dict[str, Any]) -> None:
    """Writes the table and the picture."""
    names = sorted({name for task in found["errors"].values() for name in task})
    lines = heading("Which cells learn what", found["machine"])
    lines += [
        f"Median of {SEEDS} seeds (worst in brackets), {H} units, batches of {B}, Adam with the",
        f"better of the rates {RATES[0]:g} and {RATES[1]:g} (cosine to 0), gradient norm clipped",
        "at 1, and nothing tuned for any cell; by `python benchmarks/learn.py`.",
        "",
        *(f"- {task}: {problem.about}; {problem.steps} steps; without memory {problem.chance:.3f}"
          for task, problem in PROBLEMS.items()),
        "",
        f"| cell | {' | '.join(PROBLEMS)} |",
        f"| --- | {' | '.join('---:' for _ in PROBLEMS)} |",
    ]  # fmt: skip
    grid = np.full((len(names), len(PROBLEMS)), np.nan)
    for row, name in enumerate(names):
        entries = []
        for column, (task, problem) in enumerate(PROBLEMS.items()):
            errors = found["errors"].get(task, {}).get(name)
            if errors is None:
                entries.append("")
                continue
            _, ordered = best(errors)
            median, worst = ordered[len(ordered) // 2], ordered[-1]
            entries.append(f"{median:.4f} ({worst:.4f})")
            grid[row, column] = min(1.0, median / problem.chance)
        lines.append(f"| `{name}` | {' | '.join(entries)} |")
    lines += ["", "Learned: the median error is below a tenth of that without memory.", ""]
    for column, task in enumerate(PROBLEMS):
        asked = [n for n in np.argsort(grid[:, column]) if not np.isnan(grid[n, column])]
        split = [[f"`{names[n]}`" for n in asked if (grid[n, column] < LEARNED) == learned]
                 for learned in (True, False)]  # fmt: skip
        lines.append(
            f"- {task}: {len(split[0])} of {len(asked)} learn it; not {', '.join(split[1]) or '-'}"
        )
    (RESULTS / "learn.md").write_text("\n".join([*lines, ""]))
    order = np.argsort(np.nan_to_num(grid, nan=1.0).mean(1))
    figure = Figure(figsize=(6, 0.22 * len(names) + 1.5), layout="constrained")
    axes = figure.subplots()
    axes.patch.set(hatch="///", edgecolor="0.8")  # what was not asked
    image = axes.imshow(grid[order], cmap="Greys", vmin=0, vmax=1, aspect="auto")
    axes.set_yticks(range(len(names)), [names[i] for i in order], fontsize=8)
    axes.set_xticks(range(len(PROBLEMS)), PROBLEMS, rotation=30, ha="left")
    axes.set_yticks(np.arange(len(names)) + 0.5, minor=True)
    axes.grid(which="minor", axis="y", color="0.9", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    axes.xaxis.tick_top()
    figure.colorbar(image, label="error, of that without memory")
    figure.savefig(RESULTS / "learn.png", dpi=130)


def main() -> None:
    """Runs what is missing, then draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", choices=[*PROBLEMS, []])
    parser.add_argument("--cells", default="")
    parser.add_argument("--draw", action="store_true")
    given = parser.parse_args()
    file = RESULTS / "learn.json"
    found = json.loads(file.read_text()) if file.exists() else {"errors": {}, "seconds": {}}
    chosen = given.cells.split(",") if given.cells else NAMES
    todo = [
        (task, name)
        for task in given.tasks or PROBLEMS
        for name in chosen
        if name not in found["errors"].get(task, {}) and (task != LONGER or name in COMPARED)
    ]
    with Progress() as progress:
        for task, name in progress.track([] if given.draw else todo, description="training"):
            start = time.perf_counter()
            errors = train(name, PROBLEMS[task])
            seconds = time.perf_counter() - start
            found["errors"].setdefault(task, {})[name] = errors.tolist()
            found["seconds"].setdefault(task, {})[name] = round(seconds, 1)
            found["machine"] = machine()
            file.write_text(json.dumps(found, indent=1) + "\n")
            rate, ordered = best(errors.tolist())
            progress.console.print(f"{task}: {name} {ordered} at {rate:g}, {seconds:.0f} s")
    draw_results(found)


if __name__ == "__main__":
    main()
