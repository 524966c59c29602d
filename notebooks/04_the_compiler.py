# %% [markdown]
# # The compiler: plans, what leaves the loop, measured
#
# A step of a recurrent network is written as it stands in the paper. Most of it need not be done
# step by step, and `rnnjax.scan` finds out which part that is. This notebook shows the plans it
# makes, counts the products that are left in the loop, and measures time and memory beside
# `jax.lax.scan`. It takes about a minute.

# %%
import os
import time
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import rnnjax

QUICK = bool(os.environ.get("RNNJAX_QUICK"))
SHAPES = [(32, 1, 32)] if QUICK else [(128, 1, 128), (128, 8, 128), (128, 32, 128)]  # (T, B, H)
REPEATS = 3 if QUICK else 15
LENGTHS = (64, 128) if QUICK else (64, 128, 256, 512, 1024)

# %% [markdown]
# ## One step, as it is written
#
# $$h_t = \tanh(x_t W + h_{t-1} U + b)$$
#
# The loop is there because $h_t$ needs $h_{t-1}$. But $x_t W$ does not. All inputs are known, so
# the products of all steps with $W$ are one large product before the loop: the same arithmetic, at
# the speed of a large matrix product. `plan` says what would be done, without doing it, as EXPLAIN
# does in a database.


# %%
def step(params, h, x):
    h = jnp.tanh(x @ params["w"] + h @ params["u"] + params["b"])
    return h, h


T, B, D, H = 64, 8, 32, 64
keys = jax.random.split(jax.random.key(0), 3)
params = {
    "w": jax.random.normal(keys[0], (D, H)) / D**0.5,
    "u": jax.random.normal(keys[1], (H, H)) / H**0.5,
    "b": jnp.zeros(H),
}
h0, xs = jnp.zeros((B, H)), jax.random.normal(keys[2], (T, B, D))
plan = rnnjax.plan(step, params, h0, xs)
print(plan)

# %% [markdown]
# The step has nothing of `rnnjax` in it. `rnnjax.scan` takes it as `jax.lax.scan` would, and gives
# the same numbers.

# %%
h, ys = rnnjax.scan(step, params, h0, xs)
h_plain, ys_plain = jax.lax.scan(partial(step, params), h0, xs)
assert np.allclose(ys, ys_plain, atol=1e-5)
assert [c.kind for c in plan.components if c.products] == ["parallel", "loop"]
assert [c.products for c in plan.components if c.products] == [1, 1]

# %% [markdown]
# ## Layers fall apart
#
# Here is a language model: vectors of symbols, two LSTMs, a readout. As one step it has five
# products. It is a graph: an arrow from each equation to those that need it, and one arrow back in
# time for each state. What lies on a cycle is a loop. Everything else can be done for all steps at
# once. So two layers become two loops, with the large products between them.

# %%
model = rnnjax.stack(
    embed=rnnjax.embed(100, 64),
    low=rnnjax.lstm(128),
    high=rnnjax.lstm(128),
    readout=rnnjax.linear(100),
)
its = model.init(jax.random.key(0), rnnjax.tokens())
symbols = jnp.zeros((T, B), int)
plan = rnnjax.plan(model.step, its, model.initial_state(its, (B,)), symbols)
print(plan)

# %%
figure, axes = plt.subplots(figsize=(9, 2.6), layout="constrained")
left = 0
for n, part in enumerate(plan.components):
    share = part.flops / (plan.flops_in_loops + plan.flops_outside)
    loop = part.kind == "loop"
    axes.barh(0, share, left=left, color="0.5" if loop else "white", ec="black", hatch="//" * loop)
    if share > 0.03:
        axes.text(left + share / 2, 0.48, f"{n} {part.kind}", ha="center", fontsize=9)
    left += share
