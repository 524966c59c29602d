"""The contenders: one recurrent layer in each library, all with the same weights.

A peer is two functions. `pack` turns canonical weights (rnnjax's: input-major, gates i f g o or
r z n) into the library's own parameters; it is differentiable, so gradients can be compared in
canonical form. `run` maps (parameters, xs [T, B, D]) to ys [T, B, H] from a zero state, the way
the library's documentation does it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Weights(NamedTuple):
    """Canonical weights of one layer.

    Attributes:
      w_x: [D, G H].
      w_h: [H, G H].
      b: [G H].
      b_n: [H], the candidate's recurrent bias of a GRU, else None.
    """

    w_x: Any
    w_h: Any
    b: Any
    b_n: Any


class Peer(NamedTuple):
    """See the module."""

    pack: Callable[[Weights], Any]
    run: Callable[[Any, Any], Any]


GATES = {"elman": 1, "lstm": 4, "gru": 3}


def draw_weights(kind: str, inputs: int, units: int, seed: int) -> Weights:
    """Random canonical weights, the same in every process."""
    rng, gates = np.random.default_rng(seed), GATES[kind]
    scale = 1 / np.sqrt(units)

    def draw(*shape: int) -> np.ndarray:
        return rng.uniform(-scale, scale, shape).astype(np.float32)

    # One library has no candidate's recurrent bias (Flax nnx), so it is zero for all.
    b_n = np.zeros(units, np.float32) if kind == "gru" else None
    return Weights(
        draw(inputs, gates * units), draw(units, gates * units), draw(gates * units), b_n
    )


def rnnjax_peer(kind: str, inputs: int, units: int) -> Peer:
    """`rnnjax.unroll`."""
    import rnnjax

    cell = getattr(rnnjax, kind)(units)

    def run(params: Any, xs: Any) -> Any:
        return rnnjax.unroll(cell, params, None, xs)[1]

    return Peer(functools.partial(_rnnjax_params, kind), run)


def scan_peer(kind: str, inputs: int, units: int) -> Peer:
    """The same step in a plain `jax.lax.scan`."""
    import jax

    import rnnjax

    cell = getattr(rnnjax, kind)(units)

    def run(params: Any, xs: Any) -> Any:
        state = cell.initial_state(params, xs.shape[1:-1])
        return jax.lax.scan(functools.partial(cell.step, params), state, xs)[1]

    return Peer(functools.partial(_rnnjax_params, kind), run)


def _rnnjax_params(kind: str, weights: Weights) -> Any:
    import rnnjax

    if kind == "gru":
        return rnnjax.GRUParams(*weights)
    return (rnnjax.LSTMParams if kind == "lstm" else rnnjax.ElmanParams)(*weights[:3])


def flax_linen(kind: str, inputs: int, units: int) -> Peer:
    """`flax.linen.RNN` over the fastest cell of its kind."""
    import flax.linen as nn

    cell = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell, "elman": nn.SimpleCell}[kind]
    module = nn.RNN(cell(units), time_major=True)

    def pack(weights: Weights) -> Any:
        w_x, w_h, b = _split(weights)
        if kind == "elman":
            layers = {"i": {"kernel": w_x[0], "bias": b[0]}, "h": {"kernel": w_h[0]}}
        elif kind == "lstm":
            layers = {f"i{g}": {"kernel": w} for g, w in zip("ifgo", w_x, strict=True)}
            for g, w, bias in zip("ifgo", w_h, b, strict=True):
                layers[f"h{g}"] = {"kernel": w, "bias": bias}
        else:
            layers = {
                f"i{g}": {"kernel": w, "bias": bias}
                for g, w, bias in zip("rzn", w_x, b, strict=True)
            }
            layers |= {f"h{g}": {"kernel": w} for g, w in zip("rzn", w_h, strict=True)}
            layers["hn"]["bias"] = weights.b_n
        return {"params": {"cell": layers}}

    return Peer(pack, module.apply)


def flax_nnx(kind: str, inputs: int, units: int) -> Peer:
    """`flax.nnx.RNN` over the fastest cell of its kind."""
    import jax.numpy as jnp
    from flax import nnx

    cell = {"lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell, "elman": nnx.SimpleCell}[kind]
    rngs = nnx.Rngs(0)
    module = nnx.RNN(cell(inputs, units, rngs=rngs), time_major=True, rngs=rngs)
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    biased = "dense_h" if kind == "lstm" else "dense_i"

    def pack(weights: Weights) -> Any:
        values = {
            ("cell", "dense_i", "kernel"): weights.w_x,
            ("cell", "dense_h", "kernel"): weights.w_h,
            ("cell", biased, "bias"): weights.b,
        }
        flat = {path: leaf.replace(values[path]) for path, leaf in params.flat_state()}
        return nnx.State.from_flat_path(flat)

    def run(params: Any, xs: Any) -> Any:
        zero = jnp.zeros((xs.shape[1], units), xs.dtype)
        carry = (zero, zero) if kind == "lstm" else zero
        return nnx.merge(graph, params, rest)(xs, initial_carry=carry)

    return Peer(pack, run)


def haiku(kind: str, inputs: int, units: int) -> Peer:
    """`haiku.dynamic_unroll`; its GRU and its vanilla RNN are other functions than ours."""
    import haiku as hk
    import jax.numpy as jnp

    if kind != "lstm":
        raise NotImplementedError("Haiku's GRU resets before the product, its VanillaRNN is ReLU")

    def forward(xs: Any) -> Any:
        core = hk.LSTM(units)
        return hk.dynamic_unroll(core, xs, core.initial_state(xs.shape[1]))[0]

    transformed = hk.without_apply_rng(hk.transform(forward))

    def pack(weights: Weights) -> Any:
        (x_i, x_f, x_g, x_o), (h_i, h_f, h_g, h_o), (b_i, b_f, b_g, b_o) = _split(weights)
        w_x = jnp.concatenate([x_i, x_g, x_f, x_o], axis=1)
        w_h = jnp.concatenate([h_i, h_g, h_f, h_o], axis=1)
        # Haiku adds 1 to the forget bias at run time.
        b = jnp.concatenate([b_i, b_g, b_f - 1, b_o])
        return {"lstm/linear": {"w": jnp.concatenate([w_x, w_h]), "b": b}}

    return Peer(pack, transformed.apply)


def equinox(kind: str, inputs: int, units: int) -> Peer:
    """An Equinox cell under `vmap` in `lax.scan`, as in its documentation."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    if kind == "elman":
        raise NotImplementedError("Equinox has no Elman cell")
    make = eqx.nn.LSTMCell if kind == "lstm" else eqx.nn.GRUCell
    cell = make(inputs, units, key=jax.random.key(0))

    def pack(weights: Weights) -> Any:
        names = ("weight_ih", "weight_hh", "bias", *(["bias_n"] if kind == "gru" else []))
        values = (weights.w_x.T, weights.w_h.T, weights.b, weights.b_n)[: len(names)]
        return eqx.tree_at(lambda c: [getattr(c, n) for n in names], cell, list(values))

    def run(params: Any, xs: Any) -> Any:
        zero = jnp.zeros((xs.shape[1], units), xs.dtype)

        def step(state: Any, x: Any) -> tuple[Any, Any]:
            state = jax.vmap(params)(x, state)
            return state, state[0] if kind == "lstm" else state

        return jax.lax.scan(step, (zero, zero) if kind == "lstm" else zero, xs)[1]

    return Peer(pack, run)


