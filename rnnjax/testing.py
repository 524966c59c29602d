"""Floor 4: `check_cell` holds a cell, ours or yours, to the contract of `rnnjax.Cell`.

A user's own cell, and the test that proves it:

    >>> import jax, jax.numpy as jnp, rnnjax
    >>> from rnnjax.testing import check_cell
    >>> def decay_step(params, h, x):  # h_t = a ⊙ h_{t-1} + x_t
    ...     h = params["a"] * h + x
    ...     return h, h
    >>> decay = rnnjax.Cell(
    ...     name="decay",
    ...     init=lambda key, x_spec: {"a": jnp.full(3, 0.9)},
    ...     initial_state=lambda params, batch_shape=(), *, key=None: jnp.zeros((*batch_shape, 3)),
    ...     step=decay_step,
    ...     output_of=lambda h: h,
    ... )
    >>> report = check_cell(decay, 3)
    >>> report.cell, report.outcomes[0].law
    ('decay', 'shapes')

One that is wrong, as its rows see each other, fails with the law, the step, the row and a cause:

    >>> import dataclasses
    >>> def centred_step(params, h, x):
    ...     return decay_step(params, h, x - x.mean(0))
    >>> check_cell(dataclasses.replace(decay, name="centred", step=centred_step), 3)
    Traceback (most recent call last):
    ...
    AssertionError: centred breaks "rows independent" (a row alone gives what it gives in a...

Each law is a small function below, of the table `LAWS`, whose order is that of the checks: what the
later ones need, the earlier ones have shown. The reference for sequences is `_alone`: each row's
real steps, packed together, under `jax.lax.scan` and plain autodiff.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import pickle
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import (
    Array,
    Cell,
    Params,
    PyTree,
    State,
    as_spec,
    is_key,
    natural,
    rekey,
    require_cell,
)
from rnnjax._combine._common import is_floating, map_floats
from rnnjax._combine._weights import change_recurrent
from rnnjax._unroll import select_rows, unroll

T = 6  # steps: enough for a gap, a reset and two pieces
TOLERANCES = {"float64": 1e-10, "float32": 1e-5, "bfloat16": 5e-2, "float16": 1e-2}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one law: "holds", "skipped", or why it does not apply."""

    law: str
    outcome: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Report:
    """What `check_cell` did; `str(report)` is a table.

    Attributes:
      cell: the cell's name.
      outcomes: one `Outcome` a law, in the order they ran.
    """

    cell: str
    outcomes: tuple[Outcome, ...]

    def __str__(self) -> str:
        width = max(len(o.law) for o in self.outcomes)
        rows = [f"{o.law:{width}}  {o.seconds:5.2f} s  {o.outcome}" for o in self.outcomes]
        total = sum(o.seconds for o in self.outcomes)
        return "\n".join([self.cell, *rows, f"{'total':{width}}  {total:5.2f} s"])


