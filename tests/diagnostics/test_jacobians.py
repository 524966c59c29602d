"""Jacobians, their products, exponents and weights: closed forms and published figures."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_vectors import SOME, reached

import rnnjax
from rnnjax.diagnostics import (
    as_vector,
    input_jacobian,
    jacobian_operator,
    jacobian_products,
    lyapunov_exponents,
    plot_input_jacobian,
    plot_jacobian_products,
    plot_lyapunov,
    plot_power_norms,
    plot_recurrent_norms,
    plot_step_jacobian,
    power_norms,
    recurrent_norms,
    step_jacobian,
)
from rnnjax.train.plot import figure_type

T, B, D, H = 5, 4, 2, 3
RNG = np.random.default_rng(0)
XS = RNG.standard_normal((T, B, D))
FLOAT = jax.ShapeDtypeStruct((D,), float)


def linear(w):
    """(cell, params) of h' = h W."""
    w = jnp.asarray(w)
    cell = rnnjax.elman(len(w), activation="identity")
    return cell, rnnjax.ElmanParams(jnp.zeros((D, len(w))), w, jnp.zeros(len(w)))


def map_cell(name, f, start):
    """A map h' = f(h) as a cell without inputs."""
    return rnnjax.Cell(
        name=name,
        init=lambda key, x_spec: (),
        initial_state=lambda params, batch=(), *, key=None: jnp.broadcast_to(
            jnp.asarray(start), (*batch, len(start))
        ),
        step=lambda params, h, x: (f(h), h),
    )


def henon(h, a=1.4, b=0.3):
    x, y = h[..., 0], h[..., 1]
    return jnp.stack([1 - a * x * x + y, b * x], -1)


def lorenz(h, dt=0.01):
    """A step of Runge and Kutta's in time, of Lorenz's equations (1963)."""

    def slope(h):
        x, y, z = h[..., 0], h[..., 1], h[..., 2]
        return jnp.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z], -1)

    k1 = slope(h)
    k2 = slope(h + dt / 2 * k1)
    k3 = slope(h + dt / 2 * k2)
    k4 = slope(h + dt * k3)
    return h + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


@pytest.mark.parametrize("name", SOME)
def test_a_jacobian_is_what_finite_differences_give(name, x64):
    cell, params, state = reached(name)
    fine = lambda path, leaf: leaf.dtype != jnp.float16  # noqa: E731
    v, restore, names = as_vector(cell, params, state, fine)
    v = v + 0.3 * RNG.standard_normal(v.shape)
    x = XS[0]

    @jax.jit
    def f(v, x):
        return as_vector(cell, params, cell.step(params, restore(v), x)[0], fine)[0]

    found = step_jacobian(cell, params, restore(v), x, select=fine)
    into = input_jacobian(cell, params, restore(v), x, select=fine)
    assert found.shape == (B, len(names), len(names))
    for j in range(len(names)):
        move = 1e-5 * np.eye(len(names))[j]
        want = (f(v + move, x) - f(v - move, x)) / 2e-5
        np.testing.assert_allclose(found[..., j], want, atol=1e-8)
    for j in range(D):
        move = 1e-5 * np.eye(D)[j]
        want = (f(v, x + move) - f(v, x - move)) / 2e-5
        np.testing.assert_allclose(into[..., j], want, atol=1e-8)


def test_an_operator_is_the_matrix(x64):
    cell, params, state = reached("stack")
    matrix = np.asarray(step_jacobian(cell, params, state, XS[0]))
    operator = jacobian_operator(cell, params, state, XS[0])
    u = RNG.standard_normal((B, matrix.shape[-1]))
    np.testing.assert_allclose(operator.jvp(u), np.einsum("bij,bj->bi", matrix, u), atol=1e-12)
    np.testing.assert_allclose(operator.vjp(u), np.einsum("bij,bi->bj", matrix, u), atol=1e-12)
    high = step_jacobian(cell, params, state, XS[0], select="high")
    np.testing.assert_array_equal(high, matrix[:, :H, :H])  # names are in order


