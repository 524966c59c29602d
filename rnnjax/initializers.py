"""Floor 0: how parameters are drawn. Presets reproduce the defaults of other libraries.

An initializer is `(key, shape, dtype) -> array`, as in `jax.nn.initializers`. `Initializers` says
which one draws which parameter; every cell takes one as `init=`, or the name of a preset:

    lstm(256)                                                LeCun input, orthogonal recurrent
    lstm(256, init="torch")                                  what torch.nn.LSTM draws
    lstm(256, init=PRESETS["rnnjax"]._replace(forget_bias=0.0))
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import initializers as jinit

from rnnjax._dtypes import at_least_float32

Array = jax.Array
Initializer = Callable[[Array, Sequence[int], Any], Array]


# Functions of this module, rather than what `jax.nn.initializers` returns, so that they pickle.


def _lecun_normal(key: Array, shape: Sequence[int], dtype: Any) -> Array:
    return jinit.lecun_normal()(key, shape, dtype)


def _glorot_uniform(key: Array, shape: Sequence[int], dtype: Any) -> Array:
    return jinit.glorot_uniform()(key, shape, dtype)


def _orthogonal(key: Array, shape: Sequence[int], dtype: Any) -> Array:
    return jinit.orthogonal()(key, shape, dtype)


def _within_fan_in(key: Array, shape: Sequence[int], dtype: Any) -> Array:
    """U(-1/√n, 1/√n), n the number of inputs."""
    return jinit.variance_scaling(1 / 3, "fan_in", "uniform")(key, shape, dtype)


def _within_fan_out(key: Array, shape: Sequence[int], dtype: Any) -> Array:
    """U(-1/√n, 1/√n), n the number of outputs."""
    return jinit.variance_scaling(1 / 3, "fan_out", "uniform")(key, shape, dtype)


def _unit_vectors(key: Array, shape: Sequence[int], dtype: Any) -> Array:
    """N(0, 1/E), so that a vector [E] has length 1 on average."""
    return jinit.variance_scaling(1.0, "fan_in", "normal", out_axis=0)(key, shape, dtype)


def _standard_normal(key: Array, shape: Sequence[int], dtype: Any) -> Array:
    return jax.random.normal(key, shape, dtype)


def _within_5_percent(key: Array, shape: Sequence[int], dtype: Any) -> Array:
    """U(-0.05, 0.05): what Keras calls "uniform"."""
    return jax.random.uniform(key, shape, dtype, -0.05, 0.05)


class Initializers(NamedTuple):
    """Which initializer draws which parameter. D inputs, H units, G gates, V symbols, O outputs.

    Attributes:
      w_x: input weights, [D, H] a gate.
      w_h: recurrent weights, [H, H] a gate.
      b: a bias of a recurrent cell; drawn as a row of [H, H], so that it may depend on H.
      forget_bias: added to the stored bias of an LSTM's forget gate (Jozefowicz et al., 2015).
      w: weights of `linear`, [D, O].
      w_b: bias of `linear`; drawn as a row of [D, O], so that it may depend on D.
      table: the vectors of `embed`, [V, E].
      fused: draw w_x and w_h for all gates at once, as [D, G H] and [H, G H].
      two_biases: draw each stored bias as the sum of two: PyTorch keeps one for the input and
        one for the state, and ours is their sum.
    """

    w_x: Initializer = _lecun_normal
    w_h: Initializer = _orthogonal
    b: Initializer = jinit.zeros
    forget_bias: float = 1.0
    w: Initializer = _lecun_normal
    w_b: Initializer = jinit.zeros
    table: Initializer = _unit_vectors
    fused: bool = False
    two_biases: bool = False

    def weights(
        self, key: Array, inputs: int, units: int, gates: int, dtype: Any
    ) -> dict[str, Array]:
        """w_x, w_h and b of a recurrent cell, each from a key of its own."""
        k_x, k_h, k_b = jax.random.split(key, 3)
        return {
            "w_x": self.input_weights(k_x, inputs, units, gates, dtype),
            "w_h": self.recurrent_weights(k_h, units, gates, dtype),
            "b": self.bias(k_b, units, gates, dtype),
        }

    def kernels(
        self,
        key: Array,
        window: tuple[int, ...],
        inputs: int,
        units: int,
        gates: int,
        dtype: Any,
    ) -> dict[str, Array]:
        """w_x, w_h and b of a cell that convolves, its kernels [*K, D, G H] as matrices."""
        k_x, k_h, k_b = jax.random.split(key, 3)
        w_x = self._gate_weights(self.w_x, k_x, (*window, inputs), units, gates, dtype)
        w_h = self._gate_weights(self.w_h, k_h, (*window, units), units, gates, dtype)
        return {
            "w_x": w_x.reshape(-1, gates * units),
            "w_h": w_h.reshape(-1, gates * units),
            "b": self.bias(k_b, units, gates, dtype),
        }

    def input_weights(self, key: Array, inputs: int, units: int, gates: int, dtype: Any) -> Array:
        """w_x [D, G H]."""
        return self._gate_weights(self.w_x, key, (inputs,), units, gates, dtype)

    def recurrent_weights(self, key: Array, units: int, gates: int, dtype: Any) -> Array:
        """w_h [H, G H]."""
        return self._gate_weights(self.w_h, key, (units,), units, gates, dtype)

    def bias(
        self, key: Array, units: int, gates: int, dtype: Any, *, draws: int | None = None
    ) -> Array:
        """b [G H]; `draws` is how many bias vectors of the source library it stands for."""
        draws = (2 if self.two_biases else 1) if draws is None else draws
        keys = jax.random.split(key, (gates, draws))
        rows = [[self.b(k, (units, units), dtype)[0] for k in gate] for gate in keys]
        return jnp.concatenate([sum(row[1:], start=row[0]) for row in rows])

    def _gate_weights(
        self,
        draw: Initializer,
        key: Array,
        rows: tuple[int, ...],
        units: int,
        gates: int,
        dtype: Any,
    ) -> Array:
        if self.fused:
            return draw(key, (*rows, gates * units), dtype)
        keys = jax.random.split(key, gates)
        return jnp.concatenate([draw(k, (*rows, units), dtype) for k in keys], axis=-1)


PRESETS: dict[str, Initializers] = {
    "rnnjax": Initializers(),
    "flax": Initializers(forget_bias=0.0),
    "torch": Initializers(
        w_x=_within_fan_out,
        w_h=_within_fan_in,
        b=_within_fan_in,
        forget_bias=0.0,
        w=_within_fan_in,
        w_b=_within_fan_in,
        table=_standard_normal,
        two_biases=True,
    ),
    "keras": Initializers(
        w_x=_glorot_uniform,
        w=_glorot_uniform,
        table=_within_5_percent,
        fused=True,
    ),
}


def preset(init: str | Initializers) -> Initializers:
    """The Initializers a cell's `init` argument stands for, which draw in float32 or better.

    A draw in half precision is coarse and biased, and an orthogonal matrix has none.
    """
    found = PRESETS[init] if isinstance(init, str) else init
    draws = {name: draw for name, draw in found._asdict().items() if callable(draw)}
    return found._replace(**{k: functools.partial(_rounded, draw) for k, draw in draws.items()})


def _rounded(draw: Callable[..., Any], key: Array, shape: Sequence[int], dtype: Any) -> Array:
    return draw(key, shape, at_least_float32(dtype)).astype(dtype)


def _init(what: str, value: Any) -> str | Initializers:
    if not isinstance(value, str | Initializers):
        hint = ": pass rnnjax.Initializers(w_h=...), a function for each kind of parameter"
        got = f"{value!r}{hint * callable(value)}"
        raise TypeError(f"{what} must be an Initializers or a preset's name, got {got}")
    if isinstance(value, str) and value not in PRESETS:
        raise ValueError(f"{what} must be one of {', '.join(PRESETS)}, got {value!r}")
    # One form, so that equal cells are equal. (What has no hash, the factory refuses.)
    hashable = all(isinstance(field, Hashable) for field in value)
    names = [name for name, known in PRESETS.items() if hashable and known == value]
    return names[0] if names else value


Init = Annotated[str | Initializers, _init]
