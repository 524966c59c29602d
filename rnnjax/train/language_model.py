"""The main job: a recurrent language model, from a text to a run folder, and what follows."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import pathlib
import shlex
import time
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

import rnnjax
from rnnjax._cell import Cell
from rnnjax.train.baselines import baselines, compressors
from rnnjax.train.checkpoint import checkpoints, save_checkpoint
from rnnjax.train.config import LanguageModelConfig
from rnnjax.train.data import (
    Text,
    Vocabulary,
    Words,
    check_symbols,
    read_text,
    standard_library_docstrings,
    standard_library_text,
)
from rnnjax.train.evaluate import evaluate, loss_by_position, token_losses, window_losses
from rnnjax.train.loop import fit
from rnnjax.train.losses import bits_per_token
from rnnjax.train.plot import figure_type, plot_training
from rnnjax.train.run import (
    as_json,
    load_run,
    new_folder,
    read_config,
    read_records,
    versions,
    write,
)
from rnnjax.train.sample import generate, seed_key
from rnnjax.train.step import TrainState, init_train_state, make_train_step


class Result(NamedTuple):
    """What a run came to.

    Attributes:
      folder: the run's folder.
      bits: bits per symbol of the test text, the model's and the baselines'.
      tokens_per_second: of training, validation and compilation left out.
      sample: text the model wrote.
      unit: what a symbol is, "character" or "word".
    """

    folder: pathlib.Path
    bits: dict[str, float]
    tokens_per_second: float
    sample: str
    unit: str


def train_language_model(config: LanguageModelConfig, *, resume: bool = False) -> Result:
    """Runs the job: text, model, training, baselines, sample; everything into the run's folder.

    A run that was killed, at any moment, ends with `resume` bit for bit where it would have ended
    by itself: on the same machine, versions, devices and settings, which are compared. Ctrl-C and
    SIGTERM lose no step: training stops behind the one it is at, with a checkpoint.

    Args:
      config: what to do.
      resume: whether to continue the run in `config.out` instead of beginning one.

    Returns:
      A `Result`; the folder holds `config.json`, `metrics.jsonl`, `training.png`, `result.json`,
      `sample.txt` and `checkpoints/`.

    Raises:
      ValueError: the text or the configuration will not do, or there is no run to continue.
      OSError: the folder cannot be written; raised before training.
      CheckpointError: none of the checkpoints of the run to continue can be used.
      NonFiniteError: training ran into non-finite numbers and stayed there, or an evaluation did.
      ImportError: matplotlib is missing; raised before training.
      KeyboardInterrupt: Ctrl-C or SIGTERM; a note to it says how to go on.
    """
    config.check()
    figure_type()
    key = seed_key(config.seed)
    text = _text(config)
    vocabulary = config.vocabulary(text.train)
    train, validation, test = (vocabulary.encode(part, unknown=True) for part in text)
    check_symbols(train, len(vocabulary))
    source = config.source(train)
    for name, part in (("validation", validation), ("test", test)):
        if len(part) < 2:
            raise ValueError(
                f"the {name} part has {len(part)} tokens, need at least 2: use a longer text"
            )
    model, plan = config.model(len(vocabulary)), config.transformation(source.steps_per_pass)
    how: dict[str, Any] = {
        "restart_rate": config.restart_rate if config.cut == "streams" else 1.0,
        "loss": config.loss,
        "tokens": "all" if config.cut == "streams" else "last",
    }
    make_train_step(model, plan, **how)  # the errors it has to say
    init_key, run_key = jax.random.split(key)  # one for both would share numbers between them
    meta = {
        "config": config.as_json(),
        "vocabulary": vocabulary.symbols,
        "versions": versions(),
        "text_sha256": _digest(text),
    }
    folder = _compared(config, meta) if resume else new_folder(config)
    if resume and checkpoints(folder / "checkpoints"):
        state = load_run(folder, config=config).state
    else:
        params = model.init(init_key, rnnjax.tokens())
        state = init_train_state(model, params, plan, config.batch_size, run_key)
    write(folder / "config.json", json.dumps(meta, indent=1) + "\n")
    records = read_records(folder, int(state.step))
    write(folder / "metrics.jsonl", "".join(as_json(record) + "\n" for record in records))
    elapsed = max((r["seconds"] for r in records if "seconds" in r), default=0.0)
    start = time.perf_counter()
    with _resumable(folder):
        with (folder / "metrics.jsonl").open("a", encoding="utf-8") as log:

            def record(entry: dict[str, Any]) -> None:
                if "seconds" in entry:
                    entry["seconds"] += elapsed
                log.write(as_json(entry) + "\n")
                log.flush()

            def checkpoint(state: TrainState, nats: float | None) -> None:
                save_checkpoint(
                    folder / "checkpoints",
                    int(state.step),
                    state,
                    {**meta, "validation": nats},
                    keep=config.keep,
                    best="validation",
                )

            state = fit(
                model,
                plan,
                state,
                source,
                steps=config.total_steps(source.steps_per_pass),
                clip_norm=config.clip_norm,
                unit=vocabulary.unit,
                validate=lambda state: mean_loss(
                    config, model, state.params, validation, vocabulary
                ),
                validate_every=config.validate_every,
                checkpoint=checkpoint,
                checkpoint_every=config.checkpoint_every,
                record=record,
                **how,
            )
        records = read_records(folder)
        plot_training(records, config.clip_norm, folder / "training.png", vocabulary.unit)
        nats = mean_loss(config, model, state.params, test, vocabulary)
        orders = (3,) if vocabulary.unit == "character" else (2, 3)
        bits = {"model": float(bits_per_token(nats))}
        bits |= baselines(train, validation, test, len(vocabulary), orders)
        if vocabulary.unit == "character":
            bits |= compressors(text.train, text.test)
        prompt = vocabulary.decode(
            train[:1]
        )  # what the model knows, whatever the others begin with
        length = 500 if vocabulary.unit == "character" else 100
        draw: dict[str, Any] = {"length": length, "temperature": 0.6, "unknown": True}
        sample = prompt + "".join(generate(model, state.params, vocabulary, prompt, **draw))
        tokens = config.batch_size * (config.window if how["tokens"] == "all" else 1)
        result = Result(folder, bits, _throughput(records, tokens), sample, vocabulary.unit)
        report = {**result._asdict(), "folder": str(folder), "seconds": time.perf_counter() - start}
        write(folder / "sample.txt", sample)
        write(folder / "result.json", as_json(report, indent=1) + "\n")
    return result


@contextlib.contextmanager
def _resumable(folder: pathlib.Path) -> Iterator[None]:
    """Says to whoever interrupts a run how to continue it."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note(f"to go on: rnnjax train --resume {shlex.quote(str(folder))}")
        raise


