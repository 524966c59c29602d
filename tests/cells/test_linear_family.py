"""What the papers of linear recurrences say beyond the equations of a step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from oracles import assert_close, sigmoid

import rnnjax
from rnnjax.cells.s5 import hippo_n
from rnnjax.testing import check_cell

from .known import D, H
from .linear_family import CELLS, as_complex, blocks

COMPLEX = ["lru", "s5", "hgrn"]
# The gates of an SRU see its state; a delta network's state is multiplied by I - β kᵀ k.
LINEAR = [name for name in CELLS if not name.startswith(("sru", "delta_net"))]


def rng(seed):
    return np.random.default_rng(seed)


def drawn(known, spread=0.3):
    """What `init` draws, moved off the zeros and ones it may hold, as NumPy's arrays."""
    random = rng(0)
    params = jax.jit(lambda key: known.cell.init(key, known.spec))(jax.random.key(0))
    return jax.tree.map(
        lambda a: (np.asarray(a) + random.normal(0, spread, a.shape)).astype(a.dtype), params
    )


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", LINEAR)
def test_a_step_multiplies_the_state_by_what_is_free_of_it(name):
    known = CELLS[name]
    params, x = drawn(known), known.inputs(rng(1), ())
    zeros = jax.tree.map(np.asarray, known.cell.initial_state(params))
    draw = known.states or (lambda random, z: random.normal(0, 1, z.shape))
    random = rng(2)
    first, second = (jax.tree.map(lambda z: draw(random, z), zeros) for _ in range(2))
    step = jax.jit(lambda state: known.cell.step(params, state, x)[0])

    def memory(state):
        return np.asarray(state.c if name.startswith("qrnn") else state)

    if name.startswith("qrnn"):  # its window is of inputs, and no part of the recurrence
        zeros, second = (state._replace(window=first.window) for state in (zeros, second))
    b = memory(step(zeros))
    a = (memory(step(first)) - b) / memory(first)
    assert_close(memory(step(second)), a * memory(second) + b)
    assert np.all(np.abs(a) < 1)


@pytest.mark.usefixtures("x64")
def test_min_gru_is_the_closed_form_of_a_linear_recurrence():
    # h_t = Π_{s ≤ t} a_s h_0 + Σ_{k ≤ t} Π_{k < s ≤ t} a_s b_k
    steps, random, params = 7, rng(1), drawn(CELLS["min_gru"])
    xs, h0 = random.normal(0, 1, (steps, D)), random.normal(0, 1, H)
    (W_z, W_n), (b_z, b_n) = map(blocks, params)
    z = sigmoid(xs @ W_z + b_z)
    a, b = 1 - z, z * (xs @ W_n + b_n)
    want = [
        np.prod(a[: t + 1], 0) * h0
        + np.sum([np.prod(a[k + 1 : t + 1], 0) * b[k] for k in range(t + 1)], 0)
        for t in range(steps)
    ]
    h, ys = jax.jit(lambda *args: rnnjax.unroll(rnnjax.min_gru(H), *args))(params, h0, xs)
    assert_close((h, ys), (want[-1], np.array(want)))


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_states_of_float32_parameters(name):
    report = check_cell(CELLS[name].cell, D, batch_shape=(2,), dtype="float32")
    assert {o.outcome for o in report.outcomes} == {
        "holds", "no noise", "holds nothing", "needs float64",
    }  # fmt: skip
    params = drawn(CELLS[name])
    assert CELLS[name].cell.initial_state(params, (2,)).dtype == jnp.complex64
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), params)
    assert CELLS[name].cell.initial_state(half, (2,)).dtype == jnp.complex64


def test_clip_gradient_clips_both_parts_of_complex_states():
    cell = rnnjax.clip_gradient(rnnjax.lru(H), 0.1)
    params, h, xs = drawn(CELLS["lru"]), np.ones(H, np.complex64), np.zeros((3, D), np.float32)

    def loss(h):
        h, _ = rnnjax.unroll(cell, params, h, xs)
        return (3 * h.real - 5 * h.imag).sum()

    gradient = np.asarray(jax.jit(jax.grad(loss))(h))
    for part in (gradient.real, gradient.imag):
        assert 0.05 < np.abs(part).max() <= np.float32(0.1)


@pytest.mark.parametrize("name", [name for name in CELLS if "-" not in name or "qrnn-2" in name])
def test_gradients_are_finite_at_large_inputs(name):
    known = CELLS[name]
    params, xs = drawn(known), np.float32(1e4) * known.inputs(rng(1), (3, 2)).astype(np.float32)

    @jax.jit
    def slopes(params, xs):
        def loss(params, xs):
            return rnnjax.unroll(known.cell, params, None, xs)[1].sum()

        return jax.grad(loss, (0, 1))(params, xs)

    for leaf in jax.tree.leaves(slopes(params, xs)):
        assert np.isfinite(np.asarray(leaf)).all()


