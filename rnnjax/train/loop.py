"""The training loop: steps, a live display, validation, and a record of all of it."""

from __future__ import annotations

import contextlib
import functools
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import optax
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from rnnjax import Cell
from rnnjax.train.console import lenient
from rnnjax.train.losses import bits_per_token, perplexity
from rnnjax.train.placement import placed, placement
from rnnjax.train.sources import Streams, Windows
from rnnjax.train.step import Metrics, TrainState, check_finite, make_train_step

Record = dict[str, Any]
T = TypeVar("T")


def fit(
    cell: Cell,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    source: Streams | Windows,
    *,
    steps: int,
    clip_norm: float = 0.0,
    validate: Callable[[TrainState], float] | None = None,
    validate_every: int = 0,
    checkpoint: Callable[[TrainState, float | None], object] | None = None,
    checkpoint_every: int = 0,
    record: Callable[[Record], None] = lambda record: None,
    restart_rate: float = 0.0,
    max_skips: int = 10,
    loss: str = "mean",
    tokens: str = "all",
    unit: str = "character",
) -> TrainState:
    """Trains a model of symbols up to a number of steps, and shows how it goes.

    Args:
      cell: the model.
      optimizer: what `init_train_state` was given.
      state: where to start; its buffers are donated.
      source: the text, as parallel streams or as sliding windows.
      steps: the step count at which to end.
      clip_norm: the optimizer's clipping threshold, for the share of clipped steps; 0 for none.
      validate: state -> nats a symbol on text that is not trained on.
      validate_every: how many steps lie between two validations; 0 for the end alone.
      checkpoint: (state, its validation or None), to write it down; after every validation, at the
        end, and where the run is interrupted.
      checkpoint_every: how many steps lie between two checkpoints besides; 0 for none.
      record: called with a dict for every step, every validation and every checkpoint, in order:
        what a checkpoint has behind it was recorded before it was written.
      restart_rate: how often a stream starts a window afresh; see `make_train_step`.
      max_skips: how many skipped steps in a row end the run; see `make_train_step`.
      loss: what is minimised; see `make_train_step`.
      tokens: which targets count; see `make_train_step`.
      unit: what a symbol is: "character", shown in bits, or "word", shown as perplexity.

    Returns:
      The state after the last step.

    Raises:
      NonFiniteError: too many steps in a row were skipped; names the step and the culprit.
      KeyboardInterrupt: at the end of a step in which Ctrl-C or SIGTERM came, or from a callback;
        `checkpoint`, if there is one, was called with the state of that step. A second signal is
        handled as ever, at once.
    """
    train_step = make_train_step(
        cell, optimizer, restart_rate=restart_rate, max_skips=max_skips, loss=loss, tokens=tokens
    )
    batch_size = source.batch_size
    where = placement(batch_size)
    carried = placed(state.carried, where.rows)
    state = placed(state._replace(carried=()), where.whole)._replace(carried=carried)
    per_step = batch_size * (source.window if tokens == "all" else 1)
    with (
        _Display(steps, clip_norm, per_step, record, unit) as display,
        _Signals(checkpoint is not None) as signals,
    ):
        pending: Metrics | None = None
        saved = True  # whether the state is where it began, or in a checkpoint
        try:
            for step in range(int(state.step), steps):
                xs, targets, restart = source.batch(step)
                if restart and step:  # the text starts again, and so do the streams' states
                    key = jax.random.fold_in(state.key, step)
                    carried = cell.initial_state(state.params, (batch_size,), key=key)
                    state = state._replace(carried=placed(carried, where.rows))
                state, metrics = train_step(state, *placed((xs, targets), where.windows))
                saved = False
                before, pending = pending, metrics
                if before is not None:  # one step behind, so that the device never waits for us
                    display.show(step - 1, before)
                ended = step == steps - 1
                if ended or (step + 1) % 10 == 0:
                    check_finite(state, max_skips)

                def due(every: int, step: int = step, ended: bool = ended) -> bool:
                    return ended or bool(every and (step + 1) % every == 0)

                validates = validate is not None and due(validate_every)
                saves = checkpoint is not None and (due(checkpoint_every) or signals.caught)
                if validates or saves:
                    pending, nats = None, None
                    display.show(step, metrics)  # it waits for the step, whose time is its own
                    if validate is not None and validates:
                        nats = display.validate(step, functools.partial(validate, state))
                    if checkpoint is not None:
                        display.save(step, functools.partial(checkpoint, state, nats))
                        saved = True
                if signals.caught and saved:
                    raise Interrupted(signals.caught, step + 1)
            if pending is not None:
                display.show(steps - 1, pending)
        except KeyboardInterrupt:
            # A callback's own, which may come at every record. A second signal ends it as it is.
            if checkpoint is not None and not saved and not signals.caught:
                step = int(state.step) - 1
                with contextlib.suppress(KeyboardInterrupt):
                    if pending is not None:
                        display.show(step, pending)
                display.save(step, functools.partial(checkpoint, state, None))
            raise
    return placed(state, where.one)


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
    """A progress bar on a terminal, a line now and then elsewhere; and the record either way."""

    def __init__(
        self,
        steps: int,
        clip_norm: float,
        tokens: int,
        record: Callable[[Record], None],
        unit: str,
    ):
        self.unit = unit
        self.steps, self.clip_norm, self.tokens, self.record = steps, clip_norm, tokens, record
        self.console = Console(file=lenient(sys.stderr))
        self.progress = Progress(
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(),
            TextColumn("{task.fields[line]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task("", total=steps, line="compiling")
        self.loss = self.shown = None
        self.clipped = self.skipped = self.count = 0
        self.validation = ""

    def __enter__(self) -> _Display:
        self.progress.start()
        self.start = self.since = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def show(self, step: int, metrics: Metrics) -> None:
        loss, norm, skipped = (x.item() for x in jax.device_get(metrics))
        now = time.perf_counter()
        clipped = not skipped and bool(self.clip_norm) and norm > self.clip_norm
        self.clipped, self.count = self.clipped + clipped, self.count + 1
        self.skipped += skipped
        if self.count == 1:
            self.since = now  # the first step compiled
        if not skipped:
            self.loss = loss if self.loss is None else 0.95 * self.loss + 0.05 * loss
        rate = (self.count - 1) * self.tokens / max(now - self.since, 1e-9)
        average = float("nan") if self.loss is None else self.loss
        line = (
            f"loss {average:.3f} nats, {self._shown(average)}"
            f"{self.validation} · gradient {norm:.2f} · {self.clipped / self.count:.0%} clipped"
            f"{f' · {self.skipped} skipped' if self.skipped else ''} · {rate:,.0f} tokens/s"
        )
        self.progress.update(self.task, completed=step + 1, line=line)
        if self.progress.disable and (step + 1) % max(1, self.steps // 20) == 0:
            left = (self.steps - step - 1) * (now - self.since) / max(1, self.count - 1)
            self.console.print(f"step {step + 1}/{self.steps} · {line} · {left:.0f} s left")
        self.record(
            {
                "step": step + 1,
                "loss": loss,
                "grad_norm": norm,
                "clipped": clipped,
                "skipped": skipped,
                "compiled": self.count == 1,
                "seconds": round(now - self.start, 6),
            }
        )

    def validate(self, step: int, validation: Callable[[], float]) -> float:
        nats = self._aside(validation)
        self.validation = f" (validation {self._shown(nats)})"
        self.record({"step": step + 1, "validation_loss": nats})
        return nats

    def save(self, step: int, checkpoint: Callable[[], object]) -> None:
        self._aside(checkpoint)
        self.record({"step": step + 1, "checkpoint": True})

    def _shown(self, nats: float) -> str:
        if self.unit == "word":
            return f"perplexity {perplexity(nats):.1f}"
        return f"{bits_per_token(nats):.3f} bits/char"

    def _aside(self, work: Callable[[], T]) -> T:
        """Does what is not training, and leaves its time out of the rate."""
        start = time.perf_counter()
        result = work()
        self.since += time.perf_counter() - start
        return result
