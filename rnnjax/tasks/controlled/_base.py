"""What the tasks that tell cells apart have alike."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax._cell import step_spec
from rnnjax._factory import natural
from rnnjax._unroll import before_end
from rnnjax.tasks._cells import AnyCell, inputs_of, model_of
from rnnjax.train.losses import TokenLoss, binary_cross_entropy, cross_entropy, mean_squared_error
from rnnjax.train.plot import figure_type, tidy
from rnnjax.train.task import HELD_OUT, HELD_OUT_SEED, Data, Facts, GeneratedTask, System

Array = jax.Array
# How many test sequences of each length beyond those of training; they are long.
BEYOND = 200


class Batch(NamedTuple):
    """Sequences side by side.

    Attributes:
      xs: what is read, [S, B, D].
      lengths: how many steps of each are real, [B].
      targets: what is right: a class [S, B]; a set of answers as bools, or numbers, [S, B, C].
      asked: where it is asked for, bool [S, B].
    """

    xs: Any
    lengths: Any
    targets: Any
    asked: Any


def real_steps(lengths: Array, steps: int) -> Array:
    """Which steps are real, bool [S, B]."""
    return before_end(steps, lengths)


def last_steps(lengths: Array, steps: int) -> Array:
    """Which step is a sequence's last, bool [S, B]."""
    return jnp.arange(steps)[:, None] == lengths - 1


# --- what is asked for ---------------------------------------------------------------------------


class Kind(NamedTuple):
    """What an answer is.

    Attributes:
      loss: (outputs [S, B, C], targets, asked) -> what is minimised.
      error: (outputs, targets) -> how wrong each step is, [S, B]; NaN where an output is.
      unit: what the mean error is multiplied by to be the metric.
      code: targets at steps [N, ...] -> an answer each as a number, [N].
    """

    loss: Callable[..., TokenLoss]
    error: Callable[[Array, Array], Array]
    unit: float
    code: Callable[[np.ndarray], np.ndarray]


def _known(wrong: Array, ys: Array) -> Array:
    return jnp.where(jnp.isfinite(ys).all(axis=-1), wrong.astype(ys.dtype), jnp.nan)


KINDS = {
    "class": Kind(
        cross_entropy,
        lambda ys, targets: _known(ys.argmax(axis=-1) != targets, ys),
        100.0,
        lambda targets: targets,
    ),
    # Right where exactly what is right has a probability above 1/2.
    "set": Kind(
        binary_cross_entropy,
        lambda ys, targets: _known(((ys > 0) != targets).any(axis=-1), ys),
        100.0,
        lambda targets: targets @ (1 << np.arange(targets.shape[-1])),
    ),
    "numbers": Kind(
        mean_squared_error,
        lambda ys, targets: jnp.square(ys - targets).mean(axis=-1),
        1.0,
        lambda targets: targets[..., 0],
    ),
}


