"""The gradients in any loss: by group of parameters, and against lag in all that it unrolls."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Array, Params, PyTree
from rnnjax._held import path_name
from rnnjax._unroll import onlooker
from rnnjax.diagnostics._draw import styled
from rnnjax.diagnostics._onlooker import Onlooker
from rnnjax.diagnostics._steps import floating, is_floating, norm


class LossGradients(NamedTuple):
    """The gradients in a loss.

    Attributes:
      groups: ‖∂E/∂θ‖ of the parameters of each part of the model, by its name.
      arrays: that of each array of parameters, by its path.
      lags: for each run of a cell with a state, by the cell's name, the mean of ‖∂E_t/∂h_{t-n}‖ at
        lag n = 1 .. T, in real steps, over rows and steps t with an error; NaN where there is none.
    """

    groups: dict[str, Array]
    arrays: dict[str, Array]
    lags: dict[str, Array]

    def by_lag(self, at: str = "") -> np.ndarray:
        """The mean norm at lags 1, 2, .., of the run of a name; by default of the first one."""
        if at and at not in self.lags:
            raise ValueError(f"at must be one of {', '.join(self.lags) or 'no runs'}, got {at!r}")
        return np.asarray(self.lags[at or next(iter(self.lags))], float)


def loss_gradients(
    loss: Callable[..., Any], params: Params, carried: PyTree, batch: PyTree, key: Array
) -> LossGradients:
    """How large the gradients are in a loss, and how far back in time they reach.

    It sees whatever the loss gives to `rnnjax.unroll`, in layers and in tasks, the state and
    inputs it is given and what comes back from the rest of the model: no word of the loss changes.
    Of a long sequence, the errors of 15 steps spread over it and of each row's last one are seen.
    A run that the loss itself takes a derivative of, as a penalty on gradients does with `jax.grad`
    or `jax.jvp`, is not seen: its lags are NaN.

    Args:
      loss: what `make_train_step` takes.
      params: the model's parameters; integers among them have no gradient.
      carried: what passes on from batch to batch.
      batch: a batch.
      key: of the noise.

    Returns:
      `LossGradients`.

    Raises:
      TypeError: a cell in the loss closes over what the loss computes, or the loss does not return
        what one does.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.diagnostics import loss_gradients
      >>> cell = rnnjax.elman(1, activation="identity")
      >>> one = jnp.ones((1, 1))
      >>> params = rnnjax.ElmanParams(w_x=one, w_h=0.5 * one, b=jnp.zeros(1))
      >>> def loss(params, carried, batch, key):
      ...     return rnnjax.unroll(cell, params, None, batch)[1][-1].sum(), (carried, {})
      >>> found = loss_gradients(loss, params, (), jnp.ones((3, 1, 1)), jax.random.key(0))
      >>> print(found.lags["elman(1, identity)"], found.arrays["b"])
      [0.5   0.25  0.125] 1.75
    """
    try:
        return _loss_gradients(loss, params, carried, batch, key)
    except jax.errors.UnexpectedTracerError as error:
        raise TypeError(
            "a cell in the loss closes over arrays that the loss computes: pass them to unroll in "
            "the cell's params, or in its state as what it holds (rnnjax.Held)"
        ) from error


@functools.partial(jax.jit, static_argnums=0)
def _loss_gradients(
    loss: Callable[..., Any], params: Params, carried: PyTree, batch: PyTree, key: Array
) -> LossGradients:
    from rnnjax.train.step import formed  # here, since training imports this

    used, whole = floating(params)

    def value(used: list[Array], probes: list[Array | None] | None) -> Array:
        looking = Onlooker(probes)
        with onlooker(looking):
            found, _ = formed(loss(whole(used), carried, batch, key), carried)
        seen[:] = looking.runs
        return found

    seen: list[tuple[str, int]] = []
    jax.eval_shape(value, used, None)
    probes: list[Any] = [jnp.zeros((2, time), jnp.float32) for _, time in seen]
    gradient = jax.grad(value, (0, 1))
    try:
        grads, found = gradient(used, probes)
    except _NO_GRADIENT:
        grads, found = gradient(used, _that_have_one(gradient, used, probes))
    paths = [path_name(p) for p, leaf in jax.tree.leaves_with_path(params) if is_floating(leaf)]
    arrays = {path: norm(g.ravel()) for path, g in zip(paths, grads, strict=True)}
    groups = {part: _of_part(arrays, part) for part in dict.fromkeys(map(_part, paths))}
    unseen = (jnp.full(time, jnp.nan, jnp.float32) for _, time in seen)
    lags = [no if g is None else g[0] / g[1] for g, no in zip(found, unseen, strict=True)]
    names = _apart(name for name, _ in seen)
    return LossGradients(groups, arrays, dict(zip(names, lags, strict=True)))


# What JAX raises of a probe inside of a forward derivative; and of other faults.
_NO_GRADIENT = NotImplementedError, TypeError


def _that_have_one(
    gradient: Callable[..., Any], used: list[Array], probes: list[Array]
) -> list[Array | None]:
    """The probes that have a gradient by themselves, and None in the place of others."""
    some: list[Array | None] = []
    for n, probe in enumerate(probes):
        alone = [probe if m == n else None for m in range(len(probes))]
        try:
            jax.eval_shape(gradient, used, alone)
            some.append(probe)
        except _NO_GRADIENT:
            some.append(None)
    return some


def _part(path: str) -> str:
    """The part of a model that a parameter belongs to."""
    return path.partition(".")[0]


def _of_part(arrays: Mapping[str, Array], part: str) -> Array:
    return norm(jnp.stack([size for path, size in arrays.items() if _part(path) == part]))


def _apart(names: Iterable[str]) -> list[str]:
    """Names, numbered where they are the same."""
    found: list[str] = []
    for name in names:
        same = sum(other.partition(" #")[0] == name for other in found)
        found.append(f"{name} #{same + 1}" if same else name)
    return found


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
      {'arrays': {'w': 2.0}, 'groups': {'w': 2.0}, 'lags': {}}
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
    for name, lags, line, _ in styled(found.lags):
        values = np.asarray(lags, float)
        shown = np.where(values > 0, values, np.nan)
        label = name if len(name) < 40 else f"{name[:37]}..."
        label += "" if (values > 0).any() else " (none seen)"
        axes.semilogy(np.arange(1, len(shown) + 1), shown, line, label=label)
    axes.set_xlabel("lag n, steps")
    axes.set_ylabel(r"mean of $\|∂E_t/∂h_{t-n}\|$")
    axes.grid(alpha=0.3)
    if found.lags:
        axes.legend(fontsize=8)


def plot_gradient_groups(axes: Any, found: LossGradients) -> None:
    """Draws the norm of the gradient of each part of the model, and below it of its arrays.

    Args:
      axes: matplotlib's axes to draw on.
      found: what `loss_gradients` gives.
    """
    rows: list[str] = []
    for part in found.groups:
        rows += [part, *(path for path in found.arrays if _part(path) == part != path)]
    both = {"part": found.groups, "array": found.arrays}
    for what, norms, _, mark in styled(both):
        sizes = np.array([norms.get(name, np.nan) for name in rows], float)
        shown = np.where(sizes > 0, sizes, np.nan)
        axes.plot(shown, range(len(rows)), mark, label=what)
    axes.set_yticks(range(len(rows)), rows, fontsize=min(9, 160 / max(1, len(rows))))
    axes.invert_yaxis()
    if any(size > 0 for size in found.groups.values()):
        axes.set_xscale("log")
    axes.set_xlabel("‖∂E/∂θ‖")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def plot_gradient_records(axes: Any, records: Iterable[dict[str, Any]], name: str) -> Any:
    """Draws how the gradient against lag changed in training, as a map.

    Args:
      axes: matplotlib's axes to draw on.
      records: those of a run with `gradients_every`.
      name: the run of a cell, as in `LossGradients.lags`.

    Returns:
      matplotlib's image, for a colour bar.

    Raises:
      ValueError: no record has the gradients of such a run.
    """
    found = [r for r in records if name in r.get("gradients", {}).get("lags", ())]
    if not found:
        raise ValueError(
            f"records have no gradients of a run of {name!r}: train with gradients_every"
        )
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
