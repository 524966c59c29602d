"""Fixed points against what is known of them in closed form."""

import importlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import rnnjax
from rnnjax.diagnostics import fixed_points, plot_fixed_points, trajectory

DOCS = pathlib.Path(__file__).parents[2] / "docs"
rng = np.random.default_rng(0)
NOTHING = np.zeros(1, np.float32)


def with_weights(cell, w_h, w_x=None, b=0.0, dtype=np.float32):
    """An elman cell with these recurrent weights."""
    params = cell.init(jax.random.key(0), len(w_x) if w_x is not None else 1)
    w_x = params.w_x * 0 if w_x is None else w_x
    b = np.broadcast_to(b, params.b.shape)
    return type(params)(*(np.asarray(a, dtype) for a in (w_x, w_h, b)))


def of_tanh(w_h, count=64, **options):
    """Those of h' = tanh(h W), from starts in a box."""
    w_h = np.atleast_2d(w_h)
    cell = rnnjax.elman(len(w_h))
    starts = rng.uniform(-1.2, 1.2, (count, len(w_h))).astype(np.float32)
    return fixed_points(cell, with_weights(cell, w_h), NOTHING, starts, **options)


def by_hand(step, size=()):
    """A cell of one array, made by hand: h' = step(h), of no input."""
    return rnnjax.Cell(
        name="by hand",
        init=lambda key, x_spec: (),
        initial_state=lambda params, batch=(), *, key=None: jnp.zeros((*batch, *size)),
        step=lambda params, h, x: ((new := step(h)), new),
    )


@pytest.mark.usefixtures("x64")
def test_a_linear_network_has_the_point_that_solves_it():
    cell = rnnjax.elman(5, activation="identity")
    w_h = rng.normal(size=(5, 5))
    w_h *= 0.9 / np.abs(np.linalg.eigvals(w_h)).max()
    params = with_weights(cell, w_h, rng.normal(size=(3, 5)), rng.normal(size=5), float)
    x = rng.normal(size=3)
    found = fixed_points(cell, params, x, rng.normal(size=(7, 2, 5)))
    want = np.linalg.solve((np.eye(5) - w_h).T, x @ params.w_x + params.b)
    np.testing.assert_allclose(found.points, want[None], atol=1e-9)
    np.testing.assert_allclose(found.jacobians[0], w_h.T, atol=1e-12)
    order = lambda values: np.sort_complex(np.round(values, 9))  # noqa: E731
    np.testing.assert_allclose(order(found.eigenvalues[0]), order(np.linalg.eigvals(w_h)))
    assert (np.diff(np.abs(found.eigenvalues[0])) <= 1e-12).all()
    assert (found.starts, found.lost, found.unstable) == ([14], 0, [0])
    assert found.stable == [True]


@pytest.mark.parametrize("w", [-2.0, -1.1, -0.9, 0.5, 0.9, 1.1, 2.0])
def test_a_unit_of_tanh_has_two_attractors_where_its_weight_is_above_one(w):
    found = of_tanh(w)
    if w <= 1:
        assert np.abs(found.points) == pytest.approx(0, abs=1e-6)
        assert found.unstable.tolist() == [int(w < -1)]  # there it goes to and fro
        return
    h = 1.0
    for _ in range(1000):
        h = np.tanh(w * h)
    np.testing.assert_allclose(sorted(found.points[:, 0]), [-h, 0, h], atol=1e-5)
    assert found.unstable.tolist() == [0, 0, 1]
    assert found.points[2] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(found.eigenvalues[:, 0], [w * (1 - h**2)] * 2 + [w], atol=1e-5)


def test_three_bits_have_a_cube_of_attractors_and_saddles_between_them():
    found = of_tanh(2 * np.eye(3), count=1024)
    assert np.bincount(found.unstable).tolist() == [8, 12, 6, 1]
    assert (np.bincount(found.unstable) == [found.stable.sum(), 12, 6, 1]).all()
    corners = np.sign(found.points[found.stable])
    assert len(np.unique(corners, axis=0)) == 8
    assert (np.abs(corners) == 1).all()
    zeros = (np.abs(found.points) < 1e-3).sum(axis=1)
    np.testing.assert_array_equal(zeros, found.unstable)  # as many ways out as bits undecided
    assert found.starts.sum() == 1024
    assert not found.outlier.any()
    assert not found.line.any()


def test_points_within_the_distance_are_one():
    apart, together = (of_tanh(2.0, distinct=distinct) for distinct in (0.5, 3.0))
    assert len(apart.points) == 3
    assert len(together.points) == 1
    assert together.starts.sum() == 64


