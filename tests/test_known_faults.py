"""Faults that users of other libraries met, each as a test; the name says where."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import assert_bitwise, assert_close
from tracing import traces

import rnnjax
from rnnjax.train import clip_by_global_norm, global_norm

T, B, D = 5, 3, 2
LENGTHS = np.array([5, 2, 0])


def drawn(cell, seed=0, spec=D):
    params = jax.eval_shape(lambda key: cell.init(key, spec), jax.random.key(seed))
    # Biases too: the zeros they are drawn as would hide whatever leaks through them.
    return jax.tree.map(lambda leaf: normal(*leaf.shape, scale=0.5, seed=seed), params)


def normal(*shape, scale=1.0, seed=0):
    drawn = scale * np.random.default_rng(seed).normal(size=shape)
    return np.asarray(drawn, jnp.result_type(float))


def inputs():
    return normal(T, B, D, seed=1)


def test_pytorch_1811_517_mxnet_19323_backward_direction_starts_in_the_padding():
    layer = rnnjax.bidirectional(rnnjax.lstm(4))
    params = layer.init(jax.random.key(0), D)
    state, _ = layer.apply(params, inputs(), lengths=LENGTHS)
    alone, _ = layer.apply(params, inputs()[:2, 1:2])
    assert_close(jax.tree.map(lambda s: np.asarray(s)[1:2], state.backward), alone.backward)


def test_onnx_tensorflow_342_reverse_with_lengths_starts_at_the_wrong_end():
    cell = rnnjax.gru(4)
    params, xs = drawn(cell), inputs()
    h, _ = rnnjax.unroll(cell, params, None, xs, lengths=LENGTHS, reverse=True)
    by_hand = jnp.zeros(4)
    for t in (1, 0):
        by_hand, _ = cell.step(params, by_hand, xs[t, 1])
    assert_close(h[1], by_hand)


def test_keras_1001_1703_output_order_of_a_reversed_layer():
    cell = rnnjax.elman(4)
    params, xs = drawn(cell), inputs()
    h, ys = rnnjax.unroll(cell, params, None, xs, reverse=True)
    assert_bitwise(ys[0], h)  # y[t] stays at x[t]: the last step taken is the first in time
    assert_close(ys[-1], cell.step(params, jnp.zeros((B, 4)), xs[-1])[1])


def test_flax_2604_final_state_taken_from_padding():
    cell = rnnjax.lstm(4)
    params, xs = drawn(cell), inputs()
    state, ys = rnnjax.unroll(cell, params, None, xs, lengths=LENGTHS)
    assert_bitwise(state.h[1], ys[1, 1])
    assert not state.h[2].any()
    assert not state.c[2].any()


def test_keras_1300_bias_leaks_through_masked_steps():
    cell = rnnjax.gru(4)
    params = drawn(cell)
    mask = np.zeros((T, B), bool)
    h0 = normal(B, 4, seed=3)
    h, ys = rnnjax.unroll(cell, params, h0, inputs(), mask=mask)
    assert_bitwise(h, h0)
    assert not ys.any()


@pytest.mark.parametrize("garbage", [1e30, np.inf, np.nan])
def test_keras_449_tensorflow_6209_content_of_padding_makes_gradients_nan(garbage):
    cell = rnnjax.lstm(4)
    params, padding = drawn(cell), (np.arange(T)[:, None] >= LENGTHS)[..., None]

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1))
    def loss(params, xs):
        _, ys = rnnjax.unroll(cell, params, None, xs, lengths=LENGTHS)
        return (ys**2).sum()

    padded = [np.where(padding, x, inputs()).astype(np.float32) for x in (garbage, 0)]
    assert_bitwise(*(loss(params, xs) for xs in padded))


def test_keras_21224_mask_with_stacked_and_nested_states():
    inner = rnnjax.stack(rnnjax.lstm(4), rnnjax.gru(3))
    cell = rnnjax.stack(inner, rnnjax.lstm(2))
    params, xs = drawn(cell), inputs()
    mask = np.array([1, 0, 1, 0, 1], bool)[:, None] & np.ones(B, bool)
    state, _ = rnnjax.unroll(cell, params, None, xs, mask=mask)
    assert_close(state, rnnjax.unroll(cell, params, None, xs[::2])[0])


def test_keras_11499_masked_cell_whose_output_is_not_its_state():
    cell = rnnjax.stack(rnnjax.lstm(4), rnnjax.linear(3))
    params, xs = drawn(cell), inputs()
    state, ys = rnnjax.unroll(cell, params, None, xs, lengths=LENGTHS)
    alone, y = rnnjax.unroll(cell, params, None, xs[:2, 1])
    assert_close(ys[:2, 1], y)
    assert_close(state[0].h[1], alone[0].h)
    assert not ys[2:, 1].any()  # although the readout has a bias


def test_keras_8720_15915_gru_forms_mixed_up():
    after, before = rnnjax.gru(4), rnnjax.gru(4, reset="before")
    params = drawn(after)
    shared = params._replace(b_n=None)
    with_bias = params._replace(b_n=np.zeros(4, np.float32))
    _, y_after = rnnjax.unroll(after, with_bias, None, inputs())
    _, y_before = rnnjax.unroll(before, shared, None, inputs())
    assert not np.allclose(y_after, y_before)  # equal weights, another function
    with pytest.raises(TypeError, match=r"missing: params\.b_n"):
        rnnjax.unroll(after, shared, None, inputs())


def test_pytorch_4582_11514_length_zero():
    cell = rnnjax.gru(4)
    params = drawn(cell)
    h0 = normal(B, 4, seed=3)

    def final(params, h0, xs):
        return rnnjax.unroll(cell, params, h0, xs, lengths=np.zeros(B, int))[0].sum()

    gradients = jax.jit(jax.grad(final, argnums=(0, 1, 2)))(params, h0, inputs())
    assert_bitwise(gradients[1], np.ones((B, 4), np.float32))
    assert not any(map(np.any, jax.tree.leaves((gradients[0], gradients[2]))))


def test_tensorflow_2789_flax_2194_dropout_mask_frozen_or_shared():
    cell = rnnjax.dropout(0.5)
    state = cell.initial_state((), (B,), key=jax.random.key(0))
    _, ys = rnnjax.unroll(cell, (), state, np.ones((T, B, 64), np.float32))
    masks = {y.tobytes() for y in np.asarray(ys).reshape(-1, 64)}
    assert len(masks) == T * B


def test_flax_4124_carry_order_is_named():
    state = rnnjax.lstm(4).initial_state(drawn(rnnjax.lstm(4)), (B,))
    assert state._fields == ("h", "c")
    with pytest.raises(TypeError, match=r"missing: state\.h, state\.c"):
        rnnjax.unroll(rnnjax.lstm(4), drawn(rnnjax.lstm(4)), (state.c, state.h), inputs())


def test_keras_20165_jit_differs_from_eager_with_masks():
    cell = rnnjax.lstm(4)
    params = drawn(cell)
    run = functools.partial(rnnjax.unroll, cell, params, None, lengths=LENGTHS)
    with jax.disable_jit():
        eager = run(inputs())
    assert_close(jax.jit(run)(inputs()), eager)


def test_jax_2072_memory_grows_with_every_new_shape():
    cell = rnnjax.gru(4)
    params = drawn(cell)
    lengths = np.random.default_rng(0).integers(1, 40, 200)
    groups = rnnjax.bucket(lengths, 3)
    assert len(groups) == 3

    def run(which):
        for size, rows in groups:
            for n in rows[which]:
                xs = np.zeros((size, 1, D), np.float32)
                rnnjax.unroll(cell, params, None, xs, lengths=lengths[n, None])

    run(slice(5))
    with traces(anything=False):  # lengths never seen above, shapes all seen
        run(slice(5, 10))


def test_fairscale_263_float16_norm_overflows():
    gradient = jnp.full(4, 300, jnp.float16)
    assert global_norm(gradient) == 600
    clip = clip_by_global_norm(1.0)
    np.testing.assert_allclose(clip.update(gradient, clip.init(None))[0], 0.5, rtol=1e-3)


@pytest.mark.parametrize("max_norm", [0.0, 1.0])
def test_optax_1752_zero_gradients_or_zero_max_norm_give_nan(max_norm):
    clip = clip_by_global_norm(max_norm)
    assert_bitwise(clip.update(jnp.zeros(3), optax.EmptyState())[0], jnp.zeros(3))
    assert jnp.isfinite(clip.update(jnp.ones(3), optax.EmptyState())[0]).all()


def test_tch_rs_624_float32_state_with_float64_weights(x64):
    cell = rnnjax.gru(4)
    params = drawn(cell)
    with pytest.raises(TypeError, match=r"state is float32, gru.* needs float64"):
        rnnjax.unroll(cell, params, jnp.zeros((B, 4), jnp.float32), inputs())
    assert cell.initial_state(params, (B,)).dtype == jnp.float64


def test_keras_stateful_state_leaks_between_streams():
    cell = rnnjax.lstm(4)
    params, xs = drawn(cell), inputs()
    state, _ = rnnjax.unroll(cell, params, None, xs)
    _, ys = rnnjax.unroll(cell, params, state, xs)
    changed = xs.copy()
    changed[:, 0] = 9.0
    state, _ = rnnjax.unroll(cell, params, None, changed)
    _, other = rnnjax.unroll(cell, params, state, changed)
    assert_bitwise(other[:, 1:], ys[:, 1:])


def test_jax_40101_tiny_outputs_are_written_in_place():
    # One jaxlib copied the whole output at each step, which takes time quadratic in T.
    cell, time = rnnjax.elman(1), 1000
    run = jax.jit(functools.partial(rnnjax.unroll, cell, drawn(cell, spec=1), None))
    text = run.lower(np.zeros((time, 1, 1), np.float32)).compile().as_text()
    loops = [part for part in text.split("\n\n") if "ENTRY" not in part]
    assert any(f"f32[{time}" in part for part in loops)
    assert not any(
        f"f32[{time}" in line and " copy(" in line for p in loops for line in p.split("\n")
    )
