"""Checkpoints: whole or not at all.

A checkpoint is a folder `step_00001234` with the arrays (orbax), `meta.json` (anything the run
wants to keep beside them) and `manifest.json` (the SHA-256 of every file). It is written under
another name and moved into place when complete, so that a run killed at any moment leaves the last
good one as it was. One of the same step is moved aside before and deleted after; whoever finds it
aside, with nothing in its place, moves it back.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import pathlib
import re
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from rnnjax._factory import natural

PyTree = Any

FORMAT = 3
# What wrote the formats before it.
WRITERS = {1: "rnnjax 0.1", 2: "rnnjax 0.1"}
ASIDE = ".old_"  # before the name of a checkpoint that is being replaced


class CheckpointError(Exception):
    """A checkpoint that cannot be used: the message names the file and the cause."""


def save_checkpoint(
    folder: str | pathlib.Path,
    step: int,
    tree: PyTree,
    meta: dict[str, Any],
    *,
    keep: int = 2,
    best: str | None = None,
) -> pathlib.Path:
    """Writes a checkpoint, then removes the oldest ones.

    Args:
      folder: where the run keeps its checkpoints; made if absent.
      step: the step it is of, at least 0; its name.
      tree: a pytree of arrays, threefry keys included.
      meta: a JSON object beside it, such as the configuration and the vocabulary.
      keep: how many checkpoints stay, at least one, this one included.
      best: the name of a number in `meta`; the checkpoint in which it is least stays as well.

    Returns:
      The checkpoint's folder.

    Raises:
      OSError: the folder cannot be written; earlier checkpoints are as they were.
      TypeError: a leaf is no array; names its path.
      ValueError: the folder's name is one that orbax cannot read back; see `check_folder`.

    Example:
      >>> import jax.numpy as jnp, tempfile
      >>> folder = tempfile.mkdtemp()
      >>> path = save_checkpoint(folder, 7, {"w": jnp.arange(3.0)}, {"note": "seven"})
      >>> tree, meta = load_checkpoint(path, {"w": jnp.zeros(3)})
      >>> tree["w"].tolist(), meta["note"]
      ([0.0, 1.0, 2.0], 'seven')
    """
    step, keep = natural("step", step), natural("keep", keep, least=1)
    leaves = _describe(tree)
    folder = check_folder(folder)
    final = folder / f"step_{step:08d}"
    partial = folder / f".partial_{step:08d}"
    _restore(folder)
    for leftover in (*folder.glob(".partial_*"), *folder.glob(f"{ASIDE}*")):  # of a killed run
        shutil.rmtree(leftover)
    partial.mkdir(parents=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(partial / "arrays", jax.tree.map(_as_data, _with_entries(tree)))
    entries = {"format": FORMAT, "step": step, "leaves": leaves, "meta": meta}
    (partial / "meta.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    (partial / "manifest.json").write_text(json.dumps(_digests(partial), indent=1) + "\n")
    aside = final.with_name(f"{ASIDE}{final.name}")
    if final.exists():
        os.replace(final, aside)
    os.replace(partial, final)
    if aside.exists():
        shutil.rmtree(aside)
    spared = best_checkpoint(folder, best) if best else None
    for old in checkpoints(folder)[:-keep]:
        if old != spared:
            _remove(old)
    return final


def best_checkpoint(folder: str | pathlib.Path, name: str) -> pathlib.Path | None:
    """The checkpoint in whose `meta` a number is least; None where none has that number."""
    numbers = []
    for path in checkpoints(folder):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # a damaged one
            meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))["meta"]
            numbers.append((float(meta[name]), path))
    return min(numbers, default=(0.0, None))[1]


def _restore(folder: pathlib.Path) -> None:
    """Moves back what a save that was killed had moved aside and not yet replaced."""
    for aside in folder.glob(f"{ASIDE}*"):
        final = aside.with_name(aside.name.removeprefix(ASIDE))
        if not final.exists():
            with contextlib.suppress(OSError):  # another reader was first, or we may only read
                os.replace(aside, final)


def _remove(checkpoint: pathlib.Path) -> None:
    """Removes a checkpoint, which a kill half-way must not leave behind half there."""
    doomed = checkpoint.with_name(f".partial_old_{checkpoint.name}")
    os.replace(checkpoint, doomed)
    shutil.rmtree(doomed)


def check_folder(folder: str | pathlib.Path) -> pathlib.Path:
    """The absolute path of a folder for checkpoints; ValueError if orbax would lose them there.

    Orbax globs for the files it wrote, and finds none below a name that is a pattern.
    """
    folder = pathlib.Path(folder).absolute()
    if glob.has_magic(str(folder)):
        raise ValueError(f"{folder}: checkpoints cannot be kept below a name with any of *?[")
    return folder


def checkpoints(folder: str | pathlib.Path) -> list[pathlib.Path]:
    """The complete checkpoints of a folder, oldest first."""
    folder = pathlib.Path(folder)
    _restore(folder)
    found = ((re.fullmatch(r"step_(\d+)", p.name), p) for p in folder.glob("step_*"))
    # By number: a step of nine digits sorts before one of eight by name.
    return [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]


def load_meta(path: str | pathlib.Path) -> dict[str, Any]:
    """The JSON beside a checkpoint, after checking every file of it.

    Returns:
      What `save_checkpoint` got as `meta`, and "step" besides, unless `meta` has its own.

    Raises:
      CheckpointError: the checkpoint is missing, incomplete, damaged, or of another format.
    """
    entries = _read(pathlib.Path(path))
    return {"step": entries["step"], **entries["meta"]}


def _read(path: pathlib.Path) -> dict[str, Any]:
    """The content of meta.json, after checking every file of a checkpoint."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        if not isinstance(manifest, dict):
            raise ValueError("not a table of files")
        found = _digests(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is no checkpoint: {error.filename} is missing") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: manifest.json: {error}") from None
    for name in sorted({*manifest, *found}):
        if manifest.get(name) != found.get(name):
            differs = "is not what was written (its SHA-256 differs)"
            cause = "is missing" if name not in found else differs
            raise CheckpointError(f"{path} is damaged: {name} {cause}")
    entries = json.loads((path / "meta.json").read_text(encoding="utf-8"))
    if entries.get("format") != FORMAT:
        found = entries.get("format")
        cause = f"{path} has checkpoint format {found}, this version reads {FORMAT}"
        if found in WRITERS:
            cause += (
                f". {WRITERS[found]} wrote it: since then parameters go by the names of their "
                "parts, and states hold the rates of noise (see CHANGELOG). Train anew, or read it "
                "with that version"
            )
        raise CheckpointError(cause)
    return entries