# --- initialisation ------------------------------------------------------------------------------


def test_lru_is_drawn_on_a_ring_and_keeps_the_variance():
    cell = rnnjax.lru(2000, radius=(0.6, 0.9), max_phase=0.5)
    params = jax.tree.map(np.asarray, jax.jit(lambda key: cell.init(key, D))(jax.random.key(0)))
    modulus, phase = np.exp(-np.exp(params.log_nu)), np.exp(params.log_theta)
    assert 0.6 <= modulus.min() < 0.61
    assert 0.89 < modulus.max() <= 0.9
    # Uniform in the area: |λ|² is uniform.
    np.testing.assert_allclose((modulus**2).mean(), (0.36 + 0.81) / 2, atol=0.01)
    np.testing.assert_allclose((phase.min(), phase.mean(), phase.max()), (0, 0.25, 0.5), atol=0.01)
    np.testing.assert_allclose(np.exp(params.log_gamma), np.sqrt(1 - modulus**2), rtol=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in params)


def test_rg_lru_keeps_between_0_9_and_0_999_where_its_gate_is_open():
    cell = rnnjax.rg_lru(500)
    params = jax.jit(lambda key: cell.init(key, 500))(jax.random.key(0))
    kept = sigmoid(np.asarray(params.logit_rate, float)) ** 8
    assert 0.9 - 1e-5 < kept.min() < 0.902
    assert 0.997 < kept.max() < 0.999 + 1e-5
    np.testing.assert_allclose(kept.mean(), 0.9495, atol=0.005)


@pytest.mark.usefixtures("x64")
def test_s5_begins_as_the_real_state_space_of_hippo_n():
    # In 2H real dimensions, where a matrix exponential integrates an input that is held for Δ.
    N, steps, delta = 2 * H, 5, 0.3
    A = np.zeros((N, N))
    for n in range(N):
        for k in range(N):
            root = np.sqrt(n + 0.5) * np.sqrt(k + 0.5)
            A[n, k] = -0.5 if n == k else -root if n > k else root
    eigenvalues, V = hippo_n(H)
    np.testing.assert_allclose(A @ V, V * eigenvalues, atol=1e-12)
    np.testing.assert_allclose(V.conj().T @ V, np.eye(H), atol=1e-12)

    cell, xs = rnnjax.s5(H), rng(1).normal(0, 1, (steps, D))
    params = jax.tree.map(np.asarray, jax.jit(lambda key: cell.init(key, D))(jax.random.key(0)))
    assert np.log(0.001) <= params.log_step.min() <= params.log_step.max() <= np.log(0.1)
    b = 2 * (as_complex(params.w_x) @ V.T).real
    c = 2 * (V.conj() @ as_complex(params.w_y, axis=0)).real
    both = np.zeros((N + D, N + D))  # exp([[A, b], [0, 0]] Δ) holds exp(A Δ) and its integral of b
    both[:N, :N], both[:N, N:] = A, b.T
    both = scipy.linalg.expm(both * delta)
    z, want = np.zeros(N), []
    for x in xs:
        z = both[:N, :N] @ z + both[:N, N:] @ x
        want.append(z @ c + params.scale_x * x)
    params = params._replace(log_step=np.full(H, np.log(delta)))
    _, ys = jax.jit(lambda *args: rnnjax.unroll(cell, *args))(params, None, xs)
    assert_close(ys, np.array(want))


def test_hgrn_bounds_its_forget_gate():
    cell = rnnjax.hgrn(H, lower_bound=0.75)
    params = jax.jit(lambda key: cell.init(key, D))(jax.random.key(0))
    closed = params._replace(b=params.b.at[2 * H : 3 * H].set(-100))  # the forget gate alone
    h, _ = jax.jit(cell.step)(closed, np.ones(H, np.complex64), np.zeros(D, np.float32))
    np.testing.assert_allclose(np.abs(h), 0.75, rtol=1e-6)


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: rnnjax.lru(H, radius=0.9), TypeError, "radius must be a pair"),
    (lambda: rnnjax.lru(H, radius=(0.9, 0.5)), ValueError, "the least below"),
    (lambda: rnnjax.lru(H, radius=(0.9, 1.5)), ValueError, r"numbers in \[0, 1\]"),
    (lambda: rnnjax.hgrn(H, lower_bound=1.0), ValueError, r"a number in \(0, 1\)"),
    (lambda: rnnjax.delta_net(4, heads=3), ValueError, "heads must divide hidden_size 4, got 3"),
    (lambda: rnnjax.qrnn(H, width=1), ValueError, "width must be an int of at least 2"),
    (lambda: rnnjax.min_gru(H, candidate="relu"), ValueError, "one of linear, positive"),
    (lambda: rnnjax.rg_lru(4).init(jax.random.key(0), 3), ValueError, "needs inputs of 4 features"),
])  # fmt: skip
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
