"""Faults of gradients through time, for `tests/mutation.py`: what, file, old, new, tests."""

_FAULTS = [
    ("_state", "imaginary parts forgotten", "jnp.concatenate([row.real, row.imag], -1)",
     "jnp.concatenate([row.real, row.real], -1)", "vectors", "names_say or back"),
    ("_state", "what is selected is all", "any(below(path, at) for at in paths)\n\n\ndef as",
     "True\n\n\ndef as", "vectors", "selected"),
    ("_steps", "a tap behind its step",
     "        return state, jax.tree.map(lambda leaf: leaf[0], y)",
     "        state = units.write(state, units.read(state) + tap) if units else state\n"
     "        return state, jax.tree.map(lambda leaf: leaf[0], y)", "gradient_flow", "linear"),
    ("_steps", "resets not heard", "resets=resets)\n        return", "resets=None)\n        return",
     "gradient_flow",
     "finite"),
    ("_steps", "the last step is the last of all", "return self.real & (following == 0)",
     "return jnp.zeros_like(self.real).at[-1].set(True)", "loss_gradients", "last_state"),
    ("_steps", "norms of squares", "scale = jnp.where((most > 0) & jnp.isfinite(most), most, 1)",
     "scale = jnp.ones_like(most)", "gradient_flow", "vanishes"),
    ("gradients", "every error at every step", "see(steps.real & (step == t))", "see(steps.real)",
     "gradient_flow", "linear"),
    ("gradients", "a lag too few", "jnp.maximum(last + 1 - place, 0)",
     "jnp.maximum(last - place, 0)", "gradient_flow", "linear or finite"),
    ("gradients", "lags count padding", "place, rank = steps.real.cumsum(0)",
     "place, rank = jnp.ones_like(steps.real).cumsum(0)", "loss_gradients", "gaps"),
    ("gradients", "a clip that is not seen", "(jnp.abs(gradient) >= clip)",
     "(jnp.abs(gradient) > clip)", "gradient_flow", "clip"),
    ("terms", "lags counted from the first step", "terms[(t - step) %", "terms[step %",
     "gradient_flow", "terms"),
    ("terms", "a learned start forgotten", "cell.initial_state(first, steps.batch)",
     "cell.initial_state(params, steps.batch)", "gradient_flow", "terms"),
    ("terms", "a share of its own lag too", " - along.real", "", "gradient_flow", "shares"),
    ("_steps", "a cell that changed is not looked at", "return remembered(what, apart, make)",
     "return remembered(f, apart, lambda _: make(lambda: what))", "gradient_flow", "read_before"),
    ("gradients", "rows for errors", "    if not square or (np.triu(np.moveaxis(lags, (0, 1), "
     "(-2, -1)), 1) > 0).any():", "    if not square:", "gradient_flow", "pictures"),
    ("jacobians", "a transposed Jacobian", "jax.vmap(column, out_axes=-1)",
     "jax.vmap(column, out_axes=-2)", "jacobians", "finite or steps"),
    ("products", "products the wrong way round", "product = product @ jacobian",
     "product = jacobian @ product", "jacobians", "products"),
    ("lyapunov", "directions not kept", "directions, r = jnp.linalg.qr(",
     "_, r = jnp.linalg.qr(", "jacobians", "linear"),
    ("lyapunov", "skipped steps count", "jnp.arange(time) >= skip", "jnp.arange(time) >= 0",
     "jacobians", "linear or turns"),
    ("lyapunov", "rounding grows", "jnp.where(growth > rounding, growth, 0)", "growth",
     "jacobians", "lost"),
    ("training", "one derivative inside hides all", "alone = [probe if m == n else None",
     "alone = [probe", "loss_gradients", "itself_takes"),
    ("compare", "all cells are the task's own", "dataclasses.replace(task, cell=name, **given)",
     "dataclasses.replace(task, **given)", "loss_gradients", "a_task"),
    ("weights", "gates together", "np.split(weights, gates, 1) if gates", "[weights] if gates",
     "jacobians", "by_gate"),
    ("_onlooker", "the last state not looked at", "both = floating(parted(after)[0])[0], ys",
     "both = [0 * g for g in floating(parted(after)[0])[0]], ys", "loss_gradients", "last_state"),
    ("_onlooker", "reversed runs read forwards", 'ys = [g[::-1] for g in ys] if options["reverse"]',
     'ys = ys if options["reverse"]', "loss_gradients", "any_model"),
]  # fmt: skip

GRADIENTS = [
    (f"diagnostics: {what}", f"rnnjax/diagnostics/{file}.py", old, new,
     (f"tests/diagnostics/test_{where}.py", "-k", tests))
    for file, what, old, new, where, tests in _FAULTS
]  # fmt: skip
GRADIENTS += [
    ("unroll: no onlooker", "rnnjax/_unroll.py", "if onlooker.value is not None:", "if False:",
     ("tests/diagnostics/test_loss_gradients.py", "-k", "themselves or itself")),
    ("fit: gradients behind their step", "rnnjax/train/loop.py",
     '{"step": step + 1, "gradients"', '{"step": step, "gradients"',
     ("tests/diagnostics/test_loss_gradients.py", "-k", "training_records")),
]  # fmt: skip
