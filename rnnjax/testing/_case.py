"""A cell with parameters, states and inputs; the runs that several laws look at; comparisons."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Array, Cell, Params, PyTree, State, as_spec, joined, parted
from rnnjax._dtypes import is_floating
from rnnjax._noise import is_key
from rnnjax._unroll import select_rows, unroll

T = 6  # steps: enough for a gap, a reset and two pieces


class Broken(Exception):  # noqa: N818
    """What a law found."""


class NotMeant(Exception):  # noqa: N818
    """Why a law does not apply."""


calls = Counter()


def _counting(step: Any, params: Params, state: State, x: PyTree) -> tuple[State, PyTree]:
    """A step whose calls are counted where it does not see it: what it sees must not change."""
    calls["step"] += 1
    return step(params, state, x)


class Case:
    """A cell with parameters, states and inputs, and the runs that several laws look at."""

    def __init__(
        self, cell: Cell, x_spec: PyTree, batch_shape: tuple[int, ...], draw: Any,
        integers: tuple[int, int], hold: Any, key: Array | None, seed: int, spread: float,
        dtype: str, tolerances: Mapping[str, float],
    ) -> None:  # fmt: skip
        self.cell = cell
        self.counted = dataclasses.replace(cell, step=functools.partial(_counting, cell.step))
        self.spec = jax.tree.map(
            lambda s: jax.ShapeDtypeStruct(s.shape, _of_width(dtype, s.dtype)), as_spec(x_spec)
        )
        self.batch_shape, self.rows = batch_shape, math.prod(batch_shape)
        self.draw, self.integers, self.hold = draw, integers, hold
        self.seed, self.spread = seed, spread
        self.key = jax.random.key(seed) if key is None else key
        self.dtype, self.tolerances = dtype, tolerances
        self.step = jax.jit(self.counted.step)
        self.run = jax.jit(
            functools.partial(_differentiated, functools.partial(unroll, cell, length=T))
        )
        self.plain = jax.jit(functools.partial(_differentiated, functools.partial(_alone, cell)))
        self.params = self.drawn()

    def drawn(self) -> Params:
        """What `init` draws, moved off the zeros and ones it may hold."""
        rng = np.random.default_rng(self.seed)

        def move(leaf: Array) -> Array:
            if not inexact(leaf):
                return leaf
            return jnp.asarray(leaf + normal(rng, leaf.shape, leaf.dtype, self.spread))

        init = jax.jit(lambda key: self.cell.init(key, self.spec))
        return jax.tree.map(move, host(init(jax.random.key(self.seed))))

    def inputs(self, shape: tuple[int, ...], seed: int) -> PyTree:
        """Inputs with leading axes `shape`, NumPy's: each operation on JAX's is a compilation."""
        rng = self.rng(seed)

        def leaf(spec: jax.ShapeDtypeStruct) -> np.ndarray:
            size = (*shape, *spec.shape)
            if spec.dtype == bool:
                return rng.random(size) < 0.5
            if jnp.issubdtype(spec.dtype, jnp.integer):
                return rng.integers(*self.integers, size)
            return normal(rng, size, spec.dtype)

        drawn = jax.tree.map(leaf, self.spec) if self.draw is None else self.draw(rng, shape)
        return jax.tree.map(lambda x, spec: np.asarray(x, spec.dtype), drawn, self.spec)

    @functools.cached_property
    def xs(self) -> PyTree:
        """Inputs [T, rows, ...]."""
        return self.inputs((T, self.rows), 1)

    def at(self, t: int) -> PyTree:
        """The inputs of step t."""
        return at(self.xs, t)

    @functools.cached_property
    def noisy(self) -> bool:
        """Whether the state holds keys."""
        return any(map(is_key, jax.tree.leaves(parted(self.fresh)[0])))

    def initial(self, batch: tuple[int, ...], *, keyed: bool = True) -> State:
        """The initial state, with noise or without, and holding what the caller lets it hold."""
        key = self.key if keyed else None
        return self.holding(self.cell.initial_state(self.params, batch, key=key), self.dtype)

    def holding(self, state: State, dtype: Any) -> State:
        """A state, holding what the caller lets it hold, in this dtype."""
        if self.hold is None:
            return state
        (rest, own), (_, given) = parted(state), parted(self.hold(self.rng(5), state))

        def cast(leaf: Any) -> Array:
            return jnp.asarray(leaf, dtype if is_floating(leaf) else None)

        return joined(rest, [
            old if new is old else jax.tree.map(cast, new)
            for old, new in zip(own, given, strict=True)
        ])  # fmt: skip

    def rng(self, use: int) -> np.random.Generator:
        """Random numbers for one use."""
        return np.random.default_rng((self.seed, use))

    @functools.cached_property
    def fresh(self) -> State:
        """The initial state of the rows, with noise where the cell has noise."""
        return self.initial((self.rows,))

    def reached(self, state: State) -> State:
        """The state three steps later, on inputs that no law uses."""
        for t in range(3):
            state, _ = self.step(self.params, state, self.inputs((self.rows,), 10 + t))
        return state

    @functools.cached_property
    def state(self) -> State:
        """A state away from the initial one, and valid, as the cell has reached it itself."""
        return self.reached(self.fresh)

    @functools.cached_property
    def looped(self) -> tuple[State, PyTree]:
        """The state after a Python loop of jitted steps, and its outputs."""
        return loop(self.step, self.params, self.state, self.xs)

    def everywhere(self) -> dict[str, Any]:
        """The options of a run where every step is real and none restarts."""
        shape = (T, self.rows)
        return {"mask": np.ones(shape, bool), "resets": np.zeros(shape, bool)}

    @functools.cached_property
    def reference(self) -> Run:
        """Plain `lax.scan` and autodiff."""
        return self.by_rows(self.state, **self.everywhere())

    @functools.cached_property
    def whole(self) -> Run:
        """`rnnjax.unroll` without any option, and its gradients."""
        return self.run(self.params, self.state, self.xs)

    @functools.cached_property
    def restarted(self) -> tuple[Run, Run]:
        """`rnnjax.unroll` with resets, and the reference; in evaluation, as resets redraw noise."""
        state = self.reached(self.initial((self.rows,), keyed=False)) if self.noisy else self.state
        options = self.everywhere()
        options["resets"] = np.arange(T * self.rows).reshape(T, self.rows) % 3 == 1
        lengths = np.full(self.rows, T)
        return (
            self.run(self.params, state, self.xs, lengths=lengths, **options),
            self.by_rows(state, **options, keyed=not self.noisy),
        )

    def by_rows(
        self, state: State, *, mask: np.ndarray, resets: np.ndarray, keyed: bool = True
    ) -> Run:
        """Each row's real steps alone, by plain `lax.scan` and autodiff."""
        packed = np.argsort(~mask, axis=0, kind="stable")
        return self.plain(
            self.params, state, self.xs, mask=mask, resets=resets, packed=packed,
            unpacked=np.argsort(packed, axis=0), key=self.key if keyed else None,
        )  # fmt: skip

    def same(self, got: PyTree, want: PyTree, what: str = "", axes: str = "") -> None:
        """Raises unless two trees are the same, naming the leaf and the place."""
        for where, a, b in pairs(what, got, want):
            same(where, a, b, axes, self.tolerances)

    def same_run(self, got: tuple[State, PyTree], want: tuple[State, PyTree]) -> None:
        """Raises unless two results (final state, ys) are the same."""
        self.same(got[1], want[1], "y", "t row")
        self.same(got[0], want[0], "the final state", "row")

    def same_gradients(self, got: tuple, want: tuple) -> None:
        """Raises unless the gradients for params, state and xs are the same."""
        for what, axes, a, b in zip(INPUTS, ("", "row", "t row"), got, want, strict=True):
            self.same(a, b, f"the gradient for {what}", axes)


