"""Floor 0: settings of the machine that a recurrent loop on a CPU gains from."""

from __future__ import annotations

import contextlib
import ctypes
import os

import jax

from rnnjax._factory import natural
from rnnjax._newest import is_new

_PATIENCE = "--xla_cpu_collective_call_terminate_timeout_seconds=604800"


def use_cpu_devices(n: int | None = None) -> int:
    """Makes JAX see the CPU as n devices, so that a batch can be spread over the cores.

    The products in a recurrent loop are too small to be shared by cores. Rows of a batch need
    nothing from each other, so each core runs the loop of its own rows: no waiting within a step.
    Call it before anything runs in JAX; the example shows how to spread a batch.

    A device that waits longer than 40 seconds for another, as on a machine that is asleep or has
    too much to do, would end the process: XLA is told to wait for a week, unless XLA_FLAGS says
    otherwise.

    Args:
      n: The number of devices; None for one a core this process may use.

    Returns:
      n.

    Raises:
      RuntimeError: JAX has run already, with another number of CPU devices.
      TypeError: `n` is not an int.
      ValueError: `n` is below 1.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> n = rnnjax.host.use_cpu_devices(jax.local_device_count("cpu"))
      >>> mesh = jax.make_mesh((n,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
      >>> rows = jax.NamedSharding(mesh, jax.P(None, "rows"))
      >>> cell = rnnjax.lstm(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jax.device_put(jnp.ones((5, 2 * n, 3)), rows)
      >>> state, ys = rnnjax.unroll(cell, params, None, xs)
      >>> ys.sharding.is_equivalent_to(rows, ys.ndim)
      True
    """
    n = _cores() if n is None else natural("n", n, least=1)
    flags = os.environ.get("XLA_FLAGS", "")
    # A flag that XLA does not know ends the process, too.
    if _PATIENCE.partition("=")[0] not in flags and not is_new():
        os.environ["XLA_FLAGS"] = f"{flags} {_PATIENCE}".strip()
    try:
        jax.config.update("jax_num_cpu_devices", n)
    except RuntimeError as error:
        if (got := jax.local_device_count("cpu")) != n:
            raise RuntimeError(
                f"use_cpu_devices({n}) comes too late: JAX has started with {got} CPU device(s). "
                "Call it right after the imports, before any array is made"
            ) from error
    return n


def _cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# The names of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8


def tune_host_memory(keep: bool = True) -> bool:
    """Lets the C allocator keep freed memory, instead of handing it back at once.

    XLA allocates the temporaries of each call anew. For large ones the C library asks the kernel,
    which hands out zeroed pages one fault at a time: more time than the arithmetic on them. With
    this the pages of the last call serve the next one. The price is that the process stays as
    large as it ever was. It acts on the whole process; best before JAX makes its first array,
    since threads that run already keep heaps of their own, which end at 64 MB.

    Args:
      keep: False restores the allocator's defaults, and gives free memory back.

    Returns:
      Whether it took effect: True with glibc (Linux), False elsewhere, where it does nothing.

    Example:
      >>> import rnnjax
      >>> tuned = rnnjax.host.tune_host_memory()
      >>> rnnjax.host.tune_host_memory(False) == tuned
      True

    Reference:
      mallopt(3): M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD, M_ARENA_MAX.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  (other C libraries have mallopt, and ignore it)
        settings = (
            # Nothing is mapped on its own, the heap never shrinks, and threads share the one that
            # can grow: any other ends at 64 MB.
            {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 64 << 20, _M_ARENA_MAX: 1}
            if keep
            else {_M_MMAP_MAX: 65536, _M_TRIM_THRESHOLD: 128 << 10, _M_TOP_PAD: 0, _M_ARENA_MAX: 0}
        )
        done = [libc.mallopt(name, value) == 1 for name, value in settings.items()]
        if not keep:
            libc.malloc_trim(0)
        return all(done)
    return False
