"""Floor 5: the command line: `rnnjax train`, `generate`, `evaluate`, `inspect` and `plan`."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import pathlib
import shlex
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO, Union

if TYPE_CHECKING:
    from rich.table import Table

    from rnnjax import Cell
    from rnnjax.train import LanguageModelConfig
    from rnnjax.train.language_model import Result

# What training needs is imported by the command that needs it, so that `--help` is quick.


@dataclasses.dataclass(frozen=True)
class GenerateConfig:
    """Continue a prompt with a trained model, symbol by symbol.

    Attributes:
      run: Folder of the run, as `rnnjax train` named it.
      prompt: What to continue; - reads it from the standard input.
      length: How many characters or words to generate.
      temperature: 1 samples from the model, 0 takes the likeliest.
      top_k: Draw from so many of the likeliest symbols alone; 0 from all.
      top_p: Draw from the fewest likeliest symbols with this probability together; 1 from all.
      samples: How many texts, in one batch; text b is that of seed + b.
      seed: Of the draws; the same seed gives the same text.
      unknown: Read what the model never saw as the unknown symbol.
      checkpoint: The latest one, or the one with the least validation loss.
    """

    run: pathlib.Path
    prompt: str = "def "
    length: int = 500
    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 1.0
    samples: int = 1
    seed: int = 0
    unknown: bool = False
    checkpoint: Literal["latest", "best"] = "latest"

    def __call__(self) -> None:
        """Writes the text as it comes; several, one below the other when all are done."""
        from rnnjax.train import generate_batch, load_run
        from rnnjax.train.data import decoded

        prompt = self.prompt
        if prompt == "-":
            prompt = decoded("the standard input", sys.stdin.buffer.read())
        run = load_run(self.run, best=self.checkpoint == "best")
        texts = generate_batch(
            run.model,
            run.state.params,
            run.vocabulary,
            prompt,
            samples=self.samples,
            length=self.length,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
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
class EvaluateConfig:
    """Predict every symbol of a text with a trained model, its state carried through the text.

    Attributes:
      run: Folder of the run.
      text: A UTF-8 file, or a folder of them.
      batch_size: How many parts of the text are read side by side, for speed; 1 carries the state
        through the whole text.
      losses: Write the loss of each symbol after the first here, in nats, one a line.
      plot: Picture of the loss against the position in a window; by default evaluation.png in the
        run's folder.
      checkpoint: The latest one, or the one with the least validation loss.
    """

    run: pathlib.Path
    text: pathlib.Path
    batch_size: int = 1
    losses: pathlib.Path | None = None
    plot: pathlib.Path | None = None
    checkpoint: Literal["latest", "best"] = "latest"

    def __call__(self) -> None:
        """Prints the figures, writes losses and picture."""
        import math

        import numpy as np

        from rnnjax.train import evaluate_run
        from rnnjax.train.data import read_whole
        from rnnjax.train.plot import figure_type, plot_positions
        from rnnjax.train.run import read_config

        figure_type()
        best, picture = self.checkpoint == "best", self.plot or self.run / "evaluation.png"
        found = evaluate_run(self.run, read_whole(self.text), batch_size=self.batch_size, best=best)
        if self.losses is not None:
            np.savetxt(self.losses, found.losses, fmt="%.6g")
        window = read_config(self.run)[0].window
        plot_positions(found.positions, found.carried, window, picture, found.unit)
        print(f"{len(found.losses) + 1:,} {found.unit}s, {found.unknown:,} of them unknown")
        print(f"{found.nats:.4f} nats, {found.nats / math.log(2):.4f} bits per {found.unit}")
        print(f"{found.bits_per_character:.4f} bits per character")
        print(f"perplexity {math.exp(found.nats):,.3f} per {found.unit}")
        print(f"loss against position in the window: {picture}", file=_out())


@dataclasses.dataclass(frozen=True)
class InspectConfig:
    """Show what a run is: its settings, parameters, checkpoints, curve and plan.

    Attributes:
      run: Folder of the run, which may still be going on.
    """

    run: pathlib.Path

    def __call__(self) -> None:
        """Prints the tables, draws the curve anew."""
        from rich.console import Console
        from rich.text import Text

        from rnnjax.train.checkpoint import checkpoints, load_meta
        from rnnjax.train.plot import figure_type, plot_training
        from rnnjax.train.run import load_run, read_records

        figure_type()
        found, console = load_run(self.run), Console(file=_out())
        settings = {**found.config.as_json(), **found.meta["versions"]}
        console.print(_table("settings", ["", ""], list(settings.items())))
        console.print(_table("parameters", ["", "shape", "count"], parameters(found.state.params)))
        kept = [
            (path.name, "" if nats is None else f"{nats:.4f} nats")
            for path in checkpoints(self.run / "checkpoints")
            for nats in [load_meta(path).get("validation")]
        ]
        console.print(_table("checkpoints", ["", "validation"], kept))
        if records := read_records(self.run):
            picture = self.run / "training.png"
            plot_training(records, found.config.clip_norm, picture, found.vocabulary.unit)
            console.print(Text(f"the curve: {picture}\n"), soft_wrap=True)
        print_plan(found.model, found.config.window, found.config.batch_size)


@dataclasses.dataclass(frozen=True)
class PlanConfig:
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
        from rnnjax.train import recurrent_language_model

        model = recurrent_language_model(
            self.vocabulary_size,
            cell=self.cell,
            hidden_size=self.hidden_size,
            layers=self.layers,
            embedding_size=self.embedding_size,
        )
        print_plan(model, self.window, self.batch_size)


def print_plan(model: Cell, window: int, batch_size: int) -> None:
    """Prints the plan of a language model's training window."""
    import jax

    import rnnjax

    symbol = rnnjax.tokens()
    params = jax.eval_shape(model.init, jax.random.key(0), symbol)
    state = jax.eval_shape(lambda params: model.initial_state(params, (batch_size,)), params)
    xs = jax.ShapeDtypeStruct((window, batch_size), "int32")
    print(rnnjax.plan(model.step, params, state, xs), file=_out())


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


