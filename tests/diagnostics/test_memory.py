"""States over time and what is remembered, against delay lines, closed forms and planted units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import rnnjax
from rnnjax.diagnostics import (
    memory,
    plot_memory,
    plot_state_norms,
    plot_trajectory,
    plot_unit_statistics,
    state_norms,
    trajectory,
    unit_statistics,
)
from rnnjax.diagnostics.states import Trajectory

rng = np.random.default_rng(0)
N = 6

DELAY_LINE = rnnjax.Cell(
    name="delay line",
    init=lambda key, x_spec: (),
    initial_state=lambda params, batch=(), *, key=None: jnp.zeros((*batch, N)),
    step=lambda params, s, x: ((new := jnp.concatenate([x, s[..., :-1]], -1)), new),
)


def as_path(vectors, real=None):
    """A trajectory of one leaf."""
    real = np.ones(vectors.shape[:-1], bool) if real is None else real
    size = vectors.shape[-1]
    return Trajectory(
        vectors, real, [f"state[{n}]" for n in range(size)], {"state": slice(0, size)}
    )


@pytest.mark.parametrize("rows", [(), (2,)])
def test_a_delay_line_has_as_much_memory_as_units(rows):
    us = rng.normal(size=(2000, *rows, 1)).astype(np.float32)
    found = memory(trajectory(DELAY_LINE, (), us), us, 2 * N)
    np.testing.assert_allclose(found.shares[:N, 0], 1, atol=1e-6)
    assert (found.shares[N:] < 0.01).all()
    assert found.capacity == pytest.approx(N, abs=0.03)
    assert found.lags.tolist() == list(range(2 * N))


def test_a_leaky_sum_forgets_as_its_weight_says():
    """Of s = Σ a^k u_{t-k} the share of lag k is a^2k (1 - a²)."""
    a = 0.8
    us = rng.normal(size=(40_000, 1))
    s = np.zeros((len(us), 1))
    for t in range(len(us)):
        s[t] = a * s[t - 1] * (t > 0) + us[t]
    lags = [3, 0, 1]
    found = memory(as_path(s), us[:, 0], lags)
    want = a ** (2 * np.array(lags)) * (1 - a**2)
    np.testing.assert_allclose(found.shares[:, 0], want, atol=4 / np.sqrt(20_000))
    assert found.lags.tolist() == lags
    np.testing.assert_allclose(found.capacity, found.shares.sum(0))


def test_chance_is_not_memory():
    """As many numbers as steps explain anything that they are fitted on."""
    found = memory(as_path(rng.normal(size=(220, 40))), rng.normal(size=(220, 3)), 20)
    assert found.shares.mean() < 0.05


def test_padding_is_neither_fitted_nor_judged():
    us = rng.normal(size=(200, 2, 1)).astype(np.float32)
    lengths = np.array([200, 0])
    both = trajectory(DELAY_LINE, (), us, lengths=lengths)
    np.testing.assert_array_equal(both.real, np.arange(200)[:, None] < lengths)
    alone = trajectory(DELAY_LINE, (), us[:, :1])
    found, want = (memory(path, u, 8) for path, u in ((both, us), (alone, us[:, :1])))
    np.testing.assert_allclose(found.shares, want.shares, atol=1e-12)


def test_steps_and_features_have_to_agree():
    path = as_path(rng.normal(size=(30, 2, 20)))
    with pytest.raises(ValueError, match=r"inputs has shape \[30, 3, 1\].*\[30, 2\]"):
        memory(path, np.zeros((30, 3, 1)))
    with pytest.raises(ValueError, match=r"30 steps.*the longest lag, 24.*the 20 numbers"):
        memory(path, np.zeros((30, 2, 1)), 25)
    with pytest.raises(ValueError, match="lags must be a positive int"):
        memory(path, np.zeros((30, 2, 1)), 0)
    with pytest.raises(ValueError, match="lags must name at least one, got none"):
        memory(path, np.zeros((30, 2, 1)), [])
    with pytest.raises(TypeError, match=r"lags must be a positive int, got 3\.0"):
        memory(path, np.zeros((30, 2, 1)), 3.0)
    assert memory(path, np.zeros((30, 2, 1)), np.int64(3)).lags.tolist() == [0, 1, 2]


def test_a_trajectory_is_the_states_of_a_loop_of_steps():
    cell = rnnjax.lstm(3)
    params = cell.init(jax.random.key(0), 2)
    xs = rng.normal(size=(5, 2, 2)).astype(np.float32)
    path = trajectory(cell, params, xs, lengths=np.array([5, 3]))
    state = cell.initial_state(params, (2,))
    norms = state_norms(path)
    for t, x in enumerate(xs):
        state, _ = cell.step(params, state, x)
        want = np.concatenate([state.h, state.c], -1)
        want[1 if t >= 3 else 2 :] = 0
        np.testing.assert_allclose(path.vectors[t], want, atol=1e-6)
        for leaf in ("h", "c"):
            size = np.sqrt(np.square(np.asarray(getattr(state, leaf))).sum(-1))
            np.testing.assert_allclose(norms[leaf][t, 0], size[0], rtol=1e-5)
    assert np.isnan(norms["c"][3:, 1]).all()
    assert np.isfinite(norms["c"][:3]).all()
    assert path.names[3] == "c[0]"
    assert trajectory(cell, params, xs, select="c").vectors.shape == (5, 2, 3)


def test_planted_dead_and_doubled_units_are_found():
    cell = rnnjax.elman(6, activation="relu")
    params = cell.init(jax.random.key(0), 3)
    w_x, w_h, b = (np.array(a) for a in params)
    b[2] = -50
    for weights in (w_x, w_h, b):
        weights[..., 5] = weights[..., 1]
    params = type(params)(w_x, w_h, b)
    found = unit_statistics(trajectory(cell, params, rng.normal(size=(40, 3, 3)).astype("f")))
    assert np.flatnonzero(found.dead).tolist() == [2]
    assert found.twin.tolist() == [-1, -1, -1, -1, -1, 1]
    assert found.correlations[5, 1] == pytest.approx(1)
    assert (found.correlations[2] == 0).all()


def test_units_are_judged_beside_those_of_their_leaf_at_real_steps():
    values = rng.normal(size=(50, 4)) * [1, 1, 1e-4, 1e-4]
    values[:, 3] *= -1
    values[:, 1] = -values[:, 0]
    real = np.arange(50) < 30
    values[30:] = 1e3  # padding
    path = as_path(values, real)
    found = unit_statistics(path)
    np.testing.assert_allclose(found.deviations, values[:30].std(0))
    assert found.dead.tolist() == [False, False, True, True]
    assert found.twin.tolist() == [-1, 0, -1, -1]  # the opposite is no news either
    by_leaf = path._replace(leaves={"h": slice(0, 2), "c": slice(2, 4)})
    assert not unit_statistics(by_leaf).dead.any()
    with pytest.raises(ValueError, match="path has 1 real steps"):
        unit_statistics(as_path(values, np.arange(50) < 1))


def test_pictures_say_what_they_show():
    us = rng.normal(size=(200, 2, 1)).astype(np.float32)
    path = trajectory(DELAY_LINE, (), us)
    axes = Figure().add_subplot()
    plot_memory(axes, {"line": memory(path, us, 4)})
    assert axes.get_legend().get_texts()[0].get_text() == "line (capacity 4.0)"
    np.testing.assert_allclose(axes.lines[0].get_ydata(), 1, atol=1e-6)
    axes = Figure().add_subplot()
    norms = state_norms(path)
    plot_state_norms(axes, norms)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.median(norms["state"], axis=1))
    values = rng.normal(size=(50, 3)) * [1, 1, 0]
    axes = Figure().add_subplot()
    values[:, 1] = values[:, 0]
    plot_unit_statistics(axes, unit_statistics(as_path(values)))
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["dead (1)", "does what another does (1)"]
    assert [line.get_xdata().tolist() for line in axes.lines] == [[2], [0]]


@pytest.mark.parametrize("kind", [None, "3d"])
def test_paths_of_states_are_drawn_in_the_directions_of_most_variance(kind):
    vectors = rng.normal(size=(8, 3, 4)) * [0.1, 5, 1, 0.3]
    real = np.arange(8)[:, None] < np.array([8, 5, 0])
    vectors[~real] = 1e3
    axes = Figure().add_subplot(projection=kind)
    plot_trajectory(axes, as_path(vectors, real))
    values = vectors[real] - vectors[real].mean(0)
    ndim = 3 if kind else 2
    variances, directions = np.linalg.eigh(values.T @ values)
    want = np.abs((vectors - vectors[real].mean(0)) @ directions[:, ::-1][:, :ndim])
    *paths, first, last = axes.lines
    for line, row, steps in ((paths[0], 0, 8), (paths[1], 1, 5)):
        found = np.stack(line.get_data_3d() if kind else line.get_data(), -1)
        np.testing.assert_allclose(np.abs(found), want[:steps, row], atol=1e-9)
    assert len(paths) == 2  # a row of no steps has no path
    for ends, steps in ((first, [0, 0]), (last, [7, 4])):
        found = np.stack(ends.get_data_3d() if kind else ends.get_data(), -1)
        np.testing.assert_allclose(np.abs(found), want[steps, [0, 1]], atol=1e-9)
    assert axes.get_xlabel() == f"PC 1 ({variances[-1] / variances.sum():.0%} of variance)"
    with pytest.raises(ValueError, match=f"1 points of 4 numbers have no {ndim} directions"):
        plot_trajectory(axes, as_path(vectors[:1, :1]))
