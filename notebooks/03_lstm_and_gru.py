# %% [markdown]
# # LSTM and GRU: gates at work on a sentence
#
# *The keys to the cabinet near the door are old.* The verb agrees with a noun that stands far
# before it, past nouns of the other number. Linzen, Dupoux & Goldberg (2016) asked whether a
# network learns that. Here three of them read made-up sentences of this kind. Then we look inside:
# which unit remembers the number, and what its gates do at each word. It takes about a minute.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import rnnjax
from rnnjax import diagnostics as see
from rnnjax import train

QUICK = bool(os.environ.get("RNNJAX_QUICK"))
STEPS = 400 if QUICK else 800  # of training
TESTS = 100 if QUICK else 400  # sentences of each kind, to judge by
UNITS = {"lstm": 8} if QUICK else {"elman": 8, "lstm": 8, "gru": 16}

# %% [markdown]
# ## The equations
#
# An LSTM (Hochreiter & Schmidhuber, 1997; its forget gate is of Gers, Schmidhuber & Cummins, 2000)
# has a memory $c$ beside its state $h$. Three gates, numbers between 0 and 1, say what is
# written into it, what is kept, and what is shown:
#
# $$i, f, o = \sigma(x_t W_{i,f,o} + h_{t-1} U_{i,f,o} + b_{i,f,o}) \qquad
#   g = \tanh(x_t W_g + h_{t-1} U_g + b_g)$$
#
# $$c_t = f \odot c_{t-1} + i \odot g \qquad h_t = o \odot \tanh(c_t)$$
#
# A GRU (Cho et al., 2014) has two, and its state is its memory. $r$ resets what the candidate $n$
# sees of the state, and $z$ says how much of the old state is kept. (Some courses write $1 - z$ for
# it.)
#
# $$r, z = \sigma(x_t W_{r,z} + h_{t-1} U_{r,z} + b_{r,z}) \qquad
#   n = \tanh(x_t W_n + b_n' + r \odot (h_{t-1} U_n + b_n))$$
#
# $$h_t = (1 - z) \odot n + z \odot h_{t-1}$$
#
# Where $f$ or $z$ is 1, the gradient passes from step to step as it is.

# %% [markdown]
# ## Sentences
#
# A subject, some places, a verb, an end. A place whose noun is of the other number than the
# subject is called an attractor: it tempts the reader to use the wrong verb.

# %%
NOUNS = ["key", "cabinet", "door", "dog", "garden", "author", "letter", "lamp"]
WORDS = ["the", *NOUNS, *[noun + "s" for noun in NOUNS], "to", "of", "near", "behind"]
WORDS += ["is", "are", "old", "new", "here", "."]
PLACE = {word: n for n, word in enumerate(WORDS)}


def sentence(rng, places, attractors=None):
    """Words of a sentence, and whether its subject is plural."""
    plural = bool(rng.integers(2))

    def noun(many):
        return rng.choice(NOUNS) + ("s" if many else "")

    words = ["the", noun(plural)]
    for n in range(places):
        other = bool(rng.integers(2)) if attractors is None else plural != (n < attractors)
        words += [rng.choice(["to", "of", "near", "behind"]), "the", noun(other)]
    return [*words, "are" if plural else "is", rng.choice(["old", "new", "here"]), "."], plural


rng = np.random.default_rng(0)
texts = [sentence(rng, places=rng.integers(0, 3))[0] for _ in range(4000)]
for words in texts[:4]:
    print(" ".join(words))

# %% [markdown]
# ## Three networks that predict the next word
#
# They differ in the cell alone. The sentences have different lengths; `sequences` puts like beside
# like and pads, and the loss counts real words only.


