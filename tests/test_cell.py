"""Cells as values: equality, identity, pickling, factories, cells made by hand."""

import copy
import dataclasses
import functools
import gc
import pickle
import weakref

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CELLS

import rnnjax
from rnnjax._cell import as_spec


@pytest.mark.parametrize("name", CELLS)
def test_pickle_copy_and_deepcopy_give_the_same_cell(name):
    cell, _ = CELLS[name]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(cell, protocol)) is cell
    assert copy.copy(cell) is cell
    assert copy.deepcopy(cell) is cell


@pytest.mark.parametrize("name", CELLS)
def test_replace_gives_a_cell_that_is_no_longer_the_factorys(name):
    cell, _ = CELLS[name]
    same, other = dataclasses.replace(cell), dataclasses.replace(cell, name="other")
    assert cell not in (same, other)
    assert same == dataclasses.replace(same)
    assert hash(same) == hash(dataclasses.replace(same))
    assert same != other
    with pytest.raises(dataclasses.FrozenInstanceError):
        cell.name = "other"


def test_equal_calls_give_one_cell():
    assert (
        rnnjax.lstm(8)
        is rnnjax.lstm(hidden_size=8)
        is rnnjax.lstm(8, init="rnnjax")
        is rnnjax.lstm(np.int64(8))
    )
    assert rnnjax.gru(8) is rnnjax.gru(8, reset="after")
    assert rnnjax.dropout(0) is rnnjax.dropout(0.0)
    assert rnnjax.dropout(np.float64(0.5)) is rnnjax.dropout(0.5)
    assert rnnjax.layer_norm() is rnnjax.layer_norm(epsilon=1e-6)
    assert rnnjax.stack(rnnjax.lstm(8), rnnjax.linear(2)) is rnnjax.stack(
        rnnjax.lstm(hidden_size=8), rnnjax.linear(2)
    )
    assert rnnjax.elman(8, activation=jnp.sin) is rnnjax.elman(8, activation=jnp.sin)


def test_different_calls_give_different_cells():
    cells = [
        *(
            rnnjax.lstm(8),
            rnnjax.lstm(9),
            rnnjax.lstm(8, init="torch"),
            rnnjax.elman(8),
            rnnjax.gru(8),
        ),
        *(
            rnnjax.gru(8, reset="before"),
            rnnjax.elman(8, activation="relu"),
            rnnjax.linear(8),
            rnnjax.embed(8, 9),
        ),
        *(
            rnnjax.embed(9, 8),
            rnnjax.dropout(0.5),
            rnnjax.dropout(0.25),
            rnnjax.activation("tanh"),
            rnnjax.layer_norm(),
        ),
        *(
            rnnjax.activation("relu"),
            rnnjax.stack(rnnjax.lstm(8)),
            rnnjax.stack(rnnjax.lstm(8), rnnjax.lstm(8)),
        ),
    ]
    assert len(set(cells)) == len(cells)
    assert len({cell.name for cell in cells}) == len(cells) - 1  # init is not part of the name
    assert rnnjax.lstm(8) != "lstm(8)"


def test_a_program_keeps_only_the_cells_it_holds():
    cell = rnnjax.lstm(12345)
    gone = weakref.ref(cell)
    assert rnnjax.lstm(12345) is gone()
    del cell
    gc.collect()
    assert gone() is None


def test_names_say_the_call():
    assert rnnjax.lstm(8).name == "lstm(8)"
    assert rnnjax.gru(8, reset="before").name == "gru(8, before)"
    assert rnnjax.elman(8, activation="relu").name == "elman(8, relu)"
    assert rnnjax.stack(rnnjax.embed(5, 3), rnnjax.lstm(8)).name == "stack(embed(5, 3), lstm(8))"


# --- cells made by hand --------------------------------------------------------------------------


def _init(key, x_spec):
    return {"keep": jnp.asarray(0.5)}


def _initial_state(params, batch_shape=(), *, key=None):
    return jnp.zeros(batch_shape)


def _step(params, n, x):
    n = params["keep"] * n + x
    return n, n


by_hand = functools.partial(
    rnnjax.Cell, name="counter", init=_init, initial_state=_initial_state, step=_step, x_ndims=0
)


def test_cells_by_hand_are_equal_by_their_fields():
    assert by_hand() == by_hand()
    assert hash(by_hand()) == hash(by_hand())
    for change in ({"name": "other"}, {"fill": 1.0}, {"x_ndims": 1}, {"recurrent": ("keep",)}):
        assert by_hand(**change) != by_hand()
    tree = {"x_ndims": {"x": 1, "dt": 0}}
    assert by_hand(**tree) == by_hand(x_ndims={"dt": 0, "x": 1})
    assert hash(by_hand(**tree)) == hash(by_hand(x_ndims={"dt": 0, "x": 1}))
    assert by_hand(**tree) != by_hand(x_ndims={"x": 0, "dt": 1})


