"""Floor 3: layers, for what needs the whole sequence at once."""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, Params, PyTree, State, as_spec
from rnnjax._check import checked_rows
from rnnjax._combine._common import Inner
from rnnjax._combine._parts import Parts
from rnnjax._combine.parallel import Merge, merged
from rnnjax._factory import Size, cell_factory
from rnnjax._layer import Either, Layer, LayerCall, RunFn, either, layer_of, runner
from rnnjax._unroll import reversed_resets, select_rows, valid_steps
from rnnjax.sequences import reverse_sequences


def _either_or_none(what: str, value: Any) -> Cell | Layer | None:
    return None if value is None else either(what, value)


@cell_factory
def recurrent(cell: Inner) -> Layer:
    """Runs a cell forwards in time: `rnnjax.unroll` as a layer.

    Args:
      cell: the cell.

    Returns:
      A Layer with the cell's parameters and state.

    Raises:
      TypeError: `cell` is not a Cell.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> layer = rnnjax.recurrent(rnnjax.gru(4))
      >>> params = layer.init(jax.random.key(0), 3)
      >>> h, ys = layer.apply(params, jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 4)
    """
    return layer_of(cell)


class BidirectionalParams(NamedTuple):
    """Parameters of `bidirectional`, its states, or the outputs that it leaves separate.

    Attributes:
      forward: those of the cell that runs forwards in time.
      backward: those of the cell that runs backwards.
    """

    forward: Any
    backward: Any


@cell_factory
def bidirectional(
    forward: Either,
    backward: Annotated[Any, _either_or_none] = None,
    *,
    merge: Merge = "concat",
) -> Layer:
    """Runs one cell or layer forwards and another backwards over the same sequence.

        →h_t = forward(→h_{t-1}, x_t)        t = 1 .. n
        ←h_t = backward(←h_{t+1}, x_t)       t = n .. 1
        y_t = [→h_t, ←h_t]                   merge="concat"

    Both directions respect lengths, masks and resets: the backward one starts at each row's last
    real step, and at the last step of each sequence that `resets` separates.

    Args:
      forward: the cell or layer that runs forwards.
      backward: what runs backwards; None for one equal to `forward`. Its parameters are its own in
        any case. A layer is given each row's real part reversed.
      merge: how the outputs meet: "concat" along the features, "sum", "mean", or "separate" for
        a `BidirectionalParams` of them.

    Returns:
      A Layer whose parameters and state are `BidirectionalParams`.

    Raises:
      TypeError: an argument is neither a Cell nor a Layer.
      ValueError: `merge` is an unknown name, or a layer shortens the time axis: there is no telling
        which steps would meet.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> layer = rnnjax.bidirectional(rnnjax.gru(4))
      >>> params = layer.init(jax.random.key(0), 3)
      >>> state, ys = layer.apply(params, jnp.ones((5, 2, 3)), lengths=jnp.array([5, 2]))
      >>> ys.shape, state.backward.shape
      ((5, 2, 8), (2, 4))

    Reference:
      Schuster & Paliwal, Bidirectional Recurrent Neural Networks, IEEE Transactions on Signal
      Processing 45(11), 1997.
    """
    backward = forward if backward is None else backward
    name = f"bidirectional({', '.join(dict.fromkeys((forward.name, backward.name)))})"
    parts = Parts.of("bidirectional", (), {"forward": forward, "backward": backward})
    for part in parts.parts:
        if isinstance(part, Layer) and part.time_factor != 1:
            raise ValueError(
                f"{name}: {part.name} makes one step of {part.time_factor}, so the directions "
                "would not meet: put it above or below, in serial(...)"
            )
    runs = layer_of(forward).run, _backwards(backward)

    def init(key: Array, x_spec: PyTree) -> BidirectionalParams:
        keys = parts.keys(key)
        return BidirectionalParams(
            *(cell.init(k, x_spec) for cell, k in zip(parts.parts, keys, strict=True))
        )

    def run_both(
        params: BidirectionalParams, state: BidirectionalParams | None, xs: PyTree, call: LayerCall
    ) -> tuple[BidirectionalParams, PyTree]:
        states = (None, None) if state is None else _pair("state", state)
        every = zip(runs, _pair("params", params), states, parts.keys(call.key), strict=True)
        each = [run(p, s, xs, call._replace(key=k)) for run, p, s, k in every]
        ys = merged(merge, parts, [y for _, y in each])
        ys = BidirectionalParams(**ys) if merge == "separate" else ys
        return BidirectionalParams(*(s for s, _ in each)), ys

    def _pair(what: str, value: Any) -> tuple[Any, Any]:
        if isinstance(value, tuple | list) and len(value) == 2:
            return tuple(value)
        got = f"{len(value)} of them" if isinstance(value, tuple | list) else type(value).__name__
        raise TypeError(f"{what} of {name} must be a BidirectionalParams, got {got}")

    return Layer(name=name, init=init, run=run_both)


