"""Gates against equations in NumPy, and their statistics by hand."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import rnnjax
from rnnjax._cell import step_spec
from rnnjax.diagnostics import (
    gate_statistics,
    gates,
    plot_gate_histogram,
    plot_gate_statistics,
    plot_gates,
    plot_time_constants,
    time_constants,
)
from rnnjax.diagnostics.gates import NAMES

rng = np.random.default_rng(0)
XS = rng.normal(size=(4, 2, 3)).astype(np.float32)
# Sizes that have no default, and cells whose gates a bias of H columns each does not open alone:
# another name of fields, heads, or gates that are made of other gates.
SIZES = {
    "projected_lstm": (5, 2),
    "conv_lstm": ((2, 2), 2),
    "conv_gru": ((2, 2), 2),
    "rg_lru": (3,),
}
OTHER = {"atr", "mlstm", "brc", "nbrc", "qrnn", "sru", "rg_lru", "gru_d"}


def σ(x):
    return 1 / (1 + np.exp(-np.asarray(x, float)))


def made(name):
    """(cell, params, inputs) of a name."""
    cell = getattr(rnnjax, name)(*SIZES.get(name, (5,)))
    shape = (1, 2, 2, 2, 3) if name.startswith("conv") else (1, 2, 3)
    xs = jnp.asarray(rng.normal(size=shape), jnp.float32)
    if name == "phased_lstm":
        xs = xs, jnp.ones((1, 2))
    if name == "gru_d":
        xs = xs, jnp.ones((1, 2, 3), bool), jnp.ones((1, 2, 3))
    return cell, cell.init(jax.random.key(0), step_spec(xs)), xs


@pytest.mark.parametrize("name", sorted(NAMES.keys() - {"phased_lstm"}))  # which writes none out
def test_names_are_those_of_the_equations(name):
    cell, params, xs = made(name)
    found = jax.eval_shape(lambda params: gates(cell, params, xs), params)
    assert set(found) == set(NAMES[name].split())
    equations = getattr(rnnjax, name).__doc__
    for gate in found:
        assert re.search(rf"σ\({gate}\b|\b{gate}\b[^=\n]*= σ\(", equations), gate


@pytest.mark.parametrize("name", sorted(NAMES.keys() - OTHER))
def test_a_gate_is_opened_by_the_bias_of_its_own_columns(name):
    cell, params, xs = made(name)
    order = re.search(r"in the order ([^.;,]*(, [^.;,\s]+)*)", type(params).__doc__)[1]
    columns = order.split(", ")
    found = jax.jit(lambda params: gates(cell, params, xs))
    before = found(params)
    for gate in before:
        size = before[gate].shape[-1]
        place = columns.index(gate)
        b = np.array(params.b)
        b[size * place : size * place + size] += 50
        after = found(params._replace(b=jnp.asarray(b)))
        assert (np.asarray(after[gate]) > 0.999).all()
        for other in set(before) - {gate}:
            if other != "o" or name not in ("peephole_lstm", "phased_lstm"):  # it sees the memory
                np.testing.assert_allclose(after[other], before[other], atol=1e-6)


def test_a_cell_that_is_called_alike_has_no_names():
    @rnnjax.cell_factory
    def lstm(size: int) -> rnnjax.Cell:
        return BY_HAND  # of as many gates

    found = gates(lstm(2), WEIGHTS, XS[:1])
    assert list(found) == ["gate 0", "gate 1", "gate 2"]


def test_the_gates_of_an_lstm_are_those_of_its_equations():
    cell = rnnjax.lstm(3)
    params = cell.init(jax.random.key(1), 3)
    found = gates(cell, params, XS, lengths=np.array([4, 2]))
    assert list(found) == ["f", "i", "o"]  # as they are computed
    h = c = np.zeros((2, 3))
    w_x, w_h, b = (np.asarray(a, float) for a in params)
    for t, x in enumerate(XS):
        i, f, g, o = np.split(x @ w_x + h @ w_h + b, 4, axis=-1)
        real = np.array([True, t < 2])[:, None]
        for name, a in (("f", f), ("i", i), ("o", o)):
            np.testing.assert_allclose(found[name][t], np.where(real, σ(a), 0), atol=1e-6)
        c = σ(f) * c + σ(i) * np.tanh(g)
        h = σ(o) * np.tanh(c)


def by_hand(params, h, x):
    """Gates side by side in a jitted function, one of parameters alone, one of another kind."""

    @jax.jit
    def both(a):
        return jnp.split(jax.nn.sigmoid(a), 2, -1)

    a, b = both(jnp.concatenate([x, h], -1) @ params["w"])
    rate = jax.nn.sigmoid(params["rate"])
    c = jax.nn.sigmoid(h.sum(-1))
    h = rate * a * h + b * jnp.tanh(x @ params["u"]) + c[..., None]
    return h, h


BY_HAND = rnnjax.Cell(
    name="by hand",
    init=lambda key, x_spec: {},
    initial_state=lambda params, batch=(), *, key=None: jnp.zeros((*batch, 2)),
    step=by_hand,
)
WEIGHTS = {
    "w": rng.normal(size=(5, 4)).astype(np.float32),
    "u": rng.normal(size=(3, 2)).astype(np.float32),
    "rate": np.float32(0.3),
}


def test_any_step_is_looked_into():
    found = gates(BY_HAND, WEIGHTS, XS)
    assert {name: gate.shape for name, gate in found.items()} == {
        "gate 0": (4, 2, 2), "gate 1": (4, 2, 2), "gate 2": (4, 2),
    }  # fmt: skip
    want = σ(np.concatenate([XS[0], np.zeros((2, 2))], -1) @ WEIGHTS["w"])
    np.testing.assert_allclose(found["gate 0"][0], want[:, :2], atol=1e-6)
    np.testing.assert_allclose(found["gate 1"][0], want[:, 2:], atol=1e-6)
    np.testing.assert_allclose(found["gate 2"][0], 0.5, atol=1e-6)
    named = gates(BY_HAND, WEIGHTS, XS, names=["keep", "write", "add"])
    assert list(named) == ["keep", "write", "add"]
    np.testing.assert_array_equal(named["write"], found["gate 1"])


def test_names_are_those_of_the_parts():
    cell = rnnjax.stack(low=rnnjax.gru(2), high=rnnjax.zoneout(rnnjax.lstm(2), 0.1))
    params = cell.init(jax.random.key(0), 3)
    assert list(gates(cell, params, XS)) == ["low.r", "low.z", "high.f", "high.i", "high.o"]
    # One that is not known: all have numbers, rather than wrong names.
    params = (WEIGHTS, rnnjax.gru(2).init(jax.random.key(0), 2))
    found = gates(rnnjax.stack(BY_HAND, rnnjax.gru(2)), params, XS)
    assert list(found) == [f"gate {n}" for n in range(5)]


def test_what_has_no_gates_or_others_is_said():
    cell = rnnjax.elman(2)
    with pytest.raises(ValueError, match=r"elman\(2\) has 0 gates \(none\)"):
        gates(cell, cell.init(jax.random.key(0), 3), XS)
    with pytest.raises(ValueError, match=r"has 3 gates .*as many names"):
        gates(BY_HAND, WEIGHTS, XS, names=["keep"])
    with pytest.raises(TypeError, match="cell must be a Cell"):
        gates(by_hand, WEIGHTS, XS)


def test_statistics_are_those_of_real_steps():
    values = np.array([[[0.05, 0.5], [0.95, 0.5]], [[0.99, 0.1], [0.0, 0.0]]])  # [T, B, G]
    mask = np.array([[True, True], [True, False]])
    found = gate_statistics({"f": values}, mask, bins=4)["f"]
    np.testing.assert_allclose(found.low, [1 / 3, 0])
    np.testing.assert_allclose(found.high, [2 / 3, 0])
    np.testing.assert_allclose(found.mean, [1.99 / 3, 1.1 / 3])
    assert found.counts.tolist() == [2, 0, 2, 2]
    assert found.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert gate_statistics({"f": values})["f"].low[0] == 0.5


def test_a_time_constant_is_when_one_in_e_is_left():
    kept = np.array([np.exp(-0.5), 0.9, 1.0])
    values = np.broadcast_to(kept, (7, 2, 3))
    found = time_constants(values)
    np.testing.assert_allclose(found[:2], [2, -1 / np.log(0.9)])
    assert found[2] == np.inf
    # One that changes is as good as its geometric mean, padding aside.
    values = np.array([0.5, 0.8, 0.0])[:, None, None]
    mask = np.array([True, True, False])[:, None]
    assert time_constants(values, mask) == pytest.approx(-2 / np.log(0.4))


def test_a_gate_is_drawn_over_what_it_reads():
    axes = Figure().add_subplot()
    values = rng.uniform(size=(4, 3))
    plot_gates(axes, "a b\n", values)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a", "␣", "b", "⏎"]
    np.testing.assert_array_equal(axes.images[0].get_array(), values.T)
    assert axes.images[0].get_clim() == (0, 1)
    with pytest.raises(ValueError, match=r"text has 3 steps, values are \[4, 3\]"):
        plot_gates(axes, "abc", values)


def test_pictures_say_what_they_show():
    statistics = gate_statistics({"f": np.full((4, 2), 0.95), "i": np.full((4, 2), 0.05)})
    for plot in (plot_gate_statistics, plot_gate_histogram):
        axes = Figure().add_subplot()
        plot(axes, statistics)
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["f", "i"]
    axes = Figure().add_subplot()
    plot_gate_statistics(axes, statistics)
    places = [c.get_offsets().tolist() for c in axes.collections]
    assert places == [[[1, 0]] * 2, [[0, 1]] * 2]
    axes = Figure().add_subplot()
    plot_time_constants(axes, {"f": np.array([3.0, 1.0, 2.0])})
    assert axes.lines[0].get_ydata().tolist() == [1, 2, 3]
