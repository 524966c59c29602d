# %% [markdown]
# # A cell is its equations
#
# A recurrent network reads a sequence step by step and keeps what matters in a state. This
# notebook writes the simplest one by hand, runs the same one with `rnnjax`, draws it unrolled in
# time, and trains it on a single word that no network without a state can spell. It takes about
# half a minute.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import rnnjax

QUICK = bool(os.environ.get("RNNJAX_QUICK"))
STEPS = 150 if QUICK else 400  # of training

# %% [markdown]
# ## One step
#
# The state of Elman's network (1990) has one equation. At step $t$ it mixes the input $x_t$ with
# the last state $h_{t-1}$. (Elman squashed it with a logistic function; tanh is usual today.)
#
# $$h_t = \tanh(x_t W + h_{t-1} U + b) \qquad y_t = h_t$$
#
# $D$ numbers come in, $H$ numbers are kept: $W$ is $[D, H]$, $U$ is $[H, H]$, $b$ is $[H]$. The
# same three arrays serve at every step.

# %%
D, H, T = 3, 4, 6
rng = np.random.default_rng(0)
W, U, b = rng.normal(size=(D, H)), rng.normal(size=(H, H)) / 2, np.zeros(H)
xs = rng.normal(size=(T, D))


def elman_step(h, x):
    return np.tanh(x @ W + h @ U + b)


# %% [markdown]
# A sequence is a loop over that step. This is the whole forward pass:

# %%
h = np.zeros(H)
by_hand = []
for x in xs:
    h = elman_step(h, x)
    by_hand.append(h)
by_hand = np.stack(by_hand)
by_hand.round(2)

# %% [markdown]
# ## The same with the library
#
# `rnnjax.elman(4)` is the same equation, as a pure function `step(params, state, x)` that returns
# the new state and the output. Nothing is hidden in it: the parameters are a tuple of three
# arrays, and the state is one array.

# %%
cell = rnnjax.elman(H)
params = rnnjax.ElmanParams(w_x=jnp.array(W), w_h=jnp.array(U), b=jnp.array(b))
state, y = cell.step(params, jnp.zeros(H), jnp.array(xs[0]))
print(y)

# %% [markdown]
# `rnnjax.unroll` is the loop. Time is the first axis. It gives the last state and all outputs.

# %%
state, ys = rnnjax.unroll(cell, params, None, jnp.array(xs))
print(ys.shape, state.shape)
assert np.allclose(ys, by_hand, atol=1e-5)
assert (state == ys[-1]).all()

# %% [markdown]
# A batch is one more axis, behind time: inputs `[T, B, D]`, outputs `[T, B, H]`. Each row is
# computed as if it were alone.

# %%
batch = jnp.array(rng.normal(size=(T, 5, D)))
_, together = rnnjax.unroll(cell, params, None, batch)
_, alone = rnnjax.unroll(cell, params, None, batch[:, 2])
assert np.allclose(together[:, 2], alone, atol=1e-6)
print(together.shape)

# %% [markdown]
# ## Drawn
#
# Unrolled in time, the network is a deep one whose layers share their weights. Each column below
# is a step. The squares are the real numbers of the run above, the first at the bottom; the darker
# one is, the larger its number.


# %%
def strip(axes, values, x, bottom):
    """A column of numbers, its middle at x; gives where it ends."""
    for n, value in enumerate(values):
        shade = 0.5 - 0.5 * np.clip(value / 2, -1, 1)
        axes.add_patch(
            plt.Rectangle((x - 0.35, bottom + n * 0.4), 0.7, 0.4, fc=str(shade), ec="black", lw=0.6)
        )
        ink = "white" if shade < 0.45 else "black"
        axes.text(x, bottom + n * 0.4 + 0.2, f"{value:.1f}", color=ink, ha="center", va="center")
    return bottom + len(values) * 0.4


