"""Bad input and what it gets: the argument, what came, what was expected, what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import dropout, elman, embed, gru, layer_norm, linear, lstm, stack, unroll

KEY = jax.random.key(0)
T, B, D, H = 5, 2, 3, 4
CELL = lstm(H)
PARAMS = CELL.init(KEY, D)
XS = jnp.ones((T, B, D))
TOKENS = jax.ShapeDtypeStruct((), int)
MODEL = stack(embed(7, D), lstm(H), linear(7))


def run(*, cell=CELL, params=PARAMS, state=None, xs=XS, **options):
    return unroll(cell, params, state, xs, **options)


def fresh(batch, cell=CELL, params=PARAMS):
    return cell.initial_state(params, batch)


def by_hand(**fields):
    """A cell that runs, but for the fields given."""
    plain = {
        "name": "mine",
        "init": lambda key, x_spec: (),
        "initial_state": lambda params, batch=(), *, key=None: jnp.zeros(batch),
        "step": lambda params, s, x: (s, s),
        "x_ndims": 0,
    }
    return rnnjax.Cell(**{**plain, **fields})


# what, the call, the exception, and the message as a regular expression
TABLE = [
    # sizes and options of factories
    ("size 0", lambda: lstm(0), ValueError, r"lstm: hidden_size .*positive int, got 0"),
    ("size -1", lambda: linear(-1), ValueError, r"linear: size .*positive int, got -1"),
    ("size bool", lambda: lstm(True), TypeError, r"lstm: hidden_size .*positive int, got True"),
    ("size np.bool", lambda: gru(np.True_), TypeError, r"gru: hidden_size .*got np.True_"),
    ("size float", lambda: lstm(256.0), TypeError, r"lstm: hidden_size .*int, got 256.0"),
    ("size str", lambda: elman("4"), TypeError, r"elman: hidden_size .*int, got '4'"),
    ("vocabulary 0", lambda: embed(0, 3), ValueError, r"embed: vocabulary_size .*got 0"),
    ("no size", lambda: lstm(), TypeError, r"lstm\(\).*hidden_size"),
    ("unknown option", lambda: lstm(4, foo=1), TypeError, r"lstm\(\).*unexpected.*'foo'"),
    ("too many", lambda: lstm(4, "torch"), TypeError, r"lstm\(\).*positional"),
    ("x_spec tuple", lambda: lstm(4).init(KEY, (8,)), TypeError, r"x_spec tuple: pass its number"),
    ("integer params", lambda: run(params=jax.tree.map(lambda p: p.astype(int), PARAMS)), TypeError,
     r"params\.w_x is int32, lstm\(4\) needs a floating-point array"),
    ("keys of another shape", lambda: run(
        cell=dropout(0.5), params=(),
        state=rnnjax.DropoutState(
            jax.random.split(KEY, (B, 3)), jnp.zeros(B, jnp.int32), rnnjax.Held(jnp.zeros(B)))),
     ValueError, r"state\.key holds keys of shape \[2, 3\], expected \[2, 1\]"),
    ("reset", lambda: gru(4, reset="x"), ValueError, r"gru: reset .*after, before, got 'x'"),
    ("init name", lambda: lstm(4, init="pytorch"), ValueError,
     r"lstm: init .*rnnjax, flax, torch, keras, got 'pytorch'"),
    ("init function", lambda: lstm(4, init=jnp.zeros), TypeError, r"lstm: init .*Initializers"),
    ("init array", lambda: lstm(4, init=rnnjax.Initializers(forget_bias=jnp.ones(1))), TypeError,
     r"lstm: init must be hashable"),
    ("activation name", lambda: elman(4, activation="tann"), ValueError,
     r"elman: activation .*tanh, relu, identity.*got 'tann'"),
    ("activation type", lambda: rnnjax.activation(3), TypeError, r"activation: function .*got 3"),
    ("unhashable", lambda: elman(4, activation=[1]), TypeError, r"elman: activation .*got \[1\]"),
    ("rate 1", lambda: dropout(1.0), ValueError, r"dropout: rate .*\[0, 1\), got 1.0"),
    ("rate NaN", lambda: dropout(float("nan")), ValueError, r"dropout: rate .*\[0, 1\), got nan"),
    ("rate bool", lambda: dropout(True), TypeError, r"dropout: rate .*\[0, 1\), got True"),
    ("rate str", lambda: dropout("0.5"), TypeError, r"dropout: rate .*\[0, 1\), got '0.5'"),
    ("epsilon", lambda: layer_norm(epsilon=0), ValueError, r"layer_norm: epsilon .*positive.*0"),
    ("empty stack", lambda: stack(), ValueError, r"stack needs at least one part"),
    ("stack of a list", lambda: stack([CELL]), TypeError,
     r"stack: cells\[0\] must be a Cell, got list.*stack\(\*cells\)"),
    ("stack of a function", lambda: stack(CELL, abs), TypeError,
     r"stack: cells\[1\] must be a Cell.*activation\("),
    # specs and keys
    ("spec 0", lambda: CELL.init(KEY, 0), ValueError, r"x_spec .*positive int, got 0"),
    ("spec -1", lambda: CELL.init(KEY, -1), ValueError, r"x_spec .*positive int, got -1"),
    ("spec bool", lambda: CELL.init(KEY, True), TypeError, r"x_spec .*positive int, got True"),
    ("spec float", lambda: CELL.init(KEY, 3.0), TypeError, r"x_spec .*positive int, got 3.0"),
    ("spec tree", lambda: CELL.init(KEY, (3,)), TypeError, r"lstm\(4\) needs one array"),
    ("spec matrix", lambda: CELL.init(KEY, jnp.ones((2, 3))), ValueError,
     r"lstm\(4\) needs vectors as inputs, got shape \[2, 3\]"),
    ("spec integer", lambda: CELL.init(KEY, jnp.arange(3)), TypeError,
     r"lstm\(4\) needs floating-point xs, got int32.*embed"),
    ("tokens as floats", lambda: MODEL.init(KEY, D), TypeError,
     r"embed\(7, 3\) needs integer.*got float32.*rnnjax.tokens"),
    ("keys of another batch",
     lambda: dropout(0.5).initial_state((), (2, 3), key=jax.random.split(KEY, 2)), ValueError,
     r"key has shape \[2\], expected \[\] or \[2, 3\]"),
    # what is run
    ("no cell", lambda: run(cell=PARAMS), TypeError, r"cell must be a Cell, got LSTMParams"),
    ("a factory", lambda: run(cell=lstm), TypeError, r"cell must be a Cell, got lstm: call"),
    # xs
    ("features", lambda: run(xs=XS[..., :2]), ValueError,
     r"xs has 2 features, params expect 3.*w_x has shape \[3, 16\].*\[2, 16\]"),
    ("features of a step", lambda: CELL.step(PARAMS, fresh(()), jnp.ones(2)), ValueError,
     r"lstm\(4\): xs has 2 features, params expect 3"),
    ("integer xs", lambda: run(xs=XS.astype(int)), TypeError,
     r"lstm\(4\) needs floating-point xs, got int32.*astype"),
    ("bool xs", lambda: run(xs=XS > 0), TypeError, r"floating-point xs, got bool"),
    ("float tokens", lambda: run(cell=MODEL, params=MODEL.init(KEY, TOKENS)), TypeError,
     r"embed\(7, 3\) needs integer symbols as xs, got float32"),
    ("nested list", lambda: run(xs=[[1.0, 2.0, 3.0]]), TypeError, r"xs must hold arrays, got"),
    ("two inputs", lambda: run(xs=(XS, XS)), TypeError, r"lstm\(4\) needs one array as input"),
    ("wrong tree", lambda: run(cell=by_hand(x_ndims=(1, 0)), params=(), xs=XS), TypeError,
     r"xs has the tree .*mine expects"),
    ("no time axis", lambda: run(xs=XS[0, 0]), ValueError,
     r"xs has shape \[3\], lstm\(4\) expects \[T, \*B\] and then 1 axis"),
    ("leaves disagree",
     lambda: run(cell=by_hand(x_ndims=(1, 0)), params=(), xs=(XS, jnp.ones((T, 3)))), ValueError,
     r"leaves of xs disagree .*\[5, 2\] and \[5, 3\]"),
    ("no xs, no length", lambda: run(cell=by_hand(), params=(), xs=None), ValueError,
     r"length is needed .*length=T"),
    ("length of xs", lambda: run(length=4), ValueError, r"length is 4, but xs has 5 steps"),
    ("negative length", lambda: run(cell=by_hand(), params=(), xs=None, length=-3), ValueError,
     r"length must be .*got -3"),
    ("float length", lambda: run(length=5.0), TypeError, r"length must be an int.*got 5.0"),
    # params and state
    ("params of another cell", lambda: run(cell=gru(4)), TypeError,
     r"params is not that of gru\(4\): got LSTMParams, expected GRUParams; missing: params.b_n"),
    ("params of the other gru",
     lambda: run(cell=gru(4), params=gru(4, reset="before").init(KEY, D)), TypeError,
     r"params is not that of gru\(4\).*missing: params.b_n"),
    ("params of another size", lambda: run(cell=lstm(5)), ValueError,
     r"params.w_x has shape \[3, 16\], lstm\(5\) needs \[3, 20\]"),
    ("no params", lambda: run(params=None), TypeError,
     r"params .*got NoneType, expected LSTMParams; missing: params.w_x, params.w_h, params.b"),
    ("state of another cell",
     lambda: run(cell=gru(4), params=gru(4).init(KEY, D), state=fresh((B,))), TypeError,
     r"state is not that of gru\(4\): got LSTMState.*missing: state; unexpected: state.h, state.c"),
    ("a pair for a state", lambda: run(state=tuple(fresh((B,)))), TypeError,
     r"state .*got tuple, expected LSTMState; missing: state.h, state.c"),
    ("batch of state", lambda: run(state=fresh((3,))), ValueError,
     r"state.h has shape \[3, 4\], the batch of xs is \[2\]"),
    ("state of one row", lambda: run(state=fresh((1,))), ValueError,
     r"state.h has shape \[1, 4\], the batch of xs is \[2\]"),
    ("state without a batch", lambda: run(state=fresh(())), ValueError,
     r"state.h has shape \[4\], the batch of xs is \[2\]"),
    ("size of state",
     lambda: run(state=fresh((B,), lstm(5), lstm(5).init(KEY, D))), ValueError,
     r"state.h has shape \[2, 5\], lstm\(4\) needs \[2, 4\]"),
    ("dtype of state",
     lambda: run(state=jax.tree.map(lambda a: a.astype(jnp.bfloat16), fresh((B,)))), TypeError,
     r"state.h is bfloat16.*needs float32.*astype\('float32'\)"),
    ("a step that changes the state's dtype",
     lambda: run(cell=by_hand(step=lambda p, s, x: (s.astype(jnp.bfloat16), s)), params=(),
                 xs=jnp.ones(T)), TypeError, r"a step of mine turns state from f.*32.*into bf.*16"),
    ("a step that changes the state's tree",
     lambda: run(cell=by_hand(step=lambda p, s, x: ((s, s), s)), params=(), xs=jnp.ones(T)),
     TypeError, r"the state after a step of mine"),
    # lengths, mask, resets, time
    ("negative lengths", lambda: run(lengths=[1, -1]), ValueError,
     r"lengths\[1\] = -1 is outside \[0, 5\]"),
    ("lengths > T", lambda: run(lengths=[6, 1]), ValueError,
     r"lengths\[0\] = 6 is outside \[0, 5\]"),
    ("float lengths", lambda: run(lengths=[1.0, 2.0]), TypeError, r"lengths must be int.*float32"),
    ("bool lengths", lambda: run(lengths=[True, True]), TypeError, r"lengths must be int.*bool"),
    ("lengths of another batch", lambda: run(lengths=[1, 2, 3]), ValueError,
     r"lengths has shape \[3\], the batch of xs is \[2\]"),
    ("one length", lambda: run(lengths=3), ValueError, r"lengths has shape \[\], the batch.*\[2\]"),
    ("mask not bool", lambda: run(mask=jnp.ones((T, B))), TypeError,
     r"mask must be bool, got float32"),
    ("resets not bool", lambda: run(resets=jnp.ones((T, B), int)), TypeError,
     r"resets must be bool, got int32"),
    ("mask of one row", lambda: run(mask=jnp.ones(T, bool)), ValueError,
     r"mask has shape \[5\], expected \[5, 2\]"),
    ("batch-major mask", lambda: run(mask=jnp.ones((B, T), bool)), ValueError,
     r"mask has shape \[2, 5\], expected \[5, 2\].*time at axis 0"),
    ("batch-major xs, by lengths", lambda: run(xs=XS.swapaxes(0, 1), lengths=[1, 2]), ValueError,
     r"lengths has shape \[2\], the batch of xs is \[5\].*time_axis=1"),
    ("batch-major xs, by state", lambda: run(xs=XS.swapaxes(0, 1), state=fresh((B,))), ValueError,
     r"state.h has shape \[2, 4\], the batch of xs is \[5\].*time_axis=1"),
    ("time-major xs, by lengths",
     lambda: run(lengths=[1, 2], time_axis=1), ValueError, r"lengths.*time_axis=0"),
    ("time_axis -1", lambda: run(time_axis=-1), ValueError, r"time_axis must .*got -1"),
    ("time_axis 2", lambda: run(time_axis=2), ValueError, r"time_axis must lie in 0..1.*got 2"),
    ("time_axis float", lambda: run(time_axis=1.0), TypeError, r"time_axis must be .*got 1.0"),
    ("reverse", lambda: run(reverse=jnp.array(True)), TypeError, r"reverse must be True or False"),
    ("loop_unroll", lambda: run(loop_unroll=0), ValueError, r"loop_unroll .*positive int, got 0"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "error", "message"), [pytest.param(*row[1:], id=row[0]) for row in TABLE]
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message) as raised:
        call()
    assert raised.type is error  # not a subclass that jax or Python raised on the way


def test_errors_are_the_same_under_jit():
    for options, message in [
        ({"xs": XS[..., :2]}, "xs has 2 features, params expect 3"),
        ({"lengths": jnp.ones(3, int)}, "lengths has shape"),
        ({"state": fresh((1,))}, "state.h has shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            jax.jit(lambda options: run(**options))(options)


def test_f64_params_refuse_an_f32_state(x64):
    narrow = jax.tree.map(lambda a: a.astype(jnp.float32), fresh((B,)))
    wide = jax.tree.map(lambda a: a.astype(jnp.float64), (PARAMS, XS))
    with pytest.raises(TypeError, match=r"state.h is float32.*needs float64"):
        run(params=wide[0], xs=wide[1], state=narrow)
