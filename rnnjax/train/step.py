"""One training step: truncated back-propagation through time, as a jitted function."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rnnjax import Cell, last, noise_keys, rekey, unroll
from rnnjax._cell import joined, parted
from rnnjax._factory import natural, one_of, real
from rnnjax._unroll import select_rows
from rnnjax.train.losses import cross_entropy
from rnnjax.train.optimizer import global_norm

Array = jax.Array
PyTree = Any


class TrainState(NamedTuple):
    """Everything a run carries from step to step, and what a checkpoint holds.

    Attributes:
      params: the cell's parameters.
      opt_state: the optimizer's state.
      carried: the cell's state after the last window, [B, ...].
      key: the run's random key; step k folds k in.
      step: how many steps were taken, skipped ones included.
      skipped: how many were skipped because something in them was not finite.
      in_row: how many of the latest steps were, without one between that was not.
      culprit: what was not finite in the latest skipped step: a place among the leaves of the
        gradient, the loss, the leaves of the new params and the floating leaves of the optimizer's
        new state, the first one found; -1 before any.
    """

    params: PyTree
    opt_state: PyTree
    carried: PyTree
    key: Array
    step: Array
    skipped: Array
    in_row: Array
    culprit: Array


class Metrics(NamedTuple):
    """What a step reports.

    Attributes:
      loss: nats a real token.
      grad_norm: the global norm of the gradient before clipping.
      skipped: whether the step changed nothing, because something in it was not finite.
    """

    loss: Array
    grad_norm: Array
    skipped: Array


class NonFiniteError(ArithmeticError):
    """Numbers that are not finite, in too many steps in a row or where an answer was wanted."""


def init_train_state(
    cell: Cell, params: PyTree, optimizer: optax.GradientTransformation, batch_size: int, key: Array
) -> TrainState:
    """The state of a run before its first step.

    Args:
      cell: the model.
      params: its parameters; copied, since training steps donate their buffers.
      optimizer: an optax transformation.
      batch_size: B.
      key: the run's random key.

    Returns:
      A `TrainState`.
    """
    key = noise_keys(key, ())[0]  # of one kind and in a buffer of its own, whatever came
    # Copied, since an optimizer or a learnable initial state may hand the parameters back.
    params, opt_state, carried = jax.tree.map(
        jnp.copy,
        (
            params,
            optimizer.init(params),
            cell.initial_state(params, (batch_size,), key=jax.random.fold_in(key, 0)),
        ),
    )
    return TrainState(
        params=params,
        opt_state=opt_state,
        carried=carried,
        key=key,
        **{name: jnp.zeros((), jnp.int32) for name in ("step", "skipped", "in_row")},
        culprit=-jnp.ones((), jnp.int32),
    )


def make_train_step(
    cell: Cell,
    optimizer: optax.GradientTransformation,
    *,
    restart_rate: float = 0.0,
    max_skips: int = 10,
    loss: str = "mean",
    tokens: str = "all",
) -> Callable[..., tuple[TrainState, Metrics]]:
    """A step of truncated back-propagation through time for a model of symbols.

        carried', logits = unroll(cell, params, carried, xs)
        loss = cross-entropy of the targets;   params' = params + optimizer(∂loss / ∂params)

    The state is carried from window to window, its gradient is not. Noise is drawn anew each
    window. A step whose loss, gradient, new parameters or new optimizer state is not finite leaves
    parameters, optimizer and carried state as they were; after `max_skips` of them in a row every
    further step does, and `check_finite` raises. What an optimizer keeps infinite from the start,
    as some do a best loss, is no sign of a broken step.

    An optimizer that wants more than the gradient gets it by optax's names: `value`, the loss that
    is minimised, `grad`, and `value_fn` from parameters to that loss.

    Equal arguments give one function, which compiles once.

    Args:
      cell: the model, from symbols to logits.
      optimizer: an optax transformation.
      restart_rate: the probability that a row starts a window from the initial state instead of
        the carried one. A model that never does learns to rely on what its memory has piled up
        over thousands of steps, and is lost at the start of a new text.
      max_skips: how many skipped steps in a row end the run, at least one.
      loss: what is minimised: the "mean" over all tokens, or the "sum" over time, of which the
        mean is taken over the batch alone. Metrics show the mean in either case.
      tokens: whether "all" targets count, or the "last" real one of each row alone.

    Returns:
      A jitted function `(state, xs [T, B], targets [T, B], mask=None, resets=None) ->
      (state, Metrics)`, which donates the state.

    Raises:
      TypeError, ValueError: `restart_rate` is no number in [0, 1], `max_skips` no positive int, or
        `loss` or `tokens` none of their choices.

    Reference:
      Williams & Peng, An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent
      Network Trajectories, Neural Computation 2(4), 1990.
    """
    # Checked out here, since True and 1 are one key of the cache.
    wanted = "a number in [0, 1]"
    restart_rate = real("restart_rate", restart_rate, wanted, lambda x: 0 <= x <= 1)
    max_skips = natural("max_skips", max_skips, least=1)
    summed = one_of("mean", "sum")("loss", loss) == "sum"
    only_last = one_of("all", "last")("tokens", tokens) == "last"
    return _train_step(cell, optimizer, restart_rate, max_skips, summed, only_last)


@functools.lru_cache(maxsize=16)  # so that a second run of the same model compiles nothing
def _train_step(
    cell: Cell,
    optimizer: optax.GradientTransformation,
    restart_rate: float,
    max_skips: int,
    summed: bool,
    only_last: bool,
) -> Callable[..., tuple[TrainState, Metrics]]:
    def train_step(
        state: TrainState,
        xs: Array,
        targets: Array,
        mask: Array | None = None,
        resets: Array | None = None,
    ) -> tuple[TrainState, Metrics]:
        noise, restarts = jax.random.split(jax.random.fold_in(state.key, state.step + 1))
        rows = jax.random.bernoulli(restarts, restart_rate, xs.shape[1:])

        def loss_of(params: PyTree) -> tuple[Array, tuple[Array, PyTree]]:
            begin = rekey(cell, state.carried, noise)
            if restart_rate:  # in here, so that a learnable initial state gets its gradient
                fresh = cell.initial_state(params, xs.shape[1:], key=noise)
                carried, held = parted(begin)
                begin = joined(select_rows(rows, parted(fresh)[0], carried), held)
            carried, logits = unroll(cell, params, begin, xs, mask=mask, resets=resets)
            counted = (logits, targets, mask)
            if only_last and len(targets):
                some = None if mask is None else mask.any(axis=0)
                counted = (last(logits, mask=mask), last(targets, mask=mask), some)
            loss = cross_entropy(*counted)
            return loss.total / rows.size if summed else loss.mean, (loss.mean, carried)

        (value, (loss, carried)), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        with jax.numpy_dtype_promotion("standard"):  # optax's Adam relies on it
            updates, opt_state = optax.with_extra_args_support(optimizer).update(
                grads,
                state.opt_state,
                state.params,
                value=value,
                grad=grads,
                value_fn=lambda params: loss_of(params)[0],
            )
        params = optax.apply_updates(state.params, updates)

        suspects = (*jax.tree.leaves(grads), loss, *jax.tree.leaves(params))
        sound = [jnp.isfinite(x).all() for x in suspects]
        # Adam squares: a finite gradient may leave an infinity behind, which never goes away.
        for (_, old), (_, new) in zip(
            _floating(state.opt_state), _floating(opt_state), strict=True
        ):
            sound.append((jnp.isfinite(new) | (new == old)).all())
        infinite = ~jnp.stack(sound)
        frozen = state.in_row >= max_skips
        skip = frozen | infinite.any()
        # A frozen run is over: its counts stay those of the step that ended it.
        taken, skipped = (flag.astype(jnp.int32) for flag in (~frozen, skip & ~frozen))
        after, before = (params, opt_state, carried), (state.params, state.opt_state, state.carried)
        kept = jax.tree.map(lambda old, new: jnp.where(skip, old, new), before, after)
        state = TrainState(
            *kept,
            key=state.key,
            step=state.step + taken,
            skipped=state.skipped + skipped,
            in_row=jnp.where(skip, state.in_row + skipped, 0),
            culprit=jnp.where(skipped > 0, jnp.argmax(infinite).astype(jnp.int32), state.culprit),
        )
        return state, Metrics(loss, global_norm(grads), skip)

    return jax.jit(train_step, donate_argnums=0)


def check_finite(state: TrainState, max_skips: int = 10) -> None:
    """Raises NonFiniteError once `max_skips` steps in a row were skipped.

    The message names the step and what was not finite, the first offending leaf of it.
    """
    if int(state.in_row) < natural("max_skips", max_skips, least=1):
        return
    paths = [f"params{jax.tree_util.keystr(p)}" for p, _ in jax.tree.leaves_with_path(state.params)]
    suspects = [
        *(f"the gradient of {path}" for path in paths),
        "the loss",
        *(f"the updated {path}" for path in paths),
        *(f"the optimizer's state{jax.tree_util.keystr(p)}" for p, _ in _floating(state.opt_state)),
    ]
    culprit = suspects[int(state.culprit)]
    raise NonFiniteError(
        f"{culprit} is not finite at step {int(state.step)}, the last of {int(state.in_row)} "
        "skipped in a row: lower the learning rate, clip the gradient norm, or look at the data"
    )


def non_finite(what: str, params: PyTree) -> NonFiniteError:
    """The error for a number that a model came to; names the first parameter to blame, if any."""
    for path, leaf in _floating(params):
        if not jnp.isfinite(leaf).all():
            return NonFiniteError(f"{what}: params{jax.tree_util.keystr(path)} is not finite")
    return NonFiniteError(
        f"{what}; the parameters are finite: the model overflows, or a symbol is not one of its own"
    )


def _floating(tree: PyTree) -> list[tuple[Any, Array]]:
    """The floating leaves with their paths: counts and keys are finite by nature."""
    leaves = jax.tree.leaves_with_path(tree)
    return [(p, leaf) for p, leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
