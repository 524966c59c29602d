# %% [markdown]
# # The zoo of cells, and what tells them apart
#
# `rnnjax` has more than fifty cells. Which one is best? Three small tasks are given to five cells,
# none of which is best at all three, and where one fails, the reason stands in its equations. Takes
# about three minutes on two cores.

# %%
import dataclasses
import os

import jax
import matplotlib.pyplot as plt
import numpy as np

import rnnjax
from rnnjax import train
from rnnjax.tasks import TASKS

QUICK = bool(os.environ.get("RNNJAX_QUICK"))
CELLS = ("gru", "min_gru") if QUICK else ("elman", "lstm", "gru", "min_gru", "exp_rnn")
SEEDS, UNITS = range(2), 16 if QUICK else 32

# %% [markdown]
# ## Five cells
#
# | cell | what is special | |
# | --- | --- | --- |
# | `elman` | $h_t = \tanh(x_t W + h_{t-1} U + b)$ | Elman, 1990 |
# | `lstm` | a memory that is added to, behind gates | Hochreiter & Schmidhuber, 1997 |
# | `gru` | one state, which a gate keeps or renews | Cho et al., 2014 |
# | `min_gru` | the same, but neither gate nor candidate sees $h_{t-1}$ | Feng et al., 2024 |
# | `exp_rnn` | $U$ is a rotation, always | Lezcano-Casado & Martínez-Rubio, 2019 |
#
# ## Three tasks
#
# - *adding*: numbers, of which two are marked; what is their sum? Two things to be kept exactly,
#   much to be ignored.
# - *parity*: bits; after each of them, has there been an odd number of ones? One bit to be kept,
#   but every one turns it over.
# - *copy*: ten letters, then blanks; write the letters. Much to be kept, nothing to be ignored.

# %%
common = {"hidden_size": UNITS, "schedule": "cosine"}
tasks = {
    "adding": TASKS["adding"](
        T=50, steps=900,
        learning_rate=1e-2, batch_size=32, **common,
    ),
    "parity": TASKS["parity"](
        T=6 if QUICK else 16, longest=6 if QUICK else 64, every_step=True,
        steps=300 if QUICK else 900, learning_rate=1e-2, **common,
    ),
    "copy": TASKS["copy"](T=10, steps=900, learning_rate=3e-3, batch_size=32, **common),
}  # fmt: skip
if QUICK:
    tasks = {"parity": tasks["parity"]}
print("of the first test sequence:", tasks["parity"].example(tasks["parity"].data()))

# %% [markdown]
# ## The contest
#
# `train_seeds` trains one cell with several seeds side by side. All cells get the same batches and
# the same settings; nothing is tuned for any. An error is given as a share of what can be had
# without any memory: 0 is solved, 1 is nothing learnt.

# %%
trained, errors, data = {}, {}, {name: task.data() for name, task in tasks.items()}
for name, task in tasks.items():
    chance = min(task.baselines(data[name]).values())
    for cell in CELLS:
        one = dataclasses.replace(task, cell=cell)
        found = train.train_seeds(one, SEEDS, data=data[name])
        trained[name, cell] = found
        errors[name, cell] = np.median([f[task.metric] for f in found.figures]) / chance
        print(f"{name:8} {cell:8} {errors[name, cell]:6.3f}   {found.seconds:4.0f} s")

# %%
table = np.array([[errors[name, cell] for name in tasks] for cell in CELLS])
figure, axes = plt.subplots(figsize=(5.5, 3.2), layout="constrained")
shown = axes.imshow(np.clip(table, 0, 1), cmap="gray_r", vmin=0, vmax=1, aspect="auto")
for (row, column), value in np.ndenumerate(table):
    axes.text(column, row, f"{value:.2f}", ha="center", va="center",
              color="white" if value > 0.5 else "black")  # fmt: skip
axes.set_xticks(range(len(tasks)), list(tasks))
axes.set_yticks(range(len(CELLS)), list(CELLS))
figure.colorbar(shown, label="error, as a share of that without memory")
plt.show()

