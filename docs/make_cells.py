"""Writes docs/cells.md: every recurrent cell with its paper, state, size, cost and loop."""

from __future__ import annotations

import inspect
import math
import pathlib
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import rnnjax
from rnnjax._cell import Cell, as_spec
from rnnjax._compile._explain import short

D, H, B, T = 64, 64, 32, 100
PLACES = (8, 8)


class Spec(NamedTuple):
    """How a cell is made and what one of its inputs is."""

    arguments: dict[str, Any] = {"hidden_size": H}  # noqa: RUF012
    inputs: Any = D


# Those that need more than a number of units, or whose inputs are not one vector.
TIMED = Spec(inputs=(D, float))  # a vector and the time
IMAGE = Spec(
    {"shape": PLACES, "features": H}, jax.ShapeDtypeStruct((*PLACES, D), jnp.result_type(float))
)
SPECS = {
    "cfc": TIMED,
    "conv_gru": IMAGE,
    "conv_lstm": IMAGE,
    "gru_d": Spec(inputs=(D, jax.ShapeDtypeStruct((D,), bool), D)),
    "jordan": Spec({"hidden_size": H, "output_size": H}),
    "ltc": TIMED,
    "phased_lstm": TIMED,
    "projected_lstm": Spec({"hidden_size": H, "projection_size": H // 2}),
    "scrn": Spec({"hidden_size": H, "context_size": H // 4}),
    "timed_ct_rnn": TIMED,
}
WITHOUT_MEMORY = {"activation", "dropout", "embed", "layer_norm", "linear"}


def recurrent() -> Iterator[tuple[str, Callable[..., Cell], Spec]]:
    """The factories of recurrent cells, with what each needs."""
    for name, factory in vars(rnnjax.cells).items():
        if name.startswith("_") or not inspect.isfunction(factory) or name in WITHOUT_MEMORY:
            continue
        if name not in SPECS and "hidden_size" not in inspect.signature(factory).parameters:
            raise SystemExit(f"how is {name} made? Add it to SPECS, or to WITHOUT_MEMORY")
        yield name, factory, SPECS.get(name, Spec())


def paper(factory: Callable[..., Cell]) -> tuple[int, str]:
    """Year and text of the first paper of a docstring's Reference, arXiv linked."""
    (reference,) = re.findall(r"Reference:\n(.*?)(?:\n\n|\Z)", inspect.getdoc(factory) or "", re.S)
    # Further papers follow a semicolon, remarks stand in brackets.
    text = re.sub(r" \(.*?\)", "", " ".join(reference.split())).split(";")[0].rstrip(".")
    year = re.search(r"\b(?:19|20)\d\d\b(?!\.\d)", text)
    if year is None:
        raise SystemExit(f"{factory.__name__}: no year in its Reference: {text}")
    return int(year[0]), re.sub(r"arXiv:(\S+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def row(name: str, factory: Callable[..., Cell], spec: Spec) -> tuple[int, str, str]:
    """A row of the table, after its year and name, by which they are sorted."""
    year, text = paper(factory)
    cell = factory(**spec.arguments)
    one = as_spec(spec.inputs)
    params = jax.eval_shape(cell.init, jax.random.key(0), one)
    alone = jax.eval_shape(cell.initial_state, params)
    fields = [
        f"{jax.tree_util.keystr(path, simple=True, separator='.') or 'h'} {list(leaf.shape)}"
        for path, leaf in jax.tree.leaves_with_path(alone)
    ]
    plan = rnnjax.plan(
        cell.step,
        params,
        jax.eval_shape(lambda params: cell.initial_state(params, (B,)), params),
        jax.tree.map(lambda x: jax.ShapeDtypeStruct((T, B, *x.shape), x.dtype), one),
        block=None,
    )
    total = plan.flops_in_loops + plan.flops_outside
    products = sum(c.products for c in plan.components if c.kind in ("loop", "plain"))
    columns = (
        f"`{name}`",
        str(year),
        text,
        ", ".join(fields),
        f"{sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)):,}",
        short(total / T, ""),
        str(products),
        f"{plan.flops_in_loops / total:.0%}",
    )
    return year, name, f"| {' | '.join(columns)} |"


def render() -> str:
    """The whole page."""
    about = f"""
    Written by `make docs` from the code, for inputs of {D} features, {H} units, {T} steps and {B}
    rows; convolutions are over {" by ".join(map(str, PLACES))} places. States are those of one row.
    FLOPs are those of a step of all rows, as `rnnjax.plan` counts them. The last two columns say
    how many products a step must wait for, and what part of the FLOPs stands in loops; the rest is
    computed for all steps at once. Options are left at their defaults."""
    lines = [
        "# The recurrent cells",
        "",
        *textwrap.wrap(" ".join(about.split()), 100),
        "",
        "| cell | year | paper | state | parameters | FLOPs a step | products in loops "
        "| FLOPs in loops |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(text for _, _, text in sorted(row(*entry) for entry in recurrent())),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    pathlib.Path(__file__).with_name("cells.md").write_text(render(), encoding="utf-8")
