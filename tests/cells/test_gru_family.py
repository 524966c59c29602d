"""How the cells that gate as the GRU does are related to it, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close, sigmoid

import rnnjax
from rnnjax import GRUParams

T, B, D, H = 4, 2, 3, 5
pytestmark = pytest.mark.usefixtures("x64")


def normal(seed, like):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: rng.normal(0, 1, a.shape), like)


def drawn(cell, spec, seed=0):
    return normal(seed, jax.eval_shape(lambda: cell.init(jax.random.key(0), spec)))


def negated_z(params):
    """The z columns of w_x, w_h and b negated, as the docstring of `gru` says."""
    sign = np.repeat([1, -1, 1], H)
    return params._replace(w_x=params.w_x * sign, w_h=params.w_h * sign, b=params.b * sign)


@pytest.mark.parametrize("reset", ["after", "before"])
def test_gru_of_the_courses(reset):
    cell = rnnjax.gru(H, reset=reset)
    theirs = drawn(cell, D)
    (W_r, W_z, W_n), (U_r, U_z, U_n) = (np.split(w, 3, -1) for w in theirs[:2])
    b_r, b_z, b_c = np.split(theirs.b, 3)
    xs = np.random.default_rng(1).normal(0, 1, (T, D))
    h, want = np.zeros(H), []
    for x in xs:
        r, z = sigmoid(x @ W_r + h @ U_r + b_r), sigmoid(x @ W_z + h @ U_z + b_z)
        h_n = r * (h @ U_n + theirs.b_n) if reset == "after" else (r * h) @ U_n
        h = (1 - z) * h + z * np.tanh(x @ W_n + b_c + h_n)
        want.append(h)
    run = jax.jit(lambda params: rnnjax.unroll(cell, params, None, xs)[1])
    assert_close(run(negated_z(theirs)), np.array(want))


def test_a_kernel_of_one_place_is_a_gru_at_each():
    conv, gru = rnnjax.conv_gru((2, 3), H, kernel=1), rnnjax.gru(H, reset="before")
    params = drawn(conv, jax.ShapeDtypeStruct((2, 3, D), float))
    xs = np.random.default_rng(1).normal(0, 1, (T, B, 2, 3, D))
    run = jax.jit(lambda cell, params: rnnjax.unroll(cell, params, None, xs), static_argnums=0)
    assert_close(run(conv, params), run(gru, GRUParams(*params, b_n=None)))


def test_kernels_are_drawn_gate_by_gate_over_all_places():
    cell, spec = rnnjax.conv_gru((2, 3), H), jax.ShapeDtypeStruct((2, 3, D), float)
    params = jax.jit(lambda key: cell.init(key, spec))(jax.random.key(0))
    for gate in np.split(np.asarray(params.w_h), 3, axis=1):
        assert_close(gate.T @ gate, np.eye(H))
    # LeCun: variance 1 / (number of inputs), of which each unit has those of nine places.
    assert abs(np.asarray(params.w_x).std() * np.sqrt(9 * D) - 1) < 0.1
    fused = jax.eval_shape(rnnjax.conv_gru((2, 3), H, init="keras").init, jax.random.key(0), spec)
    assert jax.tree.map(jnp.shape, fused) == jax.tree.map(jnp.shape, params)


def test_gru_d_begins_to_decay_at_once():
    params = jax.jit(lambda key: rnnjax.gru_d(H).init(key, missing_spec()))(jax.random.key(0))
    assert (params.w_gamma_h > 0).all()
    assert (params.diagonal_gamma_x > 0).all()


def values(*size):
    return np.random.default_rng(1).normal(0, 1, (T, B, *size))


def missing_spec():
    return D, jax.ShapeDtypeStruct((D,), bool), D


def test_gru_d_that_sees_all_at_once_is_a_gru():
    cell, gru = rnnjax.gru_d(H), rnnjax.gru(H, reset="before")
    params = drawn(cell, missing_spec())
    params = params._replace(b_gamma_h=np.zeros(H))  # no time has passed: nothing decays
    x, seen = values(D), np.ones((T, B, D), bool)

    @jax.jit
    def run(params):
        both = GRUParams(jnp.concatenate([params.w_x, params.w_m]), params.w_h, params.b)
        xs = jnp.concatenate([x, seen.astype(float)], -1)
        return (
            rnnjax.unroll(cell, params, None, (x, seen, np.zeros_like(x)))[1],
            rnnjax.unroll(gru, both, None, xs)[1],
        )

    assert_close(*run(params))


def test_gru_d_never_looks_at_what_is_missing():
    cell = rnnjax.gru_d(H, mean=np.arange(D))
    params = drawn(cell, missing_spec())
    x, seen, δ = values(D), np.random.default_rng(2).random((T, B, D)) < 0.5, np.ones((T, B, D))

    @jax.jit
    def run(x):
        def loss(params, x):
            state, ys = rnnjax.unroll(cell, params, None, (x, seen, δ))
            return jnp.square(ys).sum(), state

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)

    assert_close(run(np.where(seen, x, np.nan)), run(np.where(seen, x, 1e30)))
    # A feature that was never seen stands at its mean.
    assert_close(cell.initial_state(params, (B,)).x, np.tile(np.arange(D, dtype=float), (B, 1)))


def test_gru_d_is_one_cell_for_equal_means():
    assert rnnjax.gru_d(H, mean=np.arange(2)) is rnnjax.gru_d(H, mean=(0.0, 1.0))
    assert rnnjax.gru_d(H, mean=0) is rnnjax.gru_d(H)


WRONG = {
    "a mean that is no number": (lambda: rnnjax.gru_d(H, mean="zero"), ValueError, "one a feature"),
    "a mean that is not finite": (lambda: rnnjax.gru_d(H, mean=(0, np.inf)), ValueError, "finite"),
    "a matrix of means": (lambda: rnnjax.gru_d(H, mean=np.eye(2)), ValueError, "one a feature"),
    "another number of means": (
        lambda: drawn_state(rnnjax.gru_d(H, mean=(0.0, 1.0))),
        ValueError,
        "2 features, the inputs have 3",
    ),
    "no mask": (lambda: drawn(rnnjax.gru_d(H), D), TypeError, "m_t of bool"),
    "a mask of floats": (lambda: drawn(rnnjax.gru_d(H), (D, D, D)), TypeError, "mask != 0"),
    "a shape that is no tuple": (lambda: rnnjax.conv_gru(3, H), TypeError, "1, 2 or 3 sizes"),
    "four axes": (lambda: rnnjax.conv_gru((1, 1, 1, 1), H), TypeError, "1, 2 or 3 sizes"),
    "an empty axis": (lambda: rnnjax.conv_gru((2, 0), H), ValueError, "positive int"),
    "a kernel of other axes": (
        lambda: rnnjax.conv_gru((2, 3), H, kernel=(3,)),
        ValueError,
        "2 sizes as shape has",
    ),
    "a vector for an image": (lambda: drawn(rnnjax.conv_gru((2, 3), H), D), ValueError, "features"),
    "an image of another size": (lambda: step_on(2, 4, D), ValueError, r"expected \[2, 3, 3\]"),
    "other features": (lambda: step_on(2, 3, 7), ValueError, r"expected \[2, 3, 3\]"),
    "an unknown activation of ran": (
        lambda: rnnjax.ran(H, activation="relu"),
        ValueError,
        "tanh, identity",
    ),
}


def drawn_state(cell):
    return cell.initial_state(drawn(cell, missing_spec()))


def step_on(*size):
    cell = rnnjax.conv_gru((2, 3), H)
    params = drawn(cell, jax.ShapeDtypeStruct((2, 3, D), float))
    return cell.step(params, np.zeros((2, 3, H)), np.zeros(size))


@pytest.mark.parametrize("what", WRONG)
def test_errors_say_what_is_wrong(what):
    call, kind, words = WRONG[what]
    with pytest.raises(kind, match=words):
        call()
