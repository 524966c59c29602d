# %% [markdown]
# # Many devices
#
# The rows of a batch need nothing from each other. So each device can run the whole recurrence for
# some of the rows, and the devices meet once a step of training, to add up their gradients. This
# notebook makes four devices out of whatever CPU there is, spreads a batch over them, shows that
# the numbers stay the same, and counts how often the devices talk. It takes about half a minute,
# on one core too.

# %%
import os
import re
import time
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import rnnjax
from rnnjax import train

QUICK = bool(os.environ.get("RNNJAX_QUICK"))
T, B, H = (32, 8, 32) if QUICK else (100, 32, 128)
REPEATS = 3 if QUICK else 15
DEVICES = 4

# %% [markdown]
# ## Devices out of cores
#
# A product within a recurrent loop is too small to be shared by cores. With `use_cpu_devices` each
# core can run a loop of its own. It must be called before JAX makes its first array. Without an
# argument it makes one device a core; here it makes four, so that the pictures are the same
# everywhere. On a machine with several GPUs or TPUs take `jax.devices()` instead; the rest stays
# as it is.

# %%
rnnjax.host.use_cpu_devices(DEVICES)
devices = jax.devices("cpu")
print(len(devices), "devices")
assert len(devices) == DEVICES

# %% [markdown]
# ## A batch in pieces
#
# A mesh is a row of devices with a name for its axis. A sharding says which axis of an array goes
# along it. For inputs `[T, B, D]` it is the second, `B`. Parameters are whole on each device.


# %%
def placements(n):
    """Shardings of a batch [T, B, D] and of parameters over the first n devices."""
    mesh = jax.make_mesh((n,), ("rows",), (jax.sharding.AxisType.Auto,), devices=devices[:n])
    return jax.NamedSharding(mesh, jax.P(None, "rows")), jax.NamedSharding(mesh, jax.P())


rows, whole = placements(DEVICES)
xs = jax.random.normal(jax.random.key(0), (T, B, H))
spread = jax.device_put(xs, rows)

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for n, piece in enumerate(spread.addressable_shards):
    first, last = piece.index[1].start, piece.index[1].stop
    axes.add_patch(plt.Rectangle((0, first), T, last - first, fc=str(0.9 - 0.15 * n), ec="black"))
    axes.text(T / 2, (first + last) / 2, f"device {piece.device.id}", ha="center", va="center")
axes.set_xlim(0, T)
axes.set_ylim(B, 0)
axes.set_xlabel("step t")
axes.set_ylabel("row of the batch")
plt.show()

# %% [markdown]
# ## The same numbers
#
# The code does not change. `unroll` runs where its inputs are: JAX sees how they are placed and
# splits the program accordingly.

# %%
cell = rnnjax.lstm(H)
params = cell.init(jax.random.key(1), H)


def loss(params, xs):
    return jnp.square(rnnjax.unroll(cell, params, None, xs)[1]).mean()


gradient = jax.jit(jax.value_and_grad(loss))
found = {}
for n in (1, 2, DEVICES):
    rows, whole = placements(n)
    found[n] = gradient(jax.device_put(params, whole), jax.device_put(xs, rows))
    print(f"devices: {n}, loss: {found[n][0]:.6f}")
for n in (2, DEVICES):
    for a, b in zip(jax.tree.leaves(found[n]), jax.tree.leaves(found[1]), strict=True):
        assert np.abs(np.asarray(a) - np.asarray(b)).max() < 1e-4 * np.abs(b).max()

# %% [markdown]
# ## How often they talk
#
# Each device has the loss and the gradient of its own rows. The true ones are the sums:
#
# $$\frac{\partial E}{\partial \theta} = \sum_{d} \frac{\partial E_d}{\partial \theta}$$
#
# An `all-reduce` adds up an array over all devices. All of them wait for it. In `jax.lax.scan` the
# gradient of the weights is a running sum, and what XLA makes of it adds up over the devices at
# every step. `rnnjax` takes that sum out of the loop (notebook 04), and with it the waiting: once
# a block of steps, or with `block=None` once altogether.
#
# We look at the compiled programs: how many of these operations are in a loop, and how many are
# not.

# %%
rows, whole = placements(DEVICES)
args = jax.device_put(params, whole), jax.device_put(xs, rows)


