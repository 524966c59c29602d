"""A task: remember ten symbols for a while, then write them down."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

import rnnjax
from rnnjax._factory import natural
from rnnjax.tasks._cells import PlainCell, cell_named
from rnnjax.train.losses import cross_entropy
from rnnjax.train.plot import figure_type
from rnnjax.train.task import Data, Facts, GeneratedTask, System

Array = jax.Array
LETTERS, LENGTH, BLANK, GO = "ABCDEFGH", 10, 8, 9


@dataclasses.dataclass(frozen=True)
class Copy(GeneratedTask):
    """Read ten symbols of eight, then T - 1 blanks and a "go", then write the ten symbols.

    Attributes:
      T: Steps from the last symbol read to the first that is wanted, at least 1.
      cell: The recurrent cell: any of `rnnjax.cells` that has units and reads x alone.
      hidden_size: Its units.

    Reference:
      Hochreiter & Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997; in the form
      of Arjovsky, Shah & Bengio, 2016, arXiv:1511.06464.
    """

    name: ClassVar[str] = "copy"
    about: ClassVar[str] = "remember ten symbols over a delay, then write them down"
    data_about: ClassVar[str] = "generated; every batch is new"
    metric: ClassVar[str] = "nats a step"
    axes: ClassVar[Any] = 1

    T: int = 10
    cell: PlainCell = "gru"
    hidden_size: int = 128
    steps: int = 4000
    batch_size: int = 64
    learning_rate: float = 3e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    evaluate_every: int = 250

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> Copy:
        """Settings of a few seconds."""
        return cls(T=2, hidden_size=5, batch_size=4, steps=6, evaluate_every=3)

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do."""
        super().check()
        natural("T", self.T, least=1)

    def draw(self, key: Array, size: int) -> tuple[Array, Array]:
        """What is read and what is wanted, symbols [T + 20, B]."""
        return self._framed(jax.random.randint(key, (LENGTH, size), 0, len(LETTERS)))

    def _framed(self, symbols: Array) -> tuple[Array, Array]:
        blanks = jnp.full((self.T + LENGTH, symbols.shape[1]), BLANK)
        xs = jnp.concatenate([symbols, blanks.at[self.T - 1].set(GO)])
        return xs, jnp.concatenate([blanks, symbols])

    def system(self, facts: Facts) -> System:
        """An embedding, a cell and a readout of each step."""
        model = rnnjax.stack(
            embed=rnnjax.embed(GO + 1, self.hidden_size),
            rnn=cell_named(self.cell, self.hidden_size),
            readout=rnnjax.linear(BLANK + 1),
        )
        read = jax.jit(lambda params, xs: rnnjax.unroll(model, params, None, xs)[1])

        def loss(params: Any, carried: Any, batch: Any, key: Array) -> Any:
            value = cross_entropy(read(params, batch[0]), batch[1]).mean
            return value, (carried, {self.metric: value})

        def evaluate(params: Any, part: Any) -> dict[str, float]:
            wrong = (read(params, part[0]).argmax(axis=-1) != part[1])[-LENGTH:].mean()
            return {self.metric: float(loss(params, (), part, part)[0]), "wrong": float(wrong)}

        def predict(params: Any, request: str) -> Iterator[str]:
            if len(request) != LENGTH or not set(request) <= set(LETTERS):
                raise ValueError(f"a request is {LENGTH} letters of {LETTERS}, got {request!r}")
            symbols = jnp.asarray([[LETTERS.index(letter)] for letter in request])
            found = read(params, self._framed(symbols)[0]).argmax(axis=-1)[-LENGTH:, 0]
            yield "".join((LETTERS + "-")[symbol] for symbol in found.tolist())

        xs = jax.ShapeDtypeStruct((self.T + 2 * LENGTH, self.batch_size), jnp.int32)
        spec = rnnjax.tokens()
        return System(lambda key: model.init(key, spec), loss, evaluate, predict, cell=model, xs=xs)

    def baselines(self, data: Data) -> dict[str, float]:
        """What is left to know without a memory: which of eight symbols, ten times."""
        return {"no memory": LENGTH * math.log(len(LETTERS)) / (self.T + 2 * LENGTH)}

    def example(self, data: Data) -> str:
        """The symbols of a test sequence."""
        return "".join(LETTERS[symbol] for symbol in data.test[0][:LENGTH, 0].tolist())

    def picture(self, system: System, params: Any, data: Data, file: pathlib.Path) -> None:
        """What is read, wanted and answered in a few test sequences, a colour a symbol."""
        xs, targets = (part[:, :12] for part in data.test)
        answers = rnnjax.unroll(system.cell, params, None, xs)[1].argmax(axis=-1)
        rows = {"read": xs, "wanted": targets, f"answered by {self.cell}": answers}
        figure = figure_type()(figsize=(9, 5), layout="constrained")
        panels = figure.subplots(3, 1, sharex=True)
        for axes, (title, symbols) in zip(panels, rows.items(), strict=True):
            axes.imshow(symbols.T, cmap="tab10", vmin=0, vmax=9, aspect="auto")
            axes.set_title(title, loc="left", fontsize=9)
            axes.set_yticks([])
        panels[-1].set_xlabel(f"step; olive is blank, cyan says go, {self.T} steps after the last")
        figure.savefig(file, dpi=120)
