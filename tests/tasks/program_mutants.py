"""Faults of the task program, for `tests/mutation.py`: what, file, old text, new text, tests."""

_PROGRAM = [
    ("programs", "a loop turns once more", "for _ in range(turns):", "for _ in range(turns + 1):",
     "python_prints"),
    ("programs", "the other branch", "body if holds else other", "other if holds else body",
     "python_prints"),
    ("programs", "factors of any size", "number(4 * length)])", "number()])", "small"),
    ("programs", "operations get lost", "rng.multinomial(operations - 1,",
     "rng.multinomial(operations // 2,", "length_and_nesting"),
    ("programs", "names make a difference", 'f"v{len(names)}"', "found[0]", "names_of"),
    ("programs", "a loop's sum is an operation too", r"|(?<!\+)=", "|=", "by_hand"),
    ("task", "held-out programs by other names", "return renamed(text[0])", "return text[0]",
     "whatever_names"),
    ("task", "lengths before nestings are done", "divmod(min(last, 2 * step * last // self.steps), "
     "self.length)", "divmod(min(last, step * last // self.steps), self.length)", "curricula"),
    ("task", "combined is naive", '("naive", "mixed")[rng.integers(2)]', '"naive"', "curricula"),
    ("task", "twice without an end between", "[n, n[:1] * 0, n]", "[n, n]", "read_twice"),
    ("task", "programs of any length", "if len(program) > read:", "if not program:", "a_request"),
]  # fmt: skip

PROGRAM = [
    (f"program: {what}", f"rnnjax/tasks/program/{file}.py", old, new,
     ("tests/tasks/test_program.py", "-k", tests))
    for file, what, old, new, tests in _PROGRAM
] + [
    ("writing: told figures of other kinds", "rnnjax/tasks/_writing/task.py", "missed[rows]",
     "missed[: len(rows)]", ("tests/tasks/test_program.py", "-k", "figures_of")),
    ("writing: what is told in the order of lengths", "rnnjax/tasks/_writing/task.py",
     "missed[np.concatenate([rows for *_, rows in pairs.groups])] = found[:, 1]",
     "missed[:] = found[:, 1]", ("tests/tasks/test_program.py", "-k", "goes_with")),
]  # fmt: skip
