"""Attention: the papers' equations as NumPy loops, the contract, and what leaves the loop."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from oracles import assert_bitwise, assert_close, sigmoid

import rnnjax
from rnnjax import Held, Memory, attention, decoding
from rnnjax.testing import check_cell

T, B, S, D, H, M = 4, 3, 5, 2, 4, 4
LENGTHS = np.array([S, 3, 0])

SCORES = {
    "additive": attention.additive(3),
    "concat": attention.concat(3),
    "dot": attention.dot(),
    "general": attention.general(),
    "scaled_dot": attention.scaled_dot(6, 2),
    "location": attention.location(3, S + 1, filters=2, width=3),
    "local": attention.local(attention.general(), 3, width=2),
    "monotonic": attention.monotonic(attention.additive(3), width=1),
}
CELL = rnnjax.elman(H)
CELLS = {
    "before": {name: rnnjax.attend(CELL, M, score) for name, score in SCORES.items()},
    "after": {name: rnnjax.attend_after(CELL, M, score, 3) for name, score in SCORES.items()},
}


# --- the papers, one row at a time, of real places alone; fit for complex numbers ----------------


def softmax(e):
    e = np.exp(e)
    return e / e.sum()


def tanh_score(p, w_key, q, m, more=0):
    b = 0 if p.b is None else p.b
    return (np.tanh(q @ p.w_query + m @ w_key + more + b) @ p.w_score)[:, 0]


def filtered(p, last):
    """Zeros around the last weights, and the kernel as it stands."""
    around = np.concatenate([np.zeros(1), last, np.zeros(1)])
    windows = np.stack([around[i : i + 3] for i in range(len(last))])
    return windows @ p.w_filter @ p.w_location


def shares(name, p, q, m, t, last):
    """One row's weights, [N, S]."""
    if name in ("additive", "concat"):
        return softmax(tanh_score(p.score, p.w_key, q, m))[None]
    if name == "dot":
        return softmax(m @ q)[None]
    if name == "general":
        return softmax((m @ p.w_key) @ q)[None]
    if name == "scaled_dot":
        q, k = q @ p.score.w_query, m @ p.w_key
        return np.stack([softmax(k[:, i : i + 3] @ q[i : i + 3] / 3**0.5) for i in (0, 3)])
    if name == "location":
        return softmax(tanh_score(p.score, p.w_key, q, m, filtered(p.score, last)[: len(m)]))[None]
    places = np.arange(1, len(m) + 1)
    if name == "local":
        centre = len(m) * sigmoid(np.tanh(q @ p.score.w_place) @ p.score.w_centre)[0]
        near = np.abs(places - centre.real) <= 2
        found = softmax(((m @ p.w_key) @ q)[near]) * np.exp(-((places[near] - centre) ** 2) / 2)
    else:
        near = np.abs(places - min(t, len(m))) <= 1
        found = softmax(tanh_score(p.score, p.w_key, q, m)[near])
    weights = np.zeros(len(m), complex)
    weights[near] = found
    return weights[None]


def by_hand(kind, name, p, memory, xs):
    """Outputs [T, B, ...] and weights by row and step."""
    ys, looked = [], []
    for b, n in enumerate(LENGTHS):
        m = memory[:n, b]
        values = m if p.w_value is None else m @ p.w_value
        h, fed, row, last = np.zeros(H), np.zeros(3), [], np.zeros(S + 1)
        for t, x in enumerate(xs[:, b], start=1):
            if kind == "after":
                h, _ = oracles.elman()(p.cell, h, np.concatenate([x, fed]))
            heads = 2 if name == "scaled_dot" else 1
            a = shares(name, p, h, m, t, last) if n else np.zeros((heads, 0))
            last = np.concatenate([a[0], np.zeros(S + 1 - n)])
            looked.append(a)
            parts = np.split(values, heads, axis=1)
            c = np.concatenate([w @ part for w, part in zip(a, parts, strict=True)])
            if kind == "after":
                fed = np.tanh(np.concatenate([c, h]) @ p.w)
                row.append(fed)
            else:
                h, _ = oracles.elman()(p.cell, h, np.concatenate([x, c]))
                row.append(np.concatenate([h, c]))
        ys.append(row)
    return np.stack(ys, axis=1), looked


