"""A step as a list of equations.

With `_jax.py` the only file that touches `jax.make_jaxpr` and `jax.extend.core`, which carry no
compatibility promise. Everything else in the compiler sees a `Program`, an equation's public
attributes (`primitive`, `params`, `invars`, `outvars`) and the functions below.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard, cast

import jax
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import (
    ClosedJaxpr,
    DebugInfo,
    Jaxpr,
    JaxprEqn,
    Literal,
    Var,
    jaxpr_as_fun,
    jaxprs_in_params,
    unmapped_aval,
)
from jax.interpreters import ad

from rnnjax._compile._jax import scan_equation
from rnnjax._compile._options import steps
from rnnjax._compile._static import Step

Atom = Var | Literal
Equation = JaxprEqn
Values = Sequence[Any]

# Calls that mean nothing but "do this": their equations are taken into the step.
_INLINED = frozenset({"jit", "pjit", "closed_call", "core_call"})


@dataclass(frozen=True)
class Program:
    """One step: `(fixed, carry, xs) -> (next, ys)`, where `fixed` never changes over time.

    Attributes:
      fixed: Inputs that are the same at every step: parameters, closed-over values.
      constants: Values of fixed variables that no caller passes (literals of inlined calls).
      carry: The state before the step.
      xs: The input of the step.
      eqns: Equations in an order in which they can be evaluated.
      next: The state after the step, one atom per carry.
      ys: The outputs of the step.
      first: The values of `carry` before the first step, from those of the state: a rewrite may
        add to what is carried.
    """

    fixed: tuple[Var, ...]
    constants: Mapping[Var, Any]
    carry: tuple[Var, ...]
    xs: tuple[Var, ...]
    eqns: tuple[Equation, ...]
    next: tuple[Atom, ...]
    ys: tuple[Atom, ...]
    first: Callable[[Sequence[Any]], Sequence[Any]] = list

    @property
    def held(self) -> frozenset[int]:
        """Indices of the carries that never change: they are fixed values in disguise."""
        pairs = zip(self.carry, self.next, strict=True)
        return frozenset(i for i, (before, after) in enumerate(pairs) if after is before)

    def replace(self, **changes: Any) -> Program:
        return replace(self, **changes)


@dataclass(frozen=True)
class Traced:
    """A call of `lax.scan`, seen from outside: equations before it, the scan, equations after it.

    `lax.scan` itself does the tracing, so weak types, shardings, varying axes, closed-over tracers
    and error messages are its own, and `plain` is the reference every plan is compared with.
    """

    program: Program
    length: int
    reverse: bool
    loop_unroll: int
    effects: bool
    _closed: ClosedJaxpr
    _position: int
    _tree: Any

    @property
    def empty(self) -> bool:
        """Whether some array of the step has no elements, as with a batch of none."""
        program = self.program
        return any(
            type_of(v).size == 0 for v in (*program.carry, *program.xs, *variables(program.ys))
        )

    def run(self, body: Callable[..., Sequence[Any]] | None, *args: Any) -> Any:
        """Evaluates the traced call, with `body(fixed, carry, xs)` for its scan, if given."""
        jaxpr = self._closed.jaxpr
        scanned = jaxpr.eqns[self._position]

        def by(eqn: Equation, env: Mapping[Var, Any]) -> Sequence[Any]:
            if eqn is not scanned or body is None:
                return applied(eqn, env)
            values = read(env, eqn.invars)
            fixed, inits = len(self.program.fixed), len(self.program.carry)
            return body(values[:fixed], values[fixed : fixed + inits], values[fixed + inits :])

        env = dict(zip(jaxpr.constvars, self._closed.consts, strict=True))
        env.update(zip(jaxpr.invars, jax.tree.leaves(args), strict=True))
        evaluate(jaxpr.eqns, env, by)
        return jax.tree.unflatten(self._tree, read(env, jaxpr.outvars))


def trace(
    step: Step, params: Any, state: Any, xs: Any, length: int | None, reverse: bool, unroll: int
) -> Traced:
    """Traces `lax.scan(partial(step, params), state, xs)`, calling `step` as often as it does."""

    def plain(params, state, xs):
        # It takes no length that is a symbol; it takes the same from xs.
        told = length if isinstance(length, int) else None
        return lax.scan(functools.partial(step, params), state, xs, told, reverse, unroll)

    closed, shapes = jax.make_jaxpr(plain, return_shape=True)(params, state, xs)
    found = scan_equation(closed, state, xs)
    return Traced(
        program=_program(found.body, found.fixed, found.carries),
        length=steps(xs, length),
        reverse=reverse,
        loop_unroll=unroll,
        effects=bool(closed.effects) or bool(found.body.effects),
        _closed=closed,
        _position=found.position,
        _tree=jax.tree.structure(shapes),
    )


def _program(body: ClosedJaxpr, num_fixed: int, num_carry: int) -> Program:
    constants: dict[Var, Any] = {}
    env: dict[Var, Atom] = {v: v for v in body.jaxpr.invars}
    eqns = tuple(_inline(body, env, constants))
    outs = substitute(env, body.jaxpr.outvars)
    invars = tuple(body.jaxpr.invars)
    return Program(
        fixed=invars[:num_fixed],
        constants=constants,
        carry=invars[num_fixed : num_fixed + num_carry],
        xs=invars[num_fixed + num_carry :],
        eqns=eqns,
        next=outs[:num_carry],
        ys=outs[num_carry:],
    )


def _inline(closed: ClosedJaxpr, env: dict[Var, Atom], constants: dict[Var, Any]):
    """Yields the equations of `closed` with fresh variables and with nested calls opened."""
    for var, value in zip(closed.jaxpr.constvars, closed.consts, strict=True):
        env[var] = fresh = Var(var.aval)
        constants[fresh] = value
    for eqn in closed.jaxpr.eqns:
        inputs = substitute(env, eqn.invars)
        if _transparent(eqn):
            inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
            inner = inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())
            inner_env: dict[Var, Atom] = dict(zip(inner.jaxpr.invars, inputs, strict=True))
            yield from _inline(inner, inner_env, constants)
            env.update(zip(eqn.outvars, substitute(inner_env, inner.jaxpr.outvars), strict=True))
        else:
            fresh = [Var(v.aval) for v in eqn.outvars]
            env.update(zip(eqn.outvars, fresh, strict=True))
            yield eqn.replace(invars=list(inputs), outvars=fresh)


def _transparent(eqn: Equation) -> bool:
    """A nested call without placement of its own."""
    placed = (*eqn.params.get("in_shardings", ()), *eqn.params.get("out_shardings", ()))
    return eqn.primitive.name in _INLINED and all(
        type(sharding).__name__ == "UnspecifiedValue" for sharding in placed
    )


def express(fn: Callable[..., Any], *inputs: Atom) -> tuple[list[Equation], tuple[Atom, ...]]:
    """Equations that compute `fn(*inputs)`, and where its results are: a rewrite is a function."""
    closed = jax.make_jaxpr(fn)(*map(type_of, inputs))
    env: dict[Var, Atom] = dict(zip(closed.jaxpr.invars, inputs, strict=True))
    constants: dict[Var, Any] = {}
    eqns = list(_inline(closed, env, constants))
    if constants:
        raise ValueError("a rewrite must not close over arrays")
    return eqns, substitute(env, closed.jaxpr.outvars)


def apply(eqn: Equation, *values: Any) -> list[Any]:
    """Evaluates one equation on the values of `inputs(eqn)`, keeping its name scopes."""
    names = DebugInfo("step", eqn.primitive.name, None, None)
    single = Jaxpr((), inputs(eqn), eqn.outvars, [eqn], eqn.effects, names)
    return jaxpr_as_fun(ClosedJaxpr(single, ()))(*values)


def transposed(eqn: Equation, params: Mapping[str, Any]) -> Equation:
    """An equation of transposed matrices, with some other parameters and its name scopes."""
    fresh = {
        v: Var(type_of(v).update(shape=type_of(v).shape[::-1]))
        for v in variables((*eqn.invars, *eqn.outvars))
    }
    return eqn.replace(
        invars=[*substitute(fresh, eqn.invars)],
        outvars=[fresh[v] for v in eqn.outvars],
        params={**eqn.params, **params},
    )


def applied(eqn: Equation, env: Mapping[Var, Any]) -> list[Any]:
    """Evaluates one equation where all that it reads has a value."""
    return apply(eqn, *read(env, inputs(eqn)))


def evaluate(
    eqns: Iterable[Equation],
    env: dict[Var, Any],
    by: Callable[[Equation, Mapping[Var, Any]], Sequence[Any]] = applied,
) -> None:
    """Evaluates equations in order, each `by` a function of it and of all values so far.

    Args:
      eqns: The equations.
      env: The values of the variables; gains those that the equations make.
      by: What gives the results of an equation.
    """
    for eqn in eqns:
        env.update(zip(eqn.outvars, by(eqn, env), strict=True))


def inputs(eqn: Equation) -> list[Var]:
    """The distinct variables an equation reads."""
    return list(dict.fromkeys(variables(eqn.invars)))


def read(env: Mapping[Var, Any], atoms: Sequence[Atom]) -> list[Any]:
    """Values of atoms: a literal is its own value."""
    return [atom.val if isinstance(atom, Literal) else env[atom] for atom in atoms]


def among(atom: Atom, group: Container[Var]) -> TypeGuard[Var]:
    """Whether an atom is one of some variables; literals, which have no hash, never are."""
    return isinstance(atom, Var) and atom in group


def substitute(env: Mapping[Var, Atom], atoms: Sequence[Atom]) -> tuple[Atom, ...]:
    """Replaces the variables that `env` names."""
    return tuple(env.get(atom, atom) if isinstance(atom, Var) else atom for atom in atoms)


def like(var: Var) -> Var:
    """A new variable of the type of another."""
    return Var(var.aval)


def variables(atoms: Sequence[Atom]) -> list[Var]:
    """The atoms that are not literals."""
    return [atom for atom in atoms if isinstance(atom, Var)]


def subprograms(eqn: Equation) -> list[Equation]:
    """The equations of the functions an equation calls."""
    return [inner for jaxpr in jaxprs_in_params(eqn.params) for inner in jaxpr.eqns]


def derivative_rule(eqn: Equation) -> list[Equation] | None:
    """The equations of the rule that differentiates a call, if it brings one of its own.

    A `custom_jvp` call brings its tangents, a `custom_vjp` call its forward and backward pass.

    Returns:
      The equations, none for other equations; or None if the rule cannot be traced.
    """
    if eqn.primitive.name not in ("custom_jvp_call", "custom_vjp_call"):
        return []
    call = functools.partial(apply, eqn)
    primals = [type_of(v) for v in inputs(eqn)]

    def jvp(primals: list[Any], tangents: list[Any]) -> Any:
        return jax.jvp(call, primals, tangents)

    def vjp(primals: list[Any], cotangents: list[Any]) -> Any:
        return jax.vjp(call, *primals)[1](cotangents)

    rule, tangents = (
        (jvp, primals)
        if eqn.primitive.name == "custom_jvp_call"
        else (vjp, [type_of(v) for v in eqn.outvars])
    )
    floats = [np.issubdtype(t.dtype, np.inexact) for t in map(_tangent, tangents)]

    def traced(primals: list[Any], floating: list[Any]) -> Any:
        rest = iter(floating)
        zero = [np.zeros(t.shape, jax.dtypes.float0) for t in tangents]
        given = [next(rest) if f else z for f, z in zip(floats, zero, strict=True)]
        return rule(primals, given)

    try:
        floating = [_tangent(t) for t, f in zip(tangents, floats, strict=True) if f]
        return list(jax.make_jaxpr(traced)(primals, floating).eqns)
    except Exception:  # whoever differentiates the step gets this error from the loop
        return None


def _tangent(primal: ShapedArray) -> ShapedArray:
    return cast(ShapedArray, primal.to_tangent_aval())


def type_of(atom: Atom) -> ShapedArray:
    """The full type of a value: shape, dtype, weak type, sharding, varying axes."""
    return cast(ShapedArray, atom.aval)


def zeros(length: int, like: Atom) -> Any:
    """Zeros `[length, ...]` of an atom's full type: dtype, sharding and varying axes included."""
    return ad.instantiate_zeros(ad.Zero(unmapped_aval(length, 0, type_of(like))))
