"""The random programs kill compilers that are wrong: one planted fault each.

A fault is a scan that is right but for one thing a recurrence compiler could get wrong. It must
be caught by the programs of test_random_programs.py, run as they are run there.
"""

from __future__ import annotations

from collections.abc import Callable

import hypothesis
import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.extend.core import jaxpr_as_fun

from .common import is_float, plain, slow
from .random_programs import programs
from .test_random_programs import reproducible, run

# name -> (the faulty scan, the feature a program needs to show the fault)
FAULTS: dict[str, tuple[Callable, str]] = {}


def fault(needs: str) -> Callable:
    def register(function: Callable) -> Callable:
        FAULTS[function.__name__] = function, needs
        return function

    return register


# --- faults of the loop ---------------------------------------------------------------------------


@fault(needs="float carry")
def reads_new_state_for_old(step, params, state, xs, **how):
    """A split loop that reads h_t where h_{t-1} is meant."""

    def wrong(params, state, x):
        new, _ = step(params, state, x)
        return new, step(params, new, x)[1]

    return plain(wrong, params, state, xs, **how)


@fault(needs="product")
def reads_old_input_for_new(step, params, state, xs, **how):
    """A projection made for all of time and read one step late."""
    late = jax.tree.map(lambda leaf: jnp.concatenate([leaf[:1], leaf[:-1]]), xs)
    return plain(step, params, state, late, **how)


@fault(needs="float carry")
def ignores_direction(step, params, state, xs, reverse=False, **how):
    return plain(step, params, state, xs, reverse=False, **how)


@fault(needs="float carry")
def returns_state_one_step_early(step, params, state, xs, **how):
    def wrong(params, both, x):
        new, y = step(params, both[0], x)
        return (new, both[0]), y

    (_, early), ys = plain(wrong, params, (state, state), xs, **how)
    return early, ys


def _delay_lines(step, params, state, x) -> list[bool]:
    """For each leaf of the state: is its next value an input x as it stands?"""
    jaxpr = jax.make_jaxpr(step)(params, state, x).jaxpr
    inputs = jaxpr.invars[len(jaxpr.invars) - len(jax.tree.leaves(x)) :]
    return [out in inputs for out in jaxpr.outvars[: len(jax.tree.leaves(state))]]


def _reads_delay_lines_late(step, params, state, xs, first, **how):
    """Runs `step` reading each delay line one step late; `first` replaces the initial value."""

    def wrong(params, carry, x):
        state, held = carry
        leaves, treedef = jax.tree.flatten(state)
        lines = _delay_lines(step, params, state, x)
        read = [h if late else s for s, h, late in zip(leaves, held, lines, strict=True)]
        new, y = step(params, jax.tree.unflatten(treedef, read), x)
        return (new, leaves), y

    (state, _), ys = plain(wrong, params, (state, first), xs, **how)
    return state, ys


@fault(needs="delay carry")
def delay_line_off_by_one(step, params, state, xs, **how):
    return _reads_delay_lines_late(step, params, state, xs, jax.tree.leaves(state), **how)


@fault(needs="delay carry")
def delay_line_forgets_its_start(step, params, state, xs, **how):
    """concat([c[:1], c[:-1]]) for concat([c_0], c[:-1])."""

    def wrong(params, carry, x):
        state, first = carry
        leaves, treedef = jax.tree.flatten(state)
        inputs = jax.tree.leaves(x)
        read = [
            next(
                (
                    jnp.where(first, i, s)
                    for i in inputs
                    if i.shape == s.shape and i.dtype == s.dtype
                ),
                s,
            )
            if late and not jnp.issubdtype(s.dtype, jax.dtypes.prng_key)
            else s
            for s, late in zip(leaves, _delay_lines(step, params, state, x), strict=True)
        ]
        new, y = step(params, jax.tree.unflatten(treedef, read), x)
        return (new, jnp.array(False)), y

    (state, _), ys = plain(wrong, params, (state, jnp.array(True)), xs, **how)
    return state, ys


@fault(needs="key carry")
def key_does_not_advance(step, params, state, xs, **how):
    def wrong(params, state, x):
        new, y = step(params, state, x)

        def keep(n, s):
            return s if jnp.issubdtype(s.dtype, jax.dtypes.prng_key) else n

        return jax.tree.map(keep, new, state), y

    return plain(wrong, params, state, xs, **how)


# --- faults of the gradient -----------------------------------------------------------------------


def _stop(tree):
    return jax.tree.map(lambda leaf: lax.stop_gradient(leaf) if is_float(leaf) else leaf, tree)


@fault(needs="float carry")
def no_gradient_for_initial_state(step, params, state, xs, **how):
    return plain(step, params, _stop(state), xs, **how)


@fault(needs="product")
def no_gradient_for_inputs(step, params, state, xs, **how):
    return plain(step, params, state, _stop(xs), **how)


@fault(needs="product")
def weight_gradient_misses_the_first_step(step, params, state, xs, **how):
    def wrong(params, carry, x):
        state, first = carry

        def use(leaf):
            return jnp.where(first, lax.stop_gradient(leaf), leaf) if is_float(leaf) else leaf

        new, y = step(jax.tree.map(use, params), state, x)
        return (new, jnp.array(False)), y

    (state, _), ys = plain(wrong, params, (state, jnp.array(True)), xs, **how)
    return state, ys