def drawn(cell, seed=0):
    """Parameters, a memory with NaN at its padding, and inputs, in NumPy."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), D))
    params = jax.tree.map(lambda s: rng.normal(0, 0.8, s.shape), shapes)
    memory, xs = rng.normal(size=(S, B, M)), rng.normal(size=(T, B, D))
    memory[np.arange(S)[:, None] >= LENGTHS] = np.nan
    return params, memory, xs


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("kind", CELLS)
def test_the_papers(kind, name):
    """Outputs, and the derivative along one direction of parameters, memory and inputs."""
    cell = CELLS[kind][name]
    with jax.enable_x64(True):
        args = drawn(cell)
        along, _, _ = drawn(cell, 1)
        turn = np.random.default_rng(2).normal(size=args[1].shape)
        tangent = (along, np.where(np.isnan(args[1]), 0, turn), 0 * args[2])

        @jax.jit
        def run(args):
            def outputs(params, memory, xs):
                state = attention.start(cell, params, memory, lengths=LENGTHS)
                return rnnjax.unroll(cell, params, state, xs)[1]

            ys, back = jax.vjp(outputs, *args)
            return ys, back(jnp.cos(jnp.arange(ys.size, dtype=ys.dtype)).reshape(ys.shape))

        ys, gradients = run(args)
        want, _ = by_hand(kind, name, *args)
        np.testing.assert_allclose(ys, want.real, atol=1e-12)
        moved = jax.tree.map(lambda a, d: a + 1e-30j * d, args, tangent)
        slope = by_hand(kind, name, *moved)[0].imag / 1e-30
        slope = (np.cos(np.arange(slope.size)).reshape(slope.shape) * slope).sum()
        found = jax.tree.map(lambda g, d: (np.asarray(g) * d).sum(), gradients, tangent)
        np.testing.assert_allclose(sum(jax.tree.leaves(found)), slope, rtol=1e-10)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize("name", ["scaled_dot", "location"])
@pytest.mark.parametrize("kind", CELLS)
def test_weights_come_out_of_the_same_parameters(kind, name):
    score = SCORES[name]
    args = (CELL, M, score, 3) if kind == "after" else (CELL, M, score)
    make = rnnjax.attend_after if kind == "after" else rnnjax.attend
    shown = make(*args, output="weights")
    params, memory, xs = jax.tree.map(jnp.float32, drawn(CELLS[kind][name]))
    state = attention.start(shown, params, memory, lengths=LENGTHS)
    final, weights = rnnjax.unroll(shown, params, state, xs)
    plain, _ = rnnjax.unroll(CELLS[kind][name], params, state, xs)
    assert_close(final, plain)
    _, want = by_hand(kind, name, *drawn(CELLS[kind][name]))
    rows = iter(want)
    for b, n in enumerate(LENGTHS):
        for t in range(T):
            np.testing.assert_allclose(weights[t, b, :, :n], next(rows), atol=1e-5)
        assert not weights[:, b, :, n:].any()


# --- the contract --------------------------------------------------------------------------------


def memory_of(places, find=lambda state: state):
    """Draws memories of so many places, some of them padding."""

    def fill(rng, state):
        values, keys, mask = find(state).memory.value
        batch = mask.shape[:-1]
        made = Memory(
            rng.normal(size=(*batch, places, values.shape[-1])),
            None if keys is None else rng.normal(size=(*batch, places, keys.shape[-1])),
            np.arange(places) < rng.integers(1, places + 1, (*batch, 1)),
        )
        return rnnjax.hold(state, made)

    return fill


KIT = {
    "after-location": (CELLS["after"]["location"], memory_of(S + 1)),
    "stack": (
        rnnjax.stack(
            drop=rnnjax.dropout(0.5),
            decoder=rnnjax.attend(
                rnnjax.lstm(3), 4, attention.monotonic(SCORES["scaled_dot"], width=1)
            ),
        ),
        memory_of(3, lambda state: state["decoder"]),
    ),
}


@pytest.mark.parametrize("name", KIT)
def test_the_contract(name):
    cell, fill = KIT[name]
    # The weights of keys are read by `start` alone, whose derivatives `test_the_papers` checks.
    report = check_cell(cell, D, hold=fill, batch_shape=(2,), skip=["no dead parameter"])
    assert {outcome.outcome for outcome in report.outcomes} <= {"holds", "no noise", "skipped"}


def stream(cell, params, state, xs):
    step, ys = jax.jit(cell.step), []
    for x in xs:
        state, y = step(params, state, x)
        ys.append(y)
    return state, jnp.stack(ys)


@pytest.mark.parametrize("kind", CELLS)
def test_streaming_is_the_unroll_and_padding_never_matters(kind):
    cell = CELLS[kind]["scaled_dot"]
    params, memory, xs = jax.tree.map(jnp.float32, drawn(cell))
    outcomes = []
    for padding in (np.nan, np.inf, 7.0):
        whole = jnp.where(jnp.isnan(memory), padding, memory)
        state = attention.start(cell, params, whole, lengths=LENGTHS)
        outcomes.append(rnnjax.unroll(cell, params, state, xs))
        assert_close(stream(cell, params, state, xs), outcomes[-1])
    assert_bitwise(outcomes[1], outcomes[0])
    assert_bitwise(outcomes[2], outcomes[0])
    alone = attention.start(cell, params, memory[:3, 1:2])
    _, ys = rnnjax.unroll(cell, params, alone, xs[:, 1:2])
    assert_close(ys[:, 0], outcomes[0][1][:, 1])
    # lengths of the outputs, and of none of the memory
    _, ys = rnnjax.unroll(cell, params, state, xs, lengths=np.array([2, T, T]))
    assert_close(ys[:2], outcomes[0][1][:2])
    assert not ys[2:, 0].any()


def test_without_a_memory_nothing_is_read():
    for kind, features in (("before", 6), ("after", None)):
        cell = CELLS[kind]["scaled_dot"]
        params, _, xs = jax.tree.map(jnp.float32, drawn(cell))
        _, ys = rnnjax.unroll(cell, params, None, xs)
        empty = attention.start(cell, params, jnp.zeros((0, B, M)))
        assert_close(rnnjax.unroll(cell, params, empty, xs)[1], ys)
        assert jnp.isfinite(ys).all()
        assert features is None or not ys[..., -features:].any()


# --- where the memory goes in --------------------------------------------------------------------


MEMORY, OTHER = (np.float32(np.random.default_rng(i).normal(size=(S, B, M))) for i in (3, 4))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda cell: rnnjax.stack(rnnjax.linear(D), cell, rnnjax.linear(2)),
        lambda cell: rnnjax.zoneout(cell, 0.1),
        rnnjax.learned_leaky,
        rnnjax.learned_state,
        lambda cell: rnnjax.input_dropout(
            rnnjax.stack(low=rnnjax.residual(rnnjax.gru(D)), top=cell), 0.3
        ),
    ],
    ids=["stack", "zoneout", "learned_leaky", "learned_state", "nested"],
)
def test_start_finds_the_decoder(wrap):
    cell = wrap(CELLS["before"]["general"])
    params = cell.init(jax.random.key(0), D)
    state = attention.start(cell, params, MEMORY, lengths=LENGTHS, key=jax.random.key(1))
    (found,) = [
        node for node in jax.tree.leaves(state, is_leaf=lambda n: isinstance(n, Memory))
        if isinstance(node, Memory)
    ]  # fmt: skip
    (own,) = [
        node for node in jax.tree.leaves(
            params, is_leaf=lambda n: isinstance(n, rnnjax.AttendParams)
        )
        if isinstance(node, rnnjax.AttendParams)
    ]  # fmt: skip
    clean = np.where(np.arange(S)[:, None, None] < LENGTHS[:, None], MEMORY, 0).swapaxes(0, 1)
    assert_close(found, Memory(clean, clean @ own.w_key, np.arange(S) < LENGTHS[:, None]))
    final, ys = rnnjax.unroll(cell, params, state, np.ones((T, B, D), np.float32))
    assert jnp.isfinite(ys).all()
    assert jax.tree.structure(final) == jax.tree.structure(state)


def test_two_memories_by_their_paths():
    first = rnnjax.attend(rnnjax.gru(3), M, attention.general())
    cell = rnnjax.stack(
        low=rnnjax.attend(rnnjax.gru(3), M, attention.additive(2)),
        top=rnnjax.attend(first, M, SCORES["general"]),
    )
    params = cell.init(jax.random.key(0), D)
    both = attention.start(cell, params, MEMORY)
    for node in (both["low"], both["top"], both["top"].cell):
        assert_close(node.memory.value.values, MEMORY.swapaxes(0, 1))
    inner = params["top"].cell.w_key
    assert_close(both["top"].cell.memory.value.keys, MEMORY.swapaxes(0, 1) @ inner)
    some = attention.start(cell, params, OTHER, at="top.cell", state=both)
    assert_close(some["top"].cell.memory.value.values, OTHER.swapaxes(0, 1))
    assert_bitwise((some["low"], some["top"].memory), (both["low"], both["top"].memory))
    # batch-major, two axes of the batch, and a mask that is no length
    mask = np.array([[[True, False, True]]])
    state = attention.start(
        first, params["top"].cell, np.ones((1, 1, 3, M)), mask=mask, time_axis=2
    )
    assert_bitwise(state.memory.value.mask, mask)
    assert_bitwise(state.memory.value.values[..., 0], mask.astype(np.float32))


# --- what leaves the loop ------------------------------------------------------------------------


def products(kind, name, feed=True):
    """Products inside the loop that runs, of a memory to its outputs."""
    cell = CELLS[kind][name] if feed else rnnjax.attend_after(CELL, M, SCORES[name], 3, feed=False)
    params, memory, xs = jax.tree.map(jnp.float32, drawn(cell))

    def outputs(params, memory, xs):
        state = attention.start(cell, params, memory)
        return rnnjax.unroll(cell, params, state, xs)[1]

    text = str(jax.make_jaxpr(outputs)(params, memory, xs))
    inside = text[text.index("scan[") :]
    plan = rnnjax.plan(cell.step, params, attention.start(cell, params, memory), xs)
    return sum(c.products for c in plan.components if c.kind == "loop"), inside


def test_keys_and_inputs_are_projected_before_the_loop():
    count, inside = products("before", "additive")
    # v, the query, the context, what the cell reads of it, and h
    assert count == 5
    sizes = [line for line in inside.splitlines() if "dot_general" in line]
    assert not any(f"{B},{S},3" in line and f"{M},3" in line for line in sizes)
    assert products("before", "general")[0] == 4
    # what reads is after the loop where nothing is fed
    assert products("after", "general")[0] == 5
    assert products("after", "general", feed=False)[0] == 1


def test_attention_learns_to_copy_backwards():
    """What a decoder without a memory cannot: the symbols of the memory, last first."""
    model = rnnjax.stack(
        embed=rnnjax.embed(5, 8),
        decoder=rnnjax.attend(rnnjax.gru(16), 16, attention.additive(8)),
        readout=rnnjax.linear(5),
    )
    encoder = rnnjax.stack(rnnjax.embed(5, 8), rnnjax.gru(16))
    keys = jax.random.split(jax.random.key(0))
    params = encoder.init(keys[0], rnnjax.tokens()), model.init(keys[1], rnnjax.tokens())
    symbols = np.random.default_rng(0).integers(1, 5, (4, 64))
    lengths = np.random.default_rng(1).integers(1, 5, 64)
    targets = np.asarray(rnnjax.reverse_sequences(symbols, lengths))
    fed = np.concatenate([np.zeros((1, 64), int), targets[:-1]])
    real = np.arange(4)[:, None] < lengths

    @jax.jit
    def train(params):
        def loss(params):
            encode, decode = params
            _, encoded = rnnjax.unroll(encoder, encode, None, symbols, lengths=lengths)
            state = attention.start(model, decode, encoded, lengths=lengths)
            _, logits = rnnjax.unroll(model, decode, state, fed, lengths=lengths)
            each = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)[..., 0]
            right = (logits.argmax(-1) == targets) | ~real
            return -jnp.where(real, each, 0).mean(), right.mean()

        def update(params, _):
            (_, right), gradient = jax.value_and_grad(loss, has_aux=True)(params)
            return jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient), right

        return jax.lax.scan(update, params, None, 300)

    _, right = train(params)
    assert right[-1] > 0.99


def test_a_translator_is_one_model_in_all_its_forms():
    """Taught, scheduled at a rate of 1, writing freely, and in a search, from one start."""
    decoder = rnnjax.attend(rnnjax.gru(4), M, attention.concat(3))
    model = rnnjax.stack(embed=rnnjax.embed(5, 3), decoder=decoder, readout=rnnjax.linear(5))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), rnnjax.tokens()))
    rng = np.random.default_rng(5)
    params = jax.tree.map(lambda s: rng.normal(0, 1.5, s.shape).astype("f"), shapes)

    def begun(cell, key=None):
        return attention.start(cell, params, MEMORY, lengths=LENGTHS, key=key)

    free = rnnjax.feedback(model, 5, feed="argmax", first=1)
    _, logits = rnnjax.unroll(free, params, begun(free), None, length=T)
    written = decoding.greedy(model, params, begun(model), np.ones(B, int), length=T)
    np.testing.assert_array_equal(logits.argmax(-1), written.symbols)
    assert len({tuple(text) for text in written.symbols.T.tolist()}) > 1, "the memory is read"
    read = np.concatenate([np.ones((1, B), int), written.symbols[:-1]])
    assert_close(logits, rnnjax.unroll(model, params, begun(model), read)[1])
    mixed = rnnjax.scheduled_sampling(model, 5, rate=0.5, feed="sample")
    state = rnnjax.set_rates(begun(mixed, jax.random.key(0)), 1.0)
    assert_close(logits, rnnjax.unroll(mixed, params, state, read)[1])
    one = decoding.beam_search(
        model, params, begun(model), np.ones(B, int), length=T, width=1
    )  # fmt: skip
    assert_close(one.symbols[..., 0], written.symbols)


# --- errors --------------------------------------------------------------------------------------

GRU, GENERAL = rnnjax.gru(3), attention.general()
DECODER = rnnjax.attend(GRU, M, GENERAL)
PARAMS = DECODER.init(jax.random.key(0), D)
LOCATED = rnnjax.attend(GRU, M, attention.location(3, 4))


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: rnnjax.attend(GRU, M, "dot"), TypeError, r"attend: score must be a Score, got 'dot'"),
    (lambda: rnnjax.attend(GRU, M, attention.dot), TypeError, r"got dot: call one of"),
    (lambda: rnnjax.attend(rnnjax.linear(3), M, GENERAL), TypeError, r"declares no output_of"),
    (lambda: rnnjax.attend(GRU, 0, GENERAL), ValueError, r"memory_size .*got 0"),
    (lambda: rnnjax.attend(GRU, M, GENERAL, output="all"), ValueError, r"both, cell, weights"),
    (lambda: rnnjax.attend(GRU, M, attention.dot()).init(jax.random.key(0), D), ValueError,
     r"dot compares queries of 3 features with a memory of 4"),
    (lambda: attention.scaled_dot(6, 4), ValueError, r"heads must divide size, got size 6"),
    (lambda: DECODER.init(jax.random.key(0), rnnjax.tokens()), TypeError, r"attend.*embed tokens"),
    (lambda: DECODER.step(PARAMS, DECODER.initial_state(PARAMS), jnp.array(1)), TypeError,
     r"attend.*needs floating-point xs"),
    (lambda: attention.start(DECODER, PARAMS, MEMORY[..., :3]), ValueError,
     r"memory has 3 features, attend\(.*\) was made for 4"),
    (lambda: attention.start(DECODER, PARAMS, MEMORY[0, 0]), ValueError, r"expected \[S, \*B, M\]"),
    (lambda: attention.start(DECODER, PARAMS, MEMORY > 0), TypeError, r"needs floating"),
    (lambda: attention.start(DECODER, PARAMS, MEMORY, lengths=[S, S, S + 1]), ValueError,
     r"lengths\[2\] = 6 is outside \[0, 5\]"),
    (lambda: attention.start(DECODER, PARAMS, MEMORY, at="top"), ValueError,
     r"nothing attends at top of .*; what attends: the state itself"),
    (lambda: attention.start(GRU, GRU.init(jax.random.key(0), D), MEMORY), ValueError,
     r"nothing attends at any place of gru\(3\); what attends: none"),
    (lambda: attention.start(LOCATED, LOCATED.init(jax.random.key(0), D), MEMORY), ValueError,
     r"memory has 5 places, the score of attend\(.*\) takes 4"),
    (lambda: rnnjax.hold(DECODER.initial_state(PARAMS), 1.0), ValueError,
     r"below the state, found none; what the state holds: memory"),
    (lambda: rnnjax.hold((Held(1.0), Held(2.0)), 3.0), ValueError, r"found 0, 1"),
])  # fmt: skip
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
