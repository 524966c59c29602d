"""One contender in a process of its own, which times itself when told to.

Reads a job as JSON from its command line, compiles it, stores its outputs and gradients for
comparison, prints one line of facts, then answers each line "n" on standard input with the
seconds of each of n calls. While other processes are measured it waits, and its threads sleep.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import peers


def jax_call(job: dict[str, Any], weights: list, xs: np.ndarray, weight_of_loss: np.ndarray):
    """(call, facts, results) of a JAX contender."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_num_cpu_devices", job["devices"])
    *_, inputs, units = job["shape"]
    sizes = [inputs, *[units] * (job["layers"] - 1)]
    layers = [peers.JAX_PEERS[job["peer"]](job["kind"], size, units) for size in sizes]

    def run(params: Any, xs: Any) -> Any:
        for layer, p in zip(layers, params, strict=True):
            xs = layer.run(p, xs)
        return xs

    def loss(params: Any, xs: Any, weight: Any) -> Any:
        return (run(params, xs) * weight).sum()

    canonical = jax.tree.map(jnp.asarray, weights)
    params = [layer.pack(w) for layer, w in zip(layers, canonical, strict=True)]
    args = (params, jnp.asarray(xs), jnp.asarray(weight_of_loss))
    if job["devices"] > 1:
        mesh = jax.make_mesh(
            (job["devices"],), ("batch",), axis_types=(jax.sharding.AxisType.Auto,)
        )
        whole = jax.NamedSharding(mesh, jax.P())
        rows = jax.NamedSharding(mesh, jax.P(None, "batch"))
        args = jax.device_put(args, (whole, rows, rows))
    if job["mode"] == "train":
        timed = jax.value_and_grad(loss, argnums=(0, 1))
    else:
        timed = lambda params, xs, weight: run(params, xs)  # noqa: E731
    start = time.perf_counter()
    compiled = jax.jit(timed).lower(*args).compile()
    facts = {
        "compile_seconds": time.perf_counter() - start,
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
    }

    def packed_loss(weights: Any, xs: Any, weight: Any) -> Any:
        return loss([layer.pack(w) for layer, w in zip(layers, weights, strict=True)], xs, weight)

    gradients = jax.jit(jax.grad(packed_loss, argnums=(0, 1)))(canonical, *args[1:])
    results = [run(*args[:2]), *jax.tree.leaves(gradients)]
    return lambda: jax.block_until_ready(compiled(*args)), facts, results


def torch_call(job: dict[str, Any], weights: list, xs: np.ndarray, weight_of_loss: np.ndarray):
    """(call, facts, results) of PyTorch, on all cores."""
    import torch

    module = peers.torch_module(job["kind"], weights)
    inputs = torch.from_numpy(xs).requires_grad_(job["mode"] == "train")
    weight = torch.from_numpy(weight_of_loss)

    def forward() -> Any:
        with torch.inference_mode():
            return module(inputs)[0]

    def train() -> Any:
        module.zero_grad(set_to_none=True)
        inputs.grad = None
        (module(inputs)[0] * weight).sum().backward()

    call = train if job["mode"] == "train" else forward
    inputs.requires_grad_(True)
    train()
    results = [module(inputs)[0].detach().numpy(), inputs.grad.numpy()]
    inputs.requires_grad_(job["mode"] == "train")
    return call, {"threads": torch.get_num_threads()}, results


def main() -> None:
    """Sets the job up, then times calls for as long as lines come in."""
    job = json.loads(sys.argv[1])
    time_, batch, inputs, units = job["shape"]
    sizes = [inputs, *[units] * (job["layers"] - 1)]
    weights = [peers.draw_weights(job["kind"], size, units, i) for i, size in enumerate(sizes)]
    rng = np.random.default_rng(0)
    xs = rng.standard_normal((time_, batch, inputs), np.float32)
    weight_of_loss = rng.standard_normal((time_, batch, units), np.float32)
    make = torch_call if job["peer"] == "torch" else jax_call
    try:
        call, facts, results = make(job, weights, xs, weight_of_loss)
    except NotImplementedError as reason:
        print(json.dumps({"absent": str(reason)}), flush=True)
        return
    np.savez(job["results"], *[np.asarray(r, np.float32) for r in results])
    for _ in range(3):
        call()
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        print(json.dumps(_seconds(call, int(line))), flush=True)


def _seconds(call: Callable[[], Any], calls: int) -> list[float]:
    call()  # what others left in the caches is not this contender's
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main()
