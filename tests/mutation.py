"""Plants known faults in a copy of the package: each must make a test fail.

A suite is worth what it kills. Run by `make mutation`; words as arguments
choose the faults whose description holds them all, and `--changed` those of the files that were
changed, with one of every other file. Exits with 1 when a fault survives, and fails loudly when the
text it replaces is no longer in the package.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple

import environment  # noqa: F401  (for the processes that run the tests)
import pytest

ROOT = pathlib.Path(__file__).parent.parent
OPTIONS = (
    "-q -x -p no:cacheprovider -p no:xdist -o addopts= -W ignore::pytest.PytestAssertRewriteWarning"
).split()


class Fault(NamedTuple):
    """One fault: the text `old` of `file` becomes `new`; `tests` are those that should see it."""

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


# The NumPy loops see a wrong equation, the relations see a wrong `unroll`.
EQUATIONS = ("tests/test_oracles.py", "-k", "numpy and (plain or all)")
RELATIONS = ("tests/test_unroll.py", "-k", "padded_equals_alone or no_steps or by_hand")
WRONG_CELLS = ("tests/test_testing.py", "-k", "wrong")
HELD = ("tests/test_held.py", "-k", "contract")
DIRECTIONS = ("tests/test_layers.py", "-k", "two_unrolls or merges or pytorch")
NOISE = ("tests/test_cells.py", "-k", "dropout or row or reset or rekey or noise or layers")

LSTM, GRU, ELMAN = (f"rnnjax/cells/{name}.py" for name in ("lstm", "gru", "elman"))
CASE, STEP, PROGRAM, GRADIENT = (
    f"rnnjax/testing/_{name}.py" for name in ("case", "step", "program", "gradient")
)
STACK, LAYERS = "rnnjax/_combine/stack.py", "rnnjax/layers.py"
DROPOUT, NOISES, UNROLL = "rnnjax/cells/dropout.py", "rnnjax/_noise.py", "rnnjax/_unroll.py"
SEQUENCES = "rnnjax/sequences.py"
ATTENTION = "rnnjax/attention"
PAPERS = ("tests/test_attention.py", "-k")
GATES = "i, f, g, o = jnp.split(x @ params.w_x"
RZ = "r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)"

FAULTS = [
    Fault("lstm: i and f swapped", LSTM, GATES, GATES.replace("i, f", "f, i"), EQUATIONS),
    Fault(
        "lstm: i and o swapped", LSTM, GATES, GATES.replace("i, f, g, o", "o, f, g, i"), EQUATIONS
    ),
    Fault("lstm: f and g swapped", LSTM, GATES, GATES.replace("f, g", "g, f"), EQUATIONS),
    Fault(
        "lstm: recurrent matrix transposed, gate by gate",
        LSTM,
        "state.h @ params.w_h",
        "state.h @ jnp.concatenate([u.T for u in jnp.split(params.w_h, 4, -1)], -1)",
        EQUATIONS,
    ),
    Fault(
        "lstm: bias dropped",
        LSTM,
        "params.w_h + b,",
        "params.w_h + 0 * b,",
        EQUATIONS,
    ),
    Fault("lstm: tanh left off c", LSTM, "jnp.tanh(c)", "c", EQUATIONS),
    Fault(
        "lstm: c not carried",
        LSTM,
        "return LSTMState(h, c), h",
        "return LSTMState(h, state.c), h",
        EQUATIONS,
    ),
    Fault(
        "gru: recurrent matrix transposed, gate by gate",
        GRU,
        "jnp.split(h @ params.w_h, 3, axis=-1)",
        "[h @ u.T for u in jnp.split(params.w_h, 3, axis=-1)]",
        EQUATIONS,
    ),
    Fault(
        "gru: bias dropped", GRU, "+ rows(params.b, x), 3", "+ 0 * rows(params.b, x), 3", EQUATIONS
    ),
    Fault("gru: r and z swapped", GRU, RZ, RZ.replace("r, z", "z, r"), EQUATIONS),
    Fault(
        "gru: z and 1 - z swapped",
        GRU,
        "h = (1 - z) * n + z * h",
        "h = z * n + (1 - z) * h",
        EQUATIONS,
    ),
    Fault(
        "gru: after is before",
        GRU,
        "n = jnp.tanh(x_n + r * (h_n + rows(params.b_n, h)))",
        "n = jnp.tanh(x_n + (r * h) @ params.w_h[:, 2 * hidden_size :] + rows(params.b_n, h))",
        EQUATIONS,
    ),
    Fault("gru: before is after", GRU, "(r * h) @ u_n", "r * (h @ u_n)", EQUATIONS),
    Fault(
        "gru: candidate's recurrent bias dropped",
        GRU,
        "(h_n + rows(params.b_n, h))",
        "(h_n + 0 * rows(params.b_n, h))",
        EQUATIONS,
    ),
    Fault(
        "elman: recurrent matrix transposed", ELMAN, "h @ params.w_h", "h @ params.w_h.T", EQUATIONS
    ),
    Fault(
        "elman: bias dropped",
        ELMAN,
        "params.w_h + rows(params.b, x))",
        "params.w_h + 0 * rows(params.b, x))",
        EQUATIONS,
    ),
    Fault(
        "unroll: reverse ignores lengths",
        UNROLL,
        "valid_steps(time, lengths, mask)\n    if",
        "valid_steps(time, None if reverse else lengths, mask)\n    if",
        RELATIONS,
    ),
    Fault(
        "unroll: lengths off by one",
        UNROLL,
        "times(time, lengths.shape) < jnp.minimum(",
        "times(time, lengths.shape) <= jnp.minimum(",
        RELATIONS,
    ),
    Fault(
        "unroll: final state at T-1",
        UNROLL,
        "new = select_rows(valid, new, state)",
        "pass",
        RELATIONS,
    ),
    Fault(
        "unroll: h masked but not c",
        UNROLL,
        "new = select_rows(valid, new, state)",
        "new = new._replace(h=select_rows(valid, new.h, state.h)) if hasattr(new, 'h') "
        "else select_rows(valid, new, state)",
        RELATIONS,
    ),
    Fault(
        "unroll: y not zero on padding",
        UNROLL,
        "y = select_rows(valid, y,",
        "y = select_rows(True | valid, y,",
        RELATIONS,
    ),
    Fault(
        "unroll: padding not cleaned",
        UNROLL,
        "xs = select_rows(valid, xs,",
        "select_rows(valid, xs,",
        ("tests/test_unroll.py", "-k", "content_of_padding"),
    ),
    Fault(
        "unroll: lengths override the mask",
        UNROLL,
        "within if mask is None else mask & within",
        "within",
        RELATIONS,
    ),
    Fault(
        "unroll: resets on padding",
        UNROLL,
        "resets if valid is None else resets & valid",
        "resets",
        ("tests/test_unroll.py", "-k", "reset_on_padding or padded_equals_alone"),
    ),
    Fault(
        "unroll: reverse resets in forward order",
        UNROLL,
        "reversed_resets(resets, valid) if reverse else resets",
        "resets",
        RELATIONS,
    ),
    Fault(
        "unroll: reverse resets ignore gaps",
        UNROLL,
        "reversed_resets(resets, valid)",
        "reversed_resets(resets, None)",
        RELATIONS,
    ),
    Fault(
        "unroll: reset to zero times the state",
        UNROLL,
        "select_rows(reset, _restart(cell, params, state, fresh), state)",
        "jax.tree.map(lambda s: select_rows(~reset, s, s * 0), state)",
        ("tests/test_unroll.py", "-k", "reset_is_a_restart and (lstm or elman)"),
    ),
    Fault(
        "unroll: reset restores the noise it had",
        UNROLL,
        "    if not keys:\n        return fresh",
        "    return fresh if not keys else cell.initial_state("
        "params, keys[0].shape[:-1], key=keys[0][..., 0])\n    if True:\n        pass",
        NOISE,
    ),
    Fault(
        "dropout: one mask for all steps",
        DROPOUT,
        "fold_in(state.key[..., 0], state.t)",
        "fold_in(state.key[..., 0], 0 * state.t)",
        NOISE,
    ),
    Fault("dropout: not scaled", NOISES, "x / share(rate, x)", "x", NOISE),
    Fault(
        "dropout: rate and 1 - rate swapped",
        NOISES,
        "draw(key, 1 - rate, x",
        "draw(key, rate, x",
        NOISE,
    ),
    Fault(
        "noise: rows share a key",
        NOISES,
        "fold_in(key, jnp.arange(math.prod(batch_shape)).reshape(batch_shape))",
        "fold_in(key, jnp.zeros(batch_shape, int))",
        NOISE,
    ),
    Fault(
        "stack: layers share a key",
        "rnnjax/_combine/_parts.py",
        "fold_in(key, folded(name)) for",
        "key for",
        NOISE,
    ),
    Fault(
        "stack: dropout on the recurrent path below it",
        STACK,
        "new.append(s)",
        "new.append(s)\n"
        "            if len(new) > 1 and getattr(new[-2], 'shape', None) == x.shape:\n"
        "                new[-2] = x",
        NOISE,
    ),
    Fault(
        "bidirectional: the next layer is fed the forward half alone",
        LAYERS,
        "[y for _, y in each]",
        "[each[0][1], jax.tree.map(lambda b: 0 * b, each[1][1])]",
        DIRECTIONS,
    ),
    Fault(
        "bidirectional: both directions run forwards",
        LAYERS,
        "runner(part, reverse=True)",
        "runner(part)",
        DIRECTIONS,
    ),
    Fault(
        "training: gradients clipped leaf by leaf",
        "rnnjax/train/optimizer.py",
        "        def clip(g: Array) -> Array:\n",
        "        def clip(g: Array) -> Array:\n"
        "            largest, ratio = _scaled_norm([g])\n"
        "            clipped = largest * ratio > max_norm\n"
        "            factor = max_norm / jnp.where(clipped, ratio, jnp.ones_like(ratio))\n",
        ("tests/train/test_optimizer.py",),
    ),
    Fault(
        "training: mean over padding",
        "rnnjax/train/losses.py",
        "count = jnp.sum(mask).astype(losses.dtype) * each",
        "count = jnp.asarray(losses.size, losses.dtype)",
        ("tests/train/test_losses.py",),
    ),
    Fault(
        "training: the last target of a row is that of step T - 1",
        "rnnjax/tasks/language_model/loss.py",
        "last(logits, mask=mask)",
        "logits[-1]",
        ("tests/tasks/language_model/test_loss.py", "-k", "last_targets"),
    ),
    Fault(
        "sequences: means summed in half precision",
        SEQUENCES,
        "sum(axis=0, dtype=wide)",
        "sum(axis=0, dtype=ys.dtype)",
        ("tests/test_sequences.py", "-k", "half_precision"),
    ),
    Fault(
        "sequences: lengths clamped in a dtype that does not hold T",
        SEQUENCES,
        "min(time, jnp.iinfo(lengths.dtype).max)).astype(int)",
        "jnp.asarray(time).astype(lengths.dtype)).astype(int)",
        ("tests/test_sequences.py", "-k", "any_integer"),
    ),
    Fault(
        "bucket: of equal cuts the last",
        SEQUENCES,
        "np.searchsorted(slopes, sizes[group:])",
        "np.searchsorted(slopes, sizes[group:], side='right')",
        ("tests/test_sequences.py", "-k", "bucket"),
    ),
    Fault(
        "pack: into the first row with room to spare",
        SEQUENCES,
        "room[node] < size",
        "room[node] <= size",
        ("tests/test_sequences.py", "-k", "pack"),
    ),
    Fault(
        "training: truncation does not truncate",
        "rnnjax/tasks/language_model/loss.py",
        "        begin = joined(begin, held)\n",
        "        begin = joined(begin, held)\n"
        "        before = unroll(cell, params, begin, xs)[0]  # a window ago, differentiable\n"
        "        begin = jax.tree.map(\n"
        "            lambda b, s: b + s - jax.lax.stop_gradient(s), begin, before\n"
        "        )\n",
        ("tests/tasks/language_model/test_loss.py", "-k", "no_gradient_crosses"),
    ),
    Fault(
        "training: truncated inside the window",
        UNROLL,
        "cell.step(params, joined(begin, held), x)",
        "cell.step(params, joined(jax.lax.stop_gradient(begin), held), x)",
        ("tests/tasks/language_model/test_loss.py", "-k", "full_back_propagation"),
    ),
    Fault(
        "unroll: a reset clears what is held",
        UNROLL,
        "joined(begin, held), x)",
        "joined(begin, held if reset is None else jax.tree.map(jnp.zeros_like, held)), x)",
        ("tests/test_held.py", "-k", "resets"),
    ),
    Fault(
        "unroll: rekey draws what is held",
        NOISES,
        "return joined(jax.tree.map_with_path(redrawn, state), held)",
        "return jax.tree.map_with_path(redrawn, state)",
        ("tests/test_held.py", "-k", "stack"),
    ),
    Fault(
        "unroll: a cell that nobody holds is kept",
        "rnnjax/_compile/_memory.py",
        "        return weakref.ref(value)",
        "        return lambda: value",
        ("tests/compile/test_memory.py", "-k", "nobody"),
    ),
    Fault(
        "unroll: a step on padding begins from whatever state is held",
        UNROLL,
        "begin = state if valid is None else _safe(valid, state, fresh)",
        "begin = state",
        ("tests/test_unroll.py", "-k", "may_hold_any_state"),
    ),
    Fault(
        "training: state not carried between windows",
        "rnnjax/train/step.py",
        "loss(params, state.carried, batch, key)",
        "loss(params, jax.tree.map(jnp.zeros_like, state.carried), batch, key)",
        ("tests/tasks/language_model/test_loss.py", "-k", "state_is_carried"),
    ),
    Fault(
        "training: a skipped step still carries its state",
        "rnnjax/train/step.py",
        "(params, opt_state, carried), (state.params, state.opt_state, state.carried)",
        "(params, opt_state, carried), (state.params, state.opt_state, carried)",
        ("tests/train/test_step.py", "-k", "non_finite or finite"),
    ),
    Fault(
        "training: an optimizer gets another loss than the minimised one",
        "rnnjax/train/step.py",
        "value=value,",
        "value=2 * value,",
        ("tests/train/test_step.py", "-k", "wants_the_loss"),
    ),
    Fault(
        "training: what an optimizer keeps infinite is a broken step",
        "rnnjax/train/step.py",
        "(jnp.isfinite(new) | (new == old)).all()",
        "jnp.isfinite(new).all()",
        ("tests/train/test_step.py", "-k", "wants_the_loss"),
    ),
    Fault(
        "training: a signal leaves no checkpoint",
        "rnnjax/train/loop.py",
        "(due(checkpoint_every) or signals.caught)",
        "due(checkpoint_every)",
        ("tests/train/test_loop.py", "-k", "signal_leaves"),
    ),
    Fault(
        "training: signals are not given back",
        "rnnjax/train/loop.py",
        "signal.signal(*self.before.popitem())",
        "self.before.popitem()",
        ("tests/train/test_loop.py", "-k", "signal_leaves"),
    ),
    Fault(
        "training: matplotlib is missed at the end",
        "rnnjax/train/run.py",
        "    figure_type()\n",
        "",
        ("tests/test_cli.py", "-k", "for_pictures"),
    ),
    Fault(
        "training: a new pass goes on with the old state",
        "rnnjax/tasks/language_model/loss.py",
        "jnp.broadcast_to(fresh, batch_shape)",
        "jnp.broadcast_to(False, batch_shape)",
        ("tests/train/test_loop.py", "-k", "starts_each_pass"),
    ),
    Fault(
        "training: one key for every step",
        "rnnjax/train/step.py",
        "jax.random.fold_in(state.key, state.step + 1)",
        "jax.random.fold_in(state.key, 1)",
        ("tests/train/test_step.py", "-k", "key_of_its_own"),
    ),
    Fault(
        "training: patience begins anew where a run is resumed",
        "rnnjax/train/loop.py",
        "for record in history:",
        "for record in ():",
        ("tests/train/test_loop.py", "-k", "patience"),
    ),
    Fault(
        "training: a run goes on with other data",
        "rnnjax/train/run.py",
        "if here.get(name) != there.get(name)]:",
        "if name not in there]:",
        ("tests/train/test_resume.py", "-k", "cannot_be_resumed"),
    ),
    Fault(
        "tasks: adding tells the sum of everything",
        "rnnjax/tasks/adding.py",
        "(numbers * marks).sum(axis=0)",
        "numbers.sum(axis=0)",
        ("tests/tasks/test_generated.py", "-k", "each_half"),
    ),
    Fault(
        "tasks: copy wants a symbol too early",
        "rnnjax/tasks/copying.py",
        "jnp.concatenate([blanks, symbols])",
        "jnp.roll(jnp.concatenate([blanks, symbols]), -1, axis=0)",
        ("tests/tasks/test_generated.py", "-k", "reads_waits"),
    ),
    Fault(
        "losses: targets compared in their own type",
        "rnnjax/train/losses.py",
        "targets.astype(int), logits",
        "targets, logits",
        ("tests/train/test_losses.py", "-k", "any_integer_type"),
    ),
    Fault(
        "evaluation: NaN passes for a loss",
        "rnnjax/tasks/language_model/evaluate.py",
        "at[np.isnan(nats)][:1]",
        "at[:0]",
        ("tests/tasks/language_model/test_evaluate.py", "-k", "not_a_number"),
    ),
    Fault(
        "generation: draws in the type of the logits",
        "rnnjax/decoding.py",
        "logits = logits.astype(at_least_float32(logits.dtype))",
        "logits = logits + 0",
        ("tests/tasks/language_model/test_sample.py", "-k", "half_precision"),
    ),
    Fault(
        "generation: a symbol from logits that are NaN",
        "rnnjax/decoding.py",
        "jnp.where(jnp.isfinite(largest[..., 0]), drawn, -1)",
        "drawn",
        ("tests/tasks/language_model/test_sample.py", "-k", "not_finite"),
    ),
    Fault(
        "generation: a program for each temperature",
        "rnnjax/tasks/language_model/sample.py",
        "_draw(logits, written, keys, t, len(vocabulary) - 1, *how)",
        "jax.jit(lambda a, w, k, t: (draw(a.at[..., -1].set(-jnp.inf), fold_in(k, t), **how[1]), "
        "w))(logits, written, keys, t)",
        ("tests/tasks/language_model/test_sample.py", "-k", "compile_nothing"),
    ),
    Fault(
        "text: a byte order mark is a symbol",
        "rnnjax/train/files.py",
        '.removeprefix("\\N{ZERO WIDTH NO-BREAK SPACE}")',
        "",
        ("tests/tasks/language_model/test_vocabulary.py", "-k", "byte_order_mark"),
    ),
    Fault(
        "text: words are torn at their marks",
        "rnnjax/tasks/language_model/vocabulary.py",
        "for run in runs)",
        "for run in ())",
        ("tests/tasks/language_model/test_vocabulary.py", "-k", "attached"),
    ),
    Fault(
        "console: what its encoding lacks is an error",
        "rnnjax/train/console.py",
        '"replace"',
        '"strict"',
        ("tests/train/test_loop.py", "-k", "any_encoding"),
    ),
    Fault(
        "check_cell: NaN passes for a number",
        CASE,
        "np.argwhere(~(off <= bound))",
        "np.argwhere(off > bound)",
        WRONG_CELLS,
    ),
    Fault(
        "check_cell: rows compared with themselves",
        STEP,
        "pairs(what, at(whole, row), one)",
        "pairs(what, one, one)",
        WRONG_CELLS,
    ),
    Fault(
        "decays: the names of parts count",
        "rnnjax/_fields.py",
        "last = path[-1:] if path and isinstance(path[-1], jax.tree_util.DictKey) else ()",
        "last = [entry for entry in path if isinstance(entry, jax.tree_util.DictKey)]",
        ("tests/test_fields.py", "-k", "named_as_a_field"),
    ),
    Fault(
        "training: a restart reverts what is held",
        "rnnjax/tasks/language_model/loss.py",
        "begin = joined(begin, held)",
        "begin = joined(begin, parted(cell.initial_state(params, batch_shape, key=noise))[1])",
        ("tests/test_rates.py", "-k", "restarts"),
    ),
    Fault(
        "noise: rate 1 divides by 0",
        NOISES,
        "jnp.where(rate < 1, 1 - rate, 1)",
        "1 - rate",
        ("tests/test_rates.py", "-k", "all_may"),
    ),
    Fault(
        "serial: a mask without the lengths through a pyramid",
        LAYERS,
        "call._replace(mask=call.valid(call.mask.shape[0]))",
        "call",
        ("tests/test_layers.py", "-k", "both_allow"),
    ),
    Fault(
        "bidirectional: the resets of a layer in forward order",
        LAYERS,
        "resets = reversed_resets(resets if valid is None else resets & valid, valid)",
        "resets = resets if valid is None else resets & valid",
        ("tests/test_layers.py", "-k", "layer_backwards"),
    ),
    Fault(
        "attention: padding of a memory is read",
        f"{ATTENTION}/start.py",
        "memory = jnp.where(real[..., None], memory, 0)",
        "memory = memory + 0",
        (*PAPERS, "papers and before-general"),
    ),
    Fault(
        "attention: padding of a memory has a share",
        f"{ATTENTION}/_score.py",
        "jnp.where(mask, jnp.exp(",
        "jnp.where(mask | True, jnp.exp(",
        (*PAPERS, "papers and before-general"),
    ),
    Fault(
        "attention: an empty memory is divided by 0",
        f"{ATTENTION}/_score.py",
        "jnp.where(total > 0, total, 1)",
        "total",
        (*PAPERS, "without_a_memory or papers and before-dot"),
    ),
    Fault(
        "attention: heads of one query",
        f"{ATTENTION}/scores.py",
        "/ math.sqrt(size // heads)",
        "/ math.sqrt(size)",
        (*PAPERS, "papers and scaled"),
    ),
    Fault(
        "attention: location does not carry on",
        f"{ATTENTION}/scores.py",
        "return found[..., 0, :], found",
        "return last, found",
        (*PAPERS, "papers and location"),
    ),
    Fault(
        "attention: no bell around the centre",
        f"{ATTENTION}/windows.py",
        "-2 * (distance / width) ** 2",
        "0 * distance",
        (*PAPERS, "papers and local"),
    ),
    Fault(
        "attention: the window stands still",
        f"{ATTENTION}/windows.py",
        "return (inner, t), found",
        "return (inner, t - 1), found",
        (*PAPERS, "papers and monotonic"),
    ),
    Fault(
        "attention: asks with the state after the step",
        f"{ATTENTION}/attend.py",
        "reader.read(params, state, inner(state.cell))",
        "reader.read(params, state, inner(cell.step(params.cell, state.cell, jnp.concatenate("
        "[x, state.context], -1))[0]))",
        (*PAPERS, "papers and before-dot"),
    ),
    Fault(
        "attention: fed on the context",
        f"{ATTENTION}/attend_after.py",
        "jnp.concatenate([x.astype(state.context.dtype), state.context], axis=-1)",
        "jnp.concatenate([x.astype(state.context.dtype), 0 * state.context], axis=-1)",
        (*PAPERS, "papers and after-dot"),
    ),
    Fault(
        "hold: the first place that fits",
        "rnnjax/_held.py",
        "if len(fitting) != 1:",
        "if not fitting:",
        (*PAPERS, "errors"),
    ),
    Fault("check_cell: what is held may change", STEP, "parted(after)[1]", "before", HELD),
    Fault("check_cell: no resets", CASE, "% 3 == 1", "% 3 == 3", WRONG_CELLS),
    Fault(
        "check_cell: carry never compared",
        STEP,
        "same_types(state, after)",
        "same_types(state, state)",
        WRONG_CELLS,
    ),
    Fault(
        "check_cell: a parameter may be the state",
        PROGRAM,
        '(("params", case.params), ("state", state))',
        '(("state", state),)',
        WRONG_CELLS,
    ),
    Fault(
        "check_cell: a dead parameter passes",
        GRADIENT,
        "np.asarray(a).any() or",
        "np.isfinite(a).any() or",
        WRONG_CELLS,
    ),
]


def every_fault() -> list[Fault]:
    """All faults; those of a folder stand beside its tests."""
    # Not at the top: the processes of main run this file, and import the lists of their copies.
    from benchmarks.bench_mutants import BENCH
    from cells import MUTANTS as CELLS
    from combine.mutants import COMBINE
    from compile.mutants import MUTANTS as COMPILER
    from decoding_mutants import DECODING
    from diagnostics.gradient_mutants import GRADIENTS
    from diagnostics.landscape_mutants import LANDSCAPE
    from interop.interop_mutants import INTEROP
    from tasks.caption_mutants import CAPTION
    from tasks.classifying_mutants import CLASSIFYING
    from tasks.controlled_mutants import CONTROLLED
    from tasks.elman1990_mutants import ELMAN
    from tasks.forecast_mutants import FORECAST
    from tasks.labelling_mutants import LABELLING
    from tasks.music_mutants import MUSIC
    from tasks.program_mutants import PROGRAM
    from tasks.speech_mutants import SPEECH
    from tasks.translating_mutants import TRANSLATING
    from tasks.writing_mutants import WRITING
    from train.training_mutants import TRAIN

    writing = (*CAPTION, *PROGRAM, *TRANSLATING, *WRITING)
    others = (*ELMAN, *MUSIC, *SPEECH)
    tasks = (*CLASSIFYING, *CONTROLLED, *FORECAST, *LABELLING, *others, *writing)
    parts = (*BENCH, *GRADIENTS, *INTEROP, *LANDSCAPE)
    mutants = (*CELLS, *COMPILER, *COMBINE, *DECODING, *parts, *TRAIN, *tasks)
    return [*FAULTS, *(Fault(*mutant) for mutant in mutants)]


def misplaced(faults: list[Fault]) -> list[str]:
    """The faults whose text is no longer in the package: planting them would change nothing."""
    return [
        f"{fault.what}: not in {fault.file} any more: {fault.old!r}"
        for fault in faults
        if fault.old not in (ROOT / fault.file).read_text(encoding="utf-8")
    ]


# How many faults CI plants: four and a half CPU seconds each.
MOST = 16


def changed() -> set[str]:
    """The files that differ from the last landing: from where this branch left main, or, on main
    itself and where there is none, from the last twenty commits."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    bases = [git("merge-base", "HEAD", ref) for ref in ("origin/main", "main")]
    bases += git("rev-list", "--first-parent", "--max-count=20", "HEAD").split()[-1:]
    base = next((b for b in bases if b and b != git("rev-parse", "HEAD")), "HEAD")
    return set(git("diff", "--name-only", base).splitlines())


