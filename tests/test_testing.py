"""`check_cell` passes every cell there is, and catches wrong ones by the law they break."""

import dataclasses
import inspect

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells import KNOWN
from combine.transformations import TRANSFORMATIONS

import rnnjax
from rnnjax.testing import LAWS, check_cell

# The factories of cells, by what they say they return.
EXPORTED = {
    name
    for name, value in vars(rnnjax).items()
    if inspect.isfunction(value)
    and inspect.signature(inspect.unwrap(value), eval_str=True).return_annotation is rnnjax.Cell
}


@pytest.mark.parametrize("name", [
    # A stack, and an elman, stand for the others.
    pytest.param(
        name, marks=pytest.mark.slow if name in ("language-model", "elman-function") else []
    )
    for name in cases.CELLS
])  # fmt: skip
def test_every_cell_keeps_the_contract(name):
    report = check_cell(cases.CELLS[name][0], cases.spec(name), integers=(0, cases.V))
    assert [o.law for o in report.outcomes] == list(LAWS)
    assert {o.outcome for o in report.outcomes} <= {"holds", "no noise", "holds nothing"}


@pytest.mark.parametrize("make", [rnnjax.teacher_forcing, rnnjax.scheduled_sampling])
def test_what_is_taught_keeps_the_contract(make):
    cell = make(rnnjax.stack(rnnjax.gru(3), rnnjax.linear(2)), 2)
    check_cell(cell, (3, 2), batch_shape=(2,))


def test_no_factory_is_forgotten():
    assert {"elman", "gru", "lstm", "stack"} <= EXPORTED
    tested = {cell._recipe[0].__name__ for cell, _ in cases.CELLS.values()}
    tested |= {name.partition("-")[0] for name in TRANSFORMATIONS}  # tests/combine/test_kit.py
    tested |= {known.cell._recipe[0].__name__ for known in KNOWN.values()}
    tested |= {"teacher_forcing", "scheduled_sampling"}  # below
    tested |= {"attend", "attend_after"}  # test_attention.py
    assert tested >= EXPORTED


# --- users' cells --------------------------------------------------------------------------------


def decay_init(key, x_spec):
    return {"a": jnp.full(3, 0.9)}


def decay_state(params, batch_shape=(), *, key=None):
    return jnp.zeros((*batch_shape, 3), params["a"].dtype)


def decay_step(params, h, x):
    h = params["a"] * h + x.astype(params["a"].dtype)
    return h, h


DECAY = rnnjax.Cell(
    name="decay", init=decay_init, initial_state=decay_state, step=decay_step, output_of=lambda h: h
)


def altered(**fields):
    return dataclasses.replace(DECAY, output_of=None, **fields)


def test_inputs_may_be_a_tree_with_integers_and_a_draw():
    def step(params, h, x):
        value, dt, index = x
        decayed = jnp.exp(-params["a"] * dt[..., None].astype(h.dtype)) * h
        h = decayed + jnp.where((index > 0)[..., None], value.astype(h.dtype), 0)
        return h, {"h": h, "n": index}

    def draw(rng, shape):
        return rng.normal(0, 1, (*shape, 3)), rng.uniform(0.1, 1, shape), rng.integers(0, 2, shape)

    spec = (3, jax.ShapeDtypeStruct((), float), jax.ShapeDtypeStruct((), jnp.int32))
    cell = altered(name="gaps", step=step, x_ndims=(1, 0, 0))
    spec = (jax.ShapeDtypeStruct((3,), float), *spec[1:])
    check_cell(cell, spec, draw=draw)


def test_a_cell_without_input():
    def step(params, state, x):
        h, n = state
        h = jnp.tanh(params["a"] * h + 1)
        return (h, n + 1), h * (n % 2)[..., None].astype(h.dtype)

    def initial_state(params, batch_shape=(), *, key=None):
        return decay_state(params, batch_shape), jnp.zeros(batch_shape, jnp.int32)

    check_cell(altered(name="clock", step=step, initial_state=initial_state), None)


# --- wrong cells ---------------------------------------------------------------------------------

calls = iter(range(10**6))


@jax.custom_jvp
def square(x):
    return x * x


@square.defjvp
def _(primals, tangents):
    (x,), (t,) = primals, tangents
    return x * x, x * t


def output_first(params, h, x):
    return decay_step(params, h, x)[0], h


def of_two(step=decay_step):
    """A step for the state (h, memory)."""

    def two(params, state, x):
        h, y = step(params, state[0], x)
        return (h, 0.5 * state[1] + h), y + state[1]

    return two


def shared(params, batch_shape=(), *, key=None):
    return (decay_state(params, batch_shape),) * 2


