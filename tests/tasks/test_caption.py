"""Captions: what scenes are made of, what is held out, how images enter, a user's files."""

import collections
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close

from rnnjax.tasks._images import DIGIT, digits, split
from rnnjax.tasks._writing.pairs import Part
from rnnjax.tasks.caption import Caption
from rnnjax.tasks.caption.baselines import nearest_digits, nearest_scene
from rnnjax.tasks.caption.scenes import (
    CANVAS,
    CELL,
    COMBINATIONS,
    LONGEST,
    TILT,
    WORDS,
    Combination,
    Drawer,
    Glyphs,
    caption,
    drawn_digits,
    shifted,
)
from rnnjax.tasks.caption.task import held_out, pooled, with_places
from rnnjax.train import Data

RNG = np.random.default_rng(0)
# An "ink" of its own for every digit, in the middle of its cell.
GLYPHS = Glyphs(np.zeros((20, 1, 2, 2, CELL, CELL), np.float32), np.arange(20) % 10)
GLYPHS.images[..., 3:13, 3:13] = RNG.uniform(0.5, 1, (20, 1, 2, 2, 10, 10))
PHRASE = re.compile(r"(top|bottom) (left|right) a (\d), (thick|thin) and (tilted|upright)")
FACTS = {"written": {"known": WORDS, "unknown": False}, "longest": LONGEST}


def said(words):
    """What a caption says, read by a rule of its own."""
    phrases = " ".join(words).replace(" ,", ",").split(" ; ")
    found = [PHRASE.fullmatch(phrase).groups() for phrase in phrases]
    return [
        Combination(int(digit), 2 * (row == "bottom") + (column == "right"),
                    int(thick == "thick"), int(tilted == "tilted"))
        for row, column, digit, thick, tilted in found
    ]  # fmt: skip


@pytest.fixture(scope="module")
def tested():
    return held_out("test", 0.0)


def test_captions_by_hand():
    one, two, three = Combination(4, 0, 0, 0), Combination(2, 1, 1, 1), Combination(0, 3, 1, 0)
    task = Caption()
    texts = [
        "top left a 4, thin and upright",
        "top left a 4, thin and upright; top right a 2, thick and tilted",
        "top left a 4, thin and upright; top right a 2, thick and tilted; bottom right a 0, thick "
        "and upright",
    ]
    for text, scene in zip(texts, ([one], [one, two], [one, two, three]), strict=True):
        assert task.text_of(caption(scene)) == text
        assert task.written_tokens(text) == caption(scene)
        assert len(caption(scene)) <= LONGEST
    assert len(caption([one, two, three])) == LONGEST


def test_combinations_are_held_out_in_every_place_and_style():
    parts = collections.Counter(each.part for each in COMBINATIONS)
    assert parts == {"train": 128, "validation": 16, "test": 16}
    for part in ("validation", "test"):
        held = [each for each in COMBINATIONS if each.part == part]
        assert {each.digit for each in held} == set(range(10))
        assert len({each[1:] for each in held}) == 16
    # Whatever is held out together is known in pairs: a digit at a place, in a style, and so on.
    known = [each for each in COMBINATIONS if each.part == "train"]
    for a, b, count in ((0, 1, 40), (0, 2, 20), (0, 3, 20), (1, 2, 8), (1, 3, 8), (2, 3, 4)):
        assert len({(each[a], each[b]) for each in known}) == count


def test_no_scene_of_training_has_what_is_held_out(tested):
    scenes = [words for (words,) in tested.answers]
    assert {each.part for words in scenes for each in said(words)} == {"test"}
    assert collections.Counter(len(said(words)) for words in scenes).keys() == {1, 2, 3}
    drawer, rng = Drawer(GLYPHS, "train", 0.0), np.random.default_rng(1)
    seen = {each for _ in range(1500) for each in said(drawer(rng)[1])}
    assert seen == {each for each in COMBINATIONS if each.part == "train"}


