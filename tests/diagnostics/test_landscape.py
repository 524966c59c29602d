"""Slices, paths and the cliff against quadratic forms, loops in NumPy and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from matplotlib.figure import Figure
from tracing import traces

from rnnjax.diagnostics import (
    cliff,
    cliff_loss,
    descent,
    loss_slice,
    plot_cliff,
    plot_loss_slice,
    random_direction,
)
from rnnjax.train import optimizer

rng = np.random.default_rng(0)
A = np.array([[2.0, 0.3], [0.3, 0.5]])


def bowl(params):
    """A quadratic form of a tree."""
    θ = jnp.stack([params["a"][0], params["b"]])
    return θ @ jnp.asarray(A, θ.dtype) @ θ / 2


HERE = {"a": np.array([1.0], np.float32), "b": np.float32(-2)}
ALONG = (
    {"a": np.array([1.0], np.float32), "b": np.float32(0)},
    {"a": np.array([1.0], np.float32), "b": np.float32(3)},
)


def of_bowl(α, β):
    θ = np.array([1 + α + β, -2 + 3 * β])
    return θ @ A @ θ / 2


def test_slices_of_a_bowl():
    at = np.array([-1.0, 0.5, 2.0])
    line = loss_slice(bowl, HERE, ALONG[:1], at)
    np.testing.assert_allclose(line.values, [of_bowl(α, 0) for α in at], rtol=1e-5)
    plane = loss_slice(bowl, HERE, ALONG, (at, at[:2]), rows=4)
    assert plane.values.shape == (3, 2)
    want = [[of_bowl(α, β) for β in at[:2]] for α in at]
    np.testing.assert_allclose(plane.values, want, rtol=1e-5)
    assert [axis.tolist() for axis in plane.at] == [at.tolist(), at[:2].tolist()]
    assert loss_slice(bowl, HERE, ALONG[:1]).values[25] == pytest.approx(of_bowl(0, 0))


def test_a_loss_is_compiled_once():
    bias = jnp.float32(0.5)

    def loss(params):
        return jnp.square(params["w"] + bias).sum()

    params, along = {"w": np.ones(2, np.float32)}, [{"w": np.ones(2, np.float32)}]
    one = loss_slice(loss, params, along, [0.0, 1.0])
    with traces(anything=False):
        other = loss_slice(loss, {"w": np.zeros(2, np.float32)}, along, [1.0, 2.0])
    np.testing.assert_allclose(one.values, [4.5, 12.5])
    np.testing.assert_allclose(other.values, one.values)
    bias = jnp.float32(-1)  # what it reads has changed
    np.testing.assert_allclose(loss_slice(loss, params, along, [0.0, 1.0]).values, [0, 2])
    cliff([5.0], [-2.4], steps=2)
    with traces(anything=False):
        found = cliff([4.0], [-2.0], steps=2)
    assert found.loss == pytest.approx(unit_loss(4.0, -2.0, 2), rel=1e-5)


def test_what_is_no_real_number_stays():
    """Integers, strings; a float of Python's own moves."""
    params = {"w": np.ones((2, 2), np.float32), "n": np.int32(3), "kind": "square", "rate": 0.5}
    along = {**params, "n": np.int32(7), "rate": 1.0}

    def loss(params):
        assert params["kind"] == "square"
        return params["rate"] * params["n"].astype(jnp.float32) * params["w"].sum()

    drawn = random_direction(jax.random.key(0), params)
    assert (drawn["n"], drawn["kind"], drawn["rate"]) == (0, "square", 0)
    values = loss_slice(loss, params, [along], [0.0, 1.0]).values
    np.testing.assert_allclose(values, [6, 36])
    path = descent(loss, params, optax.sgd(0.1), 1)
    assert path.params["n"].tolist() == [3, 3]
    np.testing.assert_allclose(path.params["rate"], [0.5, 0.5 - 0.1 * 12], rtol=1e-6)
    for wrong, came in ((lambda p: p["w"], r"float32\[2, 2\]"), (lambda p: (1.0, 2.0), "tuple")):
        with pytest.raises(TypeError, match=f"loss must return one real number.*got {came}"):
            loss_slice(wrong, params, [along])
        with pytest.raises(TypeError, match=f"loss must return one real number.*got {came}"):
            descent(wrong, params, optax.sgd(0.1), 1)


def test_directions_have_to_be_like_the_parameters():
    with pytest.raises(ValueError, match="one or two trees, got 3"):
        loss_slice(bowl, HERE, ALONG + ALONG[:1])
    with pytest.raises(ValueError, match=r"directions\[1\] has leaves"):
        loss_slice(bowl, HERE, (ALONG[0], {**ALONG[1], "b": np.zeros(2)}))
    with pytest.raises(ValueError, match=r"directions\[0\] has leaves"):
        loss_slice(bowl, HERE, ({"a": ALONG[0]["a"]},))
    for along, at in ((ALONG[:1], (-1.0, 0.0, 1.0)), (ALONG, (0.0, 1.0)), (ALONG[:1], 1.0)):
        with pytest.raises(ValueError, match="at must be numbers"):
            loss_slice(bowl, HERE, along, at)


