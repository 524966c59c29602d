"""`check_cell`: every law, over one cell."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping

import jax
import numpy as np

from rnnjax._cell import Array, Cell, PyTree, State
from rnnjax._check import require_cell
from rnnjax._factory import natural
from rnnjax.testing import _gradient, _program, _sequence, _step
from rnnjax.testing._case import Broken, Case, NotMeant
from rnnjax.testing._law import Law

# In the order of the checks.
LAWS = {
    law.name: law
    for theme in (_step, _sequence, _gradient, _program)
    for law in vars(theme).values()
    if isinstance(law, Law)
}

TOLERANCES = {"float64": 1e-10, "float32": 1e-5, "bfloat16": 5e-2, "float16": 1e-2}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one law: "holds", "skipped", or why it does not apply."""

    law: str
    outcome: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Report:
    """What `check_cell` did; `str(report)` is a table.

    Attributes:
      cell: the cell's name.
      outcomes: one `Outcome` a law, in the order they ran.
    """

    cell: str
    outcomes: tuple[Outcome, ...]

    def __str__(self) -> str:
        width = max(len(o.law) for o in self.outcomes)
        rows = [f"{o.law:{width}}  {o.seconds:5.2f} s  {o.outcome}" for o in self.outcomes]
        total = sum(o.seconds for o in self.outcomes)
        return "\n".join([self.cell, *rows, f"{'total':{width}}  {total:5.2f} s"])


def check_cell(
    cell: Cell,
    x_spec: PyTree,
    *,
    batch_shape: tuple[int, ...] = (2, 2),
    draw: Callable[[np.random.Generator, tuple[int, ...]], PyTree] | None = None,
    integers: tuple[int, int] = (0, 2),
    hold: Callable[[np.random.Generator, State], State] | None = None,
    key: Array | None = None,
    seed: int = 0,
    spread: float = 0.3,
    dtype: str = "float64",
    tolerances: Mapping[str, float] | None = None,
    skip: Iterable[str] = (),
) -> Report:
    """Checks that a cell keeps the contract of `rnnjax.Cell`, law by law; raises where it does not.

    The laws are those of `LAWS`: shapes, carried and held state, noise, batching, padding, resets,
    streaming, gradients, precision, and what a program needs (pickling, donation, no retracing).
    They run in float64, whatever `jax_enable_x64` says, on random parameters, inputs, and states
    which the cell has reached itself; "the same" is max|a - b| <= tolerance * max(1, max|b|).

    Args:
      cell: the cell.
      x_spec: one unbatched input, as for `cell.init`: an int n for float[n], a pytree of
        `jax.ShapeDtypeStruct`, or None for a cell without input.
      batch_shape: the batch: at least two rows, better with two axes.
      draw: `(rng, shape) -> x` draws inputs with leading axes `shape`, for cells that do not take
        just any number, such as time differences. Floats are brought to `dtype`.
      integers: without `draw`, integer inputs are drawn from [low, high).
      hold: `(rng, state) -> state` draws what an initial state is to hold (`Held`), of any size;
        without it, it holds what `initial_state` gives.
      key: the key of a noisy cell's noise.
      seed: for parameters and inputs.
      spread: the standard deviation of what is added to each parameter that `init` draws, so that
        none stays at 0 or 1; 0 leaves them as they are.
      dtype: "float64", or "float32" for a cell that fixes that dtype; no finite differences then.
      tolerances: by dtype, over those of `TOLERANCES`, such as {"float64": 1e-6}.
      skip: names of laws that are not meant to hold.

    Returns:
      A `Report`: an `Outcome` for each `Law`, with its time.

    Raises:
      AssertionError: a law is broken: the message names the cell, the law, the leaf, the step t and
        the row, what came and what was expected, and the likely cause.
      ValueError: `skip` names an unknown law, or `dtype` or `batch_shape` will not do.
      TypeError: `cell` is not a Cell.

    Example:
      >>> import rnnjax
      >>> from rnnjax.testing import check_cell
      >>> report = check_cell(rnnjax.elman(2), 3, skip=["bfloat16"])
      >>> sorted({outcome.outcome for outcome in report.outcomes})
      ['holds', 'holds nothing', 'no noise', 'skipped']
    """
    require_cell("cell", cell)
    skip = (skip,) if isinstance(skip, str) else tuple(skip)
    for name in skip:
        if name not in LAWS:
            raise ValueError(f"skip names no law {name!r}; the laws are {', '.join(LAWS)}")
    if dtype not in ("float64", "float32"):
        raise ValueError(f'dtype must be "float64" or "float32", got {dtype!r}')
    batch_shape = tuple(natural("batch_shape", size, least=1) for size in batch_shape)
    if math.prod(batch_shape) < 2:
        raise ValueError(f"batch_shape must hold two rows or more, got {list(batch_shape)}")
    outcomes = []
    with jax.enable_x64(dtype == "float64"):
        case = Case(
            cell, x_spec, batch_shape, draw, integers, hold, key, seed, spread, dtype,
            {**TOLERANCES, **(tolerances or {})},
        )  # fmt: skip
        for name, law in LAWS.items():
            start = time.process_time()
            outcome = "skipped" if name in skip else _hold(case, law)
            outcomes.append(Outcome(name, outcome, time.process_time() - start))
    return Report(cell.name, tuple(outcomes))


def _hold(case: Case, law: Law) -> str:
    """Runs one law; gives its outcome, or raises AssertionError."""
    try:
        law.check(case)
    except NotMeant as reason:
        return str(reason)
    except Exception as error:
        found = str(error) if isinstance(error, Broken) else f"{type(error).__name__}: {error}"
        raise AssertionError(
            f'{case.cell.name} breaks "{law.name}" ({law.says}): {found}\nLikely cause: {law.cause}'
        ) from error
    return "holds"
