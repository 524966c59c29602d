"""Parameters in files of safetensors: any model's, with what says whose they are."""

from __future__ import annotations

import hashlib
import json
import os

import jax
import numpy as np

from rnnjax._cell import Cell, Params, PyTree
from rnnjax._layer import Layer
from rnnjax.interop._gates import OURS
from rnnjax.interop._tree import flat, name_of

# How gates stand in a file; another order would be another convention.
CONVENTION = "rnnjax 1: " + ", ".join(f"{kind} {gates}" for kind, (gates, _) in OURS.items())


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

    arrays = {n: np.ascontiguousarray(a) for n, a in flat(params, "/").items()}
    said = {
        "convention": CONVENTION,
        "model": model.name,
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
    from safetensors import safe_open

    with safe_open(os.fspath(path), framework="numpy") as file:
        said = file.metadata() or {}
        given = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    for what, wanted in (("convention", CONVENTION), ("model", model.name)):
        if said.get(what) != wanted:
            raise ValueError(f"the {what} of the file is {said.get(what)!r}, expected {wanted!r}")
    like = jax.eval_shape(lambda key: model.init(key, x_spec), jax.random.key(0))
    wanted = {
        "/".join(map(name_of, way)): leaf.shape for way, leaf in jax.tree.leaves_with_path(like)
    }
    if (got := {name: array.shape for name, array in given.items()}) != wanted:
        differs = sorted({*got.items()} ^ {*wanted.items()})
        raise ValueError(f"{path} is of another {model.name}: what differs is {differs}")
    checksums = json.loads(said["checksums"])
    if damaged := [n for n, array in given.items() if _checksum(array) != checksums.get(n)]:
        raise ValueError(f"{path} is damaged: {', '.join(damaged)} is not what was written")
    return jax.tree.structure(like).unflatten([given[name] for name in wanted])


def _checksum(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()
