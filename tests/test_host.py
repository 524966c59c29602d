"""Devices and memory of the host, each in a process of its own: both are set once and for all."""

import os
import subprocess
import sys

import jax
import pytest

import rnnjax


def run(code):
    environment = {k: v for k, v in os.environ.items() if k != "JAX_NUM_CPU_DEVICES"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_cpu_becomes_n_devices():
    code = (
        "import jax, rnnjax; print(rnnjax.host.use_cpu_devices(3), jax.local_device_count('cpu'))"
    )
    assert run(code) == ["3", "3"]


def test_devices_wait_for_each_other_as_long_as_it_takes():
    """XLA takes the flag, and a user's own stays."""
    code = (
        "import os, jax, rnnjax\n"
        "name = '--xla_cpu_collective_call_terminate_timeout_seconds'\n"
        "os.environ['XLA_FLAGS'] = before = {before!r}\n"
        "rnnjax.host.use_cpu_devices(2)\n"
        "jax.numpy.ones(2).block_until_ready()\n"
        "print(os.environ['XLA_FLAGS'] == (before or name + '=604800'))"
    )
    own = "--xla_cpu_collective_call_terminate_timeout_seconds=90"
    for before in ("", own):
        assert run(code.format(before=before)) == ["True"]


def test_the_default_is_a_device_for_each_core():
    code = (
        "import os, jax, rnnjax; n = rnnjax.host.use_cpu_devices()\n"
        "print(n == len(os.sched_getaffinity(0)) == jax.local_device_count('cpu'))"
    )
    assert run(code) == ["True"]


def test_too_late_is_said():
    jax.devices()
    with pytest.raises(RuntimeError, match=r"use_cpu_devices\(7\) comes too late: .* with \d+ CPU"):
        rnnjax.host.use_cpu_devices(7)


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (2.0, TypeError), (True, TypeError)])
def test_numbers_of_devices_are_checked(n, error):
    with pytest.raises(error, match="n must be a positive int"):
        rnnjax.host.use_cpu_devices(n)


def test_kept_memory_is_not_faulted_in_again():
    code = """
import ctypes, resource
import rnnjax

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(64 << 20)))
    ctypes.memset(block, 1, 64 << 20)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults() > 10_000, faults() > 10_000)
if rnnjax.host.tune_host_memory():
    faults()
    print(faults() < 100)
    rnnjax.host.tune_host_memory(False)
    print(faults() > 10_000, faults() > 10_000)
"""
    if sys.platform != "linux":
        pytest.skip("glibc's allocator is what is tuned")
    assert run(code) == ["True"] * 5
