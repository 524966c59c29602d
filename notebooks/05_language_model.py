# %% [markdown]
# # A language model, from text to samples
#
# A language model says how likely every next character is. This notebook builds three of them on
# the same text: counts of n-grams, a neural network over a fixed window, and a recurrent network.
# It compares them on files that none has seen, shows what a longer past is worth, and lets the
# recurrent one write. It takes about three minutes.

# %%
import math
import os
import pathlib
import sysconfig

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import rnnjax
from rnnjax import train
from rnnjax.tasks import language_model as lm

QUICK = bool(os.environ.get("RNNJAX_QUICK"))
FILES = 20 if QUICK else 80  # of Python's standard library
STEPS = 400 if QUICK else 2400  # of training
H = 64 if QUICK else 192  # units

cores = rnnjax.host.use_cpu_devices()  # all of them train

# %% [markdown]
# ## From text to numbers
#
# The text is Python's own standard library, which everyone has who runs this. Of ten files one is
# kept to choose by, and one to judge by. A vocabulary numbers the characters of the training text;
# whatever else comes is the unknown one.

# %%
sources = sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("[a-z]*.py"))[:FILES]
texts = [path.read_text(encoding="utf-8") for path in sources]
split = {"validation": texts[4::10], "test": texts[9::10]}
split["train"] = [text for n, text in enumerate(texts) if n % 5 != 4]
split = {name: "".join(part) for name, part in split.items()}
vocabulary = lm.Vocabulary.of(split["train"])
V = len(vocabulary)
ids = {name: vocabulary.encode(part, unknown=True) for name, part in split.items()}
print({name: len(part) for name, part in ids.items()}, "characters,", V, "symbols")
print(ids["test"][:12], repr(vocabulary.decode(ids["test"][:12])))

# %% [markdown]
# ## What is measured
#
# The probability of a text is a product over its characters, each given those before it:
#
# $$p(c_1 \dots c_T) = \prod_t p(c_t \mid c_1 \dots c_{t-1})$$
#
# The loss is the mean of $-\log p$. In base 2 it is in bits a character: how long a file would be
# that stores the text with the help of the model. $2^{\text{bits}}$ is the perplexity: among how
# many equally likely characters the model might as well choose.

# %% [markdown]
# ## Counting
#
# An n-gram model looks at the last $n - 1$ characters and counts what followed them in the training
# text. Long contexts are rare, so it mixes all orders, with weights $\lambda$ that suit the
# validation text:
#
# $$p(c \mid \text{context}) = \frac{\lambda_0}{V} + \sum_{k=1}^{n} \lambda_k
#   \frac{\#(c_{t-k+1} \dots c_{t-1}\, c)}{\#(c_{t-k+1} \dots c_{t-1})}$$

# %%
bits = lm.baselines(ids["train"], ids["validation"], ids["test"], V, orders=(2, 3, 5, 8))
for name, value in bits.items():
    print(f"{name}: {value:.2f} bits, perplexity {2**value:.1f}")
assert bits["5-gram"] - bits["8-gram"] < (bits["2-gram"] - bits["5-gram"]) / 4

# %% [markdown]
# ## A fixed window
#
# The neural n-gram model of Bengio, Ducharme, Vincent & Jauvin (2003), theirs of words, looks at a
# window too: here at the last $n = 8$ characters. It gives each a vector $e$, and a network sees
# the vectors side by side. So similar contexts help each other. But a character further back than
# $n$ does not exist for it, and each place of the window has weights of its own.
#
# $$h = \tanh([e_{t-n}, \dots, e_{t-1}] W + b) \qquad p_t = \mathrm{softmax}(h U + d)$$

# %%
N = 8
window = rnnjax.stack(
    hidden=rnnjax.linear(H), squash=rnnjax.activation("tanh"), readout=rnnjax.linear(V)
)
table = rnnjax.embed(V, 16)


def window_logits(params, xs):
    """From windows [N, B] to the logits of what follows, [B, V]."""
    _, vectors = table.step(params["table"], (), xs)
    side_by_side = jnp.moveaxis(vectors, 0, 1).reshape(xs.shape[1], -1)
    return window.step(params["window"], window.initial_state(params["window"]), side_by_side)[1]


def window_loss(params, carried, batch, key):
    loss = train.cross_entropy(window_logits(params, batch.xs), batch.targets[-1]).mean
    return loss, (carried, {"bits per character": train.bits_per_token(loss)})


def learn(loss, params, source, steps, carried=()):
    """The parameters after training, and bits a character at each step."""
    chain = train.optimizer("adam", train.schedule("cosine", 4e-3, steps), clip_norm=1.0)
    state = train.init_train_state(params, chain, jax.random.key(1), carried)
    curve = []
    state = train.fit(
        train.make_train_step(loss, chain),
        state,
        source,
        steps=steps,
        callbacks=[lambda record: curve.append(record["metrics"]["bits per character"])],
    )
    return state.params, np.array(curve)


k_table, k_window, k_model = jax.random.split(jax.random.key(0), 3)
params = {"table": table.init(k_table, rnnjax.tokens()), "window": window.init(k_window, N * 16)}
source = train.sliding_windows(ids["train"], 1024, N)  # twice as many steps of half as many targets
window_params, window_curve = learn(window_loss, params, source, 2 * STEPS)

# %%
places = np.arange(len(ids["test"]) - N)
windows = ids["test"][places + np.arange(N)[:, None]]
loss = train.cross_entropy(jax.jit(window_logits)(window_params, windows), ids["test"][N:])
name = f"window of {N}"
bits[name] = float(train.bits_per_token(loss.mean))
print(f"{name}: {bits[name]:.2f} bits")

