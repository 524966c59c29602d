"""A process of contenders, which time themselves when told to.

Reads an order as JSON from each line of standard input, and answers `load` and `call` with a line.
A job names the function that makes its contender, "module:function" of this folder, which maps the
job to a `Contender`. While other processes are measured this one waits, and its threads sleep.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

LONG = 0.05  # seconds that caches which others filled make no difference to


class Contender(NamedTuple):
    """What can be called, and what it computes.

    Attributes:
      calls: a function for each mode, which returns when its work is done. Its seconds are the
        figure, unless it returns a float: then that is.
      facts: of it, as JSON.
      results: arrays by name, to be compared with those of the other contenders.
    """

    calls: Mapping[str, Callable[[], Any]]
    facts: Mapping[str, Any]
    results: Mapping[str, Any]


def load(job: Mapping[str, Any]) -> tuple[Contender | None, dict[str, Any]]:
    """The contender of a job, whose results are stored, and its facts, or why there is none."""
    module, _, function = job["make"].partition(":")
    try:
        made = getattr(importlib.import_module(module), function)(job)
        for call in made.calls.values():
            figures(call, 1)
    except (ImportError, NotImplementedError) as reason:
        return None, {"absent": str(reason)}
    except Exception as error:
        if "out of memory" in str(error).lower() or "RESOURCE_EXHAUSTED" in str(error):
            return None, {"absent": "out of memory"}
        return None, {"error": traceback.format_exc()}
    arrays = {name: np.asarray(array, np.float32) for name, array in made.results.items()}
    np.savez(job["results"], **arrays)
    return made._replace(results={}), {"facts": dict(made.facts)}


def figures(call: Callable[[], Any], times: int) -> list[float]:
    """The figure of each of some calls."""
    found = []
    for _ in range(times + 1):
        start = time.perf_counter()
        told = call()
        took = time.perf_counter() - start
        found.append(told if isinstance(told, float) else took)
        if times == 1 and took > LONG:
            return found
    return found[1:]  # what others left in the caches is not this contender's


def main() -> None:
    """Obeys for as long as lines come in."""
    # What libraries print is not taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    contenders: dict[str, Contender] = {}
    for line in sys.stdin:
        order = json.loads(line)
        if "load" in order:
            made, told = load(order["job"])
            if made is not None:
                contenders[order["load"]] = made
        elif "call" in order:
            told = figures(contenders[order["call"]].calls[order["mode"]], order["times"])
        else:
            contenders.clear()
            gc.collect()
            continue
        print(json.dumps(told), file=answers, flush=True)


if __name__ == "__main__":
    main()
