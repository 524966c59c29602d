"""Draws what the compiler does with a language model of two LSTM layers: docs/compiler.png.

It is the plan that docs/compiler.md shows.
"""

from __future__ import annotations

import pathlib
from typing import Any

import jax
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

import rnnjax
from rnnjax._compile._explain import Component, short
from rnnjax.tasks.language_model import recurrent_language_model

COLUMNS = 6  # so many of the steps are drawn
COLORS = {"parallel": "#cfe3f5", "loop": "#f3cfa6"}


def language_model() -> rnnjax.Plan:
    """The plan of the model."""
    model = recurrent_language_model(96, cell="lstm", hidden_size=256, layers=2)
    params = jax.eval_shape(model.init, jax.random.key(0), rnnjax.tokens())
    state = jax.eval_shape(lambda: model.initial_state(params, (32,)))
    return rnnjax.plan(model.step, params, state, jax.ShapeDtypeStruct((64, 32), "int32"))


def box(axes: Any, left: float, bottom: float, width: float, height: float, kind: str) -> None:
    """A rounded box."""
    shape = FancyBboxPatch((left, bottom), width, height, boxstyle="round,pad=0,rounding_size=0.1")
    shape.set(facecolor=COLORS[kind], edgecolor="0.25", linewidth=0.8)
    axes.add_patch(shape)


def arrow(axes: Any, left: float, middle: float, width: float) -> None:
    """What a step hands on to the next."""
    style = {"arrowstyle": "-|>", "color": "0.25", "shrinkA": 0, "shrinkB": 0, "linewidth": 0.8}
    axes.annotate("", (left + width, middle), (left, middle), arrowprops=style)


def draw(components: list[Component], steps: int) -> Figure:
    """The step as it is written beside the stages that run."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    written, run = figure.subplots(1, 2, sharey=True, width_ratios=(6.3, 9))
    bottoms = [1.3 * k for k in range(len(components))]
    top = bottoms[-1] + 1
    for step in range(COLUMNS):
        for axes in (written, run):
            label = f"{step + 1}" if step < COLUMNS - 1 else f"... {steps}"
            axes.text(step + 0.4, -0.25, label, ha="center", va="top")
        for bottom in bottoms:  # all of a step waits for the last
            box(written, step + 0.1, bottom + 0.1, 0.6, 0.8, "loop")
        box(written, step, 0, 0.8, top, "loop")
        written.patches[-1].set(facecolor="none")
        for component, bottom in zip(components, bottoms, strict=True):
            if component.kind == "loop":
                box(run, step, bottom, 0.8, 1, "loop")
        if step:
            middles = [b for c, b in zip(components, bottoms, strict=True) if c.kind == "loop"]
            arrow(written, step - 0.2, top / 2, 0.2)
            for bottom in middles:
                arrow(run, step - 0.2, bottom + 0.5, 0.2)
    for component, bottom in zip(components, bottoms, strict=True):
        if component.kind == "parallel":
            box(run, 0, bottom, COLUMNS - 0.2, 1, "parallel")
            run.text(COLUMNS / 2 - 0.1, bottom + 0.5, "all steps at once", ha="center", va="center")
        text = (
            f"{component.kind}: {component.equations} equations,\n{short(component.flops, 'FLOP')}"
        )
        run.text(COLUMNS, bottom + 0.5, text, va="center")
    written.set_title("as it is written: a step waits for the last")
    run.set_title("as it runs: what need not wait does not", loc="left")
    for axes, right in ((written, 6.1), (run, 8.8)):
        axes.set(xlim=(-0.2, right), ylim=(-1.2, top + 0.1))
        axes.text((COLUMNS - 0.2) / 2, -0.95, "time step", ha="center", va="center")
        axes.axis("off")
    return figure


if __name__ == "__main__":
    plan = language_model()
    stages = [component for component in plan.components if component.kind in COLORS]
    file = pathlib.Path(__file__).with_name("compiler.png")
    draw(stages, plan.length).savefig(file, dpi=110)