@dataclasses.dataclass(frozen=True)
class Controlled(GeneratedTask):
    """A task whose sequences are drawn from a key, and whose error is known by length.

    Attributes:
      T: Longest training sequence.
      shortest: Shortest training sequence; lengths between are equally likely.
      longest: Longest test sequence: T/2, T, 2T, 4T and so on up to it are judged.
      cell: The recurrent cell: any of `rnnjax.cells` that has units, by its name.
      hidden_size: Its units.
    """

    axes: ClassVar[Any] = Batch(1, 0, 1, 1)
    data_about: ClassVar[str] = "generated; every batch is new"
    metric: ClassVar[str] = "% wrong"
    # What an answer is, the names of the answers, what lengths count, and their least.
    kind: ClassVar[Literal["class", "set", "numbers"]] = "class"
    outputs: ClassVar[tuple[str, ...]]
    counted: ClassVar[str] = "symbols"
    least: ClassVar[int] = 1

    T: int = 40
    shortest: int = 1
    longest: int = 500
    cell: AnyCell = "lstm"
    hidden_size: int = 32
    steps: int = 3000
    batch_size: int = 32
    learning_rate: float = 5e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    evaluate_every: int = 250

    # --- what a task says ------------------------------------------------------------------------

    def sequences(self, key: Array, sizes: Array, most: int) -> Batch:
        """Sequences of lengths [B], none above `most`, in `jax.numpy`."""
        raise NotImplementedError

    def asked_for(self, request: str) -> tuple[Batch, str]:
        """A user's sequence, [S, 1], and it as text; ValueError where it will not do."""
        raise NotImplementedError

    def said(self, outputs: np.ndarray, batch: Batch) -> str:
        """What the model says of a user's sequence, from its outputs [S, C]; and what is right."""
        raise NotImplementedError

    def example(self, data: Data) -> str:
        """The first test sequence of length T, as a request."""
        raise NotImplementedError

    # --- what all have alike ---------------------------------------------------------------------

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> Controlled:
        """Settings of a few seconds."""
        T = max(cls.least, 4)
        return cls(
            T=T, shortest=T, longest=T, cell="elman", hidden_size=3, batch_size=4, steps=6,
            evaluate_every=3,
        )  # fmt: skip

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do."""
        super().check()
        natural("shortest", self.shortest, least=self.least)
        natural("T", self.T, least=self.shortest)
        natural("longest", self.longest, least=self.T)
        natural("hidden_size", self.hidden_size, least=1)

    def lengths(self) -> list[int]:
        """The lengths that are judged: T/2, T, 2T, 4T .. and the longest."""
        found = [n for n in (self.T // 2,) if n >= self.least]
        n = self.T
        while n < self.longest:
            found.append(n)
            n *= 2
        return [*found, self.longest]

    def by_length(self, figures: dict[str, float]) -> dict[int, float]:
        """The metric by length, from figures on the test data; that without a length is at T."""
        names = {n: f"{self.metric} at {n}" for n in self.lengths()} | {self.T: self.metric}
        return {n: figures[name] for n, name in names.items()}

    def mark_lengths(self, axes: Any) -> None:
        """An axis of lengths, on which those that were trained are shaded."""
        lengths = self.lengths()
        axes.set_xscale("log", base=2)
        axes.set_xticks(lengths, lengths)
        axes.minorticks_off()
        axes.axvspan(max(self.shortest, lengths[0] / 1.1), self.T, color="tab:gray", alpha=0.15)
        axes.set_xlabel(f"length in {self.counted}; grey: as in training")
        tidy(axes)

    def draw(self, key: Array, size: int) -> Batch:
        """A training batch: sequences of lengths in [shortest, T]."""
        k_size, k_sequence = jax.random.split(key)
        sizes = jax.random.randint(k_size, (size,), self.shortest, self.T + 1)
        return self.sequences(k_sequence, sizes, self.T)

    def of_length(self, key: Array, n: int, size: int) -> Batch:
        """Sequences that all have one length, as NumPy arrays."""
        return jax.device_get(_of_length(self, key, n, size))

    def data(self) -> Data:
        """Parts by length: validation of T alone; the test data of all lengths."""
        key = jax.random.key(HELD_OUT_SEED)
        test = {
            n: self.of_length(jax.random.fold_in(key, n), n, HELD_OUT if n <= self.T else BEYOND)
            for n in self.lengths()
        }
        validation = {self.T: self.of_length(jax.random.fold_in(key, 0), self.T, HELD_OUT)}
        return Data(None, validation, test, {})

    def system(self, facts: Facts) -> System:
        """A cell and a readout of each step."""
        del facts
        kind, cell = KINDS[self.kind], self.cell
        model = model_of(cell, self.hidden_size, len(self.outputs))
        batch = jax.eval_shape(lambda: self.draw(jax.random.key(0), self.batch_size))
        xs = jax.eval_shape(lambda xs: inputs_of(cell, xs), batch.xs)

        @jax.jit
        def read(params: Any, batch: Batch) -> Array:
            # Without the lengths: no step that is asked comes behind the end of its sequence.
            xs = inputs_of(cell, jnp.asarray(batch.xs))
            return rnnjax.unroll(model, params, None, xs)[1]

        @jax.jit
        def judged(params: Any, batch: Batch) -> tuple[Array, Array]:
            """The mean error of what is asked for, and that of the worst step of each sequence."""
            error = kind.error(read(params, batch), batch.targets)
            worst = jnp.where(batch.asked, error, 0.0).max(axis=0)
            return error.mean(where=batch.asked), worst.mean()

        def loss(params: Any, carried: Any, batch: Batch, key: Array) -> Any:
            ys = read(params, batch)
            value = kind.loss(ys, batch.targets, batch.asked).mean
            error = kind.error(ys, batch.targets).mean(where=batch.asked)
            return value, (carried, {self.metric: kind.unit * error})

        def evaluate(params: Any, part: dict[int, Batch]) -> dict[str, float]:
            figures = {
                n: [kind.unit * float(x) for x in judged(params, batch)]
                for n, batch in part.items()
            }
            found = {self.metric: figures[self.T][0]}
            if len(part) > 1:
                found |= {f"{self.metric} at {n}": error for n, (error, _) in figures.items()}
            if self.kind != "numbers" and any(b.asked.sum(axis=0).max() > 1 for b in part.values()):
                worst = {f"% of sequences wrong at {n}": w for n, (_, w) in figures.items()}
                found |= worst
            return found

        def predict(params: Any, request: str) -> Iterator[str]:
            batch, text = self.asked_for(request)
            outputs = np.asarray(read(params, batch)[:, 0])
            yield f"{text}: {self.said(outputs, batch)}"

        def init(key: Array) -> Any:
            return model.init(key, step_spec(xs))

        return System(init, loss, evaluate, predict, cell=model, xs=xs)

    def fitted(self) -> Batch:
        """Sequences of length T for baselines to learn from, which are no test data."""
        key = jax.random.fold_in(jax.random.key(HELD_OUT_SEED), 2**31 - 1)
        return self.of_length(key, self.T, HELD_OUT)

    def baselines(self, data: Data) -> dict[str, float]:
        """One answer to everything: that which is most often right, or the mean."""
        fitted, test = (b.targets[b.asked] for b in (self.fitted(), data.test[self.T]))
        if self.kind == "numbers":
            return {"always the mean": float(np.square(test - fitted.mean(axis=0)).mean())}
        code = KINDS[self.kind].code
        codes, counts = np.unique(code(fitted), return_counts=True)
        wrong = code(test) != codes[counts.argmax()]
        return {"always the same answer": 100 * float(wrong.mean())}

    def picture(self, system: System, params: Any, data: Data, file: pathlib.Path) -> None:
        """The error against the length of what is read."""
        figures = self.by_length(system.evaluate(params, data.test))
        figure = figure_type()(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot([*figures], [*figures.values()], "o-", color="tab:blue", label=self.cell)
        colours = ("tab:red", "tab:orange", "tab:olive")
        for colour, (name, value) in zip(colours, self.baselines(data).items(), strict=False):
            axes.axhline(value, color=colour, linestyle="--", label=f"{name}, at {self.T}")
        self.mark_lengths(axes)
        axes.set_ylabel(self.metric)
        axes.set_ylim(bottom=0)
        axes.legend()
        figure.savefig(file, dpi=120)


# Compiled once for equal settings, whoever asks.
@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def _of_length(task: Controlled, key: Array, n: int, size: int) -> Batch:
    return task.sequences(key, jnp.full(size, n), n)


def numbers(request: str, form: str) -> list[float]:
    """The numbers of a request; ValueError where there is none, or something else."""
    try:
        found = [float(word) for word in request.split()]
    except ValueError:
        found = []
    if not found or not np.isfinite(found).all():
        raise ValueError(f"a request is {form}: {request!r}")
    return found


# --- sequences of symbols ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Symbolic(Controlled):
    """A task that reads symbols, of which each is a letter in a request."""

    # The letters, what a request looks like, and how that is said.
    reads: ClassVar[str]
    form: ClassVar[str]
    form_said: ClassVar[str]

    def symbols(self, key: Array, sizes: Array, most: int) -> tuple[Array, Array]:
        """Symbols [S, B] of sequences of these lengths, and how many steps each has, [B]."""
        raise NotImplementedError

    def solved(self, symbols: Array, lengths: Array) -> tuple[Array, Array]:
        """What is right at each step, and where it is asked for; of any sound symbols [S, B]."""
        raise NotImplementedError

    def sequences(self, key: Array, sizes: Array, most: int) -> Batch:
        """Symbols as unit vectors, and what is right of them."""
        return self._batch(*self.symbols(key, sizes, most))

    def _batch(self, symbols: Array, lengths: Array) -> Batch:
        xs = jax.nn.one_hot(symbols, len(self.reads))
        return Batch(xs, lengths, *self.solved(symbols, lengths))

    def written(self, request: str) -> str:
        """The letters that are read, from a request."""
        return request

    def text(self, letters: str) -> str:
        """The request, from the letters that are read."""
        return letters

    def asked_for(self, request: str) -> tuple[Batch, str]:
        """The letters of a request, and what is right."""
        request = "".join(request.split())
        if not re.fullmatch(self.form, request):
            raise ValueError(f"a request is {self.form_said}: {request!r}")
        letters = self.written(request)
        symbols = jnp.asarray([[self.reads.index(letter)] for letter in letters])
        found = jax.jit(self._batch)(symbols, jnp.asarray([len(letters)]))
        return jax.device_get(found), request

    def said(self, outputs: np.ndarray, batch: Batch) -> str:
        """The answers at the steps that ask, and what is right there."""
        asked = np.asarray(batch.asked[:, 0])
        answers = outputs > 0 if self.kind == "set" else outputs.argmax(axis=-1)
        rows = (answers[asked], np.asarray(batch.targets[:, 0])[asked])
        answer, right = (self._joined(row) for row in rows)
        return f"{answer}, right: {right}"

    def _joined(self, answers: np.ndarray) -> str:
        if self.kind == "set":
            named = zip(self.outputs, answers.T, strict=True)
            letters = np.stack([np.where(column, name, "") for name, column in named])
            words = ["".join(column) or "nothing" for column in letters.T]
        else:
            words = [self.outputs[place] for place in answers]
        return (" " if max(map(len, words)) > 1 else "").join(words)

    def example(self, data: Data) -> str:
        """The first test sequence of length T, as a request."""
        xs, lengths, *_ = data.test[self.T]
        places = xs[: lengths[0], 0].argmax(axis=-1)
        return self.text("".join(self.reads[place] for place in places))

    def baselines(self, data: Data) -> dict[str, float]:
        """One answer to everything; and one to each symbol, whatever came before it."""
        code = KINDS[self.kind].code
        read, right = {}, {}
        for name, batch in (("fitted", self.fitted()), ("test", data.test[self.T])):
            read[name] = batch.xs[batch.asked].argmax(axis=-1)
            right[name] = code(batch.targets[batch.asked])
        codes, places = np.unique(right["fitted"], return_inverse=True)
        counts = np.zeros((len(self.reads), len(codes)))
        np.add.at(counts, (read["fitted"], places), 1)
        wrong = codes[counts.argmax(axis=1)][read["test"]] != right["test"]
        return {**super().baselines(data), "by the last symbol": 100 * float(wrong.mean())}