def keras(kind: str, inputs: int, units: int) -> Peer:
    """A Keras layer on its JAX backend, called without state."""
    import os

    os.environ["KERAS_BACKEND"] = "jax"
    import jax.numpy as jnp
    import keras as k

    make = {"lstm": k.layers.LSTM, "gru": k.layers.GRU, "elman": k.layers.SimpleRNN}[kind]
    layer = make(units, return_sequences=True)
    layer.build((None, None, inputs))

    def pack(weights: Weights) -> Any:
        if kind != "gru":
            return list(weights[:3])
        (x_r, x_z, x_n), (h_r, h_z, h_n), (b_r, b_z, b_n) = _split(weights)
        bias = jnp.stack(
            [
                jnp.concatenate([b_z, b_r, b_n]),
                jnp.concatenate([jnp.zeros(2 * units, b_n.dtype), weights.b_n]),
            ]
        )
        return [
            jnp.concatenate([x_z, x_r, x_n], axis=1),
            jnp.concatenate([h_z, h_r, h_n], axis=1),
            bias,
        ]

    def run(params: Any, xs: Any) -> Any:
        rest = [v.value for v in layer.non_trainable_variables]
        ys, _ = layer.stateless_call(params, rest, xs.swapaxes(0, 1))
        return ys.swapaxes(0, 1)

    return Peer(pack, run)


