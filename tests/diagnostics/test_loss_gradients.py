"""Gradients seen from outside: in a loss, in training, in a run, and of cells beside each other."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import assert_bitwise

import rnnjax
from rnnjax.cli import main
from rnnjax.diagnostics import (
    LossGradients,
    compare,
    gradient_flow,
    gradient_record,
    gradients,
    loss_gradients,
    plot_compare,
    plot_gradient_groups,
    plot_gradient_records,
    plot_loss_gradients,
)
from rnnjax.diagnostics._state import Units
from rnnjax.tasks import task_of
from rnnjax.tasks.adding import Adding
from rnnjax.train import fit, generated, init_train_state, load_run, make_train_step, run_task
from rnnjax.train.plot import figure_type

T, B, D, H = 6, 3, 2, 3
RNG = np.random.default_rng(0)
XS = RNG.standard_normal((T, B, D)).astype(np.float32)
LENGTHS = np.array([T, 4, 0])
KEY = jax.random.key(0)
CELL = rnnjax.gru(H)


def loss(params, carried, batch, key):
    ys = rnnjax.unroll(CELL, params, None, batch, lengths=LENGTHS)[1]
    return jnp.square(ys).sum(), (carried, {})


def test_they_are_those_of_the_cell_by_itself():
    params = CELL.init(KEY, D)
    found = loss_gradients(loss, params, (), XS, KEY)
    flow = gradient_flow(
        CELL, params, None, XS, lambda ys: jnp.square(ys), errors="each", lengths=LENGTHS
    )
    assert list(found.lags) == ["gru(3)"]
    np.testing.assert_allclose(found.lags["gru(3)"], flow.by_lag(), rtol=1e-5)
    grads = jax.grad(lambda p: loss(p, (), XS, KEY)[0])(params)
    want = {name: float(jnp.linalg.norm(g)) for name, g in grads._asdict().items()}
    assert {k: float(v) for k, v in found.arrays.items()} == pytest.approx(want, rel=1e-5)
    np.testing.assert_array_equal(found.by_lag(), found.lags["gru(3)"])
    with pytest.raises(ValueError, match=r"at must be one of gru\(3\), got 'rnn'"):
        found.by_lag("rnn")


def test_of_a_mask_with_gaps_lags_are_real_steps():
    mask = np.array([[1, 1, 1], [0, 1, 1], [1, 0, 0], [1, 0, 1], [0, 1, 0], [1, 1, 0]], bool)
    params = CELL.init(KEY, D)

    def masked(params, carried, batch, key):
        return jnp.square(rnnjax.unroll(CELL, params, None, batch, mask=mask)[1]).sum(), ((), {})

    packed = np.zeros_like(XS)
    for row in range(B):
        packed[: mask[:, row].sum(), row] = XS[mask[:, row], row]

    def closed_up(params, carried, batch, key):
        ys = rnnjax.unroll(CELL, params, None, packed, lengths=mask.sum(0))[1]
        return jnp.square(ys).sum(), ((), {})

    found, want = (
        loss_gradients(f, params, (), XS, KEY).lags["gru(3)"] for f in (masked, closed_up)
    )
    np.testing.assert_allclose(found, want, rtol=1e-5)
    assert np.isnan(found).tolist() == [False] * 4 + [True] * 2


@pytest.mark.parametrize("way", ["forward", "reverse"])
def test_a_run_that_the_loss_itself_takes_a_derivative_of_is_not_seen(way):
    """And hides no other: training goes on."""

    def penalised(params, carried, batch, key):
        def run(xs):
            return rnnjax.unroll(CELL, params, None, xs)[1].sum()

        inner = jax.jvp(run, (batch,), (batch,))[1] if way == "forward" else jax.grad(run)(batch)
        value, more = loss(params, carried, batch, key)
        return value + jnp.square(inner).sum(), more

    params = CELL.init(KEY, D)
    found = loss_gradients(penalised, params, (), XS, KEY)
    want = loss_gradients(loss, params, (), XS, KEY)
    inner, outer = found.lags.values()
    assert np.isnan(inner).all()
    np.testing.assert_allclose(outer, want.lags["gru(3)"], rtol=1e-6)
    grads = jax.grad(lambda p: penalised(p, (), XS, KEY)[0])(params)
    want = {name: float(jnp.linalg.norm(g)) for name, g in grads._asdict().items()}
    assert {k: float(v) for k, v in found.arrays.items()} == pytest.approx(want, rel=1e-5)


def test_a_loss_of_another_form_says_so():
    params = {"cell": CELL.init(KEY, D), "layers": np.int32(2)}
    run = lambda params, batch: rnnjax.unroll(CELL, params["cell"], None, batch)[1]  # noqa: E731
    with pytest.raises(TypeError, match=r"loss must return \(value, \(carried, metrics\)\)"):
        loss_gradients(lambda p, c, b, k: run(p, b).sum(), params, (), XS, KEY)
    with pytest.raises(TypeError, match="value of a loss must be a scalar"):
        loss_gradients(lambda p, c, b, k: (run(p, b), (c, {})), params, (), XS, KEY)
    found = loss_gradients(lambda p, c, b, k: (run(p, b).sum(), (c, {})), params, (), XS, KEY)
    assert sorted(found.arrays) == sorted(f"cell.{name}" for name in CELL.init(KEY, D)._fields)
    np.testing.assert_allclose(
        found.groups["cell"], np.linalg.norm([*found.arrays.values()]), rtol=1e-6
    )


def test_every_run_of_a_cell_in_any_model_is_seen():
    encoder = rnnjax.serial(
        low=rnnjax.bidirectional(CELL), mid=rnnjax.linear(H), high=rnnjax.recurrent(CELL)
    )
    params = {"encoder": encoder.init(KEY, D), "decoder": CELL.init(KEY, D)}

    @jax.jit
    def answers(params, xs):
        # What the encoder ends in is where the decoder begins; its outputs are not looked at.
        state, _ = encoder.apply(params["encoder"], xs, lengths=LENGTHS)
        return rnnjax.unroll(CELL, params["decoder"], state["high"], xs[:4], reverse=True)[1]

    def loss(params, carried, batch, key):
        return answers(params, batch)[0].sum(), (carried, {})

    before = loss(params, (), XS, KEY)[0]  # compiled, and not to be used again
    found = loss_gradients(loss, params, (), XS, KEY)
    lengths = {name: len(value) for name, value in found.lags.items()}
    names = ["gru(3)", "gru(3) reversed", "gru(3) #2", "gru(3) reversed #2"]
    assert lengths == dict(zip(names, [T, T, T, 4], strict=True))
    for value in found.lags.values():
        assert np.isfinite(value).all()
        assert (np.asarray(value) > 0).all()
    np.testing.assert_array_equal(loss(params, (), XS, KEY)[0], before)
    # The decoder, by itself; it reads from the end, and its error is at its last step.
    state = encoder.apply(params["encoder"], XS, lengths=LENGTHS)[0]["high"]
    flow = gradient_flow(
        CELL, params["decoder"], state, XS[:4][::-1], lambda ys: ys[-1].sum(), errors="each"
    )
    np.testing.assert_allclose(found.lags["gru(3) reversed #2"], flow.by_lag(), rtol=1e-5)


def test_what_enters_with_the_last_state_is_seen():
    params = CELL.init(KEY, D)
    weights = RNG.standard_normal((B, H)).astype(np.float32)

    def by_state(params, carried, batch, key):
        state, _ = rnnjax.unroll(CELL, params, None, batch, lengths=LENGTHS)
        return (state * weights).sum(), (carried, {})

    def by_output(params, carried, batch, key):
        _, ys = rnnjax.unroll(CELL, params, None, batch, lengths=LENGTHS)
        ends = jnp.stack([ys[5, 0], ys[3, 1], jnp.zeros(H)])
        return (ends * weights).sum(), (carried, {})

    one, other = (loss_gradients(f, params, (), XS, KEY).lags for f in (by_state, by_output))
    np.testing.assert_allclose(one["gru(3)"], other["gru(3)"], rtol=1e-5)


def test_noise_carried_state_and_batch_axes_are_as_in_training():
    cell = rnnjax.stack(drop=rnnjax.dropout(0.5), rnn=rnnjax.lstm(H), readout=rnnjax.linear(1))
    params = cell.init(KEY, D)
    seen = []

    def loss(params, state, batch, key):
        state = rnnjax.rekey(cell, state, key)
        state, ys = rnnjax.unroll(cell, params, state, batch, time_axis=1)
        seen.append(ys.shape)
        return jnp.square(ys).mean(), (state, {})

    optimizer = optax.sgd(0.1)
    begin = cell.initial_state(params, (B,), key=KEY)
    state = init_train_state(params, optimizer, KEY, begin)
    batch = np.moveaxis(XS, 0, 1)
    found = gradient_record(loss)(state, batch)
    _, metrics = make_train_step(loss, optimizer)(state, batch)
    for norms in (found["groups"], found["arrays"]):
        assert np.linalg.norm([*norms.values()]) == pytest.approx(
            float(metrics.grad_norm), rel=1e-5
        )
    assert [*found["groups"]] == ["readout", "rnn"]
    assert set(seen) == {(B, T, 1)}
    (lags,) = found["lags"].values()
    assert len(lags) == T
    assert min(lags) > 0


def test_training_records_them_and_ends_bit_for_bit_as_without():
    source = generated(lambda key, size: jax.random.normal(key, (T, size, D)), B, axes=1)
    step, ends, records = make_train_step(loss, optax.sgd(0.1)), [], []
    for every in (0, 3):
        state = init_train_state(CELL.init(KEY, D), optax.sgd(0.1), KEY)
        ends.append(
            fit(step, state, source, steps=7, gradients=gradient_record(loss),
                gradients_every=every, callbacks=[records.append] if every else ())
        )  # fmt: skip
    assert_bitwise(ends[0], ends[1])
    places = [("gradients" in r, r["step"]) for r in records]
    assert [step for seen, step in places if seen] == [1, 4, 7]
    for n, (seen, step) in enumerate(places):  # behind the steps before, before its own
        assert [s for s_seen, s in places[:n] if not s_seen] == [*range(1, step)] or not seen
    for record in records:
        if "gradients" in record:
            (own,) = (r for r in records if r["step"] == record["step"] and "loss" in r)
            norms = [*record["gradients"]["groups"].values()]
            assert np.linalg.norm(norms) == pytest.approx(own["grad_norm"], rel=1e-5)


def test_a_run_draws_them_and_goes_on_with_them(tmp_path, capsys):
    task = dataclasses.replace(Adding.tiny(tmp_path), gradients_every=2)
    folder = tmp_path / "run"
    run_task(task, folder)

    def recorded():
        records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        return {r["step"]: r["gradients"] for r in records if "gradients" in r}

    found = recorded()
    assert list(found) == [1, 3, 5]
    name = load_run(folder, task_of).system.cell.name
    assert {*found[1]["groups"]} == {"rnn", "readout"}
    assert {*found[1]["arrays"]} == {
        "rnn.w_x", "rnn.w_h", "rnn.b", "rnn.b_n", "readout.w", "readout.b"
    }  # fmt: skip
    assert len(found[1]["lags"][name]) == task.T
    picture = (folder / "gradients.png").read_bytes()
    assert main(["inspect", "--run", str(folder), "--gradients"]) == 0
    assert "gradients.png" in capsys.readouterr().out.replace("\n", "")
    assert (folder / "gradients.png").read_bytes() not in (picture, b"")
    with pytest.warns(UserWarning, match="steps is 8"):
        run_task(dataclasses.replace(task, steps=8), folder, resume=True)
    assert list(recorded()) == [1, 3, 5, 7]
    assert recorded()[3] == found[3]


def test_cells_are_compared_on_either_side_of_training():
    def draw(key, size):  # the first of six numbers
        xs = jax.random.normal(key, (T, size, 1))
        return xs, xs[0, :, 0]

    cells = {
        name: rnnjax.stack(rnn=cell(4), readout=rnnjax.linear(1))
        for name, cell in (("elman", rnnjax.elman), ("gru", rnnjax.gru))
    }
    found = compare(
        cells,
        draw,
        lambda ys, targets: jnp.square(ys[-1, :, 0] - targets).mean(),
        steps=150,
        learning_rate=1e-2,
    )
    for one in found.values():
        assert one.losses[1] < 0.7 * one.losses[0]
        sides = one.before.by_lag(), one.after.by_lag()
        assert all(len(side) == T and (side > 0).all() for side in sides)
        assert not np.allclose(*sides)
        reach = [side[-1] / side[0] for side in sides]
        assert reach[1] > reach[0]  # it has learnt to look that far back
    axes = figure_type()().subplots()
    plot_compare(axes, found)
    want = found["gru"].after.by_lag()
    np.testing.assert_allclose(axes.lines[1].get_ydata(), want / want[0])
    with pytest.raises(TypeError, match="cells: a must be a Cell"):
        compare({"a": rnnjax.gru}, draw, jnp.sum)
    with pytest.raises(TypeError, match="cells must be models by name, and loss a function"):
        compare(["gru"], draw, jnp.sum)


def test_cells_are_compared_on_a_task():
    task = Adding(T=4, hidden_size=2, batch_size=3, steps=50)
    found = compare(["elman", "lstm"], task, steps=2)
    for name, one in found.items():
        system = dataclasses.replace(task, cell=name).system({})
        (run,) = one.before.lags
        assert run == system.cell.name
        batch = task.source(None).batch(2)
        before, after = (float(system.loss(p, (), batch, KEY)[0]) for p in one.params)
        assert one.losses == pytest.approx((before, after), rel=1e-5)
        assert before != after
        assert (one.after.by_lag() > 0).all()
        assert not np.allclose(one.before.by_lag(), one.after.by_lag())
    axes = figure_type()().subplots()
    plot_compare(axes, found)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["elman", "lstm"]
    with pytest.raises(ValueError, match=r"cell must be one of .*, got 'xlstm'"):
        compare(["xlstm"], task)
    with pytest.raises(TypeError, match="a task has its own loss"):
        compare(["gru"], task, jnp.sum)


def test_what_is_held_at_a_time_changes_nothing(monkeypatch):
    params = CELL.init(KEY, D)
    want = loss_gradients(loss, params, (), XS, KEY).lags["gru(3)"]
    monkeypatch.setattr(gradients, "ROOM", 1)
    assert gradients.beside(Units.of(CELL, params, XS[0]), XS[0], ([], [XS])) == 1
    found = loss_gradients(lambda *given: loss(*given), params, (), XS, KEY).lags["gru(3)"]
    np.testing.assert_allclose(found, want, rtol=1e-6)


def test_a_cell_that_closes_over_what_the_loss_computes_says_so():
    def inner(params, carried, batch, key):
        cell = rnnjax.Cell(
            name="inner",
            init=lambda key, x_spec: (),
            initial_state=lambda params, batch=(), *, key=None: jnp.zeros((*batch, D)),
            step=lambda none, h, x: ((new := params * h + x), new),
        )
        return rnnjax.unroll(cell, (), None, batch)[1].sum(), (carried, {})

    assert np.isfinite(jax.grad(lambda p: inner(p, (), XS, KEY)[0])(0.5))  # training takes it
    with pytest.raises(TypeError, match="closes over arrays that the loss computes"):
        loss_gradients(inner, jnp.float32(0.5), (), XS, KEY)


def test_pictures_show_the_numbers():
    axes = figure_type()().subplots(1, 3)
    lags = {"a": [1.0, None, 0.25], "a cell with a name that is longer than a legend": [0.5]}
    lags["b"] = [None, None]
    arrays = {"rnn.w": 3.0, "rnn.b": 4.0, "scale": 0.5}
    found = LossGradients({"rnn": 5.0, "scale": 0.5}, arrays, lags)
    plot_loss_gradients(axes[0], found)
    np.testing.assert_array_equal(axes[0].lines[0].get_ydata(), [1, np.nan, 0.25])
    labels = [text.get_text() for text in axes[0].get_legend().texts]
    assert [len(label) for label in labels] == [1, 40, 13]
    assert labels[2] == "b (none seen)"
    plot_gradient_groups(axes[1], found)
    rows = [tick.get_text() for tick in axes[1].get_yticklabels()]
    assert rows == ["rnn", "rnn.w", "rnn.b", "scale"]
    np.testing.assert_array_equal(axes[1].lines[0].get_xdata(), [5, np.nan, np.nan, 0.5])
    np.testing.assert_array_equal(axes[1].lines[1].get_xdata(), [np.nan, 3, 4, 0.5])
    records = [
        {"step": 1, "loss": 0.0},
        {"step": 1, "gradients": {"lags": {"a": [1.0, 0.1]}}},
        {"step": 3, "gradients": {"lags": {"a": [10.0, None]}}},
    ]
    shown = plot_gradient_records(axes[2], records, "a").get_array()
    np.testing.assert_array_equal(shown.filled(9).reshape(2, 2), [[0, -1], [1, 9]])
    with pytest.raises(ValueError, match="train with gradients_every"):
        plot_gradient_records(axes[2], records, "b")
    assert all(a.get_xlabel() for a in axes)
