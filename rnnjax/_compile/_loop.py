"""One loop of a schedule as a function that can be run, and tapped, by `lax.scan`."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._compile._cut import Cut, cut_of, disjoint
from rnnjax._compile._flip import apply_flipped, flipped
from rnnjax._compile._primitives import is_complex, worth_keeping
from rnnjax._compile._product import (
    by_tangent,
    by_weight,
    by_weight_flipped,
    turns,
    weight_is_second,
)
from rnnjax._compile._run import Clock
from rnnjax._compile._schedule import Product, Schedule, Stage
from rnnjax._compile._trace import (
    Equation,
    Values,
    Var,
    among,
    applied,
    evaluate,
    inputs,
    read,
    type_of,
    variables,
    zeros,
)

# What is done to a value that enters or leaves, to an equation, and to a product by a weight.
_AS_IT_IS = (lambda value: value, applied, by_weight)
_FEATURES_FIRST = (flipped, apply_flipped, by_weight_flipped)


class Inlet(NamedTuple):
    """A variable read by the loop for nothing but being added to a product, or to a piece of it.

    Attributes:
      var: The variable: one that is read at each step, or a fixed one such as a bias.
      cut: The cut that makes the piece, or None for the whole product.
      piece: Which piece of that cut it is.
      shape: The shape of what it is added to.
    """

    var: Var
    cut: Cut | None
    piece: int
    shape: tuple[int, ...]


class Loop:
    """A loop of a schedule.

    Attributes:
      products: Products that get their weight as an argument of their own.
      weights: The weight variable of each product.
      consts: The other variables that are fixed.
      xs: The variables that are read at each step.
      flips: Whether matrices are held as [F, B] while it runs.
    """

    def __init__(
        self, schedule: Schedule, stage: Stage, clock: Clock, products: Sequence[Product] = ()
    ):
        self.clock = clock
        self.eqns = stage.eqns
        self.products = products
        self.weights = [product.weight for product in products]
        self.carry = [schedule.program.carry[i] for i in stage.carries]
        self.next = [schedule.program.next[i] for i in stage.carries]
        self.writes = stage.writes
        self.flips = stage.features_first
        self._at = {self.out(i): i for i in range(len(products))}
        self._outputs = {*variables(self.next), *self.writes}
        self._users: dict[Var, list[Equation]] = {}
        used = {*variables(self.next)}
        for eqn in self.eqns:
            used.update(inputs(eqn) if eqn.outvars[0] not in self._at else ())
            for v in variables(eqn.invars):
                self._users.setdefault(v, []).append(eqn)
        self.consts = [v for v in stage.reads if v in used and v not in schedule.varying]
        self.xs = [v for v in stage.reads if v in schedule.varying]

    def run(
        self,
        weights: Values,
        consts: Values,
        carry: Values,
        xs: Values,
        taps: Mapping[Var, Any] | None = None,
        learned: Sequence[int] = (),
    ) -> tuple[tuple[Values, Values], Values]:
        """Runs the loop.

        Args:
          weights: Values of `self.weights`.
          consts: Values of `self.consts`.
          carry: The carries before the first step.
          xs: Values of `self.xs`, over time.
          taps: For some variables what their tangent gains, over time.
          learned: Products whose factor is wanted.

        Returns:
          The carries after the last step and the values of `self.writes` over time; and the
          factors of the learned products over time.
        """
        taps = taps or {}
        flip, evaluated, multiplied = _FEATURES_FIRST if self.flips else _AS_IT_IS
        fixed = dict(zip(self.consts, map(flip, consts), strict=True))
        turned = [
            weight.T if self._is_turned(product, bool(learned)) else None
            for product, weight in zip(self.products, weights, strict=True)
        ]

        def body(carry: Values, now: tuple[Values, Values]) -> tuple[Values, Any]:
            tap_of = dict(zip(taps, now[1], strict=True))

            def by(eqn: Equation, env: Mapping[Var, Any]) -> Values:
                product = self._at.get(eqn.outvars[0])
                if product is None:
                    outs = evaluated(eqn, env)
                else:
                    factor = env[self.products[product].factor]
                    by_turned = functools.partial(multiplied, turned=turned[product])
                    outs = [self.multiply(product, factor, weights[product], by_turned)]
                pairs = zip(eqn.outvars, outs, strict=True)
                return [tapped(out, tap_of[v]) if v in tap_of else out for v, out in pairs]

            env = {**fixed, **dict(zip(self.carry, carry, strict=True))}
            env.update(zip(self.xs, now[0], strict=True))
            evaluate(self.eqns, env, by)
            factors = read(env, [self.products[i].factor for i in learned])
            return read(env, self.next), (read(env, self.writes), factors)

        if learned and not any(map(is_complex, self.eqns)):
            # What is kept for the gradient is written to fresh memory at every step, which costs
            # more than computing sums and products of kept values again. (JAX rounds what a policy
            # keeps by `reduce_precision`, which takes no complex numbers.)
            body = jax.checkpoint(body, policy=worth_keeping, prevent_cse=False)
        over_time = jax.vmap(flip) if self.flips else flip
        now = [over_time(x) for x in xs], [over_time(tap) for tap in taps.values()]
        last, stacked = self.clock.scan(body, [flip(value) for value in carry], now)
        outs, factors = ([over_time(value) for value in values] for values in stacked)
        return ([flip(value) for value in last], outs), factors

    def _is_turned(self, product: Product, learned: bool) -> bool:
        """Whether a product is given a transposed copy of its weight."""
        way_back = learned and turns(self.eqns[product.position], product.factor)
        return self.flips or way_back

    def multiply(self, product: int, factor: Any, weight: Any, by: Any = by_weight) -> Any:
        """One product at one step; a product of matrices is done by `by`."""
        position, factor_var, _ = self.products[product]
        eqn = self.eqns[position]
        if weight_is_second(eqn, factor_var):
            return by(eqn, factor, weight)
        pair = (factor, weight) if eqn.invars[0] is factor_var else (weight, factor)
        return eqn.primitive.bind(*pair, **eqn.params)

    def out(self, product: int) -> Var:
        """The variable that a product is."""
        return self.eqns[self.products[product].position].outvars[0]

    def inlets(self, product: int) -> list[Inlet]:
        """What is added to a product: the product's tangent can gain what theirs would."""
        out = self.out(product)
        cuts = [(eqn, cut_of(eqn)) for eqn in self._users.get(out, ())]
        pieces = [(out, None, 0)]
        if out not in self._outputs and disjoint([cut for _, cut in cuts]):
            pieces += [(v, cut, i) for eqn, cut in cuts for i, v in enumerate(eqn.outvars)]
        found = []
        for var, cut, piece in pieces:
            shape = type_of(var).shape
            found += [Inlet(source, cut, piece, shape) for source in self._added_to(var)]
        return found

    def _added_to(self, var: Var) -> list[Var]:
        """What is added to a variable that is used for nothing else, and to that sum in turn."""
        found = []
        while (user := self._only_user(var)) is not None:
            (out, *_) = user.outvars
            if user.primitive.name == "convert_element_type" and _both_real(var, out):
                var = out
                continue
            if user.primitive.name != "add" or out.aval != var.aval:
                break
            for other in user.invars:
                same_rank = type_of(other).ndim == type_of(var).ndim
                if same_rank and among(other, (*self.xs, *self.consts)) and self._only_user(other):
                    found.append(other)
                    break
            var = out
        return found

    def _only_user(self, var: Var) -> Equation | None:
        users = self._users.get(var, ())
        return users[0] if len(users) == 1 and var not in self._outputs else None

    def gain(self, product: int, factors: Any, weight: Any, added: Mapping[Inlet, Any]) -> Any:
        """What a product gains over time by another weight, and by what is added to it."""
        total = jax.vmap(lambda factor: self.multiply(product, factor, weight, by_tangent))(factors)
        for cut in dict.fromkeys(inlet.cut for inlet in added):
            pieces: dict[int, Any] = {}
            for inlet, value in added.items():
                if inlet.cut == cut:
                    each = self._over_time(inlet, value).astype(total.dtype)
                    pieces[inlet.piece] = pieces.get(inlet.piece, 0) + each
            total = total + (jax.vmap(cut.joined)(pieces, total) if cut else pieces[0])
        return total

    def _over_time(self, inlet: Inlet, value: Any) -> Any:
        """What is added at each step: of something fixed, the same at all of them."""
        each = value if inlet.var in self.xs else self.clock.repeated(value)
        return jnp.broadcast_to(each, (self.clock.length, *inlet.shape))

    def zero(self, var: Var) -> Any:
        """What a tap adds when nothing is gained."""
        return zeros(self.clock.length, var)


def _both_real(*variables: Var) -> bool:
    return all(jnp.issubdtype(type_of(v).dtype, jnp.floating) for v in variables)


@jax.custom_jvp
def tapped(value: Any, tap: Any) -> Any:
    """`value`, whose tangent gains that of `tap`. The tap's own value is never used."""
    del tap
    return value


tapped.defjvp(lambda primals, tangents: (primals[0], tangents[0] + tangents[1]))