JAX_PEERS = {
    "rnnjax": rnnjax_peer,
    "lax.scan": scan_peer,
    "flax.linen": flax_linen,
    "flax.nnx": flax_nnx,
    "haiku": haiku,
    "equinox": equinox,
    "keras": keras,
}


def in_scan(make: Callable[[str, int, int], Peer]) -> Callable[[str, int, int], Peer]:
    """A library's own cell, its step run by `rnnjax.scan`."""

    def of(kind: str, inputs: int, units: int) -> Peer:
        import jax.numpy as jnp

        import rnnjax

        step = {flax_linen: _linen_step, haiku: _haiku_step, equinox: _equinox_step}[make]
        advance = step(kind, units)

        def run(params: Any, xs: Any) -> Any:
            zero = jnp.zeros((xs.shape[1], units), xs.dtype)
            return rnnjax.scan(advance, params, (zero, zero), xs)[1]

        return Peer(make(kind, inputs, units).pack, run)

    return of


def _linen_step(kind: str, units: int) -> Any:
    import flax.linen as nn

    cell = nn.OptimizedLSTMCell(units)
    return lambda params, state, x: cell.apply({"params": params["params"]["cell"]}, state, x)


def _haiku_step(kind: str, units: int) -> Any:
    import haiku as hk

    def forward(state: Any, x: Any) -> Any:
        y, state = hk.LSTM(units)(x, hk.LSTMState(*state))
        return tuple(state), y

    return hk.without_apply_rng(hk.transform(forward)).apply


def _equinox_step(kind: str, units: int) -> Any:
    import jax

    def step(cell: Any, state: Any, x: Any) -> Any:
        state = jax.vmap(cell)(x, state)
        return state, state[0]

    return step


THIRD_PARTY = {"flax.linen": flax_linen, "haiku": haiku, "equinox": equinox}
THIRD_PARTY |= {f"rnnjax.scan, {name}": in_scan(make) for name, make in THIRD_PARTY.items()}


def torch_module(kind: str, weights: list[Weights]) -> Any:
    """`torch.nn.LSTM`, `GRU` or `RNN` with these weights, one layer for each."""
    import torch

    make = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "elman": torch.nn.RNN}[kind]
    inputs, units = weights[0].w_x.shape[0], weights[0].w_h.shape[0]
    module = make(inputs, units, num_layers=len(weights))
    with torch.no_grad():
        for i, w in enumerate(weights):
            getattr(module, f"weight_ih_l{i}").copy_(torch.from_numpy(w.w_x.T.copy()))
            getattr(module, f"weight_hh_l{i}").copy_(torch.from_numpy(w.w_h.T.copy()))
            getattr(module, f"bias_ih_l{i}").copy_(torch.from_numpy(w.b.copy()))
            getattr(module, f"bias_hh_l{i}").zero_()
            if w.b_n is not None:
                getattr(module, f"bias_hh_l{i}")[2 * units :] = torch.from_numpy(w.b_n)
    return module


def _split(weights: Weights) -> tuple[list[Any], list[Any], list[Any]]:
    """w_x, w_h and b, each as one array a gate."""
    import jax.numpy as jnp

    gates = weights.w_h.shape[1] // weights.w_h.shape[0]
    return tuple(jnp.split(a, gates, axis=-1) for a in weights[:3])
