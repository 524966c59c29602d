"""What forecasts: a recurrent network that corrects a simple forecast, in units of each series."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax._cell import Cell
from rnnjax.tasks.forecast.series import Panel
from rnnjax.train.losses import gaussian_nll, quantile_loss
from rnnjax.train.task import CELLS

Array = jax.Array
# The quantiles that every forecast has; the middle one is the forecast where one number is asked.
LEVELS = tuple(round(0.05 * n, 2) for n in range(1, 20))
MEDIAN = LEVELS.index(0.5)
READS = {**CELLS, "gru_d": rnnjax.gru_d}


class Windows(NamedTuple):
    """Pieces of series, in the series' own units, as the model reads them.

    Attributes:
      values: [N, K + W + H], NaN where nothing is known: what came before, what the network reads,
        what is to be forecast behind its last step.
      covariates: [N, W + H, C], of what the network reads and what is to be forecast.
    """

    values: Any
    covariates: Any


class Seen(NamedTuple):
    """What the network knows at each of its W steps.

    Attributes:
      xs: its inputs, [W, B, D].
      observed: bool [W, B], whether there is a value at the step.
      since: how long ago there was one before it, [W, B].
      started: bool [W, B], whether there has been a value at all.
      lags: what the readout sees past the network, [W, B, L].
      reference: the simple forecast of the H steps that follow, [W, B, H].
    """

    xs: Array
    observed: Array
    since: Array
    started: Array
    lags: Array
    reference: Array


@dataclasses.dataclass(frozen=True)
class Forecaster:
    """A network that reads a series and forecasts it: m is the season, H the horizon.

        ŷ_{t+h} = reference_{t,h} + correction_h(RNN(x_{..t}), lags_t)

    The reference is the training mean ("mean"), the last value ("last") or the value of the same
    phase in the last season ("season"). The network reads how far the series is from it: the level,
    or the difference to the step or season before. The readout sees the last `lags` of these as
    well, so that a linear autoregression is within its reach.

    Attributes:
      cell: the name of the recurrent cell.
      hidden_size: its units.
      season: m.
      horizon: H.
      window: W, how many steps the network reads.
      reference: mean, last or season.
      lags: how many of the last inputs the readout sees.
      direct: all of the H steps at once; else one, again and again, with what was drawn for the
        step before.
      gaussian: normal distributions; else quantiles.
      covariates: C.
      members: how many networks there are, that differ in what they begin with; a forecast is the
        mean of theirs.
      paths: how many futures are drawn, unless it is direct.

    Reference:
      Lai, Chang, Yang & Liu, Modeling Long- and Short-Term Temporal Patterns with Deep Neural
      Networks, SIGIR 2018, arXiv:1703.07015, for the way past the network; Salinas, Flunkert &
      Gasthaus, DeepAR, 2017, arXiv:1704.04110, for futures that are drawn.
    """

    cell: str
    hidden_size: int
    season: int
    horizon: int
    window: int
    reference: str
    lags: int
    direct: bool
    gaussian: bool
    covariates: int = 0
    members: int = 1
    paths: int = 100

    @property
    def before(self) -> int:
        """K, how many steps before those that it reads are needed."""
        return self.season + max(self.lags, 1)

    @property
    def ahead(self) -> int:
        """How many steps one look ahead is."""
        return self.horizon if self.direct else 1

    @property
    def outputs(self) -> int:
        """How many numbers describe what one step may be."""
        return 2 if self.gaussian else len(LEVELS)

    @property
    def network(self) -> Cell:
        """The recurrent cell."""
        return READS[self.cell](self.hidden_size)

    @property
    def whole(self) -> Cell:
        """The network of the first member, as a cell of the parameters of all."""
        cell = self.network

        def first(params: Any) -> Any:
            return jax.tree.map(lambda x: x[0], params["network"])

        def initial_state(
            params: Any, batch_shape: tuple[int, ...] = (), *, key: Any = None
        ) -> Any:
            return cell.initial_state(first(params), batch_shape, key=key)

        def step(params: Any, state: Any, x: Any) -> Any:
            return cell.step(first(params), state, x)

        return dataclasses.replace(
            cell, init=lambda key, x: self.init(key), initial_state=initial_state, step=step
        )

    @property
    def readout(self) -> Cell:
        """From the network's output and the lags to what may be."""
        return rnnjax.linear(self.ahead * self.outputs)

    @property
    def features(self) -> int:
        """D, how many numbers the network reads at a step."""
        return 2 + (self.reference == "mean") + (self.season > 1) + self.ahead * self.covariates

    def init(self, key: Array) -> dict[str, Any]:
        """The parameters of all members, leaves [members, ...]."""
        return jax.vmap(self.init_one)(jax.random.split(key, self.members))

    def init_one(self, key: Array) -> dict[str, Any]:
        """The parameters of one network."""
        k_network, k_readout = jax.random.split(key)
        x = jax.ShapeDtypeStruct((self.features,), jnp.float32)
        missing = jax.ShapeDtypeStruct((self.features,), jnp.bool_)
        spec = (x, missing, x) if self.cell == "gru_d" else x
        return {
            "network": self.network.init(k_network, spec),
            "readout": self.readout.init(k_readout, self.hidden_size + self.lags),
        }

    # --- what it sees ----------------------------------------------------------------------------

    def see(self, values: Array, covariates: Array) -> Seen:
        """What is known at each step: values [K + W, B], covariates [W + ahead, B, C]."""
        K, W, m = self.before, len(values) - self.before, self.season
        t = jnp.arange(len(values), dtype=jnp.int32)[:, None]
        there = ~jnp.isnan(values)
        latest = jax.lax.cummax(jnp.where(there, t, -1), axis=0)
        filled = jnp.take_along_axis(jnp.where(there, values, 0), jnp.maximum(latest, 0), axis=0)

        def back(array: Array, k: int) -> Array:
            return array[K - k : K - k + W]

        def change(k: int, lag: int = 0) -> Array:
            known = back(latest, k + lag) >= 0
            return jnp.where(known, back(filled, lag) - back(filled, k + lag), 0)

        def main(lag: int) -> Array:
            if self.reference == "mean":
                return back(filled, lag)
            return change(m if self.reference == "season" else 1, lag)

        last, observed, before = back(filled, 0), back(there, 0), back(latest, 1)
        each = [observed.astype(values.dtype), change(1)]
        each += [change(m)] * (m > 1) + [last] * (self.reference == "mean")
        xs = jnp.stack(each, axis=-1)
        if self.covariates:
            known = [covariates[1 + h : 1 + h + W] for h in range(self.ahead)]
            xs = jnp.concatenate([xs, *known], axis=-1)
        lags = [main(lag) for lag in range(self.lags)]
        phases = [m - 1 - h % m for h in range(self.ahead)]  # in how many steps back they were
        reference = {
            "mean": lambda: [jnp.zeros_like(last)] * self.ahead,
            "last": lambda: [last] * self.ahead,
            "season": lambda: [
                jnp.where(back(latest, k) >= 0, back(filled, k), last) for k in phases
            ],
        }[self.reference]()
        return Seen(
            xs,
            observed,
            jnp.where(before >= 0, back(t, 0) - before, 0).astype(values.dtype),
            back(latest, 0) >= 0,
            jnp.stack(lags, axis=-1) if lags else jnp.zeros((*last.shape, 0)),
            jnp.stack(reference, axis=-1),
        )

    def _inputs(self, seen: Seen) -> Any:
        """The inputs of the cell."""
        if self.cell != "gru_d":
            return seen.xs
        shape = seen.xs.shape
        mask = jnp.broadcast_to(seen.observed[..., None], shape)
        return seen.xs, mask, jnp.broadcast_to(seen.since[..., None], shape)

    def _outlook(self, params: Any, h: Array, seen: Seen) -> Array:
        """What may be ahead, [*, B, ahead, outputs], of outputs [*, B, H] of the network."""
        read = jnp.concatenate([h, seen.lags], axis=-1)
        out = self.readout.step(params["readout"], (), read)[1]
        out = out.reshape(*out.shape[:-1], self.ahead, self.outputs)
        at = seen.reference[..., None]
        if self.gaussian:
            # Linear in what it read where that is large: exp would run away with what it drew.
            log_std = jnp.log(jax.nn.softplus(out[..., 1:]) + 1e-6)
            return jnp.concatenate([out[..., :1] + at, log_std], axis=-1)
        return out + at

    def read(self, params: Any, values: Array, covariates: Array) -> tuple[Any, Array, Seen]:
        """Reads W steps: (the state, what may be ahead of each, what was seen)."""
        seen = self.see(values, covariates)
        xs = self._inputs(seen)
        state, hs = rnnjax.unroll(self.network, params["network"], None, xs, mask=seen.started)
        return state, self._outlook(params, hs, seen), seen

    # --- what it learns --------------------------------------------------------------------------

    def loss(self, params: Any, batch: Windows) -> tuple[Array, dict[str, Array]]:
        """The loss of all steps' forecasts, and how far their medians miss: the mean of members."""
        found = jax.vmap(self.loss_of_one, (0, None))(params, batch)
        return found[0].mean(), {"error": found[1]["error"].mean()}

    def loss_of_one(self, params: Any, batch: Windows) -> tuple[Array, dict[str, Array]]:
        """The loss of one network."""
        values, covariates = jnp.asarray(batch.values).T, jnp.asarray(batch.covariates)
        covariates = jnp.swapaxes(covariates, 0, 1)
        stop = self.before + self.window
        _, outlook, seen = self.read(params, values[:stop], covariates)
        ahead = [values[self.before + h :][: self.window] for h in range(1, self.ahead + 1)]
        targets = jnp.stack(ahead, axis=-1)
        mask = ~jnp.isnan(targets) & seen.started[..., None]
        if self.gaussian:
            point = outlook[..., 0]
            value = gaussian_nll(point, outlook[..., 1], targets, mask).mean
        else:
            point = outlook[..., MEDIAN]
            value = quantile_loss(outlook, targets, LEVELS, mask).mean
        missed = jnp.where(mask, abs(point - jnp.where(mask, targets, 0)), 0)
        return value, {"error": missed.sum() / jnp.maximum(mask.sum(), 1).astype(missed.dtype)}

    # --- what it says ----------------------------------------------------------------------------

    def quantiles(self, outlook: Array) -> Array:
        """What may be as quantiles, [..., LEVELS]; in order."""
        if not self.gaussian:
            return jnp.sort(outlook, axis=-1)
        steps = jax.scipy.stats.norm.ppf(jnp.array(LEVELS, outlook.dtype))
        return outlook[..., :1] + jnp.exp(outlook[..., 1:]) * steps

    def forecast(self, params: Any, batch: Windows, key: Array) -> Array:
        """Quantiles of the H steps behind each window, [B, H, LEVELS]."""
        return jax.vmap(self.forecast_of_one, (0, None, None))(params, batch, key).mean(axis=0)

    def forecast_of_one(self, params: Any, batch: Windows, key: Array) -> Array:
        """The forecast of one network."""
        values, covariates = jnp.asarray(batch.values).T, jnp.asarray(batch.covariates)
        values = values[: self.before + self.window]
        covariates = jnp.swapaxes(covariates, 0, 1)
        state, outlook, _ = self.read(params, values, covariates)
        outlook = outlook[-1]
        if self.direct:
            return self.quantiles(outlook)
        rows = values.shape[1]
        state, outlook, values = jax.tree.map(
            lambda x, axis: jnp.repeat(x, self.paths, axis=axis),
            (state, outlook, values[-self.before - 1 :]),
            (jax.tree.map(lambda x: 0, state), 0, 1),
        )
        if self.covariates:
            covariates = jnp.repeat(covariates[self.window :], self.paths, axis=1)

        def step(carried: Any, inputs: Any) -> Any:
            state, outlook, values = carried
            key, known = inputs
            drawn = self._drawn(outlook[..., 0, :], key)
            values = jnp.concatenate([values[1:], drawn[None]])
            seen = self.see(values, known)
            now = jax.tree.map(lambda x: x[-1], self._inputs(seen))
            state, h = self.network.step(params["network"], state, now)
            return (state, self._outlook(params, h[None], seen)[0], values), drawn

        # A step sees its own covariates and those of the one behind it, which the last needs not.
        known = jnp.concatenate([covariates, covariates[-1:]])
        known = jnp.stack([known[:-1], known[1:]], axis=1)[-self.horizon :]
        keys = jax.random.split(key, self.horizon)
        _, paths = jax.lax.scan(step, (state, outlook, values), (keys, known))
        paths = paths.reshape(self.horizon, rows, self.paths)
        return jnp.moveaxis(jnp.quantile(paths, jnp.array(LEVELS), axis=-1), (0, 1, 2), (2, 1, 0))

    def _drawn(self, outlook: Array, key: Array) -> Array:
        """A value of what may be in the next step, [B], of [B, outputs]."""
        if self.gaussian:
            noise = jax.random.normal(key, outlook.shape[:1], outlook.dtype)
            return outlook[:, 0] + jnp.exp(outlook[:, 1]) * noise
        # Between quantiles as on a line; beyond the outermost ones there is nothing.
        levels = jnp.array(LEVELS, outlook.dtype)
        at = jax.random.uniform(key, outlook.shape[:1], outlook.dtype)
        return jax.vmap(lambda u, row: jnp.interp(u, levels, row))(at, jnp.sort(outlook, axis=-1))

    # --- windows ---------------------------------------------------------------------------------

    def windows(
        self,
        panel: Panel,
        origins: np.ndarray,
        units: np.ndarray,
        known: np.ndarray,
    ) -> Windows:
        """The windows of all series before each origin, and what is behind them: N = origins S.

        Args:
          panel: the series.
          origins: the first step of each forecast.
          units: center and scale of each series, [S, 2].
          known: mean and deviation of each covariate, [C, 2].
        """
        size = self.before + self.window
        steps = np.asarray(origins)[:, None] + np.arange(-size, self.horizon)
        inside = (steps >= 0) & (steps < len(panel.values))
        places = np.clip(steps, 0, len(panel.values) - 1)
        scaled = (panel.values - units[:, 0]) / units[:, 1]
        values = np.where(inside[..., None], scaled[places], np.nan).swapaxes(1, 2)
        given = (panel.covariates - known[:, 0]) / known[:, 1]
        given = np.where(inside[..., None], given[places], 0)[:, self.before :]
        return Windows(
            values.reshape(-1, values.shape[-1]).astype(np.float32),
            given.repeat(len(units), axis=0).astype(np.float32),
        )
