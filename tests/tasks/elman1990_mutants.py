"""Faults of the task elman1990, for `tests/mutation.py`: what, file, old text, new text, tests."""

_ELMAN = [
    ("studies", "the third bit is the or", "(a, b, a ^ b)", "(a, b, a | b)", "third_bit"),
    ("studies", "guu", '("ba", "dii", "guuu")', '("ba", "dii", "guu")', "consonant"),
    ("studies", "u is not back", '"u": "010111"', '"u": "010101"', "codes"),
    ("studies", "bits of letters from the last", "range(4, -1, -1)", "range(5)", "codes"),
    ("studies", "the last template is never drawn", "rng.integers(len(TEMPLATES), size=count)",
     "rng.integers(len(TEMPLATES) - 1, size=count)", "every_template"),
    ("studies", "things eat", "NOUN-ANIM VERB-EAT NOUN-FOOD", "NOUN-INANIM VERB-EAT NOUN-FOOD",
     "who_does"),
    ("studies", "units go on", "for n in range(len(unit))]", "for n in range(1, len(unit) + 1)]",
     "anew"),
    ("expected", "what came before the unit counts too", "ids[n - place : n + 1]",
     "ids[max(0, n - place - 1) : n + 1]", "unit_so_far"),
    ("expected", "no unit ever ends", "c if c in goes_on else ()", "c", "brute_force"),
    ("expected", "sums are no means", "means = sums / np.maximum(", "means = sums / np.minimum(1, ",
     "frequencies"),
    ("expected", "what was never seen is nothing", "means[-1] = targets.mean(axis=0)",
     "means[-1] = 0", "never_seen"),
    ("expected", "where it only rises", "& (errors >= around[2:])", "", "peaks"),
    ("expected", "precision alone", "found.sum() + true.sum()", "2 * found.sum()", "peaks"),
    ("task", "errors go back through all of a window",
     "truncated(window, self.truncate) if self.truncate else window", "window", "one_step_alone"),
    ("task", "the state of the last pass", "jnp.where(batch.fresh, new, old)",
     "jnp.where(batch.fresh, old, old)", "new_pass"),
    ("task", "the state is not carried", "jnp.where(batch.fresh, new, old)",
     "jnp.where(batch.fresh, new, new)", "new_pass"),
    ("task", "a figure of the place before", "places, likely = part.stream.places[1:]",
     "places, likely = part.stream.places[:-1]", "loops"),
    ("task", "the mean of bits", "value = bits * mean_squared_error", "value = mean_squared_error",
     "new_pass or one_step"),
]  # fmt: skip

ELMAN = [
    (f"elman1990: {what}", f"rnnjax/tasks/elman1990/{file}.py", old, new,
     ("tests/tasks/test_elman1990.py", "-k", tests))
    for file, what, old, new, tests in _ELMAN
]  # fmt: skip
