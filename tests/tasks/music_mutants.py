"""Faults of the task music, for `tests/mutation.py`: what, file, old, new, tests."""

_FAULTS = [
    ("model", "the network reads the chord that it foresees",
     "jnp.concatenate([jnp.zeros_like(rolls[:1]), rolls[:-1]])", "rolls", "loop_in_numpy"),
    ("model", "a note is told itself", 'jnp.triu(params["within"]["w"], 1) if',
     'jnp.triu(params["within"]["w"], 0) if', "loop_in_numpy or as_likely"),
    ("model", "a drawn chord forgets its lower notes",
     "logits + found.astype(logits.dtype) * higher", "logits", "as_likely or goes_on"),
    ("model", "notes that were missed do not count", '"all": (told | real).sum()',
     '"all": told.sum()', "loop_in_numpy"),
    ("model", "padding counts", "binary_cross_entropy(logits, batch.xs, mask).total",
     "binary_cross_entropy(logits, batch.xs).total", "loop_in_numpy"),
    ("model", "a piece is begun anew", "jnp.concatenate([jnp.zeros((1, NOTES)), roll])",
     "jnp.concatenate([jnp.zeros((1, NOTES)), 0 * roll])", "goes_on"),
    ("task", "nats of a note, not of a step", "value = NOTES * composer", "value = composer",
     "loop_in_numpy"),
    ("task", "the first step is left out", 'total["nats"] / steps,',
     '(total["nats"] - total["first"]) / steps,', "loop_in_numpy"),
    ("task", "the validation pieces are trained on", "order[2 * held :], order",
     "order[held:], order", "no_one_split or default_data"),
    ("rolls", "any pickle is run", "raise pickle.UnpicklingError(",
     "return super().find_class(module, name)\n        raise pickle.UnpicklingError(", "bad_file"),
    ("rolls", "padding of .npz is silence", "roll[:n] for roll, n in zip",
     "roll for roll, n in zip", "every_form"),
    ("midi", "what ends on a step still sounds", "for tick in (start, end))",
     "for tick in (start, end + 1))", "gives_back or beginning"),
    ("midi", "a note struck with no force begins", '"note_on" and message.velocity',
     '"note_on"', "beginning"),
    ("sound", "sound is too loud for a file", "return LOUDEST * samples", "return 2 * samples",
     "its_length or one_piece"),
    ("sound", "harmonics that there are no samples for", "if k * frequency < RATE / 2",
     "if k", "its_length"),
    ("baselines", "the first chord comes after itself",
     "np.concatenate([nothing, roll[:-1]])", "np.concatenate([roll[:1], roll[:-1]])", "by_hand"),
    ("baselines", "regression is told the note itself", "told = note if lower else 0",
     "told = note + 1", "told_what"),
    ("chorales", "parallel fifths are free", "PARALLEL * (same", "0 * (same", "keep_the_rules"),
]  # fmt: skip

MUSIC = [
    (
        f"music: {what}",
        f"rnnjax/tasks/music/{file}.py",
        old,
        new,
        ("tests/tasks/test_music.py", "-k", tests),
    )
    for file, what, old, new, tests in _FAULTS
]
