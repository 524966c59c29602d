"""What is to be kept: a first symbol, two numbers, an order, a few letters, pairs, the alphabet."""

from __future__ import annotations

import dataclasses
import string
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._factory import natural, non_negative
from rnnjax.tasks.controlled._base import (
    Batch,
    Controlled,
    Symbolic,
    last_steps,
    numbers,
    real_steps,
)
from rnnjax.train.task import Data

Array = jax.Array


# --- numbers -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Memory(Controlled):
    """The first number is 1 or -1; which of them is asked for at the end. Zeros come between.

    Attributes:
      noise: Standard deviation of the numbers between.

    Reference:
      Hochreiter & Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997, experiment 3;
      the question is that of Bengio, Simard & Frasconi, Learning Long-Term Dependencies with
      Gradient Descent Is Difficult, IEEE Transactions on Neural Networks 5(2), 1994.
    """

    name: ClassVar[str] = "memory"
    about: ClassVar[str] = "remember the sign of the first number of a sequence"
    outputs: ClassVar[tuple[str, ...]] = ("-1", "1")
    counted: ClassVar[str] = "numbers"

    noise: float = 0.0

    T: int = 100
    longest: int = 800

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do."""
        super().check()
        non_negative("noise", self.noise)

    def sequences(self, key: Array, sizes: Array, most: int) -> Batch:
        """1 or -1, then noise."""
        k_first, k_noise = jax.random.split(key)
        first = jax.random.bernoulli(k_first, 0.5, sizes.shape).astype(int)
        noise = self.noise * jax.random.normal(k_noise, (most, *sizes.shape))
        return self._batch(noise.at[0].set(jnp.where(first == 1, 1.0, -1.0)), sizes)

    def _batch(self, values: Array, lengths: Array) -> Batch:
        first = (values[0] > 0).astype(int)
        asked = last_steps(lengths, len(values))
        return Batch(values[..., None], lengths, jnp.tile(first, (len(values), 1)), asked)

    def asked_for(self, request: str) -> tuple[Batch, str]:
        """The numbers of a request."""
        found = numbers(request, "1 or -1 and any numbers behind it, as '-1 0 0.2'")
        if abs(found[0]) != 1:
            raise ValueError(f"the first number of a request is 1 or -1: {request!r}")
        return self._batch(jnp.asarray(found)[:, None], jnp.asarray([len(found)])), request

    def said(self, outputs: np.ndarray, batch: Batch) -> str:
        """Which of the two, and which it was."""
        answer, right = (self.outputs[k] for k in (outputs[-1].argmax(), batch.targets[-1, 0]))
        return f"{answer}, right: {right}"

    def example(self, data: Data) -> str:
        """The first test sequence."""
        return " ".join(f"{x:.3g}" for x in data.test[self.T].xs[:, 0, 0])


@dataclasses.dataclass(frozen=True)
class NoisyMemory(Memory):
    """The first number is 1 or -1; which of them is asked for at the end. Noise comes between.

    Reference:
      Hochreiter & Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997, experiment 3,
      where the noise has the variance 0.2.
    """

    name: ClassVar[str] = "noisy-memory"
    about: ClassVar[str] = "remember the sign of the first number of a sequence of noise"

    noise: float = 0.2**0.5


@dataclasses.dataclass(frozen=True)
class Multiplication(Controlled):
    """Multiply two numbers: one of the first half of a sequence is marked, and one of the second.

    Reference:
      Hochreiter & Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997, experiment 5.
    """

    name: ClassVar[str] = "multiplication"
    about: ClassVar[str] = "multiply two marked numbers of a long sequence, after its end"
    metric: ClassVar[str] = "mean squared error"
    kind: ClassVar[Literal["class", "set", "numbers"]] = "numbers"
    outputs: ClassVar[tuple[str, ...]] = ("product",)
    counted: ClassVar[str] = "numbers"
    least: ClassVar[int] = 2

    T: int = 100
    shortest: int = 2
    longest: int = 400

    def sequences(self, key: Array, sizes: Array, most: int) -> Batch:
        """Numbers in [0, 1] and marks."""
        k_number, *k_places = jax.random.split(key, 3)
        values = jax.random.uniform(k_number, (most, *sizes.shape))
        half = sizes // 2
        first = jax.random.randint(k_places[0], sizes.shape, 0, half)
        second = jax.random.randint(k_places[1], sizes.shape, half, sizes)
        steps = jnp.arange(most)[:, None]
        return self._batch(values, (steps == first) | (steps == second), sizes)

    def _batch(self, values: Array, marks: Array, lengths: Array) -> Batch:
        product = jnp.where(marks, values, 1.0).prod(axis=0)
        xs = jnp.stack([values, marks.astype(values.dtype)], axis=-1)
        targets = jnp.tile(product[:, None], (len(values), 1, 1))
        return Batch(xs, lengths, targets, last_steps(lengths, len(values)))

    def asked_for(self, request: str) -> tuple[Batch, str]:
        """The numbers of a request, of which two have an asterisk behind them."""
        words = request.split()
        form = "numbers in [0, 1], two of them with an asterisk, as '0.5* 0.1 0.8*'"
        found = numbers(" ".join(word.removesuffix("*") for word in words), form)
        marks = [word.endswith("*") for word in words]
        if sum(marks) != 2 or not all(0 <= x <= 1 for x in found):
            raise ValueError(f"a request is {form}: {request!r}")
        values, marked = jnp.asarray(found)[:, None], jnp.asarray(marks)[:, None]
        return self._batch(values, marked, jnp.asarray([len(found)])), request

    def said(self, outputs: np.ndarray, batch: Batch) -> str:
        """A product, and the right one."""
        return f"{outputs[-1, 0]:.3f}, right: {batch.targets[-1, 0, 0]:.3f}"

    def example(self, data: Data) -> str:
        """The first test sequence."""
        marks = {0: "", 1: "*"}
        return " ".join(f"{x:.3g}{marks[int(mark)]}" for x, mark in data.test[self.T].xs[:, 0])


# --- symbols -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class TemporalOrder(Symbolic):
    """In which order two symbols came, each X or Y, among many that do not matter.

    They stand at any places of the second and the sixth tenth of the sequence.

    Reference:
      Hochreiter & Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997, experiment
      6a.
    """

    name: ClassVar[str] = "temporal-order"
    about: ClassVar[str] = "in which order two symbols came, far apart in a long sequence"
    least: ClassVar[int] = 10
    starts: ClassVar[tuple[tuple[int, int], ...]] = ((1, 10), (1, 2))
    reads: ClassVar[str] = "abcdXY"
    outputs: ClassVar[tuple[str, ...]] = ("XX", "XY", "YX", "YY")
    form: ClassVar[str] = "([a-d]*[XY]){2}[a-d]*"
    form_said: ClassVar[str] = "letters from a to d with two of X and Y among them, as aXcbYd"

    T: int = 100
    shortest: int = 10
    longest: int = 800

    def symbols(self, key: Array, sizes: Array, most: int) -> tuple[Array, Array]:
        """Letters, and X or Y at one place of each of the tenths."""
        k_letter, k_which, k_place = jax.random.split(key, 3)
        symbols = jax.random.randint(k_letter, (most, *sizes.shape), 0, 4)
        shape = (len(self.starts), *sizes.shape)
        which = jax.random.bernoulli(k_which, 0.5, shape).astype(int)
        first = jnp.stack([up * sizes // down for up, down in self.starts])
        places = jax.random.randint(k_place, shape, first, first + sizes // 10)
        steps = jnp.arange(most)[:, None]
        for one, place in zip(which, places, strict=True):
            symbols = jnp.where(steps == place, 4 + one, symbols)
        return symbols, sizes

    def solved(self, symbols: Array, lengths: Array) -> tuple[Array, Array]:
        """The symbols that matter as bits of a number, the first one highest; asked at the end."""
        matters = (symbols >= 4) & real_steps(lengths, len(symbols))

        def step(code: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
            symbol, matters = now
            code = jnp.where(matters, 2 * code + symbol - 4, code)
            return code, code

        codes = jax.lax.scan(step, jnp.zeros_like(symbols[0]), (symbols, matters))[1]
        return codes, last_steps(lengths, len(symbols))


@dataclasses.dataclass(frozen=True)
class TemporalOrder3(TemporalOrder):
    """In which order three symbols came, each X or Y, among many that do not matter.

    They stand at any places of a tenth of the sequence from its tenth, third and two thirds on.

    Reference:
      Hochreiter & Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997, experiment
      6b.
    """

    name: ClassVar[str] = "temporal-order-3"
    about: ClassVar[str] = "in which order three symbols came, far apart in a long sequence"
    starts: ClassVar[tuple[tuple[int, int], ...]] = ((1, 10), (1, 3), (2, 3))
    outputs: ClassVar[tuple[str, ...]] = tuple(a + b + c for a in "XY" for b in "XY" for c in "XY")
    form: ClassVar[str] = "([a-d]*[XY]){3}[a-d]*"
    form_said: ClassVar[str] = "letters from a to d with three of X and Y among them, as aXcbYdY"


@dataclasses.dataclass(frozen=True)
class SelectiveCopy(Symbolic):
    """A few letters among many blanks, to be written in their order behind a sign.

    Attributes:
      count: How many letters.

    Reference:
      Gu & Dao, Mamba: Linear-Time Sequence Modeling with Selective State Spaces, 2023,
      arXiv:2312.00752; the task is of Jing et al., Gated Orthogonal Recurrent Units, 2019,
      arXiv:1706.02761.
    """

    name: ClassVar[str] = "selective-copy"
    about: ClassVar[str] = "write a few letters that came among blanks, in their order"
    counted: ClassVar[str] = "letters and blanks"
    reads: ClassVar[str] = "ABCDEFGH.>"
    outputs: ClassVar[tuple[str, ...]] = tuple("ABCDEFGH")
    form: ClassVar[str] = r"[A-H.]*[A-H][A-H.]*"
    form_said: ClassVar[str] = "letters from A to H and blanks, as ..B.A"

    count: int = 4

    T: int = 40
    shortest: int = 4
    longest: int = 320

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do."""
        super().check()
        natural("count", self.count, least=1)
        natural("shortest", self.shortest, least=self.count)

    def lengths(self) -> list[int]:
        """The lengths that are judged, none with too few places for the letters."""
        return [n for n in super().lengths() if n >= self.count]

    def symbols(self, key: Array, sizes: Array, most: int) -> tuple[Array, Array]:
        """Letters at any places, the sign, and blanks for the answer but for its first letter."""
        k_letter, k_place = jax.random.split(key)
        letters = jax.random.randint(k_letter, (most, *sizes.shape), 0, 8)
        lots = jax.random.uniform(k_place, letters.shape)
        lots = jnp.where(real_steps(sizes, most), lots, 2.0)
        chosen = lots.argsort(axis=0).argsort(axis=0) < self.count
        read = jnp.where(chosen, letters, 8)
        symbols = jnp.concatenate([read, jnp.full((self.count, len(sizes)), 8)])
        sign = jnp.arange(len(symbols))[:, None] == sizes
        return jnp.where(sign, 9, symbols), sizes + self.count

    def solved(self, symbols: Array, lengths: Array) -> tuple[Array, Array]:
        """The letters in their order, from the sign on."""
        steps = jnp.arange(len(symbols))[:, None]
        order = jnp.where(symbols < 8, steps, len(symbols)).argsort(axis=0)
        letters = jnp.take_along_axis(symbols, order, axis=0)  # those first, in their order
        sign = (symbols == 9).argmax(axis=0)
        places = jnp.maximum(steps - sign, 0)
        right = jnp.take_along_axis(letters, places, axis=0)
        return right, (steps >= sign) & (steps < lengths)

    def written(self, request: str) -> str:
        """What is read: behind the letters the sign, and blanks for the answer."""
        letters = len(request) - request.count(".")
        return f"{request}>{'.' * (letters - 1)}"

    def text(self, letters: str) -> str:
        """What stands before the sign."""
        return letters.partition(">")[0]


