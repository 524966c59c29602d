"""Penalties against NumPy, the gradient of the gradient's norm against a derivation by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.train import (
    activation_penalty,
    gradient_norm_regularizer,
    temporal_activation_penalty,
    weight_noise,
)

T, B, D, H = 5, 3, 2, 4


# --- activations ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
def test_penalties_on_activations_equal_numpy():
    ys = np.random.default_rng(0).normal(size=(T, B, D))
    mask = np.arange(T)[:, None] < np.array([5, 2, 1])
    np.testing.assert_allclose(activation_penalty(jnp.asarray(ys)), (ys**2).mean(), rtol=1e-12)
    want = (ys[mask] ** 2).mean()
    np.testing.assert_allclose(activation_penalty(jnp.asarray(ys), jnp.asarray(mask)), want)
    differences = np.diff(ys, axis=0)
    got = temporal_activation_penalty(jnp.asarray(ys))
    np.testing.assert_allclose(got, (differences**2).mean(), rtol=1e-12)
    got = temporal_activation_penalty(jnp.asarray(ys), jnp.asarray(mask))
    np.testing.assert_allclose(got, (differences[mask[1:]] ** 2).mean(), rtol=1e-12)
    assert temporal_activation_penalty(jnp.asarray(ys[:1])) == 0


@pytest.mark.parametrize("penalty", [activation_penalty, temporal_activation_penalty])
def test_padding_has_no_activations(penalty):
    ys = np.random.default_rng(0).normal(size=(T, B, D)).astype(np.float32)
    mask = np.arange(T)[:, None] < np.array([5, 2, 0])
    run = jax.jit(jax.value_and_grad(lambda ys: penalty(ys, mask)))
    want, want_grad = run(ys)
    got, got_grad = run(np.where(mask[..., None], ys, np.nan).astype(np.float32))
    assert got == want
    np.testing.assert_array_equal(got_grad, want_grad)
    assert np.asarray(want_grad)[mask].any()
    half = penalty(jnp.linspace(-1, 1, 40_000).reshape(200, 200).astype(jnp.bfloat16))
    assert half.dtype == jnp.float32


# --- gradients that vanish -----------------------------------------------------------------------


def pascanu():
    """Equation (11) of the paper: x_t = σ(x_{t-1}) W_rec + u_t W_in + b."""

    def step(params, state, u):
        state = jnp.tanh(state) @ params["w_rec"] + u @ params["w_in"] + params["b"]
        return state, state

    return rnnjax.Cell(
        name="pascanu",
        init=lambda key, spec: None,
        initial_state=lambda params, batch=(), *, key=None: jnp.zeros((*batch, H)),
        step=step,
        output_of=lambda state: state,
        recurrent=("w_rec",),
    )


def weights():
    rng = np.random.default_rng(0)
    shapes = {"w_x": (D, H), "w_h": (H, H), "b": (H,)}
    return {name: 0.7 * rng.normal(size=shape) for name, shape in shapes.items()}


def derived(w, xs, coefficients, first):
    """Ω and its immediate gradient with respect to w_h, of a row [T, D], by hand.

    h_{k+1} = tanh(x w_x + h_k w_h + b) where `first` is False, and x_{k+1} = tanh(x_k) w_h + .. .
    E = Σ_k c_k ‖h_k‖² / 2, so its direct part is c_k h_k.
    """
    states = [np.full(H, 0.1)]
    for x in xs:
        if first:
            states.append(np.tanh(states[-1]) @ w["w_h"] + x @ w["w_x"] + w["b"])
        else:
            states.append(np.tanh(states[-1] @ w["w_h"] + x @ w["w_x"] + w["b"]))
    through = np.zeros(H)  # ∂E/∂h_{k+1} by way of h_{k+2}
    omega, gradient = 0.0, np.zeros((H, H))
    for k in reversed(range(len(xs))):
        old, new = states[k], states[k + 1]
        arriving = coefficients[k] * new + through
        slope_old, slope_new = 1 - np.tanh(old) ** 2, 1 - new**2
        through = (
            (arriving @ w["w_h"].T) * slope_old if first else (arriving * slope_new) @ w["w_h"].T
        )
        if not arriving.any():
            continue
        ratio = np.linalg.norm(through) / np.linalg.norm(arriving)
        omega += (ratio - 1) ** 2
        scale = 2 * (ratio - 1) / np.linalg.norm(through) / np.linalg.norm(arriving)
        if first:
            gradient += scale * np.outer(through * slope_old, arriving)
        else:
            bending = (through @ w["w_h"]) * arriving * -2 * new * slope_new
            gradient += scale * (np.outer(through, arriving * slope_new) + np.outer(old, bending))
    return omega, gradient


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("first", [True, False])
def test_equations_9_and_10(first):
    w, rng = weights(), np.random.default_rng(1)
    xs, coefficients = rng.normal(size=(T, B, D)), rng.normal(size=(T, B))
    coefficients[3:, 1] = 0  # E does not look at what is behind
    coefficients[:, 2] = 0  # nor at this row
    if first:
        cell, params = pascanu(), {"w_rec": w["w_h"], "w_in": w["w_x"], "b": w["b"]}
    else:
        cell, params = rnnjax.elman(H), rnnjax.ElmanParams(**w)
    state = np.full((B, H), 0.1)

    @jax.jit
    @jax.value_and_grad
    def run(params):
        def error(ys):
            return (coefficients[..., None] * ys**2).sum() / 2

        return gradient_norm_regularizer(cell, params, state, xs, error)

    omega, gradient = run(jax.tree.map(jnp.asarray, params))
    rows = [derived(w, xs[:, b], coefficients[:, b], first) for b in range(B)]
    np.testing.assert_allclose(omega, np.mean([row[0] for row in rows]), rtol=1e-10)
    of_weights = gradient["w_rec"] if first else gradient.w_h
    np.testing.assert_allclose(of_weights, np.mean([row[1] for row in rows], axis=0), rtol=1e-9)
    others = (gradient["w_in"], gradient["b"]) if first else (gradient.w_x, gradient.b)
    assert not any(leaf.any() for leaf in others)


def test_omega_is_finite_at_any_scale_and_without_a_gradient():
    cell = rnnjax.elman(H)
    params = jax.tree.map(jnp.float32, rnnjax.ElmanParams(**weights()))
    xs = np.random.default_rng(1).normal(size=(T, D)).astype(np.float32)

    @jax.jit
    @jax.value_and_grad
    def run(params, scale):
        return gradient_norm_regularizer(cell, params, None, xs, lambda ys: scale * ys.sum())

    omega, gradient = run(params, 1.0)
    for scale in (1e-30, 1e30):
        got, other = run(params, scale)
        np.testing.assert_allclose(got, omega, rtol=1e-4)
        np.testing.assert_allclose(other.w_h, gradient.w_h, rtol=1e-3, atol=1e-5)
    none, nothing = run(params, 0.0)
    assert none == 0
    assert not nothing.w_h.any()
    # No gradient leaves a step without recurrent weights: all of each norm is lost.
    lost, nothing = run(params._replace(w_h=jnp.zeros((H, H))), 1.0)
    assert lost == T
    assert np.isfinite(nothing.w_h).all()


def test_any_cell_with_its_state():
    """Two floating leaves of different kinds, a key, and what is held, in half precision."""
    cell = rnnjax.recurrent_dropout(rnnjax.lstm(H), 0.3)
    params = cell.init(jax.random.key(0), jax.ShapeDtypeStruct((D,), jnp.bfloat16))
    state = cell.initial_state(params, (B,), key=jax.random.key(1))
    xs = jnp.ones((T, B, D), jnp.bfloat16)

    @jax.jit
    def run(params, weight):
        def omega(params, weight):
            return gradient_norm_regularizer(
                cell, params, state, xs, lambda ys: (weight * ys.astype(jnp.float32)).sum()
            )

        return jax.value_and_grad(omega, (0, 1))(params, weight)

    value, (gradient, of_error) = run(params, jnp.ones(H))
    assert value.dtype == jnp.float32
    assert not of_error.any()  # ∂E/∂s is a constant, whatever it is made of
    flat = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(gradient)}
    assert all(np.isfinite(leaf.astype(np.float32)).all() for leaf in flat.values())
    assert [name for name, leaf in flat.items() if leaf.any()] == [
        name for name in flat if name.endswith("w_h")
    ]


def test_cells_that_will_not_do():
    xs = np.ones((T, B, D), np.float32)
    stack = rnnjax.stack(rnnjax.elman(H), rnnjax.linear(2))
    params = stack.init(jax.random.key(0), D)
    with pytest.raises(TypeError, match=r"gradient_norm_regularizer: .* declares no output_of"):
        gradient_norm_regularizer(stack, params, None, xs, jnp.sum)
    cell = rnnjax.linear(2)
    with pytest.raises(TypeError, match="declares no recurrent weights"):
        gradient_norm_regularizer(cell, cell.init(jax.random.key(0), D), None, xs, jnp.sum)
    cell = rnnjax.elman(H)
    with pytest.raises(ValueError, match="xs needs at least one step, got T = 0"):
        gradient_norm_regularizer(cell, cell.init(jax.random.key(0), D), None, xs[:0], jnp.sum)


# --- noise on weights ----------------------------------------------------------------------------


def test_noise_on_weights():
    cell = rnnjax.stack(embed=rnnjax.embed(9, 8), one=rnnjax.gru(40), two=rnnjax.gru(40))
    params = cell.init(jax.random.key(0), rnnjax.tokens())
    noisy = jax.jit(weight_noise)(jax.random.key(1), params, jnp.float32(0.5))
    change = jax.tree.map(lambda a, b: np.asarray(a - b), noisy, params)
    assert not change["embed"].table.any()
    for name in ("one", "two"):
        assert not change[name].b.any()
        assert not change[name].b_n.any()
        for w in (change[name].w_x, change[name].w_h):
            np.testing.assert_allclose([w.mean(), w.std()], [0, 0.5], atol=0.04)
    assert not np.allclose(change["one"].w_h, change["two"].w_h, atol=0.1)
    same = weight_noise(jax.random.key(1), params, 0.5)
    np.testing.assert_allclose(same["one"].w_x, noisy["one"].w_x, rtol=1e-5)
    none = weight_noise(jax.random.key(2), params, 0)
    np.testing.assert_array_equal(none["one"].w_x, params["one"].w_x)
    for wrong, error in ((-0.1, ValueError), (float("nan"), ValueError), ("1", TypeError)):
        with pytest.raises(error, match="scale must be a number, at least 0 and finite"):
            weight_noise(jax.random.key(1), params, wrong)
