"""The training loop: steps, a live display, evaluations, and a record of all of it."""

from __future__ import annotations

import contextlib
import functools
import math
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import jax
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from rnnjax._factory import natural
from rnnjax.train.console import lenient
from rnnjax.train.placement import placed, placement
from rnnjax.train.sources import Source, iterated
from rnnjax.train.step import Metrics, TrainState, check_finite

PyTree = Any
Record = dict[str, Any]
Scores = dict[str, float]
T = TypeVar("T")


def fit(
    step: Callable[[TrainState, PyTree], tuple[TrainState, Metrics]],
    state: TrainState,
    source: Source | Iterable[PyTree],
    *,
    steps: int,
    evaluate: Callable[[TrainState], Mapping[str, float] | float] | None = None,
    evaluate_every: int = 0,
    watch: str | None = None,
    patience: int = 0,
    checkpoint: Callable[[TrainState, Scores | None], object] | None = None,
    checkpoint_every: int = 0,
    gradients: Callable[[TrainState, PyTree], Record] | None = None,
    gradients_every: int = 0,
    callbacks: Sequence[Callable[[Record], object]] = (),
    clip_norm: float = 0.0,
    max_skips: int = 10,
    per_step: int | None = None,
    unit: str | None = None,
    history: Sequence[Record] = (),
) -> TrainState:
    """Trains up to a number of steps, and shows how it goes.

    Args:
      step: what `make_train_step` returned.
      state: where to start; its buffers are donated.
      source: the batches: anything with `batch(step)`, or an iterable of batches, with which a run
        does not resume exactly.
      steps: the step count at which to end.
      evaluate: state -> figures by name, or one figure, on data that is not trained on.
      evaluate_every: how many steps lie between two evaluations; 0 for the end alone.
      watch: which of its figures should become less; the first one by default.
      patience: after how many evaluations in a row without a new least figure training ends; 0 for
        never.
      checkpoint: (state, its evaluation or None), to write it down; after every evaluation, at the
        end, and where the run is interrupted.
      checkpoint_every: how many steps lie between two checkpoints besides; 0 for none.
      gradients: (state, batch) -> what to record of the gradients of a step before it is taken, as
        `rnnjax.diagnostics.gradient_record` finds it.
      gradients_every: how many steps lie between two of them, from the first step on; 0 for none.
      callbacks: each is called with a dict for every step, evaluation, checkpoint and look at the
        gradients, in order: what a checkpoint has behind it was recorded before it was written.
      clip_norm: the optimizer's clipping threshold, for the share of clipped steps; 0 for none.
      max_skips: how many skipped steps in a row end the run; that of `make_train_step`.
      per_step: how many things a step works on, for the rate that is shown; by default the source's
        batch size.
      unit: what these things are; by default examples, or steps where a step works on one thing.
      history: the records of the run so far, where it is resumed: evaluations without a new least
        figure are counted from there.

    Returns:
      The state after the last step.

    Raises:
      NonFiniteError: too many steps in a row were skipped; names the step and the culprit.
      ValueError: `watch` is no figure of the evaluation, or a number will not do.
      KeyboardInterrupt: at the end of a step in which Ctrl-C or SIGTERM came, or from a callback;
        `checkpoint`, if there is one, was called with the state of that step. A second signal is
        handled as ever, at once.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from rnnjax.train import fit, generated, init_train_state, make_train_step
      >>> def loss(w, carried, batch, key):
      ...     return jnp.square(w - batch).mean(), (carried, {})
      >>> state = init_train_state(jnp.zeros(()), optax.sgd(0.1), jax.random.key(0))
      >>> source = generated(lambda key, size: 3 + jax.random.normal(key, (size,)), 64)
      >>> state = fit(make_train_step(loss, optax.sgd(0.1)), state, source, steps=50)
      >>> bool(abs(state.params - 3) < 0.1)
      True
    """
    begun = int(state.step)
    batches: Any = source if hasattr(source, "batch") else iterated(source)  # type: ignore
    if begun and not getattr(batches, "exact", True):
        warnings.warn(
            f"the run goes on at step {begun} with whatever the iterator gives: it will not end "
            "bit for bit where it would have",
            stacklevel=2,
        )
    watched = _Watched(watch, natural("patience", patience), history)
    batch_size, axes = getattr(batches, "batch_size", 1), getattr(batches, "axes", None)
    things: int = per_step or batch_size
    unit = unit or ("examples" if things > 1 else "steps")
    where = placement(1 if axes is None else batch_size)
    carried = where.carried(state.carried)
    state = placed(state._replace(carried=()), where.whole)._replace(carried=carried)
    with (
        _Display(steps, clip_norm, things, callbacks, unit) as display,
        _Signals(checkpoint is not None) as signals,
    ):
        pending: Metrics | None = None
        saved = True  # whether the state is where it began, or in a checkpoint
        try:
            for index in range(begun, steps):
                if watched.over:
                    display.say(f"no better {watched.name} in {patience} evaluations: the end")
                    break
                batch = where.batch(batches.batch(index), axes)
                if gradients is not None and gradients_every and index % gradients_every == 0:
                    if pending is not None:
                        display.show(index - 1, pending)
                    pending = None
                    display.examine(index, functools.partial(gradients, state, batch))
                state, metrics = step(state, batch)
                saved = False
                before, pending = pending, metrics
                if before is not None:  # one step behind, so that the device never waits for us
                    display.show(index - 1, before)
                ended = index == steps - 1
                if ended or (index + 1) % 10 == 0:
                    check_finite(state, max_skips)

                def due(every: int, index: int = index, ended: bool = ended) -> bool:
                    return ended or bool(every and (index + 1) % every == 0)

                evaluates = evaluate is not None and due(evaluate_every)
                saves = checkpoint is not None and (due(checkpoint_every) or signals.caught)
                if evaluates or saves:
                    pending, scores = None, None
                    display.show(index, metrics)  # it waits for the step, whose time is its own
                    if evaluate is not None and evaluates:
                        scores = display.evaluate(index, functools.partial(evaluate, state))
                        watched.see(scores)
                    if checkpoint is not None:
                        display.save(index, functools.partial(checkpoint, state, scores))
                        saved = True
                if signals.caught and saved:
                    raise Interrupted(signals.caught, index + 1)
            if pending is not None:
                display.show(steps - 1, pending)
        except KeyboardInterrupt:
            # A callback's own, which may come at every record. A second signal ends it as it is.
            if checkpoint is not None and not saved and not signals.caught:
                last = int(state.step) - 1
                with contextlib.suppress(KeyboardInterrupt):
                    if pending is not None:
                        display.show(last, pending)
                display.save(last, functools.partial(checkpoint, state, None))
            raise
    return placed(state, where.one)


