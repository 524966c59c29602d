"""What a task is made of: settings, data and a system. `rnnjax.tasks` says how one is written."""

from __future__ import annotations

import dataclasses
import pathlib
import typing
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import optax

import rnnjax
from rnnjax._factory import natural, one_of
from rnnjax.train.optimizer import optimizer
from rnnjax.train.sources import Source, generated
from rnnjax.train.step import Loss

Array = jax.Array
PyTree = Any
Facts = dict[str, Any]

# The cells that a task offers by name.
CELLS = {"elman": rnnjax.elman, "lstm": rnnjax.lstm, "gru": rnnjax.gru}
# How many examples are held out where data are generated, and what they are drawn by.
HELD_OUT, HELD_OUT_SEED = 1000, 2**31


class Data(NamedTuple):
    """The data of a task, split.

    Attributes:
      train: what the model learns from; like the other parts, in whatever form the task likes.
      validation: what choices are made on.
      test: what the result is reported on.
      facts: all that the model needs to know of the data, as JSON: a vocabulary, sizes, means. A
        run is read back with them, and not continued with data whose facts are others.
    """

    train: Any
    validation: Any
    test: Any
    facts: Facts


class System(NamedTuple):
    """A model and what is done with it, as plain functions.

    Attributes:
      init: key -> params.
      loss: what `make_train_step` takes.
      evaluate: (params, a part of the data) -> figures by name; the first one is the task's metric.
      predict: (params, what a user asks for) -> the answer as text, piece by piece; raises
        ValueError for a request that will not do. What more it takes has defaults.
      carried: (params, key) -> what the loss gets with the first batch.
      cell: the recurrent cell in the model, for `rnnjax inspect` to show its plan; None for none.
      xs: what the cell reads in a training batch, [T, B, ...], as `jax.eval_shape` has it.
      answers: (params, a part of the data) -> what the model says of it, as arrays, for the task's
        own picture; None where it asks for nothing.
      cell_params: from the parameters to those of `cell`.
    """

    init: Callable[[Array], PyTree]
    loss: Loss
    evaluate: Callable[[PyTree, Any], dict[str, float]]
    predict: Callable[..., Iterator[str]]
    carried: Callable[[PyTree, Array], PyTree] = lambda params, key: ()
    cell: Any = None
    xs: Any = None
    answers: Callable[..., Any] | None = None
    cell_params: Callable[[PyTree], PyTree] = lambda params: params


