"""The task: what a language model's run is told, and what it is made of."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import pathlib
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rnnjax
from rnnjax._factory import natural, non_negative
from rnnjax.tasks.language_model.baselines import baselines, compressors
from rnnjax.tasks.language_model.corpora import (
    Text,
    read_text,
    read_whole,
    standard_library_docstrings,
    standard_library_text,
)
from rnnjax.tasks.language_model.evaluate import (
    Evaluation,
    chunk_size,
    evaluate,
    evaluation,
    window_losses,
)
from rnnjax.tasks.language_model.loss import FIGURES, next_symbol_loss
from rnnjax.tasks.language_model.model import recurrent_language_model
from rnnjax.tasks.language_model.pictures import plot_positions
from rnnjax.tasks.language_model.sample import generate
from rnnjax.tasks.language_model.vocabulary import Vocabulary, Words, check_symbols
from rnnjax.train.sources import Streams, Windows, sliding_windows, streams
from rnnjax.train.task import Data, Facts, System, Task

LEVELS = {"char": Vocabulary, "word": Words}


class Part(NamedTuple):
    """A part of a corpus.

    Attributes:
      symbols: the ids of its symbols, [N].
      text: the text they are of.
    """

    symbols: np.ndarray
    text: str


@dataclasses.dataclass(frozen=True)
class LanguageModel(Task):
    """Train a recurrent language model.

    Attributes:
      text: A UTF-8 file, or a folder of them; by default Python's own standard library: its sources
        by characters, its documentation by words.
      level: What a symbol is: a character, or a word.
      vocabulary_size: At most so many words, the most frequent ones; the others are <unk>.
      min_count: How often a word must occur not to be <unk>.
      cut: Parallel streams with carried state, or shuffled windows that slide over the text, each
        with the symbol after it as target.
      stride: How far one sliding window lies from the next.
      cell: The recurrent cell.
      hidden_size: Units of each layer.
      layers: Recurrent layers above each other.
      embedding_size: Length of a symbol's vector.
      dropout: Probability of dropping a feature between layers.
      layer_norm: Normalise each layer's output.
      tied: Use the symbols' vectors as the readout, too.
      init_scale: Draw every parameter from U(-init_scale, init_scale); 0 for the cells' own.
      window: Steps of truncated back-propagation through time; length of a sliding window.
      batch_size: Streams or windows read side by side.
      schedule: cosine: a short warm-up, then down to a tenth; halving: by 2 after every pass over
        the text from `halve_after` on; constant.
      halve_after: Passes before the first halving.
      loss: Minimise the mean over tokens, or the sum over time (and the mean over the batch).
      restart_rate: Probability that a stream starts a window without its memory.
      epochs: Passes over the text, instead of steps; 0 is off.
    """

    name: ClassVar[str] = "language-model"
    about: ClassVar[str] = "predict the next character or word of a text, and write more of it"
    data_about: ClassVar[str] = "real; the standard library's sources or documentation, or any text"

    text: pathlib.Path | None = None
    level: Literal["char", "word"] = "char"
    vocabulary_size: int = 10_000
    min_count: int = 2
    cut: Literal["streams", "sliding"] = "streams"
    stride: int = 1
    cell: Literal["elman", "lstm", "gru"] = "lstm"
    hidden_size: int = 256
    layers: int = 1
    embedding_size: int = 64
    dropout: float = 0.0
    layer_norm: bool = False
    tied: bool = False
    init_scale: float = 0.0
    window: int = 64
    learning_rate: float = 4e-3
    schedule: Literal["cosine", "constant", "halving"] = "cosine"
    halve_after: int = 4
    clip_norm: float = 0.25
    loss: Literal["mean", "sum"] = "mean"
    restart_rate: float = 1 / 32
    steps: int = 2400
    epochs: int = 0
    evaluate_every: int = 300

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> LanguageModel:
        """Settings of a few seconds, with a text of their own in a folder."""
        text = folder / "text.txt"
        text.write_text("to be or not to be, that is the question\n" * 40)
        return cls(
            text=text, hidden_size=6, embedding_size=4, window=5, batch_size=3, steps=6,
            restart_rate=0.3, evaluate_every=3,
        )  # fmt: skip

    @property
    def unit(self) -> str:
        """What a symbol is."""
        return "character" if self.level == "char" else "word"

    @property
    def metric(self) -> str:
        """Bits per character, or perplexity."""
        return FIGURES[self.unit][0]

    def check(self) -> None:
        """Raises TypeError or ValueError for a number that will not do, before any text is read."""
        super().check()
        for name in ("layers", "min_count"):
            natural(name, getattr(self, name), least=1)
        for name in ("epochs", "halve_after"):
            natural(name, getattr(self, name))
        non_negative("init_scale", self.init_scale)

    def data(self) -> Data:
        """The text's parts as symbols of the training part's vocabulary."""
        text = self._text()
        if self.level == "char":
            vocabulary = Vocabulary.of(text.train)
        else:
            vocabulary = Words.of(text.train, self.vocabulary_size, self.min_count)
        facts = {"vocabulary": vocabulary.symbols, "text_sha256": _digest(text)}
        parts = [Part(vocabulary.encode(part, unknown=True), part) for part in text]
        check_symbols(parts[0].symbols, len(vocabulary))
        for name, part in zip(("validation", "test"), parts[1:], strict=True):
            if len(part.symbols) < 2:
                raise ValueError(
                    f"the {name} part has {len(part.symbols)} tokens, need at least 2: use a "
                    "longer text"
                )
        return Data(parts[0], parts[1], parts[2], facts)

    def _text(self) -> Text:
        if self.text is not None:
            return read_text(self.text)
        return standard_library_text() if self.level == "char" else standard_library_docstrings()

    def vocabulary(self, facts: Facts) -> Vocabulary | Words:
        """The model's symbols."""
        return LEVELS[self.level](facts["vocabulary"])

    def source(self, data: Data) -> Streams | Windows:
        """The training text, as streams or sliding windows."""
        symbols = data.train.symbols
        if self.cut == "streams":
            return streams(symbols, self.batch_size, self.window)
        return sliding_windows(symbols, self.batch_size, self.window, self.stride)

    def system(self, facts: Facts) -> System:
        """The model and what is done with it; see `recurrent_language_model`."""
        vocabulary, streamed = self.vocabulary(facts), self.cut == "streams"
        name, figure = FIGURES[self.unit]
        model = recurrent_language_model(
            len(vocabulary),
            cell=self.cell,
            hidden_size=self.hidden_size,
            layers=self.layers,
            embedding_size=self.embedding_size,
            dropout=self.dropout,
            layer_norm=self.layer_norm,
            tied=self.tied,
            init_scale=self.init_scale,
        )

        def evaluated(params: Any, part: Part) -> dict[str, float]:
            if streamed:
                nats = evaluate(model, params, part.symbols, window=chunk_size(32, len(vocabulary)))
            else:
                losses = window_losses(model, params, part.symbols, window=self.window)
                nats = float(losses.mean(dtype=np.float64))
            return {name: float(figure(nats)), "nats": nats}

        def predict(params: Any, prompt: str, **options: Any) -> Iterator[str]:
            length = 500 if self.level == "char" else 100
            options = {"length": length, "temperature": 0.6, "unknown": True, **options}
            return itertools.chain([prompt], generate(model, params, vocabulary, prompt, **options))

        return System(
            init=lambda key: model.init(key, rnnjax.tokens()),
            loss=next_symbol_loss(
                model,
                restart_rate=self.restart_rate if streamed else 1.0,
                loss=self.loss,
                tokens="all" if streamed else "last",
                unit=self.unit,
            ),
            evaluate=evaluated,
            predict=predict,
            carried=lambda params, key: model.initial_state(params, (self.batch_size,), key=key),
            cell=model,
            xs=jax.ShapeDtypeStruct((self.window, self.batch_size), jnp.int32),
        )

    def evaluation(
        self, system: System, params: Any, facts: Facts, part: Part, batch_size: int = 1
    ) -> Evaluation:
        """What the model makes of a text; `batch_size` as in `evaluate_run`."""
        return evaluation(
            system.cell,
            params,
            part.symbols,
            len(part.text),
            unit=self.unit,
            size=len(self.vocabulary(facts)),
            window=self.window,
            carried=self.cut == "streams",
            batch_size=batch_size,
        )

    def baselines(self, data: Data) -> dict[str, float]:
        """N-grams over the same symbols; for characters general compressors, too."""
        train, validation, test = (part.symbols for part in data[:3])
        size, characters = len(self.vocabulary(data.facts)), self.level == "char"
        orders = (3,) if characters else (2, 3)
        bits = baselines(train, validation, test, size, orders)
        if characters:
            return bits | compressors(data.train.text, data.test.text)
        return {name: 2**figure for name, figure in bits.items()}

    def picture(self, system: System, params: Any, data: Data, file: pathlib.Path) -> None:
        """The loss against the position in a window: how much a memory helps."""
        # Side by side for speed, but parts that are many windows long.
        parts = max(1, min(32, len(data.test.symbols) // (16 * self.window)))
        found = self.evaluation(system, params, data.facts, data.test, batch_size=parts)
        plot_positions(found.positions, found.carried, self.window, file, self.unit)

    def example(self, data: Data) -> str:
        """A symbol that the model knows, whatever the others begin with."""
        return self.vocabulary(data.facts).decode(data.train.symbols[:1])

    def read(self, path: pathlib.Path, facts: Facts) -> Part:
        """A UTF-8 file, or a folder of them, in one piece."""
        text = read_whole(path)
        return Part(self.vocabulary(facts).encode(text, unknown=True), text)

    def pace(self) -> tuple[int, str]:
        """How many symbols are predicted in a step."""
        return self.batch_size * (self.window if self.cut == "streams" else 1), f"{self.unit}s"

    def total_steps(self, source: Any) -> int:
        """How many steps the run has, by passes over the text or by itself."""
        return self.epochs * source.steps_per_pass or self.steps

    def rate(self, source: Any = None) -> optax.ScalarOrSchedule:
        """The learning rate; halving goes by passes over the text."""
        if self.schedule != "halving":
            return super().rate(source)
        windows = 1 if source is None else source.steps_per_pass

        def rate(count: Any) -> Any:
            halvings = jnp.maximum(0, count // windows + 1 - self.halve_after)
            return self.learning_rate * jnp.exp2(-halvings.astype(float))

        return rate

    @classmethod
    def presets(cls) -> dict[str, LanguageModel]:
        """Settings that were published."""
        return CONFIGS

    @classmethod
    def of(cls, meta: dict[str, Any]) -> tuple[LanguageModel, Facts]:
        """The settings and facts that a run stored, also one from before there were tasks."""
        if "task" not in meta:
            config = dict(meta["config"])
            config["evaluate_every"] = config.pop("validate_every")
            del config["out"]
            return cls.from_json(config), {"vocabulary": meta["vocabulary"]}
        return super().of(meta)


def _digest(text: Text) -> str:
    """SHA-256 of a corpus and of how it is split."""
    digest = hashlib.sha256()
    for part in text:
        digest.update(hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()


# Settings by name, for `--preset`. Zaremba, Sutskever & Vinyals, Recurrent Neural Network
# Regularization, 2014, arXiv:1409.2329: the non-regularized ("small") model.
CONFIGS = {
    "zaremba-small": LanguageModel(
        level="word",
        vocabulary_size=10_000,
        min_count=1,
        hidden_size=200,
        layers=2,
        embedding_size=200,
        init_scale=0.1,
        window=20,
        batch_size=20,
        optimizer="sgd",
        learning_rate=1.0,
        schedule="halving",
        halve_after=4,
        clip_norm=5.0,
        loss="sum",
        restart_rate=0.0,
        epochs=13,
        evaluate_every=1000,
    )
}