def test_no_digit_of_a_test_scene_was_trained_on(tested):
    images, labels = digits()

    def inks(quarters):
        return {np.sort(ink[ink > 0]).tobytes() for ink in quarters.reshape(-1, CELL, CELL)}

    ways = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    train, validation, test = (
        set().union(*(inks(shifted(glyphs, *way)) for way in ways))
        for rows in split(len(images))
        for glyphs in [drawn_digits(images[rows], labels[rows]).images]
    )
    scenes = np.stack(tested.sources).reshape(-1, 2, CELL, 2, CELL).swapaxes(2, 3)
    found = inks(scenes) - inks(np.zeros((1, CELL, CELL)))
    assert len(found) > 500
    assert found <= test
    assert not found & (train | validation)


def test_a_scene_has_its_digits_where_its_caption_says():
    drawer, rng = Drawer(GLYPHS, "train", 0.0), np.random.default_rng(2)
    for _ in range(30):
        image, words = drawer(rng)
        assert (image.shape, image.dtype) == ((CANVAS, CANVAS), np.float32)
        rest = image.copy()
        for digit, place, thick, tilted in said(words):
            down, right = CELL * (place // 2), CELL * (place % 2)
            quarter = rest[down : down + CELL, right : right + CELL]
            ink = np.sort(quarter[quarter > 0])
            known = [GLYPHS.images[row, 0, thick, tilted] for row in (digit, digit + 10)]
            assert any(np.array_equal(ink, np.sort(glyph[glyph > 0])) for glyph in known)
            quarter[:] = 0
        assert not rest.any()
    noisy = np.stack([Drawer(GLYPHS, "train", 0.3)(rng)[0] for _ in range(20)])
    assert noisy[noisy < 0.2].std() > 0.1


def test_digits_are_upright_or_tilted_and_thin_or_thick():
    r, c = np.mgrid[:DIGIT, :DIGIT]
    slanted = np.exp(-np.square(c - 3.5 - 0.4 * (3.5 - r))).astype(np.float32)
    slanted[[0, -1]] = 0
    found = drawn_digits(slanted[None], np.array([1]), variants=2, warp=0.2).images[0]
    assert found.shape == (2, 2, 2, CELL, CELL)
    assert found.min() >= 0
    np.testing.assert_allclose(found.max(axis=(-2, -1)), 1, rtol=1e-6)
    rows, columns = np.mgrid[:CELL, :CELL] - (CELL - 1) / 2
    for tilted in (0, 1):
        ink = found[0, 0, tilted]
        middle = [(axis * ink).sum() / ink.sum() for axis in (rows, columns)]
        np.testing.assert_allclose(middle, 0, atol=0.2)
        lean = (rows * columns * ink).sum() / (np.square(rows) * ink).sum()
        assert lean == pytest.approx(-TILT * tilted, abs=0.05)  # upwards is to the right
        # Thick: the darkest of a pixel and its four neighbours, one by one.
        wide = np.pad(ink, 1)
        cross = [wide[1:-1, 1:-1], wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:]]
        np.testing.assert_array_equal(found[0, 1, tilted], np.max(cross, axis=0))
    assert found[0, 1].sum() > 1.5 * found[0, 0].sum()
    assert np.abs(found[1] - found[0]).max() > 0.1


def test_an_image_is_moved_within_its_frame():
    images = RNG.normal(size=(2, 4, 5))
    moved = shifted(images, 1, -1)
    np.testing.assert_array_equal(moved[:, 1:, :-1], images[:, :-1, 1:])
    assert not moved[:, 0].any()
    assert not moved[..., -1].any()
    np.testing.assert_array_equal(shifted(images, 0, 0), images)


# --- the model ------------------------------------------------------------------------------------


def test_places_of_a_feature_map_by_hand():
    x = RNG.normal(size=(2, 4, 6, 3)).astype(np.float32)
    np.testing.assert_array_equal(pooled(x)[1, 1, 2], x[1, 2:4, 4:6].max(axis=(0, 1)))
    memory = with_places(jnp.asarray(x))
    assert memory.shape == (24, 2, 3 + 4 + 6)
    place = memory[6 * 2 + 5, 1]  # row 2, column 5
    np.testing.assert_array_equal(place[:3], x[1, 2, 5])
    assert np.flatnonzero(place[3:]).tolist() == [2, 4 + 5]


