"""Faults of tasks that label every step, for `tests/mutation.py`: what, file, old, new, tests."""

_TAG, _FRAMES = "rnnjax/tasks/tag", "rnnjax/tasks/frame_labels.py"
_IMAGES = "rnnjax/tasks/_images.py"

_OF_TAG = [
    ("a call of an attribute is an attribute", "python_source.py",
     "case ast.Call(func=ast.Name() | ast.Attribute()):", "case ast.Call(func=ast.Name()):",
     "kinds_are"),
    ("columns are those of bytes", "python_source.py",
     "byte if line.isascii() else len(line.encode()[:byte].decode())", "byte", "kinds_are"),
    ("any case of a match is soft", "python_source.py",
     "not cases.isdisjoint(within)", "cases", "kinds_are"),
    ("a subscript is put behind case", "python_source.py",
     '(b in ("[", "(") and a not in ("[", "(", ","))', "False", "soft_keywords"),
    ("comments are tokens", "conll.py", 'tabs and line.startswith("#")', "False", "conll_is_read"),
    ("a file that ends without a blank line loses a sentence", "conll.py",
     "    sentences += _sentence(rows)\n    if not", "    if not", "conll_is_read"),
    ("the first tag comes from nowhere", "baselines.py", "step[-1] + emission[0]", "emission[0]",
     "likeliest_of_all"),
    ("tags behind the end go on", "baselines.py", "going = (t < lengths)[:, None]",
     "going = (t <= lengths)[:, None]", "by_itself"),
    ("an unknown word is a word", "baselines.py",
     "word or pairs.get((shape, ending), shape)", "word", "most_frequent or likeliest_of_all"),
    ("padding is tagged and judged", "task.py", "lengths=batch.lengths)\n    nats",
     "lengths=None)\n    nats", "padding_never"),
    ("it reads one way alone", "task.py", "rnnjax.bidirectional(cell) if self.bidirectional else",
     "rnnjax.recurrent(cell) if self.bidirectional else", "learns_what"),
    ("an unknown tag is the first one", "vocabulary.py", "if tag not in self._tag_ids:",
     "if tag in ():", "cannot_be_read"),
]  # fmt: skip

_OF_FRAMES = [
    ("a digit leaves the canvas", "(after < 0) | (after > CANVAS - DIGIT)",
     "(after < 0) | (after > CANVAS)", "bounces"),
    ("a corner turns both axes", "turned = jnp.where((after < 0) | (after > CANVAS - DIGIT), -way",
     "turned = jnp.where(((after < 0) | (after > CANVAS - DIGIT)).any(-1, keepdims=True), -way",
     "bounces"),
    ("noise in what is to be expected", "Frames(clean + noise, clean,",
     "Frames(clean + noise, clean + noise,", "noise"),
    ("templates without their norm", "np.square(flat).sum(axis=1) - 2 * inner", "-2 * inner",
     "nearest_template"),
    ("baselines count one frame more", "[SEEN - 2 :].mean())", "[SEEN - 3 :].mean())",
     "baselines_count"),
    ("a way is asked of the first frame", "cross_entropy(way[1:], part.directions[1:])",
     "cross_entropy(way, part.directions)", "every_cell"),
    ("frames of a file with NaN", "not np.isfinite(frames).all() or ", "", "bad_frames"),
]  # fmt: skip

_OF_IMAGES = [
    ("validation is test", "order[held : 2 * held], order[:held]",
     "order[:held], order[:held]", "held_out"),
    ("pixels of a place in another order", "width, 2, 2), -2, -3)", "width, 2, 2), -1, -3)",
     "taken_apart"),
]  # fmt: skip

LABELLING = [
    *(
        (f"tag: {what}", f"{_TAG}/{file}", old, new, ("tests/tasks/test_tag.py", "-k", tests))
        for what, file, old, new, tests in _OF_TAG
    ),
    *(
        (f"frames: {what}", file, old, new, ("tests/tasks/test_frame_labels.py", "-k", tests))
        for file, faults in ((_FRAMES, _OF_FRAMES), (_IMAGES, _OF_IMAGES))
        for what, old, new, tests in faults
    ),
]
