"""Faults of the transformations, for `tests/mutation.py`: what, file, old text, new text, tests."""

_FAULTS = [
    ("zoneout", "rates on the wrong leaves", "(rates[f] for f in",
     "(rates.get('hc'.replace(f, '')) for f in", "zoneout_lstm or reach"),
    ("zoneout", "no expectation in evaluation",
     "beside(p, old) * old + beside(1 - p, old) * leaf", "leaf", "zoneout_lstm"),
    ("zoneout", "rate and 1 - rate swapped", "draw(fold_in(key, folded(path)), p,",
     "draw(fold_in(key, folded(path)), 1 - p,", "zoneout_lstm"),
    ("zoneout", "one mask for all steps", "fresh=True", "fresh=False", "rates and zoneout"),
    ("zoneout", "y from before zoneout", "return new, output_of(new)",
     "return new, output_of(cell.step(params, state, x)[0])", "zoneout_lstm"),
    ("input_dropout", "fresh where it should be constant", "fresh=not variational", "fresh=True",
     "rates and input"),
    ("recurrent_dropout", "fresh where it should be constant", "fresh=not variational",
     "fresh=True", "rates and recurrent"),
    ("recurrent_dropout", "constant where it should be fresh", "fresh=not variational",
     "fresh=False", "rates and recurrent"),
    ("recurrent_dropout", "on the input where it should be on h",
     "change_recurrent(cell, params, masked), state, x",
     "params, state, dropped(key, rate, x)",
     "test_variational"),
    ("recurrent_dropout", "layers share a mask", "fold_in(key, folded(field))", "key", "nested"),
    ("_weights", "columns of a weight do not drop",
     "dataclasses.replace(self, w=self.w[..., index[1]])",
     "Recurrent(self.w[..., index[1]], None, self.by_row)", "test_variational"),
    ("_weights", "weights in a container made anew", "tree.unflatten(leaves)",
     "type(params)(*leaves)", "any_container"),
    ("_noise", "the noise inside is the noise outside", "(fold_in(key, 0), fold_in(key, 1))",
     "(key, key)", "nested"),
    ("_weights", "dropped weights not scaled", "w / share(rate, w)", "w",
     "mean and weight"),
    ("clip_gradient", "not clipped", "jnp.clip(cotangent, -limit, limit)", "cotangent",
     "clips_what"),
    ("clip_state", "not clipped below", "jnp.clip(s, -limit, limit)", "jnp.minimum(s, limit)",
     "clip_state_clips"),
    ("clip_state", "y from before", "y if cell.output_of is None else", "y if True else",
     "clip_state_clips"),
    ("learned_state", "never learned", "jnp.zeros_like(s) + rows(a, s)", "s", "learned_state_is"),
    ("leaky", "a and 1 - a swapped", "(1 - rate) * s + rate * s̃", "rate * s + (1 - rate) * s̃",
     "leaky_equations"),
    ("_feedback", "what went in goes back", "chosen(key, y)", "chosen(key, f)", "runs_freely"),
    ("teacher_forcing", "the teacher is never heard", "return target.astype(y.dtype)",
     "return y", "runs_freely"),
    ("scheduled_sampling", "the teacher is never heard", "target.astype(y.dtype), y)", "y, y)",
     "schedules_by_key"),
    ("_parts", "a part drawn by its place", "folded(name)) for name in self.names",
     "i) for i, name in enumerate(self.names)", "inserted"),
    ("cast", "state in the compute dtype", "params, compute if state is None else state",
     "params, compute", "dtypes_of"),
    ("_precision", "products of wide operands", ".astype(narrow) for a", ".astype(wide) for a",
     "mixed or outside"),
    ("spectral", "norm 1 whatever is asked", "norm * wide /", "wide /", "gate_by_gate"),
    ("orthogonal", "not skew", "wide - jnp.swapaxes", "wide + jnp.swapaxes", "orthogonal_weights"),
    ("highway", "gate the wrong way round", "g * y + (1 - g) * past", "(1 - g) * y + g * past",
     "shortcuts"),
]  # fmt: skip

COMBINE = [
    (f"{file.strip('_')}: {what}", f"rnnjax/_combine/{file}.py", old, new,
     ("tests/combine", "-k", tests))
    for file, what, old, new, tests in _FAULTS
]  # fmt: skip
COMBINE += [
    (f"layer norm: {what}", f"rnnjax/cells/layer_norm_{cell}.py", old, new,
     ("tests/combine/test_papers.py", "-k", f"layer_norm_{cell}"))
    for cell, what, old, new in (
        ("lstm", "memory not normalised", "normalised(c, params.scale_c)", "c"),
        ("lstm", "gains swapped", "params.w_x, params.scale_x)", "params.w_x, params.scale_h)"),
        ("gru", "r, z and n normalised together", "params.scale_x, split)", "params.scale_x)"),
    )
]  # fmt: skip