def check_cell(
    cell: Cell,
    x_spec: PyTree,
    *,
    batch_shape: tuple[int, ...] = (2, 2),
    draw: Callable[[np.random.Generator, tuple[int, ...]], PyTree] | None = None,
    integers: tuple[int, int] = (0, 2),
    key: Array | None = None,
    seed: int = 0,
    spread: float = 0.3,
    dtype: str = "float64",
    tolerances: Mapping[str, float] | None = None,
    skip: Iterable[str] = (),
) -> Report:
    """Checks that a cell keeps the contract of `rnnjax.Cell`, law by law; raises where it does not.

    The laws are those of `LAWS`: shapes, carried state, noise, batching, padding, resets,
    streaming, gradients, precision, and what a program needs (pickling, donation, no retracing).
    They run in float64, whatever `jax_enable_x64` says, on random parameters, inputs, and states
    which the cell has reached itself; "the same" is max|a - b| <= tolerance * max(1, max|b|).

    Args:
      cell: the cell.
      x_spec: one unbatched input, as for `cell.init`: an int n for float[n], a pytree of
        `jax.ShapeDtypeStruct`, or None for a cell without input.
      batch_shape: the batch: at least two rows, better with two axes.
      draw: `(rng, shape) -> x` draws inputs with leading axes `shape`, for cells that do not take
        just any number, such as time differences. Floats are brought to `dtype`.
      integers: without `draw`, integer inputs are drawn from [low, high).
      key: the key of a noisy cell's noise.
      seed: for parameters and inputs.
      spread: the standard deviation of what is added to each parameter that `init` draws, so that
        none stays at 0 or 1; 0 leaves them as they are.
      dtype: "float64", or "float32" for a cell that fixes that dtype; no finite differences then.
      tolerances: by dtype, over those of `TOLERANCES`, such as {"float64": 1e-6}.
      skip: names of laws that are not meant to hold.

    Returns:
      A `Report`: the laws, their outcomes and times.

    Raises:
      AssertionError: a law is broken: the message names the cell, the law, the leaf, the step t and
        the row, what came and what was expected, and the likely cause.
      ValueError: `skip` names an unknown law, or `dtype` or `batch_shape` will not do.
      TypeError: `cell` is not a Cell.

    Example:
      >>> import rnnjax
      >>> from rnnjax.testing import check_cell
      >>> report = check_cell(rnnjax.elman(2), 3, skip=["bfloat16"])
      >>> sorted({outcome.outcome for outcome in report.outcomes})
      ['holds', 'no noise', 'skipped']
    """
    require_cell("cell", cell)
    skip = (skip,) if isinstance(skip, str) else tuple(skip)
    for name in skip:
        if name not in LAWS:
            raise ValueError(f"skip names no law {name!r}; the laws are {', '.join(LAWS)}")
    if dtype not in ("float64", "float32"):
        raise ValueError(f'dtype must be "float64" or "float32", got {dtype!r}')
    batch_shape = tuple(natural("batch_shape", size, least=1) for size in batch_shape)
    if math.prod(batch_shape) < 2:
        raise ValueError(f"batch_shape must hold two rows or more, got {list(batch_shape)}")
    outcomes = []
    with jax.enable_x64(dtype == "float64"):
        case = _Case(
            cell, x_spec, batch_shape, draw, integers, key, seed, spread, dtype,
            {**TOLERANCES, **(tolerances or {})},
        )  # fmt: skip
        for name, law in LAWS.items():
            start = time.process_time()
            outcome = "skipped" if name in skip else _hold(case, name, law)
            outcomes.append(Outcome(name, outcome, time.process_time() - start))
    return Report(cell.name, tuple(outcomes))


class _Broken(Exception):  # noqa: N818
    """What a law found."""


class _NotMeant(Exception):  # noqa: N818
    """Why a law does not apply."""


def _hold(case: _Case, name: str, law: Law) -> str:
    """Runs one law; gives its outcome, or raises AssertionError."""
    try:
        law.check(case)
    except _NotMeant as reason:
        return str(reason)
    except Exception as error:
        found = str(error) if isinstance(error, _Broken) else f"{type(error).__name__}: {error}"
        raise AssertionError(
            f'{case.cell.name} breaks "{name}" ({law.says}): {found}\nLikely cause: {law.cause}'
        ) from error
    return "holds"


# --- what is drawn once, and what several laws share ---------------------------------------------


_calls = Counter()


def _counting(step: Any, params: Params, state: State, x: PyTree) -> tuple[State, PyTree]:
    """A step whose calls are counted where it does not see it: what it sees must not change."""
    _calls["step"] += 1
    return step(params, state, x)


