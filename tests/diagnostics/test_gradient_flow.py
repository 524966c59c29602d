"""Gradients against lag: closed forms, finite differences, and what cuts them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_vectors import SOME, reached
from tracing import traces

import rnnjax
from rnnjax.diagnostics import (
    GradientFlow,
    gradient_flow,
    gradient_share,
    gradient_terms,
    lyapunov_exponents,
    plot_gradient_flow,
    plot_gradient_pairs,
    plot_gradient_share,
    plot_gradient_terms,
)
from rnnjax.train.plot import figure_type

T, B, D, H = 6, 3, 2, 3
RNG = np.random.default_rng(0)
XS = RNG.standard_normal((T, B, D))
TARGETS = RNG.standard_normal((T, B, H))
LENGTHS = np.array([T, 4, 0])
RESETS = np.zeros((T, B), bool)
RESETS[3, 0] = RESETS[1, 1] = True


def squared(ys):
    return jnp.square(ys - TARGETS)


def linear(w):
    """(cell, params) of h' = h W + x V."""
    w = jnp.asarray(w)
    v = jnp.asarray(RNG.standard_normal((D, len(w))))
    return rnnjax.elman(len(w), activation="identity"), rnnjax.ElmanParams(v, w, jnp.zeros(len(w)))


def test_of_a_linear_network_it_is_the_powers_of_its_weights(x64):
    w = RNG.standard_normal((H, H))
    flow = gradient_flow(*linear(w), None, XS, lambda ys: ys * TARGETS, errors="each")
    for t in range(T):
        for k in range(T):
            power = np.linalg.matrix_power(w, max(0, t + 1 - k))
            want = np.linalg.norm(TARGETS[t] @ power.T, axis=-1) if k <= t else np.zeros(B)
            np.testing.assert_allclose(flow.norms["state"][t, k], want, rtol=1e-12)
            assert (flow.lags[t, k] == max(0, t + 1 - k)).all()
    last = gradient_flow(*linear(w), None, XS, lambda ys: ys * TARGETS)
    np.testing.assert_allclose(last.norm(), flow.norm()[-1], rtol=1e-12)
    together = gradient_flow(*linear(w), None, XS, lambda ys: ys * TARGETS, errors="all")
    g = np.zeros((B, H))
    for t in range(T)[::-1]:
        g = (g + TARGETS[t]) @ w.T
        np.testing.assert_allclose(together.norm()[t], np.linalg.norm(g, axis=-1), rtol=1e-12)


def test_of_a_tanh_unit_it_is_a_product_of_slopes(x64):
    w, xs = 1.3, XS[:, 0, :1]
    one = jnp.ones((1, 1))
    params = rnnjax.ElmanParams(one, w * one, jnp.zeros(1))
    h, slopes = 0.0, []
    for x in xs[:, 0]:
        h = np.tanh(w * h + x)
        slopes.append(w * (1 - h**2))
    flow = gradient_flow(rnnjax.elman(1), params, None, xs, lambda ys: ys[-1].sum())
    np.testing.assert_allclose(flow.by_lag(), np.abs(np.cumprod(slopes[::-1])), rtol=1e-12)


def test_of_an_lstm_that_forgets_nothing_the_error_flow_is_constant(x64):
    cell = rnnjax.lstm(H)
    params = cell.init(jax.random.key(0), jax.ShapeDtypeStruct((D,), float))
    # Gates that hear the input alone, and a forget gate at 1: σ(40) is 1 in float64.
    b = params.b.at[H : 2 * H].set(40.0)
    params = params._replace(w_h=0 * params.w_h, b=b, w_x=params.w_x.at[:, H : 2 * H].set(0))
    flow = gradient_flow(cell, params, None, XS, lambda ys: ys[-1] * TARGETS[-1])
    carousel = np.asarray(flow.norm("c"))
    np.testing.assert_allclose(carousel, np.broadcast_to(carousel[-1], (T, B)), rtol=1e-12)
    assert (carousel > 0.1).all()
    assert (np.asarray(flow.norm("h")) == 0).all()