def of_this_change(faults: list[Fault]) -> list[Fault]:
    """One fault of every file, then those of the files that were changed, or whose tests were; as
    many as CI has the time for. A change of everything is for `make mutation`."""
    files, first, others = changed(), {}, []
    for fault in faults:
        if first.setdefault(fault.file, fault) is not fault and any(
            f == fault.file or f.startswith(fault.tests[0]) for f in files
        ):
            others.append(fault)
    chosen = [*first.values(), *others]
    if len(chosen) > MOST:
        print(f"{len(chosen) - MOST} faults of changed files are left to `make mutation`")
    return chosen[:MOST]


def plant(fault: Fault) -> tuple[int, float]:
    """Runs the tests that should see a fault, in this process and a copy: pytest's exit code, and
    CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder)
        for part in ("rnnjax", "tests", "benchmarks"):  # with what Python has compiled of them
            shutil.copytree(ROOT / part, copy / part)
        shutil.copy(ROOT / "pyproject.toml", copy)
        target = copy / fault.file
        text = target.read_text(encoding="utf-8").replace(fault.old, fault.new)
        target.write_text(text, encoding="utf-8")
        os.chdir(copy)
        sys.path[:0] = [folder]
        os.environ["PYTHONPATH"] = folder
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            code = pytest.main([*OPTIONS, *fault.tests])
    return int(code), sum(os.times()[:4])


def main() -> int:
    words = [word for word in sys.argv[1:] if word != "--changed"]
    known = every_fault()
    chosen = [fault for fault in known if all(word in fault.what for word in words)]
    if lost := misplaced(chosen):
        raise SystemExit("\n".join(lost))
    if "--changed" in sys.argv:
        chosen = of_this_change(chosen)
    if not chosen:
        raise SystemExit(f"no fault is called {' '.join(words)}")
    # A trial of the trial: tests that fail without a fault have seen none.
    nothing = chosen[0]._replace(what="nothing planted", new=chosen[0].old)
    killed, total = 0, 0.0
    # Every fault has a process of its own, forked from one that has imported what takes long.
    fork = multiprocessing.get_context("forkserver")
    fork.set_forkserver_preload(["jax", "flax.linen", "numpy", "optax", "hypothesis", "pytest"])
    with concurrent.futures.ProcessPoolExecutor(
        os.cpu_count(), mp_context=fork, max_tasks_per_child=1
    ) as pool:
        faults = [nothing, *chosen]
        for fault, (code, seconds) in zip(faults, pool.map(plant, faults), strict=True):
            # 1 is "tests ran and failed"; more says that the fault did not get a fair trial.
            if code > (fault is not nothing):
                raise SystemExit(f"{fault.what}: pytest {' '.join(fault.tests)} exited with {code}")
            verdict = "killed" if code else "passed" if fault is nothing else "SURVIVED"
            print(f"{verdict:9} {seconds:5.1f} s  {fault.what}", flush=True)
            killed += code
            total += seconds
    print(f"{killed}/{len(chosen)} killed in {total:.0f} CPU seconds")
    return killed < len(chosen)


if __name__ == "__main__":
    sys.exit(main())