axes.set_yticks([])
axes.set_xlim(0, 1)
axes.set_ylim(-0.5, 0.7)
axes.spines[["left", "top", "right"]].set_visible(False)
axes.set_xlabel("share of the arithmetic, in the order in which it is done (grey: step by step)")
plt.show()
print(f"{plan.flops_in_loops / (plan.flops_in_loops + plan.flops_outside):.0%} is left in loops")
assert [c.kind for c in plan.components if c.products].count("loop") == 2

# %% [markdown]
# ## What is left depends on the cell
#
# The gates of a `min_gru` see the input alone. Its state is only scaled and added to, so no
# product is left in the loop at all. That is the idea behind the linear recurrences of today. In
# an LSTM half of the work needs the state before.

# %%
shares = {}
for name in ("elman", "lstm", "gru", "mgu", "sru", "min_gru"):
    cell = getattr(rnnjax, name)(64)
    its = cell.init(jax.random.key(0), 64)
    found = rnnjax.plan(cell.step, its, cell.initial_state(its, (B,)), jnp.zeros((T, B, 64)))
    products = sum(c.products for c in found.components if c.kind == "loop")
    shares[name] = found.flops_in_loops / (found.flops_in_loops + found.flops_outside), products
figure, axes = plt.subplots(figsize=(6.5, 3), layout="constrained")
bars = axes.bar(shares.keys(), [share for share, _ in shares.values()], color="0.7", ec="black")
counted = [f"{n} product{'s' * (n != 1)}" for _, n in shares.values()]
axes.bar_label(bars, counted, fontsize=9, padding=2)
axes.set_ylabel("share of arithmetic in the loop")
axes.set_ylim(0, 1)
plt.show()
assert shares["min_gru"][1] == 0
assert shares["lstm"][1] == 1

# %% [markdown]
# ## The gradient
#
# Back-propagation through `jax.lax.scan` adds to the gradient of every weight at each step:
#
# $$\frac{\partial E}{\partial U} = \sum_t h_{t-1}^\top a_t$$
#
# where $a_t = \partial E / \partial (x_t W + h_{t-1} U + b)$. The sum is itself one product over
# all of time, $[h_0, h_1, ...]^\top [a_1, a_2, ...]$. `rnnjax` takes it out of the backward loop:
# the plan calls these weights deferred. What must stay in the backward loop is the product that
# hands $\partial E / \partial h$ from step to step.
#
# We count how many products are carried out in one forward and backward pass, each time round a
# loop.


# %%
def products(jaxpr, times=1):
    """How many matrix products a program carries out, those in loops as often as they run."""
    count = 0
    for eqn in jaxpr.eqns:
        count += times * (eqn.primitive.name == "dot_general")
        within = times * (eqn.params["length"] if eqn.primitive.name == "scan" else 1)
        parts = jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda v: hasattr(v, "eqns"))
        count += sum(products(part, within) for part in parts if hasattr(part, "eqns"))
    return count


cell = rnnjax.lstm(64)
its = cell.init(jax.random.key(0), D)


def error(scan, params, state, xs):
    return jnp.square(scan(params, state, xs)).sum()


def plain(params, state, xs):
    return jax.lax.scan(partial(cell.step, params), state, xs)[1]


def planned(params, state, xs, **options):
    return rnnjax.scan(cell.step, params, state, xs, **options)[1]


start = cell.initial_state(its, (B,))
counts = {}
for name, scan in {"lax.scan": plain, "rnnjax.scan": planned}.items():
    forward = jax.make_jaxpr(scan)(its, start, xs)
    both = jax.make_jaxpr(jax.grad(partial(error, scan)))(its, start, xs)
    counts[name] = products(forward.jaxpr), products(both.jaxpr)
    print(f"{name}: {counts[name][0]} products forward, {counts[name][1]} forward and backward")
assert counts["rnnjax.scan"][0] <= T + 2  # one a step, and the large ones
assert counts["lax.scan"][0] == 2 * T
assert counts["rnnjax.scan"][1] < counts["lax.scan"][1] / 2

# %% [markdown]
# ## Measured: time
#
# An LSTM, forward, and forward and backward. The two take turns, so that whatever else the machine
# does meets both, and the least time of all turns counts. The numbers of both are the same.


