"""What a console shows: never an error for a character that its encoding lacks."""

from __future__ import annotations

from typing import Any, TextIO, cast


class _Lenient:
    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:
            encoding = getattr(self._stream, "encoding", None) or "ascii"
            return self._stream.write(text.encode(encoding, "replace").decode(encoding))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def lenient(stream: TextIO) -> TextIO:
    """The stream, with ? written for what its encoding lacks.

    Example:
      >>> import io
      >>> from rnnjax.train.console import lenient
      >>> console = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
      >>> print("é 界", file=lenient(console), flush=True)
      >>> console.buffer.getvalue().decode("cp1252").rstrip()
      'é ?'
    """
    return cast(TextIO, _Lenient(stream))
