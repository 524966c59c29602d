# %% [markdown]
# # From PyTorch and back, and to ONNX
#
# An LSTM that was trained in PyTorch is taken over. Here it learns something more. Then it goes two
# ways: back into the PyTorch module it came from, and into an ONNX file, which serves where there
# is neither. At every border we check that the numbers are the same, but for rounding. Takes half a
# minute on two cores, and needs `pip install torch "rnnjax[train,onnx]"`.

# %%
import os
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
import torch

import rnnjax
from rnnjax import interop, train

QUICK = bool(os.environ.get("RNNJAX_QUICK"))
UNITS, STEPS, MORE = (16, 150, 150) if QUICK else (32, 300, 400)
LENGTH, ROWS = 40, 64

# %% [markdown]
# ## The question
#
# Forty numbers: is this wave a sine, a square, a triangle or a saw? Its period, phase and height
# are drawn at random. The waves come clean or noisy.

# %%
KINDS = ("sine", "square", "triangle", "saw")


def waves(rng, rows, noise):
    kind = rng.integers(0, len(KINDS), rows)
    period, phase = rng.uniform(8, 20, rows), rng.uniform(0, 1, rows)
    at = (np.arange(LENGTH)[:, None] / period + phase) % 1
    shapes = [np.sin(2 * np.pi * at), np.where(at < 0.5, 1, -1), 4 * abs(at - 0.5) - 1, 2 * at - 1]
    clean = rng.uniform(1, 2, rows) * np.choose(kind, shapes)
    xs = clean + noise * rng.normal(size=clean.shape)
    return xs[..., None].astype(np.float32), kind


CLEAN, NOISY = 0.05, 0.4
figure, panels = plt.subplots(1, 4, figsize=(11, 2.2), layout="constrained", sharey=True)
rng = np.random.default_rng(3)
xs, kinds = waves(rng, 64, NOISY)
for n, axes in enumerate(panels):
    axes.plot(xs[:, kinds == n][:, 0, 0], "k.-", linewidth=0.8, markersize=3)
    axes.set(title=f"{KINDS[n]}, noisy", xlabel="step")
panels[0].set_ylabel("x")
plt.show()

# %% [markdown]
# ## Trained in PyTorch
#
# Two layers of LSTM and a readout of the last output, on clean waves.


# %%
class Theirs(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = torch.nn.LSTM(1, UNITS, num_layers=2)
        self.readout = torch.nn.Linear(UNITS, len(KINDS))

    def forward(self, xs):
        return self.readout(self.rnn(xs)[0])


torch.set_num_threads(1)  # a step is too small to be shared by cores
torch.manual_seed(0)
theirs, rng = Theirs(), np.random.default_rng(0)
adam = torch.optim.Adam(theirs.parameters(), 1e-2)
for _ in range(STEPS):
    xs, kinds = waves(rng, ROWS, CLEAN)
    loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(xs))[-1], torch.tensor(kinds))
    adam.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
    adam.step()
print(f"loss after {STEPS} steps: {loss.item():.3f} nats; a guess has {np.log(len(KINDS)):.3f}")

# %% [markdown]
# ## Taken over
#
# The model is written down as it is; the parts have the names of the module's attributes. Nothing
# is guessed: a weight that is missing, of another shape or one too many is an error that says so.
#
# PyTorch keeps its matrices the other way round, and two biases where one would do:
#
# $$W\,x_t + b_{ih} + U\,h_{t-1} + b_{hh} \quad\text{becomes}\quad
#   x_t W^\top + h_{t-1} U^\top + b, \qquad b = b_{ih} + b_{hh}$$

# %%
model = rnnjax.stack(
    rnn=rnnjax.stack(rnnjax.lstm(UNITS), rnnjax.lstm(UNITS)), readout=rnnjax.linear(len(KINDS))
)
params = interop.from_torch(model, theirs)
params = jax.tree.map(jnp.asarray, params)

tests = {noise: waves(np.random.default_rng(1), 1000, noise) for noise in (CLEAN, NOISY)}


@jax.jit
def answers(params, xs):
    return rnnjax.unroll(model, params, None, xs)[1]


def of_torch(module, xs):
    with torch.no_grad():
        return module(torch.tensor(xs)).numpy()


