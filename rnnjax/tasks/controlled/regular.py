"""What finite automata can do: parity, even pairs, cycle navigation, modular arithmetic."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from rnnjax.tasks.controlled._base import Symbolic, last_steps, real_steps

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Regular(Symbolic):
    """A task with an answer to every beginning of a sequence.

    Attributes:
      every_step: Ask after every symbol, not at the end alone.

    Reference:
      Delétang et al., Neural Networks and the Chomsky Hierarchy, ICLR 2023, arXiv:2207.02098:
      trained on lengths up to 40, judged up to 500.
    """

    every_step: bool = False

    def symbols(self, key: Array, sizes: Array, most: int) -> tuple[Array, Array]:
        """Any symbols, all equally likely."""
        return jax.random.randint(key, (most, *sizes.shape), 0, len(self.reads)), sizes

    def answers(self, symbols: Array) -> Array:
        """The answer to each beginning, [S, B]."""
        raise NotImplementedError

    def solved(self, symbols: Array, lengths: Array) -> tuple[Array, Array]:
        """The answers, asked for at the end or everywhere."""
        asked = real_steps if self.every_step else last_steps
        return self.answers(symbols), asked(lengths, len(symbols))


@dataclasses.dataclass(frozen=True)
class Parity(Regular):
    """Whether the ones of a sequence are even in number."""

    name: ClassVar[str] = "parity"
    about: ClassVar[str] = "whether a sequence of bits has an even number of ones"
    reads: ClassVar[str] = "01"
    outputs: ClassVar[tuple[str, ...]] = ("even", "odd")
    form: ClassVar[str] = "[01]+"
    form_said: ClassVar[str] = "zeros and ones, as 01101"

    def answers(self, symbols: Array) -> Array:
        """The sum of the bits, modulo 2."""
        return symbols.cumsum(axis=0) % 2


@dataclasses.dataclass(frozen=True)
class EvenPairs(Regular):
    """Whether ab and ba together come an even number of times: the first letter is the last."""

    name: ClassVar[str] = "even-pairs"
    about: ClassVar[str] = "whether a word of a and b has an even number of ab and ba together"
    reads: ClassVar[str] = "ab"
    outputs: ClassVar[tuple[str, ...]] = ("even", "odd")
    form: ClassVar[str] = "[ab]+"
    form_said: ClassVar[str] = "letters a and b, as abba"

    def answers(self, symbols: Array) -> Array:
        """Every pair of two letters is a change, and an even number of changes leads back."""
        return (symbols != symbols[0]).astype(symbols.dtype)


@dataclasses.dataclass(frozen=True)
class CycleNavigation(Regular):
    """Where on a circle of five places a walk ends: stay, a step forward, a step back."""

    name: ClassVar[str] = "cycle-navigation"
    about: ClassVar[str] = "where a walk on a circle of five places ends"
    reads: ClassVar[str] = "0+-"
    outputs: ClassVar[tuple[str, ...]] = tuple("01234")
    form: ClassVar[str] = "[0+-]+"
    form_said: ClassVar[str] = "steps on a circle: 0 stays, + goes forward, - back, as ++0-"

    def answers(self, symbols: Array) -> Array:
        """The sum of the steps, modulo 5."""
        return jnp.array([0, 1, -1])[symbols].cumsum(axis=0) % 5


@dataclasses.dataclass(frozen=True)
class ModularArithmetic(Regular):
    """The value of a sum of products of digits, modulo 5; products before sums.

    Lengths are odd: an even one is that of a symbol less.
    """

    name: ClassVar[str] = "modular-arithmetic"
    about: ClassVar[str] = "the value modulo 5 of an expression such as 2+3*4-1"
    reads: ClassVar[str] = "01234+-*"
    outputs: ClassVar[tuple[str, ...]] = tuple("01234")
    form: ClassVar[str] = "[0-4]([-+*][0-4])*"
    form_said: ClassVar[str] = "digits from 0 to 4 with +, - or * between, as 2+3*4-1"

    def symbols(self, key: Array, sizes: Array, most: int) -> tuple[Array, Array]:
        """Digits, and operators between."""
        k_digit, k_between = jax.random.split(key)
        shape = (most, *sizes.shape)
        digits = jax.random.randint(k_digit, shape, 0, 5)
        between = jax.random.randint(k_between, shape, 5, 8)
        odd = jnp.arange(most)[:, None] % 2 == 1
        return jnp.where(odd, between, digits), sizes - (sizes + 1) % 2

    def answers(self, symbols: Array) -> Array:
        """The value of what is read; behind an operator, of what stands before it."""
        plus, minus, times = 5, 6, 7

        def step(state: tuple[Array, ...], symbol: Array) -> tuple[tuple[Array, ...], Array]:
            total, product, operator = state  # the sum so far but for its last product
            product = jnp.where(
                symbol >= plus,
                jnp.where(symbol == times, product, 0),
                jnp.where(
                    operator == times,
                    product * symbol,
                    jnp.where(operator == minus, -symbol, symbol),
                ),
            )
            ends = (symbol == plus) | (symbol == minus)
            total = jnp.where(ends, total + state[1], total) % 5
            operator = jnp.where(symbol >= plus, symbol, operator)
            return (total, product % 5, operator), (total + product) % 5

        zero = jnp.zeros_like(symbols[0])
        return jax.lax.scan(step, (zero, zero, zero + plus), symbols)[1]

    def solved(self, symbols: Array, lengths: Array) -> tuple[Array, Array]:
        """The answers, asked for behind digits."""
        answers, asked = super().solved(symbols, lengths)
        return answers, asked & (symbols < 5)
