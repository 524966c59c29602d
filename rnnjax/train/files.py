"""What lies outside: a user's files, and packages with data; or one error that says what to do."""

from __future__ import annotations

import importlib
import io
import pathlib
from typing import Any


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


def needed(module: str) -> Any:
    """A module of the extra `data`, imported when it is needed.

    Raises:
      ImportError: it is missing; says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        install = 'pip install "rnnjax[data]"'
        raise ImportError(f"the data or their baselines need {error.name}: {install}") from error
