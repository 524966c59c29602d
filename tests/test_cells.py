"""The cells of `cases.CELLS`: what `check_cell`, in test_testing.py, does not ask of them."""

import dataclasses
import functools

import cases
import jax
import jax.numpy as jnp
import pytest
from cases import CELLS, FEW
from oracles import assert_bitwise, assert_close
from tracing import traces

import rnnjax
from rnnjax._cell import parted
from rnnjax._combine._weights import change_recurrent

T, BATCH = 3, (2,)
each = pytest.mark.parametrize("name", CELLS)
few = pytest.mark.parametrize("name", FEW)
KEY = jax.random.key(7)


def setup(name, batch=BATCH, key=KEY):
    params = cases.parameters(name)
    return (
        CELLS[name][0],
        params,
        cases.state(name, params, batch, key),
        cases.inputs(name, (T, *batch)),
    )


@each
def test_output_of_and_recurrent_are_true(name):
    cell, params, state, xs = setup(name)
    after, y = cell.step(params, state, xs[0])
    if cell.output_of is not None:
        assert_bitwise(cell.output_of(after), y)
    fields = {}
    change_recurrent(cell, params, fields.setdefault)
    for path, field in zip(cell.recurrent, fields.values(), strict=True):
        names = path.split(".")  # "w_h"; "1.w_h" in a stack
        own = y if len(names) == 1 else jax.tree.leaves(state[int(names[0])])[0]
        assert field.shape[0] == own.shape[-1]


@each
def test_init_is_reproducible_and_follows_the_key(name):
    cell, _ = CELLS[name]

    def draw(seed):
        return cell.init(jax.random.key(seed), cases.spec(name))

    assert_bitwise(draw(0), draw(0))
    if name not in ("activation", "dropout", "layer_norm"):
        a, b = jax.tree.leaves((draw(0), draw(1))), jax.tree.leaves((draw(1), draw(2)))
        assert any(bool((x != y).any()) for x, y in zip(a, b, strict=True))


@few
def test_a_cell_is_a_static_argument_of_jit(name):
    cell, params, state, xs = setup(name)
    assert jax.tree.leaves(cell) == []
    run = jax.jit(lambda cell, *args: rnnjax.unroll(cell, *args))
    assert_close(run(cell, params, state, xs), rnnjax.unroll(cell, params, state, xs))


def renewed(cell):
    """The cell made by hand, for which nothing has been traced yet."""
    return dataclasses.replace(cell, step=lambda *args: cell.step(*args))


@pytest.mark.parametrize("name", ["lstm", "stack"])
@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_a_second_call_does_not_call_step(name, jit):
    cell, params, state, xs = setup(name)
    run = functools.partial(rnnjax.unroll, renewed(cell))
    run = jax.jit(run) if jit else run
    lengths, others = jnp.array([3, 1]), jax.tree.map(lambda a: a * 2, params)
    half, fewer = xs[:2], lengths // 2
    with traces(anything=True):
        run(params, state, xs, lengths=lengths)
    with traces(anything=False):  # values may change, shapes may not
        run(others, state, xs, lengths=fewer)
    with traces(anything=True):
        run(params, state, half, lengths=fewer)


def test_gradients_of_a_second_eager_call_do_not_call_step():
    cell, params, state, xs = setup("lstm")
    cell = renewed(cell)
    grad = jax.grad(lambda params: rnnjax.unroll(cell, params, state, xs)[1].sum())
    grad(params)
    with traces(anything=False):
        grad(params)


# --- dtypes --------------------------------------------------------------------------------------


@few
def test_float16_params_with_f32_inputs_keep_the_carry(name):
    dtype = jnp.float16
    cell, params, _, xs = setup(name)
    params = jax.tree.map(lambda a: a.astype(dtype), params)
    state, ys = rnnjax.unroll(cell, params, None, xs)
    state, _ = parted(state)  # without the rates of noise, which it holds
    floats = [a for a in jax.tree.leaves((state, ys)) if jnp.issubdtype(a.dtype, jnp.floating)]
    assert {a.dtype for a in floats} == {jnp.dtype(dtype)}


@few
def test_x64_params_and_inputs_give_x64(name, x64):
    cell, params, state, xs = setup(name)
    state, ys = rnnjax.unroll(cell, params, state, xs, lengths=jnp.array([3, 0]))
    floats = [
        a for a in jax.tree.leaves((params, state, ys)) if jnp.issubdtype(a.dtype, jnp.floating)
    ]
    assert {a.dtype for a in floats} == {jnp.dtype("float64")}


