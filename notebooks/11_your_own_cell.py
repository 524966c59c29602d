# %% [markdown]
# # Your own cell
#
# You have read a paper, or had an idea: a new cell. Here one is written as its equations, held to
# the laws that every cell must keep, taken apart by the compiler, measured against a plain loop,
# and trained. Nothing about speed is in the cell. Takes about a minute on two cores.

# %%
import os
import time
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import rnnjax
from rnnjax import train
from rnnjax.testing import check_cell

QUICK = bool(os.environ.get("RNNJAX_QUICK"))
LENGTH, STEPS = (10, 150) if QUICK else (50, 1000)  # of the task at the end
RIVALS = () if QUICK else (rnnjax.gru, rnnjax.elman)
T, B, D, H, ROUNDS = (32, 8, 32, 32, 5) if QUICK else (128, 8, 128, 128, 30)  # to measure

# %% [markdown]
# ## The equations
#
# Jozefowicz, Zaremba and Sutskever (2015) let a search run over ten thousand cells. This one, which
# they call MUT1, did best of all on some tasks; `rnnjax` does not have it.
#
# $$\begin{aligned}
# z &= \sigma(x_t W_z + b_z) \\
# r &= \sigma(x_t W_r + h_{t-1} U_r + b_r) \\
# n &= \tanh\big((r \odot h_{t-1})\, U_n + \tanh(x_t) + b_n\big) \\
# h_t &= z \odot n + (1 - z) \odot h_{t-1}
# \end{aligned}$$
#
# In the candidate $n$ the input stands by itself: as many features as units. We let a matrix $W_n$
# see to that. A cell is three functions: draw parameters, begin, step.


# %%
class Params(NamedTuple):
    w_z: jax.Array  # [D, H]
    w_r: jax.Array
    w_n: jax.Array
    u_r: jax.Array  # [H, H]
    u_n: jax.Array
    b_z: jax.Array  # [H]
    b_r: jax.Array
    b_n: jax.Array


def init(H, key, x):  # x: shape and type of one step
    (inputs,), dtype = x.shape, x.dtype
    keys = jax.random.split(key, 5)
    glorot, orthogonal = jax.nn.initializers.glorot_uniform(), jax.nn.initializers.orthogonal()
    zeros = jnp.zeros(H, dtype)
    return Params(
        *(glorot(key, (inputs, H), dtype) for key in keys[:3]),
        *(orthogonal(key, (H, H), dtype) for key in keys[3:]),
        zeros, zeros, zeros,
    )  # fmt: skip


def begin(params, batch_shape=(), *, key=None):
    return jnp.zeros((*batch_shape, len(params.u_r)), params.u_r.dtype)


def step(p, h, x):
    z = jax.nn.sigmoid(x @ p.w_z + p.b_z)
    r = jax.nn.sigmoid(x @ p.w_r + h @ p.u_r + p.b_r)
    n = jnp.tanh((r * h) @ p.u_n + jnp.tanh(x @ p.w_n) + p.b_n)
    h = z * n + (1 - z) * h
    return h, h


def mut1(H):
    return rnnjax.Cell(
        name=f"mut1({H})", init=partial(init, H), initial_state=begin, step=step,
        output_of=lambda h: h,
    )  # fmt: skip


# %% [markdown]
# That is all. It runs over sequences with lengths, masks and resets, in both directions, in stacks:
# whatever takes a cell takes this one.

# %%
model = rnnjax.bidirectional(mut1(8))
spec = jax.ShapeDtypeStruct((D,), jnp.float32)  # of one step
params = model.init(jax.random.key(0), spec)
_, ys = model.apply(params, jnp.ones((20, 3, D)), lengths=jnp.array([20, 7, 0]))
print(model.name, "gives", ys.shape)

# %% [markdown]
# ## Does it keep the laws?
#
# Rows of a batch know nothing of each other; padding never matters, not even NaN; a reset is a new
# start; step by step is the same as all at once; and more. `check_cell` tries each law on random
# parameters, in float64.

# %%
print(check_cell(mut1(3), 2))

# %% [markdown]
# Now a mistake that is easily made, and that no shape betrays. Somebody normalises the state, by
# its mean over the *batch*. The loss still falls. But what a row says now depends on its
# neighbours.


# %%
def leaking_step(p, h, x):
    h = h - h.mean(axis=0)  # over the rows; axis=-1 was meant
    return step(p, h, x)


leaking = rnnjax.Cell("leaking", partial(init, 3), begin, leaking_step)
try:
    check_cell(leaking, 2)
    caught = ""
except AssertionError as error:
    caught = str(error)
print(caught)
assert "leaking" in caught

# %% [markdown]
# ## What the compiler makes of it
#
# Written plainly, each step has five products. Three of them read the input alone, so they need not
# wait: all of time is one large product. `plan` says what `unroll` will do.

