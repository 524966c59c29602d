"""What a rewriting rule may ask about the program around an equation."""

from __future__ import annotations

from collections.abc import Callable

from rnnjax._compile._cut import cut_of
from rnnjax._compile._graph import condense, time_varying
from rnnjax._compile._primitives import ELEMENTWISE, PRODUCTS
from rnnjax._compile._trace import Atom, Equation, Program, Var, among, type_of, variables


class Context:
    """What a rule may ask about the program around an equation."""

    def __init__(self, program: Program):
        self._graph = condense(program)
        self._maker = {v: eqn for eqn in program.eqns for v in eqn.outvars}
        self._users: dict[Var, list[Equation]] = {}
        for eqn in program.eqns:
            for v in variables(eqn.invars):
                self._users.setdefault(v, []).append(eqn)
        self._outputs = set(variables((*program.next, *program.ys)))
        self.varying = time_varying(program)
        self.multiplied = self._multiplied(program)
        self.in_pieces = self._in_pieces(program)

    def maker(self, atom: Atom) -> Equation | None:
        """The equation that computes an atom."""
        return self._maker.get(atom) if isinstance(atom, Var) else None

    def users(self, var: Var) -> list[Equation] | None:
        """The equations that read a variable, or None if it is also an output of the step."""
        return None if var in self._outputs else self._users.get(var, [])

    def recurrence(self, atom: Atom) -> int | None:
        """The cycle that computes an atom, or None."""
        return self._graph.cycle_of(atom)

    def above(
        self, atom: Atom, taken: Callable[[Equation], bool], through: Callable[[Equation], bool]
    ) -> list[Equation]:
        """The equations that make an atom from those that are not `taken`, in program order.

        Args:
          atom: What they make; it comes last.
          taken: Whether an equation is one of them.
          through: Whether those above it may be, too.
        """
        found: dict[int, Equation] = {}
        rest = [atom]
        while rest:
            made = self.maker(rest.pop())
            if made is None or not taken(made):
                continue
            place = self._graph.producers[made.outvars[0]]
            if place not in found:
                found[place] = made
                rest += made.invars if through(made) else []
        return [found[place] for place in sorted(found)]

    def _multiplied(self, program: Program) -> set[Var]:
        """What is made of products outside any recurrence, for all of time at once."""
        found: set[Var] = set()
        for eqn in program.eqns:
            alone = sum(among(operand, self.varying) for operand in eqn.invars) == 1
            if self.recurrence(eqn.outvars[0]) is None and (
                (eqn.primitive.name in PRODUCTS and alone)
                or any(among(operand, found) for operand in eqn.invars)
            ):
                found.update(eqn.outvars)
        return found

    def _in_pieces(self, program: Program) -> set[Var]:
        """What is read in pieces alone, and is made elementwise of something outside its loop."""
        read: set[Var] = set()
        for eqn in reversed(program.eqns):
            (out, *_) = eqn.outvars
            users = self.users(out)
            elementwise = eqn.primitive.name in ELEMENTWISE and self.recurrence(out) is not None
            if elementwise and users and all(_cuts(user, out, read) for user in users):
                read.add(out)
        found: set[Var] = set()
        for eqn in program.eqns:
            (out, *_) = eqn.outvars
            if out in read and any(
                among(operand, found)
                or (self.recurrence(operand) != self.recurrence(out) and type_of(operand).ndim)
                for operand in eqn.invars
            ):
                found.add(out)
        return found


def _cuts(user: Equation, var: Var, read: set[Var]) -> bool:
    """Whether an equation cuts a variable, or is read in pieces itself and of the same shape."""
    (out, *_) = user.outvars
    return cut_of(user) is not None or (out in read and type_of(out).shape == type_of(var).shape)
