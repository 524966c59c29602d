"""What the machine can do at most: rates of products, copies, page faults and empty loops.

    python benchmarks/floor.py

`floor_calls` are the bound of one comparison, measured beside the contenders in the same rounds:
the products of a step and of its gradient, those in a loop that have to wait for each other and
the rest for all of time at once, and nothing else: no activation, no array kept.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from peers import compiled, drawn
from timing import machine
from worker import Contender

import rnnjax
from rnnjax._cell import step_spec
from rnnjax._compile._primitives import PRODUCTS
from rnnjax._compile._rewrite import rewrite
from rnnjax._compile._schedule import schedule
from rnnjax._compile._trace import among, trace, type_of


class Product(NamedTuple):
    """A product of one step.

    Attributes:
      kind: of its stage: "loop", "parallel" or "invariant".
      apply: (left, right) -> the product.
      operands: the shapes and dtypes of both.
      varying: whether each changes over time; what does not is a weight.
      matrix: whether it is x [..., K] @ W [K, N], of which autodiff's gradients are right in value
        and slow in layout.
    """

    kind: str
    apply: Callable[[Any, Any], Any]
    operands: tuple[Any, Any]
    varying: tuple[bool, bool]
    matrix: bool

    @property
    def looped(self) -> bool:
        return self.kind == "loop"


def products(cell: rnnjax.Cell, xs: Any) -> list[Product]:
    """The products of a cell over xs [T, B, ...], each where `rnnjax.scan` would have it."""
    batch = jax.tree.leaves(xs)[0].shape[1]
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), step_spec(xs)))
    state = jax.eval_shape(lambda params: cell.initial_state(params, (batch,)), params)
    found = schedule(rewrite(trace(cell.step, params, state, xs, None, False, 1).program))
    return [
        Product(
            stage.kind,
            lambda a, b, eqn=eqn: eqn.primitive.bind(a, b, **eqn.params),
            tuple(jax.ShapeDtypeStruct(type_of(v).shape, type_of(v).dtype) for v in eqn.invars),
            tuple(among(v, found.varying) for v in eqn.invars),
            _is_matrix(eqn, found.varying),
        )
        for stage in found.stages
        for eqn in stage.eqns
        if eqn.primitive.name in PRODUCTS
    ]


def _is_matrix(eqn: Any, varying: Any) -> bool:
    """See `Product`."""
    left, right = eqn.invars
    contracted = (((type_of(left).ndim - 1,), (0,)), ((), ()))
    weight = type_of(right).ndim == 2 and not among(right, varying) and among(left, varying)
    return weight and eqn.params.get("dimension_numbers") == contracted


def floor_calls(steps: Iterable[list[Product]], length: int) -> tuple[dict[str, Callable], Any]:
    """Forward and training of nothing but products, and what both take; the numbers mean nothing.

    Args:
      steps: the products of each step that runs over the sequence, one after the other.
      length: T.
    """
    steps = [list(step) for step in steps]
    # Nothing of it is known when it is compiled. It grows to infinity, which takes no longer.
    args = [[_arrays(product, length) for product in step] for step in steps]

    def forward(args: Any) -> Any:
        kept = []
        for step, arrays in zip(steps, args, strict=True):
            for product, (_, (a, b), _) in zip(step, arrays, strict=True):
                if not product.looped:
                    kept.append(_last(_at_once(product)(a, b)))
            kept.append(_chain(step, arrays, length, lambda p, a, b: [p.apply(a, b)]))
        return kept

    def train(args: Any) -> Any:
        kept = forward(args)
        for step, arrays in zip(steps, args, strict=True):
            copies = [
                (_turned_weights(p, one), *rest)
                for p, (one, *rest) in zip(step, arrays, strict=True)
            ]
            kept.append(_chain(step, copies, length, _waiting_gradients))
            for product, (_, operands, d_out) in zip(step, arrays, strict=True):
                # Of weights after a loop, for all steps together; of what varies, if not in it.
                weights = [not varies for varies in product.varying]
                kept += _gradients(product, _at_once(product), operands, d_out, weights)
                if not product.looped:
                    made = _gradients(product, _at_once(product), operands, d_out, product.varying)
                    kept += map(_last, made)
        return kept

    return {"train": train, "forward": forward}, args


def _arrays(product: Product, length: int) -> tuple[Any, Any, Any]:
    """The operands of one step, those of all steps, and the gradient of the latter's product."""
    over = product.kind != "invariant"
    one = tuple(jnp.ones(o.shape, o.dtype) for o in product.operands)
    all_ = tuple(
        jnp.ones((length, *o.shape) if varies else o.shape, o.dtype)
        for o, varies in zip(product.operands, product.varying, strict=True)
    )
    out = jax.eval_shape(product.apply, *one)
    return one, all_, jnp.ones((length, *out.shape) if over else out.shape, out.dtype)


