"""The gradients in any loss: by group of parameters, and against lag in all that it unrolls."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Array, Cell, Params, PyTree, State, parted
from rnnjax._held import path_name
from rnnjax._unroll import onlooker, times, unroll
from rnnjax.diagnostics._state import Units
from rnnjax.diagnostics._steps import floating, norm, steps_of
from rnnjax.diagnostics.gradients import BESIDE, onto, pulled

# How many steps' errors are followed back, the last one of a row besides.
MOST = 16


class LossGradients(NamedTuple):
    """The gradients in a loss.

    Attributes:
      groups: ‖∂E/∂θ‖ of each array of parameters, by its path.
      lags: for each run of a cell with a state, by the cell's name, the mean of ‖∂E_t/∂h_{t-n}‖ at
        lag n = 1 .. T, over rows and steps t with an error; NaN where there is none.
    """

    groups: dict[str, Array]
    lags: dict[str, Array]


def loss_gradients(
    loss: Callable[..., Any], params: Params, carried: PyTree, batch: PyTree, key: Array
) -> LossGradients:
    """How large the gradients are in a loss, and how far back in time they reach.

    It sees whatever the loss gives to `rnnjax.unroll`, in layers and in tasks, the state and
    inputs it is given and what comes back from the rest of the model: no word of the loss changes.
    Of a long sequence, the errors of 16 steps spread over it and of each row's last one are seen.

    Args:
      loss: what `make_train_step` takes.
      params: the model's parameters.
      carried: what passes on from batch to batch.
      batch: a batch.
      key: of the noise.

    Returns:
      `LossGradients`.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.diagnostics import loss_gradients
      >>> cell = rnnjax.elman(1, activation="identity")
      >>> one = jnp.ones((1, 1))
      >>> params = rnnjax.ElmanParams(w_x=one, w_h=0.5 * one, b=jnp.zeros(1))
      >>> def loss(params, carried, batch, key):
      ...     return rnnjax.unroll(cell, params, None, batch)[1][-1].sum(), (carried, {})
      >>> found = loss_gradients(loss, params, (), jnp.ones((3, 1, 1)), jax.random.key(0))
      >>> print(found.lags["elman(1, identity)"], found.groups["b"])
      [0.5   0.25  0.125] 1.75
    """
    return _loss_gradients(loss, params, carried, batch, key)


@functools.partial(jax.jit, static_argnums=0)
def _loss_gradients(
    loss: Callable[..., Any], params: Params, carried: PyTree, batch: PyTree, key: Array
) -> LossGradients:
    def value(params: Params, probes: list[Array] | None) -> Array:
        looking = _Onlooker(probes)
        with onlooker(looking):
            found = loss(params, carried, batch, key)[0]
        seen[:] = looking.runs
        return found

    seen: list[tuple[str, int]] = []
    jax.eval_shape(value, params, None)
    probes = [jnp.zeros((2, time), jnp.float32) for _, time in seen]
    grads, found = jax.grad(value, (0, 1))(params, probes)
    groups = {path_name(p): norm(g.ravel()) for p, g in jax.tree.leaves_with_path(grads)}
    lags = [total / count for total, count in found]
    return LossGradients(groups, dict(zip(_apart(name for name, _ in seen), lags, strict=True)))


def _apart(names: Iterable[str]) -> list[str]:
    """Names, numbered where they are the same."""
    found: list[str] = []
    for name in names:
        same = sum(other.partition(" #")[0] == name for other in found)
        found.append(f"{name} #{same + 1}" if same else name)
    return found


class _Onlooker:
    """Takes the place of `unroll` while a loss is traced.

    First to see what there is, then with a probe for each run. A probe adds nothing to the run, but
    its gradient is made to be what is looked for.

    Attributes:
      runs: names and lengths of what was run.
    """

    def __init__(self, probes: list[Array] | None):
        self.probes = probes
        self.runs: list[tuple[str, int]] = []

    def __call__(self, cell: Cell, params: Params, state: State | None, xs: Any, **options: Any):
        with onlooker(None):
            rows = {name: options.pop(name) for name in ("lengths", "mask", "resets")}
            steps = steps_of(cell, params, state, xs, **rows, **options)
            begin = cell.initial_state(params, steps.batch) if state is None else state
            try:
                Units.of(cell, params, begin)
            except ValueError:  # it keeps nothing
                return unroll(cell, params, state, xs, **rows, **options)
            self.runs.append((f"{cell.name}{' reversed' * options['reverse']}", steps.time))
            if self.probes is None:
                return unroll(cell, params, state, xs, **rows, **options)
            probe = self.probes[len(self.runs) - 1]
            return _probed(cell, options)(probe, params, begin, xs, rows)


def _probed(cell: Cell, options: dict[str, Any]) -> Callable[..., tuple[State, PyTree]]:
    """`unroll` of a cell, with a probe before its arguments."""

    def plain(params: Params, state: State, xs: Any, rows: dict[str, Any]) -> Any:
        with onlooker(None):
            return unroll(cell, params, state, xs, **rows, **options)

    def forward(probe: Array, *given: Any) -> Any:
        found, pull = jax.vjp(plain, *given)
        return found, (pull, given)

    def backward(kept: Any, entered: Any) -> Any:
        pull, given = kept
        return _by_lag(cell, options, given, entered), *pull(entered)

    watched = jax.custom_vjp(lambda probe, *given: plain(*given))
    watched.defvjp(forward, backward)
    return watched


def _by_lag(cell: Cell, options: dict[str, Any], given: Any, entered: Any) -> Array:
    """Sums of ‖∂E_t/∂h_{t-n}‖ over rows and errors, and their numbers, [2, T], lag 1 first."""
    (params, state, xs, rows), (after, ys) = given, entered
    steps = steps_of(cell, params, state, xs, **rows, **options)
    ys = jax.tree.map(lambda g: jnp.moveaxis(g, options["time_axis"], 0), floating(ys)[0])
    ys = [g[::-1] for g in ys] if options["reverse"] else ys
    with onlooker(None):
        units = Units.of(cell, params, state)
        _, back = pulled(cell, units, params, state, steps)
    see = onto(steps, units, back, (floating(parted(after)[0])[0], ys))
    step, last = times(steps.time, steps.batch), steps.last

    def counted(t: Array) -> Array:
        """Those of the error of step t, and of each row's last step for -1."""
        flow = see(jnp.where(t < 0, last, steps.real & ~last & (step == t)))
        values = jnp.stack([flow.norm(), jnp.ones_like(flow.norm())]).astype(jnp.float32)
        sums = jnp.zeros((2, steps.time + 1), jnp.float32).at[:, flow.lags].add(values)
        return sums[:, 1:]

    some = np.unique(np.linspace(0, max(0, steps.time - 1), MOST).astype(int))
    some = jnp.asarray([-1, *some.tolist()])
    return jax.lax.map(counted, some, batch_size=BESIDE).sum(0)


