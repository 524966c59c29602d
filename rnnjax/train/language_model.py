"""The main job: a character-level recurrent language model, from a text to a run folder."""

from __future__ import annotations

import hashlib
import itertools
import json
import pathlib
import time
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from rnnjax._cell import natural
from rnnjax.train.baselines import baselines, compressors
from rnnjax.train.checkpoint import checkpoints, save_checkpoint
from rnnjax.train.config import LanguageModelConfig
from rnnjax.train.data import (
    Text,
    Vocabulary,
    check_symbols,
    read_text,
    standard_library_text,
    streams,
)
from rnnjax.train.evaluate import evaluate
from rnnjax.train.loop import fit
from rnnjax.train.losses import bits_per_token
from rnnjax.train.plot import plot_training
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
      bits: bits per character of the test text, the model's and the baselines'.
      tokens_per_second: of training, validation and compilation left out.
      sample: text the model wrote.
    """

    folder: pathlib.Path
    bits: dict[str, float]
    tokens_per_second: float
    sample: str


def train_language_model(config: LanguageModelConfig, *, resume: bool = False) -> Result:
    """Runs the job: text, model, training, baselines, sample; everything into the run's folder.

    A run that was killed, at any moment, ends with `resume` bit for bit where it would have ended
    by itself: on the same machine, versions, devices and settings, which are compared.

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
      NonFiniteError: training ran into non-finite numbers and stayed there.
    """
    natural("steps", config.steps, least=1)
    natural("layers", config.layers, least=1)
    natural("keep", config.keep, least=1)
    for name in ("validate_every", "checkpoint_every"):
        natural(name, getattr(config, name))
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
    make_train_step(model, plan, restart_rate=config.restart_rate)  # the errors it has to say
    init_key, run_key = jax.random.split(key)  # one for both would share numbers between them
    meta = {
        "config": config.as_json(),
        "vocabulary": vocabulary.characters,
        "versions": versions(),
        "text_sha256": _digest(text),
    }
    folder = _compared(config, meta) if resume else new_folder(config)
    if resume and checkpoints(folder / "checkpoints"):
        state = load_run(folder, config=config).state
    else:
        params = model.init(init_key, jax.ShapeDtypeStruct((), int))
        state = init_train_state(model, params, plan, config.batch_size, run_key)
    write(folder / "config.json", json.dumps(meta, indent=1) + "\n")
    records = read_records(folder, int(state.step))
    write(folder / "metrics.jsonl", "".join(as_json(record) + "\n" for record in records))
    elapsed = max((r["seconds"] for r in records if "seconds" in r), default=0.0)
    start = time.perf_counter()
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
            steps=config.steps,
            clip_norm=config.clip_norm,
            restart_rate=config.restart_rate,
            validate=lambda state: evaluate(model, state.params, validation),
            validate_every=config.validate_every,
            checkpoint=checkpoint,
            checkpoint_every=config.checkpoint_every,
            record=record,
        )
    records = read_records(folder)
    plot_training(records, config.clip_norm, folder / "training.png")
    bits = {"model": float(bits_per_token(evaluate(model, state.params, test)))}
    bits |= baselines(train, validation, test, len(vocabulary)) | compressors(text.train, text.test)
    prompt = text.train[:1]  # a character that the model knows, whatever the others begin with
    sample = prompt + "".join(
        generate(model, state.params, vocabulary, prompt, length=500, temperature=0.6)
    )
    result = Result(folder, bits, _throughput(records, config.batch_size * config.window), sample)
    report = {**result._asdict(), "folder": str(folder), "seconds": time.perf_counter() - start}
    write(folder / "sample.txt", sample)
    write(folder / "result.json", as_json(report, indent=1) + "\n")
    return result


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
    run: str | pathlib.Path, prompt: str, *, length: int, temperature: float, seed: int
) -> Iterator[str]:
    """Continues a prompt with the latest checkpoint of a run.

    Raises:
      CheckpointError: the run has no usable checkpoint.
      ValueError: the prompt has a character the model never saw; see `generate`.
    """
    found = load_run(run)
    return generate(
        found.model,
        found.state.params,
        found.vocabulary,
        prompt,
        length=length,
        temperature=temperature,
        seed=seed,
    )


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
