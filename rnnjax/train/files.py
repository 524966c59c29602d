"""What lies outside: a user's files, and packages with data; or one error that says what to do."""

from __future__ import annotations

import csv
import importlib
import importlib.metadata
import io
import pathlib
from collections.abc import Iterator
from typing import Any

INSTALL = 'pip install "rnnjax[data]"'


def decoded(what: object, data: bytes, hint: str = "") -> str:
    """The text of UTF-8 without its byte order mark; ValueError with the byte where it is not."""
    try:
        return data.decode("utf-8").removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    except UnicodeDecodeError as error:
        where = f"{error.reason} at byte {error.start}"
        raise ValueError(f"{what} is not UTF-8: {where}{hint}") from None


def read_verbatim(path: pathlib.Path, hint: str = "") -> str:
    """The text of a UTF-8 file, its ends of lines as they are; ValueError if it cannot be read."""
    try:
        return decoded(path, path.read_bytes(), hint)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None


def read_utf8(path: str | pathlib.Path) -> str:
    r"""The text of a UTF-8 file, without its byte order mark.

    Args:
      path: the file.

    Returns:
      Its text, with the ends of its lines as "\n".

    Raises:
      ValueError: there is no such file, it cannot be read, it has nothing but blanks, or it is not
        UTF-8 (the message has the byte).
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    text = io.StringIO(read_verbatim(path, ": save it as UTF-8"), newline=None).read()
    if not text.strip():
        raise ValueError(f"{path} is empty")
    return text


def read_columns(path: pathlib.Path, columns: dict[str, str]) -> Iterator[tuple[str, ...]]:
    """The rows of a .csv file whose first line names its columns, of each the columns asked for.

    Args:
      path: the file.
      columns: their names, by the flags that say them.

    Raises:
      ValueError: it cannot be read, is no .csv, lacks a column, or one is empty; says where.
    """
    table = csv.DictReader(io.StringIO(read_verbatim(path), newline=""), strict=True)
    try:
        there = list(table.fieldnames or [])
        for flag, column in columns.items():
            if column not in there:
                raise ValueError(
                    f"{path} has no column {column!r}, but {', '.join(there) or 'none'}: name "
                    f"the right one with {flag}"
                )
        for row in table:
            if None in row:  # what is behind the last column
                raise ValueError(
                    f"{path}, line {table.line_num} has more columns than the first line names: "
                    'put a text with commas in it in "double quotes"'
                )
            for column in columns.values():
                if not (row[column] or "").strip():
                    raise ValueError(
                        f"{path}, line {table.line_num}: the column {column!r} is empty: fill it "
                        "in, or leave the line out"
                    )
            yield tuple(row[column] for column in columns.values())
    except csv.Error as error:
        raise ValueError(f"{path}, line {table.reader.line_num} is no .csv: {error}") from None


def needed(module: str) -> Any:
    """A module of the extra `data`, imported when it is needed.

    Raises:
      ImportError: it is missing; says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"the data or their baselines need {error.name}: {INSTALL}") from error


def carried_by(package: str, name: str) -> pathlib.Path:
    """A file that an installed package carries, without importing it.

    Raises:
      ImportError: the package is missing; says what to install.
    """
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        raise ImportError(f"the data are in the package {package}: {INSTALL}") from None
    found = [pathlib.Path(str(file.locate())) for file in files if file.as_posix() == name]
    if not found:
        raise ImportError(f"{package} is installed without its {name}: {INSTALL}")
    return found[0]