def test_a_line_of_points_is_recognised_and_a_point_alone_is_not():
    found = of_tanh(0.0)  # of the same starts' shape: no eigenvalue near 1
    assert not found.line.any()
    cell = rnnjax.elman(3, activation="identity")
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    params = with_weights(cell, turn @ np.diag([1, 0.5, 0.2]) @ turn.T)
    starts = rng.uniform(-1, 1, (100, 3)).astype(np.float32)
    found = fixed_points(cell, params, NOTHING, starts)
    assert found.line.mean() > 0.9  # an end may lie alone
    assert len(found.points) > 20
    assert not found.unstable.any()
    # They are the starts, seen along the eigenvector of 1.
    np.testing.assert_allclose(np.cross(found.points, turn[:, 0]), 0, atol=1e-4)
    assert not of_tanh(0.98).line.any()  # an eigenvalue near 1, and nothing beside it


def test_a_plane_that_turns_onto_itself_is_recognised():
    """Eigenvalues 1 twice: a line in whatever direction its neighbours lie."""
    cell = rnnjax.elman(3, activation="identity")
    params = with_weights(cell, np.diag([1.0, 1.0, 0.1]))
    starts = rng.uniform(-1, 1, (300, 3)).astype(np.float32)
    assert fixed_points(cell, params, NOTHING, starts).line.mean() > 0.9


def test_neighbours_in_another_direction_make_no_line():
    """An eigenvalue of 0.98 one way; the other way there are points close by, apart from it."""

    def step(h):
        along, across = jnp.split(h, 2, -1)
        return jnp.concatenate([0.98 * along, across + jnp.sin(40 * across) / 80], -1)

    starts = rng.uniform(-1, 1, (100, 2)).astype(np.float32)
    found = fixed_points(by_hand(step, (2,)), (), None, starts)
    near = np.abs(found.points[:, 1:] - found.points[:, 1]) < 0.1
    assert (near.sum(axis=0) >= 3).mean() > 0.8  # itself and two more
    assert not found.line.any()


@pytest.mark.parametrize(("gap", "fixed"), [(0.0, True), (1e-3, False), (0.1, None)])
def test_slow_points_lie_between_the_tolerances(gap, fixed):
    """h' = h + h² + gap moves least at 0, by the gap: q = gap² / 2."""
    cell = by_hand(lambda h: h + h * h + gap, (1,))
    starts = np.linspace(-0.5, 0.5, 9, dtype=np.float32)[:, None]
    found = fixed_points(cell, (), None, starts, distinct=0.3)
    if fixed is None:
        assert len(found.points) == 0
        assert found.lost == 9
        return
    assert found.fixed.tolist() == [fixed]
    np.testing.assert_allclose(found.q, gap**2 / 2, rtol=1e-3, atol=1e-12)
    np.testing.assert_allclose(found.points, 0, atol=2e-2)
    assert fixed or not found.stable.any()


def test_what_is_far_from_all_starts_is_an_outlier():
    cell = by_hand(lambda h: 0.5 * h + 5, (2,))  # stands still at 10
    starts = rng.uniform(-1, 1, (10, 2)).astype(np.float32)
    assert fixed_points(cell, (), None, starts).outlier.tolist() == [True]
    assert fixed_points(cell, (), None, starts + 10).outlier.tolist() == [False]


def test_steps_that_lead_uphill_are_shortened():
    """F(h) - h = arctan h, of which Newton's steps from beyond 1.39 lead ever farther away."""
    cell = by_hand(lambda h: h + jnp.arctan(h), (1,))
    found = fixed_points(cell, (), None, np.array([[2], [3], [-4], [5]], np.float32))
    np.testing.assert_allclose(found.points, [[0]], atol=1e-5)
    assert (found.starts, found.lost) == ([4], 0)


def test_what_is_not_finite_leads_nowhere():
    cell = by_hand(lambda h: jnp.log(h), (1,))
    found = fixed_points(cell, (), None, -np.ones((3, 1), np.float32))
    assert (len(found.points), found.lost) == (0, 3)


def test_counters_stay_as_the_starts_have_them():
    cell = rnnjax.Cell(
        name="counting",
        init=lambda key, x_spec: (),
        initial_state=lambda params, batch=(), *, key=None: {
            "h": jnp.zeros(batch), "n": jnp.zeros(batch, jnp.int32),
        },
        step=lambda params, s, x: (
            {"h": 0.5 * s["h"] + s["n"].astype(jnp.float32) + x, "n": s["n"] + 1}, s["h"],
        ),
        x_ndims=0,
    )  # fmt: skip
    starts = {"h": np.zeros(4, np.float32), "n": np.array([1, 2, 1, 3], np.int32)}
    found = fixed_points(cell, (), np.float32(0.5), starts)
    order = np.argsort(found.points[:, 0])
    np.testing.assert_allclose(found.points[order, 0], [3, 5, 7], rtol=1e-5)
    assert found.starts[order].tolist() == [2, 1, 1]
    assert found.states["n"][order].tolist() == [1, 2, 3]
    np.testing.assert_allclose(found.states["h"][order], [3, 5, 7], rtol=1e-5)
    with pytest.raises(ValueError, match=r"select: n has no real or complex numbers"):
        fixed_points(cell, (), np.float32(0.5), starts, select="n")
    half = with_weights(rnnjax.elman(1), np.eye(1), dtype=np.float16)
    with pytest.raises(ValueError, match=r"of float16, too coarse.*pass starts"):
        fixed_points(
            rnnjax.elman(1), half, NOTHING.astype(np.float16), np.zeros((4, 1), np.float16)
        )