# %% [markdown]
# ## Why `min_gru` cannot count to two
#
# Its gate and its candidate see the input alone:
#
# $$h_t = \big(1 - z(x_t)\big) \odot h_{t-1} + z(x_t) \odot n(x_t), \qquad 0 < z < 1$$
#
# Take two histories that differ in the first bit and are the same from then on. Their states differ
# by $\Delta_t = (1 - z(x_t)) \odot \Delta_{t-1}$, whose every component shrinks at each step and
# keeps its sign. But each one turns both answers over, and they must stay opposite: the readout's
# $\Delta_t \cdot w$ would have to change its sign each time. A sum of terms that only shrink runs
# out of changes, the sooner as it drowns in rounding. So more training does not help, and more
# units only put it off: no such cell knows the parity of sequences of any length (Grazzi et al.,
# 2025). A GRU's gate sees its state, and can.

# %%
bits = np.random.default_rng(0).integers(0, 2, tasks["parity"].T)
two = np.stack([bits, bits], axis=1)
two[0] = 0, 1
xs = jax.nn.one_hot(two, 2)
cells = {"gru": rnnjax.gru(UNITS), "min_gru": rnnjax.min_gru(UNITS)}
gap = {}
for name, cell in cells.items():
    params = jax.tree.map(lambda leaf: leaf[0], trained["parity", name].state.params)["rnn"]
    hs = rnnjax.unroll(cell, params, None, xs)[1]
    gap[name] = np.asarray(hs[:, 0] - hs[:, 1])

figure, axes = plt.subplots(figsize=(6.5, 3), layout="constrained")
for (name, difference), style in zip(gap.items(), ("o-", "s--"), strict=True):
    axes.semilogy(np.linalg.norm(difference, axis=1), style, label=name)
axes.set(xlabel="steps since the bit that differs", ylabel="how far the two states are apart")
axes.legend()
plt.show()

# %%
shrinks = np.abs(gap["min_gru"][1:]) <= np.abs(gap["min_gru"][:-1]) + 1e-6
assert shrinks.all()
assert (gap["min_gru"][1:] * gap["min_gru"][:-1] > -1e-9).all()  # and keeps its sign
assert errors["parity", "gru"] < 0.1
assert errors["parity", "min_gru"] > 0.5

# %% [markdown]
# What it has instead: no step needs the last one, so all of time can be computed in parallel;
# `plan` shows that nothing but the sum is left in the loop. Long sequences are what it is for.
#
# ## How they learn
#
# The loss of training: squared error in the first panel, nats in the others.

# %%
figure, panels = plt.subplots(1, len(tasks), figsize=(11, 3.2), layout="constrained", squeeze=False)
for axes, name in zip(panels[0], tasks, strict=True):
    for cell, style in zip(CELLS, ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))), strict=False):
        losses = np.median(trained[name, cell].losses, axis=1)
        axes.plot(100 * np.arange(1, len(losses) + 1), losses, linestyle=style, label=cell)
    axes.set(xlabel="training step", title=name, yscale="log")
panels[0][0].set_ylabel("loss of training")
panels[0][-1].legend(fontsize=8)
plt.show()

# %% [markdown]
# - *Adding.* Elman's state passes through tanh and $U$ at every step: whatever it holds fades, and
#   so does the gradient (notebook 02). A gate that is shut keeps a number as it is.
# - *Copy.* A rotation forgets nothing: $\lVert h_{t-1} U \rVert = \lVert h_{t-1} \rVert$, through
#   as many steps as there are, and all letters stay in it. Gates must learn for every letter what
#   not to overwrite.
# - *Parity.* One bit, turned over: of its old state a cell must make more than a share between 0
#   and 1.
#
# So there is no best cell, but one that has in its equations what a task asks for.

# %%
if not QUICK:
    best = {name: min(CELLS, key=lambda cell, name=name: errors[name, cell]) for name in tasks}
    print("best at", best)
    assert errors["adding", "gru"] < 0.05 < errors["adding", "elman"]
    assert errors["copy", "exp_rnn"] < 0.3 < 0.7 < errors["copy", "gru"]
    assert best["adding"] != best["copy"]

# %% [markdown]
# **Try:** `rnnjax.tasks.TASKS` has more tasks made for this, such as `dyck-2` or `recall`,
# and `rnnjax sweep --task dyck-2 --cells lstm,gru,slstm --seeds 3` does the same from a shell.
