"""The task: what a forecast's run is told, and what it is made of."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._factory import natural, real
from rnnjax.tasks.forecast.baselines import forecasts
from rnnjax.tasks.forecast.model import LEVELS, MEDIAN, Forecaster, Windows
from rnnjax.tasks.forecast.picture import draw_panel, draw_series
from rnnjax.tasks.forecast.scores import mase, naive_scale, scores
from rnnjax.tasks.forecast.series import KNOWN, Panel, Part, read_csv, read_tsf
from rnnjax.train.files import needed
from rnnjax.train.sources import Examples, examples
from rnnjax.train.task import Data, Facts, System, Task

Array = jax.Array

# Mean MASE on M1 yearly, horizon 6, as published: Godahewa et al., Monash Time Series Forecasting
# Archive, NeurIPS 2021 (data sets and benchmarks), arXiv:2105.06643, table 5.
PUBLISHED = {
    "Transformer": 5.519,
    "SES": 4.938,
    "WaveNet": 4.666,
    "DeepAR, an LSTM": 4.603,
    "pooled regression": 4.588,
    "ARIMA": 4.479,
    "CatBoost": 4.427,
    "N-BEATS": 4.384,
    "feed-forward": 4.355,
    "Theta": 4.191,
    "ETS": 3.771,
    "TBATS": 3.499,
}
# Windows that training takes at most; where there are more places, they lie further apart.
MOST_WINDOWS = 4096
# From which share of missing values on it is gru_d that reads them.
MANY_MISSING = 0.05


@dataclasses.dataclass(frozen=True)
class Forecast(Task):
    """Forecast series over several steps at once, with bands.

    Attributes:
      series: Data that packages carry: sunspots (yearly), co2 (monthly), elnino (monthly), or
        m1-yearly (181 series of the M1 competition).
      file: A CSV file of yours instead, whose first row has the names of its columns.
      column: Its series, with commas between; by default all columns that are nothing else.
      time_column: Its time stamps, ISO 8601 or numbers, in order and evenly spaced.
      covariates: Its columns known beforehand, with commas between.
      missing: Whether its values may be missing; the network is told which ones are.
      season: Steps of a season; 0 for that of the data, which for a file is 1, for none.
      horizon: Steps to forecast; 0 for that of the data, which for a file is a season, at least 6.
      mode: All steps directly; or one after the other, each with what was drawn for the last.
      output: Quantiles, or normal distributions.
      reference: What the network corrects: the mean of the training data, the last value, or that
        of the same phase a season ago; auto: what suits the data, and for a file season, or last if
        there are none.
      cell: The recurrent cell; auto: gru, or gru_d where more than a twentieth is missing.
      hidden_size: Its units.
      members: Networks that differ in what they begin with; a forecast is the mean of theirs.
      window: Steps that the network reads; 0 for four seasons, at least 24.
      lags: Of how many steps the readout sees the input as well; -1 for a season and one.
      backtest: Forecast the test part from every so-many-th of its steps.
      test_share: Share of the steps to test on, at the end.
      validation_share: Share of the steps before them to make choices on.
      refit: Train on the validation part as well, once settings and steps are chosen, as what is
        fitted for comparison does; with patience 0, for nothing is left to choose the end by.
      fitted: ETS and ARIMA are fitted, for comparison, to so many series at most.

    Reference:
      Hewamalage, Bergmeir & Bandara, Recurrent Neural Networks for Time Series Forecasting: Current
      Status and Future Directions, International Journal of Forecasting 37(1), 2021,
      arXiv:1909.00590.
    """

    name: ClassVar[str] = "forecast"
    about: ClassVar[str] = "forecast series over several steps, with bands"
    data_about: ClassVar[str] = "real; sunspots, CO2, El Niño, M1 yearly, or a CSV file"
    metric: ClassVar[str] = "MASE"
    rivals: ClassVar[tuple[str, ...]] = ("seasonal naive", "persistence")

    series: Literal["sunspots", "co2", "elnino", "m1-yearly"] = "co2"
    file: pathlib.Path | None = None
    column: str = ""
    time_column: str = ""
    covariates: str = ""
    missing: Literal["refuse", "mask"] = "refuse"
    season: int = 0
    horizon: int = 0
    mode: Literal["direct", "recursive"] = "direct"
    output: Literal["quantile", "gaussian"] = "quantile"
    reference: Literal["auto", "mean", "last", "season"] = "auto"
    cell: Literal["auto", "elman", "lstm", "gru", "gru_d"] = "auto"
    hidden_size: int = 32
    learning_rate: float = 1e-3
    members: int = 5
    window: int = 0
    lags: int = -1
    backtest: int = 1
    test_share: float = 0.2
    validation_share: float = 0.15
    refit: bool = False
    fitted: int = 8
    optimizer: str = "adamw"
    schedule: Literal["cosine", "constant"] = "cosine"
    evaluate_every: int = 50
    patience: int = 8

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> Forecast:
        """Settings of a few seconds."""
        t = np.arange(60)
        rows = [f"{n},{np.sin(n / 2) + n / 50:.4f},{n % 5}" for n in t]
        file = folder / "series.csv"
        file.write_text("\n".join(["day,tide,weekday", *rows]) + "\n", encoding="utf-8")
        return cls(
            file=file,
            time_column="day",
            season=4,
            horizon=2,
            hidden_size=4,
            members=2,
            window=8,
            lags=2,
            fitted=0,
            batch_size=4,
            steps=6,
            evaluate_every=3,
            patience=0,
        )

    @classmethod
    def presets(cls) -> dict[str, Forecast]:
        """What was chosen on the validation parts, then trained on them as well."""
        chosen = {
            "sunspots": cls(hidden_size=16, steps=600),
            "co2": cls(steps=700),
            "m1-yearly": cls(cell="lstm", hidden_size=64, steps=500),
        }
        return {
            name: dataclasses.replace(task, series=name, refit=True, patience=0)
            for name, task in chosen.items()
        }

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do."""
        super().check()
        natural("hidden_size", self.hidden_size, least=1)
        natural("members", self.members, least=1)
        if self.refit and self.patience:
            raise ValueError(
                f"refit leaves nothing to choose the end by: patience must be 0, got "
                f"{self.patience}"
            )
        natural("backtest", self.backtest, least=1)
        natural("lags", self.lags, least=-1)
        for name in ("season", "horizon", "window", "fitted"):
            natural(name, getattr(self, name))
        for name in ("test_share", "validation_share"):
            wanted = "a number in (0, 0.5)"
            real(name, getattr(self, name), wanted, lambda share: 0 < share < 0.5)

    # --- data ------------------------------------------------------------------------------------

    def data(self) -> Data:
        """The series, cut in time: what is trained on, what choices are made on, the test."""
        panel = self._panel(self.file)
        if self._models(panel):
            needed("statsmodels.api")  # which they want after the training
        season, horizon = self._season, self._horizon
        panel = panel.until(panel.end)  # what comes behind is no test: it has no values
        test, validation = self._cuts(panel)
        _check_long_enough(panel, validation, horizon)
        trained = test if self.refit else validation
        train = panel.until(trained)
        center = np.nanmean(train.values, axis=0)
        units = np.stack([center, naive_scale(train.values, season)], axis=1)
        spread = train.covariates.std(axis=0)
        known = np.stack([train.covariates.mean(axis=0), np.where(spread > 0, spread, 1)], axis=1)
        began = np.maximum.accumulate(~np.isnan(train.values), axis=0)
        digest = hashlib.sha256(panel.values.tobytes() + panel.covariates.tobytes()).hexdigest()
        facts = {
            "units": dict(zip(panel.names, units.tolist(), strict=True)),
            "covariates": known.tolist(),
            "season": season,
            "horizon": horizon,
            "missing": float(np.isnan(train.values[began]).mean()),
            "steps": len(panel.values),
            "sha256": digest[:16],
        }
        return Data(
            Part(train, np.array([trained])),
            Part(panel.until(test), self._origins(validation, test)),
            Part(panel, self._origins(test, panel.end)),
            facts,
        )

    def read(self, path: pathlib.Path, facts: Facts) -> Part:
        """A file of a user, to test on its end; all columns, or those that the settings name."""
        panel = self._panel(pathlib.Path(path), facts["missing"] > 0)
        panel = panel.until(panel.end)
        test, _ = self._cuts(panel)
        _check_long_enough(panel, test, facts["horizon"])
        return Part(panel, self._origins(test, panel.end))

    @property
    def _is_m1(self) -> bool:
        return self.file is None and self.series == "m1-yearly"

    @property
    def _season(self) -> int:
        return self.season or (KNOWN[self.series].season if self.file is None else 1)

    @property
    def _horizon(self) -> int:
        return self.horizon or (
            KNOWN[self.series].horizon if self.file is None else max(self._season, 6)
        )

    def _panel(self, file: pathlib.Path | None, masked: bool = False) -> Panel:
        if file is None:
            return KNOWN[self.series].load()
        if file.suffix == ".tsf":
            return read_tsf(file)
        missing = "mask" if masked else self.missing
        return read_csv(file, self.column, self.time_column, self.covariates, missing)

    def _models(self, panel: Panel) -> tuple[str, ...]:
        """Which models are fitted to the series, to compare with."""
        if self._is_m1:
            return ("Holt",)
        return ("ETS", "ARIMA") if len(panel.names) <= self.fitted else ()

    def _cuts(self, panel: Panel) -> tuple[int, int]:
        """Where the test part begins, and the validation part."""
        steps, least = len(panel.values), self._horizon
        if self._is_m1:  # the competition's: one forecast of each series, at its end
            return steps - least, steps - 2 * least
        test = steps - max(least, round(self.test_share * steps))
        return test, test - max(least, round(self.validation_share * steps))

    def _origins(self, start: int, stop: int) -> np.ndarray:
        return np.arange(start, stop - self._horizon + 1, self.backtest)

    # --- the model -------------------------------------------------------------------------------

    def forecaster(self, facts: Facts) -> Forecaster:
        """The network, for data of these facts."""
        season, horizon = facts["season"], facts["horizon"]
        cell, reference = self.cell, self.reference
        if cell == "auto":
            cell = "gru_d" if facts["missing"] > MANY_MISSING else "gru"
        if reference == "auto":
            known = KNOWN[self.series].reference if self.file is None else "season"
            reference = "last" if known == "season" and season == 1 else known
        return Forecaster(
            cell=cell,
            hidden_size=self.hidden_size,
            season=season,
            horizon=horizon,
            window=self.window or max(4 * season, 24),
            reference=reference,
            lags=season + 1 if self.lags < 0 else self.lags,
            direct=self.mode == "direct",
            gaussian=self.output == "gaussian",
            covariates=len(facts["covariates"]),
            members=self.members,
        )

    def source(self, data: Data) -> Examples:
        """Windows of the training part, each of whose steps is forecast from."""
        model, part = self.forecaster(data.facts), data.train
        stop = len(part.panel.values)
        first = min(model.window, stop)
        every = -(-(stop - first + 1) * len(part.panel.names) // MOST_WINDOWS)
        places = np.arange(stop, first - 1, -every)
        windows = model.windows(part.panel, places, *_units(part, data.facts))
        usable = ~np.isnan(windows.values[:, model.before + 1 :]).all(axis=1)
        return examples(Windows(*(x[usable] for x in windows)), self.batch_size, seed=self.seed)

    def system(self, facts: Facts) -> System:
        """The forecaster, and what is done with it."""
        model = self.forecaster(facts)

        def loss(params: Any, carried: Any, batch: Windows, key: Array) -> Any:
            value, metrics = model.loss(params, batch)
            return value, (carried, metrics)

        def evaluate(params: Any, part: Part) -> dict[str, float]:
            return scores(part, _quantiles(model, params, part, facts), model.season)

        def predict(params: Any, request: str) -> Iterator[str]:
            part = self._asked(request, facts, model)
            found = _quantiles(model, params, part, facts)[0]
            for name, series in zip(part.panel.names, found, strict=True):
                yield from _told(name, part, series)

        shape = (model.window, self.batch_size, model.features)
        x = jax.ShapeDtypeStruct(shape, jnp.float32)
        missing = jax.ShapeDtypeStruct(shape, jnp.bool_)
        return System(
            model.init,
            loss,
            evaluate,
            predict,
            cell=model.whole,
            xs=(x, missing, x) if model.cell == "gru_d" else x,
        )

    def _asked(self, request: str, facts: Facts, model: Forecaster) -> Part:
        """What to forecast from: the end of a file, or of some numbers."""
        words = request.replace(",", " ").split()
        try:
            numbers = np.array([float(word) for word in words])
        except ValueError:
            numbers = None
        if numbers is not None and len(numbers) > 1 and not model.covariates:
            if np.isnan(numbers).all() or np.isinf(numbers).any():
                raise ValueError("a request needs numbers, and nan where one is missing")
            name = next(iter(facts["units"])) if len(facts["units"]) == 1 else "the series"
            times = tuple(map(str, range(1 - len(numbers), 1)))
            return Part(
                Panel((name,), times, numbers[:, None], np.zeros((len(numbers), 0))),
                np.array([len(numbers)]),
            )
        file = pathlib.Path(request.strip() or ".")
        if not file.is_file():
            least = "" if model.covariates else "two numbers or more, as '3.1 2.9 3.4', or "
            raise ValueError(f"a request is {least}the name of a CSV file: {request!r}")
        panel = self._panel(file, facts["missing"] > 0)
        # Covariates are needed for all of the horizon: where the file ends before, so do we.
        origin = min(panel.end, len(panel.values) - model.horizon * (model.covariates > 0))
        if origin < 2:
            raise ValueError(f"{file} has {len(panel.values)} steps: a forecast needs more")
        return Part(panel, np.array([origin]))

    # --- what there is to compare with -----------------------------------------------------------

    def baselines(self, data: Data) -> dict[str, float]:
        """MASE of what needs no network; of M1 yearly also what was published."""
        season, part = data.facts["season"], data.test
        found = forecasts(part, season, data.facts["horizon"], self._models(part.panel))
        figures = {name: mase(part, forecast, season) for name, forecast in found.items()}
        if self._is_m1:
            figures |= {f"{name} (published)": figure for name, figure in PUBLISHED.items()}
        return figures

    def example(self, data: Data) -> str:
        """The last numbers of the first series; a file where there are covariates."""
        part = data.test
        if part.panel.covariates.shape[1]:
            return str(self.file)
        column = part.panel.values[:, 0]
        return " ".join(f"{number:.6g}" for number in column[~np.isnan(column)][-24:])

    def picture(self, system: System, params: Any, data: Data, file: pathlib.Path) -> None:
        """History, forecasts with bands, baselines; of many series, some from best to worst."""
        part, facts = data.test, data.facts
        found = _quantiles(self.forecaster(facts), params, part, facts)
        others = forecasts(part, facts["season"], facts["horizon"], self._models(part.panel))
        about = KNOWN[self.series].about if self.file is None else str(self.file)
        draw = draw_series if len(part.panel.names) == 1 else draw_panel
        draw(part, found, others, facts["season"], about, file)


_ahead = jax.jit(Forecaster.forecast, static_argnums=0)  # of one model, compiled once


def _quantiles(model: Forecaster, params: Any, part: Part, facts: Facts) -> np.ndarray:
    """The forecasts from all origins of a part, [N, S, H, LEVELS], in the series' own units."""
    units, known = _units(part, facts)
    windows = model.windows(part.panel, part.origins, units, known)
    size = min(512 if model.direct else 64, len(windows.values))
    found = []
    for n, (batch, real_rows) in enumerate(examples(windows, size).in_order()):
        out = _ahead(model, params, batch, jax.random.fold_in(jax.random.key(0), n))
        found.append(np.asarray(out, float)[real_rows])
    shape = (len(part.origins), len(units), model.horizon, len(LEVELS))
    center, scale = units.T[..., None, None]
    return np.concatenate(found).reshape(shape) * scale + center


def _units(part: Part, facts: Facts) -> tuple[np.ndarray, np.ndarray]:
    """Center and scale of each series, [S, 2], and of each covariate, [C, 2].

    Those of the training data; of series that were not there, of what comes before the forecasts.
    """
    values, units = part.panel.values[: part.origins[0]], facts["units"]
    scales = naive_scale(values, facts["season"])
    own = [
        units[name] if name in units else [float(np.nanmean(column)), scale]
        for name, column, scale in zip(part.panel.names, values.T, scales, strict=True)
    ]
    return np.array(own), np.array(facts["covariates"]).reshape(-1, 2)


def _check_long_enough(panel: Panel, stop: int, horizon: int) -> None:
    """Raises unless every series has something before a step, and the panel a horizon."""
    counts = (~np.isnan(panel.values[: max(stop, 0)])).sum(axis=0)
    if stop <= horizon or (counts < 2).any():
        shortest = panel.names[int(counts.argmin())]
        have = int((~np.isnan(panel.values[:, counts.argmin()])).sum())
        raise ValueError(
            f"the series {shortest} has {have} values: too few for forecasts of {horizon} steps "
            "behind what is trained on and what choices are made on: give a longer one, or a "
            "smaller --horizon"
        )


def _told(name: str, part: Part, series: np.ndarray) -> Iterator[str]:
    """A forecast as text, [H, LEVELS], a line a step."""
    start, times = int(part.origins[0]), part.panel.times
    yield f"{name} after {times[start - 1] or 'the last step'}, and the band of 90 %:\n"
    for h, quantiles in enumerate(series, 1):
        low, high = quantiles[0], quantiles[-1]
        yield f"{f'+{h}':>4} {quantiles[MEDIAN]:12.6g}   {low:.6g} to {high:.6g}\n"