@pytest.mark.usefixtures("x64")
def test_any_cell_stands_still_where_it_is_said_to():
    cell = rnnjax.stack(low=rnnjax.gru(3), high=rnnjax.lstm(2))
    params = cell.init(jax.random.key(3), jax.ShapeDtypeStruct((2,), float))
    params = jax.tree.map(lambda w: 2 * w, params)
    x = np.array([0.3, -1.0])
    starts = cell.initial_state(params, (20,))
    starts = jax.tree.map(lambda a: a + rng.uniform(-1, 1, a.shape), starts)
    found = fixed_points(cell, params, x, starts)
    assert found.fixed.any()

    def vector(state):
        return np.concatenate([np.asarray(leaf) for leaf in jax.tree.leaves(state)], -1)

    after, _ = jax.jit(cell.step)(params, found.states, x)
    moved = np.square(vector(after) - found.points).sum(axis=1) / 2
    np.testing.assert_allclose(moved, found.q, atol=1e-20)
    # The Jacobian by central differences.
    tree = jax.tree.structure(found.states)
    splits = np.cumsum([leaf.shape[-1] for leaf in jax.tree.leaves(found.states)])[:-1]
    size, step = found.points.shape[-1], 1e-6
    shifted = found.points[0] + step * np.concatenate([np.eye(size), -np.eye(size)])
    states = tree.unflatten(np.split(shifted, splits, axis=-1))
    after = vector(cell.step(params, states, x)[0])
    want = (after[:size] - after[size:]).T / (2 * step)
    np.testing.assert_allclose(found.jacobians[0], want, atol=1e-8)


def test_what_will_not_do_is_said():
    cell = rnnjax.elman(2)
    params = with_weights(cell, np.eye(2))
    starts = np.zeros((3, 2), np.float32)
    with pytest.raises(ValueError, match=r"x has shape \[5, 1\].*without batch axes"):
        fixed_points(cell, params, np.zeros((5, 1), np.float32), starts)
    with pytest.raises(ValueError, match="slow must be a number, at least 0"):
        fixed_points(cell, params, NOTHING, starts, slow=-1.0)
    with pytest.raises(ValueError, match="steps must be a positive int"):
        fixed_points(cell, params, NOTHING, starts, steps=0)
    with pytest.raises(TypeError, match="cell must be a Cell"):
        fixed_points(np.tanh, params, NOTHING, starts)
    with pytest.raises(TypeError, match="pass the cell without clip_gradient"):
        fixed_points(rnnjax.clip_gradient(cell, 0.1), params, NOTHING, starts)


@pytest.mark.slow
@pytest.mark.optimised
def test_a_trained_network_of_three_bits_has_a_cube_of_attractors(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    landscape = importlib.import_module("make_landscape")
    with jax.numpy_dtype_promotion("standard"):
        _, params, _ = landscape.flip_flop()
    cell, own = rnnjax.gru(24), params["rnn"]
    xs, _ = landscape.pulses(jax.random.key(2), 64)
    vectors = np.asarray(trajectory(cell, own, xs).vectors).reshape(-1, 24)
    starts = vectors[rng.choice(len(vectors), 1024, replace=False)]
    found = fixed_points(cell, own, np.zeros(3, np.float32), starts)
    assert found.stable.sum() == 8
    bits = found.points[found.stable] @ params["readout"].w + params["readout"].b
    assert len(np.unique(np.sign(bits), axis=0)) == 8
    assert (np.abs(bits) > 0.5).all()  # every bit is decided


@pytest.mark.parametrize("kind", [None, "3d"])
def test_a_picture_tells_kinds_apart_by_their_marks(kind):
    cell = rnnjax.elman(3)
    found = of_tanh(2 * np.eye(3), count=1024)
    path = trajectory(cell, with_weights(cell, 2 * np.eye(3)), np.zeros((4, 5, 1), np.float32))
    axes = Figure().add_subplot(projection=kind)
    states = np.asarray(path.vectors) + rng.normal(size=(4, 5, 3)) * [3, 2, 1]
    plot_fixed_points(axes, found, states)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["attractor (8)", "1 way out (12)", "2 ways out (6)", "3 ways out (1)"]
    marks = [tuple(c.get_paths()[0].vertices.shape) for c in axes.collections]
    assert len(set(marks)) == 4
    filled = [c.get_facecolor()[0].tolist() != [1, 1, 1, 1] for c in axes.collections]
    assert filled == [True, False, False, False]
    assert len(axes.lines) == 5
    cloud = states.reshape(-1, 3) - states.reshape(-1, 3).mean(0)
    share = np.linalg.eigvalsh(cloud.T @ cloud)[::-1] / np.square(cloud).sum()
    assert axes.get_xlabel() == f"PC 1 ({share[0]:.0%} of variance)"
    assert axes.get_ylabel() == f"PC 2 ({share[1]:.0%} of variance)"