def collectives(run):
    """Operations that wait for other devices, (in loops, outside), in the compiled gradient."""
    gradient = jax.jit(jax.grad(lambda params, xs: jnp.square(run(params, xs)).mean()))
    text = gradient.lower(*args).compile().as_text()
    program = {"loop": 0, "ENTRY": 0}
    place = "loop"
    for line in text.splitlines():
        if line.endswith("{"):  # a part of the program begins
            place = "ENTRY" if line.startswith("ENTRY") else "loop"
        pattern = r" (all-reduce|all-gather|all-to-all|collective-permute)(-start)?\("
        program[place] += bool(re.search(pattern, line))
    return tuple(program.values())


def plain(params, xs):
    return jax.lax.scan(partial(cell.step, params), cell.initial_state(params, (B,)), xs)[1]


def unrolled(params, xs, **options):
    return rnnjax.unroll(cell, params, None, xs, **options)[1]


block = rnnjax.plan(cell.step, params, cell.initial_state(params, (B,)), xs).block or T
waits = {}
for name, run, rounds in (
    ("jax.lax.scan", plain, T),
    (f"rnnjax.unroll, blocks of {block}", unrolled, -(-T // block)),
    ("rnnjax.unroll, block=None", partial(unrolled, block=None), 1),
):
    inside, outside = collectives(run)
    waits[name] = inside * rounds + outside
    print(f"{name}: {inside} in a loop, {outside} outside; meetings: {waits[name]}")
assert inside == 0  # with block=None
each_step, each_block, once = waits.values()
assert once <= len(jax.tree.leaves(params))
assert once <= each_block <= each_step
assert each_step >= T

# %% [markdown]
# ## Measured
#
# The gradient on one, two and four devices. It gets faster up to the number of cores that this
# machine has; more devices than cores take turns. A reader on one core will see no gain here, and
# the same numbers.

# %%
calls = {}
for n in (1, 2, DEVICES):
    rows, whole = placements(n)
    calls[n] = jax.device_put(params, whole), jax.device_put(xs, rows)
    jax.block_until_ready(gradient(*calls[n]))
least = dict.fromkeys(calls, np.inf)
for _ in range(REPEATS):
    for n, args in calls.items():
        begun = time.perf_counter()
        jax.block_until_ready(gradient(*args))
        least[n] = min(least[n], 1e3 * (time.perf_counter() - begun))

figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
bars = axes.bar([str(n) for n in least], least.values(), color="0.7", ec="black")
axes.bar_label(bars, fmt="%.1f")
axes.set_xlabel("devices")
axes.set_ylabel("time of a gradient, ms")
axes.margins(y=0.15)
plt.show()
print("cores of this machine:", os.cpu_count())

# %% [markdown]
# ## In training
#
# `fit` does this by itself: a source says where its rows are, and where there are several devices
# the rows of each batch are spread. The result stays the same as on one, but for rounding.

# %%
model = rnnjax.stack(rnn=rnnjax.gru(16), readout=rnnjax.linear(1))


def draw(key, size):
    """Sequences, and the mean of each so far."""
    xs = jax.random.normal(key, (20, size, 1))
    return xs, jnp.cumsum(xs, 0) / jnp.arange(1, 21)[:, None, None]


def squared(params, carried, batch, key):
    xs, targets = batch
    _, ys = rnnjax.unroll(model, params, None, xs)
    return train.mean_squared_error(ys, targets).mean, (carried, {})


chain = train.optimizer("adam", 1e-2)
step = train.make_train_step(squared, chain)
ends = {}
for name, axes in {"spread over all devices": 1, "on one device": None}.items():
    state = train.init_train_state(model.init(jax.random.key(0), 1), chain, jax.random.key(1))
    losses = []
    train.fit(
        step,
        state,
        train.generated(draw, 64, axes=axes),  # where the rows are; None: nothing to spread
        steps=30 if QUICK else 150,
        callbacks=[lambda record, losses=losses: losses.append(record["loss"])],
    )
    ends[name] = np.array(losses)

# %%
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for (name, losses), style in zip(ends.items(), ("k-", "ko"), strict=True):
    axes.semilogy(losses, style, markersize=3, markevery=5, label=name)
axes.set_xlabel("step of training")
axes.set_ylabel("mean squared error")
axes.legend()
plt.show()
one, many = ends.values()
assert np.allclose(one, many, rtol=2e-2)
assert many[-1] < many[0] / 2
