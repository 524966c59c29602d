"""Loops with features first are the loops they were, and run so where it pays."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import pytest
from jax import export, lax

import rnnjax
from rnnjax._cell import step_spec
from rnnjax._compile import _flip, plan, scan
from rnnjax._compile._product import of_swapped
from rnnjax.tasks._cells import cell_named, inputs_of

from .common import assert_same, check_step, normal, plain, values_and_grads
from .steps import B, H, lstm, lstm_params

T = 9
FIRST = "; features come first, as its weights are large"
# Splits; pieces; rows that are normalised; a rule of its own; masks; concatenations; sums of rows.
CELLS = ("lstm", "gru", "layer_norm_gru", "irnn", "gru_d", "nas", "clockwork")


@pytest.fixture
def everywhere(monkeypatch):
    """All loops that can be run so are."""
    monkeypatch.setattr(_flip, "_LARGE", 0)
    monkeypatch.setattr(_flip, "_STEPS", 2)


def is_first(*args, **options):
    found = [c for c in plan(*args, **options).components if c.kind == "loop"]
    assert found
    return any(c.why.endswith(FIRST) for c in found)


def reworked(p, h, x):
    """All that names axes: pieces, concatenations, columns, sums and extremes of both axes."""
    z = x @ p[0] + h @ p[1] + p[2]
    a, b, c, d = (z[:, k::4] for k in range(4))
    a = jax.nn.relu(a - a.mean(-1, keepdims=True)) / (1 + b.max(0))
    c = jnp.concatenate([c[:, :1], d[:, 1:]], 1) * jnp.tanh(d.min(1, keepdims=True))
    h = jnp.where(x[:, :1] > 0, h, jnp.tanh(a + c)) + b.sum() * jnp.linspace(0, 1, H)[None]
    return h, (h, h.sum(0))


with jax.enable_x64(True):
    PARAMS = lstm_params(1)
    LSTM = (lstm, PARAMS, (normal(2, B, H), normal(3, B, H)), normal(4, T, B, H))
    REWORKED = (reworked, PARAMS, normal(2, B, H), normal(4, T, B, H))


@pytest.mark.parametrize("name", CELLS)
def test_cells(name, everywhere):
    cell = cell_named(name, 8)
    xs = inputs_of(name, normal(1, T, B, 8))
    params = cell.init(jax.random.key(0), step_spec(xs))
    args = (cell.step, params, cell.initial_state(params, (B,)), xs)
    assert is_first(*args)
    check_step(scan, *args)


@pytest.mark.parametrize("case", [LSTM, REWORKED], ids=["lstm", "reworked"])
@pytest.mark.parametrize(
    "options",
    [{}, {"reverse": True}, {"block": 4}, {"block": 3, "save": "states"}, {"loop_unroll": 2}],
    ids=str,
)
def test_options(case, options, everywhere):
    assert is_first(*case, **options)
    check_step(scan, *case, **options)


def test_precisions(everywhere):
    def step(p, h, x):
        wide = {"precision": ("highest", "default"), "preferred_element_type": float}
        h = jnp.tanh(x.astype(float) + jax.lax.dot(h, p[1][:, :H], **wide)).astype(h.dtype)
        return h, h

    args = jax.tree.map(lambda x: x.astype(jnp.bfloat16), REWORKED[1:])
    assert is_first(step, *args)
    check_step(scan, step, *args, tol=3e-2)


def both(transform, *args):
    ours, theirs = (
        jax.jit(transform(functools.partial(run, lstm)))(*args)
        for run in (scan, lambda step, p, s, xs: jax.lax.scan(functools.partial(step, p), s, xs))
    )
    assert_same(ours, theirs)


def test_transformations(everywhere):
    _, p, s, xs = LSTM
    tangents = jax.tree.map(jnp.cos, (p, s, xs))
    both(lambda run: lambda *args: jax.jvp(run, args, tangents), p, s, xs)

    def gradient(run):
        return lambda *args: values_and_grads(run, *args)

    both(lambda run: lambda *args: jax.jvp(gradient(run), args, tangents), p, s, xs)
    both(lambda run: gradient(lambda *args: gradient(run)(*args)[1]), p, s, xs)
    many = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), (p, s, xs))
    for axes, given in (((None, 0, 0), (p, *many[1:])), ((0, None, None), (many[0], s, xs))):
        both(lambda run, axes=axes: gradient(jax.vmap(run, axes)), *given)
        both(lambda run, axes=axes: jax.vmap(gradient(run), axes), *given)


@pytest.mark.parametrize("rows", [False, True])
def test_no_first_operand_is_turned_by_the_compiler(rows, everywhere):
    """XLA takes ten times as long for those: transposed copies are made before the loop."""
    step, p, s, xs = LSTM

    def run(state):
        return scan(step, p, state, xs)[0]

    run = jax.vmap(jax.jit(run)) if rows else run  # in a jit, scan cannot see what maps it
    state = jax.tree.map(lambda x: jnp.stack([x, x]), s) if rows else s
    text = jax.jit(lambda s: jax.grad(lambda s: run(s)[0].sum())(s)).lower(state).as_text()
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert not any("contracting_dims = [0] x [0]" in line for line in products), products
    b = 2 * B if rows else B
    for weight, size in (("16x4", 4), ("4x16", 16)):
        shapes = f"(tensor<{weight}xf64>, tensor<{size}x{b}xf64>)"
        assert sum(shapes in line for line in products) == 1


def spec(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def chosen(t=25, b=16, h=1024, step=lstm):
    params = (spec(h, 4 * h), spec(h, 4 * h), spec(4 * h))
    return is_first(step, params, (spec(b, h), spec(b, h)), spec(t, b, h))


def test_where_it_pays(monkeypatch):
    assert chosen()
    assert chosen(b=2, h=512)
    assert not chosen(h=256)  # 1 MB
    assert not chosen(b=1)
    assert not chosen(b=64)
    assert not chosen(t=4)
    monkeypatch.setattr(_flip, "on_cpu", lambda: False)
    assert not chosen()


def test_what_cannot_be_flipped():
    def sorts(p, state, x):
        (h, c), y = lstm(p, state, x)
        return (jnp.sort(h), c), y

    def heads(p, state, x):
        (h, c), y = lstm(p, state, x)
        return (jnp.tanh(h.reshape(16, 4, -1)).reshape(h.shape), c), y

    def transposed(p, state, x):
        h, c = state
        h_w = jax.lax.dot_general(h, p[0][:, :1024], (((1,), (1,)), ((), ())))
        return (jnp.tanh(h_w + x), c), h

    assert not any(chosen(step=step) for step in (sorts, heads, transposed))

    def rows(p, state, x):
        return jax.vmap(lambda state, x: lstm(p, state, x))(state, x)

    assert chosen(step=rows)


def test_a_product_that_is_put_out_alone(everywhere):
    """No derivative comes to it, where that of the state alone is asked for."""

    def step(p, h, x):
        h = jnp.tanh(x + h @ p[1][:, :H])
        return h, h[:, :1] @ p[0][:1]

    args = (step, *REWORKED[1:])
    assert is_first(*args)
    ours, theirs = (
        jax.grad(lambda p, run=run: jnp.sin(run(step, p, *args[2:])[0]).sum())(args[1])
        for run in (scan, plain)
    )
    assert_same(ours, theirs)


def test_rows_that_are_mapped_are_left_where_they_are(everywhere):
    step, p, s, xs = LSTM
    many = jax.tree.map(lambda x: jnp.stack([x, x]), s)
    text = jax.jit(jax.vmap(lambda s: scan(step, p, s, xs))).lower(many).as_text()
    assert f"tensor<4x{2 * B}xf64>" not in text


def test_meshes_are_left_alone(everywhere):
    mesh = jax.make_mesh((1,), ("b",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        args = jax.tree.map(lambda x: jax.device_put(x, jax.P(None)), LSTM[1:])
        assert not is_first(lstm, *args)
        check_step(scan, lstm, *args)


def test_precisions_of_swapped_operands():
    assert of_swapped(("highest", "default")) == ("default", "highest")
    assert of_swapped(lax.Precision.HIGH) == lax.Precision.HIGH
    one = lax.DotAlgorithm("a", "b", "c", 1, 2, 3, False)
    assert of_swapped(one) == lax.DotAlgorithm("b", "a", "c", 2, 1, 3, False)


def test_vectors(everywhere):
    step, p, s, xs = LSTM
    args = (step, p, jax.tree.map(lambda a: a[0], s), xs[:, 0])
    assert not is_first(*args)
    check_step(scan, *args)


def test_what_is_flipped_already(everywhere):
    def step(p, h, x):
        h = jnp.tanh(p @ h + x)  # the weight comes first
        return h, h

    args = (step, normal(1, H, H), normal(2, H, B), normal(3, T, H, B))
    assert not is_first(*args)
    check_step(scan, *args)


def test_sizes_that_are_unknown():
    t, b = export.symbolic_shape("t, b")
    cell = rnnjax.lstm(1024)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), spec(8)))
    for shape in ((t, 16, 8), (25, b, 8)):
        state = jax.eval_shape(lambda p, s=shape: cell.initial_state(p, s[1:2]), params)
        made = export.export(jax.jit(functools.partial(scan, cell.step)))
        text = made(params, state, spec(*shape)).mlir_module()
        assert "tensor<1024x4096xf32>" in text
        assert "tensor<4096x1024xf32>" not in text
