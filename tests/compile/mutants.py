"""Faults of the compiler: `(what, file, old text, new text, tests that must fail)`.

Planted one at a time by tests/mutation.py, in a copy.
"""


def _file(name: str) -> str:
    return f"rnnjax/_compile/_{name}.py"


def _named(*steps: str) -> tuple[str, ...]:
    """Values and gradients of some of the named steps."""
    return (
        "tests/compile/test_plan.py",
        "-k",
        f"test_values_and_gradients and ({' or '.join(steps)})",
    )


def _rewritten(step: str) -> tuple[str, ...]:
    return "tests/compile/test_rewrite.py", "-k", f"one_step_is_the_same and {step}"


_DELAYED = "lax.concatenate([first[None], lax.slice_in_dim(values, 0, -1)], 0)"
_OF_TRANSFORMS = "tests/compile/test_transforms.py"
_OF_CHOICES = "tests/compile/test_choice.py"
_OF_FLIPS = "tests/compile/test_flip.py"

MUTANTS = [
    (
        "compiler: states are kept in blocks that stay in cache",
        _file("decide"),
        "return _near(math.isqrt(length), length),",
        "return _in_blocks(found, estimate),",
        ("tests/compile/test_plan.py", "-k", "little_memory"),
    ),
    (
        "compiler: options do not keep plain scan away",
        _file("decide"),
        "on_cpu() and options.chooses",
        "on_cpu()",
        (_OF_CHOICES, "-k", "small_steps"),
    ),
    (
        "compiler: plain scan is no candidate",
        _file("cost"),
        "and any(a > WORSE * b for a, b in pairs)",
        "and False",
        (_OF_CHOICES, "-k", "small_steps or each_row"),
    ),
    (
        "compiler: a shorter last block costs nothing",
        _file("cost"),
        "if length % block:",
        "if False:",
        (_OF_CHOICES, "-k", "last_block"),
    ),
    (
        "compiler: a deferred gradient is thought to cost what one in the loop does",
        _file("cost"),
        "            if self.defer\n",
        "            if False\n",
        (_OF_CHOICES, "-k", "deferred_ones"),
    ),
    (
        "compiler: memory is thought to be as fast as a cache",
        _file("cost"),
        "if per_step * block <= size",
        "if size",
        (_OF_CHOICES, "-k", "does_not_fit"),
    ),
    (
        "compiler: a backward rule sees the sum over time",
        _file("decide"),
        "if any(map(has_backward_rule, fixed)):",
        "if False:",
        ("tests/compile/test_plan.py", "-k", "backward_rule"),
    ),
    (
        "compiler: weights change places in the product and not in its axes",
        _file("rules"),
        'pair[::-1] for pair in options.pop("dimension_numbers")',
        'pair for pair in options.pop("dimension_numbers")',
        ("tests/compile/test_rewrite.py", "-k", "rows"),
    ),
    (
        "compiler: the derivative for a product's factor takes the weight as it stands",
        _file("loop"),
        "weight.T if self._is_turned",
        "(weight if weight.shape[0] == weight.shape[1] else weight.T) if self._is_turned",
        _named("elman"),
    ),
    (
        "compiler: the axes of a weight's gradient in the order of the product",
        _file("product"),
        "sorted(range(len(order)), key=order.__getitem__)",
        "list(range(len(order)))",
        _named("rows"),
    ),
    (
        "compiler: a use of a shared weight adds nothing to its gradient",
        _file("defer"),
        "loop.gain(i, factor, d_weight, arriving[i])",
        "loop.gain(i, factor, d_weight if i == 0 else 0 * d_weight, arriving[i])",
        _named("twice"),
    ),
    (
        "compiler: h_t leaves the loop for h_{t-1}",
        _file("loop"),
        "return read(env, self.next), (read(env, self.writes), factors)",
        "new = read(env, self.next)\n"
        "            env.update(zip(self.carry, new, strict=True))\n"
        "            return new, (read(env, self.writes), factors)",
        _named("twice"),
    ),
    (
        "compiler: the weight gradient pairs dz_t with a_{t+1}",
        _file("loop"),
        "weight, by_tangent))(factors)",
        "weight, by_tangent))(jax.numpy.roll(factors, -1, 0))",
        _named("elman"),
    ),
    (
        "compiler: a weight gradient replaces that of the input",
        _file("loop"),
        "if cut else pieces[0])",
        "if cut else 0)",
        _named("elman"),
    ),
    (
        "compiler: a bias added in a loop learns from one step too few",
        _file("loop"),
        "else self.clock.repeated(value)",
        "else self.clock.repeated(value).at[0].set(0)",
        _named("gru"),
    ),
    (
        "compiler: what arrives at one piece of a product arrives at another",
        _file("cut"),
        "pieces.get(i, lax.full_like(p, 0)) for",
        "pieces.get(max(0, i - 1), lax.full_like(p, 0)) for",
        _named("lstm"),
    ),
    (
        "compiler: what arrives at a piece is seen by another that shares its columns",
        _file("cut"),
        " and apart",
        "",
        _named("overlapping"),
    ),
    (
        "compiler: what arrives at a piece is seen by an output that is the whole",
        _file("loop"),
        "out not in self._outputs and disjoint",
        "disjoint",
        _named("exposed"),
    ),
    (
        "compiler: no gradient for what a loop reads at every step",
        _file("defer"),
        "_updated(consts, consts_)",
        "consts",
        _named("leaky"),
    ),
    (
        "compiler: a delay line without delay",
        _file("run"),
        _DELAYED,
        "values",
        _named("delayed"),
    ),
    (
        "compiler: a delay line one step too long",
        _file("run"),
        _DELAYED,
        "lax.concatenate([first[None], first[None], lax.slice_in_dim(values, 0, -2)], 0)",
        _named("delayed"),
    ),
    (
        "compiler: a delay line forgets its start",
        _file("run"),
        "[first[None], lax.slice_in_dim(values, 0, -1)]",
        "[values[:1], lax.slice_in_dim(values, 0, -1)]",
        _named("delayed"),
    ),
    (
        "compiler: a reversed delay line ends at the wrong end",
        _file("run"),
        "0 if self.reverse else -1",
        "-1",
        ("tests/compile/test_plan.py", "-k", "test_blocks and delayed and True"),
    ),
    (
        "compiler: the last, shorter block of a reversed run is put last",
        _file("run"),
        "(lambda a, b: [b, a]) if clock.reverse else",
        "(lambda a, b: [a, b]) if clock.reverse else",
        ("tests/compile/test_plan.py", "-k", "test_blocks and delayed and True"),
    ),
    (
        "compiler: a sum loses a term",
        _file("rules"),
        "express(regrouped, *outside, *inside)",
        "express(regrouped, *outside[1:], *inside)",
        _rewritten("twofold"),
    ),
    (
        "compiler: no block of a prime number of steps",
        _file("decide"),
        "return -(-length // max(1, round(length / wanted)))",
        "return length",
        ("tests/compile/test_plan.py", "-k", "run_in_blocks"),
    ),
    (
        "compiler: a mapped step is planned for one row",
        _file("mapped"),
        "found = size * mapped_rows(values)",
        "pass",
        ("tests/compile/test_plan.py", "-k", "mapped_step"),
    ),
    (
        "compiler: what is much larger than the state is made for all of time",
        _file("schedule"),
        "return _size(eqn.outvars) > WIDE * state > 0",
        "return False",
        ("tests/compile/test_plan.py", "-k", "larger_than_the_state"),
    ),
    (
        "compiler: convolutions in blocks",
        _file("decide"),
        "if convolves:",
        "if False:",
        ("tests/compile/test_plan.py", "-k", "convolutions"),
    ),
    (
        "compiler: an unknown number of steps is asked for",
        _file("run"),
        "None if jax.tree.leaves(xs) else self.length",
        "self.length",
        ("tests/compile/test_export.py",),
    ),
    (
        "compiler: a constant joins a sum that it is taken from again",
        _file("rules"),
        "        and all(among(v, context.varying) or _is_bias(context, v) for v in eqn.invars)\n",
        "",
        ("tests/compile/test_rewrite.py", "-k", "sum_that_rounds"),
    ),
    (
        "compiler: each part of a product of few bits is rounded",
        _file("rules"),
        'options["preferred_element_type"] = jnp.float32',
        "pass",
        ("tests/compile/test_rewrite.py", "-k", "before_they_are_rounded"),
    ),
    (
        "compiler: what is added to a sum arrives at its product without what was added before",
        _file("loop"),
        "pieces.get(inlet.piece, 0) + each",
        "each",
        _named("unweighted"),
    ),
    (
        "compiler: what a stage hands on is in the order of a set",
        _file("schedule"),
        "[v for v in made if v in needed]",
        "[v for v in set(made) if v in needed]",
        ("tests/compile/test_determinism.py",),
    ),
    (
        "compiler: what is complex is kept as what is real",
        _file("loop"),
        "if learned and not any(map(is_complex, self.eqns)):",
        "if learned:",
        (_OF_TRANSFORMS, "-k", "test_complex"),
    ),
    (
        "compiler: every part of a concatenation meets the first rows of the weight",
        _file("rules"),
        "            start = stop\n",
        "            start = 0\n",
        _rewritten("concatenated_lstm"),
    ),
    (
        "compiler: pieces are cut from the start",
        _file("cut"),
        "lax.slice_in_dim(value, *piece, axis=self.axis)",
        "lax.slice_in_dim(value, 0, piece[1] - piece[0], piece[2], axis=self.axis)",
        _rewritten("sliced_lstm"),
    ),
    (
        "compiler: equal operations with unlike parameters are shared",
        _file("rewrite"),
        "(eqn.primitive, atoms, tuple(sorted(eqn.params.items())))",
        "(eqn.primitive, atoms, tuple(v.aval for v in eqn.outvars))",
        ("tests/compile/test_rewrite.py", "-k", "different_parameters"),
    ),
    (
        "compiler: equal operations with unlike literals are shared",
        _file("rewrite"),
        "(np.asarray(a.val).tobytes(), a.aval)",
        "a.aval",
        ("tests/compile/test_rewrite.py", "-k", "different_literals"),
    ),
    (
        "compiler: rbg bits are drawn for all of time at once",
        _file("primitives"),
        'dtype != "key<fry>"',
        "False",
        (_OF_TRANSFORMS, "-k", "rbg and time_indexed"),
    ),
    (
        "compiler: derivative rules are not looked into",
        _file("primitives"),
        "derivative_rule(eqn) if orders else []",
        "[]",
        (_OF_TRANSFORMS, "-k", "derivative_rule"),
    ),
    (
        "compiler: side effects are not seen",
        _file("trace"),
        "bool(closed.effects) or bool(found.body.effects)",
        "False",
        (_OF_TRANSFORMS, "-k", "io_callback_runs_once"),
    ),
    (
        "compiler: 1 and True are the same parameter",
        _file("memory"),
        "type(before) is type(now) and isinstance(now, float | complex | int | str | bytes)\n"
        "    return before is now or (plain and repr(before) == repr(now))",
        "isinstance(now, float | complex | int | str | bytes)\n"
        "    return before is now or (plain and before == now)",
        (_OF_TRANSFORMS, "-k", "different_type"),
    ),
    (
        "compiler: -0.0 and 0.0 are the same parameter",
        _file("memory"),
        "repr(before) == repr(now)",
        "before == now",
        ("tests/compile/test_memory.py", "-k", "numbers"),
    ),
    (
        "compiler: a step is what it was, whatever it sees",
        _file("memory"),
        "not all(_same(a(), b)",
        "not all(True",
        ("tests/compile/test_memory.py", "-k", "seen and closed_over"),
    ),
    (
        "compiler: the attributes of an object never change",
        _file("memory"),
        "        else:\n            return None\n    return found",
        "    return found",
        ("tests/compile/test_memory.py", "-k", "attribute"),
    ),
    (
        "compiler: what is drawn once is drawn for ever",
        _file("draws"),
        "lax.cond(flag.any(), draw,",
        "lax.cond(flag.any(), lambda _: list(carried),",
        ("tests/compile/test_draws.py",),
    ),
    (
        "compiler: restarts are seen in the first row alone",
        _file("draws"),
        "flag.any()",
        "flag.ravel()[0]",
        ("tests/compile/test_draws.py",),
    ),
    (
        "compiler: matrices are flipped for a few steps",
        _file("flip"),
        "and length >= _STEPS",
        "",
        (_OF_FLIPS, "-k", "where_it_pays"),
    ),
    (
        "compiler: vectors are taken for matrices that can be flipped",
        _file("flip"),
        "and type_of(factor).ndim == 2",
        "",
        (_OF_FLIPS, "-k", "vectors"),
    ),
    (
        "compiler: no loop is flipped",
        _file("loop"),
        "self.flips = stage.features_first",
        "self.flips = False",
        (_OF_FLIPS, "-k", "first_operand"),
    ),
    (
        "compiler: loops are flipped whose rows are mapped",
        _file("decide"),
        "defer and options.mapped == 1",
        "defer",
        (_OF_FLIPS, "-k", "rows_that_are_mapped"),
    ),
    (
        "compiler: loops are flipped on a mesh",
        _file("flip"),
        "return not placed and",
        "return",
        (_OF_FLIPS, "-k", "meshes"),
    ),
    (
        "compiler: a product is flipped that was so already",
        _file("flip"),
        "weight_is_second(product, factor)\n        and is_by",
        "is_by",
        (_OF_FLIPS, "-k", "flipped_already"),
    ),
    (
        "compiler: what is repeated along flipped rows is repeated along columns",
        _file("flip"),
        "axes if given == 2 else tuple(1 - axis for axis in axes)",
        "axes",
        (_OF_FLIPS, "-k", "options"),
    ),
    (
        "compiler: a rule for derivatives gets flipped matrices",
        _file("flip"),
        "if name == _CALL:",
        "if False:",
        (_OF_FLIPS, "-k", "options"),
    ),
    (
        "compiler: mapped rows of a flipped product are no more rows",
        _file("product"),
        "if others != [None, None]:",
        "if True:",
        (_OF_FLIPS, "-k", "first_operand"),
    ),
    (
        "compiler: the weight of a flipped product has no second derivative",
        _file("product"),
        "terms.append(lax.dot_general(d_weight, factor,",
        "terms.append(0 * lax.dot_general(d_weight, factor,",
        (_OF_FLIPS, "-k", "transformations"),
    ),
    (
        "jax: what it moves among the fixed is taken for carried",
        _file("jax"),
        "sum(any(out is v for v in eqn.outvars) for out in closed.jaxpr.outvars[:given])",
        "given",
        ("tests/compile/test_jax.py", "-k", "as_expected"),
    ),
]
