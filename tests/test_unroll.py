"""What must hold of `unroll`: relations between runs, in float64, values and gradients.

The reference of most tests is `alone`: each row by itself, a Python loop over its real steps that
calls `cell.step` and, backwards, its vector-Jacobian product. It has no padding and no masks.
"""

import collections
import functools
import itertools
import math
import pathlib
from time import perf_counter

import cases
import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import CELLS, FEW
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_bitwise, assert_close, is_key, numpy

import rnnjax
from rnnjax._cell import joined, parted

pytestmark = pytest.mark.usefixtures("x64")
QUICK = ("lstm", "language-model")
# A tuple and no noise, then tokens, noise and states within states; the others in the long version.
few = pytest.mark.parametrize(
    "name",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in FEW],
)
# Both directions, each over two of the four.
few_each_way = pytest.mark.parametrize(
    ("name", "reverse"),
    [
        pytest.param(n, reverse, marks=[] if (i % 2 == 1) == reverse else pytest.mark.slow)
        for i, n in enumerate(FEW)
        for reverse in (False, True)
    ],
)
KEY = jax.random.key(3)
T, B = 5, 4
LENGTHS = np.array([T, 0, 2, 4])
MASK = np.array([[1, 1, 0, 0, 1], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1], [1, 1, 1, 1, 0]], bool).T
RESETS = np.array([[0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [1, 0, 1, 0, 1], [0, 0, 0, 1, 1]], bool).T


def setup(name, batch=(B,), time=T, key=None):
    params = cases.parameters(name)
    return (
        CELLS[name][0],
        params,
        cases.state(name, params, batch, key),
        np.asarray(cases.inputs(name, (time, *batch))),
    )


def is_float(leaf):
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def split(tree):
    """The float leaves, by place, and a function that puts such leaves back."""
    leaves, structure = jax.tree.flatten(tree)
    places = [i for i, leaf in enumerate(leaves) if is_float(leaf)]

    def put(values):
        new = list(leaves)
        for i, value in zip(places, values, strict=True):
            new[i] = value
        return structure.unflatten(new)

    return [leaves[i] for i in places], put


def weights_like(leaf):
    """Fixed weights for a loss: all different, none zero."""
    return np.cos(np.arange(leaf.size)).reshape(leaf.shape) + 0.1


def weigh(result):
    return sum((leaf * weights_like(leaf)).sum() for leaf in split(result)[0])


@functools.partial(jax.jit, static_argnames=("cell", "reverse", "time_axis"))
def differentiated(cell, params, state, xs, options, reverse=False, time_axis=0):
    values, put = split((params, state, xs))

    def loss(values):
        result = rnnjax.unroll(cell, *put(values), **options, reverse=reverse, time_axis=time_axis)
        return weigh(result), result

    return jax.grad(loss, has_aux=True)(values)


def run(cell, params, state, xs, *, reverse=False, time_axis=0, **options):
    """((state, ys), gradients of a weighted sum of them for params, state and xs)."""
    gradients, result = differentiated(cell, params, state, xs, options, reverse, time_axis)
    return result, gradients


# --- each row alone ------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames="cell")
def one_step(cell, params, state, x):
    return cell.step(params, state, x)


def alone(cell, params, state, xs, **options):
    """What `run` returns, from loops over rows and their real steps."""
    fresh, _ = parted(cell.initial_state(params))

    def place(tree, index):
        return jax.tree.map(lambda a: a[index], numpy(tree))

    batch = xs.shape[1 : xs.ndim - cell.x_ndims]
    rows = list(np.ndindex(*batch))
    states = [place(state, row) for row in rows]
    inputs = {
        (t, row): xs[(t, *row)] for row in rows for t, _ in oracles.visits(row, len(xs), **options)
    }
    values, put = split((params, states, inputs))
    y = jax.eval_shape(functools.partial(cell.step, params), states[0], xs[(0, *rows[0])])[1]
    ys = np.zeros((len(xs), *batch, *y.shape))
    w_final, w_ys = [weights_like(leaf) for leaf in split(state)[0]], weights_like(ys)

    def loss(values):
        params, states, inputs = put(values)
        total, finals, outputs = jnp.zeros(()), [], {}
        for row, s in zip(rows, states, strict=True):
            for t, restart in oracles.visits(row, len(xs), **options):
                s = joined(fresh, parted(s)[1]) if restart else s
                s, y = one_step(cell, params, s, inputs[t, row])
                outputs[t, row] = y
                total += (y * w_ys[(t, *row)]).sum()
            for leaf, w in zip(split(s)[0], w_final, strict=True):
                total += (leaf * w[row]).sum()
            finals.append(s)
        return total, (finals, outputs)

    gradients, (finals, outputs) = jax.grad(loss, has_aux=True)(values)
    grads = put(gradients)
    for (t, row), value in outputs.items():
        ys[(t, *row)] = value

    def together(*parts):
        whole = (jnp if is_key(parts[0]) else np).stack(parts)
        return whole.reshape((*batch, *parts[0].shape))

    final = jax.tree.map(together, *finals)
    bars = jax.tree.map(lambda a: np.zeros(a.shape), split((state, xs))[0])
    n = len(split(state)[0])
    for row, s in zip(rows, grads[1], strict=True):
        for whole, part in zip(bars[:n], split(s)[0], strict=True):
            whole[row] = part
    for (t, row), x in grads[2].items():
        for whole in bars[n:]:
            whole[(t, *row)] = x
    return (final, ys), [*split(grads[0])[0], *bars]


OPTIONS = {
    "lengths": {"lengths": LENGTHS},
    "gaps": {"mask": MASK},
    "mask-and-lengths": {"mask": MASK, "lengths": LENGTHS},
    "resets": {"resets": RESETS},
    "reverse": {"lengths": LENGTHS, "reverse": True},
    "everything": {"mask": MASK, "lengths": LENGTHS, "resets": RESETS},
    # Row 1 begins with padding, and its first real step is a reset: nothing precedes it.
    "gaps-reversed": {"mask": MASK, "resets": RESETS, "reverse": True},
    "everything-reversed": {
        "mask": MASK,
        "lengths": LENGTHS,
        "resets": RESETS,
        "reverse": True,
    },
}


@pytest.mark.parametrize(("name", "options"), [
    pytest.param(
        name, options,
        marks=[] if name == "lstm" or options.startswith("everything") else pytest.mark.slow,
    )
    for name in QUICK for options in OPTIONS
])  # fmt: skip
def test_padded_equals_alone(name, options):
    args = setup(name)
    assert_close(run(*args, **OPTIONS[options]), alone(*args, **OPTIONS[options]))


@pytest.mark.slow  # a law of the kit, too
@pytest.mark.parametrize("name", [name for name in CELLS if name not in ("lstm", "language-model")])
def test_padded_equals_alone_for_the_other_cells(name):
    args = setup(name)
    assert_close(run(*args, **OPTIONS["everything"]), alone(*args, **OPTIONS["everything"]))


@st.composite
def compositions(draw):
    """A cell, a batch shape, T, and any of the options."""
    batch = draw(st.sampled_from([(), (3,), (2, 2)]))
    time = draw(st.sampled_from([1, 4]))

    def array(elements, *shape):
        size = math.prod(shape)
        return np.array(draw(st.lists(elements, min_size=size, max_size=size))).reshape(shape)

    options = {"reverse": draw(st.booleans())}
    if draw(st.booleans()):
        options["lengths"] = array(st.integers(0, time), *batch)
    for option in ("mask", "resets"):
        if draw(st.booleans()):
            options[option] = array(st.booleans(), time, *batch)
    given_state, time_axis = draw(st.booleans()), draw(st.integers(0, len(batch)))
    return draw(st.sampled_from(FEW)), batch, time, options, given_state, time_axis


@given(compositions())
@settings(max_examples=40)
def test_any_composition_equals_each_row_alone(composition):
    equals_each_row_alone(composition)


@pytest.mark.slow
def test_two_thousand_compositions_equal_each_row_alone():
    """Leaves a log, which is committed."""
    seen = collections.Counter()

    @given(compositions())
    @settings(max_examples=2000)
    def run_all(composition):
        name, batch, steps, options, given_state, time_axis = composition
        seen.update(["compositions", name, f"batch {batch}", f"T = {steps}", *options])
        seen.update([f"time axis {time_axis}", f"state given: {given_state}"])
        if seen["compositions"] % 100 == 0:
            jax.clear_caches()  # two thousand executables do not fit in memory
        equals_each_row_alone(composition)

    start = perf_counter()
    run_all()
    log = pathlib.Path(__file__).parent / "logs" / "compositions.log"
    log.parent.mkdir(exist_ok=True)
    lines = [
        "unroll equals each row alone on its real steps, values and gradients, float64, 1e-10",
        f"time: {perf_counter() - start:.0f} s; jax {jax.__version__}",
        *(f"{count:6} {what}" for what, count in sorted(seen.items())),
    ]
    log.write_text("\n".join(lines) + "\n", encoding="utf-8")


def equals_each_row_alone(composition):
    name, batch, time, options, given_state, time_axis = composition
    cell, params, state, xs = setup(name, batch, time)
    state = state if given_state else cell.initial_state(params, batch)
    (final, ys), gradients = alone(cell, params, state, xs, **options)

    def move(a):
        return np.moveaxis(a, 0, time_axis)

    flags = {o: move(options[o]) for o in ("mask", "resets") if o in options}
    result, got = run(cell, params, state, move(xs), **{**options, **flags}, time_axis=time_axis)
    assert_close(result[0], final)
    assert_close(result[1], move(ys))
    if time_axis == 0:  # otherwise the weights of the loss lie elsewhere
        assert_close(got, gradients)


# --- single rules --------------------------------------------------------------------------------


@few
def test_length_zero_passes_the_state_and_its_gradient_through(name):
    cell, params, state, xs = setup(name)
    (final, ys), gradients = run(cell, params, state, xs, lengths=np.zeros(B, int))
    assert_bitwise(final, state)
    assert not ys.any()
    n, m = len(split(params)[0]), len(split(state)[0])
    assert not any(g.any() for g in [*gradients[:n], *gradients[n + m :]])
    assert_bitwise(gradients[n : n + m], [weights_like(leaf) for leaf in split(state)[0]])


@few_each_way
@pytest.mark.optimised
def test_content_of_padding_never_matters(name, reverse):
    cell, params, state, xs = setup(name, key=KEY)
    options = {"lengths": LENGTHS, "mask": MASK, "resets": RESETS, "reverse": reverse}
    valid = MASK & (np.arange(T)[:, None] < LENGTHS)

    def pad(value):
        return np.where(valid.reshape(T, B, *(1,) * (xs.ndim - 2)), xs, value)

    # Tokens have no NaN: the worst they can be is outside the vocabulary.
    values = [0, 1e30, np.inf, -np.inf, np.nan] if is_float(xs) else [0, 10**9, -1]
    want = run(cell, params, state, pad(values[0]), **options)
    assert all(np.isfinite(a).all() for a in split(want)[0])
    for value in values[1:]:
        assert_bitwise(run(cell, params, state, pad(value), **options), want)


def root(safe):
    """A cell whose step has no finite derivative at zero input."""
    return rnnjax.Cell(
        name="root",
        init=lambda key, x_spec: jnp.ones(()),
        initial_state=lambda params, batch=(), *, key=None: jnp.zeros(batch),
        step=lambda w, s, x: ((s := s + jnp.sqrt(w * x)), s),
        x_ndims=0,
        fill=safe,
    )


def test_fill_keeps_gradients_finite_where_zero_input_does_not():
    args = np.ones(()), np.zeros(2), np.ones((3, 2))
    _, gradients = run(root(0.0), *args, lengths=np.array([1, 3]))
    assert all(np.isfinite(g).all() for g in gradients)  # padding repeats a real input
    _, gradients = run(root(1.0), *args, lengths=np.array([0, 3]))
    assert all(np.isfinite(g).all() for g in gradients)
    _, gradients = run(root(0.0), *args, lengths=np.array([0, 3]))
    assert np.isnan(gradients[0])  # so the declaration is what helps


@few
def test_a_reset_is_a_restart_and_no_nan_survives_it(name):
    cell, params, state, xs = setup(name)
    resets = np.zeros((T, B), bool)
    resets[2] = True
    result = rnnjax.unroll(cell, params, state, xs, resets=resets)
    want, ys = rnnjax.unroll(cell, params, None, xs[2:])
    assert_close((result[0], result[1][2:]), (want, ys))

    carried, held = parted(state)
    values, put = split(carried)
    broken = joined(put([np.full_like(leaf, np.nan) for leaf in values]), held)
    first = np.roll(resets, -2, axis=0)
    assert_bitwise(
        rnnjax.unroll(cell, params, broken, xs, resets=first),
        rnnjax.unroll(cell, params, state, xs, resets=first),
    )


def test_a_learnable_initial_state_gets_its_gradient():
    plain = rnnjax.gru(3)
    cell = rnnjax.Cell(
        name="gru that learns its start",
        init=lambda key, spec: (plain.init(key, spec), jnp.zeros(3)),
        initial_state=lambda params, batch=(), *, key=None: jnp.broadcast_to(
            params[1], (*batch, 3)
        ),
        step=lambda params, h, x: plain.step(params[0], h, x),
    )
    params = plain.init(KEY, cases.D), jnp.array([0.5, -1.0, 2.0])
    xs = np.asarray(cases.inputs("lstm", (T, B)))

    def by_hand(start):
        total = 0.0
        for row in range(B):
            s = start
            for t, restart in oracles.visits((row,), T, lengths=LENGTHS, resets=RESETS):
                s, y = one_step(plain, params[0], start if restart else s, xs[t, row])
                total += y.sum()
        return total

    def ours(start):
        p = params[0], start
        return rnnjax.unroll(cell, p, None, xs, lengths=LENGTHS, resets=RESETS)[1].sum()

    assert_close(jax.grad(ours)(params[1]), jax.grad(by_hand)(params[1]))


@few_each_way
def test_a_reset_on_padding_is_ignored(name, reverse):
    cell, params, state, xs = setup(name)
    kept = RESETS & MASK
    assert (kept != RESETS).any()
    assert_bitwise(
        *(
            rnnjax.unroll(cell, params, state, xs, mask=MASK, resets=r, reverse=reverse)
            for r in (RESETS, kept)
        )
    )


@few
def test_reverse_equals_reversing_each_rows_real_part_by_hand(name):
    cell, params, state, xs = setup(name)
    order = np.tile(np.arange(T)[:, None], B)
    for row, n in enumerate(LENGTHS):
        order[:n, row] = order[:n, row][::-1]

    def turn(a):
        return a[order, np.arange(B)]

    final, ys = rnnjax.unroll(cell, params, state, turn(xs), lengths=LENGTHS)
    assert_close(
        rnnjax.unroll(cell, params, state, xs, lengths=LENGTHS, reverse=True), (final, turn(ys))
    )


@few
def test_time_axis_1_equals_swapped(name):
    cell, params, state, xs = setup(name)

    def swap(a):
        return np.swapaxes(a, 0, 1)

    options = {"lengths": LENGTHS, "mask": MASK, "resets": RESETS}
    final, ys = rnnjax.unroll(cell, params, state, xs, **options)
    options |= {"mask": MASK.T, "resets": RESETS.T}
    got = rnnjax.unroll(cell, params, state, swap(xs), **options, time_axis=1)
    assert_bitwise(got, (final, swap(ys)))


@few_each_way
def test_no_steps(name, reverse):
    cell, params, state, xs = setup(name, key=KEY)
    options = {"lengths": np.zeros(B, int), "mask": MASK[:0], "resets": RESETS[:0]}
    (final, ys), gradients = run(cell, params, state, xs[:0], **options, reverse=reverse)
    assert_bitwise(final, state)
    assert ys.shape[:2] == (0, B)
    assert not any(g.any() for g in gradients[: len(split(params)[0])])


@few_each_way
@pytest.mark.parametrize("key", [None, KEY], ids=["evaluation", "training"])
def test_no_rows(name, reverse, key):
    cell, params, state, xs = setup(name, batch=(0,), key=key)
    flags = np.zeros((T, 0), bool)
    options = {"lengths": np.zeros(0, int), "mask": flags, "resets": flags}
    (final, ys), gradients = run(cell, params, state, xs, **options, reverse=reverse)
    assert jax.tree.map(jax.typeof, final) == jax.tree.map(jax.typeof, state)
    assert ys.shape[:2] == (T, 0)
    assert not any(g.any() for g in gradients)


@few
def test_no_state_equals_the_initial_state(name):
    cell, params, _, xs = setup(name)
    fresh = cell.initial_state(params, (B,))
    for lengths in (None, LENGTHS):
        assert_bitwise(
            *(rnnjax.unroll(cell, params, state, xs, lengths=lengths) for state in (None, fresh))
        )


@few
def test_chunks_equal_the_whole(name):
    cell, params, state, xs = setup(name, key=KEY)
    want = rnnjax.unroll(cell, params, state, xs, mask=MASK)
    parts = []
    for piece in (slice(0, 2), slice(2, 2), slice(2, 5)):
        state, ys = rnnjax.unroll(cell, params, state, xs[piece], mask=MASK[piece])
        parts.append(ys)
    assert_close((state, np.concatenate(parts)), want)


@few
def test_rows_are_independent(name):
    cell, params, state, xs = setup(name, key=KEY)
    options = {"mask": MASK, "resets": RESETS}
    want = rnnjax.unroll(cell, params, state, xs, **options)
    for row in range(B):
        one = slice(row, row + 1)
        part = {option: flags[:, one] for option, flags in options.items()}
        final, ys = rnnjax.unroll(
            cell, params, jax.tree.map(lambda a: a[one], state), xs[:, one], **part
        )
        assert_close(final, jax.tree.map(lambda a: a[one], want[0]))
        assert_close(ys, want[1][:, one])


@few
def test_vmap_equals_a_batch_axis(name):
    cell, params, state, xs = setup(name, key=KEY)
    options = {"lengths": LENGTHS, "mask": MASK, "resets": RESETS}
    want = rnnjax.unroll(cell, params, state, xs, **options)
    mapped = jax.vmap(
        lambda state, xs, lengths, mask, resets: rnnjax.unroll(
            cell, params, state, xs, lengths=lengths, mask=mask, resets=resets
        ),
        in_axes=(0, 1, 0, 1, 1),
        out_axes=(0, 1),
    )
    assert_close(mapped(state, xs, *map(jnp.asarray, options.values())), want)


def test_vmap_over_params_runs_an_ensemble():
    cell, params, state, xs = setup("lstm")
    both = jax.tree.map(lambda a: np.stack([a, 2 * np.asarray(a)]), params)
    got = jax.vmap(lambda p: rnnjax.unroll(cell, p, state, xs, lengths=LENGTHS))(both)
    for i in range(2):
        one = rnnjax.unroll(cell, jax.tree.map(lambda a: a[i], both), state, xs, lengths=LENGTHS)
        assert_close(jax.tree.map(lambda a: np.asarray(a)[i], got), one)


@few
def test_two_batch_axes_equal_one(name):
    cell, params, state, xs = setup(name)

    def fold(a, axis=0):
        return a.reshape(*a.shape[:axis], 2, 2, *a.shape[axis + 1 :])

    final, ys = rnnjax.unroll(cell, params, state, xs, lengths=LENGTHS, mask=MASK, resets=RESETS)
    got = rnnjax.unroll(
        cell, params, jax.tree.map(fold, state), fold(xs, 1), lengths=fold(LENGTHS),
        mask=fold(MASK, 1), resets=fold(RESETS, 1),
    )  # fmt: skip
    assert_close(got, (jax.tree.map(fold, final), fold(ys, 1)))


@few
def test_the_same_bits_each_time(name):
    args = setup(name, key=KEY)
    options = OPTIONS["everything-reversed"]
    assert_bitwise(run(*args, **options), run(*args, **options))


@few
def test_jit_equals_eager(name):
    cell, params, state, xs = setup(name, key=KEY)

    def run(*args):
        return rnnjax.unroll(cell, *args, mask=MASK, resets=RESETS)

    assert_close(jax.jit(run)(params, state, xs), run(params, state, xs))


def test_one_trace_for_each_shape():
    cell, params, _, _ = setup("lstm")

    @jax.jit
    @chex.assert_max_traces(n=2)
    def run(xs, lengths):
        return rnnjax.unroll(cell, params, None, xs, lengths=lengths)

    for time, seed in itertools.product((3, 5), (0, 1, 2)):
        xs = cases.inputs("lstm", (time, B), seed)
        run(xs, jnp.full(B, seed))


def test_a_gradient_reaches_nothing_through_a_traced_length():
    # Under jit a length outside [0, T] cannot raise: it acts as the nearest of the two.
    cell, params, state, xs = setup("lstm")
    run = jax.jit(lambda lengths: rnnjax.unroll(cell, params, state, xs, lengths=lengths))
    assert_bitwise(run(jnp.array([9, -3, 2, 4])), run(jnp.array([T, 0, 2, 4])))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64"])
def test_lengths_may_be_any_integers(dtype):
    cell, params, state, xs = setup("elman")
    got = rnnjax.unroll(cell, params, state, xs, lengths=LENGTHS.astype(dtype))
    assert_bitwise(got, rnnjax.unroll(cell, params, state, xs, lengths=list(map(int, LENGTHS))))


def test_long_sequences_of_narrow_lengths():
    cell = rnnjax.activation("identity")
    xs = jnp.ones((300, 1, 1))
    _, ys = rnnjax.unroll(cell, (), None, xs, lengths=np.array([255], np.uint8))
    assert ys.sum() == 255


@few
def test_loop_unroll_changes_nothing(name):
    args = setup(name)
    want = rnnjax.unroll(*args, lengths=LENGTHS)
    for loop_unroll in (2, T + 2):
        assert_close(rnnjax.unroll(*args, lengths=LENGTHS, loop_unroll=loop_unroll), want)


# --- inputs that are not one array ---------------------------------------------------------------


def pulse():
    """Takes no input: counts its steps."""
    return rnnjax.Cell(
        name="pulse",
        init=lambda key, x_spec: (),
        initial_state=lambda params, batch=(), *, key=None: jnp.zeros(batch),
        step=lambda params, n, x: (n + 1, n),
    )


def test_no_inputs():
    cell = pulse()
    state, ys = rnnjax.unroll(cell, (), None, None, length=3)
    assert (state, ys.tolist()) == (3, [0, 1, 2])
    state, ys = rnnjax.unroll(
        cell, (), jnp.array([0.0, 5.0]), None, length=3, lengths=np.array([3, 1])
    )
    assert (state.tolist(), ys.tolist()) == ([3, 6], [[0, 5], [1, 0], [2, 0]])


def test_inputs_may_be_a_tree():
    cell = rnnjax.Cell(
        name="decay",
        init=lambda key, x_spec: jnp.ones(x_spec[0].shape),
        initial_state=lambda params, batch=(), *, key=None: jnp.zeros((*batch, *params.shape)),
        step=lambda w, h, x: ((h := h * jnp.exp(-x[1])[..., None] + w * x[0]), h),
        x_ndims=(1, 0),
    )
    w = np.array([1.0, 2.0])
    rng = np.random.default_rng(3)
    x, dt = rng.normal(size=(T, B, 2)), rng.uniform(size=(T, B))
    valid = np.arange(T)[:, None] < LENGTHS
    dirty = np.where(valid[..., None], x, np.nan), np.where(valid, dt, np.inf)
    (final, ys), gradients = run(cell, w, np.zeros((B, 2)), dirty, lengths=LENGTHS)
    assert all(np.isfinite(g).all() for g in gradients)
    final, ys = np.asarray(final), np.asarray(ys)
    for row, n in enumerate(LENGTHS):
        h = np.zeros(2)
        for t in range(n):
            h = h * np.exp(-dt[t, row]) + w * x[t, row]
            assert_close(ys[t, row], h)
        assert_close(final[row], h)
    swapped = jax.tree.map(lambda a: np.swapaxes(a, 0, 1), dirty)
    assert_close(rnnjax.unroll(cell, w, None, swapped, lengths=LENGTHS, time_axis=1)[0], final)


def test_a_weakly_typed_state_is_promoted_as_lax_scan_does():
    cell = rnnjax.Cell(
        name="sum",
        init=lambda key, x_spec: (),
        initial_state=lambda params, batch=(), *, key=None: jnp.broadcast_to(0.0, batch),
        step=lambda params, s, x: (s + x, s),
        x_ndims=0,
    )
    xs = jnp.arange(6.0).reshape(3, 2)
    resets = jnp.array([[False, True], [False, False], [True, False]])
    for state in (None, cell.initial_state((), (2,))):
        final, _ = rnnjax.unroll(cell, (), state, xs, resets=resets)
        assert final.tolist() == [4.0, 9.0]


# --- derivatives at padding ----------------------------------------------------------------------


def test_an_upper_layer_without_derivative_at_what_padding_would_give_it(x64):
    def direction(x):
        return x / jnp.linalg.norm(x, axis=-1, keepdims=True)  # 0 / 0 at zero, where a bias starts

    cell = rnnjax.stack(rnnjax.linear(3), rnnjax.activation(direction))
    params = cell.init(jax.random.key(0), 2)
    xs = np.random.default_rng(1).normal(size=(4, 2, 2))

    @jax.jit
    @jax.grad
    def gradient(params, xs, lengths):
        return (rnnjax.unroll(cell, params, None, xs, lengths=lengths)[1][..., 0] ** 2).sum()

    got = gradient(params, xs, np.array([4, 2]))
    whole, part = np.array([4]), np.array([2])
    rows = gradient(params, xs[:, :1], whole), gradient(params, xs[:2, 1:], part)
    assert_close(got, jax.tree.map(lambda a, b: np.asarray(a) + np.asarray(b), *rows))


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_row_of_padding_may_hold_any_state(bad):
    cell = rnnjax.lstm(3)
    params = cell.init(jax.random.key(0), 2)
    state = rnnjax.LSTMState(*(np.array([[0.5] * 3, [bad] * 3]) for _ in "hc"))
    xs = np.random.default_rng(1).normal(size=(4, 2, 2))

    @jax.jit
    @jax.grad
    def gradient(params, state, xs, lengths=None):
        return (rnnjax.unroll(cell, params, state, xs, lengths=lengths)[1] ** 2).sum()

    got = gradient(params, state, xs, np.array([4, 0]))
    assert_close(got, gradient(params, jax.tree.map(lambda s: s[:1], state), xs[:, :1]))


def test_fill_stands_in_where_a_row_has_no_real_step():
    def step(params, state, x):
        x, dt = x
        return (), params * x / dt

    cell = rnnjax.Cell(
        name="rate",
        init=lambda key, x_spec: jnp.ones(()),
        initial_state=lambda params, batch_shape=(), *, key=None: (),
        step=step,
        x_ndims=(0, 0),
        fill=(0.0, 1.0),
    )
    xs, dt = np.ones((3, 2)), np.array([[1.0, 0.0]] * 3)

    def loss(params):
        return rnnjax.unroll(cell, params, None, (xs, dt), lengths=jnp.array([3, 0]))[1].sum()

    assert jax.grad(loss)(jnp.ones(())) == 3


def test_integers_of_numpy_are_integers():
    cell = rnnjax.gru(np.int64(3))
    params = cell.init(jax.random.key(0), np.int32(2))
    xs = np.ones((np.int64(5), 2, 2), np.float32)
    want = rnnjax.unroll(cell, params, None, xs, lengths=[5, 2], loop_unroll=2)
    got = rnnjax.unroll(
        cell, params, None, xs, lengths=np.array([5, 2], np.uint8), loop_unroll=np.int64(2),
        length=np.int16(5), time_axis=np.int8(0), block=np.int32(5),
    )  # fmt: skip
    assert_bitwise(got, want)
