"""What a language model's run is told: data, model, optimizer, how long, where to."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, Literal

import optax

import rnnjax
from rnnjax.train.optimizer import optimizer

CELLS = {"elman": rnnjax.elman, "lstm": rnnjax.lstm, "gru": rnnjax.gru}


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
      validate_every: Steps between two validations, each with a checkpoint.
      checkpoint_every: Steps between two checkpoints besides; 0 for none.
      keep: How many of the latest checkpoints stay; the best one stays as well.
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
    checkpoint_every: int = 0
    keep: int = 2
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

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON has them; `from_json` reads them back."""
        values = dataclasses.asdict(self).items()
        return {k: str(v.absolute()) if isinstance(v, pathlib.Path) else v for k, v in values}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> LanguageModelConfig:
        """The settings that `as_json` wrote; TypeError for one that is not known."""
        paths = {k: pathlib.Path(values[k]) for k in ("text", "out") if values[k] is not None}
        return cls(**{**values, **paths})
