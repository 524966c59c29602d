"""The part `cells`: every cell of the library, and yours."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import suite
from suite import Case, Options, Row

TITLE = "Cells"
ABOUT = """Every cell: forward, and training, which is a loss with gradients for all weights and the
inputs; `rnnjax.unroll` beside a plain `lax.scan` of the same step, on one device, outputs and
gradients compared first. Times are the least of the rounds' medians, over the number of steps;
tokens are steps times rows. FLOPs are those that `rnnjax.plan` counts, thrice in training. The
floor's share is the time of the cell's products alone, where the plan has them, over that of the
cell: what has few products has a small one. Beside it stands what `plan` leaves in the loop."""

MODES = ("train", "forward")
WAYS = ("lax.scan", "rnnjax")
PLACES = (8, 8)
SETS = {
    "quick": [(12, 4, 16, 16)],
    "standard": [(64, 32, 128, 128)],
    "full": [
        (t, b, h, h)
        for t, b in ((128, 32), (128, 1), (1024, 16))
        for h in (64, 128, 256, 512, 1024)
    ],
}
SMOKE = ("conv_gru", "gru_d", "lru", "lstm")
BESIDE = ("elman", "gru", "lstm")  # yours
KEEP = "user:"


def names() -> list[str]:
    """The recurrent cells."""
    from rnnjax.tasks._cells import NAMES

    return sorted((*NAMES, "conv_gru", "conv_lstm"))


def cases(size: str, options: Options) -> list[Case]:
    """See `Part`."""
    known = names()
    if unknown := set(options.cells or ()) - set(known):
        raise ValueError(f"no cell is called {', '.join(sorted(unknown))}; there are {known}")
    chosen = list(options.cells or (BESIDE if options.user else known))
    if size == "quick" and not (options.cells or options.user):
        chosen = list(SMOKE)
    if options.user:
        chosen.append(KEEP + options.user)
    how = {"rounds": 3, "together": True} if size == "quick" else {"rounds": 5}
    return [
        {"cell": name, "length": t, "batch": b, "inputs": d, "units": h, **how}
        for t, b, d, h in options.sizes or SETS[size]
        for name in chosen
    ]


def measure(case: Case) -> list[Row]:
    """See `Part`."""
    jobs = {way: {**case, "make": "bench_cells:contender", "way": way} for way in WAYS}
    jobs["floor"] = {**case, "make": "bench_cells:floor_contender", "process": WAYS[0]}
    return suite.contest(case, jobs, MODES, rounds=case["rounds"], shown=["floor"])


def made(case: Mapping[str, Any]) -> tuple[Any, Any]:
    """The cell of a case and its inputs, [T, B, ...]."""
    import jax.numpy as jnp
    import numpy as np

    import rnnjax
    from rnnjax.tasks._cells import WIDE, cell_named, inputs_of

    name, units, inputs = case["cell"], case["units"], case["inputs"]
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Any:
        drawn = rng.standard_normal((case["length"], case["batch"], *shape), np.float32)
        return jnp.asarray(drawn)

    if name.startswith(KEEP):
        cell = user_cell(name.removeprefix(KEEP), units)
        return cell, user_inputs(cell, draw, inputs)
    if name.startswith("conv_"):
        # As many numbers as the vectors of the others, on a small image.
        features = [max(1, size // 64) for size in (units, inputs)]
        return getattr(rnnjax, name)(PLACES, features[0]), draw(*PLACES, features[1])
    # Some have as many outputs as inputs.
    return cell_named(name, units), inputs_of(name, draw(units if name in WIDE else inputs))


def user_cell(spec: str, units: int) -> Any:
    """The cell that "module:cell" names, or that it makes of a number of units."""
    from rnnjax import Cell

    module, _, name = spec.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    found = getattr(importlib.import_module(module), name)
    cell = found if isinstance(found, Cell) else found(units)
    if not isinstance(cell, Cell):
        raise TypeError(f"{spec} must be a rnnjax.Cell, or make one of a number of units: {cell}")
    return cell


def user_inputs(cell: Any, draw: Callable[..., Any], inputs: int) -> Any:
    """Vectors of D numbers, and ones for what is one number a step."""
    import jax
    import jax.numpy as jnp

    if not set(jax.tree.leaves(cell.x_ndims)) <= {0, 1}:
        raise ValueError(f"{cell.name} reads neither vectors nor numbers: x_ndims={cell.x_ndims}")
    return jax.tree.map(lambda n: draw(inputs) if n else jnp.ones_like(draw()), cell.x_ndims)


def contender(job: Mapping[str, Any]) -> Any:
    """A cell over a sequence, by `rnnjax.unroll` or in a plain `lax.scan`."""
    import functools

    import jax
    import jax.numpy as jnp
    from peers import compiled
    from worker import Contender

    import rnnjax
    from rnnjax._cell import step_spec

    if jax.default_backend() != "cpu":
        jax.config.update("jax_default_matmul_precision", "highest")
    cell, xs = made(job)
    params = cell.init(jax.random.key(0), step_spec(xs))
    start = cell.initial_state(params, (job["batch"],))
    moved, tree = jax.tree.flatten(xs)  # what is no number has no gradient

    def run(params: Any, x: Any) -> Any:
        xs = tree.unflatten([x, *moved[1:]])
        if job["way"] == "rnnjax":
            return rnnjax.unroll(cell, params, None, xs)[1]
        return jax.lax.scan(functools.partial(cell.step, params), start, xs)[1]

    outputs = jax.eval_shape(run, params, moved[0])
    keys = jax.random.split(jax.random.key(1), len(jax.tree.leaves(outputs)))
    weights = [
        jax.random.normal(key, y.shape)
        for key, y in zip(keys, jax.tree.leaves(outputs), strict=True)
    ]

    def loss(params: Any, x: Any, weights: Any) -> Any:
        ys = jax.tree.leaves(run(params, x))
        return sum((jnp.real(y) * w).sum() for y, w in zip(ys, weights, strict=True))

    timed = {
        "train": jax.value_and_grad(loss, argnums=(0, 1)),
        "forward": lambda params, x, weights: run(params, x),
    }
    found = {n: compiled(function, params, moved[0], weights) for n, function in timed.items()}
    facts = {mode: facts for mode, (_, _, facts) in found.items()}
    if job["way"] == "rnnjax":
        facts["plan"] = planned(rnnjax.plan(cell.step, params, start, xs))
    results = {
        f"{'gradient' if mode == 'train' else 'output'} {jax.tree_util.keystr(path)}": leaf
        for mode, (_, result, _) in found.items()
        for path, leaf in jax.tree.leaves_with_path(result[1] if mode == "train" else result)
    }
    return Contender({mode: call for mode, (call, _, _) in found.items()}, facts, results)


def planned(plan: Any) -> dict[str, Any]:
    """What a plan says, as JSON."""
    loops = [c for c in plan.components if c.kind in ("loop", "plain")]
    return {
        "flops": plan.flops_in_loops + plan.flops_outside,
        "flops_in_loops": plan.flops_in_loops,
        "products_in_loops": sum(c.products for c in loops),
        "loops": [{"kind": c.kind, "products": c.products, "why": c.why} for c in loops],
        "table": str(plan),
    }


def floor_contender(job: Mapping[str, Any]) -> Any:
    """The products of a cell alone."""
    from floor import compiled_floor, products

    return compiled_floor([products(*made(job))], job["length"])


def table(rows: list[Row]) -> str:
    """See `Part`."""
    found = []
    for size, cells in by_size(rows).items():
        found += [f"### T, B, D, H = {', '.join(map(str, size))}", "", one_table(cells)]
    for row in rows:
        if row["case"]["cell"].startswith(KEEP) and row["mode"] == "train":
            found += left_in_loops(row)
    return "\n".join(found)


def by_size(rows: list[Row]) -> dict[tuple, dict[str, dict[str, Row]]]:
    """Rows by size, cell and mode; the cells by their time in training."""
    found: dict[tuple, dict[str, dict[str, Row]]] = {}
    for row in sorted(rows, key=lambda row: (row["mode"] != "train", step_seconds(row))):
        case = row["case"]
        size = tuple(case[key] for key in ("length", "batch", "inputs", "units"))
        found.setdefault(size, {}).setdefault(case["cell"], {})[row["mode"]] = row
    return found


def step_seconds(row: Row, name: str = "rnnjax") -> float:
    """Seconds a step, infinite where there are none."""
    return min(row["figures"].get(name, [float("inf")])) / row["case"]["length"]


def one_table(cells: dict[str, dict[str, Row]]) -> str:
    """Markdown of the cells at one size."""
    lines = []
    for name, modes in cells.items():
        line = [f"`{name}`"]
        for mode in MODES:
            row = modes[mode]
            if "rnnjax" not in row["figures"]:
                line += ["–"] * 5
                continue
            seconds, plan = step_seconds(row), row["facts"]["rnnjax"]["plan"]
            rate = plan["flops"] / row["case"]["length"] / seconds * (3 if mode == "train" else 1)
            ratio = suite.fastest(row, ["lax.scan"], "rnnjax")
            line += [
                f"{1e6 * seconds:.3g}",
                suite.count(row["case"]["batch"] / seconds),
                f"{rate / 1e9:.3g}",
                f"{suite.against(row, 'floor', 'rnnjax')[0]:.0%}",
                suite.shown(ratio[1]) if ratio else "–",
            ]
        plan = modes["train"]["facts"].get("rnnjax", {}).get("plan")
        share = plan["flops_in_loops"] / max(1, plan["flops"]) if plan else 0
        line += [str(plan["products_in_loops"]), f"{share:.0%}"] if plan else ["–", "–"]
        lines.append(line)
    each = ["µs a step", "tokens/s", "GFLOP/s", "floor's share", "lax.scan / rnnjax"]
    head = ["cell", *(f"{what}, {mode}" for mode in MODES for what in each)]
    return suite.markdown([*head, "products in loops", "FLOPs in loops"], lines)


def left_in_loops(row: Row) -> list[str]:
    """What `plan` could not move out of the loops of a cell of the user's, and why."""
    name, plan = row["case"]["cell"], row["facts"].get("rnnjax", {}).get("plan")
    if plan is None:
        return []
    lines = [f"### What stays in the loops of `{name.removeprefix(KEEP)}`", ""]
    lines += [
        f"- {loop['kind']}: {loop['products']} products, as {loop['why']}" for loop in plan["loops"]
    ]
    return [*lines, "", "```text", plan["table"], "```", ""]


