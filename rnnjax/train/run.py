"""A run's folder: what is in it, how it is begun, found again and read back."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import platform
import warnings
from typing import Any, NamedTuple

import jax
import optax

import rnnjax
from rnnjax.train.checkpoint import (
    CheckpointError,
    best_checkpoint,
    check_folder,
    checkpoints,
    load_checkpoint,
    load_meta,
)
from rnnjax.train.config import LEVELS, LanguageModelConfig
from rnnjax.train.data import Vocabulary, Words
from rnnjax.train.step import TrainState, init_train_state

# What a run writes into its folder.
FILES = (
    "config.json",
    "metrics.jsonl",
    "training.png",
    "result.json",
    "sample.txt",
    "checkpoints",
)


class Run(NamedTuple):
    """A run as one of its checkpoints has it.

    Attributes:
      checkpoint: the checkpoint's folder.
      config: the settings.
      vocabulary: the model's symbols.
      model: the cell.
      state: parameters, optimizer, carried state, key, step.
      meta: what else was stored: versions, the digest of the text, the validation.
    """

    checkpoint: pathlib.Path
    config: LanguageModelConfig
    vocabulary: Vocabulary | Words
    model: rnnjax.Cell
    state: TrainState
    meta: dict[str, Any]


def load_run(
    folder: str | pathlib.Path, *, best: bool = False, config: LanguageModelConfig | None = None
) -> Run:
    """Reads a run back, from its latest sound checkpoint.

    A damaged one is passed over with a warning which says what is wrong with it.

    Args:
      folder: the run's folder.
      best: whether to begin with the checkpoint of the least validation loss.
      config: the settings to read it with; None for those it was stored with.

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
            run = _read(path, config)
        except CheckpointError as error:
            errors.append(error)
            continue
        for error in errors:
            warnings.warn(f"{error}; using {path.name}", stacklevel=2)
        return run
    raise errors[0]


def _read(path: pathlib.Path, wanted: LanguageModelConfig | None) -> Run:
    meta = load_meta(path)
    try:
        config = wanted or LanguageModelConfig.from_json(meta["config"])
        vocabulary = LEVELS[config.level](meta["vocabulary"])
    except (KeyError, TypeError) as error:  # sound, but of another job or another version
        raise CheckpointError(f"{path} is of no language model known here: {error}") from None
    model = config.model(len(vocabulary))

    def begin(key: jax.Array) -> TrainState:
        params = model.init(key, rnnjax.tokens())
        return init_train_state(model, params, config.transformation(), config.batch_size, key)

    state, _ = load_checkpoint(path, jax.eval_shape(begin, jax.random.key(0)))
    return Run(path, config, vocabulary, model, state, meta)


def read_config(folder: str | pathlib.Path) -> tuple[LanguageModelConfig, dict[str, Any]]:
    """The settings a run was begun with, and all of its config.json.

    Raises:
      ValueError: the folder holds no run, or one that is not known here.
    """
    try:
        meta = json.loads((pathlib.Path(folder) / "config.json").read_text(encoding="utf-8"))
        return LanguageModelConfig.from_json(meta["config"]), meta
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no run: its config.json is missing") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder}/config.json is of no run known here: {error}") from None


def new_folder(config: LanguageModelConfig) -> pathlib.Path:
    """The run's folder, made and known to be writable before any work is done."""
    if config.out is not None:
        folder = config.out
        for name in FILES:
            if os.path.lexists(folder / name):
                raise ValueError(
                    f"{folder} already holds a run's {name}: choose another --out, remove it, or "
                    f"continue it with --resume {folder}"
                )
    else:
        stem = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{config.cell}-{config.hidden_size}"
        taken = 0
        folder = pathlib.Path("runs") / stem
        while folder.exists():
            taken += 1
            folder = pathlib.Path("runs") / f"{stem}-{taken}"
    check_folder(folder / "checkpoints")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write(file: pathlib.Path, text: str) -> None:
    """Writes a file whole or not at all, however the process ends."""
    partial = file.with_name(f".partial_{file.name}")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, file)


def as_json(value: dict[str, Any], **options: Any) -> str:
    """JSON as every reader takes it: a number that is not finite is null."""
    value = json.loads(json.dumps(value), parse_constant=lambda name: None)
    return json.dumps(value, **options)


def read_records(folder: pathlib.Path, last: int | None = None) -> list[dict[str, Any]]:
    """What the loop recorded, up to some step; a line that a kill cut short is left out."""
    records = []
    file = folder / "metrics.jsonl"
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            record = json.loads(line)
        except ValueError:
            break
        if last is None or record["step"] <= last:
            records.append(record)
    return records


def versions() -> dict[str, str]:
    """What the numbers of a run depend on besides its settings."""
    return {
        "rnnjax": rnnjax.__version__,
        "jax": jax.__version__,
        "optax": optax.__version__,
        "python": platform.python_version(),
        "devices": str(jax.devices()),
    }
