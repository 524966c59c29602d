"""What runs is what `plan` says, and it is what it should be."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from tracing import traces

import rnnjax
from rnnjax._compile import plan, scan

from .common import assert_same, check_step, normal, plain, slow
from .steps import C0, H0, STEPS, XS, B, P, T, elman, lstm

TOL = {"upcast": 1e-5}  # parameters, and so gradients, are float32
NAMED = pytest.mark.parametrize("name", STEPS)
IN_BLOCKS = (
    "masked_stack", "concatenated_lstm", "exposed", "embedded", "delayed", "twofold", "normalised",
    "attention", "rows",
)  # fmt: skip


def products_in_loops(jaxpr, inside: bool = False) -> int:
    """Counts `dot_general` in the bodies of all scans of a jaxpr."""
    total = 0
    for eqn in jaxpr.eqns:
        total += inside and eqn.primitive.name == "dot_general"
        for inner in jax.extend.core.jaxprs_in_params(eqn.params):
            total += products_in_loops(inner, inside or eqn.primitive.name == "scan")
    return total


@NAMED
def test_values_and_gradients(name):
    check_step(scan, *STEPS[name][:4], tol=TOL.get(name, 1e-10))


# One step of each kind of graph; the others in the long version.
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[] if name in IN_BLOCKS else slow) for name in STEPS
])  # fmt: skip
@pytest.mark.parametrize(
    "options",
    [
        {"block": 4, "save": "states", "reverse": True},
        pytest.param({"block": 4, "reverse": True}, marks=slow),
        pytest.param({"block": 3, "save": "states"}, marks=slow),
        pytest.param({"block": 4}, marks=slow),
        pytest.param({"block": 3, "save": "states", "reverse": True}, marks=slow),
    ],
    ids=str,
)
def test_blocks(name, options):
    check_step(scan, *STEPS[name][:4], tol=TOL.get(name, 1e-10), **options)


@NAMED
def test_products_in_the_executed_loops(name):
    step, *args, inside, plainly = STEPS[name]
    executed = jax.make_jaxpr(functools.partial(scan, step))(*args)
    reference = jax.make_jaxpr(functools.partial(plain, step))(*args)
    assert products_in_loops(executed.jaxpr) == inside
    assert products_in_loops(reference.jaxpr) == plainly


@NAMED
def test_plan_says_what_runs(name):
    step, *args, inside, _ = STEPS[name]
    found = plan(step, *args)
    loops = [c for c in found.components if c.kind in ("loop", "plain")]
    assert sum(c.products for c in loops) == inside
    executed = str(jax.make_jaxpr(functools.partial(scan, step))(*args))
    assert executed.count("= scan[") == len(loops)
    assert len(str(found).splitlines()) == len(found.components) + 2


def test_weight_gradients_leave_the_loop():
    """Products in the loops of a gradient: one forward, one backward, none for the weights."""

    def loss(run, p):
        return jnp.sum(run(lstm, p, (H0, C0), XS)[1])

    def inside(run):
        return products_in_loops(jax.make_jaxpr(jax.grad(functools.partial(loss, run)))(P).jaxpr)

    assert inside(scan) == 2
    assert inside(functools.partial(scan, backward="autodiff")) == 3
    assert inside(plain) == 5


def test_masked_stack_is_products_and_loops():
    found = plan(*STEPS["masked_stack"][:4])
    kinds = [c.kind for c in found.components if c.kind != "invariant"]
    assert kinds == ["parallel", "loop", "parallel", "loop", "parallel"]
    assert [c.products for c in found.components if c.kind == "loop"] == [1, 1]
    assert [c.deferred for c in found.components if c.kind == "loop"] == [((4, 16),)] * 2


def test_masked_reset_stack_under_unroll():
    """Masks and resets leave one product in each layer's loop, by the recurrent weight."""
    cell = rnnjax.stack(rnnjax.lstm(5), rnnjax.lstm(6))
    params = cell.init(jax.random.key(0), 4)
    xs, mask = XS.astype(jnp.float32), jnp.ones((T, B), bool)

    def run(params, xs, mask):
        return rnnjax.unroll(cell, params, None, xs, mask=mask, resets=mask)

    def loops(jaxpr):
        for eqn in jaxpr.eqns:
            if eqn.primitive.name == "scan":
                yield products_in_loops(eqn.params["jaxpr"], inside=True)
            else:
                for inner in jax.extend.core.jaxprs_in_params(eqn.params):
                    yield from loops(inner)

    assert list(loops(jax.make_jaxpr(run)(params, xs, mask).jaxpr)) == [1, 1]

    def loss(params):
        return jnp.sum(run(params, xs, mask)[1])

    backward = list(loops(jax.make_jaxpr(jax.grad(loss))(params).jaxpr))
    assert sorted(backward) == [1, 1, 1, 1], "no weight gradient in a loop"


