"""Checkpoints: whole or not at all."""

import contextlib
import json
import os
import pathlib
import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest
from oracles import assert_bitwise

import rnnjax
from rnnjax.train import (
    CheckpointError,
    checkpoints,
    init_train_state,
    load_checkpoint,
    load_meta,
    optimizer,
    save_checkpoint,
)
from rnnjax.train import checkpoint as checkpoint_module


class Tree(NamedTuple):
    weights: dict
    key: jax.Array
    count: jax.Array


def tree(seed=0):
    keys = jax.random.split(jax.random.key(seed), 4)
    weights = {
        "w": jax.random.normal(keys[0], (3, 2)),
        "half": jax.random.normal(keys[1], (5,), jnp.bfloat16),
        "flag": jnp.array([True, False]),
        "empty": jnp.zeros((0, 2)),
        "quiet": rnnjax.noise_keys(None, (3,)),
    }
    return Tree(weights, keys[2:], jnp.asarray(seed, jnp.int32))


LIKE = jax.eval_shape(tree)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One good checkpoint, for tests that copy it."""
    return save_checkpoint(tmp_path_factory.mktemp("run"), 7, tree(), {"note": "sëven"})


@pytest.fixture
def saved(written, tmp_path):
    """A good checkpoint of the test's own, to damage."""
    return shutil.copytree(written, tmp_path / "step_00000007")


def test_round_trip_bit_for_bit(saved):
    assert saved.name == "step_00000007"
    got, meta = load_checkpoint(saved, LIKE)
    assert_bitwise(got, tree())
    assert (meta["note"], meta["step"]) == ("sëven", 7)
    assert load_meta(str(saved)) == meta
    assert jax.random.bits(got.key[0]) == jax.random.bits(tree().key[0])


def test_a_train_state_round_trips(tmp_path):
    cell = rnnjax.stack(rnnjax.embed(5, 3), rnnjax.dropout(0.5), rnnjax.lstm(4), rnnjax.linear(5))
    params = cell.init(jax.random.key(0), jax.ShapeDtypeStruct((), int))
    carried = cell.initial_state(params, (2,), key=jax.random.key(2))
    state = init_train_state(params, optimizer("adam", 0.1, 1.0), jax.random.key(1), carried)
    got, _ = load_checkpoint(save_checkpoint(tmp_path, 0, state, {}), state)
    assert_bitwise(got, state)


def test_keep_and_order(tmp_path):
    for step in (1, 20, 300):
        path = save_checkpoint(tmp_path, step, jnp.asarray(step), {}, keep=2)
    assert [p.name for p in checkpoints(tmp_path)] == ["step_00000020", "step_00000300"]
    assert checkpoints(tmp_path)[-1] == path
    assert os.listdir(tmp_path).count("step_00000001") == 0
    assert checkpoints(tmp_path / "nowhere") == []
    with pytest.raises(ValueError, match="keep must be a positive int, got 0"):
        save_checkpoint(tmp_path, 301, jnp.asarray(1), {}, keep=0)


def test_checkpoints_are_in_the_order_of_their_steps(tmp_path):
    names = ["step_00000002", "step_99999999", "step_100000000"]
    for name in (*names, "step_final", "step_00000003.bak", "step_"):
        (tmp_path / name).mkdir()
    assert [p.name for p in checkpoints(tmp_path)] == names


@pytest.mark.parametrize(("step", "error"), [(-1, ValueError), (1.5, TypeError)])
def test_a_step_that_will_not_do(tmp_path, step, error):
    with pytest.raises(error, match="step must be an int of at least 0, got "):
        save_checkpoint(tmp_path, step, jnp.asarray(1), {})


def test_meta_keeps_names_that_the_checkpoint_uses_too(tmp_path):
    meta = {"step": "one of mine", "format": "text", "leaves": ["oak"], "meta": 3}
    path = save_checkpoint(tmp_path, 1, jnp.asarray(1), meta)
    assert load_meta(path) == meta
    assert load_checkpoint(path, jnp.asarray(0))[1] == meta
    assert load_meta(save_checkpoint(tmp_path, 2, jnp.asarray(1), {})) == {"step": 2}


def test_a_leaf_that_is_no_array_is_named(tmp_path):
    with pytest.raises(TypeError, match=r"holds arrays, but \['rate'\] is 0\.1"):
        save_checkpoint(tmp_path / "run", 1, {"rate": 0.1, "w": jnp.zeros(2)}, {})
    assert not os.listdir(tmp_path)
    with pytest.raises(TypeError, match="but the tree is 'text'"):
        save_checkpoint(tmp_path, 1, "text", {})
    path = save_checkpoint(tmp_path, 1, jnp.asarray(1), {})
    with pytest.raises(TypeError, match="but the tree is 1"):
        load_checkpoint(path, 1)


