# %% [markdown]
# # What a trained network computes: fixed points and Lyapunov exponents
#
# A recurrent network without input is a dynamical system: its state moves from step to step until
# it comes to rest, goes round, or wanders for ever. Where it rests is what it remembers. This
# notebook trains a network to hold three bits and finds the eight states in which it holds them,
# with the saddles between. Then it measures how fast neighbouring states meet or part, in that
# network and at the edge of chaos. It takes about half a minute.

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
BITS = 2 if QUICK else 3
UNITS = 12 if QUICK else 24
STEPS = 300 if QUICK else 1000  # of training
STARTS = 128 if QUICK else 1024  # of the search for fixed points
SIZE = 50 if QUICK else 200  # units of the random networks

# %% [markdown]
# ## A network that holds bits
#
# On each of three wires a pulse of $+1$ or $-1$ comes now and then. The network has to say at
# every step which came last on each: three switches that are flipped (Sussillo & Barak, 2013).

# %%
TIME, ROWS = 60, 64


def pulses(key, size):
    """Pulses [T, B, bits], and the last one on each wire."""
    k_when, k_sign = jax.random.split(key)
    shape = TIME, size, BITS
    signs = jnp.where(jax.random.bernoulli(k_sign, 0.5, shape), 1.0, -1.0)
    xs = jnp.where(jax.random.bernoulli(k_when, 0.1, shape), signs, 0.0)

    def flip(bits, x):
        bits = jnp.where(x != 0, x, bits)
        return bits, bits

    return xs, jax.lax.scan(flip, jnp.zeros(shape[1:]), xs)[1]


cell = rnnjax.gru(UNITS)
model = rnnjax.stack(rnn=cell, readout=rnnjax.linear(BITS))


def loss(params, carried, batch, key):
    xs, bits = batch
    _, ys = rnnjax.unroll(model, params, None, xs)
    return train.mean_squared_error(ys, bits).mean, (carried, {})


chain = train.optimizer("adam", train.schedule("cosine", 1e-2, STEPS), clip_norm=1.0)
state = train.init_train_state(model.init(jax.random.key(0), BITS), chain, jax.random.key(1))
source = train.generated(pulses, ROWS, axes=1)
params = train.fit(train.make_train_step(loss, chain), state, source, steps=STEPS).params

# %%
xs, bits = pulses(jax.random.key(2), ROWS)
_, ys = rnnjax.unroll(model, params, None, xs)
figure, panels = plt.subplots(BITS, 1, figsize=(9, 1.3 * BITS), sharex=True, layout="constrained")
for n, axes in enumerate(panels):
    axes.vlines(np.arange(TIME), 0, xs[:, 0, n], color="0.7", linewidth=3, label="pulses")
    axes.plot(bits[:, 0, n], color="tab:orange", linewidth=3, label="last pulse")
    axes.plot(ys[:, 0, n], color="black", linewidth=1, label="network")
    axes.set_ylabel(f"wire {n + 1}")
figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
panels[-1].set_xlabel("step t")
plt.show()
said = np.asarray(bits != 0)
right = ((ys > 0) == (bits > 0))[said].mean()
print(f"{right:.2%} of the answers have the right sign")
assert right > 0.97

# %% [markdown]
# ## Where it rests
#
# Between pulses the input is 0 and the state moves by $h \mapsto F(h)$, one step of the cell. It
# rests where $F(h) = h$. `fixed_points` starts from states that the network visits and goes
# downhill on
#
# $$q(h) = \tfrac12 \lVert F(h) - h \rVert^2$$
#
# What a fixed point does to its neighbours is in the Jacobian there, $J = \partial F / \partial
# h$. A small difference is multiplied by $J$ at each step: where all eigenvalues are within the
# unit circle it dies out, and the point is an attractor. Each eigenvalue outside is a way out.

# %%
own = params["rnn"]
path = see.trajectory(cell, own, xs).vectors  # [T, B, N]
visited = path.reshape(-1, UNITS)
chosen = np.random.default_rng(0).choice(len(visited), STARTS, replace=False)
found = see.fixed_points(cell, own, jnp.zeros(BITS), visited[chosen])
keep = found.fixed & ~found.outlier
ways = found.unstable[keep]
readout = np.asarray(rnnjax.linear(BITS).step(params["readout"], (), found.points)[1])
held = {}
for n in sorted(set(ways)):
    held[n] = (np.abs(readout[keep][ways == n]) > 0.5).sum(1).mean()
    print(f"points with {n} ways out: {(ways == n).sum()}, with {held[n]:.1f} bits held")

# %% [markdown]
# The attractors are the corners of a cube, one for each content of the memory. A point with one
# way out lies on an edge, between two contents that differ in a bit: it is where the network
# decides. With more ways out come the faces, and the middle. Not all of these need be found. At a
# slow point the search has come to a halt, but the state still moves a little.

