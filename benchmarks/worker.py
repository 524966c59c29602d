"""One contender in a process of its own, which times itself when told to.

Reads a job as JSON from its command line, compiles it, stores its outputs and gradients for
comparison, prints one line of facts, then answers each line "mode n" on standard input with the
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
    """(a call for each mode, facts, results) of a JAX contender."""
    import jax
    import jax.numpy as jnp
    from floor import floor_peer

    import rnnjax

    rnnjax.host.use_cpu_devices(job["devices"])
    if job.get("tuned"):
        rnnjax.host.tune_host_memory()
    *_, inputs, units = job["shape"]
    sizes = [inputs, *[units] * (job["layers"] - 1)]
    make = {**peers.JAX_PEERS, **peers.THIRD_PARTY, "floor": floor_peer}[job["peer"]]
    layers = [make(job["kind"], size, units) for size in sizes]

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
    modes = {
        "train": jax.value_and_grad(loss, argnums=(0, 1)),
        "forward": lambda params, xs, weight: run(params, xs),
    }
    calls, facts = {}, {}
    for mode, timed in modes.items():
        start = time.perf_counter()
        compiled = jax.jit(timed).lower(*args).compile()
        calls[mode] = lambda compiled=compiled: jax.block_until_ready(compiled(*args))
        facts[mode] = {
            "compile_seconds": round(time.perf_counter() - start, 3),
            "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
        }

    def packed_loss(weights: Any, xs: Any, weight: Any) -> Any:
        # Not every library has a candidate's recurrent bias: its gradient is not compared.
        weights = [w._replace(b_n=jax.lax.stop_gradient(w.b_n)) for w in weights]
        return loss([layer.pack(w) for layer, w in zip(layers, weights, strict=True)], xs, weight)

    gradients = jax.jit(jax.grad(packed_loss, argnums=(0, 1)))(canonical, *args[1:])
    results = [run(*args[:2]), *jax.tree.leaves(gradients)]
    return calls, facts, results


def torch_call(job: dict[str, Any], weights: list, xs: np.ndarray, weight_of_loss: np.ndarray):
    """(a call for each mode, facts, results) of PyTorch, on all cores."""
    import torch

    module = peers.torch_module(job["kind"], weights)
    inputs, weight = torch.from_numpy(xs), torch.from_numpy(weight_of_loss)
    learned = torch.from_numpy(xs.copy()).requires_grad_()

    def forward() -> Any:
        with torch.inference_mode():
            return module(inputs)[0]

    def train() -> None:
        module.zero_grad(set_to_none=True)
        learned.grad = None
        (module(learned)[0] * weight).sum().backward()

    train()
    results = [forward().numpy(), learned.grad.numpy()]
    return {"train": train, "forward": forward}, {"threads": torch.get_num_threads()}, results


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
        calls, facts, results = make(job, weights, xs, weight_of_loss)
    except NotImplementedError as reason:
        print(json.dumps({"absent": str(reason)}), flush=True)
        return
    np.savez(job["results"], *[np.asarray(r, np.float32) for r in results])
    for call in (*calls.values(), *calls.values()):
        call()
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        mode, count = line.split()
        print(json.dumps(_seconds(calls[mode], int(count))), flush=True)


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