# %%
def measured(calls):
    """The least time of each call, in ms; they take turns."""
    for call in calls.values():
        jax.block_until_ready(call())
    least = dict.fromkeys(calls, np.inf)
    for _ in range(REPEATS):
        for name, call in calls.items():
            begun = time.perf_counter()
            jax.block_until_ready(call())
            least[name] = min(least[name], 1e3 * (time.perf_counter() - begun))
    return least


times = {}
for T, B, H in SHAPES:
    cell = rnnjax.lstm(H)
    its = cell.init(jax.random.key(0), H)
    args = its, cell.initial_state(its, (B,)), jax.random.normal(jax.random.key(1), (T, B, H))
    calls, values = {}, {}
    for name, scan in {"lax.scan": plain, "rnnjax.scan": planned}.items():
        calls[f"{name}, forward"] = partial(jax.jit(scan), *args)
        calls[f"{name}, with gradient"] = partial(jax.jit(jax.grad(partial(error, scan))), *args)
    ours, theirs = (calls[f"{name}, with gradient"]() for name in ("rnnjax.scan", "lax.scan"))
    for a, b in zip(ours, theirs, strict=True):
        assert jnp.abs(a - b).max() < 1e-4 * jnp.abs(b).max()
    times[T, B, H] = measured(calls)

# %%
figure, panels = plt.subplots(1, len(times), figsize=(4 * len(times), 3.4), layout="constrained")
for axes, ((T, B, H), found) in zip(np.atleast_1d(panels), times.items(), strict=True):
    for k, (name, color) in enumerate({"lax.scan": "0.85", "rnnjax.scan": "0.4"}.items()):
        heights = [found[f"{name}, {what}"] for what in ("forward", "with gradient")]
        bars = axes.bar(
            np.arange(2) + 0.4 * (k - 0.5), heights, 0.38, color=color, ec="black", label=name
        )
        axes.bar_label(bars, fmt="%.1f", fontsize=8)
    axes.set_xticks(range(2), ["forward", "with gradient"])
    axes.set_title(f"T = {T}, B = {B}, H = {H}", fontsize=10)
    axes.set_ylabel("time, ms")
    axes.margins(y=0.15)
np.atleast_1d(panels)[0].legend(loc="upper left")
plt.show()
gain = max(
    found["lax.scan, with gradient"] / found["rnnjax.scan, with gradient"]
    for found in times.values()
)
print(f"with gradient, rnnjax.scan is up to {gain:.1f} times as fast")
assert QUICK or gain > 1.1  # the quick form is too small to time

# %% [markdown]
# ## Measured: memory
#
# Back-propagation needs what the forward pass made. `save="all"` keeps it. `save="states"` keeps
# the states between blocks of about $\sqrt T$ steps, and computes the rest again on the way back: a
# little more time, a fraction of the memory. XLA says how much a compiled gradient takes.

# %%
cell = rnnjax.lstm(64)
its = cell.init(jax.random.key(0), 64)
memory = {"all": [], "states": []}
for T in LENGTHS:
    args = its, cell.initial_state(its, (16,)), jnp.zeros((T, 16, 64))
    for save, sizes in memory.items():
        gradient = jax.jit(jax.grad(partial(error, partial(planned, save=save))))
        compiled = gradient.lower(*args).compile()
        sizes.append(compiled.memory_analysis().temp_size_in_bytes / 2**20)
figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
for (save, sizes), style in zip(memory.items(), ("ks-", "ko--"), strict=True):
    axes.loglog(LENGTHS, sizes, style, label=f'save="{save}"')
axes.set_xticks(LENGTHS, LENGTHS)
axes.minorticks_off()
axes.set_xlabel("steps T")
axes.set_ylabel("memory of the gradient, MiB")
axes.legend()
plt.show()
print({save: [round(size, 2) for size in sizes] for save, sizes in memory.items()})
assert memory["states"][-1] < memory["all"][-1] / 3
