"""Faults of tasks that tell cells apart, for `tests/mutation.py`: what, file, old, new, tests."""

_CONTROLLED = [
    ("regular", "asked a step late", "asked(lengths, len(symbols))",
     "asked(lengths + 1, len(symbols))", "simulation and parity"),
    ("regular", "minus is plus", "jnp.where(operator == minus, -symbol, symbol)",
     "jnp.where(operator == minus, symbol, symbol)", "simulation and arithmetic or by_hand"),
    ("regular", "a pair of two a is a change", "symbols != symbols[0]", "symbols == symbols[0]",
     "simulation and even-pairs"),
    ("grammars", "ways of every depth alike", "(depth + 2) * (left - depth)",
     "(depth + 1) * (left - depth)", "shares"),
    ("grammars", "any bracket closes any", "jnp.where(up, kind, stack[depth, rows])",
     "jnp.where(up, 0 * kind, stack[depth, rows])", "simulation and dyck-2 or by_hand"),
    ("grammars", "the end may come at any depth", "depth[..., None] == 0]",
     "depth[..., None] >= 0]", "simulation and dyck"),
    ("grammars", "one b too few", "full = (here == counts[..., 1])",
     "full = (here + 1 == counts[..., 1])", "simulation and anbn"),
    ("grammars", "the embedded letter is forgotten",
     "after[first + inner - 1, letters.index(chosen)]",
     "after[first + inner - 1, letters.index('T')]", "simulation and reber"),
    ("grammars", "every fork is even", "np.where(AFTER >= 0, ends[AFTER], 0)",
     "np.where(AFTER >= 0, ends[AFTER] > 0, 0)", "shares"),
    ("grammars", "what cannot come is answered", "if letters[place] not in names:",
     "if not names:", "no_sense"),
    ("memory", "the sign of noise", "first = (values[0] > 0)", "first = (values[-1] > 0)",
     "keeps_the_first"),
    ("memory", "both marks in one half", "k_places[1], sizes.shape, half, sizes",
     "k_places[1], sizes.shape, 0, half", "each_half"),
    ("memory", "the sum of what is marked", "jnp.where(marks, values, 1.0).prod(axis=0)",
     "jnp.where(marks, values, 0.0).sum(axis=0)", "each_half"),
    ("memory", "the last symbol counts most", "2 * code + symbol - 4", "code + 2 * (symbol - 4)",
     "simulation and temporal"),
    ("memory", "letters in no order", "jnp.where(symbols < 8, steps, len(symbols))",
     "jnp.where(symbols < 8, symbols, len(symbols))", "simulation and selective"),
    ("memory", "the first places alone", "lots.argsort(axis=0).argsort(axis=0) < self.count",
     "jnp.broadcast_to(jnp.arange(most)[:, None] < self.count, lots.shape)", "all_places"),
    ("memory", "a letter may come twice",
     "jax.random.uniform(k_letter, (26, *batch)).argsort(axis=0)[:most]",
     "jax.random.randint(k_letter, (most, *batch), 0, 26)", "simulation and recall"),
    ("memory", "the alphabet ends", "(symbols[0] + 1 + steps) % 26",
     "jnp.minimum(symbols[0] + 1 + steps, 25)", "simulation and alphabet or by_hand"),
    ("chaos", "the past is a straight line", "+ h / 8 * (f0 - f1)", "+ h / 8 * (f1 - f0)",
     "mackey"),
    ("chaos", "a rule of first order", "h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)", "h * k1",
     "mackey or lorenz_is"),
    ("chaos", "the value that is read is asked for", "sizes, values[1:], real_steps",
     "sizes, values[:-1], real_steps", "next_value"),
    ("_base", "a set may hold more", "((ys > 0) != targets).any(axis=-1)",
     "((ys <= 0) & targets).any(axis=-1)", "errors_by_hand"),
    ("_base", "NaN is an answer", "jnp.isfinite(ys).all(axis=-1), wrong", "True, wrong",
     "errors_by_hand"),
    ("_base", "test data are validated on", "jax.random.fold_in(key, 0), self.T",
     "jax.random.fold_in(key, self.T), self.T", "parts_are"),
    ("_base", "the last symbol is not looked at", "codes[counts.argmax(axis=1)]",
     "codes[counts.sum(axis=0).argmax()].repeat(9)", "baselines"),
    ("_base", "all lengths are the longest", "self.shortest, self.T + 1)", "self.T, self.T + 1)",
     "lengths_are"),
]  # fmt: skip

_SWEEP = [
    ("every seed has one key", "jnp.stack([source.key for source in generated])",
     "jnp.stack([generated[0].key for source in generated])", "runs_of_their_own"),
    ("every piece begins anew", "fori_loop(first, last, body,",
     "fori_loop(first * 0, last - first, body,", "runs_of_their_own"),
    ("the best seed is the worst", "ordered[-1]:.3g", "ordered[0]:.3g", "worst"),
    ("the figures of one seed", "lambda leaf, n=n: leaf[n]", "lambda leaf, n=n: leaf[0]",
     "runs_of_their_own"),
]  # fmt: skip

CONTROLLED = [
    (f"controlled {file.strip('_')}: {what}", f"rnnjax/tasks/controlled/{file}.py", old, new,
     ("tests/tasks/test_controlled.py", "-k", tests))
    for file, what, old, new, tests in _CONTROLLED
] + [
    (f"sweep: {what}", "rnnjax/train/sweep.py", old, new,
     ("tests/train/test_sweep.py", "-k", tests))
    for what, old, new, tests in _SWEEP
]  # fmt: skip
