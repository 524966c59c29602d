"""Floor 2: what a layer is: a function of a whole sequence.

A cell is enough wherever the future does not matter, and it streams. A `Layer` takes the sequence:
to run it in both directions, or to halve its time axis between layers.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell, InitFn, Params, PyTree, State
from rnnjax._check import require_cell, sequence_sizes
from rnnjax._factory import Recipe, natural
from rnnjax._noise import is_key, rekey
from rnnjax._unroll import unroll, valid_steps


class LayerCall(NamedTuple):
    """What a layer is given beside its inputs; time first, as in `Layer.apply`.

    Attributes:
      lengths: integers [*B], or None.
      mask: bool [T, *B], or None.
      resets: bool [T, *B], or None.
      key: what noise is drawn from, or None for that of the state, if it has any.
      save: what is kept for the gradient, as in `rnnjax.unroll`.
      block: how many steps go through all stages together, as in `rnnjax.unroll`.
    """

    lengths: Array | None = None
    mask: Array | None = None
    resets: Array | None = None
    key: Array | None = None
    save: str = "auto"
    block: int | str | None = "auto"

    def valid(self, time: int) -> Array | None:
        """Which steps are real, [T, *B]; None for all."""
        return valid_steps(time, self.lengths, self.mask)


class RunFn(Protocol):
    """Runs a layer over a sequence [T, *B, ...]; a state of None is a fresh start."""

    def __call__(
        self, params: Params, state: State | None, xs: PyTree, call: LayerCall, /
    ) -> tuple[State, PyTree]: ...


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False)
class Layer(Recipe):
    """A function of a whole sequence, with parameters and a state.

    Like a Cell it is static, and layers made by equal calls are equal.

    Attributes:
      name: how errors and benchmark rows call it.
      init: `(key, x_spec) -> params`; `x_spec` describes one unbatched step, as for a Cell.
      run: `(params, state, xs, call) -> (state, ys)`, time first, `call` a `LayerCall`.
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
    run: RunFn
    time_factor: int = 1

    def apply(
        self,
        params: Params,
        xs: PyTree,
        *,
        state: State | None = None,
        lengths: Array | None = None,
        mask: Array | None = None,
        resets: Array | None = None,
        key: Array | None = None,
        time_axis: int = 0,
        save: str = "auto",
        block: int | str | None = "auto",
    ) -> tuple[State, PyTree]:
        """Runs the layer over a sequence.

        Args:
          params: its parameters.
          xs: the inputs [T, *B, ...].
          state: the state to begin with; None for a fresh start.
          lengths: as in `rnnjax.unroll`, and so `mask`, `resets`, `time_axis`, `save` and `block`.
          mask: as there.
          resets: as there.
          key: what noise is drawn from, also where a state is given, whose own keys it replaces.
            Without one a fresh start has none.
          time_axis: as there.
          save: as there.
          block: as there.

        Returns:
          (state after each row's last real step, ys).

        Raises:
          TypeError, ValueError: as in `rnnjax.unroll`; also where a key is given with a state of
            evaluation, whose tree has no room for it.
        """
        time_axis = natural("time_axis", time_axis)
        lengths, mask, resets = (
            None if a is None else jnp.asarray(a) for a in (lengths, mask, resets)
        )
        for leaf in jax.tree.leaves((xs, mask, resets)):
            shape = list(jnp.shape(leaf))
            if time_axis >= len(shape):
                raise ValueError(f"time_axis is {time_axis}, but an input is {shape}")

        def moved(tree: PyTree, source: int, target: int) -> PyTree:
            if time_axis == 0:
                return tree
            return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, source, target), tree)

        xs, mask, resets = moved((xs, mask, resets), time_axis, 0)
        state, ys = self.run(params, state, xs, LayerCall(lengths, mask, resets, key, save, block))
        return state, moved(ys, 0, time_axis)

    def output_lengths(self, lengths: Array) -> Array:
        """The lengths of the outputs for inputs of these lengths: ⌈lengths / time_factor⌉."""
        # Not -(-lengths // factor), nor lengths + factor - 1: lengths may be of any integer dtype.
        factor = min(self.time_factor, jnp.iinfo(lengths.dtype).max)
        return lengths // factor + (lengths % factor > 0).astype(lengths.dtype)


def runner(cell: Cell, *, reverse: bool = False) -> RunFn:
    """`unroll` of a cell as the `run` of a layer."""

    def run(
        params: Params, state: State | None, xs: PyTree, call: LayerCall
    ) -> tuple[State, PyTree]:
        key = call.key
        if key is not None and state is not None:
            if any(is_key(leaf) and leaf.shape[-1:] == (0,) for leaf in jax.tree.leaves(state)):
                raise ValueError(
                    f"a key for {cell.name}, but its state is one of evaluation, without keys: "
                    "begin with state=None, or with a state that was made with a key"
                )
            state = rekey(cell, state, key)
        elif key is not None:
            _, batch = sequence_sizes(cell, params, None, xs, None, call.lengths, 0)
            state = cell.initial_state(params, batch, key=key)
        return unroll(
            cell, params, state, xs, lengths=call.lengths, mask=call.mask, resets=call.resets,
            reverse=reverse, save=call.save, block=call.block,
        )  # fmt: skip

    return run


def either(what: str, value: Any) -> Cell | Layer:
    """The Cell or Layer; raises TypeError for anything else."""
    return value if isinstance(value, Layer) else require_cell(what, value)


Either = Annotated[Any, either]


def layer_of(value: Any) -> Layer:
    """A layer as it is, a cell as the layer that runs it forwards."""
    if isinstance(value, Layer):
        return value
    return Layer(name=f"recurrent({value.name})", init=value.init, run=runner(value))
