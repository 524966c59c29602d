"""Series that never repeat: the next value of Mackey & Glass's equation, and of Lorenz's."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.tasks.controlled._base import Batch, Controlled, numbers, real_steps
from rnnjax.train.task import Data

Array = jax.Array


def runge_kutta(f: Callable[..., Array], x: Array, h: float, drives: tuple = (0, 0, 0)) -> Array:
    """x after a step of h of dx/dt = f(x, u), by the classical rule of fourth order.

    Args:
      f: (x, u) -> dx/dt.
      x: [...].
      h: the step.
      drives: u at its beginning, middle and end.
    """
    start, middle, end = drives
    k1 = f(x, start)
    k2 = f(x + h / 2 * k1, middle)
    k3 = f(x + h / 2 * k2, middle)
    k4 = f(x + h * k3, end)
    return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def mackey_glass(history: Array, steps: int) -> Array:
    """Values 1 apart of Mackey & Glass's equation, whose past is constant.

        dx/dt = 0.2 x(t - 17) / (1 + x(t - 17)¹⁰) - 0.1 x(t)

    By steps of 1/2; between two of them, the past is the cubic that has their values and slopes.

    Args:
      history: x(t) for t <= 0, [B].
      steps: S.

    Returns:
      x(1), x(2) .. x(S), [S, B].

    Reference:
      Mackey & Glass, Oscillation and Chaos in Physiological Control Systems, Science 197, 1977.
    """
    h, delay = 0.5, 34  # in steps of h

    def slope(x: Array, late: Array) -> Array:
        return 0.2 * late / (1 + late**10) - 0.1 * x

    def step(past: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        values, slopes = past  # the latest last, [delay + 1, B]
        (x0, x1), (f0, f1) = values[:2], slopes[:2]
        middle = (x0 + x1) / 2 + h / 8 * (f0 - f1)
        x = runge_kutta(slope, values[-1], h, (x0, middle, x1))
        f = slope(x, x1)
        past = (jnp.concatenate([values[1:], x[None]]), jnp.concatenate([slopes[1:], f[None]]))
        return past, x

    values = jnp.tile(history, (delay + 1, 1))
    slopes = jnp.zeros_like(values)  # at 0 that of the left: the past does not move
    return jax.lax.scan(step, (values, slopes), length=2 * steps)[1][1::2]


def lorenz(start: Array, steps: int) -> Array:
    """Points 1/20 apart of Lorenz's equations.

        dx/dt = 10 (y - x),   dy/dt = x (28 - z) - y,   dz/dt = x y - 8/3 z

    Args:
      start: (x, y, z) at 0, [3, B].
      steps: S.

    Returns:
      (x, y, z) at 1/20, 2/20 .. S/20, [S, 3, B]; by steps of 1/100.

    Reference:
      Lorenz, Deterministic Nonperiodic Flow, Journal of the Atmospheric Sciences 20, 1963.
    """

    def slope(point: Array, _: int) -> Array:
        x, y, z = point
        return jnp.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    def step(point: Array, _: None) -> tuple[Array, Array]:
        point = runge_kutta(slope, point, 0.01)
        return point, point

    return jax.lax.scan(step, start, length=5 * steps)[1][4::5]


@dataclasses.dataclass(frozen=True)
class Chaos(Controlled):
    """A task that asks at every step for the next value of a series; in units of its spread."""

    metric: ClassVar[str] = "mean squared error"
    kind: ClassVar[Literal["class", "set", "numbers"]] = "numbers"
    outputs: ClassVar[tuple[str, ...]] = ("next",)
    counted: ClassVar[str] = "steps"

    T: int = 100
    shortest: int = 100
    longest: int = 800

    @classmethod
    def series(cls, key: Array, size: int, steps: int) -> Array:
        """Pieces of the series, once it has forgotten its beginning, [steps, size]."""
        raise NotImplementedError

    @classmethod
    def units(cls) -> tuple[float, float]:
        """The mean and the standard deviation of the series."""
        return _units(cls)

    def sequences(self, key: Array, sizes: Array, most: int) -> Batch:
        """Values, and those one step later."""
        mean, spread = self.units()
        values = (self.series(key, len(sizes), most + 1)[..., None] - mean) / spread
        return Batch(values[:-1], sizes, values[1:], real_steps(sizes, most))

    def baselines(self, data: Data) -> dict[str, float]:
        """The mean; what was last; and the straight line through the last two values."""
        xs, _, targets, _ = data.test[self.T]
        line = np.concatenate([xs[:1], 2 * xs[1:] - xs[:-1]])
        named = {"no change": xs, "a straight line": line}
        errors = {name: float(np.square(x - targets).mean()) for name, x in named.items()}
        return {**super().baselines(data), **errors}

    def asked_for(self, request: str) -> tuple[Batch, str]:
        """The values of a request."""
        found = numbers(request, "values of the series, oldest first, as '0.9 0.95 1.02'")
        mean, spread = self.units()
        xs = (jnp.asarray(found)[:, None, None] - mean) / spread
        lengths = jnp.asarray([len(found)])
        return Batch(xs, lengths, jnp.zeros_like(xs), real_steps(lengths, len(found))), request

    def said(self, outputs: np.ndarray, batch: Batch) -> str:
        """What comes next."""
        mean, spread = self.units()
        return f"{mean + spread * outputs[-1, 0]:.3f} comes next"

    def example(self, data: Data) -> str:
        """The first values of the first test sequence."""
        mean, spread = self.units()
        return " ".join(f"{mean + spread * x:.3f}" for x in data.test[self.T].xs[:12, 0, 0])


@functools.cache
def _units(kind: type[Chaos]) -> tuple[float, float]:
    with jax.ensure_compile_time_eval():
        found = np.asarray(kind.series(jax.random.key(0), 64, 256))
    return float(found.mean()), float(found.std())


@dataclasses.dataclass(frozen=True)
class MackeyGlass(Chaos):
    """The next value of Mackey & Glass's series, with a delay of 17.

    Reference:
      Mackey & Glass, Oscillation and Chaos in Physiological Control Systems, Science 197, 1977; as
      a task for networks, Lapedes & Farber, Nonlinear Signal Processing Using Neural Networks,
      1987.
    """

    name: ClassVar[str] = "mackey-glass"
    about: ClassVar[str] = "predict the next value of a chaotic series with a delay"

    @classmethod
    def series(cls, key: Array, size: int, steps: int) -> Array:
        """From a constant past in [0.3, 0.9], from any of the times 300 to 400 on."""
        k_past, k_time = jax.random.split(key)
        past = jax.random.uniform(k_past, (size,), minval=0.3, maxval=0.9)
        begin = jax.random.randint(k_time, (size,), 300, 400)
        places = begin + jnp.arange(steps)[:, None]
        return jnp.take_along_axis(mackey_glass(past, 400 + steps), places, axis=0)


@dataclasses.dataclass(frozen=True)
class Lorenz(Chaos):
    """The next value of x of Lorenz's equations, seen alone; 1/20 of a unit of time later.

    Reference:
      Lorenz, Deterministic Nonperiodic Flow, Journal of the Atmospheric Sciences 20, 1963.
    """

    name: ClassVar[str] = "lorenz"
    about: ClassVar[str] = "predict the next x of a chaotic flow of which nothing else is seen"

    @classmethod
    def series(cls, key: Array, size: int, steps: int) -> Array:
        """From points about the attractor, 10 units of time later."""
        start = jnp.array([[0.0], [0.0], [25.0]]) + 5 * jax.random.normal(key, (3, size))
        return lorenz(start, 200 + steps)[200:, 0]
