"""Short programs: how they are drawn, what they print, how hard they are."""

from __future__ import annotations

import ast
import operator
import re
from typing import Any

import numpy as np

# How many expressions an operation is made of, whose numbers are of any size.
OPERANDS = {"add": 2, "subtract": 2, "multiply": 1, "assign": 1, "if": 4, "for": 2}
VARIABLES = "abcdefghijklmnopqrstuvwyz"  # x counts the turns of loops
SYMBOLS = "\n ()*+-0123456789:<=>abcdefghijklmnopqrstuvwxyz"
MOST_TURNS = 1000
_BINARY = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
_COMPARED = {ast.Lt: operator.lt, ast.Gt: operator.gt}


def draw_program(rng: np.random.Generator, length: int, nesting: int) -> str:
    """Draws a program that combines so many operations and prints one number.

    They are addition, subtraction, multiplication, assignment, a choice with if and else, and a
    loop that adds to a variable, each as likely as the others; what an operation is made of are
    numbers, or what other operations come to. Numbers are of 1 .. 10^length - 1, but for a factor
    of every multiplication and the turns of every loop, of 1 .. 4 length: so one pass from left to
    right with a memory of constant size is enough.

    Args:
      rng: what it is drawn by.
      length: digits of its numbers, at most.
      nesting: how many operations it has.

    Example:
      >>> import numpy as np
      >>> print(draw_program(np.random.default_rng(11), 3, 2))
      a=135
      r=a
      for x in range(4):r+=205
      print(r)

    Reference:
      Zaremba & Sutskever, Learning to Execute, 2014, arXiv:1410.4615, section 3.
    """
    names = iter(rng.permutation(list(VARIABLES)))

    def number(most: int = 10**length - 1) -> str:
        return str(rng.integers(1, most + 1))

    def drawn(operations: int) -> tuple[str, str]:
        """Statements, and an expression of what they assign."""
        if not operations:
            return "", number()
        kind = list(OPERANDS)[rng.integers(len(OPERANDS))]
        shares = rng.multinomial(operations - 1, np.full(OPERANDS[kind], 1 / OPERANDS[kind]))
        parts = [drawn(share) for share in shares]
        before, values = "".join(part[0] for part in parts), [part[1] for part in parts]
        match kind:
            case "assign":
                name = next(names)
                return f"{before}{name}={values[0]}\n", name
            case "for":
                name, turns = next(names), number(4 * length)
                loop = f"for x in range({turns}):{name}+={values[1]}\n"
                return f"{before}{name}={values[0]}\n{loop}", name
            case "if":
                sign = "<>"[rng.integers(2)]
                return before, f"({values[0]} if {values[1]}{sign}{values[2]} else {values[3]})"
            case "multiply":
                factors = rng.permutation([values[0], number(4 * length)])
                return before, f"({factors[0]}*{factors[1]})"
            case _:
                return before, f"({values[0]}{'+' if kind == 'add' else '-'}{values[1]})"

    statements, expression = drawn(nesting)
    return f"{statements}print({expression})"


def longest(length: int, nesting: int) -> tuple[int, int]:
    """How many symbols `draw_program` and what is printed have at most."""
    turns = len(str(4 * length))
    choice = len("( if < else )") + 3 * length
    loop = len("a=\nfor x in range():a+=\na") + turns + length
    program = len("print()") + length + nesting * max(choice, loop)
    return program, len(str((4 * length + 1) ** nesting * 10**length)) + len("-")


def difficulty(program: str) -> tuple[int, int]:
    r"""A program's length, the digits of its longest number; and its nesting, its operations.

    An assignment and the loop that goes on with it are one operation.

    Example:
      >>> difficulty("a=12\nfor x in range(3):a+=345\nprint((a-6))")
      (3, 2)
    """
    digits = max(map(len, re.findall(r"\d+", program)), default=0)
    return digits, len(re.findall(r"[-*]|\+(?!=)|\bif\b|(?<!\+)=", program))


def renamed(program: str) -> str:
    r"""The program with its variables named by their order: programs that differ in names are one.

    Example:
      >>> renamed("k=3\nprint((k+k))")
      'v0=3\nprint((v0+v0))'
    """
    names: dict[str, str] = {}
    return re.sub(
        r"\b[a-wyz]\b", lambda found: names.setdefault(found[0], f"v{len(names)}"), program
    )


def executed(program: str) -> int:
    r"""What a program prints, worked out step by step; nothing else in it is ever run.

    Raises:
      ValueError: it is no such program as `draw_program` draws; says which line is not.

    Example:
      >>> executed("a=12\nfor x in range(3):a+=345\nprint((a if a<6 else 7))")
      7
    """
    try:
        body = ast.parse(program).body
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{program!r} is no program: {error}") from None
    values: dict[str, int] = {}
    for statement in body[:-1]:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in VARIABLES:
                values[name] = _value(value, values)
            case ast.For(
                target=ast.Name(id="x"),
                iter=ast.Call(
                    func=ast.Name(id="range"), args=[ast.Constant(value=int(turns))], keywords=[]
                ),
                body=[
                    ast.AugAssign(target=ast.Name(id=name) as variable, op=ast.Add(), value=value)
                ],
                orelse=[],
            ) if turns <= MOST_TURNS:
                for _ in range(turns):
                    values[name] = _value(variable, values) + _value(value, values)
            case _:
                raise _unknown(
                    statement, f"NAME=... or for x in range(N):NAME+=..., N up to {MOST_TURNS}"
                )
    match body[-1:]:
        case [ast.Expr(value=ast.Call(func=ast.Name(id="print"), args=[printed], keywords=[]))]:
            return _value(printed, values)
        case _:
            raise ValueError(f"a program ends with one print(...), got {program!r}")


def _value(node: ast.expr, values: dict[str, int]) -> int:
    """What an expression comes to."""
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=name) if name in values:
            return values[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left, values), _value(right, values))
        case ast.IfExp(
            test=ast.Compare(left=left, ops=[op], comparators=[right]), body=body, orelse=other
        ) if type(op) in _COMPARED:
            holds = _COMPARED[type(op)](_value(left, values), _value(right, values))
            return _value(body if holds else other, values)
        case _:
            raise _unknown(node, "numbers, variables with a value, + - *, and ... if ...<... else")


def _unknown(node: Any, known: str) -> ValueError:
    return ValueError(
        f"line {node.lineno} of a program has {ast.unparse(node)!r}: known are {known}"
    )


def read_programs(text: str) -> list[str]:
    """The programs of a text, which empty lines part."""
    parts = re.split(r"\n\s*\n", text.replace("\r\n", "\n").strip())
    return ["\n".join(line.rstrip() for line in part.split("\n")) for part in parts if part]
