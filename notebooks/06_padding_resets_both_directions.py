# %% [markdown]
# # Padding, resets, both directions
#
# Real sequences differ in length, and arrays do not. What fills the gaps must not matter: not to
# the outputs, not to the last state, not to any gradient. This notebook shows what goes wrong by
# itself, what `lengths` and `resets` do about it, and trains networks that read forwards,
# backwards and both ways on labels that need both. It takes about a minute.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import rnnjax
from rnnjax import train

QUICK = bool(os.environ.get("RNNJAX_QUICK"))
STEPS = 400 if QUICK else 800  # of training
COUNT = 2000 if QUICK else 4000  # sequences to train on

# %% [markdown]
# ## Four sequences in one array
#
# `pad` puts sequences side by side and says how long each is. One of them is empty: that happens
# too. The rest is filled with ones here; any number would do.

# %%
rng = np.random.default_rng(0)
D, H = 3, 5
pieces = [rng.normal(size=(n, D)).astype(np.float32) for n in (12, 8, 3, 0)]
xs, lengths = rnnjax.pad(pieces, value=1)
print(xs.shape, "is [T, B, D]; lengths", lengths)

cell = rnnjax.gru(H)
params = cell.init(jax.random.key(0), D)

# %% [markdown]
# Without lengths the network goes on over the padding, and the last state of a short row is of
# steps that do not exist. With them the state holds where the row ends, and outputs behind it are
# 0.

# %%
careless, ys_careless = rnnjax.unroll(cell, params, None, xs)
state, ys = rnnjax.unroll(cell, params, None, xs, lengths=lengths)
unit = int(jnp.abs(careless[1:]).max(0).argmax())  # which shows it best

figure, panels = plt.subplots(1, 2, figsize=(10, 2.8), sharey=True, layout="constrained")
for axes, values, name in zip(panels, (ys_careless, ys), ("no lengths", "lengths"), strict=True):
    image = axes.imshow(values[:, :, unit].T, cmap="gray", vmin=-1, vmax=1, aspect="auto")
    for row, n in enumerate(lengths):
        ends = [n - 0.5] * 2, [row - 0.5, row + 0.5]
        axes.plot(*ends, color="tab:red", linewidth=3, clip_on=False)
    axes.set_title(name)
    axes.set_xlabel("step t")
panels[0].set_ylabel("row")
panels[0].set_yticks(range(4))
figure.colorbar(image, label=f"output of unit {unit}")
plt.show()

# %% [markdown]
# The red bars are the ends. On the right each row is what it would be alone:

# %%
for row, piece in enumerate(pieces):
    alone, ys_alone = rnnjax.unroll(cell, params, None, piece)
    assert np.allclose(state[row], alone, atol=1e-6)
    assert np.allclose(ys[: len(piece), row], ys_alone, atol=1e-6)
    assert (ys[len(piece) :, row] == 0).all()
    print(f"row {row}: without lengths the last state is off by", end=" ")
    print(f"{float(jnp.abs(careless[row] - alone).max()):.2f}")
assert jnp.abs(careless[2] - state[2]).max() > 0.01

# %% [markdown]
# ## Whatever the padding holds
#
# It is not enough to throw the outputs away. Derivatives are formed there too, and $0 \cdot
# \infty$ is not a number. So we put the worst into the padding, and ask for the same bits in the
# loss and in every gradient.


# %%
def loss(params, xs):
    last, ys = rnnjax.unroll(cell, params, None, xs, lengths=lengths)
    return jnp.square(ys).sum() + jnp.square(last).sum()


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


value_and_grad = jax.jit(jax.value_and_grad(loss))
clean = value_and_grad(params, xs)
padding = np.arange(len(xs))[:, None] >= lengths
for worst in (1e30, np.inf, np.nan):
    poisoned = np.where(padding[..., None], worst, xs).astype(np.float32)
    same = bits(value_and_grad(params, poisoned)) == bits(clean)
    print(f"padding of {worst}: the same bits: {same}")
    assert same