def test_a_random_direction_is_as_long_as_the_weights_filter_by_filter():
    params = {
        "w": rng.normal(size=(4, 3)).astype(np.float32) * [1, 10, 0],
        "kernel": rng.normal(size=(2, 2, 3, 5)).astype(np.float32),
        "b": np.ones(3, np.float32),
        "n": np.ones((2, 2), np.int32),
    }
    params["w"] = params["w"].astype(np.float32)
    found, other = (random_direction(jax.random.key(k), params) for k in (0, 1))
    for name in ("w", "kernel"):
        axes = tuple(range(params[name].ndim - 1))
        sizes, want = (np.sqrt(np.square(a[name]).sum(axes)) for a in (found, params))
        np.testing.assert_allclose(sizes, want, rtol=1e-5)
        assert np.abs(found[name] - other[name]).max() > 0.1
        assert np.abs(found[name] - params[name]).max() > 0.1
    assert not np.any(found["b"])
    assert not np.any(found["n"])
    same = random_direction(jax.random.key(0), {"u": params["w"], "v": params["w"]})
    assert np.abs(same["u"] - same["v"]).max() > 0.1


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_path_is_that_of_a_loop(clip):
    path = descent(bowl, HERE, optimizer("sgd", 0.3, clip_norm=clip), 5)
    θ = np.array([1.0, -2.0])
    for n in range(6):
        gradient = A @ θ
        norm = np.linalg.norm(gradient)
        np.testing.assert_allclose([path.params["a"][n, 0], path.params["b"][n]], θ, rtol=1e-5)
        np.testing.assert_allclose(path.loss[n], θ @ A @ θ / 2, rtol=1e-5)
        np.testing.assert_allclose(path.norm[n], norm, rtol=1e-5)
        θ = θ - 0.3 * gradient * (1 if clip is None else min(1, clip / norm))
    assert len(path.loss) == 6


def unit_loss(w, b, steps):
    """The equations of the paper, in float64."""
    σ = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    x = 0.5
    for _ in range(steps):
        x = w * σ(x) + b
    return (σ(x) - 0.7) ** 2


@pytest.mark.usefixtures("x64")
def test_the_cliff_is_that_of_the_paper():
    found = cliff([4.2, 5.0, 6.0], [-3.0, -2.4], steps=20)
    want = [[unit_loss(w, b, 20) for b in (-3.0, -2.4)] for w in (4.2, 5.0, 6.0)]
    np.testing.assert_allclose(found.loss, want, rtol=1e-10)
    w, b, h = 5.0, -2.51, 1e-6
    gradient = jax.jit(jax.grad(lambda p: cliff_loss(p, 20)))(
        {"w": jnp.array(w), "b": jnp.array(b)}
    )
    by_w = (unit_loss(w + h, b, 20) - unit_loss(w - h, b, 20)) / (2 * h)
    by_b = (unit_loss(w, b + h, 20) - unit_loss(w, b - h, 20)) / (2 * h)
    np.testing.assert_allclose([gradient["w"], gradient["b"]], [by_w, by_b], rtol=1e-6)
    assert cliff([5.0], [-2.4]).loss == pytest.approx(unit_loss(5.0, -2.4, 50))


@pytest.mark.parametrize("kind", [None, "3d"])
def test_pictures_show_what_stays_in_sight(kind):
    surface = cliff(np.linspace(4, 6, 4), np.linspace(-3, -2, 3), steps=3)
    begin = {"w": jnp.array(5.0), "b": jnp.array(-2.5)}
    path = descent(lambda p: cliff_loss(p, 3), begin, optax.sgd(0.1), 1)
    thrown = path._replace(params={"w": np.array([5.0, 9.0]), "b": np.array([-2.5, -2.5])})
    axes = Figure().add_subplot(projection=kind)
    plot_cliff(axes, surface, {"stays": path, "thrown": thrown})
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["stays", "thrown"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("recurrent weight w", "bias b")
    stays, leaves = axes.lines
    first = lambda line: np.asarray(line.get_data_3d()[0] if kind else line.get_xdata())  # noqa: E731
    np.testing.assert_allclose(first(stays), path.params["w"])
    assert np.isnan(first(leaves)[1]) if kind else first(leaves)[1] == 9
    assert kind or axes.get_xlim() == (4, 6)
    assert stays.get_marker() != leaves.get_marker()


def test_slices_are_drawn():
    axes = Figure().add_subplot()
    line = loss_slice(bowl, HERE, ALONG[:1], np.linspace(-1, 1, 5))
    plot_loss_slice(axes, line)
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), line.values)
    assert axes.get_ylabel() == "loss"
    axes = Figure().add_subplot()
    plot_loss_slice(axes, loss_slice(bowl, HERE, ALONG, np.linspace(-1, 1, 5)))
    assert (axes.get_xlabel(), axes.get_ylabel()) == (
        "along the first direction",
        "along the second direction",
    )
    assert axes.collections