def test_the_same_step_again_replaces_it(tmp_path):
    save_checkpoint(tmp_path, 1, jnp.asarray(1), {})
    path = save_checkpoint(tmp_path, 1, jnp.asarray(2), {})
    assert load_checkpoint(path, jnp.asarray(0))[0] == 2
    assert os.listdir(tmp_path) == ["step_00000001"]


# --- damage --------------------------------------------------------------------------------------


def files_of(path):
    return sorted(f.relative_to(path).as_posix() for f in path.rglob("*") if f.is_file())


def each_file(written):
    names = files_of(written)
    assert {"manifest.json", "meta.json"} < set(names)
    assert any(name.startswith("arrays/") for name in names)
    return names


def expect(path, message):
    """One CheckpointError, naming the path and the cause, whether arrays are asked for or not."""
    for load in (load_meta, lambda path: load_checkpoint(path, LIKE)):
        with pytest.raises(CheckpointError, match=message) as raised:
            load(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_flipped_bit_in_any_file_is_found(written, tmp_path):
    for name in each_file(written):
        size = (written / name).stat().st_size
        for at in {0, size // 2, size - 1} if size else ():
            path = shutil.copytree(written, tmp_path / "copy")
            content = bytearray((path / name).read_bytes())
            content[at] ^= 0x04
            (path / name).write_bytes(content)
            # The manifest's own damage may read as another name or digest of some file.
            expect(path, "manifest.json|is damaged" if name == "manifest.json" else name)
            shutil.rmtree(path)


def test_a_truncated_file_is_found(written, tmp_path):
    for name in each_file(written):
        content = (written / name).read_bytes()
        for rest in {0, len(content) // 2, len(content) - 1} - {-1, len(content)}:
            path = shutil.copytree(written, tmp_path / "copy")
            (path / name).write_bytes(content[:rest])
            if name == "manifest.json" and rest == len(content) - 1:
                assert_bitwise(load_checkpoint(path, LIKE)[0], tree())  # only its last line end
            else:
                expect(path, name)
            shutil.rmtree(path)


def test_a_missing_file_is_named(written, tmp_path):
    for name in each_file(written):
        path = shutil.copytree(written, tmp_path / "copy")
        (path / name).unlink()
        is_manifest = name == "manifest.json"
        expect(path, "manifest.json is missing" if is_manifest else f"{name} is missing$")
        shutil.rmtree(path)


def test_a_file_too_many_is_named(saved):
    (saved / "arrays" / "stray").write_text("stray")
    expect(saved, "arrays/stray is not what was written")


@pytest.mark.parametrize("manifest", ["", "[1]", "1", "null", "{", "\ufeff{}"])
def test_a_manifest_that_is_no_manifest(saved, manifest):
    (saved / "manifest.json").write_text(manifest, encoding="utf-8")
    expect(saved, "manifest.json")


def test_missing_checkpoints(tmp_path):
    expect(tmp_path / "nowhere", r"is no checkpoint: .*manifest\.json is missing")
    (tmp_path / "file").write_text("a file")
    expect(tmp_path / "file", "cannot be read")


@pytest.mark.parametrize(("number", "writer"), [(2, r"\. rnnjax 0.1 wrote it: .*anew"), (99, "$")])
def test_another_format(tmp_path, monkeypatch, number, writer):
    monkeypatch.setattr(checkpoint_module, "FORMAT", number)
    path = save_checkpoint(tmp_path, 1, tree(), {})
    monkeypatch.undo()
    expect(path, f"has checkpoint format {number}, this version reads 3{writer}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda like: like._replace(count=jax.ShapeDtypeStruct((), jnp.float32)),
            r"\.count is int32\[\] there, float32\[\] here",
        ),
        (
            lambda like: like._replace(key=jax.ShapeDtypeStruct((2,), jnp.uint32)),
            r"\.key is key<fry>\[2\] there, uint32\[2\] here",
        ),
        (
            lambda like: like._replace(
                weights={**like.weights, "w": jax.ShapeDtypeStruct((2, 3), jnp.float32)}
            ),
            r"\.weights\['w'\] is float32\[3, 2\] there, float32\[2, 3\] here",
        ),
        (
            lambda like: like._replace(weights={**like.weights, "new": like.count}),
            r"\.weights\['new'\] is absent there, int32\[\] here",
        ),
        (
            lambda like: like._replace(weights={}),
            r"\.weights\['empty'\] is float32\[0, 2\] there, absent here",
        ),
    ],
)
def test_another_architecture(written, change, message):
    with pytest.raises(CheckpointError, match=f"is of another architecture: {message}") as raised:
        load_checkpoint(written, change(LIKE))
    assert str(written) in str(raised.value)


# --- interruption --------------------------------------------------------------------------------


class Killed(BaseException):
    """What no `except Exception` catches, like a signal."""


@pytest.mark.parametrize("place", ["arrays", "meta", "manifest", "move", "move old", "delete old"])
@pytest.mark.parametrize("again", [False, True])
def test_a_save_that_is_killed_leaves_the_last_good_one(tmp_path, monkeypatch, place, again):
    """Killed at each stage of writing step 2 (of writing it again, too), step 1 being there."""
    save_checkpoint(tmp_path, 1, tree(1), {})
    if again:
        save_checkpoint(tmp_path, 2, tree(2), {})
    calls = []

    def killing(function, when):
        def call(*args, **kwargs):
            if when(*args):
                calls.append(args)
                raise Killed
            return function(*args, **kwargs)

        return call

    def patch(owner, name, when=lambda *args: True):
        monkeypatch.setattr(owner, name, killing(getattr(owner, name), when))

    if place == "arrays":
        patch(checkpoint_module.ocp.StandardCheckpointer, "save")
    elif place in ("meta", "manifest"):
        patch(pathlib.Path, "write_text", lambda path, *_: path.name == f"{place}.json")
    elif place == "move":
        patch(os, "replace", lambda source, _: source.name == ".partial_00000002")
    elif place == "move old":
        patch(os, "replace", lambda source, _: source.name.startswith("step_"))
    else:
        patch(shutil, "rmtree", lambda path, *_: "step_" in str(path))
    keep = 1 if place in ("move old", "delete old") else 2
    with pytest.raises(Killed):
        save_checkpoint(tmp_path, 2, tree(3), {}, keep=keep)
    monkeypatch.undo()
    assert calls

    # Every folder that is listed is whole, and the newest of them is a good one.
    found = checkpoints(tmp_path)
    got = {p.name[-1]: load_checkpoint(p, LIKE)[0] for p in found}
    assert found
    if "1" in got:
        assert_bitwise(got["1"], tree(1))
    if "2" in got:
        assert any(int(got["2"].count) == seed for seed in (2, 3))
    # And the next save works, and leaves no litter.
    path = save_checkpoint(tmp_path, 4, tree(4), {}, keep=1)
    assert_bitwise(load_checkpoint(path, LIKE)[0], tree(4))
    assert os.listdir(tmp_path) == ["step_00000004"]


@pytest.mark.parametrize("function", ["replace", "rmtree", "unlink"])
@pytest.mark.parametrize("after", range(4))
def test_the_only_checkpoint_survives_being_saved_again(tmp_path, monkeypatch, function, after):
    """Killed at every move and deletion of writing step 2 again, when there is no other."""
    save_checkpoint(tmp_path, 2, tree(2), {})
    owner = shutil if function == "rmtree" else os
    calls, real = [], getattr(owner, function)

    def call(source, *args, **kwargs):
        # The move into or out of place, and what lies below a checkpoint that is deleted.
        ours = function == "unlink" or pathlib.Path(source).parent == tmp_path
        calls.append(ours)
        if ours and sum(calls) > after:
            raise Killed
        return real(source, *args, **kwargs)

    monkeypatch.setattr(owner, function, call)
    with contextlib.suppress(Killed):
        save_checkpoint(tmp_path, 2, tree(3), {})
    monkeypatch.undo()
    assert calls

    for _ in range(2):  # a second reader finds what the first one did
        [path] = checkpoints(tmp_path)
        assert path.name == "step_00000002"
        assert int(load_checkpoint(path, LIKE)[0].count) in (2, 3)
    save_checkpoint(tmp_path, 4, tree(4), {}, keep=2)
    assert sorted(os.listdir(tmp_path)) == ["step_00000002", "step_00000004"]
    assert_bitwise(load_checkpoint(checkpoints(tmp_path)[-1], LIKE)[0], tree(4))


def test_the_next_save_restores_what_was_moved_aside(written, tmp_path):
    shutil.copytree(written, tmp_path / ".old_step_00000007")
    save_checkpoint(tmp_path, 8, tree(8), {})
    assert [p.name for p in checkpoints(tmp_path)] == ["step_00000007", "step_00000008"]
    assert_bitwise(load_checkpoint(checkpoints(tmp_path)[0], LIKE)[0], tree())


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        save_checkpoint(tmp_path / "file", 1, tree(), {})
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("name", ["run[1]", "what?", "*"])
def test_a_name_that_orbax_cannot_read_back(tmp_path, name):
    with pytest.raises(ValueError, match=r"cannot be kept below a name with any of \*\?\["):
        save_checkpoint(tmp_path / name, 1, tree(), {})
    assert not os.listdir(tmp_path)


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    first = save_checkpoint(tmp_path, 1, tree(1), {})

    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(pathlib.Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, 2, tree(2), {}, keep=1)
    monkeypatch.undo()
    assert checkpoints(tmp_path) == [first]
    assert_bitwise(load_checkpoint(first, LIKE)[0], tree(1))


def test_meta_is_json_that_others_read(saved):
    meta = json.loads((saved / "meta.json").read_text(encoding="utf-8"))
    assert meta["leaves"][".weights['half']"] == "bfloat16[5]"