def _table(title: str, columns: list[str], rows: list[tuple[Any, ...]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold", justify="right" if name == "count" else "left")
    for row in rows:
        table.add_row(*(Text(str(entry)) for entry in row))
    return table


@dataclasses.dataclass(frozen=True)
class _Train:
    """Train a recurrent language model."""


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

    commands: dict[str, Any] = {
        "train": _Train(),
        "generate": GenerateConfig,
        "evaluate": EvaluateConfig,
        "inspect": InspectConfig,
        "plan": PlanConfig,
    }
    if words[:1] == ["train"]:
        commands["train"] = _train_defaults(words[1:])
    kinds: Any = [
        Annotated[kind, tyro.conf.subcommand(name)]
        if isinstance(kind, type)
        else Annotated[type(kind), tyro.conf.subcommand(name, default=kind)]
        for name, kind in commands.items()
    ]
    either: Any = Union[tuple(kinds)]  # noqa: UP007  (there is no | for a list)
    return tyro.cli(
        either,
        prog="rnnjax",
        description="Recurrent language models in JAX.",
        args=words,
    )


def _train_defaults(words: list[str]) -> Any:
    """`rnnjax train` with its defaults: those of the run to resume or of the preset, if any."""
    from rnnjax.train.config import CONFIGS, LanguageModelConfig
    from rnnjax.train.run import read_config

    @dataclasses.dataclass(frozen=True)
    class Train(LanguageModelConfig):
        """Train a recurrent language model.

        Attributes:
          preset: Settings by name, where no flag says otherwise.
          resume: Folder of a run to continue, with its own settings where no flag says otherwise.
        """

        preset: Literal["zaremba-small"] | None = None
        resume: pathlib.Path | None = None

        def __call__(self) -> None:
            """Trains, then prints what it came to."""
            train(LanguageModelConfig(**{name: getattr(self, name) for name in names}), self.resume)

    names = [field.name for field in dataclasses.fields(LanguageModelConfig)]
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    flags.add_argument("--resume", nargs="?", type=pathlib.Path)
    flags.add_argument("--preset", nargs="?")
    given, _ = flags.parse_known_args(words)
    config = LanguageModelConfig()
    if given.resume is not None:
        config, _ = read_config(given.resume)
    elif given.preset in CONFIGS:
        config = CONFIGS[given.preset]
    return Train(**dataclasses.asdict(config))


def train(config: LanguageModelConfig, resume: pathlib.Path | None) -> None:
    """`rnnjax train`: trains, then prints what it came to."""
    import rnnjax
    from rnnjax.train import train_language_model

    with contextlib.suppress(RuntimeError):  # JAX has started: the devices are what they are
        rnnjax.host.use_cpu_devices()
    rnnjax.host.tune_host_memory()
    if resume is not None:
        config = dataclasses.replace(config, out=resume)
    report(train_language_model(config, resume=resume is not None))


def _show_warning(message: Warning | str, *where: Any) -> None:
    print(f"rnnjax: warning: {message}", file=sys.stderr)


def report(result: Result) -> None:
    """Prints what a run came to: the table, the sample, where the files are."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    words = result.unit == "word"
    figure, name = ("perplexity", "perplexity") if words else ("bits per character", "bits")
    table = Table(title=f"{figure} of held-out text")
    table.add_column("model")
    table.add_column(name, justify="right")
    for name, bits in sorted(result.bits.items(), key=lambda item: -item[1]):
        style = "bold green" if name == "model" else ""
        table.add_row(name, f"{2**bits:,.1f}" if words else f"{bits:.3f}", style=style)
    console = Console(file=_out())
    console.print(table)
    console.print(f"{result.tokens_per_second:,.0f} {result.unit}s/s in training")
    console.print("\nA sample at temperature 0.6:\n", style="bold")
    console.print(Text(result.sample), soft_wrap=True)
    # As text, and unwrapped: a path may hold what rich takes for markup, and is to be copied.
    console.print(Text(f"\nEverything is in {result.folder}/; to see more of it:"), soft_wrap=True)
    command = f"  rnnjax generate --run {shlex.quote(str(result.folder))} --prompt "
    known = [word for word in result.sample.split() if "<unk>" not in word] or ["the"]
    begin = known[0] if words else result.sample[:1]
    console.print(Text(command + shlex.quote(begin)), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