# %%
def learn(cell):
    """A model with this cell, and its parameters after training."""
    model = rnnjax.stack(
        embed=rnnjax.embed(len(WORDS), 16), rnn=cell, readout=rnnjax.linear(len(WORDS))
    )

    def loss(params, carried, batch, key):
        _, logits = rnnjax.unroll(model, params, None, batch.xs, lengths=batch.lengths)
        mask = jnp.arange(len(batch.xs))[:, None] < batch.lengths
        return train.cross_entropy(logits, batch.targets, mask).mean, (carried, {})

    chain = train.optimizer("adam", train.schedule("cosine", 1e-2, STEPS), clip_norm=1.0)
    state = train.init_train_state(
        model.init(jax.random.key(0), rnnjax.tokens()), chain, jax.random.key(1)
    )
    ids = [np.array([PLACE[word] for word in words]) for words in texts]
    source = train.sequences(
        [line[:-1] for line in ids], [line[1:] for line in ids], batch_size=64, buckets=3
    )
    return model, train.fit(train.make_train_step(loss, chain), state, source, steps=STEPS).params


cells = {name: getattr(rnnjax, name)(units) for name, units in UNITS.items()}
trained = {name: learn(cell) for name, cell in cells.items()}

# %% [markdown]
# ## Do they agree?
#
# In training there were at most two places. The test has up to five, every one an attractor. A
# sentence counts as right where the network gives the right verb more probability than the wrong
# one. Whoever goes by the last noun is never right, but for sentences without attractors.

# %%
counts = range(6)
right = {name: [] for name in trained}
for attractors in counts:
    found = [sentence(rng, attractors, attractors) for _ in range(TESTS)]
    xs = np.array([[PLACE[word] for word in words[:-3]] for words, _ in found]).T
    plural = np.array([many for _, many in found])
    for name, (model, params) in trained.items():
        logits = rnnjax.unroll(model, params, None, xs)[1][-1]
        says = logits[:, PLACE["are"]] > logits[:, PLACE["is"]]
        right[name].append(float((says == plural).mean()))

figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
marks = {"elman": ("v", 11), "lstm": ("o", 8), "gru": ("s", 4)}
for name, shares in right.items():
    mark, size = marks[name]
    axes.plot(counts, shares, color="black", marker=mark, markersize=size, mfc="none", label=name)
axes.plot(counts, [1, 0, 0, 0, 0, 0], "k:", label="goes by the last noun")
axes.axvspan(-0.2, 2.2, color="0.93", label="as in training")
axes.set_xlabel("attractors between subject and verb")
axes.set_ylabel("share of right verbs")
axes.set_ylim(-0.05, 1.1)
axes.legend(loc="center right")
plt.show()
assert all(min(shares) > 0.95 for shares in right.values())

# %% [markdown]
# ## The unit that remembers
#
# All of them get it right, and go on getting it right in sentences longer than any they were
# trained on. One bit is not much to hold, and a simple network can. How is it held?
#
# Something in the LSTM has to carry the number from the subject to the verb. To find it we do not
# ask what goes along with the number, but what the verb depends on. The network reads *the keys*,
# and one number of its memory is replaced by what it would be after *the key*. Then it reads on.
# How far does that move it from *are* to *is*?

# %%
model, params = trained["lstm"]
step = jax.jit(model.step)
shown = "the keys to the cabinet near the door are old .".split()
single = [{"keys": "key", "are": "is"}.get(word, word) for word in shown]
subject, verb = 1, shown.index("are")


def read(words, unit=None, transplant=None):
    """How much likelier *are* is than *is* before the verb, in nats; and the memory [T, H]."""
    state, memory = model.initial_state(params), []
    for t, word in enumerate(words[:verb]):
        state, logits = step(params, state, jnp.asarray(PLACE[word]))
        if t == subject and unit is not None:
            c = state["rnn"].c.at[unit].set(transplant)
            state = {**state, "rnn": state["rnn"]._replace(c=c)}
        memory.append(np.asarray(state["rnn"].c))
    return float(logits[PLACE["are"]] - logits[PLACE["is"]]), np.stack(memory)


many, memory = read(shown)
one, memory_of_one = read(single)
moved = [
    (many - read(shown, unit, memory_of_one[subject, unit])[0]) / (many - one)
    for unit in range(UNITS["lstm"])
]
unit = int(np.argmax(moved))
print(f"keys: {many:+.1f} nats for are, key: {one:+.1f}")
print(f"unit {unit} alone goes {moved[unit]:.0%} of the way")