# %% [markdown]
# ## Backwards
#
# A network that reads from the end has to know where the end is. If it starts in the padding, it
# has seen something before it sees the first real step. `reverse=True` with lengths starts each
# row at its last real step, and puts the output of step $t$ at $t$.

# %%
row, n = 2, lengths[2]
_, alone = rnnjax.unroll(cell, params, None, pieces[row], reverse=True)
_, careless = rnnjax.unroll(cell, params, None, xs, reverse=True)
_, ys = rnnjax.unroll(cell, params, None, xs, reverse=True, lengths=lengths)

figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.plot(careless[:, row, 0], "k^--", label="without lengths")
axes.plot(ys[:n, row, 0], "ks", markersize=9, fillstyle="none", label="with lengths")
axes.plot(alone[:, 0], "ko-", markersize=4, label="the row alone")
axes.axvspan(n - 0.5, len(xs) - 0.5, color="0.93", label="padding")
axes.set_xlabel("step t (read from right to left)")
axes.set_ylabel("output of unit 0")
axes.legend()
plt.show()
assert np.allclose(ys[:n, row], alone, atol=1e-6)
assert np.abs(careless[:n, row] - alone).max() > 0.01

# %% [markdown]
# ## Labels that need both directions
#
# A sequence of letters. Each letter is the *only* one of its kind, the *first* of several, the
# *last*, or one in *between*. Whether a letter came before, a forward reader can know. Whether it
# will come again, it can only guess. With a backward reader it is the other way round.

# %%
LETTERS, NAMES = "abcdef", ["only", "first", "between", "last"]


def labelled(rng):
    """Letters of a random length, and what each is."""
    letters = rng.integers(0, len(LETTERS), rng.integers(2, 13))
    labels = []
    for t, letter in enumerate(letters):
        before, after = letter in letters[:t], letter in letters[t + 1 :]
        labels.append({(0, 0): 0, (0, 1): 1, (1, 1): 2, (1, 0): 3}[before, after])
    return letters, np.array(labels)


training = [labelled(rng) for _ in range(COUNT)]
test = [labelled(rng) for _ in range(1000)]
for letters, labels in training[:2]:
    print(" ".join(f"{LETTERS[a]}:{NAMES[b]}" for a, b in zip(letters, labels, strict=True)))

# %% [markdown]
# How well can one direction do at best? Letters are drawn independently. So all that the past says
# of the future is how many steps have gone by. Whoever knows the step and whether the letter came
# before, and always says what is most frequent then, cannot be beaten by a forward reader.

# %%
tally = {}
for _, labels in test:
    for t, label in enumerate(labels):
        tally.setdefault((t, label in (2, 3)), []).append(label)
ceiling = sum(np.bincount(seen).max() for seen in tally.values()) / sum(map(len, tally.values()))
print(f"at best, in one direction: {ceiling:.1%}")

# %% [markdown]
# `bidirectional` runs one cell forwards and another backwards and joins their outputs:
#
# $$y_t = [\overrightarrow{h}_t, \overleftarrow{h}_t]$$
#
# It needs the whole sequence at once, so it is a layer and not a cell. `serial` puts layers and
# cells one after the other.

# %%
embed, readout = rnnjax.embed(len(LETTERS), 8), rnnjax.linear(len(NAMES))
one_way = rnnjax.stack(embed=embed, rnn=rnnjax.gru(48), readout=readout)
two_ways = rnnjax.serial(  # as many units in all
    embed=embed, rnn=rnnjax.bidirectional(rnnjax.gru(24)), readout=readout
)
readers = {
    "forwards": (one_way, lambda p, xs, n: rnnjax.unroll(one_way, p, None, xs, lengths=n)[1]),
    "backwards": (
        one_way,
        lambda p, xs, n: rnnjax.unroll(one_way, p, None, xs, lengths=n, reverse=True)[1],
    ),
    "both ways": (two_ways, lambda p, xs, n: two_ways.apply(p, xs, lengths=n)[1]),
}


