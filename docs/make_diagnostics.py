"""Writes docs/results/gradients.md and its pictures: python docs/make_diagnostics.py [--draw].

It trains five cells on adding and keeps what it found in docs/results/gradients.json, so that
`--draw` writes the page and the pictures again without training; they are all of what is stored.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from make_results import RESULTS, facts

import rnnjax
from rnnjax.diagnostics import (
    Compared,
    GradientFlow,
    JacobianProducts,
    compare,
    gradient_flow,
    gradient_share,
    gradient_terms,
    jacobian_products,
    lyapunov_exponents,
    plot_compare,
    plot_gradient_pairs,
    plot_jacobian_products,
    plot_lyapunov,
    plot_power_norms,
    power_norms,
)
from rnnjax.tasks.adding import Adding
from rnnjax.train.folder import as_json, versions
from rnnjax.train.plot import figure_type, tidy

T, H, STEPS, SEED = 50, 32, 1500, 0
CELLS = ("elman", "irnn", "exp_rnn", "lstm", "gru")
MARKERS = dict(zip(CELLS, "osv^D", strict=True))


def model(name: str) -> rnnjax.Cell:
    """The cell with a readout of one number."""
    return rnnjax.stack(rnn=getattr(rnnjax, name)(H), readout=rnnjax.linear(1))


def squared(ys: Any, targets: Any) -> Any:
    """The error of the answer after the last step."""
    return jnp.square(ys[-1, :, 0] - targets).mean()


def found() -> dict[str, Any]:
    """Trains; gives all that the page and the pictures show."""
    begun = time.perf_counter()
    task = Adding(T=T)
    trained = compare(
        {name: model(name) for name in CELLS}, task.draw, squared, steps=STEPS, batch_size=32,
        learning_rate=3e-3, seed=SEED,
    )  # fmt: skip
    xs, targets = task.draw(jax.random.key(1), 32)
    cells = {}
    for name, one in trained.items():
        each: dict[str, Any] = {"losses": one.losses}
        for side, params in zip(("before", "after"), one.params, strict=True):
            flow: GradientFlow = getattr(one, side)
            cell, state = getattr(rnnjax, name)(H), None
            products = jacobian_products(cell, params["rnn"], state, xs[:, :1])
            terms = gradient_terms(
                model(name), params, None, xs, lambda ys: squared(ys, targets), by="lag"
            )
            each[side] = {
                "lags": flow.by_lag(),
                "singular": products.singular_values[:, 0],
                "exponents": lyapunov_exponents(cell, params["rnn"], state, xs).mean(0),
                "share": gradient_share(terms["rnn"]),
            }
        cells[name] = each
    return {
        "cells": jax.tree.map(lambda x: np.asarray(x, float).tolist(), cells),
        "seconds": round(time.perf_counter() - begun),
        "facts": "\n".join(facts(versions())),
    }


def draw(cells: dict[str, Any]) -> None:
    """The pictures."""
    figure = figure_type()(figsize=(11, 4.5), layout="constrained")
    for axes, side in zip(figure.subplots(1, 2, sharey=True), ("before", "after"), strict=True):
        plot_compare(axes, compared(cells), at=side)
        axes.set_ylim(1e-8, 30)
        axes.label_outer()
    figure.savefig(RESULTS / "gradients.png", dpi=120)

    figure = figure_type()(figsize=(14, 6.5), layout="constrained")
    panels = figure.subplots(2, len(CELLS), sharex=True, sharey=True)
    for row, side in zip(panels, ("before", "after"), strict=True):
        for axes, name in zip(row, CELLS, strict=True):
            values = np.array(cells[name][side]["singular"], np.float32)[:, None]
            plot_jacobian_products(axes, JacobianProducts(values, values))
            axes.set_title(f"{name}, {side} training", fontsize=10)
            axes.set_ylim(1e-12, 1e3)
            axes.label_outer()
            axes.set_ylabel("singular values" if axes is row[0] else "")
    panels[0, 0].legend(fontsize=8)
    figure.savefig(RESULTS / "gradients_jacobians.png", dpi=120)

    figure = figure_type()(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_powers(left)
    for name in CELLS:
        exponents = np.array(cells[name]["after"]["exponents"], float)
        plot_lyapunov(right, exponents[:H], label=name, marker=MARKERS[name],
                      markevery=4)  # fmt: skip
    right.set_ylim(-2.5, 0.5)
    right.set_xlabel("i, of the leading 32")
    right.set_ylabel("Lyapunov exponent, nats a step")
    right.set_title("after training")
    right.legend(fontsize=8)
    figure.savefig(RESULTS / "gradients_powers.png", dpi=120)

    figure = figure_type()(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in CELLS:
        left.plot(cells[name]["after"]["share"], label=name, marker=MARKERS[name], markevery=6)
    left.set_xlabel("lag n, steps")
    left.set_ylabel("share of ∂E/∂θ from lags above n")
    left.set_title("after training")
    left.legend(fontsize=8)
    tidy(left)
    draw_cuts(figure, right)
    figure.savefig(RESULTS / "gradients_terms.png", dpi=120)


def compared(cells: dict[str, Any]) -> dict[str, Compared]:
    """What was stored, as `compare` gave it."""

    def flow(lags: list[float]) -> GradientFlow:
        norms, places = np.array(lags)[::-1], np.arange(len(lags), 0, -1)
        return GradientFlow({"": norms}, places, np.zeros(len(lags)))

    return {
        name: Compared(
            flow(cells[name]["before"]["lags"]),
            flow(cells[name]["after"]["lags"]),
            cells[name]["losses"],
            ((), ()),
        )
        for name in CELLS
    }


def draw_powers(axes: Any) -> None:
    """‖Wⁿ‖ of the seeds' picture: one matrix of normal numbers, brought to several radii."""
    w = np.random.default_rng(0).standard_normal((H, H))
    w /= np.abs(np.linalg.eigvals(w)).max()
    for radius, style in ((1.1, "-"), (1.0, "--"), (0.9, ":")):
        plot_power_norms(axes, power_norms(radius * w, 60), label=f"spectral radius {radius}",
                         linestyle=style)  # fmt: skip
    q = np.linalg.qr(w)[0]
    plot_power_norms(axes, power_norms(q, 60), label="orthogonal", color="black", marker="o",
                     markevery=10)  # fmt: skip
    axes.set_title(f"powers of a {H} by {H} matrix")
    axes.legend(fontsize=8)