def with_noise(key_of):
    """State (h, key), the key made by `key_of(key, batch_shape)`."""

    def initial_state(params, batch_shape=(), *, key=None):
        return decay_state(params, batch_shape), key_of(key, batch_shape)

    def step(params, state, x):
        h, y = decay_step(params, state[0], x)
        return (h, state[1]), y

    return {"initial_state": initial_state, "step": step}


def learned_init(key, x_spec):
    return {**decay_init(key, x_spec), "h0": jnp.ones(3)}


# name: (cell, the law it breaks, words of the message)
WRONG = {
    "mean-over-the-batch": (
        altered(step=lambda p, h, x: decay_step(p, h, x - x.mean(0))),
        "rows independent",
        ["state", "t = 0, row = 0", "got ", "expected ", "mixes rows"],
    ),
    "one-noise-for-all-rows": (
        altered(
            step=lambda p, h, x: decay_step(
                p, h, x + jax.random.normal(jax.random.key(0), x.shape, x.dtype)
            )
        ),
        "rows independent",
        ["row = 1"],
    ),
    "batch-axis-hard-coded": (
        altered(
            initial_state=lambda p, batch_shape=(), *, key=None: jnp.zeros((batch_shape[0], 3))
        ),
        "shapes",
        ["IndexError"],
    ),
    "state-without-batch": (
        altered(initial_state=lambda p, batch_shape=(), *, key=None: jnp.zeros(3)),
        "shapes",
        ["state has shape [3]", "(*batch_shape, ...)"],
    ),
    "dtype-drifts": (
        altered(
            initial_state=lambda p, batch_shape=(), *, key=None: jnp.zeros(
                (*batch_shape, 3), jnp.float32
            ),
            step=lambda p, h, x: decay_step(p, h.astype(x.dtype), x),
        ),
        "stable carry",
        ["float32[4, 3] before", "float64[4, 3] after"],
    ),
    "tree-depends-on-the-key": (
        altered(
            initial_state=lambda p, batch_shape=(), *, key=None: {
                "h": decay_state(p, batch_shape),
                **({} if key is None else {"key": rnnjax.noise_keys(key, batch_shape)}),
            },
            step=lambda p, s, x: ({**s, "h": decay_step(p, s["h"], x)[0]}, x),
        ),
        "key tree",
        ["['key']"],
    ),
    "counts-in-python": (
        altered(step=lambda p, h, x: decay_step(p, h, x + float(next(calls)))),
        "pure",
        ["called again", "row = 0"],
    ),
    "global-random-numbers": (
        altered(step=lambda p, h, x: decay_step(p, h, x + np.random.default_rng().normal())),
        "pure",
        ["outside its arguments"],
    ),
    "counts-its-axes": (
        altered(step=lambda p, h, x: decay_step(p, h, x + x.ndim)),
        "rows independent",
        ["row = 0"],
    ),
    "output-is-not-output_of": (
        dataclasses.replace(DECAY, step=output_first),
        "declared",
        ["output_of(state) at row = 0"],
    ),
    "no-derivative-at-zero": (
        altered(step=lambda p, h, x: decay_step(p, h, jnp.sqrt(jnp.square(p["a"] * x)))),
        "masked",
        ["the gradient for params['a']", "got nan", "Cell.fill"],
    ),
    "rows-begin-differently": (
        altered(
            initial_state=lambda p, batch_shape=(), *, key=None: (
                decay_state(p, batch_shape)
                + jnp.arange(float(np.prod(batch_shape))).reshape(*batch_shape, 1)
            )
        ),
        "resets",
        ["y at t = 0, row = 1", "got ", "expected "],
    ),
    "wrong-derivative": (
        altered(step=lambda p, h, x: decay_step(p, h, square(x))),
        "finite differences",
        ["the gradient for xs", "expected"],
    ),
    "dead-parameter": (
        altered(init=learned_init),
        "no dead parameter",
        ["params['h0']", "over 6 steps"],
    ),
    "learned-state-cut-off": (
        altered(
            init=learned_init,
            initial_state=lambda p, batch_shape=(), *, key=None: jnp.tile(
                jax.lax.stop_gradient(p["h0"]), (*batch_shape, 1)
            ),
        ),
        "no dead parameter",
        ["params['h0']"],
    ),
    "noise-ignores-the-key": (
        altered(
            **with_noise(
                lambda key, batch: rnnjax.noise_keys(
                    None if key is None else jax.random.key(0), batch
                )
            )
        ),
        "noise",
        ["state[1] at row = 0", "another key gives the same noise"],
    ),
    "shared-buffers": (
        altered(initial_state=shared, step=of_two()),
        "buffers",
        ["state[1] shares its buffer with state[0]"],
    ),
    "state-is-a-parameter": (
        altered(
            init=learned_init,
            initial_state=lambda p, batch_shape=(), *, key=None: (
                jnp.broadcast_to(p["h0"], (*batch_shape, 3)) if batch_shape else p["h0"]
            ),
        ),
        "buffers",
        ["state shares its buffer with params['h0']"],
    ),
    "weakly-typed": (
        altered(
            initial_state=lambda p, batch_shape=(), *, key=None: jnp.full((*batch_shape, 3), 0.0)
        ),
        "no retrace",
        ["weakly typed"],
    ),
    "state-of-another-precision": (
        altered(
            initial_state=lambda p, batch_shape=(), *, key=None: jnp.zeros((*batch_shape, 3)),
            step=lambda p, h, x: decay_step(p, h.astype(p["a"].dtype), x),
        ),
        "bfloat16",
        ["float64[4, 3] before", "bfloat16[4, 3] after"],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_cell_is_caught_by_its_law(name):
    cell, law, words = WRONG[name]
    with pytest.raises(AssertionError) as caught:
        check_cell(dataclasses.replace(cell, name=name), 3)
    message = str(caught.value)
    assert message.startswith(f'{name} breaks "{law}" (')
    for word in [*words, "Likely cause: "]:
        assert word in message, message


def test_fill_mends_the_cell_without_derivative_at_zero():
    cell, _, _ = WRONG["no-derivative-at-zero"]
    check_cell(dataclasses.replace(cell, fill=1.0), 3)


# --- complex numbers ------------------------------------------------------------------------------


def turning_init(key, x_spec):
    return {"turn": jnp.full(3, jnp.exp(0.5j), jax.dtypes.canonicalize_dtype(complex))}


def turning_state(params, batch_shape=(), *, key=None):
    return jnp.zeros((*batch_shape, 3), params["turn"].dtype)


def turning_step(params, h, x):
    h = 0.5 * params["turn"] * h + x.astype(h.dtype)
    return h, h


TURNING = rnnjax.Cell(
    name="turning", init=turning_init, initial_state=turning_state, step=turning_step,
    output_of=lambda h: h,
)  # fmt: skip
COMPLEX = jax.ShapeDtypeStruct((3,), jnp.complex64)


def cut_off(a):
    return jax.lax.complex(a.real, jax.lax.stop_gradient(a.imag))


def test_params_states_inputs_and_outputs_may_be_complex():
    report = check_cell(TURNING, COMPLEX, batch_shape=(2,))
    assert {o.outcome for o in report.outcomes} == {"holds", "no noise", "holds nothing"}


@pytest.mark.parametrize("where", ["params['turn']", "state", "xs"])
def test_a_wrong_gradient_of_imaginary_parts_is_caught(where):
    def step(params, h, x):
        if where == "xs":
            return turning_step(params, h, cut_off(x))
        if where == "state":
            return turning_step(params, cut_off(h), x)
        return turning_step({"turn": cut_off(params["turn"])}, h, x)

    cell = dataclasses.replace(TURNING, step=step)
    with pytest.raises(AssertionError, match="finite differences"):
        check_cell(cell, COMPLEX, batch_shape=(2,))


# --- options -------------------------------------------------------------------------------------


def test_skip_and_its_report():
    report = check_cell(DECAY, 3, skip=[name for name in LAWS if name != "stable carry"])
    assert [o.outcome for o in report.outcomes].count("skipped") == len(LAWS) - 1
    assert str(report).startswith("decay\nshapes")
    assert "holds" in str(report)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"skip": ["speed"]}, ValueError, "skip names no law 'speed'; the laws are shapes, stable"),
        ({"dtype": "int8"}, ValueError, "dtype must be"),
        ({"batch_shape": (1,)}, ValueError, "batch_shape must hold two rows"),
        ({"cell": rnnjax.lstm}, TypeError, "cell must be a Cell"),
        ({"cell": rnnjax.lstm(2), "x_spec": (3, 3)}, TypeError, "lstm.2. needs one array"),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        check_cell(**{"cell": DECAY, "x_spec": 3, **arguments})


def test_float32_and_loose_tolerances():
    only = [name for name in LAWS if name not in ("shapes", "stable carry", "pure", "compiled")]
    check_cell(DECAY, 3, dtype="float32", skip=only)
    with pytest.raises(AssertionError, match="rows independent"):
        check_cell(WRONG["mean-over-the-batch"][0], 3, tolerances={"float64": 1e-3})
    check_cell(WRONG["mean-over-the-batch"][0], 3, tolerances={"float64": 100.0}, skip=only[1:])
