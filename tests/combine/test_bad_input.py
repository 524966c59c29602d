"""Bad input to transformations: the argument, what came, what was expected, what to do."""

import jax
import jax.numpy as jnp
import pytest

import rnnjax
from rnnjax import LSTMState, linear, lstm

KEY = jax.random.key(0)
CELL, D = lstm(4), 3
STACK = rnnjax.stack(CELL, linear(2))


def run(cell, x=None, **options):
    params = cell.init(KEY, D)
    return cell.step(params, cell.initial_state(params, **options), jnp.ones(D) if x is None else x)


SYMBOLS = rnnjax.stack(rnnjax.embed(5, 2), CELL, linear(5))


def read(make, size, x):
    cell = make(SYMBOLS, size, feed="argmax")
    params = cell.init(KEY, rnnjax.tokens())
    return cell.step(params, cell.initial_state(params), x)


def conv(params, state, x):
    return state, params["w"] + state


CONV = rnnjax.Cell(
    "conv",
    lambda key, x_spec: {"w": jnp.ones((2, 2, 2))},
    lambda params, batch=(), *, key=None: jnp.zeros((*batch, 2)),
    conv,
    recurrent=("w",),
)
DENSE = rnnjax.Cell(
    "dense",
    lambda key, x_spec: {"w": jnp.ones((2, 2))},
    lambda params, batch=(), *, key=None: jnp.zeros((*batch, 2)),
    lambda params, h, x: (jnp.dot(h, params["w"]), h),
    recurrent=("w",),
)
WRAPPERS = "residual highway learned_state emit_state orthogonal spectral leaky".split()

