"""Forecasts: what the data are, what the model may see, what it is compared with."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cli import main
from rnnjax.tasks.adding import Adding
from rnnjax.tasks.forecast import baselines
from rnnjax.tasks.forecast.model import LEVELS, MEDIAN, Forecaster, Windows
from rnnjax.tasks.forecast.scores import filled, mase, naive_scale, scores
from rnnjax.tasks.forecast.series import KNOWN, Panel, Part, read_csv, read_tsf
from rnnjax.tasks.forecast.task import Forecast
from rnnjax.train.run import _verdict

NAN = np.nan


def panel(*columns, covariates=None):
    values = np.array(columns, float).T
    known = np.zeros((len(values), 0)) if covariates is None else np.array(covariates, float)
    names = tuple("abc"[: len(columns)])
    return Panel(names, tuple(map(str, range(len(values)))), values, known)


def part(*columns, origins):
    return Part(panel(*columns), np.array(origins))


# --- data ----------------------------------------------------------------------------------------


def test_packages_carry_what_is_said():
    found = {name: known.load() for name, known in KNOWN.items()}
    assert {name: p.values.shape for name, p in found.items()} == {
        "sunspots": (309, 1),
        "co2": (526, 1),
        "elnino": (732, 1),
        "m1-yearly": (58, 181),
    }
    assert found["sunspots"].times[::308] == ("1700", "2008")
    assert found["sunspots"].values[[0, 308], 0].tolist() == [5.0, 2.9]
    assert found["co2"].times[::525] == ("1958-03", "2001-12")
    assert np.isnan(found["co2"].values).sum() == 5
    assert found["elnino"].times[::731] == ("1950-01", "2010-12")
    m1 = found["m1-yearly"]
    assert not np.isnan(m1.values[-1]).any(), "they end together"
    lengths = (~np.isnan(m1.values)).sum(axis=0)
    assert (lengths.min(), lengths.max(), m1.names[0]) == (15, 58, "T1")
    assert m1.values[-lengths[0], 0] == 3600
    assert m1.values[-1, 6] == 1832130


def test_a_missing_package_is_one_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "statsmodels.api", None)
    with pytest.raises(ImportError, match=r'pip install "rnnjax\[data\]"'):
        Forecast(series="sunspots").data()
    monkeypatch.setattr("importlib.metadata.files", lambda package: [])
    with pytest.raises(ImportError, match=r'm1_yearly_dataset.tsf: pip install "rnnjax\[data\]"'):
        KNOWN["m1-yearly"].load()


def test_training_sees_nothing_of_what_it_is_judged_on(tmp_path):
    task = Forecast.tiny(tmp_path)
    data = task.data()
    test, validation = data.test.origins[0], data.validation.origins[0]
    assert (validation, test) == (60 - 12 - 9, 60 - 12)
    assert len(data.train.panel.values) == validation
    assert len(data.validation.panel.values) == test
    assert data.validation.origins[-1] + task.horizon == test
    assert data.test.origins[-1] + task.horizon == 60
    lines = task.file.read_text().splitlines()
    task.file.write_text(
        "\n".join(
            [
                *lines[: 1 + validation],
                *["0,9,9"] * 0,
                *(f"{n},{n % 7},{n % 2}" for n in range(validation, 60)),
            ]
        )
    )
    other = task.data()
    differ = {name for name in data.facts if data.facts[name] != other.facts[name]}
    assert differ == {"sha256"}, "means and scales are of the training part alone"
    for a, b in zip(task.source(data).arrays, task.source(other).arrays, strict=True):
        np.testing.assert_array_equal(a, b)
    more = dataclasses.replace(task, refit=True)
    assert len(more.data().train.panel.values) == test
    with pytest.raises(ValueError, match="patience must be 0, got 3"):
        dataclasses.replace(more, patience=3).check()


def test_the_split_of_m1_is_the_competitions():
    data = Forecast(series="m1-yearly").data()
    assert (data.test.origins.tolist(), data.validation.origins.tolist()) == ([52], [46])
    assert len(data.train.panel.values) == 46


def test_a_file_may_have_gaps_and_leave_out_steps(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("day,x,y\n2024-01-01,1,5\n2024-01-02,,6\n\n2024-01-05,3,nan\n")
    found = read_csv(file, time_column="day", missing="mask")
    assert found.names == ("x", "y")
    np.testing.assert_array_equal(found.values.T, [[1, NAN, NAN, NAN, 3], [5, 6, NAN, NAN, NAN]])
    assert found.times == ("2024-01-01", "2024-01-02", "", "", "2024-01-05")
    file.write_text("month,x\n2024-01-01,1\n2024-02-01,2\n2024-03-01,3\n2024-04-01,4\n")
    assert read_csv(file, "x", "month").values.shape == (4, 1), "months are even steps"
    file.write_text("x,holiday\n1,0\n2,1\n,0\n,1\n")
    found = read_csv(file, covariates="holiday")
    assert (found.end, found.covariates.T.tolist()) == (2, [[0, 1, 0, 1]])
    series = tmp_path / "a.tsf"
    series.write_text("# of mine\n@attribute name string\n@data\nA:1,2,3\nB:7\n")
    np.testing.assert_array_equal(read_tsf(series).values.T, [[1, 2, 3], [NAN, NAN, 7]])


BAD = {
    "t,y\n1,2\n": "has no column 'x': its columns are t, y; say which with --column",
    "t,x\n1,2\n2,\n3,\n4,5\n": "column x has 2 missing values, the first in row 3: pass --missing",
    "t,x\n1,2\n3,3\n2,4\n": "time stamps must ascend: 2 of row 4 comes after 3: sort the rows",
    "t,x\n1,2\n2,3\n2,4\n": "time stamps must ascend: 2 of row 4 is there twice",
    "t,x\n1,2\n2,3\n3,4\n4.5,4\n": "time stamps are uneven, as that of row 5, 4.5: bring",
    "t,x\n1,2\n2,3\n3,4\n6,5\n": "steps left out, the first after 3: pass --missing mask",
    "t,x\nmonday,2\n": "column t has something that is no time stamp",
    "t,x\nnan,2\n": "the time stamp of row 2 is missing",
    "t,x\n1,two\n": "column x: number 1 is 'two', expected a number",
    "t,x\n1,inf\n": "column x: number 1 is infinite",
    "t,x\n1\n": "row 2 has 1 cells, the first has 2",
    "t,x\n1,\n2,\n": "column x has no value at all: leave it out",
    "t,x\n": "has no rows below the names",
    " \n": "is empty",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_file_is_one_error_that_says_what_to_do(text, tmp_path):
    file = tmp_path / "a.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"a\.csv") as error:
        read_csv(file, "x", "t")
    assert BAD[text] in str(error.value)
    assert "\n" not in str(error.value)


def test_other_bad_files(tmp_path, capsys):
    file = tmp_path / "a.csv"
    file.write_text("x,c\n1,2\n2,\n")
    with pytest.raises(ValueError, match="the covariate c is missing in row 3"):
        read_csv(file, covariates="c")
    with pytest.raises(ValueError, match="has no column to forecast"):
        read_csv(file, covariates="c, x")
    file.write_text("x\n" + "1\n" * 14)
    task = Forecast(file=file, horizon=6)
    with pytest.raises(ValueError, match="x has 14 values: too few for forecasts of 6 steps"):
        task.data()
    with pytest.raises(ValueError, match="too few for forecasts of 20 steps"):
        Forecast(file=file).read(file, {"missing": 0.0, "horizon": 20})
    words = [
        "train",
        "forecast",
        "--data",
        str(file),
        "--column",
        "z",
        "--out",
        str(tmp_path / "r"),
    ]
    assert main(words) == 2
    assert "has no column 'z'" in capsys.readouterr().err
    empty = tmp_path / "a.tsf"
    empty.write_text("@data\n")
    with pytest.raises(ValueError, match="has no series"):
        read_tsf(empty)


def test_settings_that_will_not_do_are_refused():
    for changes in ({"test_share": 0.5}, {"lags": -2}, {"backtest": 0}, {"horizon": -1}):
        with pytest.raises(ValueError, match=next(iter(changes))):
            Forecast(**changes).check()


# --- baselines -----------------------------------------------------------------------------------


def test_rules_of_thumb_by_hand():
    found = part([NAN, 1, 2, 4, 8, NAN, 7, 9], origins=[4, 6])
    np.testing.assert_array_equal(
        baselines.persistence(found, 3)[:, 0], [[4, 4, 4], [8, 8, 8]]
    )  # what is missing is as it was
    np.testing.assert_array_equal(
        baselines.seasonal_naive(found, 2, 3)[:, 0], [[2, 4, 2], [8, 8, 8]]
    )
    np.testing.assert_array_equal(
        baselines.seasonal_naive(found, 4, 4)[0, 0], [4, 1, 2, 4], "unknown a season ago: the last"
    )
    slope = 7 / 4  # from 1 at step 1 to 8, which is still there at step 5
    np.testing.assert_allclose(
        baselines.drift(found, 2)[:, 0], [[5.5, 7], [8 + slope, 8 + 2 * slope]]
    )


def test_models_of_statsmodels_go_on_from_every_origin():
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    rng = np.random.default_rng(0)
    t = np.arange(40)
    series = 10 + np.tile([0, 2, 5, 1], 10) + 0.1 * t + rng.normal(size=40) / 4
    series[17] = NAN
    some = part(series, origins=[30, 36])
    for order in (((1, 0, 0), (0, 0, 0)), ((0, 1, 1), (0, 1, 1))):
        model = SARIMAX(
            series[:30],
            order=order[0],
            seasonal_order=(*order[1], 4 if any(order[1]) else 0),
            trend=None if order[0][1] else "c",
        ).fit(disp=False, maxiter=50)
        expected = [model.apply(series[:origin]).forecast(4) for origin in (30, 36)]
        np.testing.assert_allclose(baselines.arima(some, order, 4, 4)[:, 0], expected, rtol=1e-6)
    line = part(3 + 2.0 * t, origins=[20, 30])
    for model in (lambda p, h: baselines.ets(p, 1, h), baselines.holt):
        np.testing.assert_allclose(model(line, 2)[:, 0], [[43, 45], [63, 65]], rtol=1e-3)
    exact = baselines.ets(some, 4, 4)
    assert mase(some, exact, 4) < 0.7 * mase(some, baselines.seasonal_naive(some, 4, 4), 4)


# --- scores --------------------------------------------------------------------------------------


def test_scores_by_hand():
    np.testing.assert_array_equal(filled(np.array([[NAN], [1], [NAN], [2]]))[1:, 0], [1, 1, 2])
    values = np.array([[1, 3, 2, NAN, 5], [4, 4, 4, 4, 4], [2, 4, 2, 4, 2]], float).T
    np.testing.assert_allclose(naive_scale(values, 1), [1.5, 1, 2])  # a constant has no scale
    np.testing.assert_allclose(naive_scale(values[:, 2:], 2), [0.96])  # its deviation: it repeats
    some = part([1, 3, 2, 5, 9, 9], [1, 2, 1, 2, 1, NAN], origins=[4])
    forecast = np.array([[[8.0, 12.0], [4.0, 7.0]]])
    # Scales are (2 + 1 + 3) / 3 and 1; of the second series one step is known.
    assert mase(some, forecast, 1) == pytest.approx((np.mean([1, 3]) / 2 + 3) / 2)
    forecast[0, 1, 0] = NAN
    assert np.isnan(mase(some, forecast, 1))
    some = part([1, 3, 2, 5, 9, 8], origins=[4])
    point = np.array([[[8.0, 12.0]]])
    found = scores(some, np.repeat(point[..., None], len(LEVELS), axis=-1), 1)
    assert found["CRPS"] == pytest.approx(found["MASE"]), "of a point they are the same"
    assert found["sMAPE"] == pytest.approx(np.mean([200 / 17, 800 / 20]))
    wide = np.sort(np.linspace(-1, 1, len(LEVELS)) * 10 + point[..., None])
    found = scores(some, wide, 1)
    assert (found["in the band of 50 %"], found["in the band of 90 %"]) == (100, 100)
    narrow = point[..., None] + np.linspace(-1, 1, len(LEVELS)) * [[[[1.5], [1]]]]
    found = scores(some, narrow, 1)
    assert (found["in the band of 50 %"], found["in the band of 90 %"]) == (0, 50)


def test_who_does_not_beat_the_naive_forecast_is_told_first():
    task = Forecast()
    better = {"model": 0.5, "seasonal naive": 1.0, "persistence": 2.0, "ETS": 0.1}
    assert _verdict(task, better) == ""
    worse = _verdict(task, {**better, "model": 1.0})
    assert worse == "The model does not beat this: seasonal naive."
    assert "persistence" in _verdict(task, {**better, "model": float("nan")})
    assert _verdict(Adding(), better) == "The model does not beat this: ETS.", "all are its rivals"


# --- the model -----------------------------------------------------------------------------------


def model_of(**changes):
    few = Forecaster("gru", 3, 2, 3, 5, "season", 2, direct=True, gaussian=False, paths=3)
    return dataclasses.replace(few, **changes)


@pytest.fixture(scope="module")
def windows():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(4, 12)).astype(np.float32)
    values[0, :5] = NAN
    values[1, 6] = NAN
    return Windows(values, rng.normal(size=(4, 8, 2)).astype(np.float32))


def test_what_the_network_reads_by_hand():
    model = model_of(season=3, window=2, lags=2, horizon=4)
    values = jnp.array([[1.0, 2, 4, NAN, 8, 7, 3]]).T
    seen = model.see(values, jnp.zeros((6, 1, 0)))
    assert model.before == 5
    np.testing.assert_array_equal(seen.xs[:, 0], [[1, -1, 3], [1, -4, -1]])  # there, Δ, Δ season
    np.testing.assert_array_equal(seen.lags[:, 0], [[3, 6], [-1, 3]])
    np.testing.assert_array_equal(seen.reference[:, 0], [[4, 8, 7, 4], [8, 7, 3, 8]])
    np.testing.assert_array_equal(seen.since[:, 0], [1, 1])
    later = model.see(values.at[5].set(NAN), jnp.zeros((6, 1, 0)))
    np.testing.assert_array_equal(later.xs[:, 0], [[0, 0, 4], [1, -5, -1]])
    np.testing.assert_array_equal(later.since[:, 0], [1, 2])
    known = jnp.arange(6.0)[:, None, None]
    seen = dataclasses.replace(model, covariates=1).see(values, known)
    np.testing.assert_array_equal(seen.xs[:, 0, 3:], [[1, 2, 3, 4], [2, 3, 4, 5]])
    assert not model.see(jnp.full((7, 1), NAN), known).started.any()


@pytest.mark.parametrize("cell", ["gru", "gru_d"])
def test_no_forecast_knows_what_comes_after_it(cell, windows):
    model = model_of(cell=cell, covariates=2)
    params = model.init_one(jax.random.key(0))
    read = jax.jit(lambda values: model.read(params, values, jnp.swapaxes(windows[1], 0, 1))[1])
    values = windows.values.T[: model.before + model.window]
    for step in (1, 3):
        other = values.copy()
        other[model.before + step :] = 99
        before, after = read(values), read(other)
        np.testing.assert_array_equal(before[:step], after[:step])
        assert (abs(before[step] - after[step]).max(axis=(1, 2)) > 1e-3).all()
    assert np.isfinite(read(values)).all()


def test_what_is_missing_has_no_loss_and_no_gradient(windows):
    model = model_of(covariates=2)
    params = model.init(jax.random.key(0))
    loss = jax.jit(jax.value_and_grad(lambda p, b: model.loss(p, b)[0]))
    value, gradient = loss(params, windows)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))
    # A row of which nothing is known adds nothing.
    nothing = windows.values.copy()
    nothing[3] = NAN
    fewer, _ = loss(params, windows._replace(values=nothing))
    alone, _ = loss(params, Windows(*(x[[0, 1, 2, 2]] for x in windows)))
    assert abs(fewer - alone) > 1e-6
    first = nothing.copy()
    first[[1, 2]] = NAN
    single, _ = loss(params, windows._replace(values=first))
    row, _ = loss(params, Windows(*(x[[0, 0, 0, 0]] for x in windows)))
    np.testing.assert_allclose(single, row, rtol=1e-5)


@pytest.mark.parametrize("cell", ["gru", "gru_d"])
def test_step_after_step_is_as_reading_what_was_forecast(cell, windows):
    model = model_of(cell=cell, direct=False, gaussian=True, covariates=2, reference="mean")
    params = model.init(jax.random.key(0))
    sure = params["readout"]._replace(w=params["readout"].w.at[:, :, 1].set(0.0))
    params["readout"] = sure._replace(
        b=sure.b.at[:, 1].set(-30.0)
    )  # log σ: nothing is left to chance
    found = jax.jit(model.forecast)(params, windows, jax.random.key(1))
    assert found.shape == (4, 3, len(LEVELS))
    one = jax.tree.map(lambda x: x[0], params)
    values, known = windows.values.T.copy(), jnp.swapaxes(windows.covariates, 0, 1)
    for h in range(3):
        longer = dataclasses.replace(model, window=model.window + h)
        outlook = longer.read(one, values[: model.before + model.window + h], known)[1]
        values[model.before + model.window + h] = outlook[-1, :, 0, 0]
        np.testing.assert_allclose(found[:, h, MEDIAN], outlook[-1, :, 0, 0], rtol=1e-4, atol=1e-5)


def test_a_forecast_is_the_mean_of_its_members(windows):
    model = model_of(members=2, covariates=2)
    params = model.init(jax.random.key(0))
    both = jax.jit(model.forecast)(params, windows, jax.random.key(0))
    one = jax.jit(dataclasses.replace(model, members=1).forecast)
    each = [one(jax.tree.map(lambda x: x[n : n + 1], params), windows, None) for n in (0, 1)]
    assert abs(each[0] - each[1]).max() > 0.01
    np.testing.assert_allclose(both, (each[0] + each[1]) / 2, rtol=1e-5, atol=1e-6)


def test_a_deviation_does_not_run_away_with_what_was_drawn():
    model = model_of(gaussian=True, lags=1, reference="last")
    params = model.init_one(jax.random.key(0))
    ones = jax.tree.map(jnp.ones_like, params)
    stds = []
    for size in (1e3, 1e4):
        values = jnp.arange(model.before + model.window, dtype=jnp.float32)[:, None] * size
        outlook = model.read(ones, values, jnp.zeros((8, 1, 0)))[1]
        stds.append(np.exp(outlook[-1, 0, 0, 1]))
    assert 9 < stds[1] / stds[0] < 11


def test_futures_that_are_drawn_are_those_of_the_outlook():
    model = model_of(direct=False, gaussian=True, paths=4000)
    outlook = jnp.tile(jnp.array([2.0, np.log(0.5)], jnp.float32), (4000, 1))
    drawn = model._drawn(outlook, jax.random.key(0))
    wanted = model.quantiles(outlook[0])
    np.testing.assert_allclose(jnp.quantile(drawn, jnp.array(LEVELS)), wanted, atol=0.05)
    model = model_of(direct=False, paths=4000)
    outlook = jnp.tile(jnp.linspace(3, -1, len(LEVELS))[None], (4000, 1))  # the wrong way round
    drawn = model._drawn(outlook, jax.random.key(0))
    np.testing.assert_allclose(
        jnp.quantile(drawn, jnp.array(LEVELS)), jnp.linspace(-1, 3, len(LEVELS)), atol=0.15
    )
    assert (jnp.diff(model.quantiles(outlook[0])) > 0).all()


def test_windows_are_of_every_series_before_every_origin():
    model = model_of(window=3, lags=1, horizon=2)  # K = 3
    some = panel(np.arange(10), 100 + np.arange(10), covariates=np.arange(10)[:, None])
    found = model.windows(some, np.array([9, 4]), np.array([[0, 1], [100, 2]]), np.array([[1, 2]]))
    np.testing.assert_array_equal(found.values[0], [3, 4, 5, 6, 7, 8, 9, NAN])
    np.testing.assert_array_equal(found.values[1], np.array([3, 4, 5, 6, 7, 8, 9, NAN]) / 2)
    np.testing.assert_array_equal(found.values[2], [NAN, NAN, 0, 1, 2, 3, 4, 5])
    np.testing.assert_array_equal(found.covariates[2, :, 0], [0, 0.5, 1, 1.5, 2])


# --- asking --------------------------------------------------------------------------------------


def test_numbers_or_a_file_are_answered(tmp_path):
    task = dataclasses.replace(Forecast.tiny(tmp_path), column="tide", covariates="weekday")
    facts = task.data().facts
    assert Forecast.tiny(tmp_path).forecaster({**facts, "missing": 0.1}).cell == "gru_d"
    system = task.system(facts)
    params = system.init(jax.random.key(0))
    answer = "".join(system.predict(params, str(task.file))).splitlines()
    assert answer[0].startswith("tide after 57"), "covariates are known for two steps behind it"
    assert [line.split()[0] for line in answer[1:]] == ["+1", "+2"]
    with task.file.open("a") as file:
        file.write("60,,0\n61,,1\n")
    answer = "".join(system.predict(params, str(task.file)))
    assert answer.startswith("tide after 59")
    for request in ("1 2 3", "nowhere.csv", ""):
        with pytest.raises(ValueError, match="a request is the name of a CSV file"):
            [*system.predict(params, request)]
    plain = dataclasses.replace(task, covariates="")
    facts = {**facts, "covariates": []}
    system = plain.system(facts)
    params = system.init(jax.random.key(0))
    answer = "".join(system.predict(params, "1, 2 nan 3"))
    assert answer.startswith("tide after 0")
    assert answer != "".join(system.predict(params, "1 2 2 3")), "it is told what is missing"
    for request in ("1", "nan nan", "1 inf"):
        with pytest.raises(ValueError, match="a request"):
            [*system.predict(params, request)]


def test_a_file_for_a_run_is_tested_on_its_end_in_units_of_its_own(tmp_path):
    task = Forecast.tiny(tmp_path)
    facts = {**task.data().facts, "units": {"other": [0.0, 1.0]}}
    found = task.read(task.file, facts)
    assert found.origins.tolist() == list(range(48, 59))
    system = task.system(facts)
    params = system.init(jax.random.key(0))
    before = system.evaluate(params, found)
    tall = Panel(found.panel.names, found.panel.times, 1000 * found.panel.values, np.zeros((60, 0)))
    after = system.evaluate(params, Part(tall, found.origins))
    assert before["MASE"] == pytest.approx(after["MASE"], rel=1e-3)
