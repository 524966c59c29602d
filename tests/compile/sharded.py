"""Run by test_sharding.py in a process of its own, with four CPU devices: prints name -> failure.

What a check compares: values and gradients with plain scan's under the same mesh, and the
collectives that the compiled program executes.
"""

from __future__ import annotations

import functools
import json
import math
import re
import sys
import traceback
from collections.abc import Callable

import jax
import jax.numpy as jnp
from environment import LONG
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from rnnjax._compile import _cost, scan

from .common import assert_same, plain, probe
from .test_transforms import CASES

_cost.WORSE = math.inf  # as in conftest.py
COLLECTIVE = (
    r"= (.*) (?:all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)
# "auto" is "deferred" so far.
MODES = ("auto", "autodiff", "deferred") if LONG else ("auto", "autodiff")
NAMES = ("elman", "lstm", "gru", "layers", "delayed")


def collectives(compiled, steps: int, numbers: bool = False) -> int:
    """Executed collectives, or the numbers they move: in the body of a loop, once a step."""
    text, total = compiled.as_text(), 0
    bodies = set(re.findall(r"body=%?([\w.\-]+)", text))
    for computation in re.split(r"\n\n", text):
        header = re.match(r"\s*(?:ENTRY )?%?([\w.\-]+)", computation)
        results = re.findall(COLLECTIVE, computation)
        found = sum(size(result) if numbers else 1 for result in results)
        total += found * (steps if header and header[1] in bodies else 1)
    return total


def size(types: str) -> int:
    """How many numbers arrays like `f64[3,4]{1,0}` have together."""
    shapes = re.findall(r"\w+\[([\d,]*)\]", types)
    return sum(math.prod(int(n) for n in shape.split(",") if n) for shape in shapes)


def case(name: str):
    """A step and its arguments with four rows: state `[*B, ...]`, xs `[T, *B, ...]`."""
    step, params, state, xs = CASES[name]
    state = jax.tree.map(lambda s: jnp.concatenate([s, 0.5 * s]), state)
    return step, params, state, jax.tree.map(lambda x: jnp.concatenate([x, x[::-1]], 1), xs)


def mesh_of(devices: int, kind: AxisType) -> jax.sharding.Mesh:
    return jax.make_mesh((devices,), ("rows",), axis_types=(kind,), devices=jax.devices()[:devices])


def place(mesh, tree, spec):
    return jax.tree.map(lambda leaf: jax.device_put(leaf, NamedSharding(mesh, spec)), tree)


def loss_and_grads(run: Callable, with_xs: bool) -> Callable:
    def loss(params, state, xs):
        out = run(params, state, xs)
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(out)), out

    return jax.value_and_grad(loss, (0, 1, 2) if with_xs else (0, 1), has_aux=True)


def compare(functions: list[Callable], args: tuple, steps: int, numbers: bool = False) -> int:
    """Asserts equal results and no more collectives, whose count it gives, than plain scan has."""
    compiled = [jax.jit(f).lower(*args).compile() for f in functions]
    got, want = [f(*args) for f in compiled]
    assert_same(jax.device_get(got), jax.device_get(want))
    ours, theirs = [collectives(f, steps, numbers) for f in compiled]
    assert ours <= theirs, f"{ours} collectives, plain scan has {theirs}"
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.sharding.is_equivalent_to(b.sharding, a.ndim) or kind_is_auto(a), (
            f"sharding {a.sharding}, plain scan has {b.sharding}"
        )
    return ours


def kind_is_auto(array) -> bool:
    """Where the partitioner chooses, the sharding of a result is nobody's promise."""
    return AxisType.Explicit not in array.sharding.mesh.axis_types


def sharded_batch(name, devices, kind, backward, train):
    step, params, state, xs = case(name)
    mesh = mesh_of(devices, kind)
    with jax.set_mesh(mesh):
        args = place(mesh, params, P()), place(mesh, state, P("rows"))
        args = *args, place(mesh, xs, P(None, "rows"))
        functions = [
            functools.partial(scan, step, backward=backward),
            functools.partial(plain, step),
        ]
        if train:
            functions = [loss_and_grads(f, name != "layers") for f in functions]
        # Under "autodiff" each loop sums its own weight gradients at every step, where plain
        # scan's one loop sums all of them in one instruction: there the numbers are counted.
        steps = jax.tree.leaves(xs)[0].shape[0]
        ours = compare(functions, args, steps, numbers=backward == "autodiff")
        if backward != "autodiff" and name in ("elman", "lstm", "gru"):
            assert ours < steps, "a collective in a loop: a gradient is summed at every step"


def sharded_features(name, devices, backward):
    """Weights split by columns, Auto mesh: the partitioner decides what moves."""
    step, params, state, xs = case(name)
    mesh = mesh_of(devices, AxisType.Auto)

    def columns(leaf):
        spec = P(None, "rows") if leaf.ndim == 2 and leaf.shape[1] % devices == 0 else P()
        return jax.device_put(leaf, NamedSharding(mesh, spec))

    args = jax.tree.map(columns, params), place(mesh, state, P()), place(mesh, xs, P())
    functions = [functools.partial(scan, step, backward=backward), functools.partial(plain, step)]
    compare([loss_and_grads(f, name != "layers") for f in functions], args, xs.shape[0])