def test_it_equals_finite_differences(x64):
    cell = rnnjax.stack(rnn=rnnjax.gru(H), readout=rnnjax.linear(H))
    params = cell.init(jax.random.key(0), jax.ShapeDtypeStruct((D,), float))
    flow = gradient_flow(
        cell, params, None, XS, squared, errors="each", lengths=LENGTHS, resets=RESETS
    )

    @jax.jit
    def errors(h, k):
        """E_t of every step, with the state after k steps moved to h."""

        def step(state, inputs):
            x, valid, reset, n = inputs
            state = jnp.where(n == k, h, state)
            begin = jnp.where(reset[:, None], 0, state)
            new, y = cell.step(params, {"rnn": begin, "readout": ()}, x)
            y = jnp.where(valid[:, None], y, 0)
            return jnp.where(valid[:, None], new["rnn"], state), (y, state)

        valid = np.arange(T)[:, None] < LENGTHS
        resets = RESETS & valid
        _, (ys, states) = jax.lax.scan(step, jnp.zeros((B, H)), (XS, valid, resets, np.arange(T)))
        return squared(ys).sum(-1), states

    _, states = errors(np.zeros((B, H)), -1)
    for k in range(T):
        gradient = np.zeros((T, B, H))
        for i in range(H):
            move = 1e-5 * np.eye(H)[i]
            up, down = (errors(states[k] + sign * move, k)[0] for sign in (1, -1))
            gradient[..., i] = (up - down) / 2e-5
        gradient[np.arange(T)[:, None] >= LENGTHS] = 0  # no error there
        later = np.arange(T) >= k
        want = np.linalg.norm(gradient, axis=-1)[later]
        np.testing.assert_allclose(flow.norms["rnn"][later, k], want, atol=1e-8)
    rows = np.asarray(flow.lags)
    assert (rows[:, :, 2] == 0).all()  # a row of no steps
    assert rows[5, 0, 0] == 6
    assert rows[5, 0, 1] == rows[4, 0, 1] == 0  # behind its end
    cut = np.asarray(flow.cut)
    assert (cut[3:, 3, 0] == 1).all()
    assert (cut[:3, 3, 0] == 0).all()
    assert cut.sum() == 3 + 3  # of row 1, errors of steps 1 to 3 pass its reset
    assert (np.asarray(flow.norm())[3:, :4, 0] == 0).all()  # nothing passes it


def test_terms_sum_to_the_gradient_of_back_propagation(x64):
    cell = rnnjax.learned_state(rnnjax.stack(rnn=rnnjax.lstm(H), readout=rnnjax.linear(H)))
    params = cell.init(jax.random.key(0), jax.ShapeDtypeStruct((D,), float))
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)
    rows = {"lengths": LENGTHS, "resets": RESETS}
    whole = jax.jit(jax.grad(lambda p: squared(rnnjax.unroll(cell, p, None, XS, **rows)[1]).sum()))
    want = whole(params)
    found = {
        by: gradient_terms(cell, params, None, XS, squared, by=by, **rows)
        for by in ("step", "lag", "pair")
    }

    def compare(one, other):
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)

    for by, terms in found.items():
        axes = (0, 1) if by == "pair" else (0,)
        compare(jax.tree.map(lambda leaf, axes=axes: leaf.sum(axes), terms), want)
    pairs = found["pair"]
    compare(jax.tree.map(lambda leaf: leaf.sum(0), pairs), found["step"])
    lags = jax.tree.map(
        lambda leaf: np.stack([sum(leaf[t, t - n] for t in range(n, T)) for n in range(T)]), pairs
    )
    compare(lags, found["lag"])
    # Each pair by itself: the parameters of step k alone moved, of one error.
    one = rnnjax.elman(H)
    own = one.init(jax.random.key(1), jax.ShapeDtypeStruct((D,), float))
    pairs = gradient_terms(one, own, None, XS, squared, by="pair")

    def error(b, t, k):
        h, ys = jnp.zeros((B, H)), []
        for n in range(t + 1):
            h, y = one.step(own._replace(b=b) if n == k else own, h, XS[n])
            ys.append(y)
        return jnp.square(ys[t] - TARGETS[t]).sum()

    for t, k in ((4, 2), (2, 2), (5, 0)):
        np.testing.assert_allclose(pairs.b[t, k], jax.grad(error)(own.b, t, k), atol=1e-12)
    assert (np.asarray(pairs.b)[2, 3:] == 0).all()