@pytest.mark.parametrize("tied", [True, False])
def test_the_image_is_read_once_before_the_first_symbol(tied):
    """The decoder's first state is the cell's step from zero, at the vector of the image."""
    task = Caption(attention="none", hidden_size=3, embedding_size=2, layers=2, filters=2,
                   vector_size=4, tied=tied)  # fmt: skip
    model = task.model(FACTS)
    params = model.init(jax.random.key(0))
    assert params["bridge"].keys() == {"told"}
    xs = RNG.uniform(0, 1, (1, 3, CANVAS, CANVAS)).astype(np.float32)

    @jax.jit
    def begun(xs):
        encoded = model.encode(params, xs, None, None)
        return encoded.summaries[0], model.start(params, encoded)

    vectors, state = begun(xs)
    assert float(jnp.abs(vectors[0] - vectors[1]).max()) > 1e-3
    told, body = params["bridge"]["told"], params["decoder"]
    body = body.body if tied else body
    x = np.asarray(vectors, np.float64) @ told.w + told.b
    for name in ("rnn_0", "rnn_1"):
        # Its cells begin by keeping what they have read.
        assert np.split(body[name].b, 4)[1].mean() == pytest.approx(4, abs=0.5)
        i, _, g, o = np.split(x @ body[name].w_x + body[name].b, 4, axis=-1)
        sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
        c = sigmoid(i) * np.tanh(g)
        x = sigmoid(o) * np.tanh(c)
        np.testing.assert_allclose(state[name].c, c, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(state[name].h, x, rtol=1e-4, atol=1e-6)
    _, alone = begun(xs[:, 1:2])  # each image by itself
    assert_close(jax.tree.map(lambda leaf: leaf[1:2], state), alone)


def test_it_looks_at_every_place_of_the_image():
    task = Caption(attention="general", hidden_size=3, embedding_size=2, filters=2)
    model = task.model(FACTS)
    params = model.init(jax.random.key(0))
    assert params["encoder"].keys() == {"features"}
    xs = RNG.uniform(0, 1, (1, 2, CANVAS, CANVAS)).astype(np.float32)

    @jax.jit
    def shares(params, xs):
        encoded = model.encode(params, xs, None, None)
        return encoded, model.looked(params, encoded, jnp.zeros((5, 2), jnp.int32))

    encoded, found = shares(params, xs)
    np.testing.assert_allclose(encoded.summaries[0], encoded.memory.mean(axis=0), rtol=1e-5)
    assert found.shape == (5, 2, 64)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-5)
    assert (np.asarray(found) > 0).all()


# --- baselines ------------------------------------------------------------------------------------


def test_baselines_know_what_they_have_seen():
    drawer, rng = Drawer(GLYPHS, "train", 0.05), np.random.default_rng(3)
    scenes = [drawer(rng) for _ in range(12)]
    part = Part([image for image, _ in scenes], [[words] for _, words in scenes])
    task = Caption()
    assert task.scored(nearest_scene(part, part), part) == 0
    assert task.scored(nearest_digits(GLYPHS, part), part) == 0
    paper = Part([np.zeros((CANVAS, CANVAS))], [[["a"]]])
    assert nearest_digits(GLYPHS, paper) == [[]]
    assert nearest_scene(part, Part([part.sources[7] + 0.1], [[[]]])) == [scenes[7][1]]


def test_the_source_draws_what_the_captions_say():
    source = Caption(batch_size=3, noise=0.0).source(Data(GLYPHS, None, None, FACTS))
    xs, lengths, targets, _, target_lengths = source.batch(5)
    assert (xs.shape, targets.shape) == ((1, 3, CANVAS, CANVAS), (LONGEST + 1, 3))
    assert lengths.tolist() == [1, 1, 1]
    for row, n in enumerate(target_lengths):
        assert targets[n - 1, row] == 0
        scene = said([WORDS[k - 1] for k in targets[: n - 1, row]])
        quarters = xs[0, row].reshape(2, CELL, 2, CELL).any(axis=(1, 3)).ravel()
        assert np.flatnonzero(quarters).tolist() == [each.place for each in scene]


# --- a user's files and requests ------------------------------------------------------------------


