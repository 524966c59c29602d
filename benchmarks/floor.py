"""What the machine can do at most: rates of products, copies, page faults and empty loops.

    python benchmarks/floor.py

`floor_peer` is the bound of one comparison, measured beside the contenders in the same rounds: the
products that every implementation of a cell has to do, T dependent ones in a loop and the rest for
all of time at once, and nothing else: no activation, no array kept.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from peers import GATES, Peer, Weights
from timing import machine


def floor_peer(kind: str, inputs: int, units: int) -> Peer:
    """The products of a layer alone, forward and backward.

    The numbers mean nothing: it is timed, not compared.
    """

    def pack(weights: Weights) -> Any:
        return weights.w_x, weights.w_h

    @jax.custom_vjp
    def run(params: Any, xs: Any) -> Any:
        return forward(params, xs)[0]

    def chain(length: int, first: Any, weight: Any, width: int) -> Any:
        """`length` products, each of the one before; cut or repeated to the factor's width."""

        def body(_: Any, factor: Any) -> Any:
            made = factor @ weight
            return jnp.tile(made, (1, -(-width // made.shape[1])))[:, :width]

        return jax.lax.fori_loop(0, length, body, first)

    def forward(params: Any, xs: Any) -> Any:
        w_x, w_h = params
        zs = xs @ w_x
        h = chain(xs.shape[0], zs[0, :, :units], w_h, units)
        return zs[..., :units] + h, (params, xs, zs)

    def backward(kept: Any, d_ys: Any) -> Any:
        (w_x, w_h), xs, d_zs = kept
        width = GATES[kind] * units
        d_h = chain(xs.shape[0], d_zs[0], w_h.T, width)
        d_zs = d_zs + d_h
        d_w_x = jnp.einsum("tbd,tbg->dg", xs, d_zs)
        d_w_h = jnp.einsum("tbh,tbg->hg", d_ys, d_zs)
        return (d_w_x, d_w_h), d_zs @ w_x.T

    run.defvjp(forward, backward)
    return Peer(pack, run)


def seconds(call: Callable[[], Any], rounds: int = 20) -> float:
    """The least time of a call."""
    call()
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def product_rate(rows: int, size: int, repeats: int) -> float:
    """GFLOP/s of `repeats` dependent products [rows, size] by [size, size]."""
    factor = jnp.full((rows, size), 1e-3)
    weight = jnp.full((size, size), 1 / size)

    @jax.jit
    def run(factor: Any, weight: Any) -> Any:
        return jax.lax.fori_loop(0, repeats, lambda _, factor: factor @ weight, factor)

    took = seconds(lambda: jax.block_until_ready(run(factor, weight)))
    return 2e-9 * repeats * rows * size * size / took


def copy_rate(megabytes: int) -> float:
    """GB/s read and written by copying an array that is larger than the caches."""
    source = np.ones(megabytes << 20, np.uint8)
    target = np.ones_like(source)
    return 2 * source.nbytes / seconds(lambda: np.copyto(target, source)) / 1e9


def page_fault() -> float:
    """Microseconds to touch 4 KiB of fresh memory."""
    size = 64 << 20

    def touch() -> None:
        with mmap.mmap(-1, size) as memory:
            ctypes.memset((ctypes.c_char * size).from_buffer(memory), 1, size)

    def again() -> None:
        ctypes.memset((ctypes.c_char * size).from_buffer(kept), 1, size)

    with mmap.mmap(-1, size) as kept:
        return 1e6 * (seconds(touch, 5) - seconds(again, 5)) / (size / 4096)


def loop_step() -> float:
    """Microseconds of an iteration of a loop that does next to nothing."""
    repeats = 10_000

    @jax.jit
    def run(x: Any) -> Any:
        return jax.lax.fori_loop(0, repeats, lambda _, x: jnp.sin(x), x)

    return 1e6 * seconds(lambda: jax.block_until_ready(run(jnp.ones(8)))) / repeats


def floors() -> dict[str, float]:
    """What this machine does at most, in the units of the names."""
    return {
        "large product, GFLOP/s": product_rate(2048, 1024, 4),
        "small product (32 x 256 by 256 x 256), GFLOP/s": product_rate(32, 256, 500),
        "vector by matrix (1 x 256 by 256 x 256), GFLOP/s": product_rate(1, 256, 2000),
        "copy, GB/s": copy_rate(256),
        "page fault, us": page_fault(),
        "empty loop step, us": loop_step(),
    }


if __name__ == "__main__":
    print(json.dumps({"machine": machine(), "floors": floors()}, indent=1))
