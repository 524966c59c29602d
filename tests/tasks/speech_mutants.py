"""Faults of speech and of CTC's searches, for `tests/mutation.py`: what, file, old, new, tests."""

_CTC = [
    ("repeats are not merged", "(path != blank) & (path != before)", "(path != blank)", "by_hand"),
    ("repeats are merged through blanks", "jnp.where(same, kept.blank[:, None],",
     "jnp.where(same, kept.label[:, None],", "wide"),
    ("a last label again is any", "blanks = kept.score +", "blanks = kept.blank +", "wide"),
    ("a prefix stands there twice", "more = jnp.where(there, -jnp.inf, more)", "pass", "narrow"),
    ("paths of a kept prefix get lost", "jnp.logaddexp(labels, jax.nn.logsumexp(entering, axis=0))",
     "labels", "narrow"),
    ("padding is read", "jnp.where(real, new, old)", "new", "wide"),
    ("places without a prefix have symbols", "jnp.where(there[..., None], filled, -1)", "filled",
     "wide"),
]  # fmt: skip
_SPEECH = [
    ("voices", "formants of a long tract are high", "axis=1) / voice.tract",
     "axis=1) * voice.tract", "sound_by_sound"),
    ("voices", "the noise of one is another's", "draw.normal(size=(len(p.pitch) * hop, 2))",
     "draw.normal(size=(frames * hop, 2))", "stands_beside"),
    ("voices", "the hiss is through a formant", "last[:4], hissed[t]", "last[:4], last[4]",
     "filters"),
    ("voices", "noise by power, not amplitude", "10 ** (-voices[n].snr / 20)",
     "10 ** (-voices[n].snr / 10)", "as_strong"),
    ("voices", "test voices are those of training", '"test between": [(0.95, 0.98)]',
     '"test between": [(0.88, 0.98)]', "no_other"),
    ("features", "bands overlap by one edge", "(high - bins) / (high - middle)",
     "(high - bins) / (high - low)", "mel_filters"),
    ("features", "amplitudes, not energies", "energy = np.square(np.abs(", "energy = (np.abs(",
     "of_a_tone"),
    ("features", "cepstra without their scale", 'norm="ortho"', "norm=None", "cosines"),
    ("features", "warped the other way", "alphas[:, None] * middles", "middles / alphas[:, None]",
     "longer_tract"),
    ("task", "warped as if all bands varied alike", "(basis / std, (basis * std).T)",
     "(basis, basis.T)", "whatever_is_read"),
    ("recordings", "one channel alone", ".mean(axis=1)", "[:, 0]", "any_kind"),
    ("recordings", "any rate will do", "if not SLOWEST <= its <= FASTEST:", "if False:",
     "will_not_do"),
    ("baselines", "a template is left in its middle", "last = score[ends].argmin()\n"
     "        entered = score[ends[last]]", "last = score[ends].argmin()\n"
     "        entered = score.min()", "all_ways"),
    ("baselines", "templates keep the voice that said them", "return xs - np.append(",
     "return xs - 0 * np.append(", "through_a_voice"),
    ("baselines", "templates are few", "MOST = 64", "MOST = 16", "through_a_voice"),
    ("task", "letters twice need nothing", "+ int((ids[1:] == ids[:-1]).sum())", "",
     "letters_twice"),
    ("task", "answers in the order of lengths", "told[next(order)] =",
     "told[told.index(None)] =", "their_utterances"),
    ("espeak", "all parts have one voice", "rng.choice(VARIANTS[part])",
     "rng.choice(VARIANTS['train'])", "asked_in_voices"),
]  # fmt: skip

SPEECH = [
    (f"ctc search: {what}", "rnnjax/ctc.py", old, new, ("tests/test_ctc.py", "-k", tests))
    for what, old, new, tests in _CTC
] + [
    (f"speech: {what}", f"rnnjax/tasks/speech/{file}.py", old, new,
     ("tests/tasks/test_speech.py", "-k", tests))
    for file, what, old, new, tests in _SPEECH
]  # fmt: skip