def test_of_an_lstm_that_forgets_nothing_the_memory_is_the_identity(x64):
    cell = rnnjax.lstm(H)
    params = cell.init(jax.random.key(0), FLOAT)
    params = params._replace(b=params.b.at[H : 2 * H].set(50.0))
    state = rnnjax.LSTMState(jnp.zeros((B, H)), jnp.asarray(RNG.standard_normal((B, H))))
    found = step_jacobian(cell, params, state, XS[0], select="c")
    np.testing.assert_allclose(found, np.broadcast_to(np.eye(H), (B, H, H)), atol=1e-12)


def test_products_are_those_of_the_steps(x64):
    cell = rnnjax.gru(H)
    params = cell.init(jax.random.key(0), FLOAT)
    found = jacobian_products(cell, params, None, XS)
    h, steps = jnp.zeros((B, H)), []
    for x in XS:
        steps.append(np.asarray(step_jacobian(cell, params, h, x)))
        h, _ = cell.step(params, h, x)
    want = np.broadcast_to(np.eye(H), (B, H, H))
    for n in range(T):
        want = want @ steps[T - 1 - n]
        np.testing.assert_allclose(found.products[n], want, atol=1e-14)
        singular = np.linalg.svd(want, compute_uv=False)
        np.testing.assert_allclose(found.singular_values[n], singular, atol=1e-14)


def test_of_a_linear_network_exponents_are_logarithms_of_eigenvalues(x64):
    q = np.linalg.qr(RNG.standard_normal((4, 4)))[0]
    turn = 0.8 * np.array([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]])
    w = np.zeros((4, 4))
    w[:2, :2], w[2, 2], w[3, 3] = turn, 1.5, -0.3
    w = q @ (w + np.triu(RNG.standard_normal((4, 4)), 2)) @ q.T
    cell, params = linear(w)
    xs, want = np.zeros((2000, D)), np.log(np.sort(np.abs(np.linalg.eigvals(w)))[::-1])
    found = lyapunov_exponents(cell, params, None, xs, skip=200)
    np.testing.assert_allclose(found, want, atol=1e-3)
    leading = lyapunov_exponents(cell, params, None, xs, 2, skip=200, dt=0.5)
    np.testing.assert_allclose(leading, 2 * want[:2], atol=1e-2)
    # All of them together are the determinant's, at each step and without a limit.
    few = lyapunov_exponents(cell, params, None, xs[:3])
    np.testing.assert_allclose(few.sum(), np.log(np.abs(np.linalg.det(w))), rtol=1e-10)


def test_a_tanh_unit_turns_at_a_weight_of_one(x64):
    # At rest where |w| < 1; else at h = tanh(w h), where the slope w (1 - h²) is below 1 again.
    cell = rnnjax.elman(1)
    for w in (0.9, 1.5):
        h = 0.1
        for _ in range(500):
            h = np.tanh(w * h)
        one = jnp.ones((1, 1))
        params = rnnjax.ElmanParams(one, w * one, jnp.zeros(1))
        start, xs = jnp.full(1, 0.1), np.zeros((1500, 1))
        found = lyapunov_exponents(cell, params, start, xs, skip=500)
        np.testing.assert_allclose(found, [np.log(w * (1 - h**2))], atol=1e-6)


@pytest.mark.optimised
def test_exponents_of_henon_are_those_published(x64):
    # Sprott, Chaos and Time-Series Analysis, 2003, appendix A: 0.41922 and -1.62319.
    rows = np.array([[0.1, 0.1], [0.2, 0.0], [-0.3, 0.2], [0.0, 0.05]])
    cell = map_cell("henon", henon, [0.0, 0.0])
    found = lyapunov_exponents(cell, (), jnp.asarray(rows), None, length=8000, skip=100)
    np.testing.assert_allclose(found.mean(0), [0.41922, -1.62319], rtol=0.01)
    np.testing.assert_allclose(found.sum(-1), np.log(0.3), rtol=1e-10)