# %%
xs = jax.random.normal(jax.random.key(1), (T, B, D))
cell = mut1(H)
params = cell.init(jax.random.key(0), spec)
plan = rnnjax.plan(cell.step, params, cell.initial_state(params, (B,)), xs)
print(plan)
in_loops = sum(part.products for part in plan.components if part.kind == "loop")
assert in_loops == 2

# %% [markdown]
# Two products are left in the loop, those with $U_r$ and $U_n$. And the gradient of both weights is
# put off until the loop has ended: one product over all of time, instead of a sum that grows step
# by step.
#
# ## Is it faster?
#
# Beside it, the loop that JAX itself offers, `jax.lax.scan`, over the same step. Both compute the
# gradient of the same loss. They take turns, so that a busy machine is busy for both.


# %%
def plain(params, xs):
    h0 = cell.initial_state(params, (B,))
    return jnp.square(jax.lax.scan(partial(cell.step, params), h0, xs)[1]).mean()


def ours(params, xs):
    return jnp.square(rnnjax.unroll(cell, params, None, xs)[1]).mean()


gradients = {"lax.scan": jax.jit(jax.grad(plain)), "unroll": jax.jit(jax.grad(ours))}
found = {name: gradient(params, xs) for name, gradient in gradients.items()}
for a, b in zip(*found.values(), strict=True):
    assert abs(a - b).max() < 1e-3 * abs(a).max()

seconds = {name: [] for name in gradients}
for _ in range(ROUNDS):
    for name, gradient in gradients.items():
        begun = time.perf_counter()
        jax.block_until_ready(gradient(params, xs))
        seconds[name].append(time.perf_counter() - begun)
best = {name: 1000 * min(times) for name, times in seconds.items()}

figure, axes = plt.subplots(figsize=(6, 1.9), layout="constrained")
axes.barh(list(best), list(best.values()), color=["lightgray", "tab:blue"], edgecolor="black")
axes.set(xlabel=f"ms for a gradient, the best of {ROUNDS} (T={T}, B={B}, D=H={H})")
for row, value in enumerate(best.values()):
    axes.text(value, row, f" {value:.1f}", va="center")
axes.set_xlim(0, 1.15 * max(best.values()))
print(f"{best['lax.scan'] / best['unroll']:.1f} times as fast as lax.scan")
plt.show()
assert QUICK or best["unroll"] < best["lax.scan"]

# %% [markdown]
# ## Does it learn?
#
# The adding problem, after Hochreiter & Schmidhuber (1997): many numbers, two of them marked, one
# in each half; add the two. Who always answers 1 has an error of 1/6. Beside ours, a GRU and
# Elman's network, with the same batches and nothing tuned.

# %%
UNITS = 32


def draw(key, rows):
    k_number, k_first, k_second = jax.random.split(key, 3)
    numbers = jax.random.uniform(k_number, (LENGTH, rows))
    first = jax.random.randint(k_first, (rows,), 0, LENGTH // 2)
    second = jax.random.randint(k_second, (rows,), LENGTH // 2, LENGTH)
    steps = jnp.arange(LENGTH)[:, None]
    marks = ((steps == first) | (steps == second)).astype(float)
    return jnp.stack([numbers, marks], axis=-1), (numbers * marks).sum(axis=0)


def errors_of(cell):
    model = rnnjax.stack(cell, rnnjax.linear(1))

    def loss(params, carried, batch, key):
        xs, sums = batch
        _, ys = rnnjax.unroll(model, params, None, xs)
        return train.mean_squared_error(ys[-1, :, 0], sums).mean, (carried, {})

    curve = []
    optimizer = train.optimizer("adam", 5e-3, clip_norm=1.0)
    train.fit(
        train.make_train_step(loss, optimizer),
        train.init_train_state(model.init(jax.random.key(0), 2), optimizer, jax.random.key(1)),
        train.generated(draw, 64, axes=(1, 0)),
        steps=STEPS,
        callbacks=[lambda record: curve.append(record["loss"])],
    )
    return np.array(curve)


curves = {cell.name: errors_of(cell) for cell in (make(UNITS) for make in (mut1, *RIVALS))}

# %%
figure, axes = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
for (name, curve), style in zip(curves.items(), ("-", "--", ":"), strict=False):
    smooth = curve.reshape(-1, STEPS // 50).mean(axis=1)
    axes.semilogy(np.arange(1, 51) * STEPS // 50, smooth, style, label=name)
axes.axhline(1 / 6, color="black", linewidth=0.8)
axes.set(xlabel="training step", ylabel="mean squared error (line: always 1)")
axes.legend()
plt.show()

# %%
last = {name: curve[-STEPS // 10 :].mean() for name, curve in curves.items()}
print({name: f"{error:.4f}" for name, error in last.items()})
assert last[f"mut1({UNITS})"] < (0.1 if QUICK else 0.01)

# %% [markdown]
# **Try:** a cell of your own. Break it: return the old `h` in place of the new one, draw a random
# number in `step`, let the state change its type. `check_cell` will say which law fell, at which
# step and in which row.