def test_shares_are_of_the_gradient_and_add_up(x64):
    cell, params = linear(0.5 * np.eye(1))
    xs, last = np.ones((T, D)), lambda ys: ys[-1].sum()
    terms = gradient_terms(cell, params, None, xs, last, by="lag")
    weights = 0.5 ** np.arange(T)
    want = [weights[n + 1 :].sum() / weights.sum() for n in range(T)]
    np.testing.assert_allclose(gradient_share(terms.b), want, atol=1e-12)
    parts = RNG.standard_normal((T, 4))
    along = parts @ parts.sum(0)
    np.testing.assert_allclose(
        gradient_share({"a": parts[:, :1], "b": parts[:, 1:].reshape(T, 3, 1)}),
        [along[n + 1 :].sum() / along.sum() for n in range(T)],
    )


def test_a_clip_holds_the_gradient_and_says_where(x64):
    cell, params = linear(2 * np.eye(H))
    loss = lambda ys: ys[-1] * np.array([0.01, 0.1, -0.1])  # noqa: E731
    flow = gradient_flow(cell, params, None, XS, loss, clip=0.3)
    one = np.array([0.01, 0.1, 0.1])
    for n in range(1, T + 1):
        want = np.minimum(one * 2**n, 0.3)
        np.testing.assert_allclose(flow.norm()[T - n], np.linalg.norm(want), rtol=1e-12)
        np.testing.assert_allclose(flow.cut[T - n], (one * 2**n >= 0.3).mean(), rtol=1e-12)
    clipped = gradient_flow(rnnjax.clip_gradient(cell, 0.3), params, None, XS, loss)
    np.testing.assert_array_equal(clipped.norm(), flow.norm())


def test_what_vanishes_is_not_lost_in_its_square():
    cell, params = linear(1e-4 * np.eye(1))
    params = jax.tree.map(jnp.float32, params)
    xs = np.ones((8, D), np.float32)
    flow = gradient_flow(cell, params, None, xs, lambda ys: ys[-1].sum())
    np.testing.assert_allclose(flow.by_lag(), 1e-4 ** np.arange(1.0, 9), rtol=1e-5)


@pytest.mark.parametrize("name", SOME)
def test_any_cell_will_do(name):
    cell, params, state = reached(name)
    xs = RNG.standard_normal((T, 4, D)).astype(np.float32)
    rows = {"lengths": np.array([T, T, 4, 0]), "resets": np.zeros((T, 4), bool)}

    def loss(ys):
        y = ys[0] if isinstance(ys, tuple) else ys
        return jnp.square(jnp.abs(y)).sum(-1)

    flow = gradient_flow(cell, params, state, xs, loss, **rows)
    assert np.isfinite(np.asarray(flow.norm())).all()
    assert (np.asarray(flow.norm())[-1, :2] > 0).all()
    assert (np.asarray(flow.norm())[:, 3] == 0).all()
    longer = gradient_flow(cell, params, state, xs[:4], loss).norm()
    np.testing.assert_allclose(flow.norm()[:4, 2], longer[:, 2], rtol=2e-5)


def test_the_mean_is_over_what_is_there():
    lags = np.array([[[0, 1]], [[2, 1]]])
    flow = GradientFlow({"h": np.array([[[9.0, 1]], [[5, 3]]])}, lags, 0 * lags)
    np.testing.assert_array_equal(flow.by_lag(), [2, 5])
    with pytest.raises(ValueError, match="one of h"):
        flow.norm("c")


WEIGHT, TARGET = np.float32(0.5), np.float32(1)


def test_nothing_is_used_that_was_read_before(monkeypatch):
    # A notebook's loss and step read global variables, which change between two calls.
    def loss(ys):
        return TARGET * ys[-1]

    cell = rnnjax.Cell(
        name="leaky",
        init=lambda key, x_spec: (),
        initial_state=lambda params, batch=(), *, key=None: jnp.zeros(batch),
        step=lambda params, h, x: ((new := WEIGHT * h + x), new),
        x_ndims=0,
    )
    xs = np.ones(3, np.float32)
    for weight, target in ((0.5, 1), (0.5, 10), (0.25, 10)):
        monkeypatch.setitem(globals(), "WEIGHT", np.float32(weight))
        monkeypatch.setitem(globals(), "TARGET", np.float32(target))
        want = target * weight ** np.arange(1.0, 4)
        np.testing.assert_array_equal(gradient_flow(cell, (), None, xs, loss).by_lag(), want)
        found = lyapunov_exponents(cell, (), None, xs)
        np.testing.assert_allclose(found, [np.log(weight)], rtol=1e-6)
    one, own = linear(0.5 * np.eye(1))
    for target in (1, 10):
        monkeypatch.setitem(globals(), "TARGET", np.float32(target))
        terms = gradient_terms(one, own, None, np.ones((3, D)), loss, by="lag")
        np.testing.assert_allclose(terms.b[:, 0], target * 0.5 ** np.arange(3.0))