def test_images_of_files_are_read(tmp_path, tested):
    from matplotlib.image import imsave

    task, image = Caption(noise=0.0), tested.sources[4].clip(0, 1)
    np.testing.assert_array_equal(task.read_tokens("4"), tested.sources[4])
    np.save(tmp_path / "a.npy", image)
    np.save(tmp_path / "b.npy", (255 * image).round().astype(np.uint8))
    imsave(tmp_path / "c.png", image, cmap="gray_r", vmin=0, vmax=1)
    ink = np.dstack([np.zeros((CANVAS, CANVAS, 3)), image])  # black, more or less transparent
    imsave(tmp_path / "d.png", ink)
    # A colour map has 256 colours.
    steps = {"a.npy": 0.0, "b.npy": 0.5, "c.png": 2.0, "d.png": 1.0}
    for name, step in steps.items():
        found = task.read_tokens(str(tmp_path / name))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, image, atol=step / 255 + 1e-6)
    words = task.text_of(tested.answers[4][0])
    lines = [f"{name}\t{words}" for name in ("a.npy", "c.png")] + [
        "a.npy\ttop left a 7, thin and upright"
    ]
    (tmp_path / "captions.tsv").write_text("\n".join(lines))
    for path in (tmp_path, tmp_path / "captions.tsv"):
        part = task.read(path, FACTS)
        assert [len(some) for some in part.answers] == [2, 1]
        assert part.answers[1] == [list(tested.answers[4][0])]
        np.testing.assert_allclose(part.sources[0], image, atol=1e-6)


def test_a_request_is_answered_line_by_line(tmp_path):
    task = Caption(hidden_size=3, embedding_size=2, filters=2, vector_size=2, variants=1)
    system = task.system(FACTS)
    params = system.init(jax.random.key(0))
    answer = "".join(system.predict(params, "3\n\n 999 \n"))
    assert answer.count("\n") == 2
    assert answer.split("\n")[1] == ""
    assert answer.startswith("".join(system.predict(params, "3")))


BAD = {
    "is given as its number": ("jpg", b""),
    "does not exist": ("npy", None),
    "cannot be read as an image: .*(magic|format)": ("npy", b"0 1 2 3 4 5"),
    "cannot be read as an image: not a PNG": ("png", b"P"),
    r"32 x 32 numbers, got float64 \[32, 31\]": ("npy", np.zeros((CANVAS, CANVAS - 1))),
    "32 x 32 numbers, got <U1": ("npy", np.full((CANVAS, CANVAS), "7")),
    "paper at 0 and ink at 1.*nan": ("npy", np.full((CANVAS, CANVAS), np.nan)),
    "paper at 0 and ink at 1.*255": ("npy", np.full((CANVAS, CANVAS), 255.0)),
}


@pytest.mark.parametrize(("error", "file"), BAD.items())
def test_bad_images_are_one_error(error, file, tmp_path):
    suffix, content = file
    path = tmp_path / f"image.{suffix}"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(ValueError, match=error):
        Caption().asked(str(path), FACTS)


def test_bad_requests_and_files_are_one_error(tmp_path):
    task = Caption()
    for request, error in {
        "": "a request is something to read",
        " \n": "a request is something to read",
        "1000": "from 0 to 999, got 1000",
        "-1": "is given as its number",
    }.items():
        with pytest.raises(ValueError, match=error):
            task.asked(request, FACTS)
    np.save(tmp_path / "a.npy", np.zeros((CANVAS, CANVAS)))
    for text, error in {
        "a.npy\ttop left a red 7, thin and upright": "has 'red', which the training data have not",
        "a.npy": "line 1 must be what is read, a tab",
        "17\ttop left a 7, thin and upright": "is given as its number",
        "": "is empty",
    }.items():
        (tmp_path / "captions.tsv").write_text(text)
        with pytest.raises(ValueError, match=error):
            task.read(tmp_path, FACTS)
    with pytest.raises(ValueError, match="does not exist"):
        task.read(tmp_path / "none.tsv", FACTS)
    numbers = {"filters": 0, "image_dropout": 1.0, "noise": -1.0, "variants": 0, "warp": -0.1}
    for name, number in numbers.items():
        with pytest.raises(ValueError, match=name):
            Caption(**{name: number}).check()
    with pytest.raises(TypeError, match="bidirectional"):
        Caption(bidirectional=True)