def test_a_cell_by_hand_pickles_when_its_functions_do():
    cell = by_hand()
    for again in (pickle.loads(pickle.dumps(cell)), copy.copy(cell), copy.deepcopy(cell)):
        assert again == cell
    closure = by_hand(step=lambda params, n, x: (n, n))
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(closure)


def test_a_cell_by_hand_runs_like_ours():
    cell = by_hand()
    params = cell.init(jax.random.key(0), jax.ShapeDtypeStruct((), float))
    xs = jnp.arange(1.0, 9.0).reshape(4, 2)
    state, ys = jax.jit(lambda cell, xs: rnnjax.unroll(cell, params, None, xs))(cell, xs)
    assert ys.tolist() == [[1, 2], [3.5, 5], [6.75, 8.5], [10.375, 12.25]]
    assert state.tolist() == ys[-1].tolist()
    model = rnnjax.stack(rnnjax.linear(1), rnnjax.activation(lambda x: x[..., 0]), cell)
    state, ys = rnnjax.unroll(
        model, model.init(jax.random.key(0), cases.D), None, jnp.ones((4, 2, 3))
    )
    assert ys.shape == (4, 2)


@pytest.mark.parametrize("x64", [False, True])
def test_a_spec_of_pythons_types_is_what_an_array_of_them_is(x64):
    with jax.enable_x64(x64):
        for dtype in (int, float, complex, bool, np.uint8, jnp.bfloat16):
            spec = as_spec((4, jax.ShapeDtypeStruct((2,), dtype)))[1]
            assert (spec.shape, spec.dtype) == ((2,), jnp.zeros(2, dtype).dtype)
        key = jax.random.key(0)
        assert as_spec(key).dtype == key.dtype


def test_a_dtype_is_the_spec_of_one_number_of_it():
    for leaf in (int, "int32", np.dtype("int32"), np.int32, jnp.int32, rnnjax.tokens()):
        spec = as_spec(leaf)
        assert (spec.shape, spec.dtype) == ((), jnp.int32)
    assert as_spec(np.int64(3)).shape == (3,)
    floats, tokens = as_spec((3, rnnjax.tokens()))
    assert (floats.shape, floats.dtype, tokens.dtype) == ((3,), jnp.float32, jnp.int32)


@pytest.mark.parametrize(("option", "hint"), [
    ({"forget_bias": 2.0}, r"init=PRESETS\[\"rnnjax\"\]._replace\(forget_bias=2.0\)"),
    ({"peephole": True}, "a cell of its own, not an option"),
    ({"layer_norm": True}, "layer_norm_lstm"),
    ({"num_layers": 2}, r"stack\(lstm\(256\), lstm\(256\)\)"),
    ({"wings": 2}, "unexpected keyword argument 'wings'$"),
    ({"init": jax.nn.initializers.orthogonal()}, r"pass rnnjax.Initializers\(w_h=...\)"),
])  # fmt: skip
def test_what_people_try_first_says_what_to_type(option, hint):
    with pytest.raises(TypeError, match=hint):
        rnnjax.lstm(8, **option)
    better = rnnjax.PRESETS["rnnjax"]._replace(forget_bias=2.0)
    assert rnnjax.lstm(8, init=better).init(jax.random.key(0), 3).b[8] == 2


# --- factories of users --------------------------------------------------------------------------


@rnnjax.cell_factory
def counter(keep: rnnjax.Rate, *, times: rnnjax.Size = 1) -> rnnjax.Cell:
    return by_hand(name=f"counter({keep}, {times})")


def test_cell_factory_serves_users_too():
    assert counter(0) is counter(0.0, times=np.int32(1))
    assert pickle.loads(pickle.dumps(counter(0.5))) is counter(0.5)
    assert counter(0.5) != by_hand(name="counter(0.5, 1)")
    with pytest.raises(ValueError, match=r"counter: keep must .*\[0, 1\), got 2"):
        counter(2)


def test_a_factory_may_return_one_cell_for_two_calls():
    @rnnjax.cell_factory
    def same(size: rnnjax.Size) -> rnnjax.Cell:
        return rnnjax.lstm(8)

    assert same(1) != same(2)
    assert same(1) != rnnjax.lstm(8)
