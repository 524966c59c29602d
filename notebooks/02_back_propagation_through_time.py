# %% [markdown]
# # Back-propagation through time, and why gradients vanish or explode
#
# The gradient of a recurrent network is a sum over all pairs of a step that errs and an earlier
# step that could have done better. This notebook computes it by hand, shows each term of the sum,
# and shows what becomes of the far ones: they vanish, or they explode. Then it mends both, with
# gates and with clipping. It takes about a minute.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import rnnjax
from rnnjax import diagnostics as see
from rnnjax import train

QUICK = bool(os.environ.get("RNNJAX_QUICK"))
FAR = 60  # steps: how far back we look
STEPS = 60 if QUICK else 400  # of training
GRID = 21 if QUICK else 151  # points along each side of the cliff

# %% [markdown]
# ## By hand
#
# The network of notebook 01, and an error at each step:
#
# $$h_t = \tanh(x_t W + h_{t-1} U + b)$$
#
# $$E = \sum_t E_t = \sum_t \tfrac12 \lVert h_t - d_t \rVert^2$$
#
# The loop runs forwards and keeps the states. Back-propagation through time (Werbos, 1990) runs it
# backwards. It carries one vector, $\delta_t = \partial E / \partial h_t$: all that later steps
# have to say about this one.

# %%
T, D, H = 12, 3, 8
cell = rnnjax.elman(H)
params = cell.init(jax.random.key(0), D)
xs = jax.random.normal(jax.random.key(1), (T, D))
wanted = jax.random.normal(jax.random.key(2), (T, H)) / 2


def error(hs):
    return jnp.sum((hs - wanted) ** 2) / 2


W, U, b, x, d = (np.asarray(a, float) for a in (*params, xs, wanted))
h = [np.zeros(H)]
for t in range(T):
    h.append(np.tanh(x[t] @ W + h[-1] @ U + b))

g_w, g_u, g_b, delta = 0, 0, 0, np.zeros(H)
for t in reversed(range(T)):
    delta = delta + (h[t + 1] - d[t])  # the error of this step joins those of later ones
    a = delta * (1 - h[t + 1] ** 2)  # through tanh
    g_w, g_u, g_b = g_w + np.outer(x[t], a), g_u + np.outer(h[t], a), g_b + a
    delta = a @ U.T  # to the state before

# %% [markdown]
# JAX does the same to `unroll`:

# %%
grads = jax.grad(lambda p: error(rnnjax.unroll(cell, p, None, xs)[1]))(params)
for ours, jaxs in zip((g_w, g_u, g_b), grads, strict=True):
    assert np.allclose(ours, jaxs, atol=1e-4)

# %% [markdown]
# ## The sum over $t$ and $k$
#
# Written out, the gradient has a term for every error $t$ and every step $k \le t$ at which the
# weights were used:
#
# $$\frac{\partial E}{\partial U} = \sum_{t} \sum_{k \le t}
#   \frac{\partial E_t}{\partial h_t}
#   \Big( \prod_{i=k+1}^{t} \frac{\partial h_i}{\partial h_{i-1}} \Big)
#   \frac{\partial^+ h_k}{\partial U}$$
#
# $\partial^+$ is the derivative of one step, with the state before it held fixed.
# `gradient_terms(by="pair")` gives all of them, and they add up to the gradient.

# %%
terms = see.gradient_terms(cell, params, None, xs, error, by="pair").w_h
print(terms.shape, "is [t, k, H, H]")
assert jnp.allclose(terms.sum((0, 1)), grads.w_h, atol=1e-4)

# %% [markdown]
# The picture has one square a term; where it is blue there is none. On the diagonal a step answers
# for itself. Away from it the terms get smaller: how much smaller is the rest of this notebook.
# (The first column is empty: step 1 begins at a state of zeros, which $U$ makes nothing of.)
#
# Truncated back-propagation cuts the sequence into windows. It hands the state on, but no
# gradient. What is left of the sum are the terms within the boxes.

# %%
norms = np.linalg.norm(np.asarray(terms), axis=(2, 3))
window = 4
figure, axes = plt.subplots(figsize=(5.5, 4.5), layout="constrained")
with np.errstate(divide="ignore"):
    image = axes.imshow(np.log10(norms), cmap="gray_r", extent=(0.5, T + 0.5, T + 0.5, 0.5))
axes.set_facecolor("lightsteelblue")
for start in range(0, T, window):
    axes.add_patch(
        plt.Rectangle((start + 0.5, start + 0.5), window, window, fill=False, ec="tab:red", lw=2)
    )
figure.colorbar(image, label=r"$\log_{10}$ of the norm of the term")
axes.set_xlabel("k, the step that used U")
axes.set_ylabel("t, the step that errs")
plt.show()


# %%
def truncated(params):
    state, hs = None, []
    for start in range(0, T, window):
        state, piece = rnnjax.unroll(cell, params, state, xs[start : start + window])
        state = jax.lax.stop_gradient(state)
        hs.append(piece)
    return error(jnp.concatenate(hs))


