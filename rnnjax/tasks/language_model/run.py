"""What follows a run: more text of a model's, and what it makes of a text."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

from rnnjax.tasks.language_model.evaluate import Evaluation
from rnnjax.tasks.language_model.sample import generate
from rnnjax.tasks.language_model.task import LanguageModel, Part
from rnnjax.train.run import load_run


def generate_from_run(
    run: str | pathlib.Path, prompt: str, *, best: bool = False, **options: Any
) -> Iterator[str]:
    """Continues a prompt with a checkpoint of a run.

    Args:
      run: the run's folder.
      prompt: what to continue.
      best: whether to take the checkpoint of the least validation loss, not the latest.
      **options: `length`, `temperature` and the others of `generate`.

    Returns:
      An iterator over what each symbol adds to the text.

    Raises:
      CheckpointError: the run has no usable checkpoint.
      ValueError: the prompt has a symbol the model never saw; see `generate`.
    """
    found = load_run(run, LanguageModel.of, best=best)
    vocabulary = found.task.vocabulary(found.facts)
    return generate(found.system.cell, found.state.params, vocabulary, prompt, **options)


def evaluate_run(
    run: str | pathlib.Path, text: str, *, batch_size: int = 1, best: bool = False
) -> Evaluation:
    """Predicts every symbol of a text but the first, with the model of a run.

    Args:
      run: the run's folder.
      text: any text; symbols that the model never saw are the unknown one.
      batch_size: how many parts of the text are read side by side; 1 carries the state through
        the whole text, more are quicker.
      best: whether to take the checkpoint of the least validation loss, not the latest.

    Returns:
      An `Evaluation`.

    Raises:
      CheckpointError: the run has no usable checkpoint.
      ValueError: the text has fewer than two symbols.
    """
    found = load_run(run, LanguageModel.of, best=best)
    task, facts = found.task, found.facts
    part = Part(task.vocabulary(facts).encode(text, unknown=True), text)
    return task.evaluation(found.system, found.state.params, facts, part, batch_size)
