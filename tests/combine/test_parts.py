"""Parts with names: trees by name, draws by name, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_bitwise, assert_close

import rnnjax
from rnnjax._combine._weights import change_recurrent

T, B, D, H = 5, 2, 4, 3
XS = jnp.asarray(np.random.default_rng(0).normal(size=(T, B, D)), jnp.float32)
KEY = jax.random.key(0)

PARTS = {"first": rnnjax.elman(D), "rnn": rnnjax.lstm(H)}
INSERTED = {"first": rnnjax.elman(D), "between": rnnjax.dropout(0.5), "rnn": rnnjax.lstm(H)}
COMPOSITES = {"stack": rnnjax.stack, "parallel": rnnjax.parallel, "serial": rnnjax.serial}


def run(model, params, **options):
    if isinstance(model, rnnjax.Layer):
        return model.apply(params, XS, **options)
    state = model.initial_state(params, (B,), key=options.get("key"))
    return rnnjax.unroll(model, params, state, XS)


@pytest.mark.parametrize("make", COMPOSITES.values(), ids=COMPOSITES)
def test_an_inserted_part_changes_no_other(make):
    before, after = make(**PARTS), make(**INSERTED)
    old, new = before.init(KEY, D), after.init(KEY, D)
    assert set(old) == set(PARTS)
    assert set(new) == set(INSERTED)
    assert_bitwise({name: new[name] for name in PARTS}, old)


@pytest.mark.parametrize("make", COMPOSITES.values(), ids=COMPOSITES)
def test_names_change_nothing_that_is_computed(make):
    named, placed = make(**PARTS), make(*PARTS.values())
    params = named.init(KEY, D)
    state, ys = run(named, params)
    assert list(state) == list(PARTS)
    assert_close((tuple(state.values()), ys), run(placed, tuple(params.values())))
    assert f"first={'recurrent(' * (make is rnnjax.serial)}elman(4)" in named.name


def test_noise_is_drawn_by_name():
    """An inserted dropout takes no other's mask away, nor does `rekey` after it."""
    rest = {"drop": rnnjax.dropout(0.5), "rnn": rnnjax.lstm(H)}
    before, after = rnnjax.stack(**rest), rnnjax.stack(one=rnnjax.dropout(0.5), **rest)
    params = after.init(KEY, D)
    states = [
        model.initial_state({name: params[name] for name in names}, (B,), key=KEY)
        for model, names in ((before, rest), (after, params))
    ]
    for _ in range(2):
        assert_bitwise(states[1]["drop"], states[0]["drop"])
        assert (states[1]["one"].key != states[1]["drop"].key).all()
        states = [rnnjax.rekey(model, s, jax.random.key(1))
                  for model, s in zip((before, after), states, strict=True)]  # fmt: skip


def test_no_two_names_draw_alike():
    """Words whose CRC-32 is the same."""
    model = rnnjax.parallel(plumless=rnnjax.gru(3), buckeroo=rnnjax.gru(3))
    params = model.init(KEY, D)
    assert (params["plumless"].w_h != params["buckeroo"].w_h).any()


@pytest.mark.parametrize("wrap", [
    lambda cell: rnnjax.zoneout(cell, 0.5),
    lambda cell: rnnjax.recurrent_dropout(cell, 0.5),
    lambda cell: rnnjax.weight_drop(cell, 0.5),
], ids=["zoneout", "recurrent_dropout", "weight_drop"])  # fmt: skip
def test_noise_around_named_parts_goes_by_their_names(wrap):
    """What is put beside a part takes its mask away from nobody."""
    top = rnnjax.gru(64)
    few, many = rnnjax.parallel(top=top), rnnjax.parallel(mid=rnnjax.gru(3), top=top)
    params = many.init(KEY, D)
    outs = []
    for model, names in ((few, ["top"]), (many, ["mid", "top"])):
        cell = wrap(model)
        own = {name: params[name] for name in names}
        state = cell.initial_state(own, (B,), key=KEY)
        inner = {name: jnp.ones((B, own[name].w_h.shape[0])) for name in names}
        _, y = cell.step(own, state._replace(cell=inner), XS[0])
        outs.append(y[..., -64:])
    assert_close(*outs)


def test_outputs_side_by_side_keep_their_names():
    cell = rnnjax.parallel(merge="separate", slow=rnnjax.gru(2), fast=rnnjax.elman(3))
    ys = run(cell, cell.init(KEY, D))[1]
    assert {name: y.shape for name, y in ys.items()} == {"slow": (T, B, 2), "fast": (T, B, 3)}


def test_the_order_of_the_names_is_that_of_the_call():
    ab = rnnjax.stack(a=rnnjax.gru(3), b=rnnjax.linear(2))
    assert ab is rnnjax.stack(a=rnnjax.gru(3), b=rnnjax.linear(2))
    assert ab != rnnjax.stack(b=rnnjax.linear(2), a=rnnjax.gru(3))
    assert run(ab, ab.init(KEY, D))[1].shape == (T, B, 2)
    z_first = rnnjax.stack(z=rnnjax.gru(3), a=rnnjax.linear(2))  # JAX sorts the keys of a dict
    assert run(z_first, z_first.init(KEY, D))[1].shape == (T, B, 2)


def test_recurrent_weights_are_found_by_name():
    model = rnnjax.stack(below=rnnjax.stack(rnnjax.gru(3)), rnn=rnnjax.lstm(H))
    assert model.recurrent == ("below.0.w_h", "rnn.w_h")
    params = model.init(KEY, D)
    seen = {}
    change_recurrent(model, params, seen.setdefault)
    assert_bitwise([*seen.values()], [params["below"][0].w_h, params["rnn"].w_h])


@pytest.mark.parametrize("make", COMPOSITES.values(), ids=COMPOSITES)
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda make: make(), ValueError, "needs at least one part"),
        (lambda make: make(rnnjax.gru(2), rnn=rnnjax.gru(2)), TypeError, "name all of them"),
        (lambda make: make(**{"a.b": rnnjax.gru(2)}), ValueError, "identifier, got 'a.b'"),
        (lambda make: make(rnn=3), TypeError, r"\[rnn\] must be a (Cell|Layer)"),
        (
            lambda make: run(make(**PARTS), {"first": 0, "third": 0}),
            TypeError,
            "the entries first, third",
        ),
        (lambda make: run(make(**PARTS), (0, 0)), TypeError, "a dict of the entries first, rnn"),
        (lambda make: run(make(*PARTS.values()), (0,)), TypeError, "a tuple of 2 entries"),
    ],
)
def test_bad_parts(make, call, error, message):
    with pytest.raises(error, match=message):
        call(make)


def test_errors_show_the_path():
    model = rnnjax.stack(**PARTS)
    params = model.init(KEY, D)
    params["rnn"] = params["rnn"]._replace(w_h=jnp.zeros((2, 8)))
    with pytest.raises(ValueError, match=r"params\['rnn'\]\.w_h has shape \[2, 8\]"):
        run(model, params)
