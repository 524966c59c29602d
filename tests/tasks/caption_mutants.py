"""Faults of captions, for `tests/mutation.py`: what, file, old text, new text, tests."""

_CAPTION = [
    ("test scenes of training combinations", "caption/scenes.py", "{0: TEST, 5: VALIDATION}",
     "{5: VALIDATION}", "combinations_are"),
    ("test digits are trained on", "caption/task.py", "rows = split(len(images))[number]",
     "rows = split(len(images))[0]", "no_digit"),
    ("training scenes have every combination", "caption/scenes.py",
     "if each.part == part and each.place == place", "if each.place == place", "no_scene"),
    ("a digit keeps its own slant", "caption/scenes.py", "lean + TILT * tilted", "TILT * tilted",
     "upright_or_tilted"),
    ("thick is thinner", "caption/scenes.py", "ndimage.grey_dilation(found[:, :, 0]",
     "ndimage.grey_erosion(found[:, :, 0]", "upright_or_tilted"),
    ("every digit stands in the middle row", "caption/scenes.py", "divmod(each.place, 2)",
     "divmod(each.place, 4)", "where_its_caption"),
    ("a digit of a scene is not said", "caption/scenes.py", "(\";\", *each.words)][1:]",
     "(\";\", *each.words)][10:]", "captions_by_hand"),
    ("the image is not read", "_writing/model.py", "            state |= after\n", "",
     "read_once"),
    ("columns of the map are rows", "caption/task.py", "jnp.broadcast_to(rows[:, None], ",
     "jnp.broadcast_to(rows[:1], ", "feature_map"),
    ("the nearest has the least ink", "_images.py", "(sizes - 2 * xs[",
     "(sizes + 0 * xs[", "baselines"),
    ("ink of a .png is light", "caption/images.py", "(1 - pixels[..., :colours].mean(axis=-1))",
     "pixels[..., :colours].mean(axis=-1)", "images_of_files"),
]  # fmt: skip

CAPTION = [
    (f"caption: {what}", f"rnnjax/tasks/{file}", old, new,
     ("tests/tasks/test_caption.py", "-k", tests))
    for what, file, old, new, tests in _CAPTION
]  # fmt: skip
