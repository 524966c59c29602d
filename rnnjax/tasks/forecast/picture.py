"""The picture: what came before, what was forecast and how surely, what others forecast."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnjax.tasks.forecast.model import LEVELS, MEDIAN
from rnnjax.tasks.forecast.scores import naive_scale, targets
from rnnjax.tasks.forecast.series import Part
from rnnjax.train.plot import figure_type, tidy

MODEL, OTHERS = "tab:blue", ("tab:red", "tab:orange", "tab:green", "tab:purple", "tab:brown")
BANDS = ((0.05, 0.95, 0.15, "90 %"), (0.25, 0.75, 0.3, "50 %"))


def draw_series(
    part: Part,
    quantiles: np.ndarray,
    others: Mapping[str, np.ndarray],
    season: int,
    about: str,
    file: pathlib.Path,
) -> None:
    """Draws one series: the last forecasts, each where the one before ends; the error by step.

    Args:
      part: the series and the origins.
      quantiles: the model's forecasts, [N, 1, H, LEVELS].
      others: those of the baselines, [N, 1, H].
      season: how many steps a season has.
      about: what the series are.
      file: where to write the PNG.
    """
    horizon, values = quantiles.shape[2], part.panel.values[:, 0]
    figure = figure_type()(figsize=(11, 8), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(3, 2))
    # From the last one back, so that no step is forecast twice; at most six of them.
    at, chosen = int(part.origins[-1]), []
    for n in range(len(part.origins) - 1, -1, -1):
        if part.origins[n] <= at and len(chosen) < 6:
            chosen.append(n)
            at = int(part.origins[n]) - horizon
    start = max(0, int(part.origins[chosen[-1]]) - 3 * horizon)
    steps = np.arange(start, len(values))
    above.plot(steps, values[start:], color="black", linewidth=1.2, label="the series", zorder=3)
    colors = dict(zip(_rivals(others, part, season), OTHERS, strict=False))
    for place, n in enumerate(chosen):
        ahead, first = part.origins[n] + np.arange(horizon), place == 0
        _band(above, ahead, quantiles[n, 0], first)
        for name, color in colors.items():
            above.plot(
                ahead,
                others[name][n, 0],
                color=color,
                linewidth=1,
                linestyle="--",
                label=name if first else None,
            )
        above.axvline(part.origins[n] - 0.5, color="gray", linewidth=0.6, alpha=0.6)
    _label_times(above, part, start)
    above.set_title(f"{about}: forecasts from the vertical lines, each {horizon} steps")
    above.legend(ncols=3, fontsize="small", loc="upper left")

    scale, wanted = (
        naive_scale(part.panel.values[: part.origins[0]], season),
        targets(part, horizon),
    )
    ahead = np.arange(1, horizon + 1)
    for name, forecast in {**others, "model": quantiles[..., MEDIAN]}.items():
        error = np.nanmean(abs(forecast - wanted) / scale[:, None], axis=(0, 1))
        mine = name == "model"
        color = MODEL if mine else colors.get(name, "lightgray")
        below.plot(ahead, error, "o-" if mine else ".-", color=color, label=name, zorder=2 + mine)
    # Those that are far off need not be seen in full.
    drawn = np.nanmean(abs(quantiles[..., MEDIAN] - wanted) / scale[:, None], axis=(0, 1)).max()
    below.set_ylim(0, max(2.5 * drawn, 1.2))
    below.set_xlabel("steps ahead")
    below.set_ylabel("mean error, as MASE")
    below.set_title(f"{len(part.origins)} forecasts, from every origin of the test part")
    below.legend(ncols=2, fontsize="small", loc="upper left")
    for axes in (above, below):
        tidy(axes)
    figure.savefig(file, dpi=120)


def draw_panel(
    part: Part,
    quantiles: np.ndarray,
    others: Mapping[str, np.ndarray],
    season: int,
    about: str,
    file: pathlib.Path,
) -> None:
    """Draws at most nine of several series, from best to worst; arguments as in `draw_series`."""
    horizon = quantiles.shape[2]
    scale, wanted = (
        naive_scale(part.panel.values[: part.origins[0]], season),
        targets(part, horizon),
    )
    missed = abs(quantiles[..., MEDIAN] - wanted) / scale[:, None]
    known = (~np.isnan(missed)).sum(axis=(0, 2))
    error = np.nansum(missed, axis=(0, 2)) / np.maximum(known, 1)
    order = np.argsort(error, kind="stable")
    shown = order[np.unique(np.linspace(0, len(order) - 1, min(9, len(order))).round().astype(int))]
    rows = -(-len(shown) // 3)
    figure = figure_type()(figsize=(12, 3.2 * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, min(3, len(shown)), squeeze=False).ravel()
    colors = dict(zip(_rivals(others, part, season), OTHERS, strict=False))
    origin = int(part.origins[-1])
    for axes, s in zip(grid, shown, strict=False):
        values = part.panel.values[:, s]
        start = max(int((~np.isnan(values)).argmax()), origin - 6 * horizon)
        ahead = origin + np.arange(horizon)
        axes.plot(np.arange(start, len(values)), values[start:], color="black", label="the series")
        _band(axes, ahead, quantiles[-1, s], True)
        for name, color in colors.items():
            axes.plot(
                ahead, others[name][-1, s], color=color, linestyle="--", linewidth=1, label=name
            )
        axes.axvline(origin - 0.5, color="gray", linewidth=0.6)
        axes.set_title(f"{part.panel.names[s]}: MASE {error[s]:.2f}", fontsize="medium")
        _label_times(axes, part, start)
        tidy(axes)
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    figure.suptitle(f"{about}: from the best forecast to the worst, of {len(order)}")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.savefig(file, dpi=120)


def _rivals(others: Mapping[str, np.ndarray], part: Part, season: int) -> list[str]:
    """Which baselines are drawn: what the naive one is, and what was fitted."""
    naive = "seasonal naive" if season > 1 else "persistence"
    fitted = [name for name in others if name.split()[0] in ("Holt", "ETS", "ARIMA")]
    return [naive, *(fitted or ["drift"])]


def _band(axes: Any, ahead: np.ndarray, quantiles: np.ndarray, first: bool) -> None:
    """A forecast with its bands, [H, LEVELS]."""
    for low, high, alpha, name in BANDS:
        axes.fill_between(
            ahead,
            quantiles[:, LEVELS.index(low)],
            quantiles[:, LEVELS.index(high)],
            color=MODEL,
            alpha=alpha,
            linewidth=0,
            label=f"band of {name}" if first else None,
        )
    axes.plot(ahead, quantiles[:, MEDIAN], color=MODEL, label="model" if first else None, zorder=4)


def _label_times(axes: Any, part: Part, start: int) -> None:
    """Time stamps below the steps."""
    ticks = np.linspace(start, len(part.panel.times) - 1, 5).round().astype(int)
    axes.set_xticks(ticks, [part.panel.times[t] for t in ticks])