class _Case:
    """A cell with parameters, states and inputs, and the runs that several laws look at."""

    def __init__(
        self, cell: Cell, x_spec: PyTree, batch_shape: tuple[int, ...], draw: Any,
        integers: tuple[int, int], key: Array | None, seed: int, spread: float, dtype: str,
        tolerances: Mapping[str, float],
    ) -> None:  # fmt: skip
        self.cell = cell
        self.counted = dataclasses.replace(cell, step=functools.partial(_counting, cell.step))
        self.spec = jax.tree.map(
            lambda s: jax.ShapeDtypeStruct(s.shape, dtype if is_floating(s) else s.dtype),
            as_spec(x_spec),
        )
        self.batch_shape, self.rows = batch_shape, math.prod(batch_shape)
        self.draw, self.integers, self.seed, self.spread = draw, integers, seed, spread
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
            if not _inexact(leaf):
                return leaf
            return jnp.asarray(leaf + rng.normal(0, self.spread, leaf.shape).astype(leaf.dtype))

        init = jax.jit(lambda key: self.cell.init(key, self.spec))
        return jax.tree.map(move, _host(init(jax.random.key(self.seed))))

    def inputs(self, shape: tuple[int, ...], seed: int) -> PyTree:
        """Inputs with leading axes `shape`, NumPy's: each operation on JAX's is a compilation."""
        rng = np.random.default_rng((self.seed, seed))

        def leaf(spec: jax.ShapeDtypeStruct) -> np.ndarray:
            size = (*shape, *spec.shape)
            if spec.dtype == bool:
                return rng.random(size) < 0.5
            if jnp.issubdtype(spec.dtype, jnp.integer):
                return rng.integers(*self.integers, size)
            return rng.normal(0, 1, size)

        drawn = jax.tree.map(leaf, self.spec) if self.draw is None else self.draw(rng, shape)
        return jax.tree.map(lambda x, spec: np.asarray(x, spec.dtype), drawn, self.spec)

    @functools.cached_property
    def xs(self) -> PyTree:
        """Inputs [T, rows, ...]."""
        return self.inputs((T, self.rows), 1)

    def at(self, t: int) -> PyTree:
        """The inputs of step t."""
        return _at(self.xs, t)

    @functools.cached_property
    def noisy(self) -> bool:
        """Whether the state holds keys."""
        return any(map(is_key, jax.tree.leaves(self.fresh)))

    def initial(self, batch: tuple[int, ...], *, keyed: bool = True) -> State:
        """The initial state, with noise or without."""
        return self.cell.initial_state(self.params, batch, key=self.key if keyed else None)

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
        return _loop(self.step, self.params, self.state, self.xs)

    def everywhere(self) -> dict[str, Any]:
        """The options of a run where every step is real and none restarts."""
        shape = (T, self.rows)
        return {"mask": np.ones(shape, bool), "resets": np.zeros(shape, bool)}

    @functools.cached_property
    def reference(self) -> _Run:
        """Plain `lax.scan` and autodiff."""
        return self.by_rows(self.state, **self.everywhere())

    @functools.cached_property
    def whole(self) -> _Run:
        """`rnnjax.unroll` without any option, and its gradients."""
        return self.run(self.params, self.state, self.xs)

    @functools.cached_property
    def restarted(self) -> tuple[_Run, _Run]:
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
    ) -> _Run:
        """Each row's real steps alone, by plain `lax.scan` and autodiff."""
        packed = np.argsort(~mask, axis=0, kind="stable")
        return self.plain(
            self.params, state, self.xs, mask=mask, resets=resets, packed=packed,
            unpacked=np.argsort(packed, axis=0), key=self.key if keyed else None,
        )  # fmt: skip

    def same(self, got: PyTree, want: PyTree, what: str = "", axes: str = "") -> None:
        """Raises unless two trees are the same, naming the leaf and the place."""
        for where, a, b in _pairs(what, got, want):
            _same(where, a, b, axes, self.tolerances)

    def same_run(self, got: tuple[State, PyTree], want: tuple[State, PyTree]) -> None:
        """Raises unless two results (final state, ys) are the same."""
        self.same(got[1], want[1], "y", "t row")
        self.same(got[0], want[0], "the final state", "row")

    def same_gradients(self, got: tuple, want: tuple) -> None:
        """Raises unless the gradients for params, state and xs are the same."""
        for what, axes, a, b in zip(_INPUTS, ("", "row", "t row"), got, want, strict=True):
            self.same(a, b, f"the gradient for {what}", axes)


_Run = tuple[Array, tuple, tuple]  # loss, (final state, ys), gradients for params, state and xs
_INPUTS = ("params", "state", "xs")


def _pairs(what: str, got: PyTree, want: PyTree) -> Iterator[tuple[str, Any, Any]]:
    """The leaves of two trees, which must be alike, side by side with their name."""
    if jax.tree.structure(got) != jax.tree.structure(want):
        raise _Broken(f"{what}: got {_tree(got)}, expected {_tree(want)}")
    for (path, a), b in zip(jax.tree.leaves_with_path(got), jax.tree.leaves(want), strict=True):
        yield what + jax.tree_util.keystr(path), a, b


def _host(tree: PyTree) -> PyTree:
    """The tree as NumPy's arrays, except for its keys."""
    return jax.tree.map(lambda leaf: leaf if is_key(leaf) else np.asarray(leaf), tree)