figure, axes = plt.subplots(figsize=(6, 2.8), layout="constrained")
axes.bar(range(len(moved)), moved, color="0.4", edgecolor="black")
axes.axhline(0, color="black", linewidth=0.8)
axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
axes.set_xlabel("unit whose memory is replaced")
axes.set_ylabel("how far the verb moves\nfrom are (0) to is (1)")
plt.show()
assert many > 0 > one
assert moved[unit] > 0.7  # one number does most of it

# %% [markdown]
# ## Its gates over the sentence
#
# `diagnostics.gates` gives every gate of a model at each step. They are the numbers of the
# equations above, as a few lines of NumPy show.

# %%
ids = jnp.array([PLACE[word] for word in shown])
gates = see.gates(model, params, ids)
print({name: gate.shape for name, gate in gates.items()})


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


w_x, w_h, b = (np.asarray(a) for a in params["rnn"])
h = c = np.zeros(UNITS["lstm"])
for t, x in enumerate(np.asarray(params["embed"].table)[ids]):
    i, f, g, o = np.split(x @ w_x + h @ w_h + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    for name, gate in (("i", i), ("f", f), ("o", o)):
        assert np.allclose(gates[f"rnn.{name}"][t], sigmoid(gate), atol=1e-4)

# %% [markdown]
# At the top, the memory of that unit over *the keys* and over *the key*. It parts at the subject,
# and stays apart until the verb. Below, its gates: the darker, the more open. The forget gate is
# open at every word between, so what was written at the subject is kept. The input gate is open
# too: later words add to the memory or take from it, but never bring the two lines together.


# %%
def draw(memories, gates, names, unit, what):
    """What a unit keeps over both sentences, and its gates."""
    _, (above, below) = plt.subplots(2, 1, figsize=(9, 5), layout="constrained")
    for line, words, style in zip(memories, (shown, single), ("o-", "s--"), strict=True):
        above.plot(line[:, unit], style, color="black", label=f"the {words[1]} ...")
    above.set_xticks(range(verb), shown[:verb])
    above.set_xlim(-0.5, verb - 0.5)  # word above word
    above.axhline(0, color="tab:gray", linewidth=0.8)
    above.set_xlabel("what is read")
    above.set_ylabel(f"{what} of unit {unit}")
    above.legend(loc="center right")  # between the lines
    values = np.stack([gates[f"rnn.{name[0]}"][:verb, unit] for name in names], 1)
    see.plot_gates(below, shown[:verb], values)
    below.set_yticks(range(len(names)), names)
    below.set_ylabel(f"gates of unit {unit}")
    plt.show()
    return values


draw([memory, memory_of_one], gates, ["i, writes", "f, keeps", "o, shows"], unit, "memory c")
kept = np.asarray(gates["rnn.f"][subject + 1 : verb, unit])
print(f"forget gate between subject and verb: {kept.min():.2f} at least")
print(f"share of all forget gates there above 0.9: {(gates['rnn.f'][2:verb] > 0.9).mean():.0%}")
gap = (memory - memory_of_one)[subject:, unit]
assert kept.mean() > 0.9
assert (np.sign(gap) == np.sign(gap[0])).all()  # apart all the way

# %% [markdown]
# ## The GRU has one gate for both
#
# What an LSTM does with $i$ and $f$ a GRU does with $z$ alone: it keeps as much as it does not
# write. Here is the unit in which the two sentences stay furthest apart. It is written at the
# subject, where $z$ is low. Where $z$ is below 1 later on and the line stays where it is, the
# candidate wrote the same once more. (The quick form of this notebook trains no GRU.)

# %%
if not QUICK:
    model, params = trained["gru"]
    path = see.trajectory(
        model, params, jnp.stack([jnp.array([PLACE[w] for w in ws]) for ws in (shown, single)], 1)
    ).vectors[:verb]
    between = np.abs(path[subject:, 0] - path[subject:, 1]).min(0)
    unit = int(between.argmax())
    gates = see.gates(model, params, ids)
    values = draw(path.swapaxes(0, 1), gates, ["r, resets", "z, keeps"], unit, "state h")
    print(f"z: {values[subject, 1]:.2f} at the subject, {values[2:, 1].mean():.2f} behind it")
    assert between[unit] > 0.2
    assert values[subject, 1] < values[2:, 1].mean()