def figure(rows: list[Row], axes: Any) -> None:
    """Bars of the first size, sorted."""
    (size, cells), *_ = by_size(rows).items()
    values = {
        name: {mode: 1e6 * step_seconds(row) for mode, row in modes.items() if row["figures"]}
        for name, modes in cells.items()
    }
    suite.bars(axes, values, f"µs a step, T, B, D, H = {', '.join(map(str, size))}")
    axes.figure.set_size_inches(9, 2 + 0.25 * len(values))


def headlines(rows: list[Row]) -> list[str]:
    """See `Part`."""
    found = []
    for size, cells in by_size(rows).items():
        for mode in MODES:
            there = {n: m[mode] for n, m in cells.items() if set(WAYS) <= set(m[mode]["figures"])}
            if not there:
                continue
            each = {name: suite.against(row, *WAYS) for name, row in there.items()}
            mean = suite.mean_ratio((row, *WAYS) for row in there.values())
            slower = [f"{n} {suite.shown(suite.turned(r))}" for n, r in each.items() if r[2] < 1]
            faster = sum(low > 1 for _, low, _ in each.values())
            found.append(
                f"{mode} at {', '.join(map(str, size))}: lax.scan takes {suite.shown(mean)} times "
                f"as long as rnnjax (geometric mean over cells: {len(there)}); rnnjax is faster in "
                f"{faster}, lax.scan in {len(slower)}{': ' if slower else ''}{', '.join(slower)}"
            )
    return found