def draw_cuts(figure: Any, axes: Any) -> None:
    """All pairs of an error and a state, of a sequence that starts again once."""
    cell = rnnjax.elman(H)
    params = cell.init(jax.random.key(0), 2)
    xs, _ = Adding(T=T).draw(jax.random.key(1), 8)
    resets = np.zeros((T, 8), bool)
    resets[20] = True
    flow = gradient_flow(
        cell, params, None, xs, lambda ys: jnp.square(ys).sum(), errors="each", resets=resets
    )
    figure.colorbar(plot_gradient_pairs(axes, flow), label=r"log₁₀ of $\|∂E_t/∂h_k\|$")
    axes.set_title("elman, a reset before step 21")


def page(stored: dict[str, Any]) -> str:
    """The page."""
    cells = stored["cells"]
    rows = []
    for name in CELLS:
        one = cells[name]
        figures = [f"{loss:.4f}" for loss in one["losses"]]
        for side in ("before", "after"):
            lags, share = np.array(one[side]["lags"]), one[side]["share"]
            figures += [f"{lags[24] / lags[0]:.1e}", f"{lags[-1] / lags[0]:.1e}"]
            figures += [f"{share[25]:.0%}", f"{one[side]['exponents'][0]:+.3f}"]
        rows.append(f"| `{name}` | {' | '.join(figures)} |")
    half = ["lag 25", f"lag {T}", "above 25", "λ₁"]
    text = PAGE.format(**stored, T=T, H=H, STEPS=STEPS, SEED=SEED, half=" | ".join([*half, *half]))
    return text.replace("ROWS", "\n".join(rows))


PAGE = """# Gradients through time, before training and after

Five cells of {H} units learn to add two marked numbers of {T} (`rnnjax train adding`): {STEPS}
steps of Adam at 0.003, batches of 32, gradient norm clipped at 1, seed {SEED}, nothing tuned for
any of them; `python docs/make_diagnostics.py` took {seconds} s.

{facts}

What was found is in gradients.json. The mean answer misses by 1/6 in the square.

The gradient of the error after the last step with respect to the state n steps before, relative to
n = 1; the share of the gradient of the recurrent cell's parameters that comes from more than 25
steps back, along the gradient itself; and the largest Lyapunov exponent, in nats a step.

| | loss | | before training | | | | after | | | |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| | before | after | {half} |
ROWS

![Gradient against lag](gradients.png)

What the gated cells begin with vanishes, the gradient of a GRU faster than that of `elman`;
trained, they pass it over all fifty steps, and `elman` does not. `irnn` and `exp_rnn` begin as the
identity and as an orthogonal matrix, whose gradient keeps its size; training moves them away.

Singular values of ∂h_T/∂h_(T-n) of one sequence: all in grey, and the largest, the median and the
least. What lies below the grey line is rounding of float32.

![Singular values of products of Jacobians](gradients_jacobians.png)

Left, what the recurrence would do if it were linear: the norm of Wⁿ for one matrix of normal
numbers, scaled to three spectral radii, and for an orthogonal one. Right, the Lyapunov exponents
that training ended with, each the mean of 32 sequences; of `irnn` and `exp_rnn` most are minus
infinity in one of these at least, since units that are off pass nothing.

![Powers of a matrix, and Lyapunov exponents](gradients_powers.png)

Left, where the gradient comes from; above 1 and below 0, as of `elman`, some terms take back what
others give. Right, every error and every state of an untrained `elman`, where a reset (crosses)
lets nothing pass.

![Shares of the gradient, and all pairs](gradients_terms.png)

They are made by `compare`, `gradient_flow`, `gradient_terms`, `jacobian_products`,
`lyapunov_exponents` and `power_norms` of `rnnjax.diagnostics`, each with a `plot_` of its name.
`rnnjax train TASK --gradients-every 100` records the gradients of any task while it trains, and
`rnnjax inspect --run RUN --gradients` draws those of a stored run.
"""


def main() -> None:
    """Finds what is not stored, then draws and writes."""
    file = RESULTS / "gradients.json"
    if "--draw" not in sys.argv:
        rounded = json.loads(json.dumps(found()), parse_float=lambda x: float(f"{float(x):.5g}"))
        file.write_text(as_json(rounded) + "\n", encoding="utf-8")
    stored = json.loads(file.read_text(encoding="utf-8"))
    draw(stored["cells"])
    (RESULTS / "gradients.md").write_text(page(stored), encoding="utf-8")


if __name__ == "__main__":
    main()
