"""Contenders compute the same, on the layers that they are measured on."""

import argparse
from collections import Counter

import bench
import bench_cells
import bench_peers
import floor
import jax
import jax.numpy as jnp
import numpy as np
import peers
import pytest
import suite
import timing

import rnnjax
from rnnjax._cell import step_spec
from rnnjax._compile._trace import subprograms

SMALL = {"kind": "gru", "inputs": 3, "units": 4, "length": 6, "batch": 4}
ALL = ("lax.scan", "rnnjax", "flax.linen", "flax.nnx", "haiku", "equinox", "keras", "torch")


def results(name, job):
    if name == "torch":
        pytest.importorskip("torch")
        made = peers.torch_contender(job)
    else:
        made = peers.jax_contender({**job, "peer": name})
    return {key: np.asarray(value) for key, value in made.results.items()}


def assert_all_agree(names, job):
    """All of them; those that lack something are counted out."""
    found, lacking = {}, set()
    for name in names:
        try:
            with jax.numpy_dtype_promotion("standard"):  # as other libraries have it
                found[name] = results(name, job)
        except NotImplementedError:
            lacking.add(name)
    first = found["lax.scan"]
    assert first["outputs"].shape == (6, 4, 4 * job["directions"])
    assert all(set(arrays) == set(first) for arrays in found.values())
    told = suite.disagreements(found)
    assert all(worst < 2e-6 and not reason for worst, reason in told.values()), told
    return lacking


def test_contenders_agree_on_both_directions_of_ragged_rows():
    layout = {"layers": 1, "directions": 2, "padding": "lengths"}
    assert assert_all_agree(("lax.scan", "rnnjax", "torch"), {**SMALL, **layout}) == set()


CELLS_ALONE = {"haiku", "equinox"}
LAYOUTS = [
    ({"layers": 1, "directions": 1, "padding": ""}, set()),
    ({"layers": 2, "directions": 1, "padding": ""}, set()),
    ({"layers": 2, "directions": 2, "padding": "lengths"}, CELLS_ALONE),
    ({"layers": 1, "directions": 1, "padding": "lengths"}, CELLS_ALONE),
    (
        {"layers": 1, "directions": 2, "padding": "mask"},
        {*CELLS_ALONE, "flax.linen", "flax.nnx", "torch"},
    ),
]
NEVER = {"lstm": set(), "gru": {"haiku"}, "elman": {"haiku", "equinox"}}


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "lacking"), LAYOUTS)
@pytest.mark.parametrize("kind", NEVER)
def test_all_contenders_agree(kind, layout, lacking):
    names = (*ALL, *peers.IN_SCAN) if kind == "lstm" and layout == LAYOUTS[0][0] else ALL
    found = assert_all_agree(names, {**SMALL, **layout, "kind": kind})
    assert found == lacking | NEVER[kind]


def test_weights_of_cudnn_lie_as_its_own_module_reads_them():
    from jax.experimental import rnn

    net = peers.Net("lstm", 3, 4, layers=2, directions=2)
    weights = peers.draw_weights(net)
    parts = rnn.unpack_lstm_weights(peers.cudnn_weights(weights), 3, 4, 2, True)
    for place, w in enumerate(w for layer in weights for w in layer):
        want = (w.w_x.T, w.w_h.T, w.b, np.zeros_like(w.b))
        for got, expected in zip(parts, want, strict=True):
            np.testing.assert_array_equal(got[place], expected)
    assert np.size(peers.cudnn_weights(weights)) == rnn.get_num_params_in_lstm(3, 4, 2, True)


def xs_of(t, b, d):
    return jax.ShapeDtypeStruct((t, b, d), jnp.float32)


def products_in(equations, inside=False):
    """(in a loop, entries of the result) of each product of a program."""
    for eqn in equations:
        if eqn.primitive.name == "dot_general":
            yield inside, eqn.outvars[0].aval.size
        looped = inside or eqn.primitive.name in ("while", "scan")
        yield from products_in(subprograms(eqn), looped)


def test_the_floor_has_the_products_of_a_layer_and_of_its_gradient():
    t, b, d, h = 7, 2, 3, 5
    found = floor.products(rnnjax.lstm(h), xs_of(t, b, d))
    assert [(p.kind, p.varying.count(True)) for p in found] == [("parallel", 1), ("loop", 1)]
    functions, args = floor.floor_calls([found], t)
    forward, train = (
        Counter(products_in(jax.make_jaxpr(functions[mode])(args).eqns))
        for mode in ("forward", "train")
    )
    assert forward == {(False, t * b * 4 * h): 1, (True, b * 4 * h): 1}
    # The gradients of h, of xs and of both weights; what they are gradients of is not made again.
    gradients = {(True, b * h), (False, t * b * d), (False, d * 4 * h), (False, h * 4 * h)}
    assert set(train) == gradients | set(forward)
    assert all(train[key] == 1 for key in gradients)


