"""Faults of what training is made of, for `tests/mutation.py`: what, file, old, new, tests."""

_SOURCES = [
    ("a stream takes every B-th step", "xs[: length * batch_size].reshape(batch_size, length,",
     "xs[: length * batch_size].reshape(length, batch_size,", "continue_each_other"),
    ("targets are the inputs", "Window(piece[:-1], piece[1:],", "Window(piece[:-1], piece[:-1],",
     "continue_each_other"),
    ("each pass in one order", "self.seed, turn)[places[turns", "self.seed, 0)[places[turns",
     "every_example"),
    ("a batch that straddles takes one pass", "step * self.batch_size + np.arange",
     "step // self.steps_per_pass * self._count + step % self.steps_per_pass * self.batch_size "
     "+ np.arange", "every_example"),
    ("the seed of examples is not heard", "_shuffled(self._count, self.seed, turn)",
     "_shuffled(self._count, 0, turn)", "examples_follows"),
    ("what fills the last batch is real", "rows < self._count\n", "rows >= 0\n",
     "examples_in_order"),
    ("rows that fill a batch are real", "np.arange(self.batch_size) < len(rows)",
     "np.arange(self.batch_size) >= 0", "every_sequence"),
    ("the last sequences of a bucket left out", "range(0, len(rows), batch_size)",
     "range(0, len(rows) - batch_size + 1, batch_size)", "every_sequence"),
    ("sequences as they stand in every pass", "turn, which)).permutation(rows)",
     "turn, which)).permutation(rows) * 0 + rows", "every_sequence or sequences_follows"),
    ("targets of other sequences", "np.concatenate([targets[rows],",
     "np.concatenate([targets[: len(rows)],", "sequences_in_order"),
    ("one key for all steps", "fold_in(self.key, step)", "fold_in(self.key, 0)", "generated"),
    ("an iterator gives what comes next", "self._next not in (None, step)", "False", "iterator"),
    ("rows of targets on the axis of time", "1 if isinstance(self.targets, list) else 0",
     "0", "axes_say"),
]  # fmt: skip

_LOSSES = [
    ("smoothed over the target alone", "smoothing * logits.mean(axis=-1)", "smoothing * chosen",
     "smoothing"),
    ("yes and no swapped", "targets * jax.nn.softplus(-logits)",
     "targets * jax.nn.softplus(logits)", "numbers_equal or yes_and_no"),
    ("no gradient where a logit is 0",
     "targets * jax.nn.softplus(-logits) + (1 - targets) * jax.nn.softplus(logits)",
     "jax.nn.relu(logits) - logits * targets + jnp.log1p(jnp.exp(-jnp.abs(logits)))",
     "yes_and_no"),
    ("any target will do", "(targets < 0) | (targets > 1)", "targets != targets", "yes_and_no"),
    ("half the square", "jnp.square(predictions - targets), mask",
     "0.5 * jnp.square(predictions - targets), mask", "numbers_equal"),
    ("the variance for its root", "jnp.exp(-log_std)", "jnp.exp(-2 * log_std)", "numbers_equal"),
    ("quantiles the wrong way round", "jnp.maximum(q * missed, (q - 1) * missed)",
     "jnp.maximum(-q * missed, (1 - q) * missed)", "numbers_equal"),
    ("entries of a place counted once", "astype(losses.dtype) * each", "astype(losses.dtype)",
     "numbers_equal"),
    ("predictions at padding have a gradient", "return _cleaned(mask, predictions).astype(wide)",
     "return predictions.astype(wide)", "padding_of_numbers"),
    ("targets at padding count", "_cleaned(mask, targets).astype(wide)", "targets.astype(wide)",
     "padding_of_numbers"),
    ("numbers summed in half precision", "wide = at_least_float32(predictions.dtype)",
     "return _cleaned(mask, predictions), _cleaned(mask, targets)", "summed_in_float32"),
    ("ctc: steps beyond the length", "1 - step.T.astype(logits.dtype)",
     "0 * step.T.astype(logits.dtype)", "sum_over_all"),
    ("ctc: labels beyond their number", "1 - label.astype(logits.dtype)",
     "0 * label.astype(logits.dtype)", "sum_over_all"),
    ("ctc: logits beyond the length", "logits = _cleaned(step, logits)", "pass", "beyond"),
    ("ctc: always the first symbol is blank", "blank_id=blank", "blank_id=0", "sum_over_all"),
    ("ctc: no alignment passes", "needed > step.sum(axis=0)", "needed < 0", "long_sequence"),
    ("ctc: any label will do", "| (labels == blank)", "", "no_labels"),
]  # fmt: skip

_REGULARIZERS = [
    ("differences with padding", "mask[1:] & mask[:-1]", "mask[:-1]", "penalties or padding"),
    ("states are not constant", "arriving, before = jax.lax.stop_gradient(",
     "arriving, before = (", "any_cell"),
    ("every parameter learns", "constant = jax.lax.stop_gradient(params)", "constant = params",
     "equations"),
    ("squares of norms, as in the authors' program", "jnp.square(ratio - 1)",
     "jnp.square(jnp.square(ratio) - 1)", "equations"),
    ("steps without a gradient count", "penalties = jnp.where(counts,",
     "penalties = jnp.where(counts | True,", "equations or finite"),
    ("rows have one norm", "rows = 1 + len(batch)", "rows = 1", "equations"),
    ("the outputs do not see the tap", "(state, output_of(joined(new, held)))",
     "(state, output_of(joined(step(constant, state, x), held)))", "equations"),
    ("a norm of 0 has no gradient", "jnp.where(some, jnp.sqrt(jnp.where(some, squares, 1)), 0)",
     "jnp.sqrt(squares)", "finite"),
    ("squared before it is scaled", "g / _beside(jnp.where(counts, largest, 1), g)", "g",
     "finite"),
    ("weights share their noise", "jax.random.fold_in(key, folded(path))", "key", "noise"),
    ("biases have noise", "if not weight or", "if", "noise"),
]  # fmt: skip

