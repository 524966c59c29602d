"""Faults of decoding, for `tests/mutation.py`: what, file, old text, new text, tests."""

_FAULTS = [
    ("states are not reordered", "kept = jax.tree.map(functools.partial(_taken,",
     "jax.tree.map(functools.partial(_taken,", "reordered"),
    ("what has ended goes on", "gain = jnp.where(row.done[..., None], stays, gain)",
     "gain = gain", "as_wide"),
    ("no length penalty", "/ 6) ** α", "/ 6) ** (0 * α)", "by_hand"),
    ("the length goes on after the end", "length=row.length + (~row.done)",
     "length=row.length + (row.t >= 0)", "by_hand"),
    ("what is allowed is scored anew",
     "gain = _restricted(jax.nn.log_softmax(logits), allowed, row)",
     "gain = jax.nn.log_softmax(_restricted(logits, allowed, row))", "constrained"),
    ("what has ended goes on looking", "jnp.where(row.done[..., None], 0, looked)",
     "looked", "coverage"),
    ("coverage beyond 1", "jnp.minimum(covered, 1)", "covered", "coverage"),
    ("padding is not covered", "jnp.where(covered > 0,", "jnp.where(covered >= 0,",
     "coverage"),
    ("repetition makes the unlikely likelier", "logits * penalty", "logits / penalty",
     "repetition"),
    ("repetition of all", "jnp.where(written, less, logits)", "less", "repetition"),
    ("min_p is a logit", "jnp.log(min_p)", "(min_p - 1)", "cut_off"),
    ("top_p without the one that reaches it", "(likelier < top_p)",
     "(likelier < top_p - share[..., :1])", "cut_off"),
    ("one draw for all steps", "fold_in(keys, row.t)", "fold_in(keys, 0)",
     "steps_draw_anew"),
]  # fmt: skip

DECODING = [
    (f"decoding: {what}", "rnnjax/decoding.py", old, new,
     ("tests/test_decoding.py", "-k", tests))
    for what, old, new, tests in _FAULTS
]  # fmt: skip
