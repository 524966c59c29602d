"""What the cells share: states and weights of a family, activations, checks of inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._cell import Array, StateFn, as_spec
from rnnjax._dtypes import at_least_float32
from rnnjax.initializers import Initializers


class LSTMState(NamedTuple):
    """State of `lstm` and its kin.

    Attributes:
      h: hidden state [*B, H], also the output.
      c: memory [*B, H].
    """

    h: Array
    c: Array


def hidden_state(*sizes: int) -> StateFn:
    """The initial state of cells that carry h alone: zeros [*B, H], in the dtype of the weights."""

    def initial_state(
        params: Any, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> Array:
        return jnp.zeros((*batch_shape, *sizes), params.w_x.dtype)

    return initial_state


def zero_state(kind: Callable[..., Any], **sizes: int | tuple[int, ...]) -> StateFn:
    """The initial state of cells that carry several arrays: `kind(**zeros)`, each [*B, *sizes]."""
    zeros = {k: hidden_state(*((n,) if isinstance(n, int) else n)) for k, n in sizes.items()}

    def initial_state(
        params: Any, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> Any:
        return kind(**{k: zero(params, batch_shape) for k, zero in zeros.items()})

    return initial_state


def lstm_state(*sizes: int) -> StateFn:
    """The initial state of cells that carry h and c."""
    return zero_state(LSTMState, h=sizes, c=sizes)


def lstm_weights(
    draw: Initializers, key: Array, inputs: int, hidden_size: int, dtype: Any
) -> dict[str, Array]:
    """w_x, w_h and b of the gates i, f, g, o, the forget bias added."""
    weights = draw.weights(key, inputs, hidden_size, 4, dtype)
    forget = slice(hidden_size, 2 * hidden_size)
    return {**weights, "b": weights["b"].at[forget].add(draw.forget_bias)}


def gru_weights(
    draw: Initializers, key: Array, inputs: int, hidden_size: int, reset: str, dtype: Any
) -> dict[str, Any]:
    """w_x, w_h, b and b_n of the gates r, z, n."""
    k_x, k_h, k_b, k_c, k_n = jax.random.split(key, 5)
    # The candidate of "after" keeps its two biases apart: each stands for one.
    draws = 1 if reset == "after" else None
    candidate = draw.bias(k_c, hidden_size, 1, dtype, draws=draws)
    return {
        "w_x": draw.input_weights(k_x, inputs, hidden_size, 3, dtype),
        "w_h": draw.recurrent_weights(k_h, hidden_size, 3, dtype),
        "b": jnp.concatenate([draw.bias(k_b, hidden_size, 2, dtype), candidate]),
        "b_n": draw.bias(k_n, hidden_size, 1, dtype, draws=1) if reset == "after" else None,
    }


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "identity": lambda x: x,
    "sigmoid": jax.nn.sigmoid,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "elu": jax.nn.elu,
    "softplus": jax.nn.softplus,
}


def _activation(what: str, value: Any) -> Any:
    if not callable(value) and not isinstance(value, str):
        raise TypeError(f"{what} must be a function or a name, got {value!r}")
    if isinstance(value, str) and value not in ACTIVATIONS:
        names = ", ".join(ACTIVATIONS)
        raise ValueError(f"{what} must be a function or one of {names}, got {value!r}")
    return value


Activation = Annotated[str | Callable[[Array], Array], _activation]


def as_function(value: str | Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The function an activation stands for."""
    return ACTIVATIONS[value] if isinstance(value, str) else value


def label(value: str | Callable[[Array], Array]) -> str:
    """How a cell's name shows an activation."""
    return value if isinstance(value, str) else getattr(value, "__name__", repr(value))


def array_spec(name: str, x_spec: Any) -> jax.ShapeDtypeStruct:
    x_spec = as_spec(x_spec)
    if not hasattr(x_spec, "shape"):
        raise TypeError(
            f"{name} needs one array as input, got x_spec {type(x_spec).__name__}: pass its number "
            "of features, or a jax.ShapeDtypeStruct"
        )
    check_floating(name, x_spec)
    return x_spec


def vector_spec(name: str, x_spec: Any) -> tuple[int, Any]:
    """Features and floating dtype of a vector input's spec; an int n means a float vector [n].

    Raises:
      TypeError: the spec is not floating, or not of one array.
      ValueError: the spec is not of one axis.
    """
    x_spec = array_spec(name, x_spec)
    if len(x_spec.shape) != 1:
        raise ValueError(f"{name} needs vectors as inputs, got shape {list(x_spec.shape)} a step")
    return x_spec.shape[0], x_spec.dtype


