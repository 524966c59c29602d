"""A task: add two numbers that are marked in a long sequence, after its end."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

import rnnjax
from rnnjax._cell import step_spec
from rnnjax._factory import natural
from rnnjax.tasks._cells import AnyCell, inputs_of, model_of
from rnnjax.train.losses import mean_squared_error
from rnnjax.train.plot import figure_type, tidy
from rnnjax.train.task import Data, Facts, GeneratedTask, System

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Adding(GeneratedTask):
    """Add two numbers: one of the first half of a sequence is marked, and one of the second.

    Attributes:
      T: Steps of a sequence, at least 2.
      cell: The recurrent cell: any of `rnnjax.cells` that has units, by its name.
      hidden_size: Its units.

    Reference:
      Hochreiter & Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997, experiment 4;
      with numbers in [0, 1] as Le, Jaitly & Hinton, 2015, arXiv:1504.00941.
    """

    name: ClassVar[str] = "adding"
    about: ClassVar[str] = "add two marked numbers of a long sequence, after its end"
    data_about: ClassVar[str] = "generated; every batch is new"
    metric: ClassVar[str] = "mean squared error"
    axes: ClassVar[Any] = (1, 0)

    T: int = 100
    cell: AnyCell = "lstm"
    hidden_size: int = 64
    steps: int = 2000
    batch_size: int = 64
    learning_rate: float = 1e-2
    schedule: Literal["cosine", "constant"] = "cosine"
    evaluate_every: int = 200

    @classmethod
    def tiny(cls, folder: pathlib.Path) -> Adding:
        """Settings of a few seconds."""
        return cls(T=6, cell="gru", hidden_size=5, batch_size=4, steps=6, evaluate_every=3)

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do."""
        super().check()
        natural("T", self.T, least=2)

    def draw(self, key: Array, size: int) -> tuple[Array, Array]:
        """Sequences [T, B, 2] of numbers and marks, and their sums [B]."""
        k_number, k_first, k_second = jax.random.split(key, 3)
        numbers = jax.random.uniform(k_number, (self.T, size))
        first = jax.random.randint(k_first, (size,), 0, self.T // 2)
        second = jax.random.randint(k_second, (size,), self.T // 2, self.T)
        steps = jnp.arange(self.T)[:, None]
        marks = ((steps == first) | (steps == second)).astype(numbers.dtype)
        return jnp.stack([numbers, marks], axis=-1), (numbers * marks).sum(axis=0)

    def system(self, facts: Facts) -> System:
        """A cell, and a linear readout of its last output."""
        model = model_of(self.cell, self.hidden_size, 1)

        @jax.jit
        def answers(params: Any, xs: Array) -> Array:
            xs = inputs_of(self.cell, jnp.asarray(xs))
            return rnnjax.unroll(model, params, None, xs)[1][-1, :, 0]

        def loss(params: Any, carried: Any, batch: Any, key: Array) -> Any:
            xs, targets = batch
            value = mean_squared_error(answers(params, xs), targets).mean
            return value, (carried, {self.metric: value})

        def evaluate(params: Any, part: Any) -> dict[str, float]:
            return {self.metric: float(loss(params, (), part, part)[0])}

        def predict(params: Any, request: str) -> Iterator[str]:
            try:
                wanted = [float(word) for word in request.split()]
            except ValueError:
                wanted = []
            if len(wanted) != 2 or not all(0 <= number <= 1 for number in wanted):
                raise ValueError(f"a request is two numbers in [0, 1], as '0.3 0.8': {request!r}")
            xs = self.draw(jax.random.key(0), 1)[0]
            xs = xs.at[xs[..., 1] == 1, 0].set(jnp.array(wanted))
            answer = float(answers(params, xs)[0])
            yield f"{request}, marked among {self.T} numbers: {answer:.3f}, right {sum(wanted):.3f}"

        def init(key: Array) -> Any:
            return model.init(key, step_spec(xs))

        batch = jax.ShapeDtypeStruct((self.T, self.batch_size, 2), jnp.float32)
        xs = jax.eval_shape(lambda xs: inputs_of(self.cell, xs), batch)
        return System(
            init,
            loss,
            evaluate,
            predict,
            cell=model,
            xs=xs,
            answers=lambda params, part: answers(params, part[0]),
        )

    def baselines(self, data: Data) -> dict[str, float]:
        """The variance of a sum of two numbers that are uniform in [0, 1]."""
        return {"always 1": 1 / 6}

    def example(self, data: Data) -> str:
        """Two numbers, to be marked in a sequence."""
        return "0.3 0.8"

    def picture(self, system: System, params: Any, data: Data, file: pathlib.Path) -> None:
        """What is answered against what is right, for every sequence of the test data."""
        assert system.answers is not None
        figure = figure_type()(figsize=(5, 5), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 2], [0, 2], color="tab:gray", linewidth=0.8, label="right")
        axes.axhline(1, color="tab:red", linestyle="--", label="always 1")
        answers = system.answers(params, data.test)
        axes.scatter(data.test[1], answers, s=5, color="tab:blue", label=self.cell)
        axes.set_xlabel("sum of the marked numbers")
        axes.set_ylabel(f"answer after {self.T} steps")
        axes.legend()
        tidy(axes)
        figure.savefig(file, dpi=120)