def gradient_record(loss: Callable[..., Any]) -> Callable[[Any, PyTree], dict[str, Any]]:
    """`loss_gradients` as the `gradients` of `rnnjax.train.fit`: what a run records every n steps.

    Args:
      loss: what `make_train_step` takes.

    Returns:
      From a `TrainState` and a batch to the figures of `LossGradients`, as JSON has them.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from rnnjax.diagnostics import gradient_record
      >>> from rnnjax.train import init_train_state
      >>> def loss(params, carried, batch, key):
      ...     return jnp.square(params["w"] - batch).sum(), (carried, {})
      >>> state = init_train_state({"w": jnp.zeros(1)}, optax.sgd(0.1), jax.random.key(0))
      >>> gradient_record(loss)(state, jnp.ones(1))
      {'groups': {'w': 2.0}, 'lags': {}}
    """

    def record(state: Any, batch: PyTree) -> dict[str, Any]:
        key = jax.random.fold_in(state.key, state.step + 1)  # as the training step has it
        found = jax.device_get(loss_gradients(loss, state.params, state.carried, batch, key))
        return jax.tree.map(lambda x: np.asarray(x).tolist(), found._asdict())

    return record


def plot_loss_gradients(axes: Any, found: LossGradients) -> None:
    """Draws the gradient against lag, a line for each run of a cell.

    Args:
      axes: matplotlib's axes to draw on.
      found: what `loss_gradients` gives.
    """
    styles = ("-", "--", ":", "-.")
    for n, (name, values) in enumerate(found.lags.items()):
        values = np.asarray(values, float)
        shown = np.where(values > 0, values, np.nan)
        label = name if len(name) < 40 else f"{name[:37]}..."
        axes.semilogy(np.arange(1, len(shown) + 1), shown, styles[n % 4], label=label)
    axes.set_xlabel("lag n, steps")
    axes.set_ylabel(r"mean of $\|∂E_t/∂h_{t-n}\|$")
    axes.grid(alpha=0.3)
    if found.lags:
        axes.legend(fontsize=8)


