"""Any step means what plain `lax.scan` says: random programs, values and gradients, float64.

300 are drawn, and those run that hold a construct which no other before them did; `make slow` runs
1,000 (or RNNJAX_PROGRAMS of them), each. The programs are the same in every run; a failure shrinks
to a few lines and is printed as source.
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

COUNT = 300
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


def run_all(count: int, every: bool = True) -> collections.Counter:
    """Runs programs until one fails; how many were drawn, and what occurred in them."""
    drawn, constructs, failed = collections.Counter(), set(), []

    @hypothesis.settings(reproducible, max_examples=count)
    @hypothesis.given(programs())
    def is_plain_scan(program: Program):
        drawn["programs"] += 1
        drawn.update(set(program.features))
        if drawn["programs"] % 50 == 0:
            jax.clear_caches()  # a thousand executables do not fit in memory
        if every or failed or program.features - constructs:
            failed.append(program)
            run(program)
            failed.pop()  # where one stays, all are run from then on: it shrinks
            constructs.update(program.features)

    is_plain_scan()
    return drawn


def test_random_programs_are_plain_scan():
    """The programs are not all trivial: each kind of line, each special case, is drawn often."""
    count = run_all(COUNT, every=False)
    special = {
        "shared weight", "weight made in the step", "closed-over constant", "closed-over tracer",
        "custom_jvp", "custom_vjp", "cond", "inner scan", "int carry", "bool carry", "key carry",
        "random numbers", "output that is an input", "unused param", "literal output",
        "passed-through carry", "delay carry", "swap carry", "masked carry", "literal carry",
        "common subexpression", "param as output", "dead code", "xs=None",
    }  # fmt: skip
    rare = {name for name in special | {make.__name__ for make in LINES} if count[name] < 5}
    assert not rare, f"too seldom: {sorted(rare)}; drawn: {count}"


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