def test_a_computed_weight_is_deferred_too():
    for name in ("normalised", "upcast"):
        found = plan(*STEPS[name][:4])
        assert [c.deferred for c in found.components if c.kind == "loop"] == [((4, 4),)], name


def test_loops_are_merged_unless_a_product_lies_between():
    def two_sums(p, state, x):
        a, b = state
        a = jnp.tanh(a @ p + x)
        return (a, b + a), b

    def with_product(p, state, x):
        a, b = state
        a = jnp.tanh(a @ p + x)
        return (a, b + a @ p), b

    w, state = normal(4, 4, 4), (H0, C0)
    for step, kinds in [
        (two_sums, ["loop"]),
        (with_product, ["loop", "parallel", "loop"]),
    ]:
        assert [c.kind for c in plan(step, w, state, XS).components] == kinds
        check_step(scan, step, w, state, XS)


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (lambda p, h, x: (jax.debug.print("{}", h[0, 0]) or h + x, h), "side effects"),
        (lambda p, h, x: (h * 0.9 + x, h), "nothing can leave the loop"),
    ],
    ids=["effects", "nothing"],
)
def test_plain(step, why):
    found = plan(step, P, H0, XS)
    assert [c.kind for c in found.components] == ["plain"]
    assert why in found.why


def test_control_flow_is_not_moved():
    def step(p, h, x):
        x = lax.cond(x.sum() > 0, lambda: x, lambda: -x)
        x = jax.checkpoint(jnp.sin)(x)
        return jnp.tanh(h + x), h

    assert [c.kind for c in plan(step, P, H0, XS).components] == ["plain"]
    check_step(scan, step, P, H0, XS)


def test_rbg_bits_stay_in_the_loop_and_threefry_bits_need_not():
    def step(p, state, x):
        key, h = state
        key, now = jax.random.split(key)
        drop = jax.random.bernoulli(now, 0.5, x.shape)
        h, y = elman(p, h, jnp.where(drop, x, 0))
        return (key, h), y

    for impl in ("threefry2x32", "rbg"):
        state = (jax.random.key(0, impl=impl), H0)
        assert_same(scan(step, P, state, XS), plain(step, P, state, XS))


def test_long_sequences_on_a_cpu_run_in_blocks():
    params = tuple(jax.ShapeDtypeStruct(s, jnp.float32) for s in [(128, 512), (128, 512), (512,)])
    state = (jax.ShapeDtypeStruct((32, 128), jnp.float32),) * 2
    for length, block in [(8, None), (32, None), (37, None), (100, 25), (127, 32), (128, 32)]:
        xs = jax.ShapeDtypeStruct((length, 32, 128), jnp.float32)
        assert plan(wide_lstm, params, state, xs).block == block
        assert plan(wide_lstm, params, state, xs, block=None).block is None


def test_a_mapped_step_is_planned_for_all_its_rows():
    """One row alone needs no blocks; 64 of them do, whatever else is done to them."""
    params = tuple(jax.ShapeDtypeStruct(s, jnp.float32) for s in [(128, 512), (128, 512), (512,)])
    xs = jax.ShapeDtypeStruct((64, 256, 128), jnp.float32)

    def forward(run, params, xs):
        state = (jnp.zeros(128, jnp.float32),) * 2
        return jax.vmap(lambda x: run(wide_lstm, params, state, x)[1])(xs)

    ours, theirs = (
        jax.jit(functools.partial(forward, run)).lower(params, xs).compile().memory_analysis()
        for run in (scan, plain)
    )
    assert ours.temp_size_in_bytes < 3 * theirs.temp_size_in_bytes
    alone = jax.make_jaxpr(functools.partial(forward, scan))
    rows = jax.ShapeDtypeStruct((1, 256, 128), jnp.float32)
    assert [str(alone(params, some)).count(" scan[") for some in (rows, xs)] == [1, 2]