@few
def test_f32_params_and_state_stay_f32_under_x64(name, x64):
    cell, params, state, xs = setup(name)

    def narrow(tree):
        return jax.tree.map(
            lambda a: a.astype(jnp.float32) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree
        )

    _, ys = rnnjax.unroll(cell, narrow(params), narrow(state), narrow(xs))
    assert ys.dtype == jnp.float32


# --- pointwise cells -----------------------------------------------------------------------------


def test_embed_looks_up_and_gives_nan_outside_its_vocabulary():
    cell = rnnjax.embed(4, 2)
    params = cell.init(KEY, jax.ShapeDtypeStruct((), jnp.int32))
    _, y = cell.step(params, (), jnp.array([3, 0, 4, -1, 2**31 - 1]))
    assert_bitwise(y[:2], params.table[jnp.array([3, 0])])
    assert jnp.isnan(y[2:]).all()


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32"])
def test_embed_takes_integers_narrower_than_its_vocabulary(dtype):
    cell = rnnjax.embed(256, 2)
    params = cell.init(KEY, jax.ShapeDtypeStruct((), dtype))
    largest = min(255, jnp.iinfo(dtype).max)
    _, y = cell.step(params, (), jnp.array([0, largest], dtype))
    assert_bitwise(y, params.table[jnp.array([0, largest])])


def test_linear_layer_norm_activation(x64):
    x = jax.random.normal(KEY, (2, 3))
    linear, norm = rnnjax.linear(4), rnnjax.layer_norm(epsilon=1e-3)
    w, b = params = cases.parameters("linear")
    assert_close(linear.step(params, (), x)[1], x @ w + b)
    scale, bias = params = cases.parameters("layer_norm")
    want = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-3)
    assert_close(norm.step(params, (), x)[1], scale * want + bias)
    assert_close(rnnjax.activation("softplus").step((), (), x)[1], jnp.log1p(jnp.exp(x)))
    assert_close(rnnjax.activation(jnp.sin).step((), (), x)[1], jnp.sin(x))


def test_layer_norm_keeps_its_digits_far_from_zero():
    x = jnp.array([1e4 + 1, 1e4 - 1, 1e4, 1e4], jnp.float32)
    cell = rnnjax.layer_norm()
    _, y = cell.step(cell.init(KEY, 4), (), x)
    assert_close(y, jnp.array([2**0.5, -(2**0.5), 0, 0], jnp.float32))


def test_stack_feeds_each_cell_the_output_below():
    below, above = rnnjax.lstm(4), rnnjax.gru(3)
    model = rnnjax.stack(below, above)
    params = model.init(KEY, cases.D)
    xs = cases.inputs("lstm", (T, 2))
    lower, hidden = rnnjax.unroll(below, params[0], None, xs)
    upper, ys = rnnjax.unroll(above, params[1], None, hidden)
    assert_close(rnnjax.unroll(model, params, None, xs), ((lower, upper), ys))


# --- noise ---------------------------------------------------------------------------------------


def masks(cell, key, shape=(T, *BATCH, 64)):
    """Which features survive, per step and row."""
    _, ys = rnnjax.unroll(cell, (), cell.initial_state((), shape[1:-1], key=key), jnp.ones(shape))
    return ys != 0


def test_dropout_keeps_the_expected_share_and_scales_it():
    for rate in (0.1, 0.5, 0.9):
        cell = rnnjax.dropout(rate)
        state = cell.initial_state((), (50,), key=KEY)
        _, ys = rnnjax.unroll(cell, (), state, jnp.full((20, 50, 50), 3.0))
        kept = ys != 0
        n = kept.size  # five standard deviations
        assert abs(float(kept.mean()) - (1 - rate)) < 5 * (rate * (1 - rate) / n) ** 0.5
        assert_close(ys[kept], jnp.full(int(kept.sum()), 3.0 / (1 - rate)))


def test_dropout_masks_differ_between_steps_rows_and_keys():
    cell = rnnjax.dropout(0.5)
    kept = masks(cell, KEY)
    assert_bitwise(kept, masks(cell, KEY))
    rows = {row.tobytes() for row in jax.device_get(kept).reshape(-1, kept.shape[-1])}
    assert len(rows) == T * BATCH[0]
    assert (kept != masks(cell, jax.random.key(8))).any()


def test_dropout_is_the_identity_in_evaluation_and_at_rate_zero():
    xs = jax.random.normal(KEY, (T, *BATCH, 5))
    assert_bitwise(rnnjax.unroll(rnnjax.dropout(0.5), (), None, xs)[1], xs)
    cell = rnnjax.dropout(0)
    assert_bitwise(rnnjax.unroll(cell, (), cell.initial_state((), BATCH, key=KEY), xs)[1], xs)