_TRUNCATED = [
    ("the window before is not begun from its own state",
     "state = advanced(params, sweep.lagging, first - 1, begin - rest, rest)",
     "state = advanced(params, sweep.lagging, first - 1, begin - rest, 0)", "cuts"),
    ("no gradient before the window", "params, state, first + j,",
     "jax.lax.stop_gradient(params), state, first + j,", "cuts or full"),
    ("a rest before the batch is run", "start >= 0,", "start > -length,", "cuts"),
    ("the state behind does not keep up", "first, begin, length - rest)",
     "first, begin, length)", "cuts"),
    ("windows weigh alike", "1.0 if of.summed else size / steps", "1.0 if of.summed else "
     "length / steps", "cuts"),
    ("a sum of gradients weighs them", "share = 1.0 if of.summed else", "share =", "sum_of"),
    ("the value of a short window weighs as others", "wide[count:].sum() * left",
     "wide[count:].sum() * length", "cuts"),
    ("what comes from outside is not multiplied", "g * scale.astype(g.dtype)", "g", "scaled"),
    ("one key for all windows", "jax.random.fold_in(key, index)", "key", "noise_is"),
    ("what runs again has other noise", "params, state, first + j, (first",
     "params, state, first + j + 100, (first", "noise_is"),
    ("summed in half precision", "jnp.zeros(p.shape, at_least_float32(p.dtype))",
     "jnp.zeros(p.shape, p.dtype)", "many_small"),
    ("leaves without time are cut", "leaf if axis < 0 else", "", "axes_of_time"),
    ("carried of any type", "if kind(old) != kind(new):", "if False:", "batches_that"),
    ("everything is kept for the way back", "_swept.defvjp(_forward, _backward)",
     "_swept = lambda *given: _sweep(*given, with_gradient=False)[0]", "memory or reach"),
]  # fmt: skip

_OPTIMIZER = [
    ("decay of everything", "optax.add_decayed_weights(-decay, decay_mask)",
     "optax.add_decayed_weights(-decay)", "decay"),
    ("decay within the gradient", "chain.append(optax.add_decayed_weights(-decay, decay_mask))",
     "chain.insert(-1, optax.add_decayed_weights(decay, decay_mask))", "decay"),
    ("decay at rate 1", "chain.append(optax.add_decayed_weights(-decay, decay_mask))\n"
     "        chain.append(optax.scale_by_learning_rate(learning_rate, flip_sign=False))",
     "chain.append(optax.scale_by_learning_rate(learning_rate, flip_sign=False))\n"
     "        chain.append(optax.add_decayed_weights(-decay, decay_mask))", "decay"),
    ("lion without decay of its own", '"adamw": 1e-4, "lion": 1e-3', '"adamw": 1e-4', "decay"),
    ("accumulated in float32 at most", "accumulator_dtype=jnp.result_type(float)",
     "accumulator_dtype=jnp.float32", "accumulated"),
    ("accumulated in the dtype of the gradient", "accumulator_dtype=jnp.result_type(float)",
     "accumulator_dtype=jnp.bfloat16", "half_precision_is"),
    ("each step clipped by itself", "        made = steps.gradient_transformation()\n",
     "        steps = optax.MultiSteps(optax.chain(*chain[1:]), accumulate)\n"
     "        made = optax.chain(chain[0], steps.gradient_transformation())\n", "accumulated"),
    ("a plateau sees one step in many",
     "        made = optax.chain(made, optax.contrib.reduce_on_plateau(**plateau))\n",
     "        made = optax.chain(*chain, optax.contrib.reduce_on_plateau(**plateau))\n"
     "        made = optax.MultiSteps(made, accumulate)\n"
     "        made = optax.GradientTransformationExtraArgs(made.init, made.update)\n", "plateau"),
    ("no warm-up", "        (warmup, optax", "        (0, optax", "cosine or constant"),
    ("bounds are not sums", "*(length + bound for bound in bounds)", "*bounds", "cosine"),
    ("a schedule comes down too late", "left = steps - warmup - hold", "left = steps - hold",
     "cosine"),
    ("halving without a floor", "staircase=True, end_value=end", "staircase=True", "zarembas"),
    ("halving in between", "staircase=True", "staircase=False", "zarembas"),
    ("halving begins a pass late", "peak / 2,", "peak,", "zarembas"),
]  # fmt: skip

TRAIN = [
    (f"{file}: {what}", f"rnnjax/train/{file}.py", old, new,
     (f"tests/train/test_{file}.py", "-k", tests))
    for file, faults in (
        ("sources", _SOURCES),
        ("losses", _LOSSES),
        ("regularizers", _REGULARIZERS),
        ("truncated", _TRUNCATED),
        ("optimizer", _OPTIMIZER),
    )
    for what, old, new, tests in faults
]  # fmt: skip