boxes = np.kron(np.eye(T // window), np.ones((window, window)))
inside = (terms * boxes[:, :, None, None]).sum((0, 1))
assert jnp.allclose(jax.grad(truncated)(params).w_h, inside, atol=1e-4)
print(f"terms inside the boxes: {boxes.sum() / (T * (T + 1) / 2):.0%} of all")

# %% [markdown]
# ## Powers of a matrix
#
# A term of lag $n = t - k$ has a product of $n$ Jacobians. If the network were linear, each would
# be the same matrix, and the product its power, the $W^n$ of the lectures. The size of a power
# goes by the spectral radius $\rho$, the largest absolute eigenvalue:
#
# $$\lVert W^n \rVert \approx c\,\rho^n$$
#
# 0.9 to the power 60 is 0.002, and 1.1 to the power 60 is 300. Only an orthogonal matrix keeps
# every vector as long as it was.

# %%
rng = np.random.default_rng(0)
matrix = rng.normal(size=(32, 32))
matrix /= np.abs(np.linalg.eigvals(matrix)).max()
orthogonal = np.linalg.qr(matrix)[0]
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for radius, style in ((1.1, "-"), (1.0, "--"), (0.9, ":")):
    sizes = see.power_norms(radius * matrix, 60)
    see.plot_power_norms(
        axes, sizes, label=f"spectral radius {radius}", linestyle=style, color="black"
    )
    rate = np.log(float(sizes[60] / sizes[30])) / 30
    print(f"radius {radius}: grows by {np.exp(rate):.3f} a step")
    assert abs(rate - np.log(radius)) < 0.03
see.plot_power_norms(
    axes,
    see.power_norms(orthogonal, 60),
    label="orthogonal",
    color="tab:red",
    marker="o",
    markevery=6,
)
axes.legend()
plt.show()

# %% [markdown]
# ## With a tanh, and with gates
#
# A real step squashes too. Its Jacobian is
#
# $$\frac{\partial h_t}{\partial h_{t-1}} = U\,\mathrm{diag}(1 - h_t^2)$$
#
# (a state is a row here: a small change $v$ of $h_{t-1}$ becomes $v$ times this). The factor of
# tanh is at most 1. So if $\sigma$ is the largest singular value of $U$, the norm of the product of
# $n$ of them is at most $\sigma^n$: with $\sigma < 1$ the gradient must vanish. With $\sigma > 1$
# it may explode, where the units are not saturated (Bengio, Simard & Frasconi, 1994; Pascanu,
# Mikolov & Bengio, 2013).
#
# An LSTM has another path. Its memory is $c_t = f_t \odot c_{t-1} + i_t \odot g_t$, so along it
# the product is one of forget gates, and where those are open nothing vanishes. Here its forget
# bias is 5, so that $f \approx 0.993$, and its recurrent weights are small, so that we see this
# path alone.
#
# `gradient_flow` gives $\lVert \partial E_T / \partial h_{T-n} \rVert$ for each lag $n$; an LSTM's
# state is $h$ and $c$ together.

# %%
noise = 0.1 * jax.random.normal(jax.random.key(3), (FAR, 8, 1))


def scaled(sigma, size=32):
    """An Elman network whose recurrent matrix is σ times an orthogonal one."""
    params = rnnjax.elman(size).init(jax.random.key(0), 1)
    turn = jnp.linalg.qr(jax.random.normal(jax.random.key(4), (size, size)))[0]
    return params._replace(w_h=sigma * turn)


remembering = rnnjax.lstm(32, init=rnnjax.PRESETS["rnnjax"]._replace(forget_bias=5.0))
opened = remembering.init(jax.random.key(0), 1)
opened = opened._replace(w_h=0.1 * opened.w_h)
networks = {
    "elman, σ = 0.8": (rnnjax.elman(32), scaled(0.8), "v"),
    "elman, σ = 1": (rnnjax.elman(32), scaled(1.0), "s"),
    "elman, σ = 2": (rnnjax.elman(32), scaled(2.0), "^"),
    "lstm, forget bias 5": (remembering, opened, "o"),
}
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
ratio = {}
for name, (model, its, mark) in networks.items():
    flow = see.gradient_flow(model, its, None, noise, lambda ys: ys[-1].sum())
    lags = flow.by_lag()
    ratio[name] = lags[-1] / lags[0]
    see.plot_gradient_flow(axes, flow, label=name, color="black", marker=mark, markevery=6)
axes.set_ylabel(r"$\|\partial E_T / \partial h_{T-n}\|$, mean of 8 rows")
axes.legend()
plt.show()

# %%
for name, value in ratio.items():
    print(f"{name}: lag {FAR} has {value:.1e} of the gradient at lag 1")
assert ratio["elman, σ = 0.8"] <= 0.8 ** (FAR - 1) * 1.01  # the bound, vanishing for certain
assert ratio["elman, σ = 2"] > 100  # exploding
assert 0.1 < ratio["lstm, forget bias 5"] < 10  # neither

# %% [markdown]
# ## What vanishing costs
#
# A gradient that vanishes is no gradient. Here a network sees noise, and has to say at the end
# whether the first number was positive. The information is in the input, and the network could
# keep it. But the term that would teach it to is as small as the picture above says.


# %%
def first_sign(key, size):
    xs = jax.random.normal(key, (FAR, size, 1))
    xs = xs.at[1:].multiply(0.1)
    return xs, (xs[0, :, 0] > 0).astype(int)


def learn(cell, recurrent):
    """Accuracy over training, of a cell that begins with these parameters."""
    model = rnnjax.stack(rnn=cell, readout=rnnjax.linear(2))
    params = {"rnn": recurrent, "readout": model.init(jax.random.key(0), 1)["readout"]}

    def loss(params, carried, batch, key):
        xs, labels = batch
        logits = rnnjax.unroll(model, params, None, xs)[1][-1]
        value = train.cross_entropy(logits, labels).mean
        return value, (carried, {"accuracy": (logits.argmax(-1) == labels).mean()})

    chain = train.optimizer("adam", 1e-3, clip_norm=1.0)
    state, seen = train.init_train_state(params, chain, jax.random.key(1)), []
    source = train.generated(first_sign, 128, axes=(1, 0))
    train.fit(
        train.make_train_step(loss, chain),
        state,
        source,
        steps=STEPS,
        callbacks=[lambda record: seen.append(record["metrics"]["accuracy"])],
    )
    return np.array(seen)


curves = {}
for name in ("elman, σ = 0.8", "lstm, forget bias 5"):
    model, its, mark = networks[name]
    curves[name] = learn(model, jax.tree.map(jnp.copy, its)), mark

# %%
figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
for name, (curve, mark) in curves.items():
    smooth = np.convolve(curve, np.ones(20) / 20, "valid")
    axes.plot(smooth, color="black", marker=mark, markevery=STEPS // 16, label=name)
axes.axhline(0.5, color="tab:gray", linestyle=":", label="chance")
axes.set_xlabel("step of training")
axes.set_ylabel(f"right answers after {FAR} steps,\nmean of 20 batches")
axes.legend()
plt.show()
ends = {name: curve[-20:].mean() for name, (curve, _) in curves.items()}
for name, accuracy in ends.items():
    print(f"{name}: {accuracy:.1%} in the last 20 steps")
assert ends["lstm, forget bias 5"] > 0.85
assert ends["elman, σ = 0.8"] < 0.6

# %% [markdown]
# ## The cliff, and clipping
#
# Where a network is at the edge between two behaviours, a small change of a parameter changes
# everything after enough steps. The loss has a wall there (Pascanu, Mikolov & Bengio, 2013). One
# unit is enough to see it:
#
# $$x_t = w\,\sigma(x_{t-1}) + b \qquad E = (\sigma(x_{50}) - 0.7)^2$$
#
# Gradient descent that meets the wall is thrown far away. Clipping keeps the direction of the
# gradient $g$, and bounds its length:
#
# $$g \leftarrow g \cdot \min\!\Big(1, \frac{c}{\lVert g \rVert}\Big)$$

# %%
surface = see.cliff(np.linspace(4, 6.5, GRID), np.linspace(-3.2, -1.6, GRID))
begin = {"w": jnp.array(5.0), "b": jnp.array(-2.2)}
paths = {
    "without clipping": see.descent(see.cliff_loss, begin, optax.sgd(0.2), 60),
    "clipped at 0.1": see.descent(
        see.cliff_loss, begin, train.optimizer("sgd", 0.2, clip_norm=0.1), 60
    ),
}
figure = plt.figure(figsize=(11, 8), layout="constrained")
for n, (name, path) in enumerate(paths.items()):
    axes = figure.add_subplot(2, 2, n + 1, projection="3d")
    see.plot_cliff(axes, surface, {name: path})
    axes.view_init(elev=30, azim=35)
    axes.set_yticks([-3, -2.5, -2])
    see.plot_cliff(figure.add_subplot(2, 2, n + 3), surface, {name: path})
plt.show()

# %%
longest, ended = {}, {}
for name, path in paths.items():
    moves = np.hypot(np.diff(path.params["w"]), np.diff(path.params["b"]))
    longest[name], ended[name] = moves.max(), np.median(path.loss[-20:])
    print(f"{name}: longest step {longest[name]:.2g}, loss at the end {ended[name]:.2g}")
assert longest["clipped at 0.1"] < 0.2 * 0.1 + 1e-4
assert longest["without clipping"] > 100 * longest["clipped at 0.1"]
assert ended["clipped at 0.1"] < ended["without clipping"] / 2

# %% [markdown]
# Clipping mends what explodes. It does nothing for what vanishes: a gradient of 0 stays 0 however
# it is scaled. That takes another path through time, and notebook 03 looks at the gates that make
# one.