def vector(name: str, x: Array, w: Array) -> Array:
    """x [*B, D], checked against weights w [D, ...] and brought to their dtype.

    The parameters' dtype decides what a cell computes in, so that f32 inputs to bf16 parameters
    leave the state's dtype alone.

    Raises:
      TypeError: x is not floating.
      ValueError: x has another number of features than w expects.
    """
    check_floating(name, x)
    if x.shape[-1:] != w.shape[:1]:
        got = f"{x.shape[-1]} features" if x.ndim else "no feature axis"
        raise ValueError(f"{name}: xs has {got}, params expect {w.shape[0]}")
    return x.astype(w.dtype)


def rows(v: Array, x: Array) -> Array:
    """v [H] as a row beside x [*B, H]: said, so that programs may forbid rank promotion."""
    return jax.lax.broadcast_to_rank(v, x.ndim)


def check_floating(name: str, x: Any) -> None:
    """Raises TypeError unless x is one floating array."""
    if not hasattr(x, "dtype"):
        raise TypeError(f"{name} needs one array as input, got {type(x).__name__}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"{name} needs floating-point xs, got {x.dtype}: "
            "embed tokens with embed(vocabulary_size, size), or convert with xs.astype(float)"
        )


def flag(what: str, value: Any) -> bool:
    """`value`; raises TypeError unless it is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{what} must be True or False, got {value!r}")
    return value


def normalised(x: Array, gain: Array, *splits: int) -> Array:
    """γ ⊙ (x - mean) / √(var + 1e-6) over the last axis, or over each part of it: layer norm.

    Mean and variance are taken in float32 or better.
    """
    wide, parts = x.astype(at_least_float32(x.dtype)), []
    for part in jnp.split(wide, splits, axis=-1):
        centred = part - part.mean(-1, keepdims=True)
        parts.append(centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-6))
    return rows(gain, x) * jnp.concatenate(parts, axis=-1).astype(x.dtype)


def _per_feature(what: str, value: Any) -> float | tuple[float, ...]:
    try:
        numbers = np.asarray(value, float)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if numbers.ndim > 1 or not np.isfinite(numbers).all():
        raise ValueError(f"{what} must be a finite number, or one a feature, got {value!r}")
    return numbers.tolist() if numbers.ndim == 0 else tuple(numbers.tolist())


# A number for all features, or one for each, of which an array will do.
PerFeature = Annotated[float | tuple[float, ...], _per_feature]


def per_feature(name: str, numbers: float | tuple[float, ...], features: int, dtype: Any) -> Array:
    """The numbers as one array [features]."""
    if isinstance(numbers, tuple) and len(numbers) != features:
        raise ValueError(f"{name} was made for {len(numbers)} features, the inputs have {features}")
    return jnp.broadcast_to(jnp.asarray(numbers, dtype), features)


def antisymmetric_part(w: Array, gamma: float) -> Array:
    """w - wᵀ - γ I."""
    return w - w.T - gamma * jnp.eye(w.shape[0], dtype=w.dtype)


def complex_state(hidden_size: int) -> StateFn:
    """Complex zeros [*B, H], of float32 or better: there are none in half precision."""
    zeros = hidden_state(2 * hidden_size)

    def initial_state(
        params: Any, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> Array:
        return as_complex(zeros(params, batch_shape))

    return initial_state


def as_complex(parts: Array) -> Array:
    """[..., H] complex, of real parts beside imaginary parts [..., 2H]."""
    real, imag = jnp.split(parts.astype(at_least_float32(parts.dtype)), 2, axis=-1)
    return jax.lax.complex(real, imag)


def as_parts(numbers: Array, dtype: Any) -> Array:
    """[..., 2H], the real parts beside the imaginary parts of [..., H] complex."""
    return jnp.concatenate([numbers.real, numbers.imag], axis=-1).astype(dtype)


def input_weights(
    draw: Initializers, key: Array, inputs: int, hidden_size: int, gates: int, dtype: Any
) -> dict[str, Array]:
    """w_x and b of a cell without recurrent weights."""
    k_x, k_b = jax.random.split(key)
    return {
        "w_x": draw.input_weights(k_x, inputs, hidden_size, gates, dtype),
        "b": draw.bias(k_b, hidden_size, gates, dtype),
    }


def positive(a: Array) -> Array:
    """g(a) = a + 1/2 where a ≥ 0, else σ(a): continuous, increasing, above 0."""
    return jnp.where(a >= 0, a + 0.5, jax.nn.sigmoid(a))
