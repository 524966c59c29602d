"""What leaves the loop: masks that do not change, weights that are cast or made orthogonal."""

import jax
import jax.numpy as jnp
import pytest
from oracles import assert_close

import rnnjax

D, H, T, B = 6, 8, 5, 2
KEY = jax.random.key(0)
XS = jax.random.normal(KEY, (T, B, D))


def loops(jaxpr, inside=False):
    """The equations of the bodies of all scans of a jaxpr."""
    for eqn in jaxpr.eqns:
        if inside:
            yield eqn
        for inner in jax.extend.core.jaxprs_in_params(eqn.params):
            yield from loops(inner, inside or eqn.primitive.name == "scan")


def executed(cell, key=KEY, xs=XS, **options):
    params = cell.init(KEY, D)
    state = cell.initial_state(params, (B,), key=key)
    run = jax.make_jaxpr(lambda *a: rnnjax.unroll(cell, *a, **options))
    return list(loops(run(params, state, xs).jaxpr))


def kinds(cell, key=KEY):
    params = cell.init(KEY, D)
    state = cell.initial_state(params, (B,), key=key)
    return rnnjax.plan(cell.step, params, state, XS).components


RANDOM = {"random_bits", "threefry2x32", "random_fold_in", "random_wrap"}


@pytest.mark.parametrize(
    "cell",
    [
        rnnjax.input_dropout(rnnjax.lstm(H), 0.5, variational=True),
        rnnjax.recurrent_dropout(rnnjax.lstm(H), 0.5, variational=True),
        rnnjax.recurrent_dropout(rnnjax.gru(H, reset="before"), 0.5, variational=True),
        rnnjax.weight_drop(rnnjax.lstm(H), 0.5),
    ],
    ids=lambda cell: cell.name,
)
@pytest.mark.parametrize("options", [{}, {"lengths": jnp.array([T, 3])}], ids=["", "lengths"])
def test_masks_of_a_sequence_are_drawn_outside_the_loop(cell, options):
    inside = {eqn.primitive.name for eqn in executed(cell, **options)}
    assert "dot_general" in inside
    assert not inside & RANDOM
    assert kinds(cell)[0].kind == "invariant"


def test_fresh_masks_are_drawn_step_by_step_or_for_all_of_time():
    """Not once: what is drawn has T times the bits, wherever that is done."""
    cell = rnnjax.recurrent_dropout(rnnjax.lstm(H), 0.5)
    once = rnnjax.recurrent_dropout(rnnjax.lstm(H), 0.5, variational=True)
    assert sum(c.flops for c in kinds(cell)) > sum(c.flops for c in kinds(once))


@pytest.mark.parametrize(
    "cell",
    [
        rnnjax.recurrent_dropout(rnnjax.lstm(H), 0.5, variational=True),
        rnnjax.zoneout(rnnjax.lstm(H), h=0.1, c=0.2),
        rnnjax.clip_gradient(rnnjax.lstm(H), 1.0),
        rnnjax.clip_state(rnnjax.lstm(H), 1.0),
        rnnjax.leaky(rnnjax.lstm(H)),
        rnnjax.emit_state(rnnjax.lstm(H)),
        rnnjax.orthogonal(rnnjax.lstm(H)),
        rnnjax.learned_state(rnnjax.lstm(H)),
        rnnjax.residual(rnnjax.lstm(D)),
        rnnjax.highway(rnnjax.lstm(D)),
        rnnjax.cast(rnnjax.lstm(H), "bfloat16"),
        rnnjax.layer_norm_lstm(H),
    ],
    ids=lambda cell: cell.name,
)
def test_one_product_is_left_in_the_loop(cell):
    products = [eqn for eqn in executed(cell) if eqn.primitive.name == "dot_general"]
    assert len(products) == 1


def test_weights_are_cast_once_outside_the_loop():
    cell = rnnjax.cast(rnnjax.lstm(H), "bfloat16")
    inside = executed(cell)
    (product,) = (eqn for eqn in inside if eqn.primitive.name == "dot_general")
    assert {v.aval.dtype.name for v in product.invars} == {"bfloat16"}
    assert product.params["preferred_element_type"] == jnp.float32
    casts = [e for e in inside if e.primitive.name == "convert_element_type"]
    assert all(eqn.invars[0].aval.shape[-1:] != (4 * H,) for eqn in casts)


def test_orthogonal_weights_are_made_once_and_are_orthogonal():
    cell = rnnjax.orthogonal(rnnjax.lstm(H))
    assert not {"lu", "triangular_solve"} & {eqn.primitive.name for eqn in executed(cell)}
    linear = rnnjax.elman(H, activation="identity")
    params = linear.init(KEY, D)._replace(w_h=jax.random.normal(KEY, (H, H)))
    u, _ = rnnjax.orthogonal(linear).step(params, jnp.eye(H), jnp.zeros((H, D)))
    assert float(jnp.abs(u @ u.T - jnp.eye(H)).max()) < 1e-5
    a = params.w_h - params.w_h.T
    assert float(jnp.abs((jnp.eye(H) + a) @ u - (jnp.eye(H) - a)).max()) < 1e-4


def test_the_spectral_norm_is_found_once_outside_the_loop():
    first, *others = kinds(rnnjax.spectral(rnnjax.lstm(H)))
    assert first.kind == "invariant"
    assert [c.products for c in others if c.kind == "loop"] == [1]


def test_spectral_norm_is_reached_gate_by_gate():
    seen = []
    lstm = rnnjax.lstm(H)

    def step(params, state, x):
        seen.append(params.w_h)
        return lstm.step(params, state, x)

    cell = rnnjax.Cell(
        "seen", lstm.init, lstm.initial_state, step, output_of=lstm.output_of, recurrent=("w_h",)
    )
    params = lstm.init(KEY, D)._replace(w_h=jax.random.normal(KEY, (H, 4 * H)))
    rnnjax.spectral(cell, 0.7).step(params, lstm.initial_state(params), jnp.zeros(D))
    for got, block in zip(jnp.split(seen[0], 4, 1), jnp.split(params.w_h, 4, 1), strict=True):
        assert_close(jnp.linalg.norm(got, 2), jnp.float32(0.7))
        assert_close(got, 0.7 * block / jnp.linalg.norm(block, 2))
