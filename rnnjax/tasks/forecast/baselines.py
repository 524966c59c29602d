"""What forecasts without a network: three rules of thumb, and models of statsmodels.

Each takes a part and gives its forecasts [N, S, H]. What has parameters fits them once, to all
that comes before the first forecast; at every later origin it knows what came since, as the network
does.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnjax.tasks.forecast.scores import filled, mase
from rnnjax.tasks.forecast.series import Part
from rnnjax.train.files import needed

# Orders of ARIMA (p, d, q), and of its season (P, D, Q). AR(9) is what sunspots are known to take.
PLAIN = (((9, 0, 0), (0, 0, 0)), ((2, 0, 1), (0, 0, 0)), ((0, 1, 1), (0, 0, 0)))
SEASONAL = (((0, 1, 1), (0, 1, 1)), ((1, 1, 1), (0, 1, 1)), ((1, 0, 1), (0, 1, 1)))
# Beyond so long a season the models of statsmodels take minutes.
LONGEST = 24


@functools.lru_cache(maxsize=4)  # for the table, then for the picture
def forecasts(
    part: Part, season: int, horizon: int, models: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """What all of them make of a part, by name.

    Args:
      part: what to forecast.
      season: how many steps a season has; 1 for none.
      horizon: how many steps to forecast.
      models: which of "Holt", "ETS" and "ARIMA" are fitted.
    """
    found = {"persistence": persistence(part, horizon), "drift": drift(part, horizon)}
    if season > 1:
        found["seasonal naive"] = seasonal_naive(part, season, horizon)
    if "Holt" in models:
        found["Holt"] = holt(part, horizon)
    if "ETS" in models:
        found["ETS"] = ets(part, season, horizon)
    if "ARIMA" in models:
        order = best_order(part, season, horizon)
        name = "".join(str(o).replace(" ", "") for o in order if any(o))
        found[f"ARIMA {name}"] = arima(part, order, season, horizon)
    return found


def persistence(part: Part, horizon: int) -> np.ndarray:
    """The last value, again and again."""
    return seasonal_naive(part, 1, horizon)


def seasonal_naive(part: Part, season: int, horizon: int) -> np.ndarray:
    """The value of the same phase, a season ago; the last value where that is not known."""
    known = filled(part.panel.values)
    back = part.origins[:, None] - season + np.arange(horizon) % season
    found = known[np.maximum(back, 0)]
    last = known[part.origins - 1][:, None]
    return np.where((back < 0)[..., None] | np.isnan(found), last, found).swapaxes(1, 2)


def drift(part: Part, horizon: int) -> np.ndarray:
    """The line from the first value to the last one, and on."""
    known, first = filled(part.panel.values), (~np.isnan(part.panel.values)).argmax(axis=0)
    last = known[part.origins - 1]
    slope = (last - known[first, np.arange(len(first))]) / np.maximum(
        part.origins[:, None] - 1 - first, 1
    )
    return last[..., None] + slope[..., None] * np.arange(1, horizon + 1)


def holt(part: Part, horizon: int) -> np.ndarray:
    """Holt's linear trend, by statsmodels."""
    model = needed("statsmodels.tsa.holtwinters").Holt

    def one(series: np.ndarray, origins: np.ndarray) -> np.ndarray:
        return np.stack(
            [
                model(series[:o], initialization_method="estimated").fit().forecast(horizon)
                for o in origins
            ]
        )

    return _each(part, one)


def ets(part: Part, season: int, horizon: int) -> np.ndarray:
    """Exponential smoothing, by statsmodels: of its additive kinds the one of least AIC."""
    model = needed("statsmodels.tsa.exponential_smoothing.ets").ETSModel

    def one(series: np.ndarray, origins: np.ndarray) -> np.ndarray:
        seasons: list[dict[str, Any]] = [{}]
        if 1 < season <= LONGEST and origins[0] > 2 * season:
            seasons.append({"seasonal": "add", "seasonal_periods": season})
        kinds = [
            {"trend": trend, "damped_trend": damped, **seasonal}
            for seasonal in seasons
            for trend, damped in ((None, False), ("add", False), ("add", True))
        ]
        fits = [(kind, model(series[: origins[0]], **kind).fit(disp=False)) for kind in kinds]
        kind, best = min(fits, key=lambda fit: fit[1].aic)
        return np.stack(
            [model(series[:o], **kind).smooth(best.params).forecast(horizon) for o in origins]
        )

    return _each(part, one)


def best_order(part: Part, season: int, horizon: int) -> tuple[Any, Any]:
    """The order of ARIMA whose forecasts are the best before the part's first one.

    It is fitted to all that comes before, and as much again forecast as the part has.
    """
    orders: list[tuple[Any, Any]] = list(PLAIN)
    if 1 < season <= LONGEST:
        orders = [*SEASONAL, PLAIN[0]]
    stop, size = part.origins[0], len(part.panel.values) - part.origins[0]
    first = max(stop - size, stop // 2)
    validation = Part(part.panel.until(stop), np.arange(first, max(stop - horizon, first) + 1))
    errors = [mase(validation, arima(validation, o, season, horizon), season) for o in orders]
    return orders[int(np.nanargmin(errors))]


def arima(part: Part, order: tuple[Any, Any], season: int, horizon: int) -> np.ndarray:
    """ARIMA of an order, by statsmodels, which takes gaps as they are."""
    model = needed("statsmodels.tsa.statespace.sarimax").SARIMAX
    plain, seasonal = order
    options = {
        "order": plain,
        "seasonal_order": (*seasonal, season if any(seasonal) else 0),
        "trend": None if plain[1] or seasonal[1] else "c",
    }

    def one(series: np.ndarray, origins: np.ndarray) -> np.ndarray:
        fitted = model(series[: origins[0]], **options).fit(disp=False, maxiter=50)
        found = fitted.apply(series)
        # The state before a step follows from what came before alone: from there it goes on by
        # itself, for all origins at once.
        state, space = found.filter_results.predicted_state[:, origins], found.model.ssm
        constant = np.reshape(space["state_intercept"], (len(state), -1))[:, :1]
        ahead = []
        for _ in range(horizon):
            ahead.append((space["design"] @ state)[0])
            state = space["transition"] @ state + constant
        return np.stack(ahead, axis=-1)

    return _each(part, one, gaps=True)


def _each(
    part: Part, one: Callable[[np.ndarray, np.ndarray], np.ndarray], *, gaps: bool = False
) -> np.ndarray:
    """The forecasts of each series by itself, [N, S, H], from where it begins.

    `gaps` says whether it may have some; else they have the last value.
    """
    found = []
    for column in part.panel.values.T:
        start = int((~np.isnan(column)).argmax())
        series = column[start:] if gaps else filled(column[start:])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of fits that do not converge: they count as they are
            found.append(one(series, part.origins - start))
    return np.stack(found, axis=1)
