"""A run of a task: from its settings to a folder with everything in it, and back from there."""

from __future__ import annotations

import contextlib
import itertools
import json
import pathlib
import shlex
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from rnnjax.diagnostics.training import LossGradients, draw_gradients, gradient_record
from rnnjax.train.checkpoint import (
    CheckpointError,
    best_checkpoint,
    checkpoints,
    load_checkpoint,
    load_meta,
    save_checkpoint,
)
from rnnjax.train.folder import (
    as_json,
    new_folder,
    read_config,
    read_records,
    tensorboard,
    versions,
    write,
)
from rnnjax.train.loop import fit
from rnnjax.train.plot import figure_type, plot_training
from rnnjax.train.step import TrainState, init_train_state, make_train_step
from rnnjax.train.task import Facts, System, Task

Meta = dict[str, Any]


class Result(NamedTuple):
    """What a run came to.

    Attributes:
      folder: the run's folder.
      metric: what the figures are.
      scores: the metric on the test data, the model's and the baselines'; less is better.
      test: all figures of the model on the test data.
      per_second: what training worked through, evaluation and compilation left out.
      unit: in which things.
      example: what the model was asked.
      sample: its answer.
      verdict: which of the task's rivals the model does not beat, in a line; "" if it beats all.
    """

    folder: pathlib.Path
    metric: str
    scores: dict[str, float]
    test: dict[str, float]
    per_second: float
    unit: str
    example: str
    sample: str
    verdict: str = ""


class Run(NamedTuple):
    """A run as one of its checkpoints has it.

    Attributes:
      checkpoint: the checkpoint's folder.
      task: the settings.
      facts: what the model knows of the data.
      system: the model and what is done with it.
      state: parameters, optimizer, what is carried, key, step.
      meta: what else was stored: versions, the validation.
    """

    checkpoint: pathlib.Path
    task: Any
    facts: Facts
    system: System
    state: TrainState
    meta: Meta


def run_task(task: Task, out: str | pathlib.Path | None = None, *, resume: bool = False) -> Result:
    """Runs a task: data, model, training, baselines, pictures; everything into the run's folder.

    A run that was killed, at any moment, ends with `resume` bit for bit where it would have ended
    by itself: on the same machine, versions, devices and settings, which are compared. Ctrl-C and
    SIGTERM lose no step: training stops behind the one it is at, with a checkpoint.

    With `patience`, the result is that of the best checkpoint, else that of the last step.

    Args:
      task: what to do.
      out: the run's folder; None for a new one under runs/.
      resume: whether to continue the run in `out` instead of beginning one.

    Returns:
      A `Result`; the folder holds `config.json`, `metrics.jsonl`, `training.png`, `picture.png`,
      `result.json`, `sample.txt`, `checkpoints/`, `gradients.png` where `gradients_every` asks for
      it, and `tensorboard/` where something is installed that writes it.

    Raises:
      ValueError: the data or the settings will not do, or there is no run to continue.
      OSError: the folder cannot be written; raised before training.
      CheckpointError: none of the checkpoints of the run to continue can be used.
      NonFiniteError: training ran into non-finite numbers and stayed there, or an evaluation did.
      ImportError: matplotlib is missing; raised before training.
      KeyboardInterrupt: Ctrl-C or SIGTERM; a note to it says how to go on.
    """
    task.check()
    figure_type()
    key = seed_key(task.seed)
    data = task.data()
    source, system = task.source(data), task.system(data.facts)
    optimizer = task.transformation(source)
    step = make_train_step(system.loss, optimizer)
    init_key, run_key = jax.random.split(key)  # one for both would share numbers between them
    meta = {
        "task": task.name,
        "config": task.as_json(),
        "facts": data.facts,
        "versions": versions(),
    }
    folder = _compared(task, out, meta) if resume else new_folder(out, task.name)
    if resume and checkpoints(folder / "checkpoints"):
        state = load_run(folder, lambda meta: (task, data.facts)).state
    else:
        state = begin(system, optimizer, init_key, run_key)
    write(folder / "config.json", json.dumps(meta, indent=1) + "\n")
    records = read_records(folder, int(state.step))
    write(folder / "metrics.jsonl", "".join(as_json(record) + "\n" for record in records))
    elapsed = max((r["seconds"] for r in records if "seconds" in r), default=0.0)
    start = time.perf_counter()
    with _resumable(folder):
        with (folder / "metrics.jsonl").open("a", encoding="utf-8") as log:

            def record(entry: dict[str, Any]) -> None:
                if "seconds" in entry:
                    entry = {**entry, "seconds": entry["seconds"] + elapsed}
                log.write(as_json(entry) + "\n")
                log.flush()

            def checkpoint(state: TrainState, scores: dict[str, float] | None) -> None:
                save_checkpoint(
                    folder / "checkpoints",
                    int(state.step),
                    state,
                    {**meta, "validation": None if scores is None else scores[task.metric]},
                    keep=task.keep,
                    best="validation",
                )

            board = tensorboard(folder / "tensorboard")
            state = fit(
                step,
                state,
                source,
                steps=task.total_steps(source),
                evaluate=lambda state: system.evaluate(state.params, data.validation),
                evaluate_every=task.evaluate_every,
                watch=task.metric,
                patience=task.patience,
                checkpoint=checkpoint,
                checkpoint_every=task.checkpoint_every,
                gradients=gradient_record(system.loss),
                gradients_every=task.gradients_every,
                callbacks=(record, *([board] if board else ())),
                clip_norm=task.clip_norm,
                per_step=task.pace()[0],
                unit=task.pace()[1],
                history=records,
            )
        if task.patience:
            state = load_run(folder, lambda meta: (task, data.facts), best=True).state
        records = read_records(folder)
        plot_training(
            records, folder / "training.png", metric=task.metric, clip_norm=task.clip_norm
        )
        if seen := [record["gradients"] for record in records if "gradients" in record]:
            draw_gradients(LossGradients(**seen[-1]), records, folder / "gradients.png")
        test = system.evaluate(state.params, data.test)
        scores = {"model": test[task.metric], **task.baselines(data)}
        example = task.example(data)
        sample = "".join(system.predict(state.params, example))
        task.picture(system, state.params, data, folder / "picture.png")
        (things, unit), seconds = task.pace(), time.perf_counter() - start
        rate = _throughput(records, things)
        verdict = _verdict(task, scores)
        result = Result(folder, task.metric, scores, test, rate, unit, example, sample, verdict)
        report = {**result._asdict(), "folder": str(folder), "seconds": seconds}
        write(folder / "sample.txt", sample)
        write(folder / "result.json", as_json(report, indent=1) + "\n")
    return result


