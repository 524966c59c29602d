"""How good forecasts are, in figures that can be compared between series."""

from __future__ import annotations

import numpy as np

from rnnjax.tasks.forecast.model import LEVELS, MEDIAN
from rnnjax.tasks.forecast.series import Part


def filled(values: np.ndarray) -> np.ndarray:
    """[T, ...] with the last known value where one is missing; NaN before the first one."""
    t = np.arange(len(values)).reshape(-1, *(1,) * (values.ndim - 1))
    latest = np.maximum.accumulate(np.where(np.isnan(values), 0, t), axis=0)
    return np.take_along_axis(values, latest, axis=0)


def naive_scale(values: np.ndarray, season: int) -> np.ndarray:
    """What the seasonal naive forecast of one season misses by on the mean, [S], of [T, S].

        scale = mean_t |y_t - y_{t-m}|

    Where there is no such pair, or the series repeats itself exactly: its deviation, or 1.

    Reference:
      Hyndman & Koehler, Another look at measures of forecast accuracy, International Journal of
      Forecasting 22(4), 2006.
    """
    scales = np.ones(values.shape[1])
    for s, column in enumerate(values.T):
        missed = abs(column[season:] - column[:-season])
        for found in (missed[~np.isnan(missed)], abs(column - np.nanmean(column))):
            found = found[~np.isnan(found)]
            if found.size and found.mean() > 0:
                scales[s] = found.mean()
                break
    return scales


def targets(part: Part, horizon: int) -> np.ndarray:
    """What was to be forecast, [N, S, H]; NaN where it is not known."""
    steps = part.origins[:, None] + np.arange(horizon)
    inside = steps < len(part.panel.values)
    found = part.panel.values[np.minimum(steps, len(part.panel.values) - 1)]
    return np.where(inside[..., None], found, np.nan).swapaxes(1, 2)


def per_series(figures: np.ndarray, wanted: np.ndarray) -> float:
    """The mean over series of their means, of [N, S, H] where something is wanted, which is known.

    NaN where a forecast is.
    """
    known = ~np.isnan(wanted)
    count = known.sum(axis=(0, 2))
    means = np.where(known, figures, 0).sum(axis=(0, 2))[count > 0] / count[count > 0]
    return float(means.mean()) if means.size else float("nan")


def mase(part: Part, forecast: np.ndarray, season: int) -> float:
    """The mean absolute error of forecasts [N, S, H], in units of what the naive one misses by.

    That is measured before the first forecast, so that it is the same for whatever is compared.
    """
    scale = naive_scale(part.panel.values[: part.origins[0]], season)
    wanted = targets(part, forecast.shape[-1])
    return per_series(abs(forecast - wanted) / scale[:, None], wanted)


def scores(part: Part, quantiles: np.ndarray, season: int) -> dict[str, float]:
    """Figures of forecasts as quantiles, [N, S, H, LEVELS].

    Returns:
      MASE and sMAPE of the median; CRPS, twice the mean pinball loss, in the units of MASE; and how
      much of what came lay in the bands of 50 and 90 %.
    """
    point, wanted = quantiles[..., MEDIAN], targets(part, quantiles.shape[2])
    scale = naive_scale(part.panel.values[: part.origins[0]], season)
    size = abs(point) + abs(wanted)
    levels, missed = np.array(LEVELS), wanted[..., None] - quantiles
    pinball = np.maximum(levels * missed, (levels - 1) * missed).mean(axis=-1)

    def inside(low: float, high: float) -> float:
        lower, upper = (quantiles[..., LEVELS.index(level)] for level in (low, high))
        within = np.where((lower <= wanted) & (wanted <= upper), 100.0, 0.0)
        return per_series(within, wanted)

    return {
        "MASE": mase(part, point, season),
        "sMAPE": per_series(200 * abs(point - wanted) / np.where(size > 0, size, 1), wanted),
        "CRPS": per_series(2 * pinball / scale[:, None], wanted),
        "in the band of 50 %": inside(0.25, 0.75),
        "in the band of 90 %": inside(0.05, 0.95),
    }