TABLE = [
    *(
        (f"{name} of a function", lambda name=name: getattr(rnnjax, name)(abs), TypeError,
         rf"{name}: cell must be a Cell, got abs: .*activation\(")
        for name in WRAPPERS
    ),
    ("a factory", lambda: rnnjax.residual(lstm), TypeError, r"got lstm: call a factory"),
    ("option for a part", lambda: rnnjax.stack(rnn=CELL, dropout=0.5), TypeError,
     r"stack: named\[dropout\] must be a Cell, got float: wrap the cell, as in input_dropout"),
    ("no cells", lambda: rnnjax.parallel(), ValueError, r"parallel needs at least one part"),
    ("a list", lambda: rnnjax.parallel([CELL]), TypeError,
     r"cells\[0\].*list.*parallel\(\*cells\)"),
    ("merge", lambda: rnnjax.parallel(CELL, merge="max"), ValueError,
     r"merge .*concat, sum.*'max'"),
    *(
        (f"sizes to be added, {merge}",
         lambda merge=merge: run(rnnjax.parallel(CELL, rnnjax.gru(1), merge=merge)), ValueError,
         r"4 and 1 features cannot be added")
        for merge in ("sum", "mean")
    ),
    ("x_ndims", lambda: rnnjax.parallel(CELL, rnnjax.embed(3, 4)), ValueError,
     r"cells\[1\], embed\(3, 4\), has x_ndims=0, but lstm\(4\) has 1"),
    ("shortcut", lambda: run(rnnjax.residual(CELL)), ValueError,
     r"residual.*input has shape \[3\], but lstm\(4\) gives \[4\]: .*linear"),
    ("gated shortcut", lambda: run(rnnjax.highway(CELL)), ValueError, r"highway.*\[3\].*\[4\]"),
    ("nothing to learn", lambda: run(rnnjax.learned_state(linear(2))), TypeError,
     r"linear\(2\) has no state to learn"),
    # declarations
    ("zoneout, no output_of", lambda: rnnjax.zoneout(STACK, 0.1), TypeError,
     r"zoneout.*declares no output_of.*before stacking"),
    ("leaky, no output_of", lambda: rnnjax.leaky(STACK), TypeError, r"leaky.*no output_of"),
    *(
        (f"{name}, no recurrent", lambda make=make: make(linear(2)), TypeError,
         rf'{name}.*linear\(2\) declares no recurrent weights: .*recurrent=\("w_h",\)')
        for name, make in {
            "recurrent_dropout": lambda c: rnnjax.recurrent_dropout(c, 0.1),
            "weight_drop": lambda c: rnnjax.weight_drop(c, 0.1),
            "drop_weights": lambda c: rnnjax.drop_weights(c, (), 0.1, key=KEY),
            "spectral": rnnjax.spectral,
            "orthogonal": rnnjax.orthogonal,
        }.items()
    ),
    ("not a matrix", lambda: run(rnnjax.weight_drop(CONV, 0.1), key=KEY), TypeError,
     r"weight_drop.*needs recurrent weights \[H, K\], got shape \[2, 2, 2\]"),
    ("not blocks", lambda: run(rnnjax.orthogonal(CONV)), TypeError, r"\[H, G H\], got \[2, 2, 2\]"),
    ("not h @ w", lambda: run(rnnjax.recurrent_dropout(DENSE, 0.1), key=KEY), TypeError,
     r"Recurrent"),
    # rates and numbers
    ("rate 1", lambda: rnnjax.input_dropout(CELL, 1.0), ValueError, r"rate .*\[0, 1\), got 1.0"),
    ("rate str", lambda: rnnjax.weight_drop(CELL, "a"), TypeError, r"rate .*got 'a'"),
    ("drop rate", lambda: rnnjax.drop_weights(CELL, (), 1.5, key=KEY), ValueError, r"got 1.5"),
    ("variational", lambda: rnnjax.recurrent_dropout(CELL, 0.1, variational=1), TypeError,
     r"variational must be True or False, got 1"),
    ("no rates", lambda: rnnjax.zoneout(CELL), TypeError, r"zoneout needs rates, or h= and c="),
    ("rates twice", lambda: rnnjax.zoneout(CELL, 0.1, h=0.1), TypeError, r"and not both"),
    ("zoneout rate", lambda: rnnjax.zoneout(CELL, h=2), ValueError,
     r"zoneout: h .*\[0, 1\), got 2"),
    ("no leaf c", lambda: run(rnnjax.zoneout(rnnjax.gru(4), c=0.1)), TypeError,
     r"no leaf named c: give rates"),
    ("no prefix", lambda: run(rnnjax.zoneout(CELL, (0.1, 0.2, 0.3))), TypeError, r"no prefix"),
    ("limit", lambda: rnnjax.clip_gradient(CELL, 0), ValueError, r"limit must be a positive"),
    ("limit 0", lambda: rnnjax.clip_state(CELL, 0), ValueError, r"clip_state: limit must be a pos"),
    ("leak", lambda: rnnjax.leaky(CELL, 0.0), ValueError, r"rate must be .*\(0, 1\], got 0.0"),
    ("learned leak", lambda: rnnjax.learned_leaky(CELL, 1.0), ValueError, r"\(0, 1\), got 1.0"),
    ("per", lambda: rnnjax.learned_leaky(CELL, per="row"), ValueError, r"leaf, unit, got 'row'"),
    ("learn", lambda: rnnjax.leaky(CELL, learn="unit"), TypeError, r"use learned_leaky"),
    ("norm", lambda: rnnjax.spectral(CELL, -1), ValueError, r"norm must be a positive number"),
    ("layer_norm", lambda: lstm(4, layer_norm=True), TypeError,
     r"lstm\(\): .*unexpected.*'layer_norm': .*layer_norm_lstm"),
    # dtypes
    ("compute", lambda: rnnjax.cast(CELL, "int32"), TypeError,
     r"cast: compute .*floating.*'int32'"),
    ("not a dtype", lambda: rnnjax.cast(CELL, "half?"), TypeError, r"compute .*got 'half\?'"),
    ("two computes", lambda: rnnjax.cast(CELL, ("float32", "float32")), TypeError, r"one floating"),
    ("state dtypes", lambda: run(rnnjax.cast(rnnjax.gru(4), "bfloat16",
                                             state=LSTMState(h="bfloat16", c="float32"))),
     TypeError, r"state has the tree .*no prefix"),
    # feedback
    ("forcing", lambda: rnnjax.feedback(CELL, 4, forcing=1), TypeError, r"use teacher_forcing"),
    ("forced rate", lambda: rnnjax.scheduled_sampling(CELL, 4, rate=2), ValueError,
     r"probability.*got 2"),
    ("feed", lambda: rnnjax.feedback(CELL, 4, feed="x"), ValueError, r"output, argmax, sample"),
    ("size", lambda: rnnjax.feedback(CELL, 0), ValueError, r"feedback: size .*got 0"),
    ("fed size", lambda: run(rnnjax.feedback(CELL, 5)), ValueError,
     r"gives outputs of shape \[4\], expected \[5\]: pass size=4"),
    ("output of symbols", lambda: rnnjax.feedback(SYMBOLS, 5), TypeError,
     r"takes symbols, but puts logits out: pass feed='argmax'"),
    ("first", lambda: rnnjax.feedback(SYMBOLS, 5, feed="argmax", first=5), ValueError,
     r"first must be one of the 5 symbols .*got 5"),
    ("first vector", lambda: rnnjax.feedback(CELL, 4, first=1), ValueError, r"first must.*got 1"),
    ("symbols in", lambda: read(rnnjax.feedback, 5, jnp.array(1)),
     TypeError, r"needs None, with length=T, as xs, got"),
    ("no symbols", lambda: read(rnnjax.teacher_forcing, 5, None),
     TypeError, r"needs the symbols d_t as xs, got NoneType"),
    ("size of symbols", lambda: read(rnnjax.teacher_forcing, 4, jnp.array(1)),
     ValueError, r"outputs of shape \[5\], expected \[4\]: pass size=5"),
    ("tokens", lambda: run(rnnjax.input_dropout(rnnjax.activation(abs), 0.1), jnp.ones(3, int)),
     TypeError, r"floating-point xs, got int32: put it above the embedding"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), [
    pytest.param(*row[1:], id=row[0]) for row in TABLE
])  # fmt: skip
def test_message(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_teacher_forcing_needs_pairs():
    cell = rnnjax.teacher_forcing(CELL, 4)
    with pytest.raises(TypeError, match=r"needs pairs \(x_t, d_t\).*got ShapeDtypeStruct"):
        cell.init(KEY, D)