def load_checkpoint(path: str | pathlib.Path, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
    """Reads a checkpoint back, whole or not at all.

    Args:
      path: the checkpoint's folder, as `save_checkpoint` returned it.
      like: a tree of the same structure, shapes and dtypes; arrays or `jax.ShapeDtypeStruct`s.

    Returns:
      (tree, meta), the latter as `load_meta` gives it.

    Raises:
      CheckpointError: the checkpoint is missing, incomplete, damaged, of another format, or of
        another architecture than `like`.
    """
    path = pathlib.Path(path).absolute()
    entries = _read(path)
    stored, wanted = entries["leaves"], _describe(like)
    for name in sorted({*stored, *wanted}):
        if stored.get(name) != wanted.get(name):
            raise CheckpointError(
                f"{path} is of another architecture: {name} is {stored.get(name, 'absent')} there, "
                f"{wanted.get(name, 'absent')} here"
            )
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(*_data_type(leaf), sharding=device), _with_entries(like)
    )
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            data = checkpointer.restore(path / "arrays", target)
    except Exception as error:
        raise CheckpointError(f"{path} cannot be restored: {error}") from error
    leaves, structure = jax.tree.flatten(like)
    for i, leaf in enumerate(leaves):
        stored = data[str(i)] if leaf.size else jnp.zeros(*_data_type(leaf))
        leaves[i] = _from_data(leaf, stored)
    return structure.unflatten(leaves), {"step": entries["step"], **entries["meta"]}


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _with_entries(tree: PyTree) -> dict[str, Any]:
    """The leaves by their place, empty ones left out: orbax takes no empty and no lone arrays."""
    return {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(tree)) if leaf.size}


def _as_data(leaf: Any) -> Any:
    """A leaf as orbax stores it: keys as their data."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _data_type(leaf: Any) -> tuple[tuple[int, ...], Any]:
    data = jax.eval_shape(_as_data, leaf)
    return data.shape, data.dtype


def _from_data(like: Any, data: Any) -> Any:
    if not _is_key(like):
        return data
    return jax.random.wrap_key_data(data, impl="threefry2x32")


def _describe(tree: PyTree) -> dict[str, str]:
    """The type of each leaf by its path; TypeError for one that is no array."""
    described = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        name = jax.tree_util.keystr(path) or "the tree"
        if not hasattr(leaf, "dtype"):
            raise TypeError(f"a checkpoint holds arrays, but {name} is {leaf!r}")
        described[name] = f"{leaf.dtype}{list(leaf.shape)}"
    return described


def _digests(folder: pathlib.Path) -> dict[str, str]:
    """SHA-256 of every file below a folder but its manifest."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != "manifest.json"
    }