@dataclasses.dataclass(frozen=True)
class Recall(Symbolic):
    """Pairs of a letter and a digit, then a letter once more: which digit was with it?

    Reference:
      Ba et al., Using Fast Weights to Attend to the Recent Past, NeurIPS 2016, arXiv:1610.06258.
    """

    name: ClassVar[str] = "recall"
    about: ClassVar[str] = "which digit came with a letter, among many such pairs"
    counted: ClassVar[str] = "pairs"
    reads: ClassVar[str] = string.ascii_lowercase + string.digits + "?"
    outputs: ClassVar[tuple[str, ...]] = tuple(string.digits)
    # No letter twice before the ??, and behind them one of those.
    form: ClassVar[str] = r"(?!.*([a-z]).*\1.*\?)(?:[a-z][0-9])*([a-z])[0-9](?:[a-z][0-9])*\?\?\2"
    form_said: ClassVar[str] = (
        "pairs of different letters and digits, and one of the letters behind ??, as c9k8j3??k"
    )

    T: int = 8
    longest: int = 26

    def check(self) -> None:
        """Raises TypeError or ValueError for settings that will not do."""
        super().check()
        if self.longest > 26:
            raise ValueError(f"longest must be at most 26, one pair a letter, got {self.longest}")

    def symbols(self, key: Array, sizes: Array, most: int) -> tuple[Array, Array]:
        """The pairs, ?? and one of their letters."""
        k_letter, k_digit, k_which = jax.random.split(key, 3)
        batch = sizes.shape
        letters = jax.random.uniform(k_letter, (26, *batch)).argsort(axis=0)[:most]
        digits = 26 + jax.random.randint(k_digit, (most, *batch), 0, 10)
        which = jax.random.randint(k_which, batch, 0, sizes)
        asked = jnp.take_along_axis(letters, which[None], axis=0)
        pairs = jnp.stack([letters, digits], axis=1).reshape(2 * most, *batch)
        pairs = jnp.concatenate([pairs, jnp.zeros_like(pairs, shape=(3, *batch))])
        steps, end = jnp.arange(len(pairs))[:, None], 2 * sizes
        symbols = jnp.where(steps < end, pairs, self.reads.index("?"))
        return jnp.where(steps == end + 2, asked, symbols), end + 3

    def solved(self, symbols: Array, lengths: Array) -> tuple[Array, Array]:
        """What stands behind the first of the letter's places."""
        asked = last_steps(lengths, len(symbols))
        letter = jnp.where(asked, symbols, 0).sum(axis=0)
        place = (symbols == letter).argmax(axis=0)
        digit = jnp.take_along_axis(symbols, place[None] + 1, axis=0) - 26
        return jnp.tile(digit, (len(symbols), 1)), asked