@dataclasses.dataclass(frozen=True)
class Task:
    """The settings that all tasks share, and what a task answers.

    Attributes:
      steps: Training steps.
      batch_size: Rows of a batch.
      optimizer: sgd, momentum, rmsprop, adam, adamw, adagrad, adadelta, lion or adafactor.
      learning_rate: Its peak.
      schedule: cosine: a short warm-up, then down to a tenth; constant.
      clip_norm: Largest global norm of the gradient; 0 is off.
      clip_value: Largest magnitude of an entry of the gradient; 0 is off.
      evaluate_every: Steps between two evaluations on the validation data, each with a checkpoint.
      patience: End after so many evaluations in a row that were no better; 0 is off.
      checkpoint_every: Steps between two checkpoints besides; 0 for none.
      gradients_every: Steps between two records of the gradient against lag and of each array of
        parameters, drawn as gradients.png; 0 for none.
      keep: How many of the latest checkpoints stay; the best one stays as well.
      seed: Of parameters and noise.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    data_about: ClassVar[str]
    metric: ClassVar[str]
    # The baselines that a model has to beat, where they are there; () for all of them.
    rivals: ClassVar[tuple[str, ...]] = ()

    steps: int = 1000
    batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "constant"] = "constant"
    clip_norm: float = 1.0
    clip_value: float = 0.0
    evaluate_every: int = 100
    patience: int = 0
    checkpoint_every: int = 0
    gradients_every: int = 0
    keep: int = 2
    seed: int = 0

    # --- what a task answers ---------------------------------------------------------------------

    def data(self) -> Data:
        """Reads or makes the data; ValueError where they will not do."""
        raise NotImplementedError

    def system(self, facts: Facts) -> System:
        """The model, for data of these facts."""
        raise NotImplementedError

    def source(self, data: Data) -> Source:
        """The training batches."""
        raise NotImplementedError

    def baselines(self, data: Data) -> dict[str, float]:
        """The metric of honest baselines on the test data, by name."""
        raise NotImplementedError

    def picture(self, system: System, params: PyTree, data: Data, file: pathlib.Path) -> None:
        """Draws what the model does with the test data, as a PNG; the other parts may be None."""
        raise NotImplementedError

    def example(self, data: Data) -> str:
        """A request to show the model's answer to."""
        raise NotImplementedError

    def read(self, path: pathlib.Path, facts: Facts) -> Any:
        """A user's own file as a part of the data; ValueError where it will not do."""
        raise ValueError(f"{self.name} takes no files: its data are generated")

    @classmethod
    def presets(cls) -> dict[str, typing.Self]:
        """Settings by name, for `--preset`; none where the task has none."""
        return {}

    def pace(self) -> tuple[int, str]:
        """How many things a training step works on, and what they are."""
        return self.batch_size, "examples"

    # --- what all tasks have alike ---------------------------------------------------------------

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do, before data are read."""
        for name in ("steps", "batch_size", "keep"):
            natural(name, getattr(self, name), least=1)
        for name in ("evaluate_every", "patience", "checkpoint_every", "gradients_every"):
            natural(name, getattr(self, name))
        for name, choices in self.choices().items():
            one_of(*choices)(name, getattr(self, name))
        self.transformation()

    def total_steps(self, source: Source) -> int:
        """How many steps the run has; a task may count in passes over its source."""
        del source
        return self.steps

    def rate(self, source: Source | None = None) -> optax.ScalarOrSchedule:
        """The learning rate; `source` as in `transformation`."""
        steps = self.steps if source is None else self.total_steps(source)
        if self.schedule == "constant":
            return self.learning_rate
        return optax.warmup_cosine_decay_schedule(
            0.0,
            self.learning_rate,
            warmup_steps=min(50, steps // 10),
            decay_steps=max(1, steps),
            end_value=self.learning_rate / 10,
        )

    def transformation(self, source: Source | None = None) -> optax.GradientTransformation:
        """The optimizer; without the training batches, what it is like."""
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate must be positive and finite, got {self.learning_rate}")
        return optimizer(self.optimizer, self.rate(source), self.clip_norm, self.clip_value)

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON has them; `from_json` reads them back."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            k: str(v.absolute()) if isinstance(v, pathlib.Path) else v for k, v in values.items()
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> typing.Self:
        """The settings that `as_json` wrote; TypeError for one that is not known."""
        paths = {k: pathlib.Path(values[k]) for k in cls.paths() if values.get(k) is not None}
        return cls(**{**values, **paths})

    @classmethod
    def of(cls, meta: dict[str, Any]) -> tuple[typing.Self, Facts]:
        """The settings and the facts of the data that a run stored; what `load_run` asks for.

        Raises:
          KeyError, TypeError, ValueError: it is a run of another task, or of other settings.
        """
        if meta["task"] != cls.name:
            raise ValueError(f"it is a run of the task {meta['task']}, not of {cls.name}")
        return cls.from_json(meta["config"]), meta["facts"]

    @classmethod
    def paths(cls) -> list[str]:
        """The settings that name files: where data lie, not what they are."""
        hints = typing.get_type_hints(cls).items()
        return [n for n, hint in hints if pathlib.Path in (hint, *typing.get_args(hint))]

    @classmethod
    def choices(cls) -> dict[str, tuple[str, ...]]:
        """The settings that are one of some words, and these words."""
        return {
            name: typing.get_args(hint)
            for name, hint in typing.get_type_hints(cls).items()
            if typing.get_origin(hint) is Literal
        }


@dataclasses.dataclass(frozen=True)
class GeneratedTask(Task):
    """A task whose data are drawn from keys: endless for training, fixed for what is held out."""

    axes: ClassVar[Any]

    def draw(self, key: Array, size: int) -> PyTree:
        """A batch, in `jax.numpy`; `axes` says where its rows are, as in `Source.axes`."""
        raise NotImplementedError

    def by_length(self, figures: dict[str, float]) -> dict[int, float]:
        """The metric by length, from figures on the test data; {} where there is one length."""
        del figures
        return {}

    def mark_lengths(self, axes: Any) -> None:
        """Prepares the axis of lengths in a picture of what `by_length` gives."""
        axes.set_xlabel("length")

    def source(self, data: Data) -> Source:
        """A new batch every step."""
        del data
        return generated(self.draw, self.batch_size, seed=self.seed, axes=self.axes)

    def data(self) -> Data:
        """The same held-out data for every seed, of keys that no training batch has."""
        keys = jax.random.split(jax.random.key(HELD_OUT_SEED))
        draw = jax.jit(self.draw, static_argnums=1)
        validation, test = (jax.device_get(draw(key, HELD_OUT)) for key in keys)
        return Data(None, validation, test, {})