def test_layers_of_a_stack_draw_different_masks():
    cell = rnnjax.stack(rnnjax.dropout(0.5), rnnjax.dropout(0.5))
    state = cell.initial_state(((), ()), BATCH, key=KEY)
    a, b = (jax.random.key_data(s.key) for s in state)
    assert (a != b).any()


def test_dropout_leaves_the_recurrent_path_below_it_alone():
    below = rnnjax.gru(4)
    model = rnnjax.stack(below, rnnjax.dropout(0.5))
    params, xs = model.init(KEY, cases.D), cases.inputs("gru-after", (T, *BATCH))
    state = model.initial_state(params, BATCH, key=KEY)
    (h, _), _ = rnnjax.unroll(model, params, state, xs)
    assert_close(h, rnnjax.unroll(below, params[0], None, xs)[0])


@pytest.mark.parametrize(
    "key",
    [KEY, jax.random.key(0, impl="rbg"), jax.random.PRNGKey(0), jax.random.split(KEY, 4)],
    ids=["threefry", "rbg", "uint32", "one-a-row"],
)
def test_a_row_draws_in_a_batch_what_it_draws_alone(key):
    cell = rnnjax.dropout(0.5)
    state = cell.initial_state((), (4,), key=key)
    xs = jnp.ones((T, 4, 16))
    _, together = rnnjax.unroll(cell, (), state, xs)
    assert len({row.tobytes() for row in jax.device_get(together).swapaxes(0, 1)}) == 4
    for row in range(4):
        alone = jax.tree.map(lambda a: a[row], state)
        assert_bitwise(rnnjax.unroll(cell, (), alone, xs[:, row])[1], together[:, row])


def test_keys_of_rows_do_not_depend_on_the_batch_size():
    cell = rnnjax.dropout(0.5)
    small, large = (cell.initial_state((), (n,), key=KEY) for n in (2, 5))
    assert_bitwise(small, jax.tree.map(lambda a: a[:2], large))


def test_chunks_continue_the_noise():
    cell = rnnjax.dropout(0.5)
    state = cell.initial_state((), BATCH, key=KEY)
    xs = jnp.ones((4, *BATCH, 16))
    _, whole = rnnjax.unroll(cell, (), state, xs)
    state, first = rnnjax.unroll(cell, (), state, xs[:1])
    _, second = rnnjax.unroll(cell, (), state, xs[1:])
    assert_bitwise(jnp.concatenate([first, second]), whole)


def test_a_reset_draws_new_noise_and_only_in_its_row():
    cell = rnnjax.stack(rnnjax.dropout(0.5), rnnjax.gru(4))
    params = cell.init(KEY, 16)
    state = cell.initial_state(params, BATCH, key=KEY)
    resets = jnp.zeros((4, *BATCH), bool).at[jnp.array([1, 3]), 0].set(True)
    drop, keys = rnnjax.dropout(0.5), jax.random.split(KEY, 2)
    xs = jnp.ones((4, *BATCH, 64))

    def run(resets):
        return rnnjax.unroll(drop, (), drop.initial_state((), BATCH, key=keys), xs, resets=resets)

    _, plain = run(None)
    _, again = run(resets)
    assert_bitwise(again[:, 1], plain[:, 1])
    assert_bitwise(again[0, 0], plain[0, 0])
    assert len({step.tobytes() for step in jax.device_get(again[:, 0])}) == 4
    final, _ = rnnjax.unroll(cell, params, state, xs[..., :16], resets=resets)
    before, after = (jax.random.key_data(s[0].key) for s in (state, final))
    assert (before != after).any(-1).tolist() == [[True], [False]]


def test_a_reset_in_evaluation_stays_without_noise():
    cell, params, _, xs = setup("stack")
    resets = jnp.zeros((T, *BATCH), bool).at[1].set(True)
    state, ys = rnnjax.unroll(cell, params, None, xs, resets=resets)
    assert_close((state, ys[1:]), rnnjax.unroll(cell, params, None, xs[1:]))


def test_rekey_redraws_the_noise_and_nothing_else():
    cell, params, state, xs = setup("stack")
    state, _ = rnnjax.unroll(cell, params, state, xs)
    again = rnnjax.rekey(cell, state, jax.random.key(1))
    data = jax.random.key_data
    assert (data(again[2].key) != data(state[2].key)).any(-1).all()

    def forget(s):
        return (*s[:2], s[2]._replace(key=()), *s[3:])

    assert_bitwise(forget(again), forget(state))
    assert_bitwise(again, rnnjax.rekey(cell, state, jax.random.key(1)))
    evaluation = cell.initial_state(params, BATCH)
    assert_bitwise(rnnjax.rekey(cell, evaluation, KEY), evaluation)
