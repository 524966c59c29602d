"""Parameters in files of safetensors: any model's, with what says whose they are."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from typing import Any

import jax
import numpy as np

from rnnjax._cell import Cell, Params, PyTree
from rnnjax._layer import Layer
from rnnjax.interop._models import arguments
from rnnjax.interop._tree import flat, name_of

# How weights stand in a file: the order of gates in `OURS`, and that of the other cells. Whoever
# changes one writes another number, and older files are refused.
CONVENTION = "rnnjax 1"


def save_params(path: str | os.PathLike[str], model: Cell | Layer, params: Params) -> None:
    """Writes the parameters of any model to a file of safetensors.

    Beside the arrays it says the model's name, the convention of gates, and a checksum an array.
    No code is in it, and any tool reads it.

    Args:
      path: the file to write.
      model: the cell or layer.
      params: its parameters.

    Raises:
      ModuleNotFoundError: the package safetensors is not installed (extra: safetensors).

    Example:
      >>> import jax, pathlib, rnnjax, tempfile
      >>> from rnnjax import interop
      >>> cell = rnnjax.gru(4)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "gru.safetensors"
      ...     interop.save_params(path, cell, cell.init(jax.random.key(0), 3))
      ...     params = interop.load_params(path, cell, 3)
      >>> params.w_x.shape
      (3, 12)
    """
    from safetensors.numpy import save_file

    arrays = {n: np.asarray(a, order="C") for n, a in flat(params, "/").items()}
    said = {
        "convention": CONVENTION,
        "model": model.name,
        "options": _made(model),
        "checksums": json.dumps({name: _checksum(array) for name, array in arrays.items()}),
    }
    save_file(arrays, os.fspath(path), metadata=said)


def load_params(path: str | os.PathLike[str], model: Cell | Layer, x_spec: PyTree) -> Params:
    """Reads what `save_params` wrote, bit for bit.

    Args:
      path: the file.
      model: the cell or layer whose parameters it should hold.
      x_spec: of its inputs, as for `init`.

    Returns:
      Parameters of the model, NumPy's arrays.

    Raises:
      ValueError: the file is of another model, of another convention, or damaged; the message says
        what differs.
      ModuleNotFoundError: the package safetensors is not installed (extra: safetensors).

    Example:
      >>> import jax, pathlib, rnnjax, tempfile
      >>> from rnnjax import interop
      >>> cell = rnnjax.lstm(4)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "lstm.safetensors"
      ...     interop.save_params(path, cell, cell.init(jax.random.key(0), 3))
      ...     interop.load_params(path, rnnjax.lstm(5), 3)
      Traceback (most recent call last):
        ...
      ValueError: the model of the file is 'lstm(4)', expected 'lstm(5)'
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            said = file.metadata() or {}
            given = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no dict)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged, or no file of safetensors: {error}") from error
    own = {"convention": CONVENTION, "model": model.name, "options": _made(model)}
    for what, wanted in own.items():
        if (got := said.get(what)) != wanted:
            verb = "are" if what == "options" else "is"
            raise ValueError(f"the {what} of the file {verb} {got!r}, expected {wanted!r}")
    like = jax.eval_shape(lambda key: model.init(key, x_spec), jax.random.key(0))
    wanted = {
        "/".join(map(name_of, way)): leaf.shape for way, leaf in jax.tree.leaves_with_path(like)
    }
    if (got := {name: array.shape for name, array in given.items()}) != wanted:
        differs = sorted({*got.items()} ^ {*wanted.items()})
        raise ValueError(f"{path} is of another {model.name}: what differs is {differs}")
    checksums = json.loads(said.get("checksums", "{}"))
    checksums = checksums if isinstance(checksums, dict) else {}
    if damaged := [n for n, array in given.items() if _checksum(array) != checksums.get(n)]:
        raise ValueError(f"{path} is damaged: {', '.join(damaged)} is not what was written")
    return jax.tree.structure(like).unflatten([given[name] for name in wanted])


def _made(value: Any) -> str:
    """How a model was made, without what only draws: its name says neither a merge nor a kernel."""
    if isinstance(value, Cell | Layer):
        if value._recipe is None:
            return value.name
        known = inspect.signature(value._recipe[0]).parameters  # a new default changes no file
        own = {n: v for n, v in arguments(value).items() if n != "init" and v != known[n].default}
        return value._recipe[0].__name__ + _made(own)
    if isinstance(value, dict):
        return f"({', '.join(f'{name}={_made(each)}' for name, each in value.items())})"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_made, value))}]"
    plain = isinstance(value, str | int | float | None)
    return repr(value) if plain else getattr(value, "__qualname__", type(value).__name__)


def _checksum(array: np.ndarray) -> str:
    """Of its dtype and shape too: the same bytes can be other numbers."""
    said = f"{array.dtype.name} {[*array.shape]} ".encode()
    return hashlib.sha256(said + array.tobytes()).hexdigest()
