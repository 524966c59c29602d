"""A run's folder: what is in it, how it is begun and read back."""

from __future__ import annotations

import datetime
import importlib.util
import json
import os
import pathlib
import platform
from collections.abc import Callable
from typing import Any

import jax
import optax

import rnnjax
from rnnjax.train.checkpoint import check_folder

# What a run writes into its folder.
FILES = (
    "config.json",
    "metrics.jsonl",
    "training.png",
    "picture.png",
    "gradients.png",
    "result.json",
    "sample.txt",
    "checkpoints",
    "tensorboard",
    "sweep.json",
    "sweep.png",
)


def read_config(folder: str | pathlib.Path) -> dict[str, Any]:
    """What a run was begun with: its config.json.

    Raises:
      ValueError: the folder holds no run, or one that is not known here.
    """
    try:
        meta = json.loads((pathlib.Path(folder) / "config.json").read_text(encoding="utf-8"))
        return {**meta, "config": meta["config"], "versions": meta["versions"]}
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no run: its config.json is missing") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder}/config.json is of no run known here: {error}") from None


def new_folder(out: str | pathlib.Path | None, name: str) -> pathlib.Path:
    """The run's folder, made and known to be writable before any work is done.

    Args:
      out: where to; None for a new folder under runs/.
      name: the task's, for the name of a new folder.
    """
    if out is not None:
        folder = pathlib.Path(out)
        for file in FILES:
            if os.path.lexists(folder / file):
                raise ValueError(
                    f"{folder} already holds a run's {file}: choose another --out, remove it, or "
                    f"continue it with --resume {folder}"
                )
    else:
        stem = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{name}"
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


def tensorboard(folder: str | pathlib.Path) -> Callable[[dict[str, Any]], None] | None:
    """A callback of `fit` that writes its records for TensorBoard.

    Args:
      folder: where to; TensorBoard is pointed at it.

    Returns:
      The callback; None where neither tensorboardX nor PyTorch with tensorboard is installed.
    """
    if importlib.util.find_spec("tensorboardX"):
        from tensorboardX import SummaryWriter  # type: ignore[import-not-found]
    elif importlib.util.find_spec("torch") and importlib.util.find_spec("tensorboard"):
        from torch.utils.tensorboard import SummaryWriter  # type: ignore[import-not-found]
    else:
        return None
    writer = SummaryWriter(str(folder))

    def write_record(record: dict[str, Any]) -> None:
        step = record["step"]
        for group in ("metrics", "evaluation"):
            for name, figure in record.get(group, {}).items():
                writer.add_scalar(f"{group}/{name}", figure, step)
        for name in ("loss", "grad_norm"):
            if name in record:
                writer.add_scalar(name, record[name], step)
        if "loss" not in record:  # an evaluation or a checkpoint: what was recorded so far is kept
            writer.flush()

    return write_record