def arrow(axes, start, end, name=""):
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "lw": 1.3})
    x, y = np.mean([start, end], axis=0)
    axes.text(x + 0.06, y + 0.1, name, fontsize=11)


figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
for t in range(T):
    top = strip(axes, xs[t], 1.5 * t, 0)
    arrow(axes, (1.5 * t, top + 0.02), (1.5 * t, 2), "$W$")
    top = strip(axes, by_hand[t], 1.5 * t, 2)
    arrow(axes, (1.5 * t, top + 0.02), (1.5 * t, 4.2), f"$y_{t + 1}$")
    if t:
        arrow(axes, (1.5 * t - 1.13, 2.8), (1.5 * t - 0.37, 2.8), "$U$")
axes.set_xlim(-0.6, 1.5 * T - 0.8)
axes.set_ylim(-0.1, 4.6)
axes.set_xticks(1.5 * np.arange(T), range(1, T + 1))
axes.set_xlabel("step t")
axes.set_yticks([0.6, 2.8], ["input $x_t$", "state $h_t$"])
axes.tick_params(length=0)
axes.spines[:].set_visible(False)
plt.show()

# %% [markdown]
# ## One to one, one to many, many to one, many to many
#
# What a network is for is a matter of which inputs exist and which outputs are looked at. The loop
# is the same.


# %%
def diagram(axes, name, inputs, outputs, steps):
    for t in range(steps):
        boxes = {0: t in inputs, 1: True, 2: t in outputs}
        for level, there in boxes.items():
            if there:
                fill = {0: "white", 1: "0.75", 2: "0.25"}[level]
                axes.add_patch(plt.Rectangle((t - 0.2, level), 0.4, 0.5, fc=fill, ec="black"))
        for level in (0, 1):
            if boxes[level] and boxes[level + 1]:
                arrow(axes, (t, level + 0.5), (t, level + 1))
        if t:
            arrow(axes, (t - 0.8, 1.25), (t - 0.2, 1.25))
    axes.set_title(name, fontsize=11)
    axes.set_xlim(-0.6, steps - 0.4)
    axes.set_ylim(-0.2, 2.7)
    axes.set_xticks(range(steps), range(1, steps + 1))
    axes.set_xlabel("step t")
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


kinds = {
    "one to one": ([0], [0], 1),
    "one to many\n(captions)": ([0], [0, 1, 2], 3),
    "many to one\n(classes)": ([0, 1, 2], [2], 3),
    "many to many\n(translation)": ([0, 1, 2], [2, 3, 4], 5),
    "many to many, in step\n(tags)": ([0, 1, 2], [0, 1, 2], 3),
}
figure, panels = plt.subplots(
    1, 5, figsize=(12, 3), width_ratios=[1.6, 3, 3, 5, 3], layout="constrained"
)
for axes, (name, (inputs, outputs, steps)) in zip(panels, kinds.items(), strict=True):
    diagram(axes, name, inputs, outputs, steps)
panels[0].set_yticks([0.25, 1.25, 2.25], ["input", "state", "output"])
plt.show()

# %% [markdown]
# In code the outputs are picked from `ys`, and a readout, a linear map of each, is one more part
# on top. `rnnjax.stack` feeds each part's output to the next, and a stack of cells is a cell. Two
# recurrent parts are a deep recurrent network.

# %%
deep = rnnjax.stack(low=rnnjax.elman(8), high=rnnjax.elman(8), readout=rnnjax.linear(2))
deep_params = deep.init(jax.random.key(0), D)
_, ys = rnnjax.unroll(deep, deep_params, None, batch)
print("many to many, in step:", ys.shape)
print("many to one:", ys[-1].shape)
jax.tree.map(jnp.shape, deep_params)