class _Watched:
    """Counts evaluations without a new least figure.

    Attributes:
      name: the figure; None until the first evaluation, where it was not named.
    """

    def __init__(self, name: str | None, patience: int, history: Sequence[Record]):
        self.name, self.patience = name, patience
        self.least, self.since = math.inf, 0
        for record in history:
            if "evaluation" in record:
                self.see(record["evaluation"])

    def see(self, scores: Mapping[str, float | None]) -> None:
        self.name = next(iter(scores)) if self.name is None else self.name
        if self.name not in scores:
            raise ValueError(
                f"watch must be a figure of the evaluation, one of {', '.join(scores)}, got "
                f"{self.name!r}"
            )
        figure = scores[self.name]
        self.since += 1
        if figure is not None and figure < self.least:  # a record has None for NaN
            self.least, self.since = figure, 0

    @property
    def over(self) -> bool:
        return bool(self.patience) and self.since >= self.patience


class Interrupted(KeyboardInterrupt):
    """A signal ended a run behind a step, which has a checkpoint."""

    def __init__(self, number: signal.Signals, step: int):
        super().__init__(f"stopped by {number.name} after step {step}")
        self.signal = number


class _Signals:
    """Takes the first SIGINT or SIGTERM for a wish to stop; a second one is handled as ever.

    Attributes:
      caught: the first one; None before.
    """

    def __init__(self, wanted: bool):
        self.caught: signal.Signals | None = None
        # Python runs handlers in the main thread, and lets no other one set them.
        self.listens = wanted and threading.current_thread() is threading.main_thread()
        self.before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Signals:
        for number in (signal.SIGINT, signal.SIGTERM) if self.listens else ():
            before = signal.getsignal(number)
            if before not in (signal.SIG_IGN, None):  # None: not Python's, nor could we restore it
                self.before[number] = before
                signal.signal(number, self._catch)
        return self

    def __exit__(self, *error: object) -> None:
        while self.before:
            signal.signal(*self.before.popitem())

    def _catch(self, number: int, frame: object) -> None:
        self.caught = signal.Signals(number)
        self.__exit__()
        with contextlib.suppress(RuntimeError):  # whatever was being printed
            print("stopping behind this step; a second time stops at once", file=sys.stderr)


