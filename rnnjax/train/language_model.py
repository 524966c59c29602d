"""The main job: a character-level recurrent language model, from a text to a run folder."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
import os
import pathlib
import platform
import time
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import jax
import optax

import rnnjax
from rnnjax._cell import natural
from rnnjax.train.baselines import baselines, compressors
from rnnjax.train.checkpoint import (
    CheckpointError,
    check_folder,
    checkpoints,
    load_checkpoint,
    load_meta,
    save_checkpoint,
)
from rnnjax.train.data import Vocabulary, check_symbols, read_text, standard_library_text, streams
from rnnjax.train.evaluate import evaluate
from rnnjax.train.loop import fit
from rnnjax.train.losses import bits_per_token
from rnnjax.train.optimizer import optimizer, real
from rnnjax.train.plot import plot_training
from rnnjax.train.sample import generate, seed_key
from rnnjax.train.step import init_train_state

CELLS = {"elman": rnnjax.elman, "lstm": rnnjax.lstm, "gru": rnnjax.gru}
# What a run writes into its folder.
FILES = (
    "config.json",
    "metrics.jsonl",
    "training.png",
    "result.json",
    "sample.txt",
    "checkpoints",
)


@dataclasses.dataclass(frozen=True)
class LanguageModelConfig:
    """Train a character-level language model.

    Attributes:
      text: A UTF-8 file, or a folder of them; by default Python's own standard library.
      cell: The recurrent cell.
      hidden_size: Units of each layer.
      layers: Recurrent layers above each other.
      embedding_size: Length of a character's vector.
      window: Steps of truncated back-propagation through time.
      batch_size: Streams read side by side.
      optimizer: sgd, momentum, rmsprop, adam, adamw or adagrad.
      learning_rate: Peak, after a short warm-up; falls to a tenth along a cosine.
      clip_norm: Largest global norm of the gradient; 0 is off.
      restart_rate: Probability that a stream starts a window without its memory.
      steps: Training steps.
      validate_every: Steps between two validations.
      seed: Of parameters and noise.
      out: Folder of the run; by default a new one under runs/.
    """

    text: pathlib.Path | None = None
    cell: Literal["elman", "lstm", "gru"] = "lstm"
    hidden_size: int = 256
    layers: int = 1
    embedding_size: int = 64
    window: int = 64
    batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: float = 4e-3
    clip_norm: float = 0.25
    restart_rate: float = 1 / 32
    steps: int = 2400
    validate_every: int = 300
    seed: int = 0
    out: pathlib.Path | None = None

    def model(self, symbols: int) -> rnnjax.Cell:
        """The model for a vocabulary of some size."""
        return rnnjax.stack(
            rnnjax.embed(symbols, self.embedding_size),
            *[CELLS[self.cell](self.hidden_size)] * self.layers,
            rnnjax.linear(symbols),
        )

    def transformation(self) -> optax.GradientTransformation:
        """The optimizer, with its schedule and clipping."""
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate must be positive and finite, got {self.learning_rate}")
        schedule = optax.warmup_cosine_decay_schedule(
            0.0,
            self.learning_rate,
            warmup_steps=min(50, self.steps // 10),
            decay_steps=max(1, self.steps),
            end_value=self.learning_rate / 10,
        )
        return optimizer(self.optimizer, schedule, self.clip_norm)


class Result(NamedTuple):
    """What a run came to.

    Attributes:
      folder: the run's folder.
      bits: bits per character of the test text, the model's and the baselines'.
      tokens_per_second: of training, validation and compilation left out.
      sample: text the model wrote.
    """

    folder: pathlib.Path
    bits: dict[str, float]
    tokens_per_second: float
    sample: str


def train_language_model(config: LanguageModelConfig) -> Result:
    """Runs the job: text, model, training, baselines, sample; everything into the run's folder.

    Args:
      config: what to do.

    Returns:
      A `Result`; the folder holds `config.json`, `metrics.jsonl`, `training.png`, `result.json`,
      `sample.txt` and `checkpoints/`.

    Raises:
      ValueError: the text or the configuration will not do.
      OSError: the folder cannot be written; raised before training.
      NonFiniteError: training ran into non-finite numbers and stayed there.
    """
    natural("steps", config.steps, least=1)
    natural("layers", config.layers, least=1)
    natural("validate_every", config.validate_every)
    real("restart_rate", config.restart_rate, most=1)
    plan = config.transformation()
    key = seed_key(config.seed)
    text = standard_library_text() if config.text is None else read_text(config.text)
    vocabulary = Vocabulary.of(text.train)
    train, validation, test = (vocabulary.encode(part, unknown=True) for part in text)
    check_symbols(train, len(vocabulary))
    source = streams(train, config.batch_size, config.window)
    for name, part in (("validation", validation), ("test", test)):
        if len(part) < 2:
            raise ValueError(
                f"the {name} part has {len(part)} tokens, need at least 2: use a longer text"
            )
    model = config.model(len(vocabulary))
    folder = _new_folder(config)

    init_key, run_key = jax.random.split(key)  # one for both would share numbers between them
    params = model.init(init_key, jax.ShapeDtypeStruct((), int))
    state = init_train_state(model, params, plan, config.batch_size, run_key)
    meta = {
        "config": _as_json(config),
        "vocabulary": vocabulary.characters,
        "versions": _versions(),
    }
    (folder / "config.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    records: list[dict[str, Any]] = []
    start = time.perf_counter()
    with (folder / "metrics.jsonl").open("w", encoding="utf-8") as log:

        def record(entry: dict[str, Any]) -> None:
            records.append(entry)
            log.write(_json(entry) + "\n")
            log.flush()

        def validate(state: Any) -> float:
            nats = evaluate(model, state.params, validation)
            save_checkpoint(
                folder / "checkpoints", int(state.step), state, {**meta, "validation": nats}
            )
            return nats

        state = fit(
            model,
            plan,
            state,
            source,
            steps=config.steps,
            clip_norm=config.clip_norm,
            restart_rate=config.restart_rate,
            validate=validate,
            validate_every=config.validate_every,
            record=record,
        )
    plot_training(records, config.clip_norm, folder / "training.png")
    bits = {"model": float(bits_per_token(evaluate(model, state.params, test)))}
    bits |= baselines(train, validation, test, len(vocabulary)) | compressors(text.train, text.test)
    prompt = text.train[:1]  # a character that the model knows, whatever the others begin with
    sample = prompt + "".join(
        generate(model, state.params, vocabulary, prompt, length=500, temperature=0.6)
    )
    result = Result(folder, bits, _throughput(records, config.batch_size * config.window), sample)
    report = {**result._asdict(), "folder": str(folder), "seconds": time.perf_counter() - start}
    (folder / "result.json").write_text(_json(report, indent=1) + "\n", encoding="utf-8")
    (folder / "sample.txt").write_text(sample, encoding="utf-8")
    return result


def generate_from_run(
    run: str | pathlib.Path, prompt: str, *, length: int, temperature: float, seed: int
) -> Iterator[str]:
    """Continues a prompt with the latest checkpoint of a run.

    Raises:
      CheckpointError: the run has no usable checkpoint.
      ValueError: the prompt has a character the model never saw; see `generate`.
    """
    found = checkpoints(pathlib.Path(run) / "checkpoints")
    if not found:
        raise CheckpointError(
            f"{run} has no checkpoint: train first, with rnnjax train --out {run}"
        )
    meta = load_meta(found[-1])
    try:
        config, vocabulary = _from_json(meta["config"]), Vocabulary(meta["vocabulary"])
    except (KeyError, TypeError) as error:  # sound, but of another job or another version
        raise CheckpointError(f"{found[-1]} is of no language model known here: {error}") from None
    model = config.model(len(vocabulary))

    def begin(key: jax.Array) -> Any:
        params = model.init(key, jax.ShapeDtypeStruct((), int))
        return init_train_state(model, params, config.transformation(), config.batch_size, key)

    state, _ = load_checkpoint(found[-1], jax.eval_shape(begin, jax.random.key(0)))
    return generate(
        model,
        state.params,
        vocabulary,
        prompt,
        length=length,
        temperature=temperature,
        seed=seed,
    )


def _new_folder(config: LanguageModelConfig) -> pathlib.Path:
    """The run's folder, made and known to be writable before any work is done."""
    if config.out is not None:
        folder = config.out
        for name in FILES:
            if os.path.lexists(folder / name):
                raise ValueError(
                    f"{folder} already holds a run's {name}: choose another --out, or remove it"
                )
    else:
        stem = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{config.cell}-{config.hidden_size}"
        taken = 0
        folder = pathlib.Path("runs") / stem
        while folder.exists():
            taken += 1
            folder = pathlib.Path("runs") / f"{stem}-{taken}"
    check_folder(folder / "checkpoints")
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "config.json").touch()
    return folder


