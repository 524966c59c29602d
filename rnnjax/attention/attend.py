"""A decoder that looks at a memory before each step."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp

from rnnjax._cell import Array, Cell
from rnnjax._combine._common import Inner, require_output_of
from rnnjax._combine._weights import under
from rnnjax._factory import Size, cell_factory, one_of
from rnnjax.attention._common import AttendParams, AttendState, Reader
from rnnjax.attention._score import Scored
from rnnjax.cells._common import check_floating, vector_spec
from rnnjax.initializers import Init, preset


@cell_factory
def attend(
    cell: Inner,
    memory_size: Size,
    score: Scored,
    *,
    output: Annotated[Literal["both", "cell", "weights"], one_of("both", "cell", "weights")] = (
        "both"
    ),
    init: Init = "rnnjax",
) -> Cell:
    """Lets a cell look at a memory before each step.

        a_t = score(h_{t-1}, m)                              shares of the places of the memory
        c_t = Σ_s a_{t,s} m_s
        s_t, h_t = cell(s_{t-1}, [x_t, c_t])
        y_t = [h_t, c_t]

    where h_{t-1} is the cell's `output_of` the state s_{t-1}, the first one too. The memory, such
    as an encoder's outputs, is held in the state: `rnnjax.attention.start` puts it there, with
    its length in each row, and makes its keys, once. What stands at its padding never matters, and
    of a memory of no places c_t is 0.

    Shapes: x_t [*B, D]; memory [*B, S, M] of any S; h_t [*B, H]; c_t [*B, V], V the score's or M;
    a_t [*B, N, S] for N heads.

    Args:
      cell: the cell, which takes vectors and declares `output_of`.
      memory_size: M.
      score: how places are compared, from `rnnjax.attention`, such as `additive(128)`.
      output: what y_t is: "both", h_t of the "cell" alone, or the "weights" a_t, for pictures.
      init: an `Initializers` or a preset: "rnnjax", "flax", "torch", "keras".

    Returns:
      A Cell with `AttendParams` and `AttendState`.

    Raises:
      TypeError: an argument is of the wrong type, or `cell` declares no `output_of`.
      ValueError: a size is below 1, or a name is unknown; or, at init, the sizes do not fit the
        score.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax import attention
      >>> decoder = rnnjax.attend(rnnjax.gru(4), 6, attention.additive(8))
      >>> params = decoder.init(jax.random.key(0), 3)
      >>> encoded = jnp.ones((7, 2, 6))  # [S, B, M], as an encoder's outputs
      >>> state = attention.start(decoder, params, encoded, lengths=jnp.array([7, 4]))
      >>> state, ys = rnnjax.unroll(decoder, params, state, jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 10)

      What it looked at, from the same parameters:

      >>> shown = rnnjax.attend(rnnjax.gru(4), 6, attention.additive(8), output="weights")
      >>> _, weights = rnnjax.unroll(shown, params, state, jnp.ones((5, 2, 3)))
      >>> weights.shape, bool((weights[:, 1, 0, 4:] == 0).all())
      ((5, 2, 1, 7), True)

    Reference:
      Bahdanau, Cho & Bengio, Neural Machine Translation by Jointly Learning to Align and
      Translate, ICLR 2015, arXiv:1409.0473.
    """
    shown = f", {output}" * (output != "both")
    name = f"attend({cell.name}, {memory_size}, {score.name}{shown})"
    reader, draw = Reader(name, cell, memory_size, score), preset(init)
    inner = require_output_of(name, cell)

    def init_params(key: Array, x_spec: Any) -> AttendParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_cell, k_own = jax.random.split(key)
        spec = jax.ShapeDtypeStruct((inputs + reader.value_size,), dtype)
        return reader.init(draw, k_own, cell.init(k_cell, spec), dtype)

    def initial_state(
        params: AttendParams, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> AttendState:
        return reader.initial_state(params, batch_shape, key, reader.value_size)

    def step(params: AttendParams, state: AttendState, x: Array) -> tuple[AttendState, Array]:
        check_floating(name, x)
        carried, weights, context = reader.read(params, state, inner(state.cell))
        joined = jnp.concatenate([x.astype(context.dtype), context], axis=-1)
        new, _ = cell.step(params.cell, state.cell, joined)
        after = AttendState(new, context, carried, state.memory)
        return after, weights if output_of is None else output_of(after)

    def both(state: AttendState) -> Array:
        return jnp.concatenate([inner(state.cell), state.context], axis=-1)

    output_of = {"both": both, "cell": lambda state: inner(state.cell), "weights": None}[output]
    return Cell(
        name=name,
        init=init_params,
        initial_state=initial_state,
        step=step,
        output_of=output_of,
        recurrent=under("cell", cell),
        fill=cell.fill,
    )