# %%
figure = plt.figure(figsize=(12, 5), layout="constrained")
axes = figure.add_subplot(1, 2, 1, projection="3d" if BITS == 3 else None)
see.plot_fixed_points(axes, found, path[:, :24])
axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
axes = figure.add_subplot(1, 2, 2)
angle = np.linspace(0, 2 * np.pi, 200)
axes.plot(np.cos(angle), np.sin(angle), color="0.6", label="|λ| = 1")
kinds = {
    "saddles": ((found.unstable > 0) & keep, "^", "tab:red"),
    "attractors": (found.stable & keep, "o", "black"),
}
for name, (which, mark, color) in kinds.items():
    values = found.eigenvalues[which].ravel()
    axes.scatter(
        values.real, values.imag, s=20, marker=mark, fc="none", ec=color, label=f"of {name}"
    )
axes.set_xlabel("real part of the eigenvalue λ")
axes.set_ylabel("imaginary part")
axes.set_aspect("equal")
axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0.88))
plt.show()

# %%
corners = np.sign(readout[found.stable & keep]).astype(int)
print("contents with an attractor:", *sorted(map(tuple, corners.tolist())))
assert len(set(map(tuple, corners.tolist()))) == 2**BITS  # every content has one
assert held[0] > held[1]  # where it decides, fewer bits are held

# %% [markdown]
# ## How fast states meet
#
# The Lyapunov exponents say the same of a whole path. With $J_t = \partial h_t / \partial
# h_{t-1}$, two states a little apart in the $i$-th direction are apart by a factor of
# $e^{\lambda_i}$ more after each step:
#
# $$\lambda_i = \lim_{T \to \infty} \frac1T \sum_t \log R_t[i, i] \qquad J_t Q_{t-1} = Q_t R_t$$
#
# They are also the rates at which gradients vanish ($\lambda < 0$) or explode ($\lambda > 0$).
# Left alone, this network falls into an attractor, where all $J_t$ are the same. So its exponents
# must be the logarithms of the eigenvalues there, and they are.

# %%
at = int(np.flatnonzero(found.stable & keep)[0])
start = jnp.asarray(found.points[at]) + 0.05 * jax.random.normal(jax.random.key(3), (UNITS,))
exponents = see.lyapunov_exponents(cell, own, start, jnp.zeros((400, BITS)), skip=200)
logs = np.log(np.abs(found.eigenvalues[at]))
figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
see.plot_lyapunov(
    axes, exponents, color="black", label="along a path", fillstyle="none", markersize=8
)
axes.plot(np.arange(1, UNITS + 1), logs, "kx", markersize=4, label="log |λ| at the attractor")
axes.set_ylabel("Lyapunov exponent, nats a step")
axes.legend()
plt.show()
assert np.abs(np.asarray(exponents)[:4] - logs[:4]).max() < 0.02
assert exponents[0] < 0

# %% [markdown]
# ## The edge of chaos
#
# Take a random network, $h_t = \tanh(h_{t-1} U)$, whose weights have the standard deviation $g /
# \sqrt{N}$. Its spectral radius is about $g$. Below $g = 1$ everything dies out. Above, a
# network of infinitely many units never comes to rest: it is chaotic (Sompolinsky, Crisanti &
# Sommers, 1988, in continuous time), and the largest exponent crosses zero there. With few units
# it may go round in circles at first, with an exponent near zero. Gradients that neither vanish nor
# explode live on this edge, which is why recurrent weights are often drawn with a radius near 1.

# %%
gains = np.linspace(0.5, 2.0, 6 if QUICK else 13)
network = rnnjax.elman(SIZE)
drawn = network.init(jax.random.key(0), 1)
weights = jax.random.normal(jax.random.key(1), (SIZE, SIZE)) / np.sqrt(SIZE)
begin = jax.random.normal(jax.random.key(2), (4, SIZE))
silence = jnp.zeros((300, 4, 1))
largest = []
for gain in gains:
    random = drawn._replace(w_h=gain * weights, b=jnp.zeros(SIZE))
    found = see.lyapunov_exponents(network, random, begin, silence, 1, skip=100)
    largest.append(float(found.mean()))

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
left.plot(gains, largest, "ko-", label="largest exponent")
left.plot(gains, np.log(gains), "k:", label="log g, if it were linear")
left.axhline(0, color="0.5", linewidth=0.8)
left.axvline(1, color="0.5", linewidth=0.8)
left.set_xlabel("gain g")
left.set_ylabel("λ₁, nats a step")
left.legend()
for gain, line in ((0.9, ":"), (1.2, "--"), (2.0, "-")):
    random = drawn._replace(w_h=gain * weights, b=jnp.zeros(SIZE))
    twins = begin[0] + jnp.array([[0.0], [1e-3]])  # two states, a little apart
    _, hs = rnnjax.unroll(network, random, twins, silence[:100, :2])
    right.semilogy(
        np.linalg.norm(hs[:, 0] - hs[:, 1], axis=-1), line, color="black", label=f"g = {gain}"
    )
right.set_xlabel("step t")
right.set_ylabel("distance of two states")
right.legend()
plt.show()
by_gain = dict(zip(gains.round(2).tolist(), largest, strict=True))
print({gain: round(value, 3) for gain, value in by_gain.items()})
assert all(value < -0.05 for gain, value in by_gain.items() if gain < 0.9)  # everything dies out
assert all(value > 0 for gain, value in by_gain.items() if gain > 1.6)  # chaos
assert largest[0] < -0.3
assert largest[-1] > 0.05