@pytest.mark.optimised
def test_exponents_of_lorenz_are_those_published(x64):
    # Sprott, 2003, appendix A: 0.9056, 0 and -14.5723, per unit of time.
    rows = np.array([1.0, 1.0, 20.0]) + RNG.standard_normal((8, 3))
    cell = map_cell("lorenz", lorenz, [1.0, 1.0, 20.0])
    state = jnp.asarray(rows)
    found = lyapunov_exponents(cell, (), state, None, length=40000, skip=2000, dt=0.01)
    mean = found.mean(0)
    np.testing.assert_allclose(mean[jnp.array([0, 2])], [0.9056, -14.5723], rtol=0.01)
    assert abs(mean[1]) < 0.01
    np.testing.assert_allclose(found.sum(-1), -(10 + 1 + 8 / 3), rtol=1e-3)  # the trace


@pytest.mark.parametrize(("dtype", "wide"), [(np.float32, 4), (np.float64, 30)])
def test_directions_that_are_lost_have_exponents_of_minus_infinity(dtype, wide, x64):
    """Of a turned matrix of this rank, what should be nothing is rounding instead."""
    q = np.linalg.qr(RNG.standard_normal((wide, wide)))[0]
    sizes = np.linspace(2, 0.5, wide)
    sizes[-2:] = 0
    cell, params = linear((q @ np.diag(sizes) @ q.T).astype(dtype))
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    found = np.asarray(lyapunov_exponents(cell, params, None, np.zeros((60, D), dtype)))
    assert np.isneginf(found).tolist() == [False] * (wide - 2) + [True] * 2
    np.testing.assert_allclose(found[:-2].sum(), np.log(sizes[:-2]).sum(), atol=0.2)


@pytest.mark.parametrize("name", SOME)
def test_any_cell_has_exponents(name):
    cell, params, state = reached(name)
    xs = XS.astype(np.float32)
    found = lyapunov_exponents(cell, params, state, xs, 2)
    assert found.shape == (B, 2)
    assert not np.isnan(np.asarray(found)).any()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_states_of_half_precision_will_do(dtype):
    w = jnp.diag(jnp.array([2.0, 0.5], dtype))
    cell = rnnjax.elman(2, activation="identity")
    params = rnnjax.ElmanParams(jnp.zeros((D, 2), dtype), w, jnp.zeros(2, dtype))
    xs = jnp.zeros((10, D), dtype)
    values = jacobian_products(cell, params, None, xs).singular_values
    np.testing.assert_allclose(values[-1], [2**10, 2**-10], rtol=1e-6)
    found = lyapunov_exponents(cell, params, None, xs, skip=5)
    np.testing.assert_allclose(found, np.log([2, 0.5]), atol=0.01)
    np.testing.assert_allclose(power_norms(w, 3), [1, 2, 4, 8])


def test_recurrent_weights_go_by_gate(x64):
    cell = rnnjax.stack(low=rnnjax.lstm(H), high=rnnjax.elman(2))
    params = cell.init(jax.random.key(0), FLOAT)
    w = RNG.standard_normal((H, 4 * H))
    params["low"] = params["low"]._replace(w_h=jnp.asarray(w))
    found = recurrent_norms(cell, params)
    assert list(found) == [*(f"low.w_h[{n}]" for n in range(4)), "high.w_h"]
    for n in range(4):
        block = w[:, n * H : (n + 1) * H]
        radius = np.abs(np.linalg.eigvals(block)).max()
        want = (radius, np.linalg.norm(block, 2))
        np.testing.assert_allclose(found[f"low.w_h[{n}]"], want)
    unit = dataclasses.replace(rnnjax.ind_rnn(2), recurrent=("diagonal",))
    own = unit.init(jax.random.key(0), FLOAT)._replace(diagonal=jnp.array([0.5, -2.0]))
    assert recurrent_norms(unit, own) == {"diagonal": (2, 2)}
    assert recurrent_norms(rnnjax.ind_rnn(2), own, "diagonal") == {"diagonal": (2, 2)}
    with pytest.raises(ValueError, match=r"has w as recurrent.*w_x, diagonal, b: pass recurrent="):
        recurrent_norms(unit, own, ("diagonal", "w"))
    with pytest.raises(ValueError, match="has no fields named as recurrent"):
        recurrent_norms(rnnjax.linear(2), rnnjax.linear(2).init(jax.random.key(0), D))


