"""Texts: where they come from, and how they are split."""

from __future__ import annotations

import ast
import pathlib
import warnings
from typing import NamedTuple

from rnnjax.tasks._library import hashed, library_sources
from rnnjax.train.files import read_verbatim

_LIBRARY_CHARACTERS = 2_500_000


class Text(NamedTuple):
    """A corpus, split; each entry is the text of whole files or of one part of a file.

    Attributes:
      train: what the model learns from.
      validation: what choices are made on.
      test: what the result is reported on.
    """

    train: str
    validation: str
    test: str


def standard_library_text() -> Text:
    """The sources of the running interpreter's standard library, split by file.

    The files are those of `sysconfig.get_path("stdlib")` without its tests, in an order and a
    split given by a hash of their names: about 2.5 million characters, of which 5 % of the files
    validate and 5 % test. The same interpreter gives the same text on every machine.

    Returns:
      A `Text`.

    Raises:
      ValueError: the interpreter comes without its sources.

    Example:
      >>> from rnnjax.tasks.language_model import standard_library_text
      >>> text = standard_library_text()
      >>> "def " in text.train and "import " in text.test
      True
    """
    chosen, size = {}, 0
    for name, source in library_sources():
        if size < _LIBRARY_CHARACTERS:
            chosen[name] = source
            size += len(source)
    return _split_files(chosen)


def standard_library_docstrings() -> Text:
    """The documentation strings of the running interpreter's standard library, split by file.

    English prose, of the same files as `standard_library_text` but all of them: about 1.5 million
    characters.

    Returns:
      A `Text`.

    Raises:
      ValueError: the interpreter comes without its sources.
    """
    documented = {}
    for name, source in library_sources():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the escapes in old sources
            nodes = list(ast.walk(ast.parse(source)))
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        found = (ast.get_docstring(node) for node in nodes if isinstance(node, kinds))
        if text := "".join(f"{docstring}\n\n" for docstring in found if docstring):
            documented[name] = text
    return _split_files(documented)


def read_text(path: str | pathlib.Path) -> Text:
    """A user's text: a UTF-8 file, split by position, or a folder of them, split by file.

    Args:
      path: a file; or a folder, all of whose files (at any depth, hidden ones left out) are read.

    Returns:
      A `Text`, about 90 % / 5 % / 5 %.

    Raises:
      ValueError: there is no such file, it is empty, it cannot be read, or it is not UTF-8 (the
        message has the byte offset).
    """
    texts = _read_files(pathlib.Path(path))
    return _split_files(texts) if len(texts) >= 3 else _split_position("".join(texts.values()))


def read_whole(path: str | pathlib.Path) -> str:
    """A user's text in one piece; arguments and errors of `read_text`."""
    return "".join(_read_files(pathlib.Path(path)).values())


def _read_files(path: pathlib.Path) -> dict[str, str]:
    """The text of a file, or of each file of a folder, by name; empty files left out."""
    if path.is_dir():
        files = [
            file
            for file in sorted(path.rglob("*"))
            if file.is_file() and not any(p.startswith(".") for p in file.relative_to(path).parts)
        ]
        texts = {file.relative_to(path).as_posix(): read_verbatim(file) for file in files}
        texts = {name: text for name, text in texts.items() if text}
        if not texts:
            raise ValueError(f"{path} has no files with text in it")
        return texts
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    text = read_verbatim(path)
    if not text:
        raise ValueError(f"{path} is empty")
    return {path.name: text}


def _split_files(texts: dict[str, str]) -> Text:
    """Every 20th file, in the order of a hash of the names, tests, and every 20th validates."""
    names = sorted(texts, key=hashed)
    held = max(1, len(names) // 20)
    test, validation, train = names[:held], names[held : 2 * held], names[2 * held :]
    return Text(*("".join(texts[n] for n in part) for part in (train, validation, test)))


def _split_position(text: str) -> Text:
    """The first 90 % trains; what follows, which training never reads, validates and tests."""
    a, b = int(len(text) * 0.9), int(len(text) * 0.95)
    return Text(text[:a], text[a:b], text[b:])
