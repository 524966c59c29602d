"""CoNLL files: a token a line, its columns, and a blank line behind every sentence."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Iterator

from rnnjax.tasks.tag.sentence import Sentence
from rnnjax.train.files import read_utf8

_UNIVERSAL = 10  # the columns of CoNLL-U


def read_conll(path: pathlib.Path, token_column: int = 0, tag_column: int = -1) -> list[Sentence]:
    """Reads a file in CoNLL form.

    Columns are separated by tabs, or by blanks in a file without any. `-DOCSTART-` is passed over;
    so are, where there are tabs, comments, which begin with # and have none; and in the ten columns
    of CoNLL-U ranges of words ("3-4") and what was left out ("3.1").

    Args:
      path: a UTF-8 file.
      token_column: where the token is, from 0; negative from the end.
      tag_column: where its tag is.

    Returns:
      The sentences.

    Raises:
      ValueError: the file cannot be read, a line has no such column, or there is no token.
    """
    sentences, rows, text = [], [], read_utf8(path)
    tabs = "\t" in text
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            sentences += _sentence(rows)
            rows = []
            continue
        if tabs and line.startswith("#") and "\t" not in line:
            continue
        columns = line.split("\t") if tabs else line.split()
        if columns[0] == "-DOCSTART-":
            continue
        if len(columns) == _UNIVERSAL and not columns[0].isdecimal():
            head, _, tail = columns[0].replace(".", "-").partition("-")
            if head.isdecimal() and tail.isdecimal():
                continue
        for name, column in (("token_column", token_column), ("tag_column", tag_column)):
            if not -len(columns) <= column < len(columns) or len(columns) < 2:
                raise ValueError(
                    f"line {number} of {path} has {len(columns)} columns, {name} is {column}: give "
                    "a token and its tag on every line, and a blank line behind every sentence"
                )
        token, tag = columns[token_column].strip(), columns[tag_column].strip()
        if not token or not tag:
            raise ValueError(f"line {number} of {path} has an empty column: {line!r}")
        rows.append((token, tag))
    sentences += _sentence(rows)
    if not sentences:
        raise ValueError(f"{path} has no token: give a token and its tag on every line")
    return sentences


def _sentence(rows: list[tuple[str, str]]) -> list[Sentence]:
    """The rows as a sentence, if there are any."""
    if not rows:
        return []
    tokens, tags = zip(*rows, strict=True)
    return [Sentence(tokens, tags, (0, *[1] * (len(rows) - 1)))]


def write_conll(sentences: Iterable[tuple[Iterable[str], Iterable[str]]]) -> Iterator[str]:
    r"""Tokens and tags in CoNLL form, line by line, with a blank line between two sentences.

    Example:
      >>> from rnnjax.tasks.tag import write_conll
      >>> "".join(write_conll([(["a", "dog"], ["DET", "NOUN"])]))
      'a\tDET\ndog\tNOUN'
    """
    for number, (tokens, tags) in enumerate(sentences):
        rows = (
            f"{' '.join(token.split())}\t{tag}" for token, tag in zip(tokens, tags, strict=True)
        )
        yield ("\n\n" if number else "") + "\n".join(rows)