def test_the_floor_of_a_net_runs():
    made = floor.floor_contender(bench_peers.case("lstm", (3, 2, 2, 2), layers=2))
    assert set(made.calls) == set(made.facts) == {"train", "forward"}
    for call in made.calls.values():
        call()


def test_the_floor_waits_for_what_changes_on_both_sides():
    """Fast weights multiply the state by a matrix of the state's."""
    found = floor.products(rnnjax.fast_weights(4), xs_of(5, 2, 3))
    both = [p for p in found if all(p.varying)]
    assert both
    assert all(p.looped for p in both)


@pytest.mark.parametrize("name", bench_cells.names())
def test_every_cell_reads_the_inputs_it_is_measured_on(name):
    case = {"cell": name, "length": 2, "batch": 3, "inputs": 16, "units": 32}
    cell, xs = bench_cells.made(case)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), step_spec(xs)))
    _, ys = jax.eval_shape(lambda p: rnnjax.unroll(cell, p, None, xs), params)
    assert all(y.shape[:2] == (2, 3) for y in jax.tree.leaves(ys))


def test_a_users_cell_is_measured_beside_ours(tmp_path):
    """From the flags to the page, in processes of its own."""
    words = ["quick", "--user", "mine:decay", "--cells", "elman", "--sizes", "5x2x3x4"]
    args = bench.parse([*words, "--out", str(tmp_path)])
    assert isinstance(args, argparse.Namespace)
    assert bench.bench(args) == []
    assert not timing.POOL
    (page,) = tmp_path.glob("*.md")
    text = page.read_text()
    assert "`elman`" in text
    assert "### What stays in the loops of `mine:decay`" in text
    assert "- plain: 1 products, as stages would take longer" in text
    (file,) = tmp_path.glob("*.json")
    rows = {(row["case"]["cell"], row["mode"]): row for row in bench.all_rows(file)}
    assert len(rows) == 4
    for row in rows.values():
        assert set(row["figures"]) == {"lax.scan", "rnnjax", "floor"}
        assert all(len(values) == 3 and min(values) > 0 for values in row["figures"].values())
        assert row["facts"]["rnnjax"]["disagreement"] < 1e-5


def test_a_users_cell_may_be_ready_or_made_but_must_be_a_cell():
    assert bench_cells.user_cell("mine:ready", 7).name == "decay"
    with pytest.raises(TypeError, match="must be a rnnjax"):
        bench_cells.user_cell("builtins:float", 7)


@pytest.mark.slow
def test_the_quick_set_runs_whole(tmp_path):
    assert bench.bench(bench.parse(["quick", "--out", str(tmp_path)])) == []
    (file,) = tmp_path.glob("*.json")
    found = bench.measured(file)
    assert set(found) == set(suite.parts())
    for _, rows in found.values():
        assert all(row["figures"] for row in rows)


def test_contenders_of_a_case_are_those_that_are_asked_for(monkeypatch):
    monkeypatch.setattr(bench_peers, "accelerator", lambda: ("cpu", "cpu"))
    monkeypatch.setattr(bench_peers, "knows", lambda flag: False)
    case = bench_peers.case("lstm", (8, 1, 4, 4))
    every = set(bench_peers.contenders(case))
    assert {"lax.scan", "rnnjax", "haiku", "torch", "floor"} <= every
    asked = set(bench_peers.contenders({**case, "peers": ["flax", "torch"]}))
    assert {name for name in asked if not name.startswith(("lax.scan", "rnnjax", "floor"))} == {
        "torch",
        *(name for name in every if name.startswith("flax")),
    }


def test_the_tuned_are_beside_themselves_as_they_are(monkeypatch):
    monkeypatch.setattr(bench_peers, "accelerator", lambda: ("cpu", "cpu"))
    monkeypatch.setattr(bench_peers, "knows", lambda flag: False)
    found = bench_peers.contenders(bench_peers.case("lstm", (8, 1, 4, 4), group="tuned"))
    asis = ("lax.scan", "flax.linen", "rnnjax")
    assert set(found) == {*asis, *(f"{n}, YNN" for n in asis), "rnnjax, tuned memory"}
    assert found["rnnjax, YNN"]["absent"] == "no flag of this jaxlib"
    assert "env" not in found["rnnjax"]
    assert found["rnnjax, tuned memory"]["tuned"]
    monkeypatch.setattr(bench_peers, "knows", lambda flag: True)
    found = bench_peers.tuned({})
    assert found["rnnjax, YNN"]["env"] == {"XLA_FLAGS": bench_peers.YNN}
    figures = {"rnnjax": [2e-3] * 3, "lax.scan": [4e-3] * 3, "lax.scan, YNN": [6e-3] * 3}
    row = suite.row(bench_peers.case("lstm", (8, 1, 4, 4), group="tuned"), "train", figures)
    line = "| 8, 1, 4, 4 | lax.scan, YNN | 6 | 1.50 [1.50, 1.50] | 3.00 [3.00, 3.00] |"
    assert line in bench_peers.table([row])
    assert bench_peers.headlines([row]) == []