class _Display:
    """A progress bar on a terminal, a line that changes in a notebook, a line now and then else."""

    def __init__(
        self,
        steps: int,
        clip_norm: float,
        per_step: int,
        callbacks: Sequence[Callable[[Record], object]],
        unit: str,
    ):
        self.steps, self.clip_norm, self.per_step, self.unit = steps, clip_norm, per_step, unit
        self.callbacks = callbacks
        self.console = Console(file=lenient(sys.stderr))
        self.progress = Progress(
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(),
            TextColumn("{task.fields[line]}", markup=False),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task("", total=steps, line="compiling")
        self.smooth: dict[str, Any] = {}
        self.clipped = self.skipped = self.count = 0
        self.evaluation = ""
        self.output: Any = None

    def __enter__(self) -> _Display:
        self.progress.start()
        self.start = self.since = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def tell(self, line: str) -> None:
        """How far training is: in a notebook one line, which changes; elsewhere a line a call."""
        if not self.console.is_jupyter:
            self.say(line)
        elif self.output is None:
            from IPython.display import display  # what runs a notebook has it

            self.output = display({"text/plain": line}, raw=True, display_id=True)
        else:
            self.output.update({"text/plain": line}, raw=True)

    def show(self, step: int, metrics: Metrics) -> None:
        found: Any = jax.tree.map(lambda x: x.item(), jax.device_get(tuple(metrics)))
        loss, norm, skipped, more = found
        now = time.perf_counter()
        clipped = not skipped and bool(self.clip_norm) and norm > self.clip_norm
        self.clipped, self.count = self.clipped + clipped, self.count + 1
        self.skipped += skipped
        if self.count == 1:
            self.since = now  # the first step compiled
        if not skipped:
            for name, figure in {"loss": loss, **more}.items():
                before = self.smooth.get(name, figure)
                self.smooth[name] = 0.95 * before + 0.05 * figure
        rate = (self.count - 1) * self.per_step / max(now - self.since, 1e-9)
        line = (
            f"{_figures(self.smooth or {'loss': math.nan})}{self.evaluation} · gradient {norm:.2f}"
            f"{f' · {self.clipped / self.count:.0%} clipped' if self.clip_norm else ''}"
            f"{f' · {self.skipped} skipped' if self.skipped else ''} · {rate:,.0f} {self.unit}/s"
        )
        self.progress.update(self.task, completed=step + 1, line=line)
        due = (step + 1) % max(1, self.steps // 20) == 0 or step + 1 == self.steps
        if self.progress.disable and due:
            left = (self.steps - step - 1) * (now - self.since) / max(1, self.count - 1)
            self.tell(f"step {step + 1}/{self.steps} · {line} · {left:.0f} s left")
        self.record(
            {
                "step": step + 1,
                "loss": loss,
                "grad_norm": norm,
                "clipped": clipped,
                "skipped": skipped,
                "compiled": self.count == 1,
                "seconds": round(now - self.start, 6),
                "metrics": more,
            }
        )

    def evaluate(self, step: int, evaluation: Callable[[], Mapping[str, float] | float]) -> Scores:
        found = self._aside(evaluation)
        scores = dict(found) if isinstance(found, Mapping) else {"loss": found}
        scores = {name: float(figure) for name, figure in scores.items()}
        self.evaluation = f" (held out: {_figures(dict([next(iter(scores.items()))]))})"
        self.record({"step": step + 1, "evaluation": scores})
        return scores

    def examine(self, step: int, gradients: Callable[[], Record]) -> None:
        self.record({"step": step + 1, "gradients": self._aside(gradients)})

    def save(self, step: int, checkpoint: Callable[[], object]) -> None:
        self._aside(checkpoint)
        self.record({"step": step + 1, "checkpoint": True})

    def record(self, entry: Record) -> None:
        for callback in self.callbacks:
            callback(entry)

    def _aside(self, work: Callable[[], T]) -> T:
        """Does what is not training, and leaves its time out of the rate."""
        start = time.perf_counter()
        result = work()
        self.since += time.perf_counter() - start
        return result


def _figures(scores: Scores) -> str:
    return " · ".join(f"{name} {figure:.4g}" for name, figure in scores.items())