# %% [markdown]
# ## A word that needs a state
#
# The classic of lectures (Karpathy, 2015): read *hell*, say at each step which letter comes next,
# *ello*. The letter *l* is read twice. The first time *l* must follow, the second time *o*. A
# function of the letter alone can at best give each of them one half. A state can tell the two
# apart.
#
# The loss is the mean cross-entropy over the four steps:
#
# $$E = -\tfrac{1}{T} \sum_t \log p_t(\text{next letter}) \qquad p_t = \mathrm{softmax}(y_t)$$

# %%
letters = "helo"
ids = jnp.array([letters.index(letter) for letter in "hello"])
inputs, targets = jax.nn.one_hot(ids[:-1], 4), ids[1:]


def spell(model):
    """Trains a model on the word; gives its parameters and the loss of each step."""

    def loss(params):
        _, logits = rnnjax.unroll(model, params, None, inputs)
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

    @jax.jit
    def train_step(params, state):
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = adam.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    adam = optax.adam(3e-2)
    params = model.init(jax.random.key(1), 4)
    state, losses = adam.init(params), []
    for _ in range(STEPS):
        params, state, value = train_step(params, state)
        losses.append(float(value))
    return params, losses


recurrent = rnnjax.stack(rnn=rnnjax.elman(3), readout=rnnjax.linear(4))
memoryless = rnnjax.stack(
    hidden=rnnjax.linear(3), squash=rnnjax.activation("tanh"), readout=rnnjax.linear(4)
)
found = {"with a state": recurrent, "without": memoryless}
found = {name: (model, *spell(model)) for name, model in found.items()}

# %% [markdown]
# What is the least loss without a state? Two of the four steps can be known for certain, the other
# two cost $\log 2$ each: $\tfrac{2}{4} \log 2 \approx 0.35$.

# %%
figure, panels = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
floor = np.log(2) / 2
for (name, (_, _, losses)), style in zip(found.items(), ("-", "--"), strict=True):
    panels[0].semilogy(losses, style, color="black", label=name)
panels[0].axhline(floor, color="tab:gray", linestyle=":", label="least without a state")
panels[0].set_xlabel("step of training")
panels[0].set_ylabel("loss, nats a letter")
panels[0].legend()
chances = {}
for axes, (name, (model, params, _)) in zip(panels[1:], found.items(), strict=True):
    _, logits = rnnjax.unroll(model, params, None, inputs)
    chances[name] = p = np.asarray(jax.nn.softmax(logits))
    axes.imshow(p.T, cmap="gray_r", vmin=0, vmax=1)
    for t, n in np.ndindex(p.shape):
        ink = "white" if p[t, n] > 0.5 else "black"
        axes.text(t, n, f"{p[t, n]:.2f}", color=ink, ha="center", va="center")
    axes.set_xticks(range(4), "hell")
    axes.set_yticks(range(4), letters)
    axes.set_xlabel("letter read")
    axes.set_ylabel("next letter")
    axes.set_title(f"probabilities {name}", fontsize=11)
plt.show()

# %%
said = "".join(letters[n] for n in chances["with a state"].argmax(1))
print("after h, e, l, l it says:", said)
assert said == "ello"
assert found["with a state"][2][-1] < 0.1
assert floor - 1e-3 < found["without"][2][-1] < floor + 0.05  # down to it, and not below
assert np.allclose(chances["without"][2], chances["without"][3])  # one letter, one answer

# %% [markdown]
# The three units of the trained network show why: the two *l* leave different states behind.

# %%
model, params, _ = found["with a state"]
_, states = rnnjax.unroll(rnnjax.elman(3), params["rnn"], None, inputs)
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
for n, (line, mark) in enumerate(zip(("-", "--", ":"), "os^", strict=True)):
    axes.plot(np.asarray(states[:, n]), line, marker=mark, color="black", label=f"unit {n + 1}")
axes.set_xticks(range(4), "hell")
axes.set_xlabel("letter read")
axes.set_ylabel("state $h_t$")
axes.legend()
plt.show()
apart = float(jnp.linalg.norm(states[3] - states[2]))
print(f"distance of the states after the two l: {apart:.2f}")
assert apart > 0.5
