"""States as vectors: what is in them, and what stays outside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_bitwise

import rnnjax
from rnnjax import attention
from rnnjax.diagnostics import as_vector, gradient_flow, step_jacobian

H, D, B = 3, 2, 4


def dict_cell():
    """A user's own, with a dict of leaves of several dtypes, and a step counter."""

    def begin(params, batch=(), *, key=None):
        return {
            "h": jnp.zeros((*batch, 2), float),
            "count": jnp.zeros(batch, jnp.int32),
            "slow": jnp.zeros((*batch, 2, 2), jnp.float16),
            "wave": jnp.zeros((*batch, 2), complex),
        }

    def step(params, state, x):
        h = jnp.tanh(params["w"] * state["h"] + x)
        wave = 0.5j * state["wave"] + jax.lax.complex(h, 0 * h)
        return {**state, "h": h, "count": state["count"] + 1, "wave": wave}, h

    return rnnjax.Cell(
        name="mine",
        init=lambda key, x_spec: {"w": jnp.full(2, 0.5)},
        initial_state=begin,
        step=step,
    )


CELLS = {
    "stack": (rnnjax.stack(low=rnnjax.lstm(H), high=rnnjax.gru(H)), 3 * H),
    "noise": (rnnjax.recurrent_dropout(rnnjax.gru(H), 0.5), H),
    "counter": (rnnjax.clockwork(4), 4),
    "attention": (rnnjax.attend(rnnjax.lstm(H), D, attention.additive(2)), 2 * H + D),
    "complex": (rnnjax.lru(H), 2 * H),
    "dict": (dict_cell(), 2 + 4 + 4),
}

# What costs most to compile, and shows least that the others do not, is for the slow tests.
SOME = [pytest.param(n, marks=pytest.mark.slow) if n in ("stack", "counter") else n for n in CELLS]


def reached(name, batch=(B,)):
    """(cell, params, a state with random numbers)."""
    cell, _ = CELLS[name]
    params = cell.init(jax.random.key(0), D)
    if name == "attention":
        memory = np.random.default_rng(1).standard_normal((5, *batch, D))
        state = attention.start(cell, params, jnp.asarray(memory, float))
    else:
        state = cell.initial_state(params, batch, key=jax.random.key(1))
    return cell, params, state


@pytest.mark.parametrize("name", CELLS)
def test_a_vector_and_back_is_the_state_itself(name):
    cell, params, state = reached(name)
    v, restore, names = as_vector(cell, params, state)
    assert v.shape == (B, CELLS[name][1]) == (B, len(names))
    assert len(set(names)) == len(names)
    new = np.random.default_rng(0).standard_normal(v.shape).astype(np.float16).astype(v.dtype)
    changed = restore(jnp.asarray(new))
    np.testing.assert_array_equal(as_vector(cell, params, changed)[0], new)
    assert jax.tree.structure(changed) == jax.tree.structure(state)
    for old, leaf in zip(jax.tree.leaves(state), jax.tree.leaves(changed), strict=True):
        assert (old.dtype, old.shape) == (leaf.dtype, leaf.shape)
    assert_bitwise(restore(v), state)


def test_names_say_which_number_is_which():
    cell, params, state = reached("dict", ())
    state["h"], state["wave"] = jnp.float32([1, 2]), jnp.complex64([3 + 4j, 5 + 6j])
    v, _, names = as_vector(cell, params, state, ["h", "wave"])
    assert dict(zip(names, v.tolist(), strict=True)) == {
        "h[0]": 1, "h[1]": 2, "wave[0].real": 3, "wave[1].real": 5, "wave[0].imag": 4,
        "wave[1].imag": 6,
    }  # fmt: skip


def test_what_is_selected_is_taken_and_the_rest_stays():
    cell, params, state = reached("stack")
    for select in ("low.c", ["low.c"], lambda path, leaf: path == "low.c"):
        v, restore, names = as_vector(cell, params, state, select)
        assert names == [f"low.c[{n}]" for n in range(H)]
        changed = restore(v + 1)
        np.testing.assert_array_equal(changed["low"].c, state["low"].c + 1)
        assert_bitwise((changed["low"].h, changed["high"]), (state["low"].h, state["high"]))


def test_a_state_without_numbers_says_what_to_select():
    cell = rnnjax.stack(embed=rnnjax.embed(5, H), rnn=rnnjax.gru(H))
    params = cell.init(jax.random.key(0), rnnjax.tokens())
    state = cell.initial_state(params, (B,))
    with pytest.raises(ValueError, match=r"select: embed has no real .* rnn \(float32\)"):
        as_vector(cell, params, state, ["embed", "rnn"])
    with pytest.raises(ValueError, match="what select takes has no real"):
        as_vector(cell, params, state, lambda path, leaf: False)
    with pytest.raises(ValueError, match=r"the state of linear.* leaves .* are none: let select"):
        gradient_flow(rnnjax.linear(2), rnnjax.linear(2).init(jax.random.key(0), D), None,
                      jnp.ones((3, D)), jnp.sum)  # fmt: skip
    mine, own, begin = reached("dict")
    with pytest.raises(ValueError, match=r"select: count has no real .* count \(int32\)"):
        step_jacobian(mine, own, begin, jnp.ones((B, D)), select="count")
    with pytest.raises(ValueError, match="has 1 leaves, got 2"):
        as_vector(rnnjax.gru(H), params["rnn"], rnnjax.LSTMState(state["rnn"], state["rnn"]))
    with pytest.raises(TypeError, match="must be a Cell"):
        as_vector(rnnjax.gru, params["rnn"], state["rnn"])
    with pytest.raises(ValueError, match="disagree on the batch axes"):
        as_vector(mine, own, {**begin, "count": jnp.int32(0)})