def difference(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return float(np.abs(a - b).max() / max(1, np.abs(b).max()))  # as a share of the largest


def right(params):
    return {
        noise: float((answers(params, xs)[-1].argmax(-1) == kinds).mean())
        for noise, (xs, kinds) in tests.items()
    }


taken = difference(answers(params, tests[NOISY][0]), of_torch(theirs, tests[NOISY][0]))
before = right(params)
print(f"largest difference of a thousand answers at every step, relative: {taken:.1e}")
print(f"right: {before[CLEAN]:.1%} of clean waves, {before[NOISY]:.1%} of noisy ones")
assert taken < 1e-3

# %% [markdown]
# A model that the weights are not of is refused:

# %%
try:
    interop.from_torch(rnnjax.stack(rnn=rnnjax.lstm(UNITS), readout=rnnjax.linear(4)), theirs)
    refused = ""
except ValueError as error:
    refused = str(error)
print(refused)
assert "rnn.weight_ih_l1" in refused

# %% [markdown]
# ## Trained further, here
#
# On noisy waves this time, from where PyTorch left off. The waves come from a generator.


# %%
def loss_fn(params, carried, batch, key):
    xs, kinds = batch
    _, logits = rnnjax.unroll(model, params, None, xs)
    return train.cross_entropy(logits[-1], kinds).mean, (carried, {})


def noisy():
    rng = np.random.default_rng(2)
    while True:
        yield waves(rng, ROWS, NOISY)


optimizer = train.optimizer("adam", 3e-3, clip_norm=1.0)
state = train.init_train_state(params, optimizer, jax.random.key(0))
step = train.make_train_step(loss_fn, optimizer)
state = train.fit(step, state, noisy(), steps=MORE, per_step=ROWS)  # rows, for the rate it shows
params, after = state.params, right(state.params)
print(f"right: {after[CLEAN]:.1%} of clean waves, {after[NOISY]:.1%} of noisy ones")
assert after[NOISY] > before[NOISY]

# %% [markdown]
# ## Back to PyTorch
#
# `to_torch` gives a state dict. Read again it is, bit for bit, what it was made of.

# %%
weights = interop.to_torch(model, params)
theirs.load_state_dict({name: torch.tensor(np.asarray(w)) for name, w in weights.items()})
back = difference(answers(params, tests[NOISY][0]), of_torch(theirs, tests[NOISY][0]))
print(*(f"{name:22} {list(w.shape)}" for name, w in weights.items()), sep="\n")
print(f"largest difference, relative: {back:.1e}")
again = interop.from_torch(model, theirs)
assert back < 1e-4
assert all(jax.tree.leaves(jax.tree.map(np.array_equal, again, params)))

# %% [markdown]
# ## To ONNX
#
# A file of operators that runtimes in many languages know. Ours takes lengths, so a row that ends
# early may stand in a batch. With `states=True` it also gives and takes the state: then a stream is
# read step by step.

# %%
with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder) / "waves.onnx"
    file.write_bytes(interop.to_onnx(model, params).SerializeToString())
    print(f"{file.name}: {file.stat().st_size / 1024:.0f} kB")
    session = onnxruntime.InferenceSession(file)

xs, kinds = tests[NOISY]
lengths = np.full(len(kinds), LENGTH, np.int32)
lengths[1] = 25
(served,) = session.run(None, {"xs": xs, "lengths": lengths})
read = np.arange(LENGTH)[:, None] < lengths
exported = difference(served[read], np.asarray(answers(params, xs))[read])
print(f"largest difference, relative: {exported:.1e}")
assert exported < 1e-4

# %% [markdown]
# ## The same answers, three times
#
# One noisy wave, and what each of the three thinks of it as it goes on.

# %%
row = int(np.flatnonzero(kinds == KINDS.index("saw"))[0])
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
for name, logits, style in (
    ("PyTorch", of_torch(theirs, xs), {"linewidth": 6, "color": "lightgray"}),
    ("rnnjax", answers(params, xs), {"linewidth": 2, "color": "tab:blue"}),
    ("onnxruntime", served, {"linestyle": "none", "marker": ".", "color": "black"}),
):
    shares = np.exp(jax.nn.log_softmax(jnp.asarray(logits[:, row])))
    axes.plot(range(1, LENGTH + 1), shares[:, KINDS.index("saw")], label=name, **style)
axes.set(xlabel="steps read", ylabel="probability of a saw", ylim=(-0.02, 1.02))
axes.legend(loc="center right")
plt.show()

# %% [markdown]
# **Try:** `interop.from_keras`, `from_flax`, `from_haiku`, `from_equinox` and `from_onnx` go the
# same way; each has its inverse. `interop.save_params` writes any model's parameters as
# safetensors.
