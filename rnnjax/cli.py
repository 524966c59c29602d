"""Floor 5: the command line, `rnnjax train`, `rnnjax generate` and `rnnjax plan`."""

from __future__ import annotations

import dataclasses
import pathlib
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rnnjax.train.language_model import Result


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


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
      argv: the arguments; None for those of the process.

    Returns:
      The exit status: 0, or 2 for an error of the user's, which is said in one line.
    """
    try:
        import tyro

        from rnnjax.train import (
            CheckpointError,
            LanguageModelConfig,
            NonFiniteError,
            generate_from_run,
            train_language_model,
        )
    except ModuleNotFoundError as error:
        print(f'{error}: pip install "rnnjax[train]"', file=sys.stderr)
        return 2

    command = tyro.extras.subcommand_cli_from_dict(
        {"train": LanguageModelConfig, "generate": GenerateConfig, "plan": PlanConfig},
        prog="rnnjax",
        description="Recurrent language models in JAX.",
        args=None if argv is None else list(argv),
    )
    try:
        if isinstance(command, GenerateConfig):
            text = generate_from_run(
                command.run,
                command.prompt,
                length=command.length,
                temperature=command.temperature,
                seed=command.seed,
            )
            sys.stdout.write(command.prompt)
            for character in text:
                sys.stdout.write(character)
                sys.stdout.flush()
            sys.stdout.write("\n")
        elif isinstance(command, PlanConfig):
            explain(command)
        else:
            report(train_language_model(command))
    except (CheckpointError, NonFiniteError, OSError, ValueError) as error:
        print(f"rnnjax: {error}", file=sys.stderr)
        return 2
    return 0


def explain(config: PlanConfig) -> None:
    """Prints the plan of a language model's training window."""
    import jax

    import rnnjax
    from rnnjax.train import LanguageModelConfig

    model = LanguageModelConfig(
        cell=config.cell,
        hidden_size=config.hidden_size,
        layers=config.layers,
        embedding_size=config.embedding_size,
    ).model(config.vocabulary_size)
    symbol = jax.ShapeDtypeStruct((), int)
    params = jax.eval_shape(model.init, jax.random.key(0), symbol)
    state = jax.eval_shape(lambda params: model.initial_state(params, (config.batch_size,)), params)
    xs = jax.ShapeDtypeStruct((config.window, config.batch_size), int)
    print(rnnjax.plan(model.step, params, state, xs))


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