def _throughput(records: list[dict[str, Any]], characters: int) -> float:
    """Characters a second, over all steps but those with compilation or a validation in between."""
    steps = [
        after["seconds"] - before["seconds"]
        for before, after in itertools.pairwise(records[1:])
        if "loss" in before and "loss" in after
    ]
    return len(steps) * characters / sum(steps) if steps else float("nan")


def _json(value: dict[str, Any], **options: Any) -> str:
    """JSON as every reader takes it: a number that is not finite is null."""
    value = json.loads(json.dumps(value), parse_constant=lambda name: None)
    return json.dumps(value, **options)


def _as_json(config: LanguageModelConfig) -> dict[str, Any]:
    values = dataclasses.asdict(config).items()
    return {k: str(v) if isinstance(v, pathlib.Path) else v for k, v in values}


def _from_json(values: dict[str, Any]) -> LanguageModelConfig:
    paths = {k: pathlib.Path(values[k]) for k in ("text", "out") if values[k] is not None}
    return LanguageModelConfig(**{**values, **paths})


def _versions() -> dict[str, str]:
    return {
        "rnnjax": rnnjax.__version__,
        "jax": jax.__version__,
        "optax": optax.__version__,
        "python": platform.python_version(),
        "devices": str(jax.devices()),
    }
