"""Floor 3: layers, for what needs the whole sequence at once.

A cell is enough wherever the future does not matter, and it streams. A `Layer` takes the sequence:
to run it in both directions, or to halve its time axis between layers.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, InitFn, Params, PyTree, State, as_spec
from rnnjax._check import checked_rows, require_cell, sequence_sizes
from rnnjax._combine._common import Inner
from rnnjax._combine._parts import Parts
from rnnjax._combine.parallel import Merge, merged
from rnnjax._factory import Recipe, Size, cell_factory
from rnnjax._noise import rekey
from rnnjax._unroll import select_rows, unroll, valid_steps


class ApplyFn(Protocol):
    """Runs a layer over a sequence."""

    def __call__(
        self,
        params: Params,
        xs: PyTree,
        *,
        state: State | None = None,
        lengths: Array | None = None,
        mask: Array | None = None,
        resets: Array | None = None,
        key: Array | None = None,
    ) -> tuple[State, PyTree]:
        """Arguments as in `rnnjax.unroll`; see `Layer`."""
        ...


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False)
class Layer(Recipe):
    """A function of a whole sequence, with parameters and a state.

    Like a Cell it is static, and layers made by equal calls are equal.

    Attributes:
      name: how errors and benchmark rows call it.
      init: `(key, x_spec) -> params`; `x_spec` describes one unbatched step, as for a Cell.
      apply: `(params, xs, *, state, lengths, mask, resets, key) -> (state, ys)`, time first.
        `state=None` is a fresh start. With a `key` noise is drawn from it, without one there is
        none.
      time_factor: how many input steps make one output step.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> encoder = rnnjax.serial(
      ...     rnnjax.bidirectional(rnnjax.lstm(8)), rnnjax.pyramid(), rnnjax.linear(4)
      ... )
      >>> params = encoder.init(jax.random.key(0), 3)
      >>> lengths = jnp.array([6, 5])
      >>> state, ys = encoder.apply(params, jnp.ones((6, 2, 3)), lengths=lengths)
      >>> print(ys.shape, encoder.output_lengths(lengths))
      (3, 2, 4) [3 3]
    """

    name: str
    init: InitFn
    apply: ApplyFn
    time_factor: int = 1

    def output_lengths(self, lengths: Array) -> Array:
        """The lengths of the outputs for inputs of these lengths: ⌈lengths / time_factor⌉."""
        # Not -(-lengths // factor), nor lengths + factor - 1: lengths may be of any integer dtype.
        factor = min(self.time_factor, jnp.iinfo(lengths.dtype).max)
        return lengths // factor + (lengths % factor > 0).astype(lengths.dtype)


def _cell_or_none(what: str, value: Any) -> Cell | None:
    return None if value is None else require_cell(what, value)


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
    return Layer(name=f"recurrent({cell.name})", init=cell.init, apply=_runner(cell))


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
    forward: Inner,
    backward: Annotated[Cell | None, _cell_or_none] = None,
    *,
    merge: Merge = "concat",
) -> Layer:
    """Runs one cell forwards and another backwards over the same sequence.

        →h_t = forward(→h_{t-1}, x_t)        t = 1 .. n
        ←h_t = backward(←h_{t+1}, x_t)       t = n .. 1
        y_t = [→h_t, ←h_t]                   merge="concat"

    Both directions respect lengths, masks and resets: the backward one starts at each row's last
    real step, and at the last step of each sequence that `resets` separates.

    Args:
      forward: the cell that runs forwards.
      backward: the cell that runs backwards; None for one equal to `forward`. Its parameters are
        its own in any case.
      merge: how the outputs meet: "concat" along the features, "sum", "mean", or "separate" for
        a `BidirectionalParams` of them.

    Returns:
      A Layer whose parameters and state are `BidirectionalParams`.

    Raises:
      TypeError: an argument is not a Cell.
      ValueError: `merge` is an unknown name.

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
    runs = _runner(forward), _runner(backward, reverse=True)

    def init(key: Array, x_spec: PyTree) -> BidirectionalParams:
        keys = parts.keys(key)
        return BidirectionalParams(
            *(cell.init(k, x_spec) for cell, k in zip(parts.parts, keys, strict=True))
        )

    def apply(
        params: BidirectionalParams,
        xs: PyTree,
        *,
        state: BidirectionalParams | None = None,
        key: Array | None = None,
        **rows: Array | None,
    ) -> tuple[BidirectionalParams, PyTree]:
        states = (None, None) if state is None else _pair("state", state)
        every = zip(runs, _pair("params", params), states, parts.keys(key), strict=True)
        each = [run(p, xs, state=s, key=k, **rows) for run, p, s, k in every]
        ys = merged(merge, parts, [y for _, y in each])
        ys = BidirectionalParams(**ys) if merge == "separate" else ys
        return BidirectionalParams(*(s for s, _ in each)), ys

    def _pair(what: str, value: Any) -> tuple[Any, Any]:
        if isinstance(value, tuple | list) and len(value) == 2:
            return tuple(value)
        got = f"{len(value)} of them" if isinstance(value, tuple | list) else type(value).__name__
        raise TypeError(f"{what} of {name} must be a BidirectionalParams, got {got}")

    return Layer(name=name, init=init, apply=apply)


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

    def apply(
        params: tuple[()],
        xs: Array,
        *,
        state: tuple[()] | None = None,
        lengths: Array | None = None,
        mask: Array | None = None,
        resets: Array | None = None,
        key: Array | None = None,
    ) -> tuple[tuple[()], Array]:
        if resets is not None:
            raise ValueError("pyramid cannot keep resets: give each sequence a row of its own")
        if not hasattr(xs, "shape") or len(xs.shape) < 2:
            got = list(xs.shape) if hasattr(xs, "shape") else type(xs).__name__
            raise ValueError(f"pyramid needs one array [T, *B, D] as xs, got {got}")
        time, batch = xs.shape[0], xs.shape[1:-1]
        lengths, mask, _ = checked_rows(lengths, mask, None, time, batch)
        valid = valid_steps(time, batch, lengths, mask)
        if valid is not None:
            xs = select_rows(valid, xs, jnp.zeros_like(xs))
        groups = jnp.moveaxis(_grouped(xs, factor), 1, -2)  # [T', *B, factor, D]
        return (), groups.reshape(*groups.shape[:-2], factor * xs.shape[-1])

    return Layer(
        name=f"pyramid({factor})",
        init=lambda key, x_spec: (),
        apply=apply,
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

    def apply(
        params: PyTree,
        xs: PyTree,
        *,
        state: PyTree | None = None,
        lengths: Array | None = None,
        mask: Array | None = None,
        resets: Array | None = None,
        key: Array | None = None,
    ) -> tuple[PyTree, PyTree]:
        params = parts.entries(f"params of {name}", params)
        states = [None] * len(params)
        states = states if state is None else parts.entries(f"state of {name}", state)
        lengths, mask = (None if a is None else jnp.asarray(a) for a in (lengths, mask))
        new = []
        for layer, p, s, k in zip(parts.parts, params, states, parts.keys(key), strict=True):
            s, xs = layer.apply(p, xs, state=s, lengths=lengths, mask=mask, resets=resets, key=k)
            new.append(s)
            lengths = None if lengths is None else layer.output_lengths(lengths)
            mask = None if mask is None else _grouped(mask, layer.time_factor).any(axis=1)
        return parts.tree(new), xs

    name = f"serial({parts})"
    factor = math.prod(layer.time_factor for layer in parts.parts)
    return Layer(name=name, init=init, apply=apply, time_factor=factor)


def output_spec(layer: Layer, params: Params, x_spec: PyTree) -> PyTree:
    """The spec of one unbatched output step, for inputs of this spec."""

    def with_time(x: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((layer.time_factor, *x.shape), x.dtype)

    _, ys = jax.eval_shape(layer.apply, params, jax.tree.map(with_time, as_spec(x_spec)))
    return jax.tree.map(lambda y: jax.ShapeDtypeStruct(y.shape[1:], y.dtype), ys)


def _runner(cell: Cell, *, reverse: bool = False) -> ApplyFn:
    """`unroll` of a cell as the `apply` of a layer."""

    def apply(
        params: Params,
        xs: PyTree,
        *,
        state: State | None = None,
        lengths: Array | None = None,
        mask: Array | None = None,
        resets: Array | None = None,
        key: Array | None = None,
    ) -> tuple[State, PyTree]:
        if key is not None and state is not None:
            state = rekey(cell, state, key)
        elif key is not None:
            _, batch = sequence_sizes(cell, params, None, xs, None, lengths, 0)
            state = cell.initial_state(params, batch, key=key)
        return unroll(
            cell, params, state, xs, lengths=lengths, mask=mask, resets=resets, reverse=reverse
        )

    return apply