def _backwards(part: Cell | Layer) -> RunFn:
    """Runs a cell or layer from each row's last real step to its first."""
    if isinstance(part, Cell):
        return runner(part, reverse=True)

    def run(
        params: Params, state: State | None, xs: PyTree, call: LayerCall
    ) -> tuple[State, PyTree]:
        time = jax.tree.leaves(xs)[0].shape[0]
        lengths, resets = call.lengths, call.resets
        if resets is not None:
            valid = call.valid(time)
            resets = reversed_resets(resets if valid is None else resets & valid, valid)

        def flip(leaf: Array) -> Array:
            return jnp.flip(leaf, 0) if lengths is None else reverse_sequences(leaf, lengths)

        xs, mask, resets = jax.tree.map(flip, (xs, call.mask, resets))
        state, ys = part.run(params, state, xs, call._replace(mask=mask, resets=resets))
        return state, jax.tree.map(flip, ys)

    return run


@cell_factory
def pyramid(factor: Size = 2) -> Layer:
    """Joins each `factor` consecutive steps into one: [T, *B, D] to [⌈T/factor⌉, *B, factor D].

        y_t = [x_{2t}, x_{2t+1}]

    What lies beyond a row's length, or beyond T, is joined as zeros. An output step is real when
    one of its input steps is. Between bidirectional layers it makes the listener of
    Listen, Attend and Spell.

    Args:
      factor: how many steps become one.

    Returns:
      A Layer with the parameters () and the state (), and this `time_factor`.

    Raises:
      TypeError: `factor` is not an int.
      ValueError: `factor` is below 1. When applied: `resets` is given, since a reset inside a
        group has no meaning.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> _, ys = rnnjax.pyramid().apply((), jnp.arange(5.0)[:, None])
      >>> print(ys)
      [[0. 1.]
       [2. 3.]
       [4. 0.]]

    Reference:
      Chan, Jaitly, Le & Vinyals, Listen, Attend and Spell, ICASSP 2016, arXiv:1508.01211.
    """

    def run(params: tuple[()], state: Any, xs: Array, call: LayerCall) -> tuple[tuple[()], Array]:
        if call.resets is not None:
            raise ValueError("pyramid cannot keep resets: give each sequence a row of its own")
        if not hasattr(xs, "shape") or len(xs.shape) < 2:
            got = list(xs.shape) if hasattr(xs, "shape") else type(xs).__name__
            raise ValueError(f"pyramid needs one array [T, *B, D] as xs, got {got}")
        time, batch = xs.shape[0], xs.shape[1:-1]
        lengths, mask, _ = checked_rows(call.lengths, call.mask, None, time, batch)
        valid = valid_steps(time, lengths, mask)
        if valid is not None:
            xs = select_rows(valid, xs, jnp.zeros_like(xs))
        groups = jnp.moveaxis(_grouped(xs, factor), 1, -2)  # [T', *B, factor, D]
        return (), groups.reshape(*groups.shape[:-2], factor * xs.shape[-1])

    return Layer(
        name=f"pyramid({factor})",
        init=lambda key, x_spec: (),
        run=run,
        time_factor=factor,
    )


