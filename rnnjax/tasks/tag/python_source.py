"""The kinds of the tokens of Python source: `tokenize` finds them, `ast` tells what grammar knows.

A line here is a logical one, which ends where a statement or its header does. Comments and what is
layout alone, the ends of lines and indentation, are left out.
"""

from __future__ import annotations

import ast
import io
import itertools
import keyword
import pathlib
import sys
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from typing import NamedTuple

from rnnjax.tasks._library import hashed
from rnnjax.tasks.tag.sentence import Sentence

KINDS = (
    *("name", "attribute", "call", "definition", "parameter", "keyword-argument"),
    *("keyword", "soft-keyword", "number", "string", "operator"),
)
_LAYOUT = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
    *(tokenize.ENCODING, tokenize.TYPE_COMMENT),
}
_SIMPLE = {tokenize.NUMBER: "number", tokenize.STRING: "string", tokenize.OP: "operator"}
_FSTRING = {
    getattr(tokenize, name, -1): step
    for name, step in (
        ("FSTRING_START", 1),
        ("FSTRING_END", -1),
        ("TSTRING_START", 1),
        ("TSTRING_END", -1),
    )
}
# Written by each machine's own build or distribution.
_LEFT_OUT = ("_sysconfigdata", "sitecustomize", "usercustomize")
Place = tuple[int, int]  # line from 1, column from 0


class _Token(NamedTuple):
    type: int
    string: str
    start: Place
    end: Place


def library() -> dict[str, list[Sentence]]:
    """The lines of the modules of the running interpreter's standard library, by file.

    Those that are one file, at its top: the same interpreter has the same on every machine. They
    are in an order given by a hash of their names.

    Raises:
      ValueError: the interpreter comes without its sources.
    """
    root = pathlib.Path(sysconfig.get_path("stdlib"))
    files = [path for path in root.glob("*.py") if not path.name.startswith(_LEFT_OUT)]
    if len(files) < 20:
        raise ValueError(
            f"there are {len(files)} Python sources in {root}: train on a file of yours, --conll"
        )
    files.sort(key=lambda path: hashed(path.name))
    return {path.name: kinds(path.read_text(encoding="utf-8"), path.name) for path in files}


