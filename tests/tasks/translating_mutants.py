"""Faults of sentences, for `tests/mutation.py`: what, file, old text, new text, tests."""

_TRANSLATE = [
    ("grammar", "company is not held out", '{other.english}", other.pairs',
     '{other.english}", ()', "no_training"),
    ("grammar", "helping verbs are not held out", "pairs=said.pairs + _together(whose, modal)",
     "pairs=said.pairs", "no_training"),
    ("grammar", "hablamos is said at any time", "if _ambiguous(verb, whose.person) and not named:",
     "if False:", "by_hand"),
    ("grammar", "tenía is said of anybody", "and _unmarked(verb) and not told:", "and False:",
     "by_hand"),
    ("grammar", "la agua", "in lexicon.FEMININE_WITH_EL and not several", "in ()", "by_hand"),
    ("grammar", "she goes on with a new subject", "english=before.pronoun, ",
     "english=before.english, ", "whoever"),
    ("lexicon", "nosotros is stressed", "stem if n == WE else stressed", "stressed",
     "conjugated"),
    ("lexicon", "will is followed by not twice", '" ".join([polarity, first, *rest])',
     '" ".join([first, polarity, *rest])', "helpers"),
    ("choices", "what is alike is counted once", "groups[found.features] = before + count, first",
     "groups[found.features] = 1, first", "by_hand"),
    ("sentences", "words of a user's other files are known",
     'data.facts[side]["unknown"] = True', "pass", "read_alike"),
    ("sentences", "a mark is a word", "closes or token in _BEHIND", "closes", "text_they_make"),
    ("task", "the shorter file decides", "if counts[0] != counts[1]:", "if not counts:",
     "pair_of_files"),
    ("formats", "dialogues run on", "elif dialogues[-1]:", "elif False:", "answers_the"),
    ("formats", "all of a text is read", "(text)[: self.length]", "(text)", "sums_them_up"),
]  # fmt: skip

TRANSLATING = [
    (f"translate, {file}: {what}", f"rnnjax/tasks/translate/{file}.py", old, new,
     ("tests/tasks/test_translate.py", "-k", tests))
    for file, what, old, new, tests in _TRANSLATE
]  # fmt: skip
