"""One training step for any loss over any model, as a jitted function."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rnnjax import noise_keys
from rnnjax._factory import natural
from rnnjax.train.optimizer import global_norm

Array = jax.Array
PyTree = Any

# loss(params, carried, batch, key) -> (value, (carried, metrics)): a scalar that is minimised; what
# passes on to the next batch, () where nothing does; and scalars by name, to be shown.
Loss = Callable[[PyTree, PyTree, PyTree, Array], tuple[Array, tuple[PyTree, dict[str, Array]]]]


class TrainState(NamedTuple):
    """Everything a run carries from step to step, and what a checkpoint holds.

    Attributes:
      params: the model's parameters.
      opt_state: the optimizer's state.
      carried: what the loss passes on from batch to batch, such as a cell's state, [B, ...].
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
      loss: the value that is minimised.
      grad_norm: the global norm of the gradient before clipping.
      skipped: whether the step changed nothing, because something in it was not finite.
      more: the loss's own metrics, by name.
    """

    loss: Array
    grad_norm: Array
    skipped: Array
    more: dict[str, Array]


class NonFiniteError(ArithmeticError):
    """Numbers that are not finite, in too many steps in a row or where an answer was wanted."""


def init_train_state(
    params: PyTree, optimizer: optax.GradientTransformation, key: Array, carried: PyTree = ()
) -> TrainState:
    """The state of a run before its first step.

    Args:
      params: the model's parameters; copied, since training steps donate their buffers.
      optimizer: an optax transformation.
      key: the run's random key.
      carried: what the loss gets with the first batch, such as `cell.initial_state(params, (B,),
        key=key)`; copied as well.

    Returns:
      A `TrainState`.
    """
    key = noise_keys(key, ())[0]  # of one kind and in a buffer of its own, whatever came
    # Copied, since an optimizer or a learnable initial state may hand the parameters back.
    params, opt_state, carried = jax.tree.map(jnp.copy, (params, optimizer.init(params), carried))
    return TrainState(
        params=params,
        opt_state=opt_state,
        carried=carried,
        key=key,
        **{name: jnp.zeros((), jnp.int32) for name in ("step", "skipped", "in_row")},
        culprit=-jnp.ones((), jnp.int32),
    )


def make_train_step(
    loss: Loss, optimizer: optax.GradientTransformation, *, max_skips: int = 10
) -> Callable[[TrainState, PyTree], tuple[TrainState, Metrics]]:
    """A step of gradient descent on any loss.

        value, (carried', metrics) = loss(params, carried, batch, key_k)
        params' = params + optimizer(∂value / ∂params)

    `carried` passes from batch to batch, its gradient does not: with a cell's state in it, this is
    truncated back-propagation through time. Step k has a key of its own. A step whose loss,
    gradient, new parameters or new optimizer state is not finite leaves parameters, optimizer and
    what is carried as they were; after `max_skips` of them in a row every further step does, and
    `check_finite` raises. What an optimizer keeps infinite from the start, as some do a best loss,
    is no sign of a broken step.

    An optimizer that wants more than the gradient gets it by optax's names: `value`, the loss that
    is minimised, `grad`, and `value_fn` from parameters to that loss.

    Equal arguments give one function, which compiles once.

    Args:
      loss: `(params, carried, batch, key) -> (value, (carried, metrics))`: a scalar, what passes on
        to the next batch (() where nothing does, else of the same shapes and dtypes as before), and
        a dict of scalars to show, which may be empty.
      optimizer: an optax transformation.
      max_skips: how many skipped steps in a row end the run, at least one.

    Returns:
      A jitted function `(state, batch) -> (state, Metrics)`, which donates the state.

    Raises:
      TypeError, ValueError: `max_skips` is no positive int; the step raises where what the loss
        returns is of another form.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from rnnjax.train import check_finite, init_train_state, make_train_step
      >>> def loss(w, carried, batch, key):
      ...     return jnp.square(w - batch).mean(), (carried, {})
      >>> state = init_train_state(jnp.zeros(()), optax.sgd(0.5), jax.random.key(0))
      >>> state, metrics = make_train_step(loss, optax.sgd(0.5))(state, jnp.ones(3))
      >>> float(metrics.loss), float(state.params)
      (1.0, 1.0)
      >>> check_finite(state)  # no step was skipped, or this raised

    Reference:
      Williams & Peng, An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent
      Network Trajectories, Neural Computation 2(4), 1990.
    """
    # Checked out here, since True and 1 are one key of the cache.
    return _train_step(loss, optimizer, natural("max_skips", max_skips, least=1))


@functools.lru_cache(maxsize=16)  # so that a second run of the same loss compiles nothing
def _train_step(
    loss: Loss, optimizer: optax.GradientTransformation, max_skips: int
) -> Callable[[TrainState, PyTree], tuple[TrainState, Metrics]]:
    def train_step(state: TrainState, batch: PyTree) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step + 1)

        def loss_of(params: PyTree) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
            return formed(loss(params, state.carried, batch, key), state.carried)

        (value, (carried, more)), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
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

        suspects = (*jax.tree.leaves(grads), value, *jax.tree.leaves(params))
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
        return state, Metrics(value, global_norm(grads), skip, more)

    return jax.jit(train_step, donate_argnums=0)


def formed(found: Any, before: PyTree) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
    """What a loss returned, if it has the form of one; else raises TypeError, and says the form."""
    try:
        value, (carried, more) = found
        scalars = {"the value": value, **{f"the metric {name}": x for name, x in more.items()}}
    except (AttributeError, TypeError, ValueError):
        raise TypeError(
            f"loss must return (value, (carried, metrics)), got {jax.tree.structure(found)}"
        ) from None
    for what, x in scalars.items():
        if jnp.shape(x):
            raise TypeError(f"{what} of a loss must be a scalar, got shape {list(jnp.shape(x))}")
    was, now = (jax.tree.map(_form, tree) for tree in (before, carried))
    if was != now:
        raise TypeError(f"carried must keep its form: it was {was}, and the loss returned {now}")
    return value, (carried, {name: jnp.asarray(x) for name, x in more.items()})


def _form(leaf: Any) -> str:
    kind = jax.typeof(leaf)
    return f"{kind.dtype}{list(kind.shape)}"


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
        f"{what}; the parameters are finite: the model overflows, or an input is none of its own"
    )


def _floating(tree: PyTree) -> list[tuple[Any, Array]]:
    """The floating leaves with their paths: counts and keys are finite by nature."""
    leaves = jax.tree.leaves_with_path(tree)
    return [(p, leaf) for p, leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