# --- faults of the rewrites: one equation of the step is changed ----------------------------------


def _bind(equation, inputs):
    bind = equation.primitive.get_bind_params(equation.params)
    return equation.primitive.bind(*inputs, **bind)


def _interpreted(change: Callable, step: Callable, constants: Callable = lambda c: c) -> Callable:
    """`step`, equation by equation; `change(index, equations, inputs)` may replace its outputs."""

    def wrong(params, state, x):
        args = (params, state, x)
        jaxpr, shapes = jax.make_jaxpr(step, return_shape=True)(*args)
        env = dict(zip(jaxpr.jaxpr.constvars, constants(jaxpr.consts), strict=True))
        env |= dict(zip(jaxpr.jaxpr.invars, jax.tree.leaves(args), strict=True))

        def read(atom):
            return atom.val if hasattr(atom, "val") else env[atom]

        equations = jaxpr.jaxpr.eqns
        for i, equation in enumerate(equations):
            inputs = [read(atom) for atom in equation.invars]
            outputs = change(i, equations, inputs)
            if outputs is None:
                outputs = _bind(equation, inputs)
            if not equation.primitive.multiple_results:
                outputs = [outputs]
            env |= dict(zip(equation.outvars, outputs, strict=True))
        return jax.tree.unflatten(
            jax.tree.structure(shapes), [read(atom) for atom in jaxpr.jaxpr.outvars]
        )

    return wrong


def _last(name: str, equations: list, accept: Callable = lambda e: True) -> int | None:
    found = [i for i, e in enumerate(equations) if e.primitive.name == name and accept(e)]
    return found[-1] if found else None


def _alike(equation) -> bool:
    a, b = equation.invars[-2:]
    return a.aval.shape == b.aval.shape and a.aval.shape != () and is_float(a.aval)


@fault(needs="product")
def drops_a_term(step, params, state, xs, **how):
    """The last sum of a step loses its second term."""

    def change(i, equations, inputs):
        return inputs[0] if i == _last("add", equations, _alike) else None

    return plain(_interpreted(change, step), params, state, xs, **how)


@fault(needs="cut")
def splits_at_the_wrong_place(step, params, state, xs, **how):
    """A slice moved above an elementwise operation takes the first entries, wherever it was."""

    def change(i, equations, inputs):
        if i != _last("slice", equations, lambda e: any(e.params["start_indices"])):
            return None
        size = equations[i].outvars[0].aval.shape
        return lax.slice(inputs[0], [0] * len(size), size)

    return plain(_interpreted(change, step), params, state, xs, **how)


@fault(needs="shared weight")
def misses_one_use_of_a_shared_weight(step, params, state, xs, **how):
    """The last product by a weight that another product uses too gives it no gradient."""

    def change(i, equations, inputs):
        kinds = ("dot_general", "conv_general_dilated")
        used = [v for e in equations if e.primitive.name in kinds for v in e.invars]

        def shared(equation):
            return used.count(equation.invars[1]) > 1

        if i != _last("dot_general", equations, shared):
            return None
        return lax.dot_general_p.bind(inputs[0], _stop(inputs[1]), **equations[i].params)

    return plain(_interpreted(change, step), params, state, xs, **how)


@fault(needs="convolution")
def convolution_kernel_gets_no_gradient(step, params, state, xs, **how):
    def change(i, equations, inputs):
        if i != _last("conv_general_dilated", equations):
            return None
        bind = equations[i].primitive.bind
        return bind(inputs[0], _stop(inputs[1]), **equations[i].params)

    return plain(_interpreted(change, step), params, state, xs, **how)


@fault(needs="closed-over tracer")
def closed_over_values_get_no_gradient(step, params, state, xs, **how):
    def change(i, equations, inputs):
        return None

    return plain(_interpreted(change, step, _stop), params, state, xs, **how)


@fault(needs="custom_jvp")
def loses_custom_jvp_rules(step, params, state, xs, **how):
    def change(i, equations, inputs):
        if equations[i].primitive.name != "custom_jvp_call":
            return None
        return jaxpr_as_fun(equations[i].params["call_jaxpr"])(*inputs)

    return plain(_interpreted(change, step), params, state, xs, **how)


@slow
@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_killed(name):
    faulty, needs = FAULTS[name]

    @hypothesis.settings(reproducible, phases=[hypothesis.Phase.generate])
    @hypothesis.given(programs())
    def all_programs(program):
        if needs in program.features:  # else it cannot show, and would only be compiled
            run(program, scan=faulty)

    with pytest.raises(AssertionError, match="got"):
        all_programs()


@slow
def test_no_fault_is_found_where_there_is_none():
    """The interpreter that plants faults plants none by itself."""

    def faultless(step, params, state, xs, **how):
        return plain(_interpreted(lambda *_: None, step), params, state, xs, **how)

    @hypothesis.settings(reproducible, phases=[hypothesis.Phase.generate], max_examples=40)
    @hypothesis.given(programs())
    def all_programs(program):
        run(program, scan=faultless)

    all_programs()
