"""A decoder that looks at a memory after each step."""

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
from rnnjax.cells._common import check_floating, flag, vector_spec
from rnnjax.initializers import Init, preset


@cell_factory
def attend_after(
    cell: Inner,
    memory_size: Size,
    score: Scored,
    size: Size,
    *,
    feed: Annotated[bool, flag] = True,
    output: Annotated[Literal["vector", "weights"], one_of("vector", "weights")] = "vector",
    init: Init = "rnnjax",
) -> Cell:
    """Lets a cell look at a memory after each step, and feeds on what it found.

        s_t, h_t = cell(s_{t-1}, [x_t, h̃_{t-1}]),  h̃_0 = 0  with x_t alone where nothing is fed
        a_t = score(h_t, m)                                  shares of the places of the memory
        c_t = Σ_s a_{t,s} m_s
        y_t = h̃_t = tanh([c_t, h_t] W_c)

    The memory, such as an encoder's outputs, is held in the state: `rnnjax.attention.start` puts it
    there, as for `attend`. Without input feeding no step waits for what the last one read, so that
    all reading leaves the loop.

    Shapes: x_t [*B, D]; memory [*B, S, M] of any S; h_t [*B, H]; c_t [*B, V], V the score's or M;
    y_t [*B, size]; a_t [*B, N, S] for N heads.

    Args:
      cell: the cell, which takes vectors and declares `output_of`.
      memory_size: M.
      score: how places are compared, from `rnnjax.attention`, such as `general()`.
      size: the features of h̃.
      feed: whether h̃_{t-1} is fed to the cell.
      output: what y_t is: the "vector" h̃_t, or the "weights" a_t, for pictures.
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
      >>> decoder = rnnjax.attend_after(rnnjax.gru(4), 6, attention.general(), 5)
      >>> params = decoder.init(jax.random.key(0), 3)
      >>> state = attention.start(decoder, params, jnp.ones((7, 2, 6)))
      >>> state, ys = rnnjax.unroll(decoder, params, state, jnp.ones((9, 2, 3)))
      >>> ys.shape
      (9, 2, 5)

    Reference:
      Luong, Pham & Manning, Effective Approaches to Attention-based Neural Machine Translation,
      EMNLP 2015, arXiv:1508.04025.
    """
    shown = f"{', unfed' * (not feed)}{f', {output}' * (output != 'vector')}"
    name = f"attend_after({cell.name}, {memory_size}, {score.name}, {size}{shown})"
    reader, draw = Reader(name, cell, memory_size, score), preset(init)
    inner = require_output_of(name, cell)

    def init_params(key: Array, x_spec: Any) -> AttendParams:
        inputs, dtype = vector_spec(name, x_spec)
        k_cell, k_own, k_w = jax.random.split(key, 3)
        spec = jax.ShapeDtypeStruct((inputs + size * feed,), dtype)
        params = reader.init(draw, k_own, cell.init(k_cell, spec), dtype)
        features = reader.value_size + reader.query(params.cell).shape[0]
        return params._replace(w=draw.w(k_w, (features, size), dtype))

    def initial_state(
        params: AttendParams, batch_shape: tuple[int, ...] = (), *, key: Array | None = None
    ) -> AttendState:
        return reader.initial_state(params, batch_shape, key, size)

    def step(params: AttendParams, state: AttendState, x: Array) -> tuple[AttendState, Array]:
        check_floating(name, x)
        if feed:
            x = jnp.concatenate([x.astype(state.context.dtype), state.context], axis=-1)
        new, _ = cell.step(params.cell, state.cell, x)
        h = inner(new)
        carried, weights, context = reader.read(params, state, h)
        vector = jnp.tanh(jnp.concatenate([context, h], axis=-1) @ params.w)
        after = AttendState(new, vector, carried, state.memory)
        return after, weights if output == "weights" else vector

    return Cell(
        name=name,
        init=init_params,
        initial_state=initial_state,
        step=step,
        output_of=None if output == "weights" else lambda state: state.context,
        recurrent=under("cell", cell),
        fill=cell.fill,
    )
