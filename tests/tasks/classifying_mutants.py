"""Faults of the tasks, for `tests/mutation.py`: what, file, old text, new text, tests."""

_CLASSIFY = [
    ("_classify", "padding is attended to", "shares = jnp.where(valid, jax.nn.softmax(weights",
     "shares = jnp.where(True | valid, jax.nn.softmax(weights", "attention_is"),
    ("_classify", "the last output of both directions", "ys[0, :, self.hidden_size :]",
     "ys[-1, :, self.hidden_size :]", "depend_on_the_batch and last"),
    ("_classify", "the mean over padding too", "rnnjax.mean_pool(ys, lengths=lengths)",
     "ys.mean(axis=0)", "depend_on_the_batch and mean"),
    ("_classify", "NaN is a class", "if not np.isfinite(logits.max(axis=1)).all():", "if False:",
     "figures"),
    ("_classify", "answers in the order of their lengths",
     "found[batch.targets[batch.real]] = logits[batch.real]",
     "found[: batch.real.sum()] = logits[batch.real]", "depend_on_the_batch and max"),
    ("_classify", "the largest class of the test data", "np.bincount(train.labels)",
     "np.bincount(test.labels)", "largest_class"),
    ("classify_series", "a walk may skip steps", "step + np.minimum(nearest[j], here[j])",
     "np.minimum(step + nearest[j], here[j])", "cheapest"),
    ("classify_series", "missing values pass", "if not np.isfinite(xs).all():",
     "if np.isinf(xs).any():", "bad_file"),
    ("classify_series", "padding is read", "row[:n].astype", "row.astype", "both_kinds"),
    ("classify_digits", "pixels in no order", "flat[:, np.argsort(self._order())]",
     "flat[:, self._order()]", "every_order"),
    ("classify_text", "lines of two packages stay",
     "if len({package for package, _ in places}) == 1:", "if places:", "lines_of"),
    ("classify_text", "symbols of everything", "for text, _ in parts[0] for",
     "for part in parts for text, _ in part for", "symbols_are"),
]  # fmt: skip

CLASSIFYING = [
    (f"{file.strip('_').replace('_', ' ')}: {what}", f"rnnjax/tasks/{file}.py", old, new,
     ("tests/tasks/test_classify.py", "-k", tests))
    for file, what, old, new, tests in _CLASSIFY
]  # fmt: skip