@dataclasses.dataclass(frozen=True)
class Alphabet(Symbolic):
    """The letters that come after a letter, one a step; after Z comes A.

    Reference:
      A task of courses: "the five letters after Q". A sequence known by heart, entered anywhere.
    """

    name: ClassVar[str] = "alphabet"
    about: ClassVar[str] = "say so many letters of the alphabet after a given one"
    counted: ClassVar[str] = "letters"
    reads: ClassVar[str] = string.ascii_uppercase + "."
    outputs: ClassVar[tuple[str, ...]] = tuple(string.ascii_uppercase)
    form: ClassVar[str] = "[A-Z][1-9][0-9]{0,3}"
    form_said: ClassVar[str] = "a letter and how many are wanted after it, as Q 5"

    T: int = 5
    longest: int = 40

    def symbols(self, key: Array, sizes: Array, most: int) -> tuple[Array, Array]:
        """A letter, and blanks."""
        blanks = jnp.full((most, *sizes.shape), 26)
        return blanks.at[0].set(jax.random.randint(key, sizes.shape, 0, 26)), sizes

    def solved(self, symbols: Array, lengths: Array) -> tuple[Array, Array]:
        """The letters after the first one."""
        steps = jnp.arange(len(symbols))[:, None]
        return (symbols[0] + 1 + steps) % 26, real_steps(lengths, len(symbols))

    def written(self, request: str) -> str:
        """The letter, and a blank for each but the first that is wanted."""
        return request[0] + "." * (int(request[1:]) - 1)

    def text(self, letters: str) -> str:
        """The letter, and how many are wanted."""
        return f"{letters[0]} {len(letters)}"