def test_a_new_loss_compiles_no_step_anew():
    cell = rnnjax.Cell(
        name="function among its parameters",
        init=lambda key, x_spec: {},
        initial_state=lambda params, batch=(), *, key=None: jnp.zeros(batch),
        step=lambda params, h, x: ((new := params["f"](params["w"] * h + x)), new),
        x_ndims=0,
    )
    params, xs = {"w": jnp.float32(0.5), "f": jnp.tanh}, np.ones(3, np.float32)
    for seen in (gradient_flow, gradient_terms):
        one = seen(cell, params, None, xs, lambda ys: ys.sum())
        with traces(anything=False):
            other = seen(cell, params, None, xs, lambda ys: 2 * ys.sum())
        one, other = (found["w"] if seen is gradient_terms else found.norm()
                      for found in (one, other))  # fmt: skip
        np.testing.assert_allclose(other, 2 * one, rtol=1e-6)


def test_bad_arguments_say_what_to_do():
    cell, params = linear(np.eye(2))
    with pytest.raises(ValueError, match="errors"):
        gradient_flow(cell, params, None, XS, squared, errors="first")
    for wrong, came in (
        (lambda ys: (ys > 0).astype(int), "int"),
        (lambda ys: (ys.sum(), ys.mean()), "tuple"),
        (lambda ys: None, "NoneType"),
    ):
        with pytest.raises(TypeError, match=f"loss must return an array of real.*got {came}"):
            gradient_flow(cell, params, None, XS, wrong)
    with pytest.raises(TypeError, match="no real or complex parameters"):
        gradient_terms(rnnjax.activation("tanh"), (), None, XS, jnp.sum)
    with pytest.raises(ValueError, match="by must"):
        gradient_terms(cell, params, None, XS, squared, by="t")
    with pytest.raises(ValueError, match="got none"):
        gradient_share({})


def test_pictures_show_the_numbers():
    cell, params = linear(0.5 * np.eye(1))
    axes = figure_type()().subplots(2, 2)
    xs = np.ones((T, 1, D))
    pairs = gradient_flow(cell, params, None, xs, jnp.sum, errors="each",
                          resets=np.arange(T)[:, None] == 2)  # fmt: skip
    plot_gradient_flow(axes[0, 0], pairs, label="linear")
    means = pairs.by_lag()
    assert (means[3:] == 0).all()  # nothing passes the reset; a logarithm has no place for it
    want = np.where(means > 0, means, np.nan)
    np.testing.assert_array_equal(axes[0, 0].lines[0].get_ydata(), want)
    assert axes[0, 0].lines[0].get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
    shown = plot_gradient_pairs(axes[0, 1], pairs).get_array()
    np.testing.assert_allclose(shown[4, 3], np.log10(0.25), rtol=1e-6)  # error 5, state 3
    assert shown.mask[1, 2]
    crosses = axes[0, 1].lines[0].get_xydata().tolist()
    assert crosses == [[2, 3], [2, 4], [2, 5], [2, 6]]
    with pytest.raises(ValueError, match="each"):
        plot_gradient_pairs(axes[0, 1], gradient_flow(cell, params, None, xs, jnp.sum))
    square = gradient_flow(cell, params, None, np.ones((T, T, D)), jnp.sum)  # as many rows as steps
    with pytest.raises(ValueError, match="each"):
        plot_gradient_pairs(axes[0, 1], square)
    terms = gradient_terms(cell, params, None, xs, jnp.sum, by="lag").b
    plot_gradient_share(axes[1, 0], terms)
    plot_gradient_terms(axes[1, 1], terms)
    np.testing.assert_allclose(axes[1, 1].lines[0].get_ydata(), np.abs(terms[:, 0]))
    assert all(a.get_xlabel() and a.get_ylabel() for a in axes.flat)
