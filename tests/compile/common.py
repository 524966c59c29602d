"""What the tests of the recurrence compiler share: the oracle, and what "the same" means."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

PyTree = Any
Step = Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree]]

# The long versions run by RNNJAX_SLOW=1 alone (tests/conftest.py), as `make slow` does.
slow = pytest.mark.slow

# "auto" chooses one of the two.
backward = pytest.mark.parametrize(
    "backward", ["deferred", "autodiff", pytest.param("auto", marks=slow)]
)

# Both in one program, beside one plain scan.
both = pytest.mark.parametrize(
    "backward",
    [("deferred", "autodiff"), pytest.param("auto", marks=slow)],
    ids=["deferred and autodiff", "auto"],
)

# For transformations of what is tested with both above.
deferred = pytest.mark.parametrize(
    "backward", ["deferred", *(pytest.param(mode, marks=slow) for mode in ("autodiff", "auto"))]
)

# Half the compile time for code that runs once; the arithmetic stays IEEE float64.
QUICK_COMPILE = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}


def plain(
    step: Step,
    params: PyTree,
    state: PyTree,
    xs: PyTree,
    *,
    length: int | None = None,
    reverse: bool = False,
    loop_unroll: int = 1,
    **_: Any,
) -> tuple[PyTree, PyTree]:
    """The oracle: `jax.lax.scan`, deaf to the options that only choose how fast."""
    body = functools.partial(step, params)
    return lax.scan(body, state, xs, length=length, reverse=reverse, unroll=loop_unroll)


def scans(scan: Callable, backward: str | tuple[str, ...]) -> list[Callable]:
    """`scan` with each way back, then the oracle."""
    ways = (backward,) if isinstance(backward, str) else backward
    return [*(functools.partial(scan, backward=way) for way in ways), plain]


# --- the same ------------------------------------------------------------------------------------


def _as_numpy(leaf: Any) -> np.ndarray:
    if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    # bfloat16 and its like know no arithmetic in NumPy; float64 holds them exactly.
    return array.astype(np.float64) if array.dtype.kind == "V" else array


def assert_same(got: PyTree, want: PyTree, tol: float = 1e-10, what: str = "") -> None:
    """Equal trees, shapes and dtypes; max|a - b| <= tol * max(1, max|b|); integers exactly."""
    got_tree, want_tree = jax.tree.structure(got), jax.tree.structure(want)
    assert got_tree == want_tree, f"{what} tree\n  got      {got_tree}\n  expected {want_tree}"
    named = jax.tree_util.tree_leaves_with_path(want)
    for (path, b), a in zip(named, jax.tree.leaves(got), strict=True):
        name = what + jax.tree_util.keystr(path)
        types = [(jnp.shape(leaf), jax.dtypes.result_type(leaf)) for leaf in (a, b)]
        assert types[0] == types[1], f"{name} type\n  got      {types[0]}\n  expected {types[1]}"
        a, b = _as_numpy(a), _as_numpy(b)
        if not np.issubdtype(b.dtype, np.inexact):
            assert np.array_equal(a, b), f"{name}\n  got      {a}\n  expected {b}"
        elif b.size:
            error, scale = np.max(np.abs(a - b)), max(1.0, np.max(np.abs(b)))
            # Not `error > bound`: a NaN has to fail.
            assert error <= tol * scale, (
                f"{name} differs by {error:.3g} (scale {scale:.3g})\n  got      {a}\n  expected {b}"
            )


# --- values and gradients in one piece -----------------------------------------------------------


def is_float(leaf: Any) -> bool:
    return jnp.issubdtype(jax.dtypes.result_type(leaf), jnp.inexact)


def probe(tree: PyTree, seed: int = 0) -> jax.Array:
    """A scalar to differentiate: every float entry of `tree` times its own fixed weight."""
    rng, total = np.random.default_rng(seed), jnp.zeros((), jnp.float64)
    for leaf in filter(is_float, jax.tree.leaves(tree)):
        weight = np.asarray(rng.uniform(0.5, 1.5, jnp.shape(leaf)), jnp.result_type(leaf))
        total = total + jnp.sum(leaf * weight).real.astype(jnp.float64)
    return total


def split_floats(tree: PyTree) -> tuple[list, Callable[[list], PyTree]]:
    """The float leaves of `tree`, and the way back: integers and keys have no gradient."""
    leaves, treedef = jax.tree.flatten(tree)
    floats = [leaf for leaf in leaves if is_float(leaf)]

    def join(new_floats: list) -> PyTree:
        fresh = iter(new_floats)
        return jax.tree.unflatten(treedef, [next(fresh) if is_float(x) else x for x in leaves])

    return floats, join


def values_and_grads(run: Callable[..., PyTree], *args: PyTree) -> tuple[PyTree, PyTree]:
    """`run(*args)`, and the gradient of its probe for every float leaf of `args`."""
    floats, join = split_floats(args)

    def loss(floats: list) -> tuple[jax.Array, PyTree]:
        out = run(*join(floats))
        return probe(out), out

    (_, out), grads = jax.value_and_grad(loss, has_aux=True)(floats)
    return out, join(grads)


def check(
    scan: Callable[..., tuple[PyTree, PyTree]],
    make_step: Callable[[PyTree], Step],
    params: PyTree,
    state: PyTree,
    xs: PyTree,
    closed: PyTree = (),
    *,
    tol: float = 1e-10,
    quick: bool = True,
    backward: str | tuple[str, ...] = "auto",
    **options: Any,
) -> None:
    """`scan` is plain scan: values, and gradients for params, state, xs and what step closes over.

    All run in one jit, so that a program costs one compilation.
    """

    def run(scan, params, state, xs, closed):
        return scan(make_step(closed), params, state, xs, **options)

    def every(*args):
        return [values_and_grads(functools.partial(run, s), *args) for s in scans(scan, backward)]

    every = jax.jit(every, compiler_options=QUICK_COMPILE if quick else None)
    *ours, (want, want_grads) = every(params, state, xs, closed)
    names = ("params", "state", "xs", "closed")
    for got, got_grads in ours:
        assert_same(got, want, tol, "(state, ys)")
        for name, a, b in zip(names, got_grads, want_grads, strict=True):
            assert_same(a, b, tol, f"gradient of {name}")


def check_step(scan, step: Step, params, state, xs, **options: Any) -> None:
    """`check` for a step that closes over nothing."""
    check(scan, lambda _: step, params, state, xs, **options)


def normal(seed: int, *shape: int, scale: float = 1.0, dtype: Any = jnp.float64) -> jax.Array:
    """Fixed random numbers, distinct for each seed."""
    return jnp.asarray(scale * np.random.default_rng(seed).normal(size=shape), dtype)