def kinds(text: str, name: str = "the source") -> list[Sentence]:
    """The lines of Python source, with the kind of each token.

    A name is a call where it is what is called, whether alone or as an attribute; `match`, `case`,
    `type` and `_` are soft keywords where the grammar takes them as such, else names like others.

    Args:
      text: the source.
      name: what errors call it.

    Returns:
      A `Sentence` for every line that has a token.

    Raises:
      ValueError: it is no source of the running interpreter's Python.

    Example:
      >>> from rnnjax.tasks.tag import kinds
      >>> (line,) = kinds("match = f(x)")
      >>> list(zip(line.tokens, line.tags))[:3]
      [('match', 'name'), ('=', 'operator'), ('f', 'call')]
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the escapes in old sources
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        where = f" at line {line}" if line else ""
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise ValueError(
            f"{name} is no source of Python {python}: {getattr(error, 'msg', error)}{where}"
        ) from None
    starts, ends, cases = _grammar(tree, text)
    lines = []
    for tokens in _lines(text):
        tags = [_kind(token, starts, ends) for token in tokens]
        for at, before in enumerate(tokens[:-1]):
            if before.string in ("def", "class"):
                tags[at + 1] = "definition"
        within = range(tokens[0].start[0], tokens[-1].end[0] + 1)
        if tokens[0].string == "case" and not cases.isdisjoint(within):
            tags[0] = "soft-keyword"
        lines.append(_sentence(tokens, tags))
    return lines


def unlabelled(text: str) -> list[tuple[str, ...]]:
    """The tokens of each line of Python source, as far as they can be told; it may be a piece."""
    return [tuple(token.string for token in tokens) for tokens in _lines(text)]


def soft_lines(lines: list[Sentence]) -> Iterator[Sentence]:
    r"""Lines with soft keywords, which real source hardly has yet, made of real ones.

    `if x:` becomes `match x:`, `except A as e:` becomes `case A as e:`, and `return [1, x], y`
    becomes `case [1, x], _:`. What would be no pattern is left alone.

    Args:
      lines: lines with their kinds.

    Example:
      >>> from rnnjax.tasks.tag import kinds, soft_lines
      >>> (line,) = soft_lines(kinds("if case:\n  pass"))
      >>> list(zip(line.tokens, line.tags))
      [('match', 'soft-keyword'), ('case', 'name'), (':', 'operator')]
    """
    for tokens, tags, blanks in lines:
        soft = ("soft-keyword", *tags[1:])
        if tags[0] != "keyword":
            continue
        if tokens[0] in ("if", "elif", "while") and tokens[-1] == ":":
            yield Sentence(("match", *tokens[1:]), soft, blanks)
        elif tokens[0] == "except" and tokens[-1] == ":" and _pattern(tokens[1:-1], tags[1:-1]):
            yield Sentence(("case", *tokens[1:]), soft, blanks)
        elif tokens[0] == "return" and _pattern(tokens[1:], tags[1:]):
            found = [n for n, tag in enumerate(tags) if tag == "name" and "." not in tokens]
            line, kinds = ["case", *tokens[1:], ":"], [*soft, "operator"]
            if len(found) > 1:
                line[found[-1]], kinds[found[-1]] = "_", "soft-keyword"
            yield Sentence(tuple(line), tuple(kinds), (*blanks, 0))


def _pattern(tokens: tuple[str, ...], tags: tuple[str, ...]) -> bool:
    """Whether an expression, as it stands, is a pattern; some that are will not do."""
    allowed = {"as", "None", "True", "False", "(", ")", "[", "]", ",", "."}
    fits = all(
        token in allowed or tag in ("name", "attribute", "number", "string")
        for token, tag in zip(tokens, tags, strict=True)
    )
    strings = [token for token, tag in zip(tokens, tags, strict=True) if tag == "string"]
    # No subscript, no attribute of a bracket, no f-string, no wildcard that was a name.
    after = any(
        (b in ("[", "(") and a not in ("[", "(", ",")) or (b == "." and a in (")", "]"))
        for a, b in itertools.pairwise(("(", *tokens))
    )
    plain = all(token[0] in "'\"" for token in strings)
    return bool(tokens) and fits and not after and plain and "_" not in tokens


def _lines(text: str) -> Iterator[list[_Token]]:
    """The tokens of every logical line that has any, an f-string as one token."""
    source, line, depth, begin = text.splitlines(keepends=True), [], 0, (0, 0)
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            step = _FSTRING.get(token.type, 0)
            if depth == 0 and step == 1:
                begin = token.start
            depth += step
            if step == -1 and depth == 0:
                whole = _between(source, begin, token.end)
                line.append(_Token(tokenize.STRING, whole, begin, token.end))
            elif depth == 0 and token.type == tokenize.NEWLINE:
                if line:
                    yield line
                line = []
            elif depth == 0 and step == 0 and token.type not in _LAYOUT and token.string.strip():
                line.append(_Token(*token[:4]))
    except (tokenize.TokenError, SyntaxError):  # a piece of source, such as an open bracket
        pass
    if line:
        yield line


def _between(source: list[str], start: Place, end: Place) -> str:
    rows = source[start[0] - 1 : end[0]]
    rows[-1] = rows[-1][: end[1]]
    rows[0] = rows[0][start[1] :]
    return "".join(rows)


def _sentence(tokens: list[_Token], tags: list[str]) -> Sentence:
    """A line as a sentence; what went on on another line goes on behind one blank."""
    blanks = [tokens[0].start[1]]
    for before, token in itertools.pairwise(tokens):
        same = before.end[0] == token.start[0]
        blanks.append(token.start[1] - before.end[1] if same else int(before.string not in "([{"))
    return Sentence(tuple(token.string for token in tokens), tuple(tags), tuple(blanks))


def _kind(token: _Token, starts: dict[Place, str], ends: dict[Place, str]) -> str:
    if token.type != tokenize.NAME:
        return _SIMPLE.get(token.type, "operator")
    if keyword.iskeyword(token.string):
        return "keyword"
    return starts.get(token.start) or ends.get(token.end) or "name"


def _grammar(tree: ast.AST, text: str) -> tuple[dict[Place, str], dict[Place, str], set[int]]:
    """Kinds by where a name starts, and by where it ends; the lines on which patterns start."""
    lines = text.splitlines(keepends=True)

    def column(row: int, byte: int) -> int:
        """`ast` counts bytes, `tokenize` characters."""
        line = lines[row - 1]
        return byte if line.isascii() else len(line.encode()[:byte].decode())

    def start(node: ast.AST) -> Place:
        return node.lineno, column(node.lineno, node.col_offset)  # pyright: ignore

    def end(node: ast.AST) -> Place:
        row, byte = node.end_lineno, node.end_col_offset  # pyright: ignore
        return row, column(row, byte)

    starts, ends, cases, called = {}, {}, set(), set()
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.JoinedStr():
                continue  # one token
            case ast.Call(func=ast.Name() | ast.Attribute()):
                called.add(end(node.func))
            case ast.Attribute():
                ends[end(node)] = "attribute"
            case ast.arg():
                starts[start(node)] = "parameter"
            case ast.keyword(arg=str()):
                starts[start(node)] = "keyword-argument"
            case ast.match_case():
                cases.add(node.pattern.lineno)
            case ast.Match():
                starts[start(node)] = "soft-keyword"
            case ast.MatchAs(pattern=None, name=None):
                starts[start(node)] = "soft-keyword"
            case _ if type(node).__name__ == "TypeAlias":  # from Python 3.12 on
                starts[start(node)] = "soft-keyword"
        waiting.extend(ast.iter_child_nodes(node))
    return starts, {**ends, **dict.fromkeys(called, "call")}, cases
