"""Faults of the task forecast, for `tests/mutation.py`: what, file, old, new, tests."""

_FAULTS = [
    ("model", "the network reads what comes next", "return array[K - k : K - k + W]",
     "return array[K - k + 1 : K - k + 1 + W]", "by_hand or knows_what"),
    ("model", "what is missing counts as 0", "filled = jnp.take_along_axis(jnp.where(there, "
     "values, 0), jnp.maximum(latest, 0), axis=0)", "filled = jnp.where(there, values, 0)",
     "reads_by_hand"),
    ("model", "what is missing has a loss", "mask = ~jnp.isnan(targets) & seen.started",
     "mask = (targets == targets) | seen.started", "no_loss"),
    ("model", "the season is a step off", "[m - 1 - h % m for h", "[m - h % m for h",
     "reads_by_hand"),
    ("model", "covariates of the step, not of the one forecast",
     "covariates[1 + h : 1 + h + W]", "covariates[h : h + W]", "reads_by_hand"),
    ("model", "a step later, its covariates", "jnp.stack([known[:-1], known[1:]], axis=1)",
     "jnp.stack([known[:-1], known[:-1]], axis=1)", "step_after_step"),
    ("model", "what was drawn is forgotten", "jnp.concatenate([values[1:], drawn[None]])",
     "jnp.concatenate([values[1:], values[-1:]])", "step_after_step"),
    ("model", "quantiles cross", "return jnp.sort(outlook, axis=-1)", "return outlook",
     "futures"),
    ("task", "units of all the data", "center = np.nanmean(train.values, axis=0)",
     "center = np.nanmean(panel.values, axis=0)", "sees_nothing"),
    ("task", "the test part is trained on", "trained = test if self.refit else validation",
     "trained = test", "sees_nothing"),
    ("scores", "a forecast of NaN counts as none", "known = ~np.isnan(wanted)",
     "known = ~np.isnan(wanted + figures)", "scores_by_hand"),
    ("model", "a deviation runs away", "jnp.log(jax.nn.softplus(out[..., 1:]) + 1e-6)",
     "out[..., 1:]", "run_away"),
    ("scores", "half of the pinball loss", "per_series(2 * pinball", "per_series(pinball",
     "scores_by_hand"),
    ("baselines", "ETS and ARIMA see the test part", "predicted_state[:, origins]",
     "predicted_state[:, origins + 1]", "statsmodels"),
    ("baselines", "a season ago, from the wrong phase", "- season + np.arange(horizon) % season",
     "- season - np.arange(horizon) % season", "rules"),
    ("series", "time may go back", "if (between <= 0).any():", "if (between < -9e9).any():",
     "bad_file"),
    ("series", "series begin together", "[array[::-1] for array in arrays], value=np.nan)[0][::-1]",
     "arrays, value=np.nan)[0]", "packages_carry or leave_out"),
]  # fmt: skip

FORECAST = [
    (
        f"forecast: {what}",
        f"rnnjax/tasks/forecast/{file}.py",
        old,
        new,
        ("tests/tasks/test_forecast.py", "-k", tests),
    )
    for file, what, old, new, tests in _FAULTS
]