def test_what_is_much_larger_than_the_state_stays_in_the_loop():
    """A matrix looked up, or made, for each row; not what is as large as the state."""

    def switched(p, h, z):
        h = jnp.tanh(jnp.einsum("bij,bj->bi", p[0][z], h) + p[1][z])
        return h, h

    def made(p, h, x):
        h = jnp.tanh(jnp.einsum("bij,bj->bi", (x @ p).reshape(*h.shape, -1), h))
        return h, h

    def bytes_of(run, step, *args):
        compiled = jax.jit(lambda *args: run(step, *args)).lower(*args).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    table, h, xs = normal(1, 4, 32, 32), normal(2, 3, 32), normal(3, 200, 3, 2)
    tokens = jnp.zeros((200, 3), jnp.int32)
    for step, args in (
        (switched, ((table, table[0]), h, tokens)),
        (made, (normal(4, 2, 32 * 32), h, xs)),
    ):
        assert bytes_of(scan, step, *args) < 3 * bytes_of(plain, step, *args) + 400_000
        check_step(scan, step, *args[:2], args[2][:4])
    looked_up = plan(switched, (table, table[0]), h, tokens).components[0]
    assert looked_up.kind == "parallel"
    assert 1 <= looked_up.kept / (200 * h.nbytes) < 1.1


def test_convolutions_are_not_done_in_blocks():
    """In the body of a loop XLA runs one of many steps many times slower than outside."""

    def step(p, h, x):
        convolve = functools.partial(
            lax.conv_general_dilated, window_strides=(1, 1), padding="SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        h = jnp.tanh(convolve(x, p) + convolve(h, p))
        return h, h

    shapes = (3, 3, 16, 16), (2, 32, 32, 16), (100, 2, 32, 32, 16)
    found = plan(step, *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes))
    assert found.block is None
    assert found.components[-1].deferred == (shapes[0],)


def test_more_than_fits_is_not_kept():
    params = tuple(jax.ShapeDtypeStruct(s, jnp.float32) for s in [(128, 512), (128, 512), (512,)])
    state = (jax.ShapeDtypeStruct((32, 128), jnp.float32),) * 2

    def saved(length, **options):
        xs = jax.ShapeDtypeStruct((length, 32, 128), jnp.float32)
        return plan(wide_lstm, params, state, xs, **options)

    assert saved(1000).save == "all"
    assert saved(100_000).save == "states"
    assert "GB" in saved(100_000).why
    assert saved(100_000, save="all").save == "all"
    assert saved(16, save="states").block == 4  # √T
    assert saved(1000, save="states").block == 25  # a divisor near it


def test_kept_states_take_little_memory_at_any_length():
    cell = rnnjax.lstm(64)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 64))

    def peak(**options):
        def loss(params, xs):
            return rnnjax.unroll(cell, params, None, xs, save="states", **options)[1].sum()

        xs = jax.ShapeDtypeStruct((256, 16, 64), jnp.float32)
        compiled = jax.jit(jax.grad(loss)).lower(params, xs).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert peak() < 0.5 * peak(block=128)  # as many as stay in cache


def wide_lstm(p, state, x):
    h, c = state
    i, f, g, o = jnp.split(x @ p[0] + h @ p[1] + p[2], 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def test_a_second_call_does_not_call_the_step():
    def step(p, h, x):
        return elman(p, h, x)

    xs = XS + 1
    scan(step, P, H0, XS)
    with traces(anything=False):
        scan(step, P, H0, xs)
    with traces(anything=True):
        scan(step, P, H0, xs[:-1])


def test_no_steps_no_rows():
    assert_same(scan(elman, P, H0, XS[:0]), plain(elman, P, H0, XS[:0]))
    check_step(scan, elman, P, H0[:0], XS[:, :0])
    assert scan(elman, P, H0, XS[:0])[1].shape == (0, B, 4)


def test_options_are_checked():
    for options, error in [
        ({"save": "some"}, ValueError),
        ({"backward": "fast"}, ValueError),
        ({"block": 0}, ValueError),
        ({"block": True}, TypeError),
        ({"loop_unroll": -1}, ValueError),
    ]:
        with pytest.raises(error, match=next(iter(options))):
            scan(elman, P, H0, XS, **options)
    with pytest.raises(ValueError, match="xs is a scalar"):
        scan(elman, P, H0, 1.0)
    assert len(XS) == T


def test_a_backward_rule_on_params_sees_each_step():
    """A cotangent that is clipped step by step is not the clipped sum."""

    @jax.custom_vjp
    def clipped(p):
        return p

    clipped.defvjp(lambda p: (p, None), lambda _, g: (jnp.clip(g, -1, 1),))

    def step(p, h, x):
        h = jnp.tanh(h + x @ (clipped(p["w"]) * 2.0))
        return h, h

    params = {"w": normal(71, 3, 4)}
    args = params, normal(72, 2, 4), normal(73, 6, 2, 3, scale=5.0)
    check_step(scan, step, *args)
    assert [c.kind for c in plan(step, *args).components] == ["plain"]