Run = tuple[Array, tuple, tuple]  # loss, (final state, ys), gradients for params, state and xs
INPUTS = ("params", "state", "xs")


def pairs(what: str, got: PyTree, want: PyTree) -> Iterator[tuple[str, Any, Any]]:
    """The leaves of two trees, which must be alike, side by side with their name."""
    if jax.tree.structure(got) != jax.tree.structure(want):
        raise Broken(f"{what}: got {_tree(got)}, expected {_tree(want)}")
    for (path, a), b in zip(jax.tree.leaves_with_path(got), jax.tree.leaves(want), strict=True):
        yield what + jax.tree_util.keystr(path), a, b


def host(tree: PyTree) -> PyTree:
    """The tree as NumPy's arrays, except for its keys."""
    return jax.tree.map(lambda leaf: leaf if is_key(leaf) else np.asarray(leaf), tree)


def at(tree: PyTree, index: Any) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index], host(tree))


def put_together(join: str, trees: list[PyTree]) -> PyTree:
    """The trees' leaves put together along axis 0, by `np.stack` or `np.concatenate`."""

    def leaf(*parts: Any) -> Any:
        return getattr(jnp if is_key(parts[0]) else np, join)(parts)

    return jax.tree.map(leaf, *map(host, trees))


def inexact(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def normal(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, spread: float = 1.0
) -> np.ndarray:
    """Normal numbers of a dtype; of a complex one, in both parts."""
    drawn = rng.normal(0, spread, shape)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        drawn = drawn + 1j * rng.normal(0, spread, shape)
    return drawn.astype(dtype)


def _of_width(width: str, dtype: Any) -> Any:
    """The dtype itself, but floats, and the parts of complex numbers, of a width."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return {"float64": "complex128", "float32": "complex64"}[width]
    return width if jnp.issubdtype(dtype, jnp.floating) else dtype


def _tree(tree: PyTree) -> str:
    leaves = [f"{jax.tree_util.keystr(path)}" for path, _ in jax.tree.leaves_with_path(tree)]
    return f"{type(tree).__name__} with leaves {', '.join(leaves)}" if leaves else repr(tree)


def same(what: str, got: Any, want: Any, axes: str, tolerances: Mapping[str, float]) -> None:
    if jnp.shape(got) != jnp.shape(want):
        raise Broken(f"{what} has shape {list(jnp.shape(got))}, expected {list(jnp.shape(want))}")
    got, want = (jax.random.key_data(x) if is_key(x) else x for x in (got, want))
    tolerance = 0.0
    if inexact(want):
        tolerance = tolerances.get(str(jnp.finfo(jnp.result_type(got)).dtype), 0.0)
    got, want = (np.asarray(x) for x in (got, want))
    wide = complex if np.iscomplexobj(want) else float
    a, b = got.astype(wide), want.astype(wide)
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(a - b)
    off = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, off)
    bound = tolerance * max(1.0, np.abs(b[np.isfinite(b)]).max(initial=0))
    if (bad := np.argwhere(~(off <= bound))).size:
        index = tuple(bad[0])
        place, names = [], axes.split()[: len(index)]
        for name, i in zip(names, index, strict=False):
            place.append(f"{name} = {i}")
        if rest := index[len(names) :]:
            place.append(f"index {list(map(int, rest))}")
        raise Broken(
            f"{what} at {', '.join(place) or 'the scalar'}: got {got[index]!s}, expected "
            f"{want[index]!s} (tolerance {bound:.1e}; {len(bad)} of {off.size} differ)"
        )


def loop(step: Callable, params: Params, state: State, xs: PyTree) -> tuple[State, PyTree]:
    ys = []
    for t in range(T):
        state, y = step(params, state, at(xs, t))
        ys.append(y)
    return state, put_together("stack", ys)


def _alone(
    cell: Cell, params: Params, state: State, xs: PyTree, *, mask: Array, resets: Array,
    packed: Array, unpacked: Array, key: Any,
) -> tuple[State, PyTree]:  # fmt: skip
    """Each row by its real steps alone, without `unroll`: packed to the front, then put back."""
    rows = np.arange(mask.shape[1])
    fresh, _ = parted(cell.initial_state(params, (), key=key))

    def body(state: State, inputs: PyTree) -> tuple[State, PyTree]:
        x, restart = inputs
        state, held = parted(state)
        everywhere = jax.tree.map(lambda f, s: jnp.broadcast_to(f, s.shape), fresh, state)
        state = joined(select_rows(restart, everywhere, state), held)
        state, y = cell.step(params, state, x)
        return state, (state, y)

    inputs = jax.tree.map(lambda x: x[packed, rows], (xs, resets))
    _, (states, ys) = jax.lax.scan(body, state, inputs, T)
    count = mask.sum(0)
    final = jax.tree.map(lambda s: s[jnp.maximum(count, 1) - 1, rows], states)
    ys = jax.tree.map(lambda y: y[unpacked, rows], ys)
    zeros = jax.tree.map(jnp.zeros_like, ys)
    return select_rows(count > 0, final, state), select_rows(mask, ys, zeros)


def _differentiated(run: Callable, params: Params, state: State, xs: PyTree, **options: Any) -> Run:
    """A weighted sum of what a run gives, that, and the gradients of the sum."""
    leaves, tree = jax.tree.flatten((params, state, xs))
    moves = list(map(inexact, leaves))

    def loss(moving: list) -> tuple[Array, tuple]:
        values = iter(moving)
        both = [next(values) if m else leaf for m, leaf in zip(moves, leaves, strict=True)]
        result = run(*tree.unflatten(both), **options)
        total = jnp.zeros((), float)
        for leaf in jax.tree.leaves(result):
            if inexact(leaf):
                weights = np.cos(np.arange(leaf.size)).reshape(leaf.shape) + 0.1
                parts = (leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else (leaf,)
                for turn, part in enumerate(parts):
                    weighted = (weights + turn / 3).astype(part.dtype) * part
                    total += weighted.sum().astype(float)
        return total, result

    moving = [leaf for m, leaf in zip(moves, leaves, strict=True) if m]
    (value, result), gradients = jax.value_and_grad(loss, has_aux=True)(moving)
    found = iter(gradients)
    return value, result, tree.unflatten([next(found) if m else None for m in moves])


def same_types(before: State, after: State) -> None:
    """Raises unless two states are of one type, leaf by leaf."""
    for where, new, old in pairs("state", after, before):
        if (new.shape, new.dtype) != (old.shape, old.dtype):
            raise Broken(
                f"{where} is {old.dtype}{list(old.shape)} before a step and "
                f"{new.dtype}{list(new.shape)} after it"
            )