# %% [markdown]
# ## A recurrent network
#
# The state has all that was read so far, or what the network thought worth keeping. The same
# weights serve at every step, and nothing fixes how far back it may look.
#
# It is trained by truncated back-propagation: 32 streams of the text side by side, in windows of
# 64. The state goes on from window to window, the gradient does not. `next_symbol_loss` is that
# loss; now and then (`restart_rate`) a stream starts from zero, as a new text does.

# %%
model = rnnjax.stack(embed=rnnjax.embed(V, 32), rnn=rnnjax.lstm(H), readout=rnnjax.linear(V))
params = model.init(k_model, rnnjax.tokens())
source = train.streams(ids["train"], 32, 64)
loss = lm.next_symbol_loss(model, restart_rate=1 / 32)
params, curve = learn(loss, params, source, STEPS, model.initial_state(params, (32,)))
bits["LSTM"] = lm.evaluate(model, params, ids["test"]) / math.log(2)
print(f"LSTM: {bits['LSTM']:.2f} bits, perplexity {2 ** bits['LSTM']:.1f}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")


def smooth(values):
    return np.convolve(values, np.ones(20) / 20, "valid")


for values, style, name in ((window_curve, "--", f"window of {N}"), (curve, "-", "LSTM")):
    left.plot(np.linspace(0, 1, len(values) - 19), smooth(values), style, color="black", label=name)
left.axhline(bits["3-gram"], color="0.5", linestyle=":", label="3-gram, on the test text")
left.set_xlabel("share of the training done")
left.set_ylabel("bits a character, training, smoothed")
left.legend()
order = sorted(bits, key=bits.get, reverse=True)
bars = right.barh(order, [bits[name] for name in order], color="0.75", ec="black")
right.bar_label(bars, fmt="%.2f", padding=3)
right.set_xlabel("bits a character, files never seen")
right.margins(x=0.12)
plt.show()

# %%
for name in ("LSTM", f"window of {N}"):
    assert bits[name] < bits["2-gram"]
assert QUICK or bits["LSTM"] < bits[f"window of {N}"] < bits["3-gram"]  # once trained for minutes

# %% [markdown]
# ## What a longer past is worth
#
# Counts of two million characters are hard to beat for a network that has trained for two minutes.
# They have come to their end, though: an 8-gram gains little on a 5-gram, since longer contexts are
# too rare to count. A network shares what it learns between contexts, and its state reaches
# further.
#
# If the state of the LSTM is set back to zero every 128 characters, it knows no more than what
# came since. Its loss by place shows what each further character of the past is worth. The
# other two lines are flat: they never see more than eight.

# %%
REACH = 128
parts = len(ids["test"]) // REACH
nats = lm.token_losses(model, params, ids["test"], batch_size=parts, restart_every=REACH)
by_place, _ = lm.loss_by_position(nats, REACH, batch_size=parts)
by_place = by_place / math.log(2)
groups = [(2**k, min(2 ** (k + 1), REACH)) for k in range(7)]  # places from 1, in powers of two
means = [by_place[a - 1 : b - 1].mean() for a, b in groups]
figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
axes.plot([f"{a}" if b == a + 1 else f"{a}-{b - 1}" for a, b in groups], means, "ko-", label="LSTM")
axes.axhline(bits[f"window of {N}"], color="black", linestyle="--", label=f"window of {N}")
axes.axhline(bits["8-gram"], color="0.5", linestyle=":", label="8-gram")
axes.set_xlabel("characters read since the state was set back")
axes.set_ylabel("bits a character")
axes.legend()
plt.show()
print("bits by how much was read:", [round(float(mean), 2) for mean in means])
assert means[0] > means[2] > means[-1] - 0.02
assert means[0] - means[-1] > 0.5
assert QUICK or means[-1] < means[3]  # more than 15 characters are worth something, too

# %% [markdown]
# ## What surprises it
#
# Each bar is $-\log_2 p$ of a character, given all before it. Beginnings of names are dear, their
# ends are cheap.

# %%
shown = "    def __init__(self, name):\n        self.name = name\n"
nats = lm.token_losses(model, params, vocabulary.encode(shown, unknown=True), batch_size=1)
figure, axes = plt.subplots(figsize=(12, 2.6), layout="constrained")
axes.bar(range(1, len(shown)), nats / math.log(2), color="0.5", ec="black")
axes.set_xticks(range(len(shown)), [{"\n": "⏎", " ": "␣"}.get(c, c) for c in shown], fontsize=9)
axes.set_xlim(0.4, len(shown) - 0.4)
axes.set_xlabel("character")
axes.set_ylabel("surprise, bits")
plt.show()

# %% [markdown]
# ## Samples
#
# To write, draw a character from $p_t$, read it, and go on. A temperature $\tau$ sharpens or
# flattens what is drawn from:
#
# $$c_t \sim \mathrm{softmax}(y_t / \tau)$$
#
# Low temperatures repeat themselves, high ones stammer.

# %%
samples = {}
for temperature in (0.5, 0.8, 1.2):
    pieces = lm.generate(
        model, params, vocabulary, "    def ", length=220, temperature=temperature, seed=0
    )
    samples[temperature] = "".join(pieces)
    print(f"--- temperature {temperature}\n    def {samples[temperature]}\n")
kinds = [len(set(sample)) for sample in samples.values()]
print("different characters:", kinds)
assert all(len(sample) == 220 for sample in samples.values())
assert kinds[0] < kinds[-1]  # the hotter, the more various

# %% [markdown]
# The same task with more text, a larger model, checkpoints and a report is one command: `rnnjax
# train`, and then `rnnjax generate --run runs/<name> --prompt "def "`. Words instead of characters
# are `--level word`.
