"""Floor 6: the command line."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import pathlib
import shlex
import signal
import sys
import typing
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO, Union

if TYPE_CHECKING:
    import tyro
    from rich.table import Table

    from rnnjax import Cell
    from rnnjax.tasks.language_model import Evaluation
    from rnnjax.train import Result, Run, Task
else:
    with contextlib.suppress(ModuleNotFoundError):  # `main` says what is missing
        import tyro

# What training needs is imported by the command that needs it, so that `--help` is quick.
# Settings whose flags had other names, which stay for one minor version; a file is also data.
RENAMED = {"evaluate_every": ("--validate-every",), "file": ("--data",)}
ABOUT = """Recurrent networks in JAX, trained on a task and used.

rnnjax train TASK --help lists the settings of a task, rnnjax tasks the tasks."""


@dataclasses.dataclass(frozen=True)
class Train:
    """Train a model on a task: rnnjax train [TASK] --flags; without one, a language model."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Compare cells on a task of generated data: rnnjax sweep --task TASK --cells A,B --seeds N."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """Measure cells against other libraries and the machine: rnnjax bench [quick] --flags."""


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Judge a trained model, on its test data or on a file of yours.

    Attributes:
      run: Folder of the run, as `rnnjax train` named it.
      data: A file of yours, or a folder of them; by default the test data.
      batch_size: Of a language model: how many parts of the text are read side by side, for speed;
        1 carries the state through the whole text.
      losses: Of a language model: write the loss of each symbol after the first here, in nats, one
        a line.
      plot: The picture; by default evaluation.png in the run's folder.
      checkpoint: The latest one, or the one with the best validation.
    """

    run: pathlib.Path
    data: Annotated[pathlib.Path | None, tyro.conf.arg(aliases=["--text"])] = None
    batch_size: int = 1
    losses: pathlib.Path | None = None
    plot: pathlib.Path | None = None
    checkpoint: Literal["latest", "best"] = "latest"

    def __call__(self) -> None:
        """Prints the figures, draws the picture."""
        from rnnjax.tasks import task_of
        from rnnjax.tasks.language_model import LanguageModel
        from rnnjax.train import Data, load_run
        from rnnjax.train.plot import figure_type

        figure_type()
        run = load_run(self.run, task_of, best=self.checkpoint == "best")
        params, task, facts = run.state.params, run.task, run.facts
        if self.data is None:
            data = task.data()
        else:
            data = Data(None, None, task.read(self.data, facts), facts)
        picture = self.plot or self.run / "evaluation.png"
        if isinstance(task, LanguageModel):
            from rnnjax.tasks.language_model.pictures import plot_positions

            found = task.evaluation(run.system, params, facts, data.test, self.batch_size)
            self._losses(found)
            plot_positions(found.positions, found.carried, task.window, picture, found.unit)
        else:
            for name, figure in run.system.evaluate(params, data.test).items():
                print(f"{name} {figure:.6g}")
            task.picture(run.system, params, data, picture)
        print(f"the picture: {picture}", file=_out())

    def _losses(self, found: Evaluation) -> None:
        """Prints what a language model makes of a text; writes the losses."""
        import math

        import numpy as np

        if self.losses is not None:
            np.savetxt(self.losses, found.losses, fmt="%.6g")
        print(f"{len(found.losses) + 1:,} {found.unit}s, {found.unknown:,} of them unknown")
        print(f"{found.nats:.4f} nats, {found.nats / math.log(2):.4f} bits per {found.unit}")
        print(f"{found.bits_per_character:.4f} bits per character")
        print(f"perplexity {math.exp(found.nats):,.3f} per {found.unit}")


@dataclasses.dataclass(frozen=True)
class Predict:
    """Ask a trained model: what its task predicts for a request.

    Attributes:
      request: What to ask, in the form in which `rnnjax train` showed an example; - reads it from
        the standard input.
      run: Folder of the run.
      checkpoint: The latest one, or the one with the best validation.
    """

    request: tyro.conf.Positional[str]
    run: pathlib.Path
    checkpoint: Literal["latest", "best"] = "latest"

    def __call__(self) -> None:
        """Writes the answer as it comes."""
        from rnnjax.tasks import task_of
        from rnnjax.train import load_run

        run = load_run(self.run, task_of, best=self.checkpoint == "best")
        out = _out()
        for piece in run.system.predict(run.state.params, _said(self.request)):
            out.write(piece)
            out.flush()
        out.write("\n")


@dataclasses.dataclass(frozen=True)
class Generate:
    """Continue a prompt with a trained language model, symbol by symbol.

    Attributes:
      run: Folder of the run, as `rnnjax train` named it.
      prompt: What to continue; - reads it from the standard input.
      length: How many characters or words to generate.
      temperature: 1 samples from the model, 0 takes the likeliest.
      top_k: Draw from so many of the likeliest symbols alone; 0 from all.
      top_p: Draw from the fewest likeliest symbols with this probability together; 1 from all.
      min_p: Draw from symbols with this share of the likeliest one's probability; 0 from all.
      repetition: Above 1, symbols that the text has already are less likely.
      samples: How many texts, in one batch; text b is that of seed + b.
      seed: Of the draws; the same seed gives the same text.
      unknown: Read what the model never saw as the unknown symbol.
      checkpoint: The latest one, or the one with the best validation.
    """

    run: pathlib.Path
    prompt: str = "def "
    length: int = 500
    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition: float = 1.0
    samples: int = 1
    seed: int = 0
    unknown: bool = False
    checkpoint: Literal["latest", "best"] = "latest"

    def __call__(self) -> None:
        """Writes the text as it comes; several, one below the other when all are done."""
        from rnnjax.tasks.language_model import LanguageModel, generate_batch
        from rnnjax.train import load_run

        prompt = _said(self.prompt)
        run = load_run(self.run, LanguageModel.of, best=self.checkpoint == "best")
        texts = generate_batch(
            run.system.cell,
            run.state.params,
            run.task.vocabulary(run.facts),
            prompt,
            samples=self.samples,
            length=self.length,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition=self.repetition,
            seed=self.seed,
            unknown=self.unknown,
        )
        out = _out()
        if self.samples == 1:
            out.write(prompt)
            for (text,) in texts:
                out.write(text)
                out.flush()
            out.write("\n")
            return
        for b, pieces in enumerate(zip(*texts, strict=True)):
            out.write(f"--- {b + 1} of {self.samples}, seed {self.seed + b}\n")
            out.write(f"{prompt}{''.join(pieces)}\n")


@dataclasses.dataclass(frozen=True)
class Inspect:
    """Show what a run is: its settings, parameters, checkpoints, curve and plan.

    Attributes:
      run: Folder of the run, which may still be going on.
      gradients: Draw how far back in time the gradient of its loss reaches, and how large it is at
        each array of parameters, as gradients.png in the folder; this reads its data.
    """

    run: pathlib.Path
    gradients: bool = False

    def __call__(self) -> None:
        """Prints the tables, draws the curve anew."""
        from rich.console import Console
        from rich.text import Text

        from rnnjax.tasks import task_of
        from rnnjax.train import checkpoints, load_meta, load_run
        from rnnjax.train.folder import read_records
        from rnnjax.train.plot import figure_type, plot_training

        figure_type()
        found, console = load_run(self.run, task_of), Console(file=_out())
        task, cell = found.task, found.system.cell
        sizes = parameters(found.state.params)
        settings = {"task": task.name, **task.as_json(), **found.meta["versions"]}
        console.print(_table("settings", ["", ""], list(settings.items())))
        console.print(_table("parameters", ["", "shape", "count"], sizes, 2))
        unit = task.metric if "task" in found.meta else "nats"  # as before there were tasks
        kept = [
            (path.name, "" if figure is None else f"{figure:.4g} {unit}")
            for path in checkpoints(self.run / "checkpoints")
            for figure in [load_meta(path).get("validation")]
        ]
        console.print(_table("checkpoints", ["", "validation"], kept))
        if records := read_records(self.run):
            picture = self.run / "training.png"
            plot_training(records, picture, metric=task.metric, clip_norm=task.clip_norm)
            console.print(Text(f"the curve: {picture}\n"), soft_wrap=True)
        if self.gradients:
            self._gradients(found, records)
        if cell is not None:
            print_plan(cell, found.system.cell_params(found.state.params), found.system.xs)

    def _gradients(self, found: Run, records: list[dict[str, Any]]) -> None:
        """Draws the gradients in the loss of the batch that would come next."""
        from rnnjax.diagnostics import LossGradients, draw_gradients, gradient_record

        task, state = found.task, found.state
        batch = task.source(task.data()).batch(int(state.step))
        seen = LossGradients(**gradient_record(found.system.loss)(state, batch))
        picture = self.run / "gradients.png"
        draw_gradients(seen, records, picture)
        print(f"the gradients: {picture}", file=_out())


@dataclasses.dataclass(frozen=True)
class ListTasks:
    """List the tasks: what each is for, and what its data are."""

    def __call__(self) -> None:
        """Prints the table."""
        from rich.console import Console

        from rnnjax.tasks import TASKS

        rows = [(name, task.about, task.data_about) for name, task in TASKS.items()]
        console = Console(file=_out())
        console.print(_table("tasks", ["", "what is learnt", "data"], rows))
        console.print("rnnjax train TASK --help lists the settings of one.")


@dataclasses.dataclass(frozen=True)
class ShowPlan:
    """Show what the recurrence compiler makes of a language model, without running it.

    Attributes:
      cell: The recurrent cell.
      hidden_size: Units of each layer.
      layers: Recurrent layers above each other.
      embedding_size: Length of a symbol's vector.
      vocabulary_size: Number of symbols.
      window: Steps of a sequence.
      batch_size: Sequences side by side.
    """

    cell: Literal["elman", "lstm", "gru"] = "lstm"
    hidden_size: int = 256
    layers: int = 2
    embedding_size: int = 64
    vocabulary_size: int = 96
    window: int = 64
    batch_size: int = 32

    def __call__(self) -> None:
        """Prints the plan of a language model's training window."""
        import jax

        import rnnjax
        from rnnjax.tasks.language_model import recurrent_language_model

        model = recurrent_language_model(
            self.vocabulary_size,
            cell=self.cell,
            hidden_size=self.hidden_size,
            layers=self.layers,
            embedding_size=self.embedding_size,
        )
        params = jax.eval_shape(model.init, jax.random.key(0), rnnjax.tokens())
        print_plan(model, params, jax.ShapeDtypeStruct((self.window, self.batch_size), "int32"))