def test_powers_vanish_below_a_radius_of_one_and_explode_above(x64):
    w = RNG.standard_normal((2, H, H))
    w /= np.abs(np.linalg.eigvals(w)).max(-1)[:, None, None]
    found = power_norms(w * np.array([0.9, 1.1])[:, None, None], 60)
    for n in (0, 1, 7, 60):
        for b, size in enumerate((0.9, 1.1)):
            want = np.linalg.norm(np.linalg.matrix_power(size * w[b], n), 2)
            np.testing.assert_allclose(found[n, b], want, rtol=1e-9)
    assert found[60, 0] < 0.1 < 10 < found[60, 1]


def test_bad_arguments_say_what_to_do():
    cell, params = linear(np.eye(2, dtype=np.float32))
    clipped = rnnjax.clip_gradient(cell, 0.1)
    with pytest.raises(TypeError, match="pass the cell without clip_gradient"):
        step_jacobian(clipped, params, jnp.zeros(2), jnp.ones(D))
    with pytest.raises(ValueError, match="at most the 2 numbers"):
        lyapunov_exponents(cell, params, None, np.ones((T, D)), 3)
    with pytest.raises(ValueError, match="skip must leave steps"):
        lyapunov_exponents(cell, params, None, np.ones((T, D)), skip=T)
    with pytest.raises(ValueError, match="dt must"):
        lyapunov_exponents(cell, params, None, np.ones((T, D)), dt=0)
    with pytest.raises(ValueError, match="w must be square"):
        power_norms(np.ones((2, 3)), 4)
    embed = rnnjax.stack(rnnjax.embed(5, 2), rnnjax.gru(2))
    own = embed.init(jax.random.key(0), rnnjax.tokens())
    with pytest.raises(ValueError, match=r"x, an input of stack.* has no real"):
        input_jacobian(embed, own, embed.initial_state(own), jnp.int32(1))


def test_pictures_show_the_numbers():
    cell, params = linear(np.diag([2.0, 0.5, 1.0]).astype(np.float32))
    axes = figure_type()().subplots(3, 2)
    plot_jacobian_products(axes[0, 0], jacobian_products(cell, params, None, XS))
    named = {line.get_label(): line.get_ydata() for line in axes[0, 0].lines}
    lags = np.arange(1.0, T + 1)
    for name, value in (("largest", 2.0), ("median", 1.0), ("least", 0.5)):
        np.testing.assert_allclose(named[name], value**lags, rtol=1e-6)
    plot_lyapunov(axes[0, 1], np.array([[0.5, -1.0], [1.5, -3.0]]))
    assert axes[0, 1].lines[-1].get_xydata().tolist() == [[1, 1], [2, -2]]
    plot_power_norms(axes[1, 0], power_norms(2 * jnp.eye(2), 3), label="2")
    assert axes[1, 0].lines[0].get_ydata().tolist() == [1, 2, 4, 8]
    plot_recurrent_norms(axes[1, 1], recurrent_norms(cell, params))
    assert [line.get_ydata()[0] for line in axes[1, 1].lines] == [1, 2, 2]
    plot_step_jacobian(axes[2, 0], np.array([[[0, 2.0], [-2, 0]]]))
    points = sorted(axes[2, 0].lines[-1].get_xydata().tolist())
    np.testing.assert_allclose(points, [[0, -2], [0, 2]], atol=1e-12)
    plot_input_jacobian(axes[2, 1], np.array([[[3.0, 1], [4, 0]], [[0, 2], [3, 0]]]))
    assert [bar.get_height() for bar in axes[2, 1].patches] == [4, 1.5]
    assert all(a.get_xlabel() or a.get_xticklabels() for a in axes.flat)
    assert all(a.get_ylabel() for a in axes.flat)
