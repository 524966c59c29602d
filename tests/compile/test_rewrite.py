"""Rewrites keep the value and change what they are meant to change; planted faults are seen."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax._compile import _cut, _loop, _rewrite, _run, plan, scan
from rnnjax._compile._rewrite import rewrite, tidy
from rnnjax._compile._rules import reassociated_sum
from rnnjax._compile._trace import Program, inputs, read, trace
from rnnjax._compile._trace import evaluate as evaluated

from .common import assert_same, check_step, normal, plain
from .steps import H0, STEPS, XS, H


def program_of(step, params, state, xs) -> Program:
    return trace(step, params, state, xs, None, False, 1).program


def evaluate(program: Program, fixed, carry, xs):
    env = dict(program.constants)
    for variables, values in ((program.fixed, fixed), (program.carry, carry), (program.xs, xs)):
        env.update(zip(variables, values, strict=True))
    evaluated(program.eqns, env)
    return read(env, (*program.next, *program.ys))


def names(program: Program) -> list[str]:
    return [eqn.primitive.name for eqn in program.eqns]


@pytest.mark.parametrize("name", STEPS)
def test_one_step_is_the_same(name):
    before = program_of(*STEPS[name][:4])
    after = rewrite(before)

    def random(variables, seed):
        rng = np.random.default_rng(seed)
        return [jnp.asarray(rng.normal(size=v.aval.shape) * 2, v.aval.dtype) for v in variables]

    values = [random(v, i) for i, v in enumerate((before.fixed, before.carry, before.xs))]
    for a, b in zip(evaluate(after, *values), evaluate(before, *values), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_common_subexpressions_are_shared_and_unused_ones_dropped():
    def step(p, h, x):
        jnp.sin(x)
        return jnp.tanh(x @ p) + jnp.tanh(x @ p) + h, x

    found = names(tidy(program_of(step, normal(1, H, H), H0, XS)))
    assert found.count("dot_general") == found.count("tanh") == 1
    assert "sin" not in found


def test_different_literals_are_not_shared():
    def step(p, h, x):
        return h + (x + 0.0) * (x + 1.0) * (x - 0.0), x

    check_step(scan, step, (), H0, XS)
    assert names(tidy(program_of(step, (), H0, XS))).count("add") == 3


def test_different_parameters_are_not_shared():
    def step(p, h, x):
        return h + x.max(1) * x[:, 0] - x.min(1) * x[:, 1], x

    h = H0[:, 0]
    check_step(scan, step, (), h, XS)
    assert names(tidy(program_of(step, (), h, XS))).count("slice") == 2


def test_a_choice_between_one_value_and_itself_is_none():
    def step(p, state, x):
        kept, h = state
        h = jnp.tanh(h + x * kept)
        return (jnp.where(x[:, :1] > 0, kept, kept), jnp.where(x > 0, h, state[1])), h

    program = rewrite(program_of(step, (), (H0, H0), XS))
    assert names(program).count("select_n") == 1
    assert program.held == {0}, "what is never changed is no carry"


def test_weights_come_second_where_rows_were_mapped():
    program = rewrite(program_of(*STEPS["rows"][:4]))
    assert "transpose" not in names(program)
    products = [eqn for eqn in program.eqns if eqn.primitive.name == "dot_general"]
    fixed = {*program.fixed, *program.constants}
    assert [eqn.invars[1] in fixed for eqn in products] == [True, True]


def test_product_of_concatenation():
    program = rewrite(program_of(*STEPS["concatenated_lstm"][:4]))
    products = [eqn for eqn in program.eqns if eqn.primitive.name == "dot_general"]
    assert len(products) == 2, "x @ W_x and h @ W_h"
    joined = [e for e in program.eqns if e.primitive.name == "concatenate"]
    assert all(set(inputs(e)) <= set(program.fixed) for e in joined), "only weights are joined"


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16], ids=lambda d: d.__name__)
def test_parts_of_a_product_are_summed_before_they_are_rounded(dtype):
    """One product of [x, h] is summed in float32; x @ W_x alone may be beyond float16."""

    def step(w, h, x):
        z = jnp.concatenate([x, h], -1) @ w
        return jnp.tanh(z * 1e-3), z

    large = [jnp.full(shape, v, dtype) for shape, v in [((8, 4), 200), ((3, 4), -99.5)]]
    xs = jnp.full((2, 3, 4), 100, dtype)
    assert_same(scan(step, *large, xs)[1][0], plain(step, *large, xs)[1][0], tol=0)

    args = [normal(i, *shape).astype(dtype) for i, shape in enumerate([(8, 4), (3, 4), (5, 3, 4)])]
    found = plan(step, *args)
    assert [(c.kind, c.products) for c in found.components[-2:]] == [("parallel", 1), ("loop", 1)]
    check_step(scan, step, *args, tol=2e-2, quick=False)


def test_a_product_summed_as_prescribed_stays_whole():
    def step(w, h, x):
        z = jnp.matmul(jnp.concatenate([x, h], -1), w, precision="F16_F16_F16")
        return jnp.tanh(z), z

    w, h, xs = (jnp.zeros(shape, jnp.float16) for shape in [(8, 4), (3, 4), (2, 3, 4)])
    assert names(rewrite(program_of(step, w, h, xs))).count("dot_general") == 1


def test_a_sum_that_rounds_keeps_its_order():
    """`(z + c) - c`, with a large c, rounds z: nothing may leave that sum, or join it."""

    def step(p, h, x):
        w, c, row = p
        u, v, z = x @ w, jnp.sin(x) @ w, h @ w
        rounded = [(4 * z + c) + -c, (u + z + c) - c, u + ((z + c) + -c) + v, (u + z + row) - row]
        return jnp.tanh(sum(map(jnp.sin, rounded))), rounded

    c = jnp.asarray(1.5 * 2.0**52)
    args = step, (normal(1, H, H), c, jnp.full((1, H), c)), H0, XS
    assert_same(scan(*args), plain(*args))


def test_a_step_may_be_long(monkeypatch):
    """More equations in a row than Python has frames, and no rule takes them one at a time."""
    terms, rounds = 1500, []

    def counted(*args):
        rounds.append(args)
        return original(*args)

    def echo(w, h, x):
        return jnp.tanh(functools.reduce(lambda z, _: z + h * 1e-3, range(terms), x @ w)), x

    def turned(w, h, x):
        z = functools.reduce(lambda z, _: z * 0.9999, range(terms), w @ h.T)
        return jnp.tanh(z.T + x), x

    def cut(w, h, x):
        z = functools.reduce(lambda z, _: z * 0.9999 + x, range(terms), h @ w)
        return jnp.tanh(jnp.concatenate(jnp.split(z, 2, -1)[::-1], -1)), x

    original = _rewrite._matches
    monkeypatch.setattr(_rewrite, "_matches", counted)
    for step in (echo, turned, cut):
        kinds = [c.kind for c in plan(step, normal(1, H, H), H0, XS).components]
        assert kinds[-1] in ("loop", "plain")
    assert len(rounds) < 30


def test_loop_reads_pieces():
    """Of the four gates each is an array of its own before the loop."""
    for name in ("lstm", "sliced_lstm"):
        executed = jax.make_jaxpr(functools.partial(scan, STEPS[name][0]))(*STEPS[name][1:4])
        (call,) = executed.eqns
        scans = [e for e in _all(call.params["jaxpr"].jaxpr) if e.primitive.name == "scan"]
        shapes = [v.aval.shape for v in scans[0].invars if v.aval.shape[:1] == (6,)]
        assert shapes == [(6, 3, H)] * 4


def _all(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in jax.extend.core.jaxprs_in_params(eqn.params):
            yield from _all(inner)


# --- planted faults -------------------------------------------------------------------------------


def _missing_use(original):
    """The second use of a shared weight adds nothing to its gradient."""

    def gain(self, product, *args):
        return original(self, product, *args) * float(product == 0)

    return gain


def _new_for_old(original):
    """What leaves a loop as h_{t-1} is h_t."""

    def init(self, *args, **kwargs):
        original(self, *args, **kwargs)
        now = dict(zip(self.carry, self.next, strict=True))
        self.writes = [now.get(v, v) for v in self.writes]

    return init


def _no_delay(original):
    return lambda self, first, values: values


def _delay_forgets(original):
    return lambda self, first, values: original(self, values[0], values)


def _dropped_term(original):
    def dropped(context, eqn):
        if (found := reassociated_sum(context, eqn)) is None:
            return None
        body, outs = found
        (other, *_) = [v for e in body for v in inputs(e) if v.aval == outs[0].aval]
        return body, (other,)

    planted = {reassociated_sum: dropped}
    return [r._replace(replacement=planted.get(r.replacement, r.replacement)) for r in original]


def _swapped_pieces(original):
    return lambda self, value: original(self, value)[::-1]


def _late_factor(original):
    """The deferred gradient pairs dz_t with a_{t+1}."""

    def gain(self, product, factors, *args):
        return original(self, product, jnp.roll(factors, -1, axis=0), *args)

    return gain


FAULTS = {
    "missing use of a shared weight": (_loop.Loop, "gain", _missing_use, "twice"),
    "h_t for h_{t-1}": (_loop.Loop, "__init__", _new_for_old, "twice"),
    "no delay": (_run.Clock, "delayed", _no_delay, "delayed"),
    "delay forgets its start": (_run.Clock, "delayed", _delay_forgets, "delayed"),
    "dropped term": (_rewrite, "RULES", _dropped_term, "twofold"),
    "swapped pieces": (_cut.Cut, "of", _swapped_pieces, "lstm"),
    "late factor": (_loop.Loop, "gain", _late_factor, "elman"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_seen(monkeypatch, fault):
    where, name, plant, step = FAULTS[fault]
    monkeypatch.setattr(where, name, plant(getattr(where, name)))
    original = STEPS[step][0]

    def fresh(*args):  # a plan made without the fault must not be remembered
        return original(*args)

    with pytest.raises(AssertionError, match="differs"):
        check_step(scan, fresh, *STEPS[step][1:4])
