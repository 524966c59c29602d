"""Faults of tasks that write, for `tests/mutation.py`: what, file, old text, new text, tests."""

_WRITING = [
    ("_writing/pairs", "the unknown ends", "places.get(s, self.size - 1)", "places.get(s, 0)",
     "symbols_and"),
    ("_writing/pairs", "pairs of a source apart", "parts[places[group]].append(text)",
     "parts[places[group] if text[1][-1] in '02468' else 2].append(text)", "all_answers"),
    ("_writing/pairs", "two columns or more", "if len(columns) != 2 or", "if len(columns) < 2 or",
     "no_pairs"),
    ("_writing/scores", "the end is no place", "places = [*answer, None]", "places = [*answer]",
     "figures"),
    ("_writing/scores", "the first answer alone", "for a in some), key=",
     "for a in some[:1]), key=", "lexicons or figures"),
    ("_writing/scores", "an exchange costs two", "before + (x != y)", "before + 2 * (x != y)",
     "figures"),
    ("_writing/model", "read from the start", "if reverse else xs", "if False else xs",
     "from_the_end"),
    ("_writing/model", "padding is a place to look at",
     "encoded.memory, lengths=encoded.lengths, state", "encoded.memory, state",
     "shares_of or at_once"),
    ("_writing/model", "the bridge has no bias", "summary @ params.w + params.b",
     "summary @ params.w", "begins_from"),
    ("_writing/model", "rates of all noise",
     "return outer._replace(cell=outer.cell._replace(cell=state))",
     "return rnnjax.set_rates(outer._replace(cell=outer.cell._replace(cell=state)), rate)",
     "dropout_alone"),
    ("_writing/task", "held-out pairs are trained on",
     "if place(self.group(text)) == TRAIN:", "if text:", "never_what"),
    ("_writing/task", "it is told what it is to write",
     "[jnp.full_like(batch.targets[:1], END), batch.targets[:-1]]",
     "[batch.targets[:1], batch.targets[1:]]", "real_symbols"),
    ("_writing/task", "the rate stays", "* done, carried + 1", "* done, carried", "rate_one"),
    ("_writing/task", "answers in the order of their lengths",
     "found[n] = written.tokens(ids.tolist())",
     "found[len(found) - 1 - n] = written.tokens(ids.tolist())", "depend_on_the_batch"),
    ("add", "carried nothing", "str(sum(numbers))", "str(numbers[0])", "sums_are"),
    ("dates", "months from 0", "m=day.month,", "m=day.month - 1,", "what_they_say"),
    ("dates", "all are th", "special.get(number % 10 if number // 10 != 1 else 0, 'th')",
     "special.get(number % 10, 'th')", "rules_for"),
    ("pronounce", "stress stays", "words if self.stress else", "words if True else",
     "published or lexicons"),
    ("pronounce", "further pronunciations are words", r're.sub(r"\(\d+\)$", "", word)', "word",
     "published or lexicons"),
]  # fmt: skip

WRITING = [
    (f"writing, {file.removeprefix('_writing/')}: {what}", f"rnnjax/tasks/{file}.py", old, new,
     ("tests/tasks/test_writing.py", "-k", tests))
    for file, what, old, new, tests in _WRITING
] + [
    ("sources: targets are as long as what is read", "rnnjax/train/sources.py",
     "lengths = self.lengths if self.target_lengths is None else self.target_lengths",
     "lengths = self.lengths", ("tests/tasks/test_writing.py", "-k", "real_symbols")),
]  # fmt: skip