def _grouped(xs: Array, factor: int) -> Array:
    """[T, ...] to [⌈T/factor⌉, factor, ...], the last group filled with zeros."""
    padding = [(0, -xs.shape[0] % factor), *((0, 0) for _ in xs.shape[1:])]
    return jnp.pad(xs, padding).reshape(-(-xs.shape[0] // factor), factor, *xs.shape[1:])


def _layers(what: str, value: Any) -> Any:
    """The layers of `*layers` or `**layers`, cells among them lifted."""

    def lifted(name: int | str, layer: Any) -> Layer:
        if not isinstance(layer, Cell | Layer):
            raise TypeError(f"{what}[{name}] must be a Layer or a Cell, got {layer!r}")
        return recurrent(layer) if isinstance(layer, Cell) else layer

    if isinstance(value, dict):
        return {name: lifted(name, layer) for name, layer in value.items()}
    return tuple(lifted(i, layer) for i, layer in enumerate(value))


Layers = Annotated[Any, _layers]  # of `*layers` and `**named`


@cell_factory
def serial(*layers: Layers, **named: Layers) -> Layer:
    """Feeds each layer's whole output sequence to the next.

    Lengths and masks follow through layers which shorten the time axis.

    Args:
      *layers: Layers, or Cells, which run forwards in time.
      **named: the same by names of your choice, instead; as in `stack`.

    Returns:
      A Layer whose parameters and state are dicts by the names of the layers, or tuples where they
      have none.

    Raises:
      TypeError: an argument is neither a Layer nor a Cell, or some have names and some have not.
      ValueError: there is no layer.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> deep = rnnjax.serial(*[rnnjax.bidirectional(rnnjax.lstm(8))] * 2, rnnjax.linear(5))
      >>> params = deep.init(jax.random.key(0), 3)
      >>> state, ys = deep.apply(params, jnp.ones((7, 2, 3)), lengths=jnp.array([7, 0]))
      >>> ys.shape, state[1].forward.h.shape
      ((7, 2, 5), (2, 8))
    """
    parts = Parts.of("serial", layers, named)

    def init(key: Array, x_spec: PyTree) -> PyTree:
        params, x_spec = [], as_spec(x_spec)
        for layer, k in zip(parts.parts, parts.keys(key), strict=True):
            params.append(layer.init(k, x_spec))
            x_spec = output_spec(layer, params[-1], x_spec)
        return parts.tree(params)

    def run(
        params: PyTree, state: PyTree | None, xs: PyTree, call: LayerCall
    ) -> tuple[PyTree, PyTree]:
        params = parts.entries(f"params of {name}", params)
        states = [None] * len(params)
        states = states if state is None else parts.entries(f"state of {name}", state)
        if call.mask is not None:  # with the lengths: both must allow a step
            call = call._replace(mask=call.valid(call.mask.shape[0]))
        new = []
        for layer, p, s, k in zip(parts.parts, params, states, parts.keys(call.key), strict=True):
            s, xs = layer.run(p, s, xs, call._replace(key=k))
            new.append(s)
            if call.mask is not None:
                call = call._replace(mask=_grouped(call.mask, layer.time_factor).any(axis=1))
            if call.lengths is not None:
                call = call._replace(lengths=layer.output_lengths(call.lengths))
        return parts.tree(new), xs

    name = f"serial({parts})"
    factor = math.prod(layer.time_factor for layer in parts.parts)
    return Layer(name=name, init=init, run=run, time_factor=factor)


def output_spec(layer: Layer, params: Params, x_spec: PyTree) -> PyTree:
    """The spec of one unbatched output step, for inputs of this spec."""

    def with_time(x: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((layer.time_factor, *x.shape), x.dtype)

    _, ys = jax.eval_shape(layer.apply, params, jax.tree.map(with_time, as_spec(x_spec)))
    return jax.tree.map(lambda y: jax.ShapeDtypeStruct(y.shape[1:], y.dtype), ys)
