"""Any step means what plain `lax.scan` says: random programs, values and gradients, float64.

400 are drawn, and of them as many run as hold every construct; `make slow` runs 1,000 (or
RNNJAX_PROGRAMS of them). The programs are the same in every run; a failure shrinks to a few lines
and is printed as source.
"""

from __future__ import annotations

import collections
import os
import pathlib
import platform
import time

import hypothesis
import jax
import jaxlib

from rnnjax._compile import scan

from .common import check, slow
from .random_programs import LINES, Program, programs

COUNT = 400
MANY = int(os.environ.get("RNNJAX_PROGRAMS", "1000"))
LOG = pathlib.Path(__file__).parent.parent / "logs" / "random_programs.log"

reproducible = hypothesis.settings(
    max_examples=COUNT,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


def run(program: Program, scan=scan) -> None:
    params, state, xs, closed = program.arguments()
    check(scan, program.make_step, params, state, xs, closed, **program.options)


def run_all(count: int) -> collections.Counter:
    """Runs programs until one fails; how many there were, and what occurred in them."""
    seen = collections.Counter()

    @hypothesis.settings(reproducible, max_examples=count)
    @hypothesis.given(programs())
    def is_plain_scan(program: Program):
        seen["programs"] += 1
        seen.update(set(program.features))
        if seen["programs"] % 50 == 0:
            jax.clear_caches()  # a thousand executables do not fit in memory
        run(program)

    is_plain_scan()
    return seen


def covering(drawn: list[Program]) -> list[Program]:
    """A few of the programs, which hold every construct that is in any."""
    missing, chosen = set().union(*(program.features for program in drawn)), []
    while missing:
        chosen.append(max(drawn, key=lambda program: len(program.features & missing)))
        missing -= chosen[-1].features
    return chosen


def test_random_programs_are_plain_scan():
    drawn = []

    @reproducible
    @hypothesis.given(programs())
    def collect(program):
        drawn.append(program)

    collect()
    # They are not all trivial: each kind of line, each special case, is drawn.
    count = collections.Counter(feature for program in drawn for feature in program.features)
    special = {
        "shared weight", "weight made in the step", "closed-over constant", "closed-over tracer",
        "custom_jvp", "custom_vjp", "cond", "inner scan", "int carry", "bool carry", "key carry",
        "random numbers", "output that is an input", "unused param", "literal output",
        "passed-through carry", "delay carry", "swap carry", "masked carry", "literal carry",
        "common subexpression", "param as output", "dead code", "xs=None",
    }  # fmt: skip
    rare = {name for name in special | {make.__name__ for make in LINES} if count[name] < 2}
    assert not rare, f"too seldom: {sorted(rare)}; drawn: {count}"
    for program in covering(drawn):
        try:
            run(program)
        except AssertionError:
            run_all(COUNT)  # fails too, and shrinks
            raise


@slow
def test_a_thousand_random_programs_are_plain_scan():
    """Leaves a log, which is committed."""
    start, verdict, seen = time.time(), "FAILED", {}
    try:
        seen = run_all(MANY)
        verdict = "all agree with lax.scan: values and gradients, float64, 1e-10"
    finally:
        lines = [
            f"{MANY} random step programs: {verdict}",
            "seed: hypothesis derandomize=True (the same programs in every run)",
            f"time: {time.time() - start:.0f} s",
            f"versions: jax {jax.__version__}, jaxlib {jaxlib.__version__}, "
            f"hypothesis {hypothesis.__version__}, python {platform.python_version()}",
            "programs in which each construct occurred:",
            *(f"  {n:5} {name}" for name, n in sorted(seen.items())),
        ]
        LOG.parent.mkdir(exist_ok=True)
        LOG.write_text("\n".join(lines) + "\n", encoding="utf-8")
