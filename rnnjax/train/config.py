"""What a language model's run is told: data, model, optimizer, how long, where to."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import optax

from rnnjax._cell import Cell
from rnnjax._factory import natural, non_negative, one_of
from rnnjax.train.data import Vocabulary, Words
from rnnjax.train.models import recurrent_language_model
from rnnjax.train.optimizer import optimizer
from rnnjax.train.sources import Streams, Windows, sliding_windows, streams

LEVELS = {"char": Vocabulary, "word": Words}


@dataclasses.dataclass(frozen=True)
class LanguageModelConfig:
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
      optimizer: sgd, momentum, rmsprop, adam, adamw or adagrad.
      learning_rate: Its peak.
      schedule: cosine: a short warm-up, then down to a tenth; halving: by 2 after every pass over
        the text from `halve_after` on; constant.
      halve_after: Passes before the first halving.
      clip_norm: Largest global norm of the gradient; 0 is off.
      clip_value: Largest magnitude of an entry of the gradient; 0 is off.
      loss: Minimise the mean over tokens, or the sum over time (and the mean over the batch).
      restart_rate: Probability that a stream starts a window without its memory.
      steps: Training steps.
      epochs: Passes over the text, instead of steps; 0 is off.
      validate_every: Steps between two validations, each with a checkpoint.
      checkpoint_every: Steps between two checkpoints besides; 0 for none.
      keep: How many of the latest checkpoints stay; the best one stays as well.
      seed: Of parameters and noise.
      out: Folder of the run; by default a new one under runs/.
    """

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
    batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: float = 4e-3
    schedule: Literal["cosine", "constant", "halving"] = "cosine"
    halve_after: int = 4
    clip_norm: float = 0.25
    clip_value: float = 0.0
    loss: Literal["mean", "sum"] = "mean"
    restart_rate: float = 1 / 32
    steps: int = 2400
    epochs: int = 0
    validate_every: int = 300
    checkpoint_every: int = 0
    keep: int = 2
    seed: int = 0
    out: pathlib.Path | None = None

    def check(self) -> None:
        """Raises TypeError or ValueError for a number that will not do, before any text is read."""
        for name in ("steps", "layers", "keep", "min_count"):
            natural(name, getattr(self, name), least=1)
        for name in ("validate_every", "checkpoint_every", "epochs", "halve_after"):
            natural(name, getattr(self, name))
        for name, choices in (("level", LEVELS), ("cut", ("streams", "sliding"))):
            one_of(*choices)(name, getattr(self, name))
        non_negative("init_scale", self.init_scale)
        self.transformation()

    def vocabulary(self, text: str) -> Vocabulary | Words:
        """The symbols of a training text."""
        if self.level == "char":
            return Vocabulary.of(text)
        return Words.of(text, self.vocabulary_size, self.min_count)

    def source(self, symbols: np.ndarray) -> Streams | Windows:
        """The symbols of a text, as training takes them."""
        if self.cut == "streams":
            return streams(symbols, self.batch_size, self.window)
        return sliding_windows(symbols, self.batch_size, self.window, self.stride)

    def model(self, symbols: int) -> Cell:
        """The model for a vocabulary of some size."""
        return recurrent_language_model(
            symbols,
            cell=self.cell,
            hidden_size=self.hidden_size,
            layers=self.layers,
            embedding_size=self.embedding_size,
            dropout=self.dropout,
            layer_norm=self.layer_norm,
            tied=self.tied,
            init_scale=self.init_scale,
        )

    def total_steps(self, windows: int) -> int:
        """How many steps the run has, if a pass over the text has so many windows."""
        return self.epochs * windows or self.steps

    def transformation(self, windows: int = 1) -> optax.GradientTransformation:
        """The optimizer, with its schedule and clipping; `windows` as in `total_steps`."""
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate must be positive and finite, got {self.learning_rate}")
        one_of("cosine", "constant", "halving")("schedule", self.schedule)
        steps = self.total_steps(windows)
        if self.schedule == "cosine":
            rate: Any = optax.warmup_cosine_decay_schedule(
                0.0,
                self.learning_rate,
                warmup_steps=min(50, steps // 10),
                decay_steps=max(1, steps),
                end_value=self.learning_rate / 10,
            )
        elif self.schedule == "halving":
            rate = self._halving(windows)
        else:
            rate = self.learning_rate
        return optimizer(self.optimizer, rate, self.clip_norm, self.clip_value)

    def _halving(self, windows: int) -> optax.Schedule:
        def rate(count: Any) -> Any:
            halvings = jnp.maximum(0, count // windows + 1 - self.halve_after)
            return self.learning_rate * jnp.exp2(-halvings.astype(float))

        return rate

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON has them; `from_json` reads them back."""
        values = dataclasses.asdict(self).items()
        return {k: str(v.absolute()) if isinstance(v, pathlib.Path) else v for k, v in values}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> LanguageModelConfig:
        """The settings that `as_json` wrote; TypeError for one that is not known."""
        paths = {k: pathlib.Path(values[k]) for k in ("text", "out") if values[k] is not None}
        return cls(**{**values, **paths})


# Settings by name, for `--preset`. Zaremba, Sutskever & Vinyals, Recurrent Neural Network
# Regularization, 2014, arXiv:1409.2329: the non-regularized ("small") model.
CONFIGS = {
    "zaremba-small": LanguageModelConfig(
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
        validate_every=1000,
    )
}
