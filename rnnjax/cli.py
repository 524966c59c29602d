"""Floor 5: the command line: `rnnjax train`, `generate` and `plan`."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import shlex
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

if TYPE_CHECKING:
    from rnnjax.train.language_model import Result

# What training needs is imported by the command that needs it, so that `--help` is quick.


@dataclasses.dataclass(frozen=True)
class GenerateConfig:
    """Continue a prompt with a trained model, character by character.

    Attributes:
      run: Folder of the run, as `rnnjax train` named it.
      prompt: What to continue.
      length: How many characters to generate.
      temperature: 1 samples from the model, 0 takes the likeliest.
      seed: Of the draws; the same seed gives the same text.
    """

    run: pathlib.Path
    prompt: str = "def "
    length: int = 500
    temperature: float = 0.7
    seed: int = 0

    def __call__(self) -> None:
        """Writes the text as it comes."""
        from rnnjax.train import generate_from_run

        text = generate_from_run(
            self.run,
            self.prompt,
            length=self.length,
            temperature=self.temperature,
            seed=self.seed,
        )
        sys.stdout.write(self.prompt)
        for character in text:
            sys.stdout.write(character)
            sys.stdout.flush()
        sys.stdout.write("\n")


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
        import jax

        import rnnjax
        from rnnjax.train import LanguageModelConfig

        model = LanguageModelConfig(
            cell=self.cell,
            hidden_size=self.hidden_size,
            layers=self.layers,
            embedding_size=self.embedding_size,
        ).model(self.vocabulary_size)
        symbol = jax.ShapeDtypeStruct((), int)
        params = jax.eval_shape(model.init, jax.random.key(0), symbol)
        state = jax.eval_shape(lambda p: model.initial_state(p, (self.batch_size,)), params)
        xs = jax.ShapeDtypeStruct((self.window, self.batch_size), int)
        print(rnnjax.plan(model.step, params, state, xs))


@dataclasses.dataclass(frozen=True)
class _Train:
    """Train a recurrent language model."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
      argv: the arguments; None for those of the process.

    Returns:
      The exit status: 0, or 2 for an error of the user's, which is said in one line.
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
        except (CheckpointError, NonFiniteError, OSError, ValueError) as error:
            print(f"rnnjax: {error}", file=sys.stderr)
            return 2
    return 0


def _parse(words: list[str]) -> Any:
    """The command, as a function without arguments."""
    import tyro

    commands = {"train": _Train(), "generate": GenerateConfig, "plan": PlanConfig}
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
    """`rnnjax train` with its defaults: those of the run to resume, where there is one."""
    from rnnjax.train.config import LanguageModelConfig
    from rnnjax.train.run import read_config

    @dataclasses.dataclass(frozen=True)
    class Train(LanguageModelConfig):
        """Train a recurrent language model.

        Attributes:
          resume: Folder of a run to continue, with its own settings where no flag says otherwise.
        """

        resume: pathlib.Path | None = None

        def __call__(self) -> None:
            """Trains, then prints what it came to."""
            from rnnjax.train import train_language_model

            values = {name: getattr(self, name) for name in settings}
            if self.resume is not None:
                values["out"] = self.resume
            config = LanguageModelConfig(**values)
            report(train_language_model(config, resume=self.resume is not None))

    settings = [field.name for field in dataclasses.fields(LanguageModelConfig)]
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    flags.add_argument("--resume", type=pathlib.Path)
    given, _ = flags.parse_known_args(words)
    if given.resume is None:
        return Train()
    config, _ = read_config(given.resume)
    return Train(**dataclasses.asdict(config))


def _show_warning(message: Warning | str, *where: Any) -> None:
    print(f"rnnjax: warning: {message}", file=sys.stderr)


def report(result: Result) -> None:
    """Prints what a run came to: the table, the sample, where the files are."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title="bits per character of held-out text")
    table.add_column("model")
    table.add_column("bits", justify="right")
    for name, bits in sorted(result.bits.items(), key=lambda item: -item[1]):
        style = "bold green" if name == "model" else ""
        table.add_row(name, f"{bits:.3f}", style=style)
    console = Console()
    console.print(table)
    console.print(f"{result.tokens_per_second:,.0f} characters/s in training")
    console.print("\nA sample at temperature 0.6:\n", style="bold")
    console.print(Text(result.sample), soft_wrap=True)
    # As text, and unwrapped: a path may hold what rich takes for markup, and is to be copied.
    console.print(Text(f"\nEverything is in {result.folder}/; to see more of it:"), soft_wrap=True)
    command = f"  rnnjax generate --run {shlex.quote(str(result.folder))} --prompt "
    console.print(Text(command + shlex.quote(result.sample[:1])), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