def mapped(name, devices, backward, grad_outside):
    """shard_map with its default checks; replicated params, so their gradient is summed."""
    step, params, state, xs = case(name)
    mesh = mesh_of(devices, AxisType.Auto)
    with_xs = name != "layers"
    rows = (P(), P("rows"), P(None, "rows"))

    def mapped_by(s):
        run = functools.partial(s, step, **({"backward": backward} if s is scan else {}))
        if grad_outside:
            whole = jax.shard_map(run, mesh=mesh, in_specs=rows, out_specs=rows[1:])
            return loss_and_grads(whole, with_xs)

        def local(params, state, xs):
            def loss(*args):
                out = run(*args)
                return lax.psum(sum(jnp.sum(jnp.sin(y)) for y in jax.tree.leaves(out)), "rows")

            return jax.value_and_grad(loss, (0, 1, 2) if with_xs else (0, 1))(params, state, xs)

        specs = P(), rows[: 3 if with_xs else 2]
        return jax.shard_map(local, mesh=mesh, in_specs=rows, out_specs=specs)

    compare([mapped_by(scan), mapped_by(plain)], (params, state, xs), xs.shape[0])


def mapped_fresh_state(backward):
    """A state made inside shard_map varies only because the caller says so; zeros must follow."""
    step, params, state, xs = case("lstm")
    mesh = mesh_of(4, AxisType.Auto)

    def mapped_by(s, **how):
        def local(params, xs):
            def loss(params):
                state = jax.tree.map(lambda a: lax.pcast(a, "rows", to="varying"), zeros)
                state, ys = s(step, params, state, xs, **how)
                return lax.psum(probe((state, ys)), "rows")

            return jax.value_and_grad(loss)(params)

        zeros = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[:1]), state)
        return jax.shard_map(
            local, mesh=mesh, in_specs=(P(), P(None, "rows")), out_specs=(P(), P())
        )

    compare([mapped_by(scan, backward=backward), mapped_by(plain)], (params, xs), xs.shape[0])


def mapped_collective_in_step(backward):
    """A step that itself sums over devices: a collective is not moved or lost."""
    _, params, state, xs = case("elman")
    mesh = mesh_of(2, AxisType.Auto)

    def step(params, h, x):
        w_x, w_h, b = params
        h = jnp.tanh(x @ w_x + h @ w_h + b - lax.pmean(x, "rows").mean())
        return h, (h, lax.psum(h, "rows"))

    def mapped_by(s, **how):
        specs = P(), P("rows"), P(None, "rows")
        out = P("rows"), (P(None, "rows"), P())
        run = functools.partial(s, step, **how)
        return loss_and_grads(jax.shard_map(run, mesh=mesh, in_specs=specs, out_specs=out), True)

    compare([mapped_by(scan, backward=backward), mapped_by(plain)], (params, state, xs), len(xs))


def eager_on_devices():
    """No jit: the plan of one sharding is not used for another."""
    step, params, state, xs = case("lstm")
    for devices in (1, 2, 4, 1):
        mesh = mesh_of(devices, AxisType.Auto)
        args = place(mesh, params, P()), place(mesh, state, P("rows"))
        args = *args, place(mesh, xs, P(None, "rows"))
        got, want = scan(step, *args), plain(step, *args)
        assert_same(jax.device_get(got), jax.device_get(want))


def eager_on_explicit_mesh():
    step, params, state, xs = case("lstm")
    for devices in (2, 4):
        mesh = mesh_of(devices, AxisType.Explicit)
        with jax.set_mesh(mesh):
            args = place(mesh, params, P()), place(mesh, state, P("rows"))
            args = *args, place(mesh, xs, P(None, "rows"))
            got, want = scan(step, *args), plain(step, *args)
            assert_same(jax.device_get(got), jax.device_get(want))
            for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
                assert jax.typeof(a) == jax.typeof(b), f"{jax.typeof(a)}, plain {jax.typeof(b)}"


def checks() -> dict[str, Callable[[], None]]:
    found: dict[str, Callable[[], None]] = {}
    for name in NAMES:
        # In a short run, all of it for one of them alone.
        all_of_it = LONG or name == "lstm"
        for backward in MODES if all_of_it else ("auto",):
            for devices in (2, 4) if backward == "auto" and all_of_it else (2,):
                how = f"{name}-{devices}-{backward}"
                more = LONG or (all_of_it and devices == 2)
                for kind in (AxisType.Auto, AxisType.Explicit):
                    if kind is AxisType.Explicit and name == "layers":
                        continue  # a lookup by sharded tokens needs out_sharding in plain JAX too
                    for train in (True, False) if backward == "auto" and more else (True,):
                        found[f"{kind.name}-{'train' if train else 'forward'}-{how}"] = (
                            functools.partial(sharded_batch, name, devices, kind, backward, train)
                        )
                for outside in (True, False) if more else (False,):
                    found[f"shard_map-{'grad_outside' if outside else 'grad_inside'}-{how}"] = (
                        functools.partial(mapped, name, devices, backward, outside)
                    )
        if all_of_it:
            found[f"features-{name}"] = functools.partial(sharded_features, name, 2, "auto")
    for backward in ("auto", *MODES[2:]):
        found[f"fresh_state-{backward}"] = functools.partial(mapped_fresh_state, backward)
        found[f"collective_in_step-{backward}"] = functools.partial(
            mapped_collective_in_step, backward
        )
    return found | {"eager": eager_on_devices, "eager_explicit": eager_on_explicit_mesh}


def main() -> None:
    failures = {}
    for name, check in checks().items():
        try:
            check()
            failures[name] = None
        except Exception:
            failures[name] = traceback.format_exc()
    json.dump(failures, sys.stdout)


if __name__ == "__main__":
    main()
