"""Frame labels: how digits move, the baselines by hand, a user's files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.tasks._images import DIGIT, digits, patches, unpatched
from rnnjax.tasks.frame_labels import CANVAS, DIRECTIONS, FrameLabels, _nearest, _warped
from rnnjax.train import Data

RNG = np.random.default_rng(0)
INK = RNG.uniform(0.5, 1, (3, DIGIT, DIGIT)).astype(np.float32)


def moved(place, way, T=12, noise=0.0):
    task = FrameLabels(T=T, noise=noise)
    start, step = jnp.array([place]), jnp.array([DIRECTIONS[way]])
    return task.moved(jax.random.key(0), jnp.asarray(INK[:1]), jnp.array([7]), start, step)


def test_a_digit_goes_its_way_and_bounces():
    found = jax.jit(lambda: moved((6, 3), "down-left", T=8))()
    names = list(DIRECTIONS)
    ways = [names[way] for way in found.directions[:, 0].tolist()]
    # Rows 6 7 8 7 6 5 4 3, columns 3 2 1 0 1 2 3 4.
    assert ways[1:] == ["down-left"] * 2 + ["up-left"] + ["up-right"] * 4
    for t, place in enumerate([(6, 3), (7, 2), (8, 1), (7, 0), (6, 1), (5, 2), (4, 3), (3, 4)]):
        expected = np.zeros((CANVAS, CANVAS))
        expected[place[0] : place[0] + DIGIT, place[1] : place[1] + DIGIT] = INK[0]
        np.testing.assert_array_equal(found.seen[t, 0], expected)
    assert found.digits.tolist() == [[7]] * 8


def test_noise_is_on_what_is_seen_alone():
    found = jax.jit(lambda: moved((0, 0), "right", noise=0.3))()
    noise = np.asarray(found.seen - found.clean)
    assert noise.std() == pytest.approx(0.3, rel=0.1)
    assert abs(noise.mean()) < 0.03
    assert (found.clean[0] == 0).sum() == CANVAS**2 - DIGIT**2


def test_what_is_held_out_is_never_trained_on():
    task = FrameLabels(T=5, noise=0.0)
    data = task.data()
    images, labels = data.train
    assert len(images) == len(labels) == len(digits()[0]) - 2 * (len(digits()[0]) // 7)
    # At the place where all ink of a frame is, no image of training is the same.
    trained = {np.sort(image[image > 0]).tobytes() for image in images}
    held = [
        {np.sort(frame[frame > 0]).tobytes() for frame in part.clean[0]}
        for part in (data.validation, data.test)
    ]
    assert not trained & (held[0] | held[1])
    assert not held[0] & held[1]
    assert len(held[1]) > 150


def test_a_warp_of_nothing_changes_nothing_and_one_keeps_the_middle():
    key = jax.random.key(1)
    np.testing.assert_allclose(_warped(key, jnp.asarray(INK), 0.0), INK, rtol=1e-5)
    blob = np.zeros((20, DIGIT, DIGIT), np.float32)
    blob[:, 3:5, 3:5] = 1
    turned = np.asarray(_warped(key, jnp.asarray(blob), 0.1))
    middle = np.einsum("bhw,h->b", turned, np.arange(DIGIT)) / turned.sum(axis=(1, 2))
    np.testing.assert_allclose(middle, 3.5, rtol=1e-5)
    assert turned[:, 3:5, 3:5].mean() > 0.9
    slanted = np.asarray(_warped(key, jnp.asarray(INK), 0.1))
    assert (np.abs(slanted - INK).max(axis=(1, 2)) > 0.01).all()  # each by its own map


def test_the_nearest_template_is_found_where_it_lies():
    frames = np.zeros((2, CANVAS, CANVAS), np.float32)
    frames[0, 2:10, 5:13], frames[1, 8:, 0:8] = INK[1], INK[2]
    places, distances = _nearest(frames, INK)
    assert places.tolist() == [[2, 5], [8, 0]]
    assert distances.argmin(axis=1).tolist() == [1, 2]
    # By its definition, at all places.
    least = np.inf
    for row, column in np.ndindex(9, 9):
        drawn = np.zeros((CANVAS, CANVAS))
        drawn[row : row + 8, column : column + 8] = INK[0]
        least = min(least, np.square(frames[0] - drawn).sum())
    assert distances[0, 0] + np.square(frames[0]).sum() == pytest.approx(least, rel=1e-4)


def test_the_baselines_count_frames_from_the_fifth_on():
    task = FrameLabels(T=6, noise=0.0)
    parts = [moved((3, 3), way, T=6) for way in ("right", "up")]
    both = jax.tree.map(lambda *xs: np.concatenate(xs, axis=1), *parts)
    data = Data((INK, np.array([7, 1, 2])), None, both, {})
    assert set(task.baselines(data).values()) == {0.0}
    wrong = both.digits.copy()
    wrong[:4] = 0  # before it counts
    wrong[4, 0] = 0
    expected = dict.fromkeys(task.baselines(data), 25.0)
    assert task.baselines(data._replace(test=both._replace(digits=wrong))) == expected


def test_a_frame_is_taken_apart_and_put_together():
    frames = np.arange(2 * CANVAS**2, dtype=np.float32).reshape(2, CANVAS, CANVAS)
    _, apart = patches(CANVAS).step((), (), jnp.asarray(frames))
    np.testing.assert_array_equal(apart[0, 1, 2], frames[0, 2:4, 4:6].ravel())
    np.testing.assert_array_equal(unpatched(apart), frames)


@pytest.mark.parametrize("cell", ["lstm", "conv_lstm"])
def test_every_cell_learns_from_frames(cell):
    task = FrameLabels(T=5, cell=cell, hidden_size=3, next_frame=True, batch_size=2, dropout=0.0)
    system = task.system({})
    params = system.init(jax.random.key(0))
    images, labels = np.repeat(INK, 2, 0), np.arange(6)
    batch = task.draw(jax.random.key(1), 2, images, labels)
    loss = lambda params: system.loss(params, (), batch, jax.random.key(2))[0]  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradient))
    figures = system.evaluate(params, batch)
    assert figures["loss"] == pytest.approx(float(value), rel=1e-5)
    again = np.square(np.diff(batch.clean, axis=0)).mean()
    assert figures["the same, of this frame again"] == pytest.approx(float(again), rel=1e-5)
    # Of the first frame no way is asked.
    other = batch._replace(directions=batch.directions.at[0].set(0))
    assert system.evaluate(params, other)["loss"] == figures["loss"]


def test_a_file_of_frames_is_read_and_asked(tmp_path):
    task = FrameLabels(T=5, cell="gru", hidden_size=3)
    frames = RNG.uniform(0, 1, (2, 7, CANVAS, CANVAS))
    np.savez(tmp_path / "a.npz", frames=frames, digits=[3, 4], directions=np.ones((2, 7), int))
    part = task.read(tmp_path / "a.npz", {})
    np.testing.assert_allclose(part.seen[5, 1], frames[1, 5], rtol=1e-6)
    assert part.digits.shape == part.directions.shape == (7, 2)
    assert part.digits[6].tolist() == [3, 4]
    np.save(tmp_path / "b.npy", frames[0])
    system = task.system({})
    params = system.init(jax.random.key(0))
    answer = "".join(system.predict(params, str(tmp_path / "b.npy"))).splitlines()
    assert [line.split(":")[0] for line in answer] == [f"frame {t}" for t in range(1, 8)]
    assert answer == "".join(system.predict(params, str(tmp_path / "a.npz"))).splitlines()


GOOD = {
    "frames": np.zeros((2, 5, CANVAS, CANVAS)),
    "digits": np.zeros(2, int),
    "directions": np.zeros((2, 5), int),
}
BAD = {
    "no array directions": {"directions": None},
    r"must have frames \[N, T, 16, 16\], got \[2, 5, 16, 8\]": {"frames": np.zeros((2, 5, 16, 8))},
    "at least one sequence and 5 frames": {"frames": np.zeros((2, 4, CANVAS, CANVAS))},
    "paper at 0 and ink at 1, got .nan": {"frames": np.full((2, 5, CANVAS, CANVAS), np.nan)},
    "paper at 0 and ink at 1, got .200": {"frames": np.full((2, 5, CANVAS, CANVAS), 200)},
    "digits of .* must be integers": {"digits": np.zeros(2)},
    r"digits of .* must be in \[0, 10\), got 10": {"digits": np.array([0, 10])},
    r"directions of .* must be in \[0, 8\)": {"directions": np.full((2, 5), 8)},
    r"directions of .* must be integers \[2, 5\]": {"directions": np.zeros((5, 2), int)},
}


@pytest.mark.parametrize(("error", "change"), BAD.items())
def test_bad_frames_are_one_error(error, change, tmp_path):
    parts = {k: v for k, v in {**GOOD, **change}.items() if v is not None}
    np.savez(tmp_path / "bad.npz", **parts)
    with pytest.raises(ValueError, match=error):
        FrameLabels().read(tmp_path / "bad.npz", {})


def test_bad_files_and_requests_are_one_error(tmp_path):
    (tmp_path / "text.npz").write_text("frames")
    with pytest.raises(ValueError, match=r"text.npz is no \.npz or \.npy file"):
        FrameLabels().read(tmp_path / "text.npz", {})
    with pytest.raises(ValueError, match="does not exist"):
        FrameLabels().read(tmp_path / "nowhere.npz", {})
    system = FrameLabels(hidden_size=3).system({})
    for request in ("", "7", "11 up", "7 north", "seven up"):
        with pytest.raises(ValueError, match="a request is a digit and the way it goes"):
            [*system.predict({}, request)]
    for settings in ({"T": 4}, {"noise": -1.0}, {"hidden_size": 0}, {"warp": -0.1}, {"dropout": 1}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            FrameLabels(**settings).check()


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    digits.cache_clear()
    with pytest.raises(ImportError, match=r'pip install "rnnjax\[data\]"'):
        FrameLabels().data()