def _at(tree: PyTree, index: Any) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index], _host(tree))


def _joined(join: str, trees: list[PyTree]) -> PyTree:
    """The trees' leaves put together along axis 0, by `np.stack` or `np.concatenate`."""

    def leaf(*parts: Any) -> Any:
        return getattr(jnp if is_key(parts[0]) else np, join)(parts)

    return jax.tree.map(leaf, *map(_host, trees))


def _inexact(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def _tree(tree: PyTree) -> str:
    leaves = [f"{jax.tree_util.keystr(path)}" for path, _ in jax.tree.leaves_with_path(tree)]
    return f"{type(tree).__name__} with leaves {', '.join(leaves)}" if leaves else repr(tree)


def _same(what: str, got: Any, want: Any, axes: str, tolerances: Mapping[str, float]) -> None:
    if jnp.shape(got) != jnp.shape(want):
        raise _Broken(f"{what} has shape {list(jnp.shape(got))}, expected {list(jnp.shape(want))}")
    got, want = (jax.random.key_data(x) if is_key(x) else x for x in (got, want))
    tolerance = 0.0
    if _inexact(want):
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
        raise _Broken(
            f"{what} at {', '.join(place) or 'the scalar'}: got {got[index]!s}, expected "
            f"{want[index]!s} (tolerance {bound:.1e}; {len(bad)} of {off.size} differ)"
        )


def _loop(step: Callable, params: Params, state: State, xs: PyTree) -> tuple[State, PyTree]:
    ys = []
    for t in range(T):
        state, y = step(params, state, _at(xs, t))
        ys.append(y)
    return state, _joined("stack", ys)


def _alone(
    cell: Cell, params: Params, state: State, xs: PyTree, *, mask: Array, resets: Array,
    packed: Array, unpacked: Array, key: Any,
) -> tuple[State, PyTree]:  # fmt: skip
    """Each row by its real steps alone, without `unroll`: packed to the front, then put back."""
    rows = np.arange(mask.shape[1])
    fresh = cell.initial_state(params, (), key=key)

    def body(state: State, inputs: PyTree) -> tuple[State, PyTree]:
        x, restart = inputs
        everywhere = jax.tree.map(lambda f, s: jnp.broadcast_to(f, s.shape), fresh, state)
        state, y = cell.step(params, select_rows(restart, everywhere, state), x)
        return state, (state, y)

    inputs = jax.tree.map(lambda x: x[packed, rows], (xs, resets))
    _, (states, ys) = jax.lax.scan(body, state, inputs, T)
    count = mask.sum(0)
    final = jax.tree.map(lambda s: s[jnp.maximum(count, 1) - 1, rows], states)
    ys = jax.tree.map(lambda y: y[unpacked, rows], ys)
    zeros = jax.tree.map(jnp.zeros_like, ys)
    return select_rows(count > 0, final, state), select_rows(mask, ys, zeros)


def _differentiated(
    run: Callable, params: Params, state: State, xs: PyTree, **options: Any
) -> _Run:
    """A weighted sum of what a run gives, that, and the gradients of the sum."""
    leaves, tree = jax.tree.flatten((params, state, xs))
    moves = list(map(_inexact, leaves))

    def loss(moving: list) -> tuple[Array, tuple]:
        values = iter(moving)
        both = [next(values) if m else leaf for m, leaf in zip(moves, leaves, strict=True)]
        result = run(*tree.unflatten(both), **options)
        total = jnp.zeros((), float)
        for leaf in jax.tree.leaves(result):
            if _inexact(leaf):
                weights = np.cos(np.arange(leaf.size)).reshape(leaf.shape) + 0.1
                total += (weights.astype(leaf.dtype) * leaf).real.sum().astype(float)
        return total, result

    moving = [leaf for m, leaf in zip(moves, leaves, strict=True) if m]
    (value, result), gradients = jax.value_and_grad(loss, has_aux=True)(moving)
    found = iter(gradients)
    return value, result, tree.unflatten([next(found) if m else None for m in moves])


# --- the laws ------------------------------------------------------------------------------------


def _shapes(case: _Case) -> None:
    """Every leaf of state and y is [*B, ...], for any number of batch axes."""

    def sizes(batch: tuple[int, ...]) -> tuple[PyTree, PyTree]:
        state = jax.eval_shape(lambda: case.cell.initial_state(params, batch, key=case.key))
        x = jax.tree.map(lambda s: jax.ShapeDtypeStruct((*batch, *s.shape), s.dtype), case.spec)
        return state, jax.eval_shape(case.cell.step, params, state, x)[1]

    params = case.params
    one = sizes(())
    for batch in {(), (3,), case.batch_shape, (3, *case.batch_shape)}:
        for what, many, single in zip(("state", "y"), sizes(batch), one, strict=True):
            for where, a, b in _pairs(what, many, single):
                if (a.shape, a.dtype) != ((*batch, *b.shape), b.dtype):
                    raise _Broken(
                        f"{where} has shape {list(a.shape)} and dtype {a.dtype} for batch "
                        f"{list(batch)}, expected {[*batch, *b.shape]} and {b.dtype}"
                    )


def _carry(case: _Case) -> None:
    """A step changes nothing of the state's type."""
    for keyed in (True, False):
        state = case.initial((case.rows,), keyed=keyed)
        after, _ = jax.eval_shape(case.cell.step, case.params, state, case.at(0))
        _same_types(state, after)


def _same_types(before: State, after: State) -> None:
    for where, new, old in _pairs("state", after, before):
        if (new.shape, new.dtype) != (old.shape, old.dtype):
            raise _Broken(
                f"{where} is {old.dtype}{list(old.shape)} before a step and "
                f"{new.dtype}{list(new.shape)} after it"
            )


def _key_tree(case: _Case) -> None:
    """The state has one tree with and without a key; key leaves are [*B, 1] and [*B, 0]."""
    with_key, without = (case.initial((case.rows,), keyed=keyed) for keyed in (True, False))
    for where, a, b in _pairs("state", with_key, without):
        if not is_key(a):
            _same(where, a, b, "row", case.tolerances)
        elif (a.shape, b.shape) != ((case.rows, 1), (case.rows, 0)):
            raise _Broken(
                f"{where} holds keys of shapes {list(a.shape)} with a key and {list(b.shape)} "
                f"without, expected [{case.rows}, 1] and [{case.rows}, 0]: use noise_keys"
            )


def _pure(case: _Case) -> None:
    """A step gives the same bits each time, eager as under jit."""
    x = jax.tree.map(jnp.asarray, case.at(0))
    first, again = (case.cell.step(case.params, case.state, x) for _ in range(2))
    jitted = case.step(case.params, case.state, case.at(0))
    for part, a, b, c in zip(("state", "y"), first, again, jitted, strict=True):
        for where, new, old in _pairs(part, b, a):
            _same(f"{where}, called again,", new, old, "row", {})
        case.same(c, a, f"{part} under jit", "row")


def _rows(case: _Case) -> None:
    """A row alone gives what it gives in a batch."""
    state = case.state
    for t in range(2):
        before, (state, y) = state, case.step(case.params, state, case.at(t))
        for row in range(case.rows):
            alone = case.step(case.params, *_at((before, case.at(t)), row))
            for what, whole, one in zip(("state", "y"), (state, y), alone, strict=True):
                for where, a, b in _pairs(what, _at(whole, row), one):
                    _same(f"{where} at t = {t}, row = {row},", a, b, "", case.tolerances)


def _vmap(case: _Case) -> None:
    """Mapped over rows, and with two batch axes, a step gives what it gives for one batch axis."""
    want = case.step(case.params, case.state, case.at(0))
    mapped = jax.jit(jax.vmap(case.cell.step, in_axes=(None, 0, 0)))
    case.same(mapped(case.params, case.state, case.at(0)), want, "(state, y) under vmap", "row")

    def shaped(a: Array) -> Array:
        return a.reshape(*case.batch_shape, *a.shape[1:])

    got = case.step(case.params, *jax.tree.map(shaped, (case.state, case.at(0))))
    what = f"(state, y) for batch {list(case.batch_shape)}"
    case.same(got, jax.tree.map(shaped, want), what, " ".join(["row"] * len(case.batch_shape)))


def _declared(case: _Case) -> None:
    """`output_of` gives y from the new state, bit for bit; `recurrent` names fields of params."""
    state, y = case.step(case.params, case.state, case.at(0))
    if case.cell.output_of is not None:
        for where, a, b in _pairs("output_of(state)", case.cell.output_of(state), y):
            _same(where, a, b, "row", {})
    try:
        change_recurrent(case.cell, case.params, lambda _, w: w)
    except TypeError as error:
        raise _Broken(str(error)) from None


def _compiled(case: _Case) -> None:
    """A loop of steps, `rnnjax.unroll` and plain `lax.scan` give the same."""
    case.same_run(case.looped, case.reference[1])
    case.same_run(case.whole[1], case.reference[1])


def _chunks(case: _Case) -> None:
    """A sequence in two pieces, the state carried, gives what it gives whole."""
    state, pieces = case.state, []
    for half in (slice(None, T // 2), slice(T // 2, None)):
        state, ys = unroll(case.counted, case.params, state, _at(case.xs, half), length=T // 2)
        pieces.append(ys)
    case.same_run((state, _joined("concatenate", pieces)), case.looped)


def _masked(case: _Case) -> None:
    """With padding a row gives what its real steps give alone; what padding holds never matters."""
    gaps = np.random.default_rng(case.seed).random((T, case.rows)) < 0.7
    gaps[:, 0] = True  # no padding; then none but padding
    lengths = np.full(case.rows, T - 1)
    lengths[:2] = T, 0
    mask = gaps & (np.arange(T)[:, None] < lengths)

    def dirty(x: np.ndarray, other: np.ndarray) -> np.ndarray:
        x = x.copy()
        x[~mask] = np.nan if is_floating(x) else other[~mask]
        return x

    xs = jax.tree.map(dirty, case.xs, case.inputs((T, case.rows), 2))
    resets = case.everywhere()["resets"]
    _, got, gradients = case.run(
        case.params, case.state, xs, lengths=lengths, mask=gaps, resets=resets
    )
    _, want, expected = case.by_rows(case.state, mask=mask, resets=resets)
    case.same_run(got, want)
    case.same_gradients(gradients, expected)


def _resets(case: _Case) -> None:
    """After a reset a row gives what it gives from the initial state, gradients too."""
    got, want = case.restarted
    case.same_run(got[1], want[1])
    case.same_gradients(got[2], want[2])


def _gradients(case: _Case) -> None:
    """Gradients are finite, and those of plain autodiff."""
    for what, tree in zip(_INPUTS, case.reference[2], strict=True):
        _finite(f"the gradient for {what}", tree)
    case.same_gradients(case.whole[2], case.reference[2])


def _finite(what: str, tree: PyTree) -> None:
    for path, leaf in jax.tree.leaves_with_path(tree):
        if (bad := np.argwhere(~np.isfinite(np.asarray(leaf)))).size:
            where = f"{what}{jax.tree_util.keystr(path)} at index {bad[0].tolist()}"
            raise _Broken(f"{where}: got {leaf[tuple(bad[0])]}, expected a finite number")


def _finite_differences(case: _Case) -> None:
    """Gradients are the slopes of the values: central differences, leaf by leaf, in float64."""
    if case.dtype != "float64":
        raise _NotMeant("needs float64")
    inputs, rng, h = (case.params, case.state, case.xs), np.random.default_rng(case.seed), 1e-6
    gradients = case.whole[2]
    leaves, tree = jax.tree.flatten(_host(inputs))
    places = {path: i for i, (path, _) in enumerate(jax.tree.leaves_with_path(inputs))}
    for path, gradient in jax.tree.leaves_with_path(_host(gradients)):
        i = places[path]
        if not gradient.size or jnp.finfo(gradient.dtype).bits < 64:
            continue
        along = rng.normal(0, 1, gradient.shape).astype(gradient.dtype)

        values = []
        for move in (h, -h):
            moved = [leaf + move * along if j == i else leaf for j, leaf in enumerate(leaves)]
            values.append(float(case.run(*tree.unflatten(moved))[0]))
        slope, got = (values[0] - values[1]) / (2 * h), float((gradient * along).sum().real)
        if not abs(got - slope) <= 1e-6 * max(1.0, abs(slope)):
            where = _INPUTS[path[0].idx] + jax.tree_util.keystr(path[1:])
            raise _Broken(
                f"the gradient for {where}, in one direction: got {got}, expected {slope}"
            )


def _live(case: _Case) -> None:
    """Every parameter has a part in what comes out: no gradient is all zero."""
    plain, restarted = case.whole[2][0], case.restarted[0][2][0]
    for where, a, b in _pairs("params", plain, restarted):
        if a.size and not (np.asarray(a).any() or np.asarray(b).any()):
            raise _Broken(
                f"the gradient for {where} is all zero over {T} steps with resets, expected some "
                "that is not"
            )


def _fill(case: _Case) -> None:
    """Gradients are finite where x is `cell.fill` (zero, unless declared) in the initial state."""
    fill = jax.tree.broadcast(case.cell.fill, case.xs)
    xs = jax.tree.map(lambda x, f: np.full_like(x, f) if is_floating(x) else x, case.xs, fill)
    gradients = case.run(case.params, case.fresh, xs)[2]
    for what, tree in zip(_INPUTS, gradients, strict=True):
        _finite(f"the gradient for {what}", tree)


def _noise(case: _Case) -> None:
    """The same key gives the same noise, another key another; evaluation has none."""
    if not case.noisy:
        raise _NotMeant("no noise")
    case.same(case.initial((case.rows,)), case.fresh, "the initial state, drawn again,", "row")
    key = jax.random.fold_in(case.key, 1)
    drawn = case.cell.initial_state(case.params, (case.rows,), key=key)
    for how, other in ((" after rekey", rekey(case.cell, case.fresh, key)), ("", drawn)):
        for where, a, b in _pairs("state", case.fresh, other):
            if not is_key(a):
                continue
            data, others = (np.asarray(jax.random.key_data(keys)) for keys in (a, b))
            if (same := (data == others).all((-2, -1))).any():
                row = int(np.argmax(same))
                raise _Broken(f"{where} at row = {row}: another key gives the same noise{how}")


def _buffers(case: _Case) -> None:
    """Each leaf of an initial state owns its buffer, so that a state can be donated."""
    for batch in ((), (case.rows,)):
        state, owners = case.initial(batch), {}
        for what, tree in (("params", case.params), ("state", state)):
            for path, leaf in jax.tree.leaves_with_path(tree):
                if is_key(leaf) or not isinstance(leaf, jax.Array) or not leaf.size:
                    continue
                where, pointer = what + jax.tree_util.keystr(path), leaf.unsafe_buffer_pointer()
                if what == "state" and pointer in owners:
                    raise _Broken(f"{where} shares its buffer with {owners[pointer]}")
                owners[pointer] = where
    jax.jit(case.cell.step, donate_argnums=1)(case.params, case.initial((case.rows,)), case.at(0))


def _retrace(case: _Case) -> None:
    """A second call with the same shapes does not call `step` again, jitted or in `unroll`."""
    step, fresh = jax.jit(lambda *args: case.counted.step(*args)), case.initial((case.rows,))
    step.trace(case.params, fresh, case.at(0))
    state, _ = case.step(case.params, fresh, case.at(0))
    before = _calls["step"]
    step.trace(case.params, state, case.at(1))
    if _calls["step"] != before:
        kinds = [
            f"state{jax.tree_util.keystr(path)} is weakly typed"
            for path, leaf in jax.tree.leaves_with_path(fresh)
            if jax.typeof(leaf).weak_type
        ]
        raise _Broken(f"the second jitted step traced again: {', '.join(kinds) or 'types changed'}")
    for seed in (3, 4):
        before = _calls["step"]
        unroll(
            case.counted, case.params, state, case.inputs((T // 2, case.rows), seed), length=T // 2
        )
    if _calls["step"] != before:
        raise _Broken("a second unroll of the same shapes called step again")


def _bfloat16(case: _Case) -> None:
    """With bfloat16 params and x the state keeps its type, and y is close to that of more bits."""

    def narrow(tree: PyTree) -> PyTree:
        return map_floats(lambda a: a.astype(jnp.bfloat16), tree)

    def widen(tree: PyTree) -> PyTree:
        return map_floats(lambda a: a.astype(case.dtype), _host(tree))

    params, xs = jax.tree.map(jnp.asarray, narrow(_host(case.params))), narrow(case.xs)
    state = case.cell.initial_state(params, (case.rows,), key=case.key)
    _same_types(state, case.step(params, state, _at(xs, 0))[0])
    _, ys = _loop(case.step, params, state, xs)
    _, want = _loop(case.step, widen(params), case.fresh, widen(xs))
    # The bits that are missing are in the parameters and inputs too, whatever the dtype of y.
    case.same(narrow(ys), narrow(want), "y in bfloat16", "t row")


def _value(case: _Case) -> None:
    """A cell is a value: hashable, equal to its copy, and to what it is after pickling."""
    cell = case.cell
    if hash(dataclasses.replace(cell)) != hash(dataclasses.replace(cell)):
        raise _Broken("two copies of the cell have two hashes")
    if dataclasses.replace(cell) != dataclasses.replace(cell):
        raise _Broken("two copies of the cell are not equal")
    if cell._recipe is None:
        return  # made by hand, perhaps of lambdas, which do not pickle
    again = pickle.loads(pickle.dumps(cell))
    if again != cell or hash(again) != hash(cell):
        raise _Broken("the cell is not equal to what it is after pickling")


@dataclasses.dataclass(frozen=True)
class Law:
    """A law of the contract.

    Attributes:
      check: the function that raises where it is broken.
      cause: what is usually wrong then.
    """

    check: Callable[[_Case], None]
    cause: str

    @property
    def says(self) -> str:
        """The law in words."""
        doc = self.check.__doc__ or ""
        return (doc[0].lower() + doc[1:]).rstrip(".") if doc else ""


LAWS: dict[str, Law] = {
    "shapes": Law(
        _shapes,
        "an axis is counted from the front (axis=0, x.shape[0]): count from the back (axis=-1), "
        "and make every leaf of the initial state with shape (*batch_shape, ...).",
    ),
    "stable carry": Law(
        _carry,
        "the initial state has a dtype of its own: give it that of the parameters, and convert x "
        "to that dtype in the step.",
    ),
    "key tree": Law(
        _key_tree,
        "the state is another without a key; keep the leaf, noise_keys(key, batch_shape) makes it.",
    ),
    "pure": Law(
        _pure,
        "the step reads or changes something outside its arguments (a counter, a global key, "
        "NumPy's random numbers), or branches on values.",
    ),
    "rows independent": Law(
        _rows,
        "the step mixes rows: a mean, a norm or a random draw over the batch axes.",
    ),
    "vmap": Law(_vmap, "an axis is counted from the front, or the step reshapes batch axes."),
    "declared": Law(
        _declared, "output_of is not how y comes from the new state; declare None if it does not."
    ),
    "compiled": Law(
        _compiled,
        "the step is not a pure function of (params, state, x), or its gradient is custom.",
    ),
    "chunks": Law(_chunks, "something that lasts from step to step is not in the state."),
    "masked": Law(
        _masked,
        "the step has no finite derivative at the input of padding (declare Cell.fill), or the "
        "initial state differs from row to row.",
    ),
    "resets": Law(
        _resets,
        "initial_state(params, batch_shape) is not initial_state(params, ()) for each row.",
    ),
    "gradients": Law(_gradients, "the derivative is infinite somewhere (sqrt, norm or log at 0)."),
    "finite differences": Law(
        _finite_differences,
        "a custom derivative is wrong, or a stop_gradient, a rounding or a clipped gradient is "
        'meant: skip=["finite differences"].',
    ),
    "no dead parameter": Law(
        _live,
        "init draws a parameter that step and initial_state do not use, or cut off with "
        "stop_gradient; constants belong outside the parameters.",
    ),
    "fill": Law(
        _fill,
        "the step has no finite derivative there (sqrt, norm, division at 0): declare a Cell.fill "
        "where it has.",
    ),
    "noise": Law(_noise, "the noise does not come from the key that initial_state is given."),
    "buffers": Law(
        _buffers,
        "one array is used for two leaves, or a parameter is returned as state: make zeros for "
        "each leaf, copy a learned state with jnp.array(..., copy=True).",
    ),
    "no retrace": Law(
        _retrace,
        "a leaf of the initial state is weakly typed, as in jnp.full((), 0.0): give it a dtype.",
    ),
    "bfloat16": Law(
        _bfloat16,
        "the step computes in the dtype of x or in a fixed one: convert x to the parameters'.",
    ),
    "value": Law(
        _value, "the factory is not at module level, or is not decorated with @rnnjax.cell_factory."
    ),
}