def print_plan(cell: Cell, params: Any, xs: Any) -> None:
    """Prints the plan of a cell over a training batch, [T, B, ...]."""
    import jax

    import rnnjax

    (batch,) = {leaf.shape[1] for leaf in jax.tree.leaves(xs)}
    state = jax.eval_shape(lambda params: cell.initial_state(params, (batch,)), params)
    print(rnnjax.plan(cell.step, params, state, xs), file=_out())


def _said(words: str) -> str:
    """What a user said, or for - what the standard input has."""
    from rnnjax.train.files import decoded

    return words if words != "-" else decoded("the standard input", sys.stdin.buffer.read())


def _out() -> TextIO:
    """The standard output, whatever its encoding."""
    from rnnjax.train.console import lenient

    return lenient(sys.stdout)


def parameters(params: Any) -> list[tuple[str, str, str]]:
    """(name, shape, count) of each parameter, and of all together."""
    import jax

    leaves = jax.tree.leaves_with_path(params)
    rows = [
        (jax.tree_util.keystr(path), str(list(leaf.shape)), f"{leaf.size:,}")
        for path, leaf in leaves
    ]
    return [*rows, ("all", "", f"{sum(leaf.size for _, leaf in leaves):,}")]


def _table(
    title: str, columns: list[str], rows: list[tuple[Any, ...]], numbers: int | None = None
) -> Table:
    """A table; `numbers` is the column that has them."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", show_header=any(columns), min_width=len(title))
    for place, name in enumerate(columns):
        table.add_column(name, overflow="fold", justify="right" if place == numbers else "left")
    for row in rows:
        table.add_row(*(e if isinstance(e, Text) else Text(str(e)) for e in row))
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
      argv: the arguments; None for those of the process.

    Returns:
      The exit status: 0, 2 for an error of the user's, or that of the signal that ended a command;
      which is said in one line.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        command = _parse(words)  # `--help` ends here
        from rnnjax.train import CheckpointError, NonFiniteError
    except ModuleNotFoundError as error:
        print(f'{error}: pip install "rnnjax[train]"', file=sys.stderr)
        return 2
    except ValueError as error:  # of the run to resume
        print(f"rnnjax: {error}", file=sys.stderr)
        return 2
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _show_warning
        try:
            command()
        except (CheckpointError, ImportError, NonFiniteError, OSError, ValueError) as error:
            print(f"rnnjax: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt as stop:
            said = [str(stop) or "interrupted", *getattr(stop, "__notes__", ())]
            print(f"rnnjax: {'; '.join(said)}", file=sys.stderr)
            return 128 + getattr(stop, "signal", signal.SIGINT)
    return 0


def _parse(words: list[str]) -> Any:
    """The command, as a function without arguments."""
    import tyro

    for name, parse in (("train", _parse_train), ("sweep", _parse_sweep), ("bench", _parse_bench)):
        if words[:1] == [name]:
            return parse(words[1:])
    commands: dict[str, Any] = {
        "train": Train,
        "sweep": Sweep,
        "evaluate": Evaluate,
        "predict": Predict,
        "generate": Generate,
        "inspect": Inspect,
        "tasks": ListTasks,
        "plan": ShowPlan,
        "bench": Bench,
    }
    kinds: Any = [Annotated[kind, tyro.conf.subcommand(name)] for name, kind in commands.items()]
    either: Any = Union[tuple(kinds)]  # noqa: UP007  (there is no | for a list)
    return tyro.cli(either, prog="rnnjax", description=ABOUT, args=words)


def _parse_train(words: list[str]) -> Callable[[], None]:
    """`rnnjax train`, whose flags are the settings of a task.

    Their defaults are those of the run to resume or of the preset, if there is one.
    """
    import tyro

    from rnnjax.tasks import TASKS, task_of
    from rnnjax.train.folder import read_config

    named, words = (words[0], words[1:]) if words and words[0][:1] != "-" else (None, words)
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    flags.add_argument("--resume", nargs="?", type=pathlib.Path)
    flags.add_argument("--preset", nargs="?")
    given, _ = flags.parse_known_args(words)
    if named is not None and named not in TASKS:
        raise ValueError(f"there is no task {named}: rnnjax tasks lists them")
    if given.resume is not None:
        stored = read_config(given.resume)
        try:
            task, _ = task_of(stored)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{given.resume} is of no run known here: {error}") from None
        if named not in (None, task.name):
            raise ValueError(f"{given.resume} is a run of the task {task.name}, not of {named}")
    else:
        task = TASKS[named or "language-model"]()
    kind, presets = type(task), type(task).presets()
    task = presets.get(given.preset, task)
    fields = _groups(task)
    out = "Folder of the run; by default a new one under runs/."
    fields.append(("out", _flag(pathlib.Path | None, out), None))
    resume = "Folder of a run to continue, with its own settings where no flag says otherwise."
    fields.append(("resume", _flag(pathlib.Path | None, resume), None))
    if presets:
        names: Any = Literal[tuple(presets)]
        text = "Settings by name, where no flag says otherwise."
        fields.append(("preset", _flag(names | None, text), None))
    about = f"{task.name}: {task.about}. Data: {task.data_about}."
    found = tyro.cli(
        dataclasses.make_dataclass("Train", fields),
        prog=f"rnnjax train {task.name}",
        description=f"{about} rnnjax tasks lists the other tasks.",
        args=words,
    )
    settings = {**vars(found.task), **vars(found.training)}
    return lambda: train(kind(**settings), found.out, found.resume)


def _parse_sweep(words: list[str]) -> Callable[[], None]:
    """`rnnjax sweep`, whose flags are its own and the settings of its task."""
    import tyro

    from rnnjax.tasks import TASKS
    from rnnjax.train import GeneratedTask

    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    flags.add_argument("--task", nargs="?", default="parity", const="parity")
    named = flags.parse_known_args(words)[0].task
    if named not in TASKS:
        raise ValueError(f"there is no task {named}: rnnjax tasks lists them")
    task = TASKS[named]()
    if not isinstance(task, GeneratedTask):
        raise ValueError(f"{named} is no task of generated data, which a sweep needs")
    offered = task.choices()["cell"]
    own: list[Any] = [
        ("task", _flag(str, "The task, of generated data."), named),
        ("cells", _flag(str, f"Cells to compare, by commas: {', '.join(offered)}."), "lstm,gru"),
        ("seeds", _flag(int, "How many seeds, trained in one program: 0, 1 and so on."), 5),
        ("out", _flag(pathlib.Path | None, "Folder; by default a new one under runs/."), None),
    ]
    # What a sweep says by itself, and what belongs to checkpoints.
    without = (
        "cell", "seed", "evaluate_every", "patience", "checkpoint_every", "gradients_every", "keep",
    )  # fmt: skip
    found = tyro.cli(
        dataclasses.make_dataclass(
            "Sweep", [*own, *_groups(task, without, ("the_task", "training"))]
        ),
        prog="rnnjax sweep",
        description=f"{task.name}: {task.about}. {task.data_about}.",
        args=words,
    )
    settings = {**vars(found.the_task), **vars(found.training)}
    cells = [name.strip() for name in found.cells.split(",") if name.strip()]
    return lambda: sweep(type(task)(**settings), cells, found.seeds, found.out)


def _parse_bench(words: list[str]) -> Callable[[], None]:
    """`rnnjax bench`, whose flags are those of benchmarks/bench.py beside the package."""
    import importlib

    folder = pathlib.Path(__file__).parents[1] / "benchmarks"
    if not (folder / "bench.py").exists():
        raise ValueError("bench needs a checkout of the repository, whose benchmarks/ it runs")
    sys.path.insert(0, str(folder))
    driver = importlib.import_module("bench")
    args = driver.parse(words)

    def bench() -> None:
        if refused := driver.bench(args):
            raise ValueError(
                f"contenders that failed, or compute something else: {'; '.join(refused)}"
            )

    return bench


def _groups(
    task: Task, without: tuple[str, ...] = (), named: tuple[str, str] = ("task", "training")
) -> list[Any]:
    """The settings of a task as two groups of flags: its own, and those that all tasks share."""
    import tyro

    from rnnjax.train import Task

    shared = {field.name for field in dataclasses.fields(Task)}
    names = [f.name for f in dataclasses.fields(task) if f.name not in without]
    parts = ([n for n in names if n not in shared], [n for n in names if n in shared])
    fields: list[Any] = []
    for group, some in zip(named, parts, strict=True):
        settings: Any = _settings(task, some)
        default = dataclasses.field(default_factory=settings)
        fields.append((group, tyro.conf.OmitArgPrefixes[settings], default))
    return fields


def _settings(task: Task, names: list[str]) -> type:
    """Some settings of a task as a group of flags, with its values as defaults."""
    from docstring_parser import parse_from_object

    docs = {
        entry.arg_name: entry.description
        for part in reversed(type(task).__mro__[:-1])
        for entry in parse_from_object(part).params
    }
    hints = typing.get_type_hints(type(task))
    fields = [
        (name, _flag(hints[name], docs[name], old), dataclasses.field(default=getattr(task, name)))
        for name in names
        for old in [RENAMED.get(name, ())]
    ]
    return dataclasses.make_dataclass("Settings", fields)


def _flag(kind: Any, text: str | None, old: tuple[str, ...] = ()) -> Any:
    import tyro

    return Annotated[kind, tyro.conf.arg(help=" ".join((text or "").split()), aliases=old)]


def train(task: Task, out: pathlib.Path | None, resume: pathlib.Path | None) -> None:
    """`rnnjax train`: trains, then prints what it came to."""
    import rnnjax
    from rnnjax.train import run_task

    with contextlib.suppress(RuntimeError):  # JAX has started: the devices are what they are
        rnnjax.host.use_cpu_devices()
    rnnjax.host.tune_host_memory()
    report(run_task(task, resume or out, resume=resume is not None))


def sweep(task: Any, cells: list[str], seeds: int, out: pathlib.Path | None) -> None:
    """`rnnjax sweep`: trains, then prints the table."""
    import numpy as np
    from rich.console import Console
    from rich.text import Text

    import rnnjax
    from rnnjax.train import sweep as sweep_task
    from rnnjax.train.console import lenient

    rnnjax.host.tune_host_memory()
    progress = Console(file=lenient(sys.stderr))

    def show(cell: str, step: int, losses: np.ndarray) -> None:
        every = max(1, task.steps // 10)
        if step == task.steps or step % every < 100:
            median = float(np.median(losses))
            progress.print(f"{cell}: step {step}/{task.steps}, loss {median:.4g}, median of seeds")

    found = sweep_task(task, cells, seeds, out, report=show)
    columns, rows = found.rows()
    console = Console(file=_out())
    title = f"{task.metric} on the test data: median of {seeds} seeds, worst in brackets"
    console.print(_table(title, columns, [tuple(row) for row in rows]))
    for name, value in found.baselines.items():
        console.print(Text(f"{name}: {value:.4g}"))
    console.print(Text(f"\nEverything is in {found.folder}/"), soft_wrap=True)


def _show_warning(message: Warning | str, *where: Any) -> None:
    print(f"rnnjax: warning: {message}", file=sys.stderr)


def report(result: Result) -> None:
    """Prints what a run came to: the table, an answer of the model, where the files are."""
    from rich.console import Console
    from rich.text import Text

    scores = sorted(result.scores.items(), key=lambda item: -item[1])
    rows = [
        tuple(Text(t, style="bold green" if name == "model" else "") for t in (name, f"{x:,.4g}"))
        for name, x in scores
    ]
    console = Console(file=_out())
    if result.verdict:
        console.print(Text(result.verdict, style="bold red"), soft_wrap=True)
    console.print(_table(f"{result.metric} on the test data", ["", ""], rows, 1))
    console.print(f"{result.per_second:,.0f} {result.unit}/s in training")
    console.print("\nAn answer of the model:\n", style="bold")
    console.print(Text(result.sample), soft_wrap=True)
    # As text, and unwrapped: a path may hold what rich takes for markup, and is to be copied.
    console.print(Text(f"\nEverything is in {result.folder}/; to ask more:"), soft_wrap=True)
    command = f"  rnnjax predict --run {shlex.quote(str(result.folder))} "
    console.print(Text(command + shlex.quote(result.example)), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
