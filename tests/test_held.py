"""What is held in a state: the same during a sequence, another for each row."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import Held
from rnnjax._cell import parted
from rnnjax.testing import check_cell

B, S, D, T = 2, 7, 4, 5


def attending_step(p, state, x):
    h, memory = state["h"], state["memory"].value
    scores = jnp.einsum("...d,...sd->...s", h @ p["q"], memory @ p["k"])
    read = jnp.einsum("...s,...sd->...d", jax.nn.softmax(scores), memory)
    h = jnp.tanh(jnp.concatenate([x.astype(h.dtype), read], -1) @ p["w"])
    return {"h": h, "memory": state["memory"]}, h


def fresh(params, batch=(), *, key=None):
    dtype = params["q"].dtype
    memory = jnp.zeros((*batch, 1, D), dtype)
    return {"h": jnp.zeros((*batch, D), dtype), "memory": Held(memory)}


rng = np.random.default_rng(0)
PARAMS = {
    "q": rng.normal(size=(D, D)),
    "k": rng.normal(size=(D, D)),
    "w": rng.normal(size=(3 + D, D)),
}
PARAMS = jax.tree.map(jnp.float32, PARAMS)
XS = jnp.float32(rng.normal(size=(T, B, 3)))
MEMORY = jnp.float32(rng.normal(size=(B, S, D)))


def init(key, x_spec):
    return jax.tree.map(lambda a: (0.3 * a).astype(x_spec.dtype), PARAMS)


DECODER = rnnjax.Cell("decoder", init, fresh, attending_step)


def start(memory=MEMORY):
    return {"h": jnp.zeros((B, D)), "memory": Held(memory)}


NO_RESETS = np.zeros((T, B), bool)


def by_hand(params, memory, xs, resets=NO_RESETS):
    state, ys = start(memory), []
    for x, reset in zip(xs, resets, strict=True):
        state["h"] = jnp.where(reset[:, None], 0, state["h"])
        state, y = attending_step(params, state, x)
        ys.append(y)
    return jnp.stack(ys)


@pytest.mark.parametrize("size", [1, S])
def test_the_callers_memory_is_read_at_every_step(size):
    memory = MEMORY[:, :size]

    @jax.jit
    def both(params, memory):
        def loss(run):
            return jax.value_and_grad(lambda p, m: (run(p, m, XS) ** 2).sum(), (0, 1))(
                params, memory
            )

        return loss(lambda p, m, xs: rnnjax.unroll(DECODER, p, start(m), xs)[1]), loss(by_hand)

    got, want = both(PARAMS, memory)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5), got, want)


def test_resets_and_padding_keep_it():
    resets = rng.random((T, B)) < 0.5
    state, ys = rnnjax.unroll(DECODER, PARAMS, start(), XS, resets=resets)
    np.testing.assert_allclose(ys, by_hand(PARAMS, MEMORY, XS, resets), rtol=1e-4, atol=1e-5)
    assert state["memory"].value is not None
    np.testing.assert_array_equal(state["memory"].value, MEMORY)
    state, ys = rnnjax.unroll(DECODER, PARAMS, start(), XS, lengths=[T, 0])
    np.testing.assert_array_equal(state["memory"].value, MEMORY)
    assert not ys[:, 1].any()


def test_what_depends_on_it_alone_is_done_once():
    plan = rnnjax.plan(attending_step, PARAMS, start(), XS)
    first = plan.components[0]
    assert first.kind == "invariant"
    assert first.products == 1, "the keys are projected before the loop"
    text = str(jax.make_jaxpr(lambda: rnnjax.unroll(DECODER, PARAMS, start(), XS))())
    inside = text[text.index("scan[") :]
    assert "2,7,4" not in "".join(line for line in inside.splitlines() if "dot_general" in line)


def test_it_goes_through_a_stack_and_is_passed_by_where_noise_is_drawn():
    model = rnnjax.stack(rnnjax.dropout(0.5), DECODER)
    state = ((model.initial_state(((), PARAMS), (B,), key=jax.random.key(0))[0]), start())
    again = rnnjax.rekey(model, state, jax.random.key(1))
    np.testing.assert_array_equal(again[1]["memory"].value, MEMORY)
    keyed = (state[0], {**start(), "memory": Held(state[0].key)})
    kept = rnnjax.rekey(model, keyed, jax.random.key(1))
    assert (kept[1]["memory"].value == state[0].key).all()
    assert (kept[0].key != state[0].key).all()
    out, _ = rnnjax.unroll(model, ((), PARAMS), state, XS)
    np.testing.assert_array_equal(out[1]["memory"].value, MEMORY)


@pytest.mark.parametrize(
    ("memory", "message"),
    [(MEMORY[:1], r"holds.*\[1, 7, 4\], the batch of xs is \[2\]"), (jnp.ones(()), r"holds.*\[\]")],
)
def test_another_batch_is_refused(memory, message):
    with pytest.raises(ValueError, match=message):
        rnnjax.unroll(DECODER, PARAMS, start(memory), XS)


def memory_of(size):
    def hold(rng, state):
        return {**state, "memory": Held(rng.normal(size=(*state["h"].shape[:-1], size, D)))}

    return hold


CASES = [
    (DECODER, memory_of(2)),
    (DECODER, memory_of(S)),
    (rnnjax.learned_state(DECODER), memory_of(S)),
    (
        rnnjax.stack(drop=rnnjax.dropout(0.5), decoder=DECODER),
        lambda rng, state: {**state, "decoder": memory_of(S)(rng, state["decoder"])},
    ),
]


@pytest.mark.parametrize(("cell", "hold"), CASES, ids=["2", "7", "learned", "stack"])
def test_a_decoder_keeps_the_contract(cell, hold):
    report = check_cell(cell, 3, hold=hold, batch_shape=(2,))
    outcomes = {outcome.law: outcome.outcome for outcome in report.outcomes}
    assert outcomes["held"] == "holds"


def test_a_step_that_changes_what_it_holds_breaks_the_contract():
    def forgetful(p, state, x):
        state, y = attending_step(p, state, x)
        return {**state, "memory": Held(0.5 * state["memory"].value)}, y

    cell = dataclasses.replace(DECODER, step=forgetful)
    with pytest.raises(AssertionError, match=r'decoder breaks "held".*after a step'):
        check_cell(cell, 3, hold=memory_of(S))


@pytest.mark.parametrize("wrap", [
    lambda cell: rnnjax.leaky(cell, 0.3),
    rnnjax.learned_leaky,
    lambda cell: rnnjax.zoneout(cell, 0.3),
    lambda cell: rnnjax.clip_gradient(cell, 1.0),
    lambda cell: rnnjax.clip_state(cell, 1.0),
    rnnjax.emit_state,
    lambda cell: rnnjax.cast(cell, "float32"),
], ids=[
    "leaky", "learned_leaky", "zoneout", "clip_gradient", "clip_state", "emit_state", "cast"
])  # fmt: skip
def test_what_changes_the_state_leaves_alone_what_it_holds(wrap):
    decoder = dataclasses.replace(DECODER, output_of=lambda state: state["h"])
    cell = wrap(decoder)
    params = cell.init(jax.random.key(0), jax.ShapeDtypeStruct((3,), "float32"))
    state = cell.initial_state(params, (B,), key=jax.random.key(1))
    inner = state.cell if hasattr(state, "cell") else state
    inner = {**inner, "memory": Held(MEMORY)}
    state = state._replace(cell=inner) if hasattr(state, "cell") else inner

    def loss(memory):
        given = jax.tree.map(lambda leaf: memory if leaf is MEMORY else leaf, state)
        final, ys = rnnjax.unroll(cell, params, given, XS)
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(ys)), (final, ys)

    gradient, (final, ys) = jax.grad(loss, has_aux=True)(MEMORY)
    held = parted(final)[1]
    assert any(value is not None and jnp.array_equal(value, MEMORY) for value in held)
    assert all(leaf.shape == (T, B, D) for leaf in jax.tree.leaves(ys))
    assert jnp.isfinite(gradient).all()
    assert gradient.any()


def test_noise_inside_adds_no_parameter():
    noisy = rnnjax.learned_leaky(rnnjax.input_dropout(rnnjax.gru(4), 0.5))
    plain = rnnjax.learned_leaky(rnnjax.gru(4))
    leaves = [
        [leaf.shape for leaf in jax.tree.leaves(cell.init(jax.random.key(0), 3))]
        for cell in (noisy, plain)
    ]
    assert leaves[0] == leaves[1]
