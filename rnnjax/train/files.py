"""What lies outside: a user's files, and packages with data; or one error that says what to do."""

from __future__ import annotations

import importlib
import pathlib
from typing import Any


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
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8: {error.reason} at byte {error.start}: save it as UTF-8"
        ) from None
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