def _compared(config: LanguageModelConfig, meta: dict[str, Any]) -> pathlib.Path:
    """The folder of the run to continue; warns where it would not continue bit for bit."""
    if config.out is None:
        raise ValueError("out must name the folder of the run to continue, got None")
    _, stored = read_config(config.out)
    if stored.get("text_sha256") != meta["text_sha256"]:
        raise ValueError(
            f"the text is not the one that {config.out} was trained on (its SHA-256 differs): "
            "begin a new run with it"
        )
    here, there = ({**m["config"], **m["versions"]} for m in (meta, stored))
    free = {"out", "text", "keep", "checkpoint_every"}  # what no parameter depends on
    for name in sorted(here.keys() - free):
        if here[name] != there.get(name):
            warnings.warn(
                f"{name} is {here[name]} now and was {there.get(name)}: the run will not end bit "
                "for bit where it would have",
                stacklevel=3,
            )
    return config.out


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
    found = load_run(run, best=best)
    return generate(found.model, found.state.params, found.vocabulary, prompt, **options)


class Evaluation(NamedTuple):
    """What a model makes of a text.

    Attributes:
      unit: what a symbol is, "character" or "word".
      losses: nats of each symbol after the first, [N - 1].
      characters: how many characters the text has.
      unknown: how many of its symbols the model does not know.
      positions: mean loss at each position of a window whose state begins anew, [W]; how much
        what lies further back helps.
      carried: the same with the state carried through the text; None for a model of windows.
    """

    unit: str
    losses: np.ndarray
    characters: int
    unknown: int
    positions: np.ndarray
    carried: np.ndarray | None

    @property
    def nats(self) -> float:
        """Mean loss of a symbol."""
        return float(self.losses.mean(dtype=np.float64))

    @property
    def bits_per_character(self) -> float:
        """Bits of all symbols together, a character of the text."""
        return self.nats * len(self.losses) / math.log(2) / self.characters


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
    found = load_run(run, best=best)
    model, params, size = found.model, found.state.params, len(found.vocabulary)
    symbols = found.vocabulary.encode(text, unknown=True)
    unknown = int((symbols == size - 1).sum())
    if found.config.cut == "sliding":
        window, carried = found.config.window, None
        losses = window_losses(model, params, symbols, window=window)
    else:
        window = 2 * found.config.window  # beyond what training went through
        chunk = _chunk(batch_size, size)
        losses = token_losses(model, params, symbols, batch_size=batch_size, window=chunk)
        carried, _ = loss_by_position(losses, window, batch_size=batch_size)
    parts = min(64, max(1, len(symbols) // window))
    restarted = token_losses(
        model, params, symbols, batch_size=parts, window=_chunk(parts, size), restart_every=window
    )
    positions, _ = loss_by_position(restarted, window, batch_size=parts)
    return Evaluation(found.vocabulary.unit, losses, len(text), unknown, positions, carried)


def mean_loss(
    config: LanguageModelConfig,
    model: Cell,
    params: Any,
    symbols: np.ndarray,
    vocabulary: Vocabulary | Words,
) -> float:
    """Nats per symbol, in the way that a run's settings say its model reads."""
    if config.cut == "sliding":
        losses = window_losses(model, params, symbols, window=config.window)
        return float(losses.mean(dtype=np.float64))
    return evaluate(model, params, symbols, window=_chunk(32, len(vocabulary)))


def _chunk(batch_size: int, size: int) -> int:
    """How many steps of an evaluation go together: the logits stay below 16 MB, or 256 steps."""
    return max(1, min(256, 2**22 // (batch_size * size)))


def _text(config: LanguageModelConfig) -> Text:
    if config.text is not None:
        return read_text(config.text)
    return standard_library_text() if config.level == "char" else standard_library_docstrings()


def _digest(text: Text) -> str:
    """SHA-256 of a corpus and of how it is split."""
    digest = hashlib.sha256()
    for part in text:
        digest.update(hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()


def _throughput(records: list[dict[str, Any]], characters: int) -> float:
    """Characters a second, over all steps but those with compilation or a validation in between."""
    steps = [
        after["seconds"] - before["seconds"]
        for before, after in itertools.pairwise(records)
        if all("loss" in r and not r["compiled"] for r in (before, after))
    ]
    return len(steps) * characters / sum(steps) if steps else float("nan")