def plot_gradient_groups(axes: Any, found: LossGradients) -> None:
    """Draws the norm of the gradient of each array of parameters, as bars.

    Args:
      axes: matplotlib's axes to draw on.
      found: what `loss_gradients` gives.
    """
    names = list(found.groups)[::-1]
    norms = np.array([found.groups[name] for name in names], float)
    axes.barh(names, np.where(norms > 0, norms, np.nan), color="tab:blue")
    if (norms > 0).any():
        axes.set_xscale("log")
    axes.tick_params(axis="y", labelsize=min(9, 160 / max(1, len(names))))
    axes.set_xlabel("‖∂E/∂θ‖")
    axes.grid(alpha=0.3, axis="x")


def plot_gradient_records(axes: Any, records: Iterable[dict[str, Any]], name: str) -> Any:
    """Draws how the gradient against lag changed in training, as a map.

    Args:
      axes: matplotlib's axes to draw on.
      records: those of a run with `gradients_every`.
      name: the run of a cell, as in `LossGradients.lags`.

    Returns:
      matplotlib's image, for a colour bar.
    """
    found = [r for r in records if name in r.get("gradients", {}).get("lags", ())]
    values = [np.array(r["gradients"]["lags"][name], float) for r in found]  # None is NaN
    shown = np.full((len(values), max(map(len, values))), np.nan)
    for row, value in zip(shown, values, strict=True):
        row[: len(value)] = np.where(value > 0, value, np.nan)
    steps = [r["step"] for r in found]
    image = axes.pcolormesh(np.arange(1, shown.shape[1] + 1), steps, np.log10(shown),
                            shading="nearest", cmap="viridis")  # fmt: skip
    axes.set_xlabel("lag n, steps")
    axes.set_ylabel("training step")
    return image


def draw_gradients(
    found: LossGradients, records: Iterable[dict[str, Any]], file: pathlib.Path
) -> None:
    """Draws what there is to see of a run's gradients as a PNG: lags, groups, and their history.

    Args:
      found: what `loss_gradients` gives of the run's parameters.
      records: what the run recorded; the history is drawn where it has one of some steps.
      file: where to write it.
    """
    from rnnjax.train.plot import figure_type

    history = [r for r in records if "gradients" in r]
    names = [n for n in found.lags if sum(n in r["gradients"]["lags"] for r in history) > 1]
    panels = 2 + len(names)
    figure = figure_type()(figsize=(5.5 * panels, 4.5), layout="constrained")
    lags, groups, *maps = figure.subplots(1, panels)
    plot_loss_gradients(lags, found)
    plot_gradient_groups(groups, found)
    for axes, name in zip(maps, names, strict=True):
        image = plot_gradient_records(axes, history, name)
        figure.colorbar(image, label=r"log₁₀ of $\|∂E_t/∂h_{t-n}\|$")
    figure.savefig(file, dpi=120)