def _at_once(product: Product) -> Callable[[Any, Any], Any]:
    """The product for all steps."""
    axes = tuple(0 if varies else None for varies in product.varying)
    return jax.vmap(product.apply, axes) if any(product.varying) else product.apply


def _chain(step: list[Product], arrays: Any, length: int, work: Callable[..., list]) -> Any:
    """T times the work of the products in the loop, each of what it made the time before."""
    looped = [(p, one) for p, (one, _, _) in zip(step, arrays, strict=True) if p.looped]
    if not looped:
        return []

    def body(_: Any, factors: list[Any]) -> list[Any]:
        found = []
        for factor, (product, (left, right)) in zip(factors, looped, strict=True):
            operands = (factor, right) if product.varying[0] else (left, factor)
            found.append(sum(_filled(made, factor) for made in work(product, *operands)))
        return found

    start = [left if p.varying[0] else right for p, (left, right) in looped]
    return jax.lax.fori_loop(0, length, body, start)


def _turned_weights(product: Product, operands: Any) -> Any:
    """The operands of one step; of a matrix a copy that a gradient reads along its rows."""
    left, right = operands
    return (left, jax.lax.optimization_barrier(right.T)) if product.matrix else operands


def _waiting_gradients(product: Product, left: Any, right: Any) -> list[Any]:
    """The gradients of a product that the step before waits for; a matrix is turned."""
    out = jax.eval_shape(product.apply, *product.operands)
    d_out = _filled(left if product.varying[0] else right, out)
    if product.matrix:
        return [d_out @ right]
    return _gradients(product, product.apply, (left, right), d_out, product.varying)


def _gradients(
    product: Product, apply: Callable, operands: Any, d_out: Any, wanted: Sequence[bool]
) -> list[Any]:
    """Of a product, or of that for all steps, those of the operands that are wanted."""
    left, right = operands
    if product.matrix:
        before = list(range(left.ndim - 1))
        made = [lambda: d_out @ right.T, lambda: jnp.tensordot(left, d_out, (before, before))]
    else:
        made = [
            lambda: jax.vjp(lambda a: apply(a, right), left)[1](d_out)[0],
            lambda: jax.vjp(lambda b: apply(left, b), right)[1](d_out)[0],
        ]
    return [make() for make, want in zip(made, wanted, strict=True) if want]


def _filled(made: Any, like: Any) -> Any:
    """An array of the shape and dtype of another, cut or repeated."""
    flat = made.ravel() if jnp.iscomplexobj(like) else made.ravel().real
    if flat.size < like.size:
        flat = jnp.tile(flat, -(-like.size // flat.size))
    return flat[: like.size].reshape(like.shape).astype(like.dtype)


def _last(made: Any) -> Any:
    """One entry of an array that is made whole."""
    return jax.lax.optimization_barrier(made).ravel()[-1]


def floor_contender(job: Mapping[str, Any]) -> Contender:
    """The floor of a net of peers.py."""
    net, batch = drawn(job)
    steps = []
    for layer in net.each:
        xs = jax.ShapeDtypeStruct((*batch.xs.shape[:2], layer.inputs), jnp.float32)
        found = products(getattr(rnnjax, net.kind)(net.units), xs)
        steps += [found] * net.directions
    return compiled_floor(steps, job["length"])


def compiled_floor(steps: Iterable[list[Product]], length: int) -> Contender:
    """The floor as a contender, which has nothing to compare."""
    functions, args = floor_calls(steps, length)
    made = {mode: compiled(function, args) for mode, function in functions.items()}
    calls = {mode: call for mode, (call, _, _) in made.items()}
    return Contender(calls, {mode: facts for mode, (_, _, facts) in made.items()}, {})


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