def learn(model, apply):
    def loss(params, carried, batch, key):
        logits = apply(params, batch.xs, batch.lengths)
        mask = jnp.arange(len(batch.xs))[:, None] < batch.lengths
        return train.cross_entropy(logits, batch.targets, mask).mean, (carried, {})

    chain = train.optimizer("adam", train.schedule("cosine", 1e-2, STEPS), clip_norm=1.0)
    params = model.init(jax.random.key(0), rnnjax.tokens())
    state = train.init_train_state(params, chain, jax.random.key(1))
    source = train.sequences(*zip(*training, strict=True), batch_size=64, buckets=1)
    return train.fit(train.make_train_step(loss, chain), state, source, steps=STEPS).params


letters, counts = rnnjax.pad([letters for letters, _ in test])
labels, _ = rnnjax.pad([labels for _, labels in test])
real = np.arange(len(letters))[:, None] < counts
said, right = {}, {}
for name, (model, apply) in readers.items():
    params = learn(model, apply)
    said[name] = np.asarray(apply(params, letters, counts).argmax(-1))
    right[name] = (said[name] == labels)[real].mean()

# %%
figure, (whole, each) = plt.subplots(1, 2, figsize=(11, 3.5), layout="constrained")
whole.bar(right.keys(), right.values(), color="0.6", edgecolor="black", hatch="//")
whole.axhline(ceiling, color="black", linestyle="--", label="at best, in one direction")
whole.set_ylim(0, 1.05)
whole.set_ylabel("share of right labels")
whole.legend(loc="lower right")
kinds = np.arange(len(NAMES))
for k, name in enumerate(readers):
    shares = [(said[name] == labels)[real & (labels == kind)].mean() for kind in kinds]
    each.bar(kinds + 0.27 * (k - 1), shares, 0.25, color=str(0.3 + 0.3 * k), ec="black", label=name)
each.set_xticks(kinds, NAMES)
each.set_ylabel("share of right labels, of this kind")
each.set_ylim(0, 1.25)
each.set_yticks(np.linspace(0, 1, 6))
each.legend(ncols=3, loc="upper center")
plt.show()
print({name: f"{share:.1%}" for name, share in right.items()}, f"ceiling {ceiling:.1%}")

# %%
assert right["both ways"] > (ceiling + 0.1 if QUICK else 0.95)
assert right["forwards"] < ceiling + 0.02  # nobody can do better
assert right["backwards"] < ceiling + 0.02

# %% [markdown]
# ## Several sequences in one row
#
# Padding costs time. `pack` lays short sequences one behind the other in a row, and marks where
# each begins. At a mark, `resets` replaces the state by the initial one before the step. So
# nothing leaks from a sequence to its neighbour.

# %%
many = [rng.normal(size=(n, D)).astype(np.float32) for n in rng.geometric(0.12, 40).clip(1, 30)]
padded, sizes = rnnjax.pad(many)
packed = rnnjax.pack(many, length=30)

figure, panels = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
layouts = {
    "padded": (len(padded), np.arange(len(many)), np.zeros(len(many), int)),
    "packed": (len(packed.xs), packed.rows, packed.starts),
}
for axes, (name, (time, rows, starts)) in zip(panels, layouts.items(), strict=True):
    for n, (row, start, size) in enumerate(zip(rows, starts, sizes, strict=True)):
        axes.barh(row, size, left=start, height=0.8, color=str(0.5 + 0.4 * (n % 2)), ec="black")
    filled = sizes.sum() / ((rows.max() + 1) * time)
    axes.set_title(f"{name}: {rows.max() + 1} rows, {filled:.0%} of the steps are real")
    axes.set_xlim(0, time)
    axes.invert_yaxis()
    axes.set_xlabel("step t")
    axes.set_ylabel("row")
plt.show()

# %%
params = cell.init(jax.random.key(0), D)
_, ys = rnnjax.unroll(cell, params, None, packed.xs, mask=packed.mask, resets=packed.resets)
_, ys_padded = rnnjax.unroll(cell, params, None, padded, lengths=sizes)
for n, out in enumerate(rnnjax.unpack(ys, packed)):
    assert np.allclose(out, ys_padded[: sizes[n], n], atol=1e-6)
print("packed and padded agree in all", len(many), "sequences")
assert packed.mask.mean() > 0.85
