"""The memory that a call needs at most, measured from outside."""

from __future__ import annotations

import ctypes
import gc
import pathlib
import sys
from collections.abc import Callable
from typing import Any

STATUS, REFERENCES = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")
PAGE = 4096 / 1e6
# With one heap for all threads glibc can give back all that is free, so that a process which has
# freed much is measured as a fresh one.
ONE_HEAP = {"MALLOC_ARENA_MAX": "1"}


def peak(call: Callable[[], Any], planned: float | None = None) -> Callable[[], float]:
    """A call that says how many megabytes it needs at most beyond what is there before, in MB.

    On a CPU it is resident memory as the kernel counts it, its own peak reset before. On a GPU it
    is what PyTorch's allocator counts, and for JAX what XLA has planned, which is what it takes.

    Args:
      call: what needs memory.
      planned: megabytes that XLA plans for, where they stand for what is measured.
    """

    def resident() -> float:
        release()
        REFERENCES.write_text("5")  # the peak begins anew
        before = _megabytes("VmRSS")
        call()
        return max(PAGE, _megabytes("VmHWM") - before)

    def allocated() -> float:
        import torch

        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return max(PAGE, (torch.cuda.max_memory_allocated() - before) / 1e6)

    if planned is not None:
        return lambda: planned
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return allocated
    if not REFERENCES.exists():
        raise NotImplementedError(f"resident memory is measured by {REFERENCES}, which is Linux's")
    return resident


def planned(facts: dict[str, Any]) -> float | None:
    """What XLA plans for beside a program's inputs, in MB; None where it is measured."""
    import jax

    measured = jax.default_backend() == "cpu" and REFERENCES.exists()
    return None if measured else facts["temporary_bytes"] / 1e6


def release() -> None:
    """Gives freed memory back, so that what is taken again is seen."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _megabytes(name: str) -> float:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1]) / 1e6  # its kB are KiB