def seed_key(seed: int) -> jax.Array:
    """The random key of a seed that a user gave."""
    try:
        return jax.random.key(seed)
    except OverflowError:
        raise ValueError(f"seed must fit into 64 bits, got {seed}") from None


def begin(system: System, optimizer: Any, *keys: jax.Array) -> TrainState:
    """The state before the first step; keys for the parameters and for the run."""
    params = system.init(keys[0])
    carried = system.carried(params, jax.random.fold_in(keys[1], 0))
    return init_train_state(params, optimizer, keys[1], carried)


@contextlib.contextmanager
def _resumable(folder: pathlib.Path) -> Iterator[None]:
    """Says to whoever interrupts a run how to continue it."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note(f"to go on: rnnjax train --resume {shlex.quote(str(folder))}")
        raise


def _compared(task: Task, out: str | pathlib.Path | None, meta: Meta) -> pathlib.Path:
    """The folder of the run to continue; warns where it would not continue bit for bit."""
    if out is None:
        raise ValueError("out must name the folder of the run to continue, got None")
    stored = read_config(out)
    if "task" not in stored:
        raise ValueError(
            f"{out} was begun by rnnjax {stored['versions'].get('rnnjax')}, before there were "
            "tasks: its checkpoints can be used, but it cannot be continued"
        )
    if stored["task"] != task.name:
        raise ValueError(f"{out} is a run of the task {stored['task']}, not of {task.name}")
    here, there = json.loads(json.dumps(meta["facts"])), stored["facts"]
    if other := [name for name in {**here, **there} if here.get(name) != there.get(name)]:
        raise ValueError(
            f"the data are not those that {out} was trained on (other {', '.join(other)}): begin a "
            "new run with them"
        )
    here, there = ({**m["config"], **m["versions"]} for m in (meta, stored))
    # What no parameter depends on.
    free = {*task.paths(), "keep", "checkpoint_every", "gradients_every"}
    for name in sorted(here.keys() - free):
        if here[name] != there.get(name):
            warnings.warn(
                f"{name} is {here[name]} now and was {there.get(name)}: the run will not end bit "
                "for bit where it would have",
                stacklevel=3,
            )
    return pathlib.Path(out)


def load_run(
    folder: str | pathlib.Path,
    task_of: Callable[[Meta], tuple[Task, Facts]],
    *,
    best: bool = False,
) -> Run:
    """Reads a run back, from its latest sound checkpoint.

    A damaged one is passed over with a warning which says what is wrong with it.

    Args:
      folder: the run's folder.
      task_of: from what a run stored to its task and the facts of its data, such as
        `rnnjax.tasks.task_of`; KeyError, TypeError or ValueError where it knows none.
      best: whether to begin with the checkpoint of the best validation.

    Returns:
      A `Run`.

    Raises:
      CheckpointError: there is no checkpoint, or none that can be used; says why not the first.
    """
    found = checkpoints(pathlib.Path(folder) / "checkpoints")
    if best and (first := best_checkpoint(pathlib.Path(folder) / "checkpoints", "validation")):
        found.append(first)
    if not found:
        raise CheckpointError(
            f"{folder} has no checkpoint: train first, with rnnjax train --out {folder}"
        )
    errors = []
    for path in reversed(found):
        try:
            run = _read(path, task_of)
        except CheckpointError as error:
            errors.append(error)
            continue
        for error in errors:
            warnings.warn(f"{error}; using {path.name}", stacklevel=2)
        return run
    raise errors[0]


def _read(path: pathlib.Path, task_of: Callable[[Meta], tuple[Task, Facts]]) -> Run:
    meta = load_meta(path)
    try:
        task, facts = task_of(meta)
        system = task.system(facts)
    except (KeyError, TypeError, ValueError) as error:  # sound, but of another job or version
        raise CheckpointError(f"{path} is of no task known here: {error}") from None

    def like(key: jax.Array) -> TrainState:
        return begin(system, task.transformation(), key, key)

    state, _ = load_checkpoint(path, jax.eval_shape(like, jax.random.key(0)))
    return Run(path, task, facts, system, state, meta)


def _verdict(task: Task, scores: dict[str, float]) -> str:
    """What is to be said before all else: what the model is no better than, and should be."""
    rivals = [name for name in scores if name != "model" and name in (task.rivals or scores)]
    lost = [name for name in rivals if not scores["model"] < scores[name]]
    return f"The model does not beat this: {'; '.join(lost)}." if lost else ""


def _throughput(records: list[dict[str, Any]], things: int) -> float:
    """Things a second, over all steps but those with compilation or an evaluation in between."""
    steps = [
        after["seconds"] - before["seconds"]
        for before, after in itertools.pairwise(records)
        if all("loss" in r and not r["compiled"] for r in (before, after))
    ]
    return len(steps) * things / sum(steps) if steps else float("nan")
